"""Ids: frozen ones, what changes them, and what must not."""

from __future__ import annotations

import pytest

from core.definition import fields
from core.definition.identity import canonical, canonical_form, identity_part, scoring_key, trial_id
from core.definition.trial import TrialConfig
from core.errors import DefinitionError

PLAIN = {"backbone": "qwen2.5-vl-7b", "data": {"sources": {"pairs": {}}}, "train": {"epochs": 1}}
RICH = {
    "backbone": {"name": "qwen2.5-vl-3b", "revision": "abc", "max_pixels": 100352, "path": "/anywhere"},
    "head": {"layers": 3, "activation": "tanh", "width": 64, "dropout": 0.1, "pooling": "mean", "init": "zero"},
    "data": {
        "sources": {"b": {"weight": 0.5, "cap": 10, "fields": {"prompt": "question"}}, "a": {"type": "generated_images"}},
        "held_out": 7,
    },
    "optim": {"lr": 1e-05, "betas": [0.9, 0.999], "schedule": "linear"},
    "train": {"steps": 10, "batch": 4, "freeze": ["vision", "merger"], "select": "best", "validate_every": 0.25, "early_stop": {}},
    "seed": 3,
}


def config(**changes: object) -> TrialConfig:
    return TrialConfig.model_validate({**PLAIN, **changes})


@pytest.mark.parametrize(
    ("given", "id"),
    [
        (PLAIN, "3e876cc0f4b6dcbd70cd6981856ac75e"),
        (RICH, "068755d07d02f2999cabf11fee5e3c85"),
        (
            {**PLAIN, "rehearsal": {"steps": 60, "batch": 16, "pairs": 640, "items": 128, "lr_scale": 1000.0}},
            "bce4b69436ac1309fcac12cb35731709",
        ),
    ],
)
def test_ids_are_frozen(given: dict[str, object], id: str) -> None:
    """If this fails, every trial of every workspace would be trained again: a new field needs ``absent``, a new meaning a new version."""
    assert trial_id(TrialConfig.model_validate(given)) == id


def test_a_scoring_key_is_frozen_and_knows_trial_benchmark_and_revision_but_no_place() -> None:
    key = scoring_key("0" * 32, {"name": "vl_rewardbench"}, "1250")
    assert key == "b0385d1f9a89fa8e5445fad755d0854a"
    assert scoring_key("0" * 32, {"name": "vl_rewardbench", "data": "/a.jsonl", "media": "/b"}, "1250") == key
    others = [
        scoring_key("1" * 32, {"name": "vl_rewardbench"}, "1250"),
        scoring_key("0" * 32, {"name": "mm_rlhf_rewardbench"}, "1250"),
        scoring_key("0" * 32, {"name": "vl_rewardbench", "frames": 8}, "1250"),
        scoring_key("0" * 32, {"name": "vl_rewardbench"}, "1247"),
    ]
    assert len({key, *others}) == 5


@pytest.mark.parametrize(
    "changes",
    [
        {"execution": {"micro_batch": 4, "threads": 2, "validate_every": 0.5, "checkpoint_every": 60}},
        {"backbone": {"name": "qwen2.5-vl-7b", "path": "/weights"}},
        {"data": {"sources": {"pairs": {"path": "/x.jsonl", "media": "/m"}}}},
        {"data": {"sources": {"pairs": {}, "unused": {"weight": 0}}}},
        {"train": {"epochs": 1, "freeze": ["vision", "vision"]}},
        {"train": {"epochs": 1, "validate_every": 0.5}},
        {"train": {"epochs": "1.0", "batch": "128"}},
        {"optim": {"lr": "3e-6"}},
        {"optim": {"lr": 0.000003, "weight_decay": 0}},
    ],
)
def test_what_is_not_computed_or_means_the_same_never_changes_an_id(changes: dict[str, object]) -> None:
    assert trial_id(config(**changes)) == trial_id(config())


@pytest.mark.parametrize(
    "changes",
    [
        {"backbone": "qwen2.5-vl-3b"},
        {"head": {"layers": 3}},
        {"head": {"init": "zero"}},
        {"data": {"sources": {"other": {}}}},
        {"data": {"sources": {"pairs": {}}, "held_out": 5}},
        {"loss": {"bradley_terry": {"weight": 0.5}}},
        {"optim": {"lr": 1e-5}},
        {"train": {"epochs": 2}},
        {"train": {"steps": 1}},
        {"train": {"epochs": 1, "select": "best"}},
        {"prompt": {"sha": "abc"}},
        {"seed": 1},
        {"rehearsal": {}},
    ],
)
def test_what_is_computed_changes_the_id(changes: dict[str, object]) -> None:
    assert trial_id(config(**changes)) != trial_id(config())


def test_the_canonical_form_is_stable_and_survives_json() -> None:
    once = canonical_form(TrialConfig.model_validate(RICH))
    assert canonical_form(once) == once
    assert canonical(TrialConfig.model_validate(once.model_dump(mode="json"))) == canonical(once)


def test_a_field_added_later_leaves_old_ids_alone() -> None:
    class Before(fields.Section):
        width: int = fields.identity(1, doc="width")

    class After(Before):
        bias: bool = fields.identity(False, doc="bias", absent=False)

    assert identity_part(After()) == identity_part(Before())
    assert identity_part(After(bias=True)) == {"width": 1, "bias": True}


def test_a_field_without_a_role_is_a_mistake_of_the_schema() -> None:
    class Careless(fields.Section):
        width: int = 1

    with pytest.raises(TypeError, match="role"):
        identity_part(Careless())


def test_negative_zero_has_no_one_form() -> None:
    with pytest.raises(DefinitionError, match="no one form"):
        trial_id(config(optim={"warmup": -0.0}))


def test_a_loss_without_weight_is_refused() -> None:
    with pytest.raises(DefinitionError, match="weight above 0"):
        trial_id(config(loss={"bradley_terry": {"weight": 0}}))
