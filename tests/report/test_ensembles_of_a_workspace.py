"""Members are found in the plans of a workspace: chosen by a metric, in other sweeps, and not there yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.definition import load
from core.workspace.layout import Workspace
from core.workspace.registration import newest
from sweeps.comparing import compare_named, sides_of
from sweeps.launching import prepare
from sweeps.reporting import gather
from tests.web.conftest import Made

BASE = """\
version: 1
name: {name}
trial: {{backbone: qwen2.5-vl-3b, data: {{sources: {{{sources}: {{}}}}}}, train: {{epochs: 1}}}}
grid: {{head.layers: {layers}}}
seeds: 2
evaluate: [generated_images]
"""
METRIC = "generated_images/accuracy"


class Study(Made):
    """A launched rehearsal of which nothing has run; ``complete`` and ``fail`` say what became of its trials."""

    def __init__(self, folder: Path, name: str, layers: str, more: str = "", sources: str = "generated_images") -> None:
        (folder / f"{name}.yaml").write_text(BASE.format(name=name, layers=layers, sources=sources) + more, encoding="utf-8")
        definition = load(folder / f"{name}.yaml", rehearsal=True, overrides=["rehearsal.items=20"])
        prepare(definition, folder / "runs", source=f"{name}.yaml", overrides=[], stale="keep", prune=False)
        self.workspace = Workspace.open(folder / "runs")
        revision = newest(self.workspace.sweep(f"{name}-rehearsal"))
        assert revision is not None
        self.revision, self.plan = revision, list(revision.plan())

    def report(self):
        return gather(self.workspace, self.revision)

    def rows(self):
        return {row.name: row for row in self.report().rows if row.kind == "ensemble"}


def test_the_best_are_chosen_and_chosen_again_when_more_is_known(tmp_path):
    study = Study(
        tmp_path,
        "study",
        "[1, 2, 3]",
        "ensembles: [{name: e, members: {top: 2}}, {name: b, members: {top: 1, by: generated_images/accuracy}}]\n",
    )
    assert study.rows()["e/mean"].missing == ("waiting: for 2 cells with validation/accuracy: 0 of 3 have it",)
    for number, accuracy in enumerate((0.6, 0.6, 0.9, 0.9)):
        study.complete(number, 10 + number, accuracy)
    row = study.rows()["e/mean"]
    assert row.members == ("head.layers=2", "head.layers=1") and row.n == 2
    assert row.flags == ("chosen of the 2 of 3 cells that have validation/accuracy",)
    study.complete(4, 9, 0.8)
    study.complete(5, 9, 0.8)
    row = study.rows()["e/mean"]
    assert (row.members, row.flags) == (("head.layers=2", "head.layers=3"), ())
    assert "members selected on generated_images/accuracy, which it reports" in study.rows()["b/mean"].flags


def test_members_of_other_sweeps_are_read_from_their_newest_launch(tmp_path):
    more = """\
ensembles:
  - {name: mixed, members: [{where: {head.layers: 1}}, {sweep: other, where: {head.layers: 2}}], rules: [mean, accuracy_weighted]}
  - {name: wide, members: {sweep: [this, other], where: {head.layers: [1, 2]}}}
  - {name: vague, members: [{sweep: other}]}
  - {name: afar, members: {sweep: third}}
"""
    (tmp_path / "other.yaml").write_text(BASE.format(name="other", layers="[2, 3]", sources="generated_text"))
    (tmp_path / "third.yaml").write_text(BASE.format(name="third", layers="[2]", sources="generated_text"))
    study = Study(tmp_path, "study", "[1]", more)
    for number in (0, 1):
        study.complete(number, 12, 0.7)
    assert study.rows()["mixed/mean"].missing == ("waiting: for other, which has not been launched as a rehearsal in this workspace",)
    other = Study(tmp_path, "other", "[2, 3]", sources="generated_text")
    other.complete(0, 15, 0.8)
    rows = study.rows()
    assert rows["mixed/mean"].members == ("head.layers=1", "other:head.layers=2")
    assert (rows["mixed/mean"].n, rows["mixed/mean"].asked) == (1, 2)
    assert rows["mixed/mean"].missing[0].startswith("seed 1: waiting: for other:head.layers=2 (pending")
    assert rows["wide/mean"].members == rows["mixed/mean"].members
    assert rows["vague/mean"].missing == ("waiting: for exactly one cell of other that is like a member (other: every cell): 2 are",)
    assert "third, which has not been launched" in rows["afar/mean"].missing[0]
    assert any(note.startswith("mixed: its members were validated on different pairs") for note in study.report().notes)
    # scores of another sweep count in the statistics as well
    assert rows["mixed/mean"].metrics[METRIC].ci_over == "examples"
    found = compare_named(study.workspace, "study:ensemble=mixed/mean", "other:head.layers=2", [METRIC])
    assert found.comparisons[0].refused is None and found.comparisons[0].mcnemar is not None
    assert "ensemble=wide/mean" in sides_of(study.workspace, "study:ensemble=wide")


def test_an_ensemble_is_compared_under_a_name_with_blanks(tmp_path):
    study = Study(tmp_path, "study", "[1, 2]", "ensembles: [{name: 'a, b = 1', members: {where: {}}, rules: [mean, min]}]\n")
    for number in range(4):
        study.complete(number, 10 + number, 0.7)
    (one,) = sides_of(study.workspace, "study:ensemble=a, b = 1/min").values()
    assert one.name == "study-rehearsal@1:ensemble=a, b = 1/min" and len(one.trials) == 2
    with pytest.raises(Exception, match="2 cells are like this"):
        sides_of(study.workspace, "study:ensemble=a, b = 1")
