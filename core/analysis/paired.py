"""Is one better than the other, on the same examples and with the same seeds? (pure, no I/O)

Everything here works on paired differences: the same example scored by both, the same seed trained in both ways. Which
answer is given depends on what there is:

- one model each: the examples vary, the models are what they are. :func:`example_test` and the bootstrap of the differences. Their
  answer is about these two trained models and says nothing about another seed.
- several seeds each, and their scores by example: :func:`crossed` lets both vary.
- several seeds each, and only their metrics: :func:`paired_t` lets the seeds vary, on these examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import bdtr, stdtr, stdtrit

from core.analysis.intervals import (
    CONFIDENCE,
    FEWEST_CLUSTERS,
    Floats,
    Interval,
    Sample,
    TooFew,
    mean_and_spread,
    require_clusters,
    require_spread,
    student,
)

Over = Literal["examples", "seeds", "seeds and examples"]
"""What varies in an interval or a test."""

CROSSED = "t over seeds and examples"
EXACT = 12
"""Up to this many clusters with a difference, every assignment of signs is counted."""


@dataclass(frozen=True)
class Evidence:
    """The outcome of a two-sided test: its name, and the p value."""

    test: str
    p: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifiers on independent examples.

    Attributes:
        only_a: examples that only the first has right.
        only_b: examples that only the second has right.
        exact: two-sided exact p value, which is conservative.
        mid_p: the same less half of the probability of what was found (Fagerland, Lydersen and Laake, BMC Medical Research
            Methodology 13:91, 2013, who recommend it).
    """

    only_a: int
    only_b: int
    exact: float
    mid_p: float


@dataclass(frozen=True)
class Crossed:
    """A difference with the error of seeds and examples together.

    Attributes:
        difference: the estimate.
        se: its standard error.
        dof: degrees of freedom of ``se``, after Satterthwaite.
        ci: 95 % interval.
        p: two-sided p value.
        seed_variance: of the difference of one pair of seeds, over seeds.
        example_variance: the part of ``se ** 2`` that more seeds would not shrink.
    """

    difference: float
    se: float
    dof: float
    ci: Interval
    p: float
    seed_variance: float
    example_variance: float


def mcnemar(only_a: int, only_b: int) -> McNemar:
    """McNemar's test from the two counts of examples that one alone has right (McNemar, Psychometrika 12, 1947)."""
    n, fewer = only_a + only_b, min(only_a, only_b)
    if n == 0:
        return McNemar(0, 0, 1.0, 1.0)
    below = 2 * float(bdtr(fewer, n, 0.5))
    found = float(bdtr(fewer, n, 0.5)) - (float(bdtr(fewer - 1, n, 0.5)) if fewer else 0.0)
    return McNemar(only_a, only_b, min(1.0, below), 1.0 if only_a == only_b else below - found)


def example_test(difference: Sample) -> Evidence:
    """Whether the mean of one table of paired differences is 0, over examples.

    - Where every cluster that differs differs by the same amount (independent examples that are right or wrong): McNemar, mid-p.
    - Up to :data:`EXACT` such clusters: the share of all assignments of signs under which the sum is as large as it is
      (Fisher, The Design of Experiments, 1935, section 21).
    - Else: McNemar for clusters, ``(sum u) ** 2 / sum u ** 2`` as chi-squared (Obuchowski, Statistics in Medicine 17, 1998), by the
      t distribution with one degree of freedom less than clusters that differ, which is a little more cautious.

    Raises:
        TooFew: fewer than :data:`core.analysis.intervals.FEWEST_CLUSTERS` clusters.
    """
    require_clusters(difference)
    parts = difference.by_cluster(difference.values * difference.weights)[0]
    largest = float(np.abs(parts).max())
    parts = parts[np.abs(parts) > 1e-9 * max(largest, 1e-300)]
    n = len(parts)
    if n == 0 or np.allclose(np.abs(parts), largest, rtol=1e-6, atol=0):
        return Evidence("McNemar (mid-p)", mcnemar(int((parts > 0).sum()), int((parts < 0).sum())).mid_p)
    if n <= EXACT:
        signs = 1 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return Evidence("exact sign flips", float((np.abs(signs @ parts) >= abs(parts.sum()) * (1 - 1e-9)).mean()))
    statistic = abs(float(parts.sum())) / float(np.sqrt((parts**2).sum()))
    return Evidence("McNemar for clusters", 2 * float(stdtr(n - 1, -statistic)))


