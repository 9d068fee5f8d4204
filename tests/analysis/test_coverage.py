"""Synthetic studies with known truth: intervals cover it as often as they say, and false discoveries are as rare as promised.

Every simulation has 1,000 studies and a fixed seed, so it says the same each time; its standard error is 0.7 points.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from core.analysis.best import rate_best
from core.analysis.intervals import Sample, bootstrap, t_interval, wilson
from core.analysis.multiplicity import holm
from core.analysis.outcomes import ScoringOutcome, TrialOutcome
from core.analysis.paired import crossed, decisive_test, example_test
from core.analysis.power import power
from core.analysis.report import LEVEL, Row, Value
from core.evaluation.credits import Credits, PairLayout
from core.evaluation.metrics import Units
from core.evaluation.score_table import ScoreMetadata

STUDIES = 1000
FALSE = 0.05 + 2 * (0.05 * 0.95 / STUDIES) ** 0.5
"""5 % and two standard errors of a share over the studies."""


def right(rng, rows, clusters, size, share, spread):
    """[rows, clusters * size] right or wrong, in percent: a share, with examples of one cluster alike."""
    latent = rng.normal(norm.ppf(share) * (1 + spread**2) ** 0.5, 1, (rows, clusters, size)) + rng.normal(0, spread, (rows, clusters, 1))
    return 100.0 * (latent > 0).reshape(rows, clusters * size)


def sample(values, size=1, groups=1):
    units = values.shape[1]
    return Sample(values, np.arange(units) % groups, np.arange(units) // size)


def covered(intervals, truth):
    low, high = np.asarray(intervals).T
    return float(((low <= truth) & (truth <= high)).mean())


def test_wilson_covers():
    counts = np.random.default_rng(0).binomial(300, 0.71, STUDIES)
    assert 0.93 <= covered([wilson(int(count), 300) for count in counts], 71) <= 0.97


def test_student_over_three_seeds_covers():
    values = np.random.default_rng(1).normal(70, 2, (STUDIES, 3))
    assert 0.93 <= covered([t_interval(row) for row in values], 70) <= 0.97


@pytest.mark.parametrize(("clusters", "size", "spread"), [(250, 1, 0.0), (60, 4, 1.0), (46, 4, 0.7)])
def test_the_cluster_bootstrap_covers(clusters, size, spread):
    values = right(np.random.default_rng(2), STUDIES, clusters, size, 0.7, spread)
    assert 0.93 <= covered(bootstrap(sample(values, size)), 70) <= 0.97


def test_a_bootstrap_that_forgets_the_clusters_does_not():
    values = right(np.random.default_rng(2), STUDIES, 60, 4, 0.7, 1.0)
    assert covered(bootstrap(sample(values)), 70) < 0.9


def test_the_bootstrap_of_a_macro_average_covers():
    values = right(np.random.default_rng(3), STUDIES, 240, 1, 0.8, 0.0)
    assert 0.93 <= covered(bootstrap(sample(values, groups=3)), 80) <= 0.97


def test_the_bootstrap_of_a_paired_difference_covers():
    rng = np.random.default_rng(4)
    shared = rng.normal(0, 1, (STUDIES, 200))
    a, b = (100.0 * (norm.ppf(share) * 2**0.5 + shared + rng.normal(0, 1, shared.shape) > 0) for share in (0.75, 0.70))
    assert 0.93 <= covered(bootstrap(sample(a - b)), 5) <= 0.97


def studies(rng, seeds, clusters, of_seeds, of_examples, of_both, truth=0.0):
    """Differences of studies whose seeds, examples and both vary: [studies, seeds, clusters]."""
    return (
        truth
        + rng.normal(0, of_seeds, (STUDIES, seeds, 1))
        + rng.normal(0, of_examples, (STUDIES, 1, clusters))
        + rng.normal(0, of_both, (STUDIES, seeds, clusters))
    )


@pytest.mark.parametrize(("seeds", "least"), [(3, 0.92), (4, 0.93), (8, 0.93)])
@pytest.mark.parametrize("parts", [(3.0, 1.0, 10.0), (1.0, 12.0, 20.0), (0.5, 30.0, 40.0), (0.0, 20.0, 0.0)])
def test_seeds_and_examples_together_cover(seeds, least, parts):
    made = studies(np.random.default_rng(5), seeds, 150, *parts, truth=2.0)
    assert least <= covered([crossed(sample(values)).ci for values in made], 2.0) <= 0.97


def test_examples_alone_would_promise_too_much_about_other_seeds():
    made = studies(np.random.default_rng(5), 4, 150, 3.0, 1.0, 10.0, truth=2.0)
    assert covered(bootstrap(sample(made.mean(axis=1))), 2.0) < 0.8


@pytest.mark.parametrize("evidence", ["examples", "seeds and examples"])
def test_holm_keeps_the_family_wise_error(evidence):
    """Six cells that are equal to a seventh, all compared with it."""
    rng = np.random.default_rng(6)
    false = 0
    for _ in range(STUDIES):
        seeds = 1 if evidence == "examples" else 3
        scores = right(rng, 7 * seeds, 60, 2, 0.7, 0.7).reshape(7, seeds, 120)
        tests = []
        for rival in range(1, 7):
            difference = sample(scores[0] - scores[rival], 2)
            tests.append(example_test(difference).p if seeds == 1 else decisive_test(difference, list(difference.estimates())).p)
        false += min(holm(tests)) <= LEVEL
    assert false / STUDIES <= FALSE


def rated(scores):
    """The report's marks on cells with one replicate each."""
    cells, units = scores.shape
    names = [f"c{number}" for number in range(cells)]
    pairs = np.arange(units)
    layout = PairLayout((), (), pairs, pairs, pairs, {"acc": Units(pairs, np.zeros(units, int))}, np.ones((units, 2), int), ())
    book = Credits(ScoreMetadata("b", "r", "h", "s"), tuple(names), layout, *[(scores / 100).astype(np.float32)] * 2)
    means = scores.mean(axis=1)
    best = means == means.max()
    rows = [
        Row("cell", name, {}, 1, 1, {"b/acc": Value(float(m), (float(m),), best=bool(top))})
        for name, m, top in zip(names, means, best, strict=True)
    ]
    trials = {
        n: [TrialOutcome(n, {}, 0, "completed", scorings=(ScoringOutcome("b", "r", units, 0, {"acc": float(m)}),))]
        for n, m in zip(names, means, strict=True)
    }
    found, _ = rate_best(rows, trials, [book])
    tested = [row.metrics["b/acc"].tested for row in found]
    return [test is not None and test.p <= LEVEL for test in tested]


def test_a_star_for_the_best_of_equal_cells_is_rare():
    rng = np.random.default_rng(7)
    false = sum(any(rated(right(rng, cells, 150, 1, 0.7, 0.0))) for cells in (2, 3, 5) for _ in range(STUDIES // 3))
    assert false / STUDIES <= FALSE


def test_a_star_for_a_cell_that_is_better_is_common():
    rng = np.random.default_rng(8)
    better = [np.vstack([right(rng, 1, 400, 1, 0.85, 0.0), right(rng, 3, 400, 1, 0.6, 0.0)]) for _ in range(50)]
    assert all(rated(scores) == [True, False, False, False] for scores in better)


@pytest.mark.parametrize(("n", "shift"), [(4, 1.5), (8, 1.0), (12, 0.9)])
def test_power_is_what_the_formula_says(n, shift):
    values = np.random.default_rng(9).normal(shift, 1, (4 * STUDIES, n))
    t = values.mean(axis=1) / (values.std(axis=1, ddof=1) / n**0.5)
    from scipy.stats import t as student

    found = float((np.abs(t) > student.ppf(0.975, n - 1)).mean())
    assert found == pytest.approx(power(shift, n**-0.5, n - 1), abs=0.03)
