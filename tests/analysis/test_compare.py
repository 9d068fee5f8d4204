from __future__ import annotations

import json

import numpy as np
import pytest

from core.analysis.compare import Side, adjust, compare, to_json
from core.analysis.outcomes import ScoringOutcome, TrialOutcome
from core.data.examples import pair
from core.evaluation.credits import collect
from core.evaluation.score_table import ScoreMetadata, from_examples
from core.evaluation.scorer import summarise
from dashboards.report.comparison import render_comparisons

VL = "vl_rewardbench/overall"
GROUPS = ("wildvision", "RLAIF-V", "mathverse")


class Study:
    """Trials with score tables in memory."""

    def __init__(self):
        self.tables = []

    def trial(self, id, share, seed=0, n=120, first=0, **about):
        rng = np.random.default_rng([sum(map(ord, id)), seed])
        examples = [pair(f"{GROUPS[i % 3]}-{i}", f"question {i}", f"good {i}", f"bad {i}") for i in range(first, first + n)]
        right = rng.random(n) < share
        metadata = ScoreMetadata("vl_rewardbench", **{"revision": "r1", "data_hash": f"{n}-{first}", "scorer": id, **about})
        table = from_examples(examples, [[float(good), 0.5] for good in right], metadata)
        self.tables.append((f"{id}{seed}", table))
        scoring = ScoringOutcome.from_summary(summarise(table))
        return TrialOutcome(f"{id}{seed}", {}, seed, "completed", metrics={"validation/loss": 1 - share + seed / 100}, scorings=(scoring,))

    def compare(self, a, b, metrics=(VL,), rehearsal=(False, False)):
        sides = [Side(name, rehearsed, trials) for name, rehearsed, trials in zip("AB", rehearsal, (a, b), strict=True)]
        return compare(*sides, metrics, collect(self.tables))


@pytest.fixture
def study():
    return Study()


def test_one_seed_each_is_decided_by_the_examples_and_says_so(study):
    (found,) = study.compare([study.trial("a", 0.9)], [study.trial("b", 0.5)])
    assert found.better == "a"
    assert found.decisive.over == "examples"
    assert found.decisive.evidence.test == "McNemar (mid-p)"
    assert found.difference == pytest.approx(found.means[0] - found.means[1])
    assert found.decisive.ci[0] < found.difference < found.decisive.ci[1]
    assert found.mcnemar.only_a - found.mcnemar.only_b == pytest.approx(found.difference * 120 / 100)
    text = render_comparisons([found])
    assert "A is better" in text
    assert "these trained models, not other seeds" in text
    assert "n = 1: an interval over seeds takes at least 2" in text


def test_several_seeds_are_decided_over_seeds_and_examples(study):
    a, b = ([study.trial(name, share, seed) for seed in range(3)] for name, share in (("a", 0.9), ("b", 0.5)))
    (found,) = study.compare(a, b)
    assert [part.over for part in found.parts] == ["examples", "seeds", "seeds and examples"]
    assert (found.decisive.over, found.better, found.seeds) == ("seeds and examples", "a", (0, 1, 2))
    assert found.mcnemar is None


def test_the_other_way_round_it_is_the_other_one(study):
    a, b = [study.trial("a", 0.9)], [study.trial("b", 0.5)]
    (one,), (other,) = study.compare(a, b), study.compare(b, a)
    assert other.difference == pytest.approx(-one.difference)
    assert other.adjusted == pytest.approx(one.adjusted)
    assert (one.better, other.better) == ("a", "b")


def test_a_lower_loss_is_better_and_seeds_alone_decide_it(study):
    a, b = ([study.trial(name, share, seed) for seed in range(3)] for name, share in (("a", 0.9), ("b", 0.5)))
    b[0] = TrialOutcome("b0", {}, 0, "completed", metrics={"validation/loss": 0.52})
    (found,) = study.compare(a, b, ["validation/loss"])
    assert (found.decisive.evidence.test, found.better) == ("paired t over seeds", "a")


def test_no_difference_comes_with_what_could_have_been_seen(study):
    (found,) = study.compare([study.trial("a", 0.7)], [study.trial("b", 0.7)])
    assert found.better is None
    assert 5 < found.detectable < 30
    assert "no difference shown" in render_comparisons([found])


def test_seeds_without_a_partner_are_left_out_and_named(study):
    a = [study.trial("a", 0.9, seed) for seed in (0, 1, 2)]
    (found,) = study.compare(a, [study.trial("b", 0.5, seed) for seed in (1, 2)])
    assert found.seeds == (1, 2)
    assert "left out of A: seed 0, without a partner" in found.notes
    (apart,) = study.compare(a[:2], [study.trial("c", 0.5, seed) for seed in (5, 6)])
    assert apart.refused.startswith("no seed in common")


def test_holm_is_over_all_metrics_and_more_comparisons_make_it_harder(study):
    a, b = [study.trial("a", 0.8)], [study.trial("b", 0.65)]
    (alone,) = study.compare(a, b)
    several = study.compare(a, b, [VL, "vl_rewardbench/macro/official", "vl_rewardbench/official/general"])
    assert several[0].decisive.evidence.p == alone.decisive.evidence.p
    assert several[0].adjusted > alone.adjusted
    assert adjust(adjust(several)) == adjust(several)


@pytest.mark.parametrize(
    ("about", "rehearsal", "reason"),
    [
        ({}, (True, False), "a rehearsal with a real run: A is the rehearsal"),
        ({"revision": "r2"}, (False, False), "different benchmark revisions: r1, and r2"),
        ({"first": 5}, (False, False), "different examples: 120 and 120 pairs, of which 10 are not in both"),
    ],
)
def test_what_is_not_comparable_is_refused_with_the_reason(study, about, rehearsal, reason):
    (found,) = study.compare([study.trial("a", 0.9)], [study.trial("b", 0.5, **about)], rehearsal=rehearsal)
    assert found.refused == reason
    assert found.difference is None
    assert found.adjusted is None
    assert reason in render_comparisons([found])


def test_examples_that_only_one_was_scored_on_are_listed(study):
    (found,) = study.compare([study.trial("a", 0.9)], [study.trial("b", 0.5, first=2)])
    assert found.listed == ("RLAIF-V-1", "RLAIF-V-121", "wildvision-0", "wildvision-120")


def test_a_side_without_a_value_is_said(study):
    (found,) = study.compare([study.trial("a", 0.9)], [TrialOutcome("x", {}, 0, "failed")])
    assert found.refused == "B has no value"


def test_too_few_examples_are_said_and_not_computed(study):
    (found,) = study.compare([study.trial("a", 0.9, n=8)], [study.trial("b", 0.5, n=8)])
    assert found.decisive is None
    assert found.adjusted is None
    assert found.notes[0].startswith("8 independent examples")
    assert "too little to test" in render_comparisons([found])


def test_the_json_has_the_documented_shape(study):
    made = study.compare([study.trial("a", 0.9)], [study.trial("b", 0.5)], [VL, "validation/loss"])
    one, loss = json.loads(json.dumps(to_json(made), allow_nan=False))
    assert set(one) == set(loss)
    assert (one["metric"], one["refused"], one["over"], one["better"]) == (VL, None, "examples", "a")
    assert len(one["ci"]) == 2
    assert set(one["mcnemar"]) == {"only_a", "only_b", "exact", "mid_p"}
    assert (loss["ci"], loss["p"], loss["notes"]) == (None, None, ["n = 1: an interval over seeds takes at least 2"])
