"""An ensemble as a row of the report: made seed by seed, tested against its members, in every format, and missing with a reason."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from core import registry
from core.analysis import ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome, build_report, to_json
from core.analysis.compare import Side, compare
from core.analysis.ensembles import Part, Wanted, assemble
from core.analysis.gates import Gate
from core.analysis.verdicts import Claim
from core.data.examples import pair
from core.errors import IntegrityError
from core.evaluation.credits import collect
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from dashboards.report import render

VL = "vl_rewardbench/overall"
EXAMPLES = [pair(f"wildvision-{n}", f"question {n}", f"good {n}", f"bad {n}") for n in range(300)]
HOSTILE = r"\end{document} 50% & $x_1$ <b>"
FORMATS = ("text", "markdown", "latex", "csv", "json", "html")


class Cells:
    """Trained cells with their tables: each knows the answer to some degree, and errs on examples of its own."""

    def __init__(self) -> None:
        self.tables = {}

    def trial(self, name, skill, seed=0, state="completed", validation=(0.7, 1.0), examples=EXAMPLES, **more):
        id, draw = f"{name}-{seed}", np.random.default_rng([ord(name[0]), seed])
        scores = [[float(draw.normal(skill)), float(draw.normal())] for _ in examples]
        table = from_examples(examples, scores, ScoreMetadata("vl_rewardbench", "r", "h", id, scoring_key=f"key-{id}"))
        self.tables[id, f"key-{id}"] = table
        scoring = replace(ScoringOutcome.from_summary(summarise(table)), key=f"key-{id}")
        metrics = dict(zip(("validation/accuracy", "validation/margin"), validation, strict=True)) if validation else {}
        done = state == "completed"
        return TrialOutcome(
            id, {"cell": name}, seed, state, metrics=metrics, scorings=(scoring,) if done else (), evaluate=("vl_rewardbench",), **more
        )

    def ensemble(self, members, rule="mean", name="e", **more):
        config = registry.get("ensemble_rule", rule).config()
        parts = tuple(Part(f"cell={trials[0].cell['cell']}", trials) for trials in members)
        return assemble(Wanted(f"{name}/{rule}", config, "none", parts, **more), lambda id, key: self.tables[id, key])

    def report(self, members, ensembles, **more):
        tables = [(id, table) for (id, _), table in self.tables.items()]
        tables += [(id, table) for one in ensembles for (id, _), table in one.tables.items()]
        trials = [trial for trials in members for trial in trials]
        return build_report("s", trials, **{"rehearsal": False, "credits": collect(tables), "ensembles": ensembles, **more})


@pytest.fixture
def cells():
    return Cells()


def rows(report, kind="ensemble"):
    return [row for row in report.rows if row.kind == kind]


def test_replicates_are_put_together_by_seed_and_counted_by_the_seeds_in_common(cells):
    members = [[cells.trial("a", 0.8, seed) for seed in (0, 1, 2)], [cells.trial("b", 0.8, seed) for seed in (1, 2, 3)]]
    report = cells.report(members, [cells.ensemble(members)])
    (row,) = rows(report)
    value = row.metrics[VL]
    assert (row.name, row.cell, row.n, row.asked, row.members) == ("e/mean", None, 2, 2, ("cell=a", "cell=b"))
    assert len(value.values) == 2 and value.ci_over == "seeds" and value.ci[0] < value.mean < value.ci[1]
    best = max(cell.metrics[VL].mean for cell in rows(report, "cell"))
    assert value.mean > best + 2, "two that err on examples of their own are better than either"
    assert [row.kind for row in report.rows] == ["cell", "cell", "ensemble"]


def test_it_is_no_best_cell_and_is_tested_against_each_of_its_members(cells):
    members = [[cells.trial(name, 0.9, seed) for seed in range(4)] for name in "abc"]
    other = [cells.trial("z", 5.0, seed) for seed in range(4)]
    report = cells.report([*members, other], [cells.ensemble(members)])
    (row,) = rows(report)
    value = row.metrics[VL]
    assert not value.best and value.beyond_chance, "z is better still, and is no member"
    assert value.tested.rival in row.members
    (z,) = [cell for cell in rows(report, "cell") if cell.metrics[VL].best]
    assert z.name == "cell=z" and z.metrics[VL].beyond_chance
    # the cells' family is what it is without ensembles
    alone = cells.report([*members, other], [])
    assert rows(alone, "cell")[3].metrics[VL].tested == z.metrics[VL].tested
    assert "* better than each of its members (an ensemble) beyond chance" in " ".join(render(report, "text").split())


def test_holm_runs_over_all_ensembles_that_are_shown(cells):
    members = [[cells.trial(name, 0.9, seed) for seed in range(4)] for name in "ab"]
    one = rows(cells.report(members, [cells.ensemble(members)]))[0].metrics[VL].tested
    several = rows(cells.report(members, [cells.ensemble(members), cells.ensemble(members, name="f"), cells.ensemble(members, name="g")]))
    assert one.adjusted == pytest.approx(one.p)
    assert [row.metrics[VL].tested.adjusted for row in several] == [pytest.approx(min(1, 3 * one.p))] * 3


def test_an_ensemble_of_one_is_the_member_and_is_not_better(cells):
    members = [[cells.trial("a", 0.9, seed) for seed in range(2)]]
    report = cells.report(members, [cells.ensemble(members)])
    (cell,), (row,) = rows(report, "cell"), rows(report)
    assert row.metrics[VL].values == cell.metrics[VL].values and row.metrics[VL].ci == cell.metrics[VL].ci
    assert row.metrics[VL].tested is None


def test_what_is_missing_says_why_and_the_rest_stands(cells):
    a = [cells.trial("a", 0.9, seed) for seed in (0, 1)]
    b = [cells.trial("b", 0.9, 0), cells.trial("b", 0.9, 1, state="failed", cause="cuda_oom")]
    (row,) = rows(cells.report([a, b], [cells.ensemble([a, b])]))
    assert (row.n, row.asked) == (1, 2)
    assert row.missing == ("seed 1: waiting: for cell=b (failed: cuda_oom)",)
    unscored = [replace(b[0], scorings=())]
    assert rows(cells.report([a, unscored], [cells.ensemble([a[:1], unscored])]))[0].missing == (
        "not scored on vl_rewardbench: cell=b is not scored on it",
    )
    without = [cells.trial("c", 0.9, validation=None)]
    found = rows(cells.report([a, without], [cells.ensemble([a[:1], without], rule) for rule in ("accuracy_weighted", "mean")]))
    assert "weighs by validation/accuracy, which cell=c has not: train it with `validation.items`" in found[0].missing[0]
    assert found[1].missing == () and found[1].n == 1
    shorter = [cells.trial("d", 0.9, examples=EXAMPLES[:290])]
    (row,) = rows(cells.report([a, shorter], [cells.ensemble([a[:1], shorter])]))
    assert "different examples: cell=d has no score of 10 of 300, wildvision-290" in row.missing[0]
    apart = [cells.trial("g", 0.9, seed=7)]
    assert "for members with a seed in common" in rows(cells.report([a, apart], [cells.ensemble([a, apart])]))[0].missing[0]
    (row,) = rows(cells.report([a], [cells.ensemble([], problem="other, which has not been launched")]))
    assert (row.n, row.asked, row.missing) == (0, 0, ("waiting: for other, which has not been launched",))


def test_a_damaged_table_hides_no_other_row(cells):
    members = [[cells.trial("a", 0.9)], [cells.trial("b", 0.9)]]

    def broken(id, key):
        raise IntegrityError("a score of the table is not finite", place="table.parquet")

    config = registry.get("ensemble_rule", "mean").config()
    found = assemble(Wanted("e/mean", config, "none", tuple(Part(t[0].id, t) for t in members)), broken)
    (row,) = rows(cells.report(members, [found]))
    assert row.missing == ("not scored on vl_rewardbench: a-0: a score of the table is not finite: table.parquet",)


def test_disagreement_calibration_gates_and_comparisons_need_nothing_special(cells):
    members = [[cells.trial("a", 0.9)], [cells.trial("b", 0.9)]]
    ensemble = cells.ensemble(members)
    report = cells.report(members, [ensemble], gates={"ece": Gate(max=0.0001)})
    (one,) = [one for one in report.sanity if one.cell == "e/mean"]
    a, b = (credit for credit in collect([(k[0], t) for k, t in cells.tables.items()])[0].values)
    assert one.disagreement == pytest.approx(float((a != b).mean()))
    assert one.any_right == pytest.approx(float(np.maximum(a, b).mean()))
    assert one.ece is not None and all(one.disagreement is None for one in report.sanity if one.cell != "e/mean")
    assert any("do not promote: ece" in flag for flag in rows(report)[0].flags)
    credits = collect([*((k[0], t) for k, t in cells.tables.items()), *((k[0], t) for k, t in ensemble.tables.items())])
    (made,) = compare(Side("e", False, ensemble.trials), Side("a", False, members[0]), [VL], credits)
    assert (made.refused is None and made.mcnemar is not None and made.better == "a") or made.difference > 0


def test_papers_and_claims_may_be_about_an_ensemble(cells):
    members = [[cells.trial(name, 0.9, seed) for seed in range(4)] for name in "ab"]
    printed = ReportedRow("a paper", {VL: ReportedValue(80.0, revision="r")}, ensemble="e/mean")
    claim = Claim("two are better than one", "better", VL, (("ensemble=e/mean", "cell=a"), ("ensemble=e/mean", "cell=b")))
    report = cells.report(members, [cells.ensemble(members)], reported=[printed], claims=[claim])
    value = rows(report)[0].metrics[VL]
    assert (value.reported, value.source) == (80.0, "a paper")
    assert value.difference == pytest.approx(value.mean - 80.0)
    assert report.claims[0].word == "supported"


def test_every_format_shows_it_whatever_its_name_is(cells):
    members = [[cells.trial(name, 0.9, seed) for seed in range(2)] for name in "ab"]
    ensembles = [cells.ensemble(members, name=HOSTILE), cells.ensemble([], name="waits", problem="X")]
    report = cells.report(members, ensembles)
    for format in FORMATS:
        text = render(report, format)
        assert "waits/mean" in text.replace(r"\allowbreak{}", ""), format
    latex = render(report, "latex")
    assert latex.count(r"\end{document}") == 1 and r"50\% \& \$x\_" in latex.replace(r"\allowbreak{}", "")
    page = render(report, "html")
    assert "<b>" not in page.split("</style>")[1].replace("<br>", "") and "members differ" in page
    table = list(csv.DictReader(io.StringIO(render(report, "csv"))))
    assert [line["kind"] for line in table] == ["cell", "cell", "ensemble", "ensemble"]
    assert float(table[2][VL]) == rows(report)[0].metrics[VL].mean
    shown = json.loads(json.dumps(to_json(report)))["rows"]
    assert [row["members"] for row in shown] == [[], [], ["cell=a", "cell=b"], []]
    assert shown[2]["kind"] == "ensemble" and shown[2]["cell"] is None and shown[2]["metrics"][VL]["ci_over"] == "seeds"
    assert "2 cells, 2 ensembles" in render(report, "text")


def test_a_digest_names_the_ensemble_that_is_better_than_the_best_cell(cells):
    from dashboards.report.verdicts import verdicts

    members = [[cells.trial(name, 0.9, seed) for seed in range(4)] for name in "ab"]
    found = {one.metric: one.words for one in verdicts(cells.report(members, [cells.ensemble(members)]))}
    assert found[VL].endswith("The ensemble e/mean has a better mean still, and beats each of its members beyond chance.")
