"""Intervals at 95 %: of a share, of a mean over replicates, and of a metric over examples (pure, no I/O).

Two things vary when a study is done again: the *seeds* that a cell is trained with, and the *examples* that a benchmark happened
to be made of. An interval says which of the two it is over; only :func:`core.analysis.paired.crossed` is over both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.special import ndtr, ndtri, stdtrit

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Interval = tuple[float, float]

CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
FEWEST_CLUSTERS = 10
"""Below this many independent clusters nothing is computed over examples: their resamples would be a handful of values."""

BLOCK = 256
"""Tables in one matrix product of the bootstrap; bounds its memory at ``resamples * BLOCK`` numbers."""

Progress = Callable[[int, int], None]
"""Called with how many tables are done, and how many there are."""


class TooFew(ValueError):
    """There is too little to compute a statistic from; the message says how little and how much it takes."""


@dataclass(frozen=True)
class Sample:
    """What each unit of a benchmark contributes to one metric, for one or several tables.

    The metric is the mean over groups of the mean over the units of the group. Units of one cluster are not independent.

    Attributes:
        values: [tables, units] in the unit of the metric (percent), or differences of such.
        group: [units] from 0, no group empty.
        cluster: [units] any numbers.
    """

    values: Floats
    group: Integers
    cluster: Integers
    _shared: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)
    """What follows from the units alone; samples of the same units share it, because thousands of them are tested in a row."""

    def __post_init__(self) -> None:
        if not np.isfinite(self.values).all():
            raise ValueError("a credit is NaN or infinite: such an example has no place in a mean, and leaving it out is a decision")

    @property
    def weights(self) -> Floats:
        """[units] what a unit counts, adding up to 1: ``1 / (groups * units of its group)``."""
        sizes = np.bincount(self.group)
        return np.asarray(1.0 / (len(sizes) * sizes[self.group]))

    def of(self, values: Floats) -> Sample:
        """Other tables over the same units; [tables, units]."""
        return Sample(values, self.group, self.cluster, self._shared)

    @property
    def number(self) -> Integers:
        """[units] the cluster of each, from 0."""
        if "number" not in self._shared:
            self._shared["number"] = np.unique(self.cluster, return_inverse=True)[1]
        return np.asarray(self._shared["number"])

    @property
    def clusters(self) -> int:
        """How many clusters there are."""
        return int(self.number.max(initial=-1)) + 1

    def estimates(self) -> Floats:
        """[tables] the metric."""
        return np.asarray(self.values @ self.weights)

    def mean(self) -> Sample:
        """One table: the mean over the tables, unit by unit."""
        return self.of(self.values.mean(axis=0, keepdims=True))

    def minus(self, other: Sample) -> Sample:
        """Differences, table by table and unit by unit; both have the same units."""
        return self.of(self.values - other.values)

    def by_cluster(self, values: Floats) -> Floats:
        """[tables, clusters] sums of ``values`` ([tables, units]) within each cluster."""
        if "indicator" not in self._shared:
            self._shared["indicator"] = _indicator(self.number, self.clusters)
        return np.asarray(values @ self._shared["indicator"])

    def residuals(self) -> Floats:
        """[tables, clusters] what a cluster adds to the estimate beyond its expectation; each table's add up to 0.

        The linearisation of a mean of ratios (Cochran, Sampling Techniques, 1977, section 6.4): the weighted sum, over the units of
        the cluster, of what each is above the mean of its group.
        """
        sizes = np.bincount(self.group)
        means = _sums(self.values, self.group, len(sizes)) / sizes
        return self.by_cluster((self.values - means[:, self.group]) * self.weights)


def _sums(values: Floats, number: Integers, count: int) -> Floats:
    """[tables, count] sums over the columns with the same number."""
    return np.asarray(values @ _indicator(number, count))


def _indicator(number: Integers, count: int) -> Any:
    """[columns, count] sparse: 1 where a column has the number."""
    columns = len(number)
    return coo_array((np.ones(columns), (np.arange(columns), number)), shape=(columns, count)).tocsr()


def require_clusters(sample: Sample) -> int:
    """The number of clusters.

    Raises:
        TooFew: there are fewer than :data:`FEWEST_CLUSTERS`.
    """
    found = sample.clusters
    if found < FEWEST_CLUSTERS:
        raise TooFew(f"{found} independent example{'' if found == 1 else 's'}: an interval over examples takes at least {FEWEST_CLUSTERS}")
    return found


def wilson(right: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a share, in percent (Wilson, JASA 22, 1927).

    Args:
        right: how many were right.
        n: of how many independent ones.
        confidence: 0.95 for a 95 % interval.

    Raises:
        TooFew: ``n`` is 0.
        ValueError: ``right`` is not within 0 and ``n``.
    """
    if n < 1:
        raise TooFew("0 examples: a share takes at least 1")
    if not 0 <= right <= n:
        raise ValueError(f"{right} right of {n}")
    z = float(ndtri(0.5 + confidence / 2))
    share = right / n
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)


