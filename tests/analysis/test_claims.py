"""Claims of a planted study come out as planted, and a claim that is false is seldom supported."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.analysis import ScoringOutcome, TrialOutcome
from core.analysis.claims import judge
from core.analysis.verdicts import Claim, to_json
from core.data.examples import pair
from core.evaluation.credits import collect
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from dashboards.report.claims import claim_lines

VL = "vl_rewardbench/overall"
GROUPS = ("wildvision", "RLAIF-V", "mathverse", "hallucination")


def planted(shares, seeds=4, n=400, seed=0, spread=0.005):
    """Cells 0, 1, ... whose share of right examples is known, the same examples hard for all; with their credits."""
    rng = np.random.default_rng(seed)
    examples = [pair(f"{GROUPS[i % 4]}-{i}", f"question {i}", f"good {i}", f"bad {i}") for i in range(n)]
    hardness = rng.random(n)
    trials, tables = [], []
    for cell, share in enumerate(shares):
        for replicate in range(seeds):
            own = hardness + rng.normal(0, 0.03, n)
            right = own < share + rng.normal(0, spread)
            table = from_examples(examples, [[float(good), 0.5] for good in right], ScoreMetadata("vl_rewardbench", "r", "h", "s"))
            id = f"{cell}-{replicate}"
            tables.append((id, table))
            scoring = ScoringOutcome.from_summary(summarise(table))
            trials.append(TrialOutcome(id, {"c": cell}, replicate, "completed", scorings=(scoring,)))
    return trials, collect(tables)


def claim(kind, *pairs, within=None, on=VL, problem=None):
    return Claim(f"{kind} {pairs}", kind, on, tuple((f"c={a}", f"c={b}") for a, b in pairs), within, problem)


def words(claims, study, **more):
    trials, credits = study
    return [one.word for one in judge(claims, trials, rehearsal=False, credits=credits, **more)]


@pytest.fixture(scope="module")
def study():
    return planted([0.80, 0.60, 0.60, 0.70, 0.80], spread=0.015)


@pytest.mark.parametrize(
    ("made", "word"),
    [
        (claim("better", (0, 1), (0, 2)), "supported"),
        (claim("better", (1, 0)), "contradicted"),
        (claim("better", (0, 1), (1, 0)), "contradicted"),
        (claim("better", (0, 4)), "undecided"),
        (claim("best", (0, 1), (0, 2), (0, 3), (0, 4)), "undecided"),
        (claim("monotone", (3, 1), (0, 3)), "supported"),
        (claim("monotone", (1, 3), (3, 0)), "contradicted"),
        (claim("monotone", (3, 1), (0, 3), (4, 0), within=5.0), "supported"),
        (claim("no_effect", (1, 2), within=5.0), "supported"),
        (claim("no_effect", (0, 1), within=5.0), "contradicted"),
        (claim("no_effect", (0, 4), within=1.0), "undecided"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.say.replace(" ", ""),
)
def test_a_claim_of_a_planted_study_comes_out_as_planted(study, made, word):
    assert words([made], study) == [word]


def test_an_undecided_claim_says_how_many_seeds_are_missing():
    trials, credits = planted([0.66, 0.64], seeds=3, seed=3, spread=0.02)
    (found,) = judge([claim("better", (0, 1))], trials, rehearsal=False, credits=credits)
    assert found.word == "undecided"
    assert found.more is not None
    assert found.reason == f"needs {found.more} more seeds"
    assert "? undecided" in claim_lines([found], 100)[0]


def test_holm_counts_all_claims_of_the_list(study):
    trials, credits = study
    one = judge([claim("better", (0, 3))], trials, rehearsal=False, credits=credits)[0]
    many = judge([claim("better", (0, 3))] * 5, trials, rehearsal=False, credits=credits)[0]
    assert one.adjusted == one.p
    assert many.adjusted == pytest.approx(min(1.0, 5 * one.p))


def test_one_seed_is_decided_by_the_examples_and_says_so():
    trials, credits = planted([0.9, 0.5], seeds=1)
    (found,) = judge([claim("better", (0, 1))], trials, rehearsal=False, credits=credits)
    assert found.word == "supported"
    assert "these trained models, not other seeds" in found.reason


def test_what_cannot_be_tested_is_undecided_with_the_reason():
    trials, _ = planted([0.9, 0.5], seeds=1)
    made = [
        claim("better", (0, 1)),
        claim("better", problem="no cell meets `than`"),
        claim("better", (0, 7)),
        claim("best", (0, 1), on="x/y"),
    ]
    found = judge(made, trials, rehearsal=False)
    assert {one.word for one in found} == {"undecided"}
    reasons = [one.reason for one in found]
    assert reasons[0].startswith("n = 1, and no scores by example")
    assert reasons[1:3] == ["no cell meets `than`", "no such cell: c=7"]
    assert "has no value" in reasons[3]
    json.dumps(to_json(found), allow_nan=False)


def test_less_is_better_of_a_loss():
    trials = [
        TrialOutcome(f"{c}{s}", {"c": c}, s, "completed", metrics={"validation/loss": loss + s / 1000})
        for c, loss in enumerate((0.2, 0.5))
        for s in range(3)
    ]
    trials[0] = TrialOutcome("00", {"c": 0}, 0, "completed", metrics={"validation/loss": 0.2003})
    made = [claim("better", (0, 1), on="validation/loss"), claim("better", (1, 0), on="validation/loss")]
    assert [one.word for one in judge(made, trials, rehearsal=False)] == ["supported", "contradicted"]


def test_a_false_claim_is_supported_no_more_often_than_one_time_in_twenty():
    """300 studies of two equal cells, of which one is claimed to be better and the two to differ by no more than they do."""
    rng = np.random.default_rng(5)
    wrong = {"better": 0, "no_effect": 0}
    studies = 300
    for _ in range(studies):
        first, second = rng.normal(0.60, 0.01, 6), rng.normal(0.58, 0.01, 6)
        values = (
            {("a", s): first[s] for s in range(6)}
            | {("b", s): second[s] for s in range(6)}
            | {("d", s): rng.normal(0.6, 0.01) for s in range(6)}
        )
        trials = [
            TrialOutcome(f"{cell}{s}", {"c": cell}, s, "completed", metrics={"validation/accuracy": float(value)})
            for (cell, s), value in values.items()
        ]
        made = [
            claim("better", ("a", "d"), on="validation/accuracy"),
            claim("no_effect", ("a", "b"), within=0.02, on="validation/accuracy"),
        ]
        for one in made:
            (found,) = judge([one], trials, rehearsal=False)
            wrong[one.kind] += found.word != "undecided"
    allowed = studies * 0.05 + 2 * (studies * 0.05 * 0.95) ** 0.5
    assert wrong["better"] <= allowed
    assert wrong["no_effect"] <= 2 * allowed  # at the margin itself either word is an error of 5 %
