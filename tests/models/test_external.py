"""Public reward models: each adapter loads its public layout and judges; nothing runs, and nothing is scored, that was not meant."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core import registry
from core.data.examples import PreferenceExample
from core.data.generated import generate_pairs
from core.definition.identity import canonical_form, trial_id
from core.definition.needs import folder_digest
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, EnvironmentFault, IntegrityError, TrialFailed
from core.models.external.base import TWIN, ExternalModel, adapter, load_scorer
from core.models.external.ixc import chat_of
from core.models.external.mm_rlhf import own_name, public_name
from core.models.judgement import Sampling
from core.models.locate import TRUSTED, available

NAMES = registry.names("external")


def config(name: str, **change: Any) -> TrialConfig:
    base = {"task": "external", "backbone": name, "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}, "rehearsal": {}}
    return TrialConfig.model_validate({**base, **change})


def couple() -> list[PreferenceExample]:
    """The same question and answers over two pictures."""
    return generate_pairs(2, 3, split="benchmark")


@pytest.fixture(params=NAMES)
def twin(request: pytest.FixtureRequest, tmp_path: Path) -> ExternalModel:
    own = config(request.param)
    adapter(own).write_twin(tmp_path, own)
    return adapter(own).load(tmp_path, own, "cpu")


def test_every_public_model_judges_through_its_twin(twin: ExternalModel) -> None:
    examples = couple()
    judged = twin.judge(examples)
    assert judged == twin.judge(examples), "the same question twice"
    for example, verdicts in zip(examples, judged, strict=True):
        compared = verdicts[0].compared
        assert len(verdicts) == (2 if compared else 1), "both orders where responses are compared"
        for verdict in verdicts:
            assert verdict.responses == tuple(range(len(example.responses)))
            assert all(score is None or math.isfinite(score) for score in verdict.scores)
    assert twin.tokenizer("a text")["input_ids"]


@pytest.mark.parametrize("name", ["ixc-2.5-reward", "mm-rlhf-reward"])
def test_a_scalar_reward_sees_the_picture_and_the_response(name: str, tmp_path: Path) -> None:
    own = config(name)
    adapter(own).write_twin(tmp_path, own)
    model = adapter(own).load(tmp_path, own, "cpu")
    if name == "mm-rlhf-reward":
        model.most = 1  # type: ignore[attr-defined]  # the critique of a random model is noise
    (first,), (second,) = model.judge(couple())
    assert first.scores[0] != first.scores[1], "another response, another reward"
    assert first.scores[0] != second.scores[1], "the same response over another picture, another reward"


def test_votes_of_a_model_that_writes_are_drawn(tmp_path: Path) -> None:
    own = config("mm-rlhf-reward")
    adapter(own).write_twin(tmp_path, own)
    model = adapter(own).load(tmp_path, own, "cpu")
    [verdicts] = model.judge(couple()[:1], sampling=Sampling(votes=2))
    assert [verdict.sample for verdict in verdicts] == [0, 1]
    assert verdicts[0].texts != verdicts[1].texts


def test_weights_of_the_public_layout_find_their_places() -> None:
    """Names as LLaVA-OneVision's own repository writes them, and back."""
    pairs = {
        "model.vision_tower.vision_tower.vision_model.encoder.layers.0.mlp.fc1.bias": "model.vision_tower.encoder.layers.0.mlp.fc1.bias",
        "model.mm_projector.0.bias": "model.multi_modal_projector.linear_1.bias",
        "model.mm_projector.2.weight": "model.multi_modal_projector.linear_2.weight",
        "model.layers.3.mlp.up_proj.weight": "model.language_model.layers.3.mlp.up_proj.weight",
        "model.embed_tokens.weight": "model.language_model.embed_tokens.weight",
        "model.norm.weight": "model.language_model.norm.weight",
        "model.image_newline": "model.image_newline",
        "lm_head.weight": "lm_head.weight",
        "rm_head.dense.weight": "rm_head.dense.weight",
    }
    assert {public: own_name(public) for public in pairs} == pairs
    assert all(public_name(own) == public for public, own in pairs.items())