def t_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Student's interval of the mean of replicates: ``mean +- t(n - 1) * sd / sqrt(n)``.

    Raises:
        TooFew: fewer than two values: one replicate says nothing about another; or all are the same.
        ValueError: a value is NaN or infinite.
    """
    require_spread(values)
    return student(*mean_and_spread(values), len(values), confidence)


def require_spread(values: Sequence[float]) -> None:
    """Refuse replicates that say nothing of their spread; raises as :func:`t_interval` does."""
    n = len(values)
    if n < 2:
        raise TooFew(f"n = {n}: an interval over seeds takes at least 2")
    if not all(map(math.isfinite, values)):
        raise ValueError("a replicate is NaN or infinite")
    if min(values) == max(values):
        raise TooFew(f"n = {n}: all seeds give exactly the same, so their spread is not known")


def student(mean: float, spread: float, n: int, confidence: float = CONFIDENCE) -> Interval:
    """:func:`t_interval` of ``n`` replicates from their mean and standard deviation."""
    half = _quantile(n - 1, confidence) * spread / n**0.5
    return mean - half, mean + half


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (``n - 1``) of two finite values or more.

    In plain floats with exact sums: replicates are a handful, a table has tens of thousands of such handfuls, and for each of them an array
    costs many times the arithmetic.
    """
    n = len(values)
    mean = math.fsum(values) / n
    return mean, math.sqrt(math.fsum([(value - mean) ** 2 for value in values]) / (n - 1))


@lru_cache(maxsize=1024)
def _quantile(dof: int, confidence: float) -> float:
    """Student's t that an interval reaches to on either side, in standard errors."""
    return float(stdtrit(dof, 0.5 + confidence / 2))


def bootstrap(
    sample: Sample,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = SEED,
    progress: Progress | None = None,
) -> Floats:
    """Cluster bootstrap over examples: percentile intervals, expanded for few clusters.

    Whole clusters are drawn with replacement, the same draws for every table, and the metric is computed anew. The percentile is
    widened so that the interval of a mean has the width of Student's: ``Phi(-sqrt(K / (K - 1)) * t(K - 1))`` for K clusters (Hesterberg,
    The American Statistician 69, 2015, "expanded percentile interval"). The same seed gives the same interval.

    Args:
        sample: credits, or paired differences of credits.
        confidence: 0.95 for 95 % intervals.
        resamples: how many; 2,000 leave an error of about 2 % of the width.
        seed: of the draws.
        progress: told how many tables are done.

    Returns:
        [tables, 2] low and high.

    Raises:
        TooFew: fewer than :data:`FEWEST_CLUSTERS` clusters.
    """
    count = require_clusters(sample)
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
    tail = float(ndtr(-np.sqrt(count / (count - 1)) * stdtrit(count - 1, 0.5 + confidence / 2)))
    groups = [np.flatnonzero(sample.group == number) for number in range(int(sample.group.max()) + 1)]
    number = sample.number
    sizes = [drawn @ _sums(np.ones((1, len(units))), number[units], count).T for units in groups]
    tables = len(sample.values)
    out = np.empty((tables, 2))
    for start in range(0, tables, BLOCK):
        part = sample.values[start : start + BLOCK]
        # a group that a resample misses altogether has no mean there: the resample does not count
        with np.errstate(invalid="ignore"):
            means = [drawn @ _sums(part[:, units], number[units], count).T / size for units, size in zip(groups, sizes, strict=True)]
        metric = sum(means[1:], start=means[0]) / len(means)
        quantile = np.nanquantile if np.isnan(metric).any() else np.quantile  # the first goes table by table
        out[start : start + BLOCK] = quantile(metric, [tail, 1 - tail], axis=0).T
        if progress is not None:
            progress(min(start + BLOCK, tables), tables)
    return out
