"""What the key `ensembles` may say, what it means, and how it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.definition import Expansion, SweepDefinition, expand, load, read_ensembles, reported_for, resolve_claims
from core.definition.ensembles import Ensemble
from core.definition.reported import reported_others
from core.errors import DefinitionError, UsageError

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"
GRID = "grid: {head.layers: [1, 2, 3], backbone: [qwen2.5-vl-3b, qwen3-8b]}\nevaluate: [generated_text]\n"

Load = Callable[..., SweepDefinition]
Expand = Callable[..., Expansion]


def members(definition: SweepDefinition, number: int = 0) -> list[list[str]]:
    """The cells that each query finds, by the values of their axes."""
    plan = list(expand(definition).trials())
    return [
        [" ".join(map(str, trial.cell.values())) for trial in query.matching(plan)] for query in read_ensembles(definition)[number].queries
    ]


def test_members_are_cells_paths_or_a_query(load_text: Load) -> None:
    definition = load_text(
        GRID + "ensembles:\n"
        "  - {name: two, members: [{where: {head.layers: 1, backbone: qwen3-8b}}, {where: {head.layers: 3, backbone: qwen3-8b}}]}\n"
        "  - {name: paths, members: {head.layers: [2, 3], backbone: qwen2.5-vl-3b}}\n"
        "  - {name: everything, members: {where: {}}}\n"
        "  - {name: top, members: {top: 3, where: {backbone: qwen3-8b}, by: generated_text/accuracy}}\n"
        "  - {name: afar, members: {sweep: [this, other], where: {head.layers: 1}}}\n"
    )
    assert members(definition, 0) == [["1 qwen3-8b"], ["3 qwen3-8b"]]
    assert members(definition, 1) == [["2 qwen2.5-vl-3b", "3 qwen2.5-vl-3b"]]
    assert [len(found) for found in members(definition, 2)] == [6]
    found = read_ensembles(definition)
    assert (found[3].top, found[3].by, found[3].mode) == (3, "generated_text/accuracy", "max")
    assert [query.sweep for query in found[4].queries] == [None, "other"]
    assert found[0].by == "validation/accuracy"


def test_what_a_revision_holds_reads_back_the_same(load_text: Load) -> None:
    definition = load_text(
        GRID + "ensembles:\n"
        "  - {name: e, members: {top: 2, where: {head.layers: [1, 2]}}, rules: [mean]}\n"
        "  - name: f\n"
        "    normalise: zscore\n"
        "    members: [{sweep: s, where: {head.layers: 1}, on: text}]\n"
        "    rules: ['vote@5', {name: vote, ties: margin}]\n"
    )
    plan = list(expand(definition).trials())
    for ensemble in read_ensembles(definition):
        back = Ensemble.from_json(json.loads(json.dumps(ensemble.to_json())))
        assert back.rows == ensemble.rows and list(back.rows) == list(ensemble.rows)
        assert (back.top, back.by, back.normalise) == (ensemble.top, ensemble.by, ensemble.normalise)
        for one, other in zip(back.queries, ensemble.queries, strict=True):
            assert (one.sweep, one.on, one.exact, str(one)) == (other.sweep, other.on, other.exact, str(other))
            assert [trial.id for trial in one.matching(plan)] == [trial.id for trial in other.matching(plan)]


def test_a_rule_has_a_row_named_by_what_it_is(load_text: Load) -> None:
    definition = load_text(GRID + "ensembles: [{name: e, members: {where: {}}, rules: [mean, 'vote@5', {name: vote, ties: accuracy}]}]\n")
    assert list(read_ensembles(definition)[0].rows) == ["e/mean", "e/vote@5", "e/vote[ties=accuracy]"]


@pytest.mark.parametrize(
    ("ensemble", "says"),
    [
        ("{name: e, members: []}", ["ensembles[0].members is wrong", "at least one member"]),
        ("{name: e, members: {}}", ["at least one member"]),
        ("{name: e}", ["ensembles[0].members is missing"]),
        ("{name: e, members: 3}", ["members are a list of cells"]),
        ("{name: e, members: {where: {}}, rules: []}", ["at least one rule"]),
        ("{name: e, members: {where: {}}, rules: [maen]}", ["unknown ensemble rule", "did you mean: mean", "vote@K"]),
        ("{name: e, members: {where: {}}, rules: [[mean]]}", ["a rule is a name, or a mapping with a `name`"]),
        ("{name: e, members: {where: {}}, rules: [{name: vote, tie: margin}]}", ["unknown key ensembles[0].rules[0].tie", "mean: ties"]),
        ("{name: e, members: {where: {}}, rules: [{name: vote, ties: coin}]}", ["ties does not take this value", "tie, margin, accuracy"]),
        ("{name: e, members: {where: {}}, rules: ['vote@0']}", ["greater than or equal to 1"]),
        ("{name: e, members: {where: {}}, rules: [mean, {name: mean}]}", ["a rule of the ensemble e stands twice"]),
        ("{name: e, members: {where: {}}, normalise: z}", ["normalise does not take this value", "none, zscore"]),
        ("{name: a/b, members: {where: {}}}", ["ensembles[0].name is wrong"]),
        ("{name: e, members: {head.layer: 1}}", ["head.layer", "did you mean: head.layers"]),
        ("{name: e, members: {top: 2, head.layers: 1}}", ["unknown key ensembles[0].members.head.layers", "where"]),
        ("{name: e, members: {top: 0}}", ["members.top"]),
        ("{name: e, members: {top: 2, by: nothing/accuracy}}", ["what the members of an ensemble are chosen by", "generated_text/METRIC"]),
        ("{name: e, members: [{wher: {head.layers: 1}}]}", ["unknown key ensembles[0].members[0].wher", "did you mean: where"]),
        ("{name: e, members: [{where: {head.layers: 1}, on: video}]}", ["auto, all, text, media"]),
    ],
)  # fmt: skip
def test_a_wrong_ensemble_is_refused_with_its_line(load_text: Load, ensemble: str, says: list[str]) -> None:
    with pytest.raises(DefinitionError) as caught:
        load_text(GRID + f"ensembles:\n  - {ensemble}\n")
    assert str(caught.value.place).endswith("study.yaml:7") or "metric" in str(caught.value), caught.value
    for word in says:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ("[{where: {head.layers: 1}}]", "a member of the ensemble e is 2 cells, and one is meant"),
        ("[{where: {head.layers: 4}}]", "a member of the ensemble e finds no cell of this study"),
        ("{head.layers: 4}", "the query of the ensemble e finds no cell of this study"),
        ("{top: 9}", "the ensemble e takes the best 9 of 6 cells"),
    ],
)
def test_members_that_are_no_cells_are_refused_when_the_cells_are_known(expand_text: Expand, found: str, says: str) -> None:
    study = expand_text(GRID + f"ensembles:\n  - {{name: e, members: {found}}}\n")
    with pytest.raises(DefinitionError, match=says) as caught:
        list(study.cells())
    assert str(caught.value.place).endswith("study.yaml:7")


def test_members_that_the_command_line_took_away_are_a_warning(expand_text: Expand) -> None:
    study = expand_text(GRID + "ensembles: [{name: e, members: {head.layers: 3}}]\n", "head.layers=1")
    assert len(list(study.cells())) == 2
    assert any("finds no cell of this study: head.layers=3" in warning for warning in study.warnings)


def test_two_ensembles_of_one_name_are_refused(load_text: Load) -> None:
    with pytest.raises(DefinitionError, match="an ensemble's name stands twice"):
        load_text(GRID + "ensembles: [{name: e, members: {where: {}}}, {name: e, members: {where: {}}}]\n")


ONE = GRID + "ensembles: [{name: e, members: {where: {}}, rules: [mean, min]}, {name: f, members: {where: {}}}]\n"


def test_a_reported_row_names_a_row_of_an_ensemble(load_text: Load) -> None:
    def rows(named: str) -> Any:
        table = f"reported: [{{source: s, metrics: [generated_text/accuracy], rows: [{{ensemble: {named}, values: [7]}}]}}]\n"
        return [subject for subject, _ in reported_others(load_text(ONE + table))]

    assert rows("e/min") == [{"ensemble": "e/min"}]
    assert rows("f") == [{"ensemble": "f/mean"}], "the only rule may be left out"
    with pytest.raises(DefinitionError, match="the ensemble e has 2 rules: name one"):
        rows("e")
    with pytest.raises(DefinitionError, match="no such ensemble") as caught:
        rows("e/mina")
    assert caught.value.nearest == "e/min"


def test_a_claim_is_about_ensembles_or_cells(load_text: Load) -> None:
    def pairs(claim: str) -> Any:
        definition = load_text(ONE + f"claims:\n  - {{{claim}, on: generated_text/accuracy}}\n")
        (found,) = resolve_claims(definition, expand(definition).cells())
        return found["pairs"]

    assert pairs("better: {ensemble: f}, than: {head.layers: 1, backbone: qwen3-8b}") == [
        ["ensemble=f/mean", "head.layers=1 backbone=qwen3-8b"]
    ]
    assert pairs("better: {ensemble: e/mean}, than: {ensemble: [e/min, f]}") == [
        ["ensemble=e/mean", "ensemble=e/min"],
        ["ensemble=e/mean", "ensemble=f/mean"],
    ]
    best = pairs("best: {ensemble: f}")
    assert len(best) == 6 + 2 and all(a == "ensemble=f/mean" for a, _ in best)
    for wrong, says in (("{ensemble: g}", "no such ensemble"), ("{ensemble: f, head.layers: 1}", "cells or an ensemble, not both")):
        with pytest.raises(DefinitionError, match=says):
            pairs(f"best: {wrong}")


def test_ensembles_are_no_part_of_any_id_and_change_the_revision(load_text: Load) -> None:
    without, other = load_text(GRID), load_text(GRID + "ensembles: [{name: e, members: {where: {}}}]\n")
    assert [trial.id for trial in expand(without).trials()] == [trial.id for trial in expand(other).trials()]
    assert without.digest() != other.digest()


def test_a_base_hands_down_no_ensembles_and_the_command_line_sets_none(load_text: Load, tmp_path: Path) -> None:
    load_text(GRID + "ensembles: [{name: e, members: {where: {}}}]\n")
    (tmp_path / "next.yaml").write_text("version: 1\nname: next\nbase: study\n")
    assert load(tmp_path / "next.yaml").ensembles == ()
    with pytest.raises(UsageError, match="ensembles is not set on the command line"):
        load_text(GRID, "ensembles=[]")


def test_table_7_is_three_cells_of_which_two_are_shared(load_text: Load) -> None:
    definition = load(SHIPPED / "ensemble.yaml", search=[SHIPPED])
    cells = list(expand(definition).cells())
    elsewhere = {
        cell.id for name in ("basereward", "text_transfer") for cell in expand(load(SHIPPED / f"{name}.yaml", search=[SHIPPED])).cells()
    }
    assert [cell.cell["backbone"] for cell in cells if cell.id in elsewhere] == ["qwen2.5-vl-7b", "qwen3-8b"]
    printed = {
        subject["ensemble"]: {name: value["value"] for name, value in found.items()} for subject, found in reported_others(definition)
    }
    assert set(printed) == {name for ensemble in read_ensembles(definition) for name in ensemble.rows}
    assert list(printed["pair and text/mean"].values()) == [83.4, 92.9, 71.5, 77.1, 88.3]
    assert next(iter(reported_for(definition, cells)[cells[1].id].values()))["value"] == 79.9


def test_the_final_ensemble_is_a_row_of_its_own_and_no_cell() -> None:
    definition = load(SHIPPED / "basereward.yaml", search=[SHIPPED])
    assert len(list(expand(definition).cells())) == 2
    ((name, values),) = [(subject["ensemble"], found) for subject, found in reported_others(definition) if "ensemble" in subject]
    assert name == "final/mean"
    assert values["mm_rlhf_rewardbench/acc"]["value"] == 92.94 and values["vl_rewardbench/overall"]["value"] == 84.41
    assert values["multimodal_rewardbench/overall/micro"]["value"] == 73.6
