"""The command line: what ``path=v`` and ``path=[a,b]`` do to a definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.definition import Expansion, SweepDefinition, expand
from core.errors import DefinitionError, SweepError, UsageError

Load = Callable[..., SweepDefinition]
Expand = Callable[..., Expansion]
Cells = Callable[..., list[dict[str, object]]]

CASES = "cases:\n  - {head.layers: 1}\n  - {head.layers: 2, head.activation: [tanh, silu]}\n"


def test_a_fixed_path_wins_over_trial_and_leaves_the_grid_with_a_notice(expand_text: Expand) -> None:
    expansion = expand_text("grid: {head.layers: [1, 2], optim.lr: [1e-5, 3e-6]}", "head.layers=3", "train.batch=7")
    cells = list(expansion.cells())
    assert [dict(cell.cell) for cell in cells] == [{"optim.lr": 1e-5}, {"optim.lr": 3e-6}]
    assert {(cell.config["head"]["layers"], cell.config["train"]["batch"]) for cell in cells} == {(3, 7)}
    assert expansion.definition.notices == ["head.layers=3 drops the axis head.layers"]


def test_a_fixed_path_leaves_every_case_and_equal_cells_merge(expand_text: Expand) -> None:
    expansion = expand_text(CASES, "head.layers=2")
    assert [dict(cell.cell) for cell in expansion.cells()] == [{}, {"head.activation": "tanh"}]
    assert expansion.counts["merged"] == 1  # the case without an activation has the default one, silu
    assert expansion.definition.notices == ["head.layers=2 drops the axis head.layers from case 1, case 2"]


def test_a_list_makes_or_replaces_an_axis(cells_of: Cells) -> None:
    assert cells_of("", "optim.lr=[1e-5,3e-6]") == [{"optim.lr": 1e-5}, {"optim.lr": 3e-6}]
    assert cells_of("grid: {optim.lr: [1]}", "optim.lr=[1e-5, 3e-6]") == [{"optim.lr": 1e-5}, {"optim.lr": 3e-6}]
    assert cells_of("", "optim.lr={logspace: [1e-6, 1e-5, 2]}") == [{"optim.lr": 1e-6}, {"optim.lr": 1e-5}]
    assert cells_of(CASES, "head.layers=[3]") == [{"head.layers": 3}, {"head.layers": 3, "head.activation": "tanh"}]


def test_for_a_path_that_is_a_list_one_list_is_the_value_and_two_an_axis(expand_text: Expand) -> None:
    (cell,) = expand_text("", "train.freeze=[merger,vision]").cells()
    assert cell.config["train"]["freeze"] == ["merger", "vision"]
    assert [cell.cell for cell in expand_text("", "train.freeze=[[vision],[merger]]").cells()] == [
        {"train.freeze": ["vision"]},
        {"train.freeze": ["merger"]},
    ]
    (cell,) = expand_text("evaluate: [generated_images]", "evaluate=[vl_rewardbench, mm_rlhf_rewardbench]").cells()
    assert [entry["name"] for entry in cell.evaluate] == ["vl_rewardbench", "mm_rlhf_rewardbench"]


def test_top_level_keys_are_set_by_name(load_text: Load) -> None:
    definition = load_text("seeds: 1", "seeds=3", "validation.items=50", "project=other", "sample.count=2", "objective.mode=min")
    assert (definition.seeds, definition.project, definition.objective.mode) == ((0, 1, 2), "other", "min")
    assert definition.sample is not None
    assert definition.sample.count == 2
    (cell,) = expand(definition).cells()
    assert cell.config["data"]["held_out"] == 50
    assert load_text("", "seeds=[4,2]").seeds == (4, 2)


def test_the_scalar_rules_are_those_of_a_file(expand_text: Expand) -> None:
    (cell,) = expand_text(
        "", "backbone.revision=010", "head.activation=none", "optim.lr=1e-5", "head.width=null", "train.tokens=1e6"
    ).cells()
    assert cell.config["backbone"]["revision"] == "010"
    assert (cell.config["head"]["activation"], cell.config["head"]["width"]) == ("none", None)
    assert (cell.config["optim"]["lr"], cell.config["train"]["tokens"]) == (1e-5, 1_000_000)
    assert cell.config["train"]["epochs"] is None  # the command line's budget replaces the file's


def test_a_shorthand_works_as_a_path(cells_of: Cells, expand_text: Expand) -> None:
    assert cells_of("", "backbone=[qwen2.5-vl-3b,qwen2.5-vl-7b]") == [{"backbone": "qwen2.5-vl-3b"}, {"backbone": "qwen2.5-vl-7b"}]
    (cell,) = expand_text("grid: {backbone: [qwen2.5-vl-7b]}", "backbone.name=qwen2.5-vl-3b").cells()
    assert (cell.config["backbone"]["name"], cell.cell) == ("qwen2.5-vl-3b", {})


def test_joined_paths_are_fixed_together_or_not_at_all(load_text: Load, cells_of: Cells) -> None:
    joined = 'grid: {"optim.lr, train.batch": [[1e-5, 8], [3e-6, 16]]}'
    with pytest.raises(UsageError, match="moves together") as caught:
        load_text(joined, "optim.lr=1")
    assert "train.batch" in str(caught.value.allowed)
    assert cells_of(joined, "optim.lr=1e-5", "train.batch=4") == [{}]


def test_the_command_line_replaces_a_case_s_own_benchmarks(expand_text: Expand) -> None:
    text = "cases: [{head.layers: 1, evaluate: [vl_rewardbench]}, {head.layers: 2}]"
    found = [[entry["name"] for entry in cell.evaluate] for cell in expand_text(text, "evaluate=[mm_rlhf_rewardbench]").cells()]
    assert found == [["mm_rlhf_rewardbench"], ["mm_rlhf_rewardbench"]]


@pytest.mark.parametrize(
    ("overrides", "says", "close"),
    [
        (["optim.lrr=1"], "unknown path optim.lrr", "optim.lr"),
        (["optin.lr=1"], "unknown path", "optim"),
        (["trial.optim.lr=1"], "start inside `trial`", "optim.lr"),
        (["optim.lr"], "PATH=VALUE", None),
        (["=1"], "PATH=VALUE", None),
        (["seed=3"], "`seeds`", "seeds=[3]"),
        (["grid=1"], "not set on the command line", None),
        (["base=x"], "not set on the command line", None),
        (["optim.lr=1", "optim.lr=2"], "twice", None),
        (["train.steps=1", "train.epochs=1"], "two budgets", None),
        (["rehearsal.steps=3"], "--rehearse", None),
        (["optim.lr=[]"], "without values", None),
        (["optim.lr=!!python/none x"], "tag", None),
        (["head.activation=sillu"], "head.activation", "silu"),
        (["resources.when.0=1"], "nothing by name", None),
        (["data.held_out=4", "validation.items=4"], "only validation.items", None),
    ],
)
def test_a_wrong_override_is_refused(load_text: Load, overrides: list[str], says: str, close: str | None) -> None:
    with pytest.raises(SweepError) as caught:
        load_text("", *overrides)
    assert isinstance(caught.value, UsageError | DefinitionError)
    assert says in str(caught.value)
    assert caught.value.nearest == close


def test_an_override_that_an_axis_would_overwrite_is_refused(load_text: Load) -> None:
    with pytest.raises(UsageError, match="would be lost"):
        load_text("grid: {head: [{layers: 1}, {layers: 2}]}", "head.layers=3")


def test_rehearsal_settings_are_set_by_name_in_a_rehearsal(expand_text: Expand, tmp_path: object) -> None:
    (cell,) = expand_text("", "rehearsal.steps=5", rehearsal=True).cells()
    assert cell.config["rehearsal"]["steps"] == 5
    with pytest.raises(SweepError, match="stepz"):
        expand_text("", "rehearsal.stepz=5", rehearsal=True)