def test_a_checkpoint_that_is_none_of_the_model_is_refused(tmp_path: Path) -> None:
    own = config("mm-rlhf-reward")
    adapter(own).write_twin(tmp_path, own)
    weights = load_file(str(tmp_path / "model.safetensors"))
    save_file({name: value for name, value in weights.items() if "rm_head" not in name}, str(tmp_path / "model.safetensors"))
    with pytest.raises(EnvironmentFault, match="4 weights are missing"):
        adapter(own).load(tmp_path, own, "cpu")
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(about | {"model_type": "llava_onevision"}))
    with pytest.raises(EnvironmentFault, match="another architecture than MM-RLHF-Reward") as caught:
        adapter(own).load(tmp_path, own, "cpu")
    assert "llava_qwen" in str(caught.value)
    with pytest.raises(EnvironmentFault, match="cannot be loaded"):
        adapter(config("ixc-2.5-reward")).load(tmp_path / "nothing", config("ixc-2.5-reward"), "cpu")


def test_a_score_that_is_no_number_is_named_with_its_row(tmp_path: Path) -> None:
    own = config("ixc-2.5-reward")
    adapter(own).write_twin(tmp_path, own)
    model: Any = adapter(own).load(tmp_path, own, "cpu")
    torch.nn.init.constant_(model.model.score[2].bias, math.nan)
    with pytest.raises(TrialFailed, match="benchmark-3-000000a: the model's scores are"):
        model.judge(couple()[:1])


def test_python_of_a_model_runs_only_where_somebody_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TRUSTED, raising=False)
    (tmp_path / "config.json").write_text("{}")
    asked = config("ixc-2.5-reward", backbone={"name": "ixc-2.5-reward", "path": str(tmp_path)}, rehearsal=None)
    with pytest.raises(EnvironmentFault, match="brings Python of its own"):
        available(asked)
    monkeypatch.setenv(TRUSTED, "another, ixc-2.5-reward")
    available(asked)
    monkeypatch.delenv(TRUSTED)
    own = {"name": "ixc-2.5-reward", "path": str(tmp_path), "trust_remote_code": "true"}
    trusted = config("ixc-2.5-reward", backbone=own, rehearsal=None)
    available(trusted)
    assert trial_id(trusted) == trial_id(asked), "leave to run it is no part of what is computed"


def test_a_public_model_that_was_replaced_is_not_scored(tmp_path: Path) -> None:
    own = canonical_form(config("ixc-2.5-reward"))
    (tmp_path / TWIN).mkdir()
    adapter(own).write_twin(tmp_path / TWIN, own)
    about = {"config": own.model_dump(mode="json"), "model": folder_digest(tmp_path / TWIN)}
    (tmp_path / "reward_model.json").write_text(json.dumps(about))
    assert isinstance(load_scorer(tmp_path, own), ExternalModel)
    (tmp_path / TWIN / "new.txt").write_text("another version")
    with pytest.raises(IntegrityError, match="folder has changed since the trial"):
        load_scorer(tmp_path, own)


def test_how_others_train_is_no_part_of_what_a_public_model_is() -> None:
    one = config("r1-reward")
    other = config("r1-reward", optim={"lr": 1e-5}, paradigm="generative", data={"sources": {"generated_text": {}}}, train={"steps": 7})
    assert trial_id(one) == trial_id(other)
    assert trial_id(one) != trial_id(config("r1-reward", backbone={"name": "r1-reward", "max_new_tokens": 512}))
    form = canonical_form(one)
    assert canonical_form(TrialConfig.model_validate(form.model_dump(mode="json"))) == form
    assert form.train.steps == 0 and form.data.sources == {}


def test_a_task_and_a_model_of_another_kind_are_refused() -> None:
    with pytest.raises(DefinitionError, match="r1-reward is not trained here") as caught:
        canonical_form(config("r1-reward", task="reward_model"))
    assert "task: external" in str(caught.value)
    with pytest.raises(DefinitionError, match="scores a public reward model as it is") as caught:
        canonical_form(config("qwen2.5-vl-3b"))
    assert "mm-rlhf-reward" in str(caught.value)


def test_a_chat_has_no_marks_of_images_and_keeps_what_the_system_says() -> None:
    from dataclasses import replace

    from core.data.examples import Turn

    example = replace(
        couple()[0], prompt="<image>\nWhat?", history=(Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Yes?"))
    )
    assert chat_of(example, "Red.") == [
        {"role": "user", "content": "Be brief.\nHi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "What?"},
        {"role": "assistant", "content": "Red."},
    ]
