"""Length bias, calibration and accuracy by length and source of scorers whose answers are known; gates."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.analysis import ScoringOutcome, TrialOutcome, build_report
from core.analysis.gates import Gate
from core.analysis.report import to_json
from core.analysis.sanity import calibration_error, inspect, length_bias
from core.data.examples import pair
from core.evaluation.credits import collect
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from dashboards.report import render

N = 600


def study(scorer, n=N, sources=("a", "b")):
    """One cell whose scores are ``scorer(chars better, chars worse, rng)`` on pairs of random lengths."""
    rng = np.random.default_rng(3)
    lengths = rng.integers(5, 200, (n, 2))
    examples = [
        pair(f"wildvision-{i}", f"question {i}", "g" * good, "b" * bad, source=sources[i % len(sources)])
        for i, (good, bad) in enumerate(lengths)
    ]
    table = from_examples(examples, [scorer(*row, rng) for row in lengths], ScoreMetadata("vl_rewardbench", "r", "h", "s"))
    trial = TrialOutcome("t", {"c": 1}, 0, "completed", scorings=(ScoringOutcome.from_summary(summarise(table)),))
    return [trial], collect([("t", table)]), lengths


def by_length(good, bad, _):
    return [float(good), float(bad)]


def by_chance(good, bad, rng):
    return list(rng.normal(size=2))


def test_a_scorer_that_prefers_length_is_biased_and_one_that_ignores_it_is_not():
    _, credits, lengths = study(by_length)
    ratio = np.log2((lengths[:, 0] + 1) / (lengths[:, 1] + 1))
    expected = np.polyfit(ratio, (lengths[:, 0] > lengths[:, 1]).astype(float), 1)[0]
    assert length_bias(credits[0])[0] == pytest.approx(expected, abs=1e-5)
    assert expected > 0.2
    _, credits, _ = study(by_chance)
    assert abs(length_bias(credits[0])[0]) < 0.05
    _, credits, _ = study(lambda good, bad, rng: [float(bad), float(good)])
    assert length_bias(credits[0])[0] == pytest.approx(-expected, abs=0.02)


def test_pairs_of_one_length_have_no_bias_to_measure():
    examples = [pair(f"wildvision-{i}", "q", f"good {i:03}", f"evil {i:03}") for i in range(40)]
    table = from_examples(examples, [[1.0, 0.0]] * 40, ScoreMetadata("vl_rewardbench", "r", "h", "s"))
    trial = TrialOutcome("t", {}, 0, "completed", scorings=(ScoringOutcome.from_summary(summarise(table)),))
    (found,) = inspect({"base": [trial]}, collect([("t", table)]))
    assert found.length_bias is None
    assert found.by_length == {"longer": (100.0, 40)}
    assert found.by_source == {}


def test_margins_that_mean_what_bradley_terry_says_are_calibrated():
    def calibrated(good, bad, rng):
        margin = rng.normal(0, 2)
        return [abs(margin), 0.0] if rng.random() < 1 / (1 + np.exp(-abs(margin))) else [0.0, abs(margin)]

    _, credits, _ = study(calibrated, n=4000)
    assert calibration_error(credits[0])[0] < 0.03
    _, credits, _ = study(lambda good, bad, rng: list(rng.permutation([10.0, 0.0])))  # sure, and right half of the time
    assert calibration_error(credits[0])[0] == pytest.approx(0.5, abs=0.05)


def test_an_unparsed_score_is_wrong_and_has_no_confidence():
    examples = [pair(f"wildvision-{i}", f"q{i}", "g" * (i + 1), "b") for i in range(20)]
    table = from_examples(examples, [[None, 0.0]] * 20, ScoreMetadata("vl_rewardbench", "r", "h", "s"))
    (book,) = collect([("t", table)])
    assert book.values.sum() == 0
    assert np.isnan(calibration_error(book)).all()


def test_accuracy_by_length_and_source_adds_up_to_the_whole():
    trials, credits, lengths = study(by_chance)
    (found,) = inspect({"c=1": trials}, credits)
    whole = trials[0].scorings[0].metrics["overall"]
    for parts in (found.by_length, found.by_source):
        assert sum(accuracy * n for accuracy, n in parts.values()) / N == pytest.approx(whole, abs=1e-4)
        assert sum(n for _, n in parts.values()) == N
    assert found.by_length["over twice"][1] == int((np.log2((lengths[:, 0] + 1) / (lengths[:, 1] + 1)) >= 1).sum())


def test_a_cell_beyond_a_gate_is_marked_and_a_gate_without_values_is_said():
    trials, credits, _ = study(by_length)
    gates = {"length_bias": Gate(max=0.1), "vl_rewardbench/overall": Gate(min=90.0), "ece": Gate(max=1.0), "x/y": Gate(max=1.0)}
    report = build_report("s", trials, rehearsal=False, credits=credits, gates=gates)
    (row,) = report.rows
    assert [flag.split(":")[0] for flag in row.flags] == ["do not promote"] * 2
    assert "length_bias on vl_rewardbench" in row.flags[0] and row.flags[0].endswith("is above 0.1")
    assert "The gate on x/y was not tried: no cell has a value." in report.notes
    assert "do not promote: length_bias on vl_rewardbench" in render(report)
    assert "do not promote" in render(report, "markdown")
    assert to_json(report)["sanity"][0]["by_source"].keys() == {"a", "b"}
    json.dumps(to_json(report), allow_nan=False)


def test_a_bias_against_length_is_beyond_the_gate_too():
    trials, credits, _ = study(lambda good, bad, rng: [float(bad), float(good)])
    report = build_report("s", trials, rehearsal=False, credits=credits, gates={"length_bias": Gate(max=0.1)})
    assert "do not promote" in report.rows[0].flags[0]
