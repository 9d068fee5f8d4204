"""Intervals and marks in the table: what is significant, what is merely highest, and what was not tested."""

from __future__ import annotations

import csv
import io
import json

import numpy as np
import pytest
from rich.cells import cell_len

from core.analysis import ScoringOutcome, TrialOutcome, build_report, choose
from core.data.examples import pair
from core.evaluation.credits import collect
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from dashboards.report import FORMATS, render

VL = "vl_rewardbench/overall"
COLUMNS = (VL, "vl_rewardbench/macro/official", "vl_rewardbench/macro/r1_script")
GROUPS = ("wildvision", "RLAIF-V", "mathverse", "hallucination")


def study(shares, seeds=1, n=300, tables=True):
    """A report of cells whose share of right examples is known."""
    trials, made = [], []
    examples = [pair(f"{GROUPS[i // 2 % 4]}-{i // 2}", f"question {i}", f"good {i}", f"bad {i}") for i in range(n)]
    for cell, share in enumerate(shares):
        for seed in range(seeds):
            right = np.random.default_rng([cell, seed]).random(n) < share
            table = from_examples(examples, [[float(good), 0.5] for good in right], ScoreMetadata("vl_rewardbench", "r", "h", "s"))
            id = f"{cell}-{seed}"
            made.append((id, table))
            metrics = {"validation/accuracy": float(right[:50].mean())}
            trials.append(
                TrialOutcome(
                    id, {"layers": cell}, seed, "completed", metrics=metrics, scorings=(ScoringOutcome.from_summary(summarise(table)),)
                )
            )
    return build_report("s", trials, rehearsal=False, credits=collect(made) if tables else ())


def value(report, row, metric=VL):
    return report.rows[row].metrics[metric]


def test_replicates_have_spread_and_students_interval():
    found = value(study([0.6, 0.8], seeds=3), 0)
    assert found.spread == pytest.approx(np.std(found.values, ddof=1))
    half = 4.302653 * found.spread / 3**0.5
    assert (found.ci, found.ci_over) == (pytest.approx((found.mean - half, found.mean + half)), "seeds")


def test_one_replicate_has_an_interval_over_examples():
    found = value(study([0.6, 0.8]), 0)
    assert found.spread is None
    assert found.ci_over == "examples"
    assert found.ci[0] < found.mean < found.ci[1]
    assert 8 < found.ci[1] - found.ci[0] < 15


def test_one_replicate_without_scores_by_example_has_no_interval_and_no_star():
    report = study([0.3, 0.9], tables=False)
    assert (value(report, 1).ci, value(report, 1).best, value(report, 1).beyond_chance) == (None, True, False)
    assert f"Not tested on {VL}: n = 1, and no scores by example." in report.notes
    assert "*" not in render(report)
    assert "^ merely the best mean" in render(report)


def test_a_star_on_one_replicate_comes_from_the_examples_and_names_the_test():
    report = study([0.5, 0.5, 0.9])
    assert value(report, 2).beyond_chance
    text = render(report, width=140)
    assert f"{value(report, 2).mean:.1f}*" in text
    assert "* better than every other cell beyond chance (McNemar for clusters, n = 1: these models, not other seeds; 5 % after Holm)" in (
        " ".join(text.split())
    )
    assert value(report, 2, "validation/accuracy").best
    assert not value(report, 2, "validation/accuracy").beyond_chance


def test_a_star_over_several_seeds_names_its_test():
    report = study([0.5, 0.9], seeds=3)
    assert value(report, 1).tested.test == "t over seeds and examples"
    assert value(report, 1).beyond_chance
    assert "n = 1" not in render(report)


def test_the_best_of_nearly_equal_cells_has_no_star():
    report = study([0.70, 0.71, 0.69], seeds=2)
    best = next(row.metrics[VL] for row in report.rows if row.metrics[VL].best)
    assert best.tested.p > 0.05
    assert not best.beyond_chance


def test_a_cell_that_beats_all_but_one_has_no_star():
    report = study([0.4, 0.9, 0.9])
    best = next(row.metrics[VL] for row in report.rows if row.metrics[VL].best)
    assert best.tested.rival in ("layers=1", "layers=2")
    assert not best.beyond_chance


def test_holm_is_over_the_columns_that_are_shown():
    report = study([0.62, 0.72])
    tested = [value(report, 1, metric).tested for metric in COLUMNS]
    assert min(test.adjusted for test in tested) > 2 * min(test.p for test in tested)
    (one,) = (value(choose(report, [VL]), row).tested for row in (0, 1) if value(report, row).best)
    assert one.adjusted == one.p
    hidden = value(report, 1, "vl_rewardbench/official/general").tested
    assert hidden is None or hidden.adjusted is None


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_fit_the_terminal_and_none_is_dropped(width, seeds):
    report = study([0.5, 0.7, 0.9], seeds=seeds)
    text = render(report, width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for row in report.rows:
        for metric in report.columns:
            found = row.metrics[metric]
            if found.ci is not None:
                assert f"±{(found.ci[1] - found.ci[0]) / 2:.{3 if metric.startswith('validation') else 1}f}" in text


def test_every_format_has_the_interval():
    report = study([0.5, 0.9], seeds=3)
    found = value(report, 1)
    (_, row) = csv.DictReader(io.StringIO(render(report, "csv")))
    assert (float(row[f"{VL} low"]), float(row[f"{VL} high"])) == pytest.approx(found.ci)
    assert float(row[f"{VL} spread"]) == pytest.approx(found.spread)
    assert (row[f"{VL} mark"], row[f"{VL} interval over"]) == ("*", "seeds")
    assert row[f"{VL} test"].startswith("t over seeds and examples, p = ")
    entry = json.loads(render(report, "json"))["rows"][1]["metrics"][VL]
    assert (entry["ci"], entry["ci_over"], entry["beyond_chance"]) == ([pytest.approx(end) for end in found.ci], "seeds", True)
    assert set(entry["test"]) == {"name", "rival", "p", "p_holm"}
    line = next(line for line in render(report, "markdown").splitlines() if line.startswith("| 1 |"))
    assert f"**{found.mean:.1f}**\\* ±{(found.ci[1] - found.ci[0]) / 2:.1f}" in line


def test_too_few_examples_are_said_below_the_table():
    report = study([0.5, 0.9], n=8)
    assert value(report, 0).ci is None
    assert any(note.startswith(f"No interval on {VL}: 4 independent examples") for note in report.notes)
    assert any(note.startswith(f"Not tested on {VL}: 4 independent examples") for note in report.notes)


def test_a_replicate_that_is_nan_is_no_replicate():
    trials = [
        TrialOutcome(str(seed), {"a": 1}, seed, "completed", metrics={"validation/accuracy": number})
        for seed, number in enumerate((0.9, float("nan")))
    ]
    report = build_report("s", trials, rehearsal=False)
    assert (report.rows[0].n, value(report, 0, "validation/accuracy").ci) == (1, None)
    for format in FORMATS:
        assert "nan" not in render(report, format).lower().replace("nan_", "")


def test_ten_thousand_rows_are_a_table():
    trials = [TrialOutcome(str(n), {"a": n}, 0, "completed", metrics={"validation/accuracy": n / 10_000}) for n in range(10_000)]
    assert len(render(build_report("s", trials, rehearsal=False), "csv").splitlines()) == 10_001
