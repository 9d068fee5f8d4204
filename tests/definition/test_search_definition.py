"""``search:`` in a definition: what its space means, and what a wrong one is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.definition import SweepDefinition
from core.definition.searched import points, probes, suggested
from core.errors import DefinitionError

Load = Callable[..., SweepDefinition]

RANGE = "optim.lr: {low: 1e-7, high: 1e-4, log: true}"


def searched(load_text: Load, space: str, more: str = "", rest: str = "", *overrides: str) -> SweepDefinition:
    return load_text(f"search:\n  n_cells: 4\n  {more}\n  space:\n    {space}\n{rest}", *overrides)


def refusal(load_text: Load, space: str, more: str = "", rest: str = "") -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        searched(load_text, space, more, rest)
    return caught.value


@pytest.mark.parametrize(
    ("space", "more", "rest", "message", "line", "close"),
    [
        ("{}", "", "", "the space of the search is empty", 7, None),
        (RANGE, "sampler: tpee", "", "does not take this value", 6, "tpe"),
        (RANGE, "pruner: ashaa", "", "does not take this value", 6, "asha"),
        (RANGE, "pruner: {kind: median, reduction: 3}", "", "is a key of asha and hyperband", 6, None),
        (RANGE, "samplr: tpe", "", "unknown key", 6, "sampler"),
        (RANGE, "", "sample: {count: 2}", "both choose cells", 9, None),
        ("optim.lrr: {low: 1, high: 2}", "", "", "unknown path optim.lrr", 8, "optim.lr"),
        ("optim.lr: {low: 1e-4, high: 1e-7}", "", "", "an empty range", 8, None),
        ("optim.lr: {low: 0, high: 1, log: true}", "", "", "begins above 0", 8, None),
        ("optim.lr: {low: 0, hihg: 1}", "", "", "unknown key hihg", 8, "high"),
        ("optim.lr: {low: x, high: 1}", "", "", "is not a number", 8, None),
        ("head.layers: {low: 1, high: 2.5}", "", "", "whole numbers", 8, None),
        ("head.activation: {low: 1, high: 2}", "", "", "takes no range of numbers", 8, None),
        ("head.activation: [silu, silu]", "", "", "stands twice", 8, None),
        ("head.activation: [silu, tanhh]", "", "", "does not take this value", 8, "tanh"),
        ("head.layers: {low: 1, high: 500}", "", "", "head.layers", 8, None),
        ("seed: [1, 2]", "", "", "the seed is no axis", 8, None),
        (RANGE, "", "grid: {optim.lr: [1e-5]}", "is searched, and is an axis of grid too", 8, None),
        ("optim.lr: {low: 1e-7, high: 1e-4, when: {head.layrs: 2}}", "", "", "unknown path head.layrs", 8, "head.layers"),
        ("optim.lr: {low: 1e-7, high: 1e-4, when: {head.layers: 2}}", "", "", "names a path that does not vary", 8, None),
        (
            "head.layers: {choices: [1, 2], when: {head.activation: silu}}\n"
            "    head.activation: {choices: [none, silu], when: {head.layers: 2}}",
            "", "", "form a circle", 8, None,
        ),
        ("head.activation: [none, silu]", "sampler: cmaes", "", "cmaes searches ranges of numbers", 6, None),
        (
            f"head.activation: [none, silu]\n    {RANGE[:-1]}, when: {{head.activation: silu}}}}", "sampler: qmc", "",
            "knows no conditional", 6, None,
        ),
        (RANGE, "objectives: [{metric: validation/loss}]", "", "are two", 6, None),
        (RANGE, "objectives: [{metric: validation/loss}, {metric: vl/overall}]", "", "of no benchmark", 6, None),
        (RANGE, "{sampler: cmaes, objectives: [{metric: validation/loss}, {metric: validation/margin}]}", "", "", None, None),
        (RANGE, "pruner: {kind: asha, metric: vl_rewardbench/overall}", "", "watches what is validated", 6, None),
        (
            RANGE, "pruner: asha", "evaluate: [vl_rewardbench]\nobjective: {metric: vl_rewardbench/overall}",
            "and the objective is not", 6, None,
        ),
        (RANGE, "", "validation: {items: 0}", "none are held out", 9, None),
    ],
)  # fmt: skip
def test_what_a_wrong_search_is_told(
    load_text: Load, space: str, more: str, rest: str, message: str, line: int | None, close: str | None
) -> None:
    if more.startswith("{"):  # several keys
        more = "\n  ".join(("sampler: cmaes", "objectives: [{metric: validation/loss}, {metric: validation/margin}]"))
        message, line = "optimises one objective", 6
    error = refusal(load_text, space, more, rest)
    assert message in str(error)
    assert error.place is not None and error.place.line == line, str(error)
    assert close is None or error.nearest == close


def test_two_objectives_are_not_pruned(load_text: Load) -> None:
    two = "objectives: [{metric: validation/loss, mode: min}, {metric: validation/margin}]"
    assert "no trial is stopped early" in str(refusal(load_text, RANGE, f"pruner: asha\n  {two}"))
    assert [item.mode for item in searched(load_text, RANGE, two).objectives] == ["min", "max"]


def test_a_suggestion_is_the_trial_that_a_grid_of_its_values_would_be(load_text: Load) -> None:
    from core.definition import expand

    definition = searched(load_text, f"{RANGE}\n    head.layers: {{low: 1, high: 3}}\n    head.activation: [none, silu]")
    (point,) = points(definition)
    trial = suggested(definition, point, {"optim.lr": 3.21e-6, "head.layers": 2, "head.activation": "silu"})
    grid = next(expand(load_text("grid: {optim.lr: [3.21e-6], head.layers: [2], head.activation: [silu]}\n")).trials())
    assert trial is not None
    assert (trial.id, trial.cell, trial.config) == (grid.id, grid.cell, grid.config)


@pytest.mark.parametrize(("drawn", "stands"), [(3.14159e-6, "3.142e-06"), (1e-4, "0.0001"), (9.99999e-5, "0.0001"), (1.00001e-7, "1e-07")])
def test_a_number_of_a_range_is_rounded_and_stays_in_it(load_text: Load, drawn: float, stands: str) -> None:
    (parameter,) = searched(load_text, RANGE).space.parameters  # type: ignore[union-attr]
    assert parameter.range is not None
    assert parameter.range.text(drawn) == stands
    assert parameter.range.low <= float(parameter.range.text(drawn)) <= parameter.range.high


def test_the_probes_show_every_value_and_both_ends_where_the_conditions_allow(load_text: Load) -> None:
    space = (
        "head.activation: [none, silu]\n    loss.zero_coefficient.weight: {low: 1e-4, high: 1, log: true, when: {head.activation: silu}}\n"
        "    optim.lr: {low: 1e-7, high: 1e-4, log: true, when: {loss.length_normalisation.weight: 1}}\n"
        "    loss.length_normalisation.weight: {choices: [0, 1], when: {head.activation: none}}"
    )
    cells = [dict(trial.cell) for trial in probes(searched(load_text, space))]
    assert {cell.get("loss.zero_coefficient.weight") for cell in cells if cell["head.activation"] == "silu"} == {1e-4, 1.0}
    assert {cell["optim.lr"] for cell in cells if "optim.lr" in cell} == {1e-7, 1e-4}
    assert all(cell["head.activation"] == "none" and cell["loss.length_normalisation.weight"] == 1 for cell in cells if "optim.lr" in cell)


def test_labels_and_joined_paths_are_choices(load_text: Load) -> None:
    space = '"backbone, resources.gpus": [[qwen2.5-vl-3b, 4], [qwen2.5-vl-7b, 8]]'
    definition = searched(load_text, space)
    assert definition.space is not None
    assert definition.space.parameters[0].choices == ("qwen2.5-vl-3b, 4", "qwen2.5-vl-7b, 8")
    (point,) = points(definition)
    trial = suggested(definition, point, {"backbone, resources.gpus": "qwen2.5-vl-7b, 8"})
    assert trial is not None
    assert (trial.config["backbone"]["name"], trial.shape.gpus) == ("qwen2.5-vl-7b", 8)


def test_a_condition_on_an_axis_of_the_grid_holds_at_some_points_only(load_text: Load) -> None:
    space = f"{RANGE}\n    loss.zero_coefficient.weight: {{low: 1e-4, high: 1, when: {{head.activation: silu}}}}"
    definition = searched(load_text, space, rest="grid: {head.activation: [none, silu]}")
    assert [point.name for point in points(definition)] == ["head.activation=none", "head.activation=silu"]
    with_term = {trial.cell["head.activation"] for trial in probes(definition) if "loss.zero_coefficient.weight" in trial.cell}
    assert with_term == {"silu"}


def test_the_family_is_what_a_suggestion_computes(load_text: Load) -> None:
    one = searched(load_text, RANGE).family()
    for same in ("search.n_cells=9", "search.sampler=random", "search.pruner=asha", "seeds=3", "search.replicate=1", "name=other"):
        assert searched(load_text, RANGE, "", "", same).family() == one, same
    for other in ("head.layers=3", "seeds=[5]", "validation.items=7", "objective.mode=min", "resources.gpus=2"):
        assert searched(load_text, RANGE, "", "", other).family() != one, other
    assert searched(load_text, "optim.lr: {low: 1e-7, high: 1e-5, log: true}").family() != one


def test_the_command_line_fixes_a_searched_path_and_says_so(load_text: Load) -> None:
    definition = searched(load_text, f"{RANGE}\n    head.layers: [1, 2]", "", "", "optim.lr=1e-6")
    assert definition.space is not None
    assert [parameter.name for parameter in definition.space.parameters] == ["head.layers"]
    assert definition.notices == ["optim.lr=1e-6 drops the axis optim.lr from the search's space"]
    alone = searched(load_text, RANGE, "", "", "optim.lr=1e-6")
    assert alone.search is None
    assert alone.notices[-1] == "nothing is left to search: the search is dropped"


def test_the_definition_as_registered_means_the_same_search(load_text: Load) -> None:
    definition = searched(load_text, f"{RANGE}\n    head.layers: {{choices: [2, 3], when: {{optim.lr: 1e-7}}}}", "pruner: asha")
    again = load_text(definition.text(), whole=True, name="again.yaml")
    assert again.family() == definition.family()
    assert again.text() == definition.text()
