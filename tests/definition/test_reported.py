"""Reported values: which cell a row of a paper's table belongs to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.definition import SweepDefinition, expand, load, reported_for
from core.definition.reported import reported_others
from core.errors import DefinitionError

Load = Callable[..., SweepDefinition]
SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"

GRID = "grid: {head.layers: [1, 2], head.activation: [none, silu]}\n"


def table(rows: str) -> str:
    return f"{GRID}reported:\n  - source: a paper\n    note: a table\n    metrics: [a/x, a/y]\n    rows:\n{rows}"


def test_a_row_belongs_to_the_one_cell_that_it_names(load_text: Load) -> None:
    definition = load_text(
        table(
            "      - {cell: {head.layers: 1}, values: [1, null]}\n"
            "      - cell: {head.layers: 2, head.activation: silu, backbone: qwen2.5-vl-7b}\n"
            "        values: [2.5, 3]\n        note: odd\n        comparable: false\n"
        )
    )
    cells = list(expand(definition).cells())
    found = reported_for(definition, cells)
    assert found == {
        cells[0].id: {
            "a/x": {"value": 1.0, "source": "a paper", "about": "a table", "note": None, "comparable": True},
            "a/y": {"value": None, "source": "a paper", "about": "a table", "note": None, "comparable": True},
        },
        cells[2].id: {
            "a/x": {"value": 2.5, "source": "a paper", "about": "a table", "note": "odd", "comparable": False},
            "a/y": {"value": 3.0, "source": "a paper", "about": "a table", "note": "odd", "comparable": False},
        },
    }


def test_every_replicate_of_a_cell_has_its_reported_values(load_text: Load) -> None:
    definition = load_text(table("      - {cell: {head.layers: 1}, values: [1, 2]}\n") + "seeds: 3\n")
    trials = list(expand(definition).trials())
    assert set(reported_for(definition, trials)) == {trial.id for trial in trials if trial.cell["head.layers"] == 1}


def test_a_row_that_fits_several_cells_names_what_would_tell_them_apart(load_text: Load) -> None:
    definition = load_text(table("      - {cell: {head.layers: 2}, values: [1, 2]}\n"))
    with pytest.raises(DefinitionError, match="several cells") as caught:
        _ = expand(definition).counts
    assert "head.activation" in str(caught.value.allowed)
    assert str(caught.value.place).endswith("study.yaml:10")


def test_a_row_made_ambiguous_by_the_command_line_is_a_warning(load_text: Load) -> None:
    definition = load_text(table("      - {cell: {head.layers: 1}, values: [1, 2]}\n"), "optim.lr=[1e-5,3e-6]")
    expansion = expand(definition)
    (warning,) = expansion.warnings
    assert "command line made optim.lr an axis" in warning
    assert reported_for(definition, expansion.cells()) == {}


def test_a_row_without_a_cell_is_a_warning(load_text: Load) -> None:
    (warning,) = expand(load_text(table("      - {cell: {head.layers: 4}, values: [1, 2]}\n"))).warnings
    assert "fits no cell" in warning
    assert "head.layers=4" in warning


def test_a_row_can_name_a_label_or_an_outside_model(load_text: Load) -> None:
    definition = load_text(
        "grid: {data.sources: [{label: mixed, value: {a: {}, b: {}}}, {label: pure, value: {a: {}}}]}\n"
        "reported: [{source: s, metrics: [m], rows: [{cell: {data.sources: pure}, values: [7]}, {model: GPT-4o, values: [8]}]}]\n"
    )
    cells = list(expand(definition).cells())
    assert reported_for(definition, cells)[cells[1].id]["m"]["value"] == 7.0
    assert reported_others(definition) == [
        ({"model": "GPT-4o"}, {"m": {"value": 8.0, "source": "s", "about": None, "note": None, "comparable": True}})
    ]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("{cell: {head.layers: 1}, values: [1]}", "1 values"),
        ("{cell: {head.layers: 1}, values: [1, x]}", "values"),
        ("{values: [1, 2]}", "either a `cell`, an `ensemble` or a `model`"),
        ("{cell: {head.layers: 1}, model: m, values: [1, 2]}", "either a `cell`, an `ensemble` or a `model`"),
        ("{cell: {head.layer: 1}, values: [1, 2]}", "head.layers"),
        ("{cell: {head.layers: many}, values: [1, 2]}", "head.layers"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(load_text: Load, row: str, says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_text(table(f"      - {row}\n"))
    assert says in str(caught.value)
    assert str(caught.value.place).endswith("study.yaml:10")


def test_the_head_ablation_is_the_papers_table_2() -> None:
    definition = load(SHIPPED / "head_ablation.yaml", search=[SHIPPED])
    expansion = expand(definition)
    assert expansion.counts == {"cells": 7, "trials": 7, "excluded": 0, "merged": 0}
    assert expansion.warnings == definition.notices == []
    found = reported_for(definition, expansion.cells())
    printed = {
        (cell.cell["head.layers"], cell.cell["head.activation"]): tuple(
            found[cell.id][metric]["value"]
            for metric in ("vl_rewardbench/overall", "vl_rewardbench/macro/r1_script", "mm_rlhf_rewardbench/acc_plus")
        )
        for cell in expansion.cells()
    }
    assert printed == {
        (1, "none"): (71.2, 70.3, 71.1),
        (2, "none"): (71.7, 71.0, 71.7),
        (2, "tanh"): (74.8, 73.7, 76.1),
        (2, "silu"): (76.5, 75.6, 80.4),
        (3, "silu"): (71.4, 70.8, 76.1),
        (4, "silu"): (69.1, 68.6, 73.9),
        (5, "silu"): (73.5, 72.7, 73.9),
    }


def test_the_printed_overall_follows_from_the_groups_except_where_a_note_says_so() -> None:
    definition = load(SHIPPED / "head_ablation.yaml", search=[SHIPPED])
    sizes = {"reasoning": 318, "hallucination": 448, "general": 484}
    for metrics in reported_for(definition, expand(definition).cells()).values():
        value = {name: entry["value"] for name, entry in metrics.items()}
        groups = {name: value[f"vl_rewardbench/r1_script/{name}"] for name in sizes}
        off = abs(sum(groups[name] * sizes[name] for name in sizes) / 1250 - value["vl_rewardbench/overall"])
        note = str(metrics["vl_rewardbench/overall"]["note"])
        assert (off > 0.1) == ("overall is" in note)


def test_adding_gelu_to_the_two_layer_case_adds_exactly_one_cell(tmp_path: Path) -> None:
    text = (SHIPPED / "head_ablation.yaml").read_text()
    changed = tmp_path / "head_ablation.yaml"
    changed.write_text(text.replace("[none, tanh, silu]", "[none, tanh, silu, gelu]"))
    before = {trial.id for trial in expand(load(SHIPPED / "head_ablation.yaml", search=[SHIPPED])).trials()}
    after = {trial.id for trial in expand(load(changed, search=[SHIPPED])).trials()}
    assert before < after
    assert len(after) == 8


def test_adding_a_benchmark_changes_no_trial() -> None:
    before = [trial.id for trial in expand(load(SHIPPED / "head_ablation.yaml", search=[SHIPPED])).trials()]
    more = load(SHIPPED / "head_ablation.yaml", ["evaluate=[vl_rewardbench,mm_rlhf_rewardbench,generated_images]"], search=[SHIPPED])
    assert [trial.id for trial in expand(more).trials()] == before
