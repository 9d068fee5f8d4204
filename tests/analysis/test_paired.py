from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from core.analysis.intervals import Sample, TooFew
from core.analysis.multiplicity import holm
from core.analysis.paired import crossed, decisive_test, example_test, is_binary, mcnemar, paired_t
from core.analysis.power import effect_size, minimum_detectable, more_seeds, power


def differences(values, group=None, cluster=None):
    values = np.atleast_2d(np.asarray(values, dtype=float))
    units = values.shape[1]
    return Sample(
        values,
        np.zeros(units, dtype=np.int64) if group is None else np.asarray(group),
        np.arange(units) if cluster is None else np.asarray(cluster),
    )


@pytest.mark.parametrize(("only_a", "only_b"), [(10, 2), (2, 10), (7, 7), (1, 0), (121, 59)])
def test_mcnemar_is_the_binomial_test_of_the_examples_that_differ(only_a, only_b):
    found = mcnemar(only_a, only_b)
    assert found.exact == pytest.approx(stats.binomtest(only_a, only_a + only_b).pvalue)
    chance = stats.binom.pmf(min(only_a, only_b), only_a + only_b, 0.5)
    assert found.mid_p == pytest.approx(1.0 if only_a == only_b else found.exact - chance)


def test_mcnemar_gives_the_published_example():
    """Fagerland, Lydersen and Laake 2013, section on airway hyper-responsiveness: 7 against 1 has exact 0.070 and mid-p 0.039."""
    found = mcnemar(1, 7)
    assert (round(found.exact, 3), round(found.mid_p, 3)) == (0.070, 0.039)


def test_models_that_never_differ_do_not_differ():
    assert mcnemar(0, 0).exact == 1.0
    assert example_test(differences(np.zeros(50))).p == 1.0


def test_independent_right_and_wrong_examples_are_tested_by_mcnemar():
    found = example_test(differences([100] * 10 + [-100] * 2 + [0] * 30))
    assert (found.test, found.p) == ("McNemar (mid-p)", mcnemar(10, 2).mid_p)


def test_few_uneven_differences_are_counted_out():
    values = [300, 200, 100, 100, 200, 100, 100] + [0] * 20
    found = example_test(differences(values))
    assert (found.test, found.p) == ("exact sign flips", pytest.approx(2 / 2**7))


def test_many_clusters_follow_obuchowski():
    rng = np.random.default_rng(0)
    values, cluster = rng.integers(-1, 2, 400) * 100.0, np.arange(400) // 4
    sums = np.bincount(cluster, values)
    sums = sums[sums != 0]
    expected = 2 * stats.t.sf(abs(sums.sum()) / np.sqrt((sums**2).sum()), len(sums) - 1)
    found = example_test(differences(values, cluster=cluster))
    assert (found.test, found.p) == ("McNemar for clusters", pytest.approx(expected))


def test_copies_of_an_example_add_no_evidence():
    values = np.array([100] * 12 + [-100] * 4 + [0] * 20)
    assert example_test(differences(np.repeat(values, 6), cluster=np.repeat(np.arange(36), 6))).p == pytest.approx(
        example_test(differences(values)).p
    )


def test_the_paired_t_test_is_scipys():
    a, b = np.array([70.0, 72.0, 71.5]), np.array([69.0, 70.5, 69.8])
    expected = stats.ttest_rel(a, b)
    ci, found = paired_t(a - b)
    assert found.p == pytest.approx(expected.pvalue)
    assert ci == pytest.approx(tuple(expected.confidence_interval(0.95)))


def test_seeds_without_any_spread_prove_nothing():
    with pytest.raises(TooFew, match="all seeds give exactly the same"):
        paired_t([1.0, 1.0])


def test_where_only_seeds_vary_the_crossed_error_is_students():
    by_seed = np.array([3.0, 4.0, 5.5])
    found = crossed(differences(np.repeat(by_seed[:, None], 40, axis=1)))
    expected = stats.ttest_1samp(by_seed, 0)
    assert (found.difference, found.p, found.dof) == pytest.approx((by_seed.mean(), expected.pvalue, 2))
    assert found.ci == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert found.example_variance == 0


def test_where_only_examples_vary_the_crossed_error_is_students_over_examples():
    by_example = np.random.default_rng(1).normal(1, 5, 60)
    found = crossed(differences(np.repeat(by_example[None, :], 3, axis=0)))
    expected = stats.ttest_1samp(by_example, 0)
    assert (found.p, found.dof) == pytest.approx((expected.pvalue, 59))
    assert found.seed_variance == pytest.approx(0, abs=1e-12)


def test_the_evidence_follows_from_what_there_is():
    both = differences(np.random.default_rng(2).normal(1, 5, (2, 40)))
    assert decisive_test(both, [1.0, 2.0]).test == "t over seeds and examples"
    assert decisive_test(None, [1.0, 2.0]).test == "paired t over seeds"
    assert decisive_test(both.mean(), [1.0]).test == "McNemar for clusters"
    with pytest.raises(TooFew, match="n = 1, and no scores by example"):
        decisive_test(None, [1.0])


def test_what_wilson_and_mcnemar_ask_for():
    right = np.array([[0.0, 100.0, 100.0]])
    assert is_binary(differences(right))
    assert not is_binary(differences(right, cluster=[0, 0, 1]))
    assert not is_binary(differences(right, group=[0, 0, 1]))
    assert not is_binary(differences(right / 2))


def test_holm_gives_the_worked_example():
    """Four tests at 0.01, 0.04, 0.03, 0.005: 0.03, 0.06, 0.06, 0.02 (Holm's step-down procedure by hand)."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    with pytest.raises(ValueError, match="nan"):
        holm([0.1, float("nan")])


@pytest.mark.parametrize("dof", [1, 2, 5.5, 30, 1249])
@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_power_is_that_of_the_noncentral_t(dof, shift):
    critical = stats.t.ppf(0.975, dof)
    expected = stats.nct.sf(critical, dof, shift) + stats.nct.cdf(-critical, dof, shift)
    assert power(2 * shift, 2.0, dof) == pytest.approx(expected, abs=1e-5)
    assert power(0, 1.0, dof) == pytest.approx(0.05, abs=1e-6)


def test_the_minimum_detectable_difference_has_the_power():
    found = minimum_detectable(1.5, 4)
    assert power(found, 1.5, 4) == pytest.approx(0.8)
    assert minimum_detectable(1.0, 1e9) == pytest.approx(stats.norm.ppf(0.975) + stats.norm.ppf(0.8), abs=1e-3)


def test_the_seeds_that_are_missing():
    """At one standard deviation 10 pairs have 80 % power, and 9 have not."""
    assert more_seeds(1.0, 1.0, 0.0, have=3) == 7
    assert more_seeds(1.0, 1.0, 0.0, have=12) == 0
    assert more_seeds(1.0, 1.0, 4.0, have=3) is None
    assert more_seeds(0.0, 1.0, 0.0, have=3) is None


def test_the_effect_size_is_hedges():
    values = [1.0, 2.0, 4.0, 3.0]
    plain = np.mean(values) / np.std(values, ddof=1)
    assert effect_size(values) == pytest.approx(plain * (1 - 3 / (4 * 3 - 1)), rel=0.01)
    with pytest.raises(TooFew):
        effect_size([1.0, 2.0])
    with pytest.raises(ValueError, match="no spread"):
        effect_size([1.0, 1.0, 1.0])