def paired_t(differences: Sequence[float]) -> tuple[Interval, Evidence]:
    """Student's paired t test over seeds, with the 95 % interval of the mean difference.

    Raises:
        TooFew: fewer than two pairs, or no spread among them.
    """
    n = len(differences)
    require_spread(differences)
    mean, spread = mean_and_spread(differences)
    return student(mean, spread, n), Evidence("paired t over seeds", _p_of(mean, spread / n**0.5, n - 1))


def crossed(difference: Sample, confidence: float = CONFIDENCE) -> Crossed:
    """The mean difference where seeds and examples both vary: a crossed random-effects design, seeds by examples.

    With S seeds and K clusters, the variance of the mean over both is ``seed/S + example/K + both/(S K)``. The variance of the seeds' means
    estimates the first and third part, that of the clusters' means the second and third; their sum less the third, estimated from the
    interaction, estimates the whole (Brennan, Generalizability Theory, 2001, section 6; Cornfield and Tukey, Annals of Mathematical
    Statistics 27, 1956). Degrees of freedom after Satterthwaite (Biometrics 2, 1946). In
    simulations (``tests/analysis/test_coverage.py``) the interval covers 93 to 97 % from four seeds on, and at least 92 % with three.

    Args:
        difference: a table of paired differences for each seed.
        confidence: 0.95 for a 95 % interval.

    Raises:
        TooFew: fewer than two seeds, or fewer than :data:`core.analysis.intervals.FEWEST_CLUSTERS` clusters.
    """
    count = require_clusters(difference)
    seeds = len(difference.values)
    if seeds < 2:
        raise TooFew(f"n = {seeds}: the spread over seeds takes at least 2")
    by_seed = difference.estimates()
    rest = difference.residuals()
    mean = rest.mean(axis=0)
    scale = count / (count - 1)
    of_seeds = float(by_seed.var(ddof=1)) / seeds
    of_examples = scale * float((mean**2).sum())
    of_both = scale * float(((rest - mean) ** 2).sum()) / (seeds * (seeds - 1))
    # where all seeds agree in their means and differ by example, the second part is all that is known
    squared = of_seeds + max(0.0, of_examples - of_both) or of_examples
    parts = of_seeds**2 / (seeds - 1) + of_examples**2 / (count - 1)
    dof = squared**2 / parts if parts > 0 else float(count - 1)
    estimate, se = float(by_seed.mean()), squared**0.5
    half = float(stdtrit(dof, 0.5 + confidence / 2)) * se
    p = _p_of(estimate, se, dof)
    return Crossed(estimate, se, dof, (estimate - half, estimate + half), p, of_seeds * seeds, squared - of_seeds)


def decisive_test(difference: Sample | None, by_seed: Sequence[float]) -> Evidence:
    """The test that a verdict rests on, by what there is: over seeds and examples, over seeds, or over examples.

    Args:
        difference: a table of paired differences for each seed, where scores by example are there.
        by_seed: the differences of the metric itself, one for each seed.

    Raises:
        TooFew: one seed, and no scores by example or too few of them; or seeds without any spread.
    """
    if len(by_seed) == 1:
        if difference is None:
            raise TooFew("n = 1, and no scores by example")
        return example_test(difference)
    if difference is not None and difference.clusters >= FEWEST_CLUSTERS:
        return Evidence(CROSSED, crossed(difference).p)
    return paired_t(by_seed)[1]


def is_binary(sample: Sample) -> bool:
    """Whether every unit of a single group is right or wrong and a cluster of its own: what McNemar's table and Wilson's interval need."""
    return (
        int(sample.group.max(initial=0)) == 0 and sample.clusters == sample.values.shape[1] and bool(np.isin(sample.values, (0, 100)).all())
    )


def discordant(a: Floats, b: Floats) -> tuple[int, int]:
    """How many units only the first has right, and only the second; [units] each."""
    return int((a > b).sum()), int((b > a).sum())


def _p_of(estimate: float, se: float, dof: float) -> float:
    if se == 0:
        return 1.0 if estimate == 0 else 0.0
    return 2 * float(stdtr(dof, -abs(estimate) / se))
