from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from core.analysis.intervals import FEWEST_CLUSTERS, Sample, TooFew, bootstrap, t_interval, wilson


def sample(values, group=None, cluster=None):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    units = values.shape[1]
    return Sample(
        values,
        np.zeros(units, dtype=np.int64) if group is None else np.asarray(group),
        np.arange(units) if cluster is None else np.asarray(cluster),
    )


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (81, 263), (15, 148), (1, 1), (956, 1250)])
def test_wilson_is_scipys(right, n):
    expected = stats.binomtest(right, n).proportion_ci(method="wilson")
    assert wilson(right, n) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-10)


def test_wilson_gives_the_published_example():
    """Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263 has 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((25.53, 36.62), abs=0.005)


@pytest.mark.parametrize("values", [(70.0, 72.0), (1.0, 2.0, 4.0), tuple(range(20))])
def test_the_interval_over_seeds_is_students(values):
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert t_interval(values) == pytest.approx((expected.low, expected.high))


def test_what_is_too_little_is_said_and_not_computed():
    with pytest.raises(TooFew, match="n = 1: an interval over seeds takes at least 2"):
        t_interval([70.0])
    with pytest.raises(TooFew, match="0 examples"):
        wilson(0, 0)
    with pytest.raises(TooFew, match=f"9 independent examples: .* at least {FEWEST_CLUSTERS}"):
        bootstrap(sample(np.ones(90), cluster=np.arange(90) % 9))


def test_a_nan_is_refused_and_not_averaged():
    with pytest.raises(ValueError, match="NaN"):
        sample([1.0, np.nan])
    with pytest.raises(ValueError, match="NaN"):
        t_interval([1.0, float("nan")])


def test_the_bootstrap_of_independent_examples_agrees_with_student():
    values = np.random.default_rng(0).normal(60, 20, 400)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    low, high = bootstrap(sample(values), resamples=20_000)[0]
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.1)


def test_the_bootstrap_agrees_with_scipys_but_for_the_expansion():
    values = np.random.default_rng(1).normal(60, 20, 300)
    scipys = stats.bootstrap((values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)).confidence_interval
    low, high = bootstrap(sample(values), resamples=20_000)[0]
    assert low == pytest.approx(scipys.low, abs=0.15)
    assert high == pytest.approx(scipys.high, abs=0.15)
    assert high - low > scipys.high - scipys.low - 0.1


def test_examples_that_are_copies_of_each_other_count_once():
    values = np.random.default_rng(3).integers(0, 2, 100) * 100.0
    once = bootstrap(sample(values))[0]
    copied = bootstrap(sample(np.repeat(values, 5), cluster=np.repeat(np.arange(100), 5)))[0]
    believed = bootstrap(sample(np.repeat(values, 5)))[0]
    assert copied == pytest.approx(once)
    assert believed[1] - believed[0] < 0.6 * (once[1] - once[0])


def test_the_order_of_examples_does_not_matter():
    rng = np.random.default_rng(4)
    values, group, cluster = rng.integers(0, 2, 200) * 100.0, np.arange(200) % 3, np.arange(200) // 2
    order = rng.permutation(200)
    plain, shuffled = sample(values, group, cluster), sample(values[order], group[order], cluster[order])
    assert shuffled.estimates() == pytest.approx(plain.estimates())
    assert bootstrap(shuffled)[0] == pytest.approx(bootstrap(plain)[0])


def test_a_macro_average_is_the_mean_of_the_groups():
    made = sample([100, 100, 0, 0, 0, 100], group=[0, 0, 0, 1, 1, 1])
    assert made.estimates() == pytest.approx([50.0])
    uneven = sample([100, 0, 0, 0], group=[0, 1, 1, 1])
    assert uneven.estimates() == pytest.approx([50.0])
    assert uneven.residuals().sum() == pytest.approx(0)


def test_tables_in_one_call_get_what_each_gets_alone():
    values = np.random.default_rng(5).integers(0, 2, (300, 60)) * 100.0
    told = []
    together = bootstrap(sample(values), progress=lambda done, total: told.append((done, total)))
    assert together[299] == pytest.approx(bootstrap(sample(values[299]))[0])
    assert told == [(256, 300), (300, 300)]


def test_ten_thousand_examples_and_ten_thousand_rows():
    values = np.random.default_rng(6).random((1, 10_000)) * 100
    low, high = bootstrap(sample(values))[0]
    assert low < values.mean() < high
    many = np.random.default_rng(7).integers(0, 2, (10_000, 20)) * 100.0
    assert bootstrap(sample(many)).shape == (10_000, 2)


def test_the_bootstrap_is_the_same_each_time():
    values = np.arange(50.0)
    assert all((bootstrap(sample(values)) == other).all() for other in itertools.repeat(bootstrap(sample(values)), 2))
