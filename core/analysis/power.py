"""How large a difference is, how small a one could be seen, and how many more seeds a question needs (pure, no I/O).

All of it rests on one formula: under a true difference, the t statistic of ``f`` degrees of freedom follows the noncentral t
distribution with noncentrality ``difference / se`` (Cohen, Statistical Power Analysis, 1988, chapter 2). It is integrated here over the
distribution of the standard error, because scipy's own function has no value for some of the degrees of freedom that are met.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaincinv, gammaln, ndtr, stdtrit

from core.analysis.intervals import CONFIDENCE, TooFew

POWER = 0.8
MOST_SEEDS = 1000
"""Beyond so many seeds the answer is that seeds are not the way."""

LARGE = 1000.0
"""Degrees of freedom that stand for infinitely many."""

_X, _W = np.polynomial.legendre.leggauss(200)
NODES, WEIGHTS = (_X + 1) / 2, _W / 2
"""Gauss-Legendre quadrature on [0, 1], over the quantiles of the standard error."""


def effect_size(differences: Sequence[float]) -> float:
    """Standardised mean of paired differences, corrected for few of them.

    ``J * mean / sd`` with ``J = Gamma(f / 2) / (sqrt(f / 2) Gamma((f - 1) / 2))`` and ``f = n - 1`` (Hedges, Journal of Educational
    Statistics 6, 1981).

    Raises:
        TooFew: fewer than three differences (the correction has no value below).
        ValueError: all differences are the same: there is no spread to measure by.
    """
    n = len(differences)
    if n < 3:
        raise TooFew(f"n = {n}: an effect size over pairs takes at least 3")
    values = np.asarray(differences, dtype=np.float64)
    spread = float(values.std(ddof=1))
    if spread == 0:
        raise ValueError("all differences are the same: there is no spread to measure by")
    f = n - 1
    correction = float(np.exp(gammaln(f / 2) - gammaln((f - 1) / 2) - np.log(f / 2) / 2))
    return correction * float(values.mean()) / spread


def power(difference: float, se: float, dof: float, confidence: float = CONFIDENCE) -> float:
    """The chance that a two-sided t test finds a true difference.

    Args:
        difference: the true one.
        se: standard error of its estimate, in the same unit, above 0.
        dof: degrees of freedom of that error.
        confidence: 0.95 for a test at 5 %.
    """
    shift = abs(difference) / se
    critical = float(stdtrit(dof, 0.5 + confidence / 2))
    # T = (Z + shift) / S with S^2 chi-squared over its degrees of freedom: the normal part in closed form, S by quadrature
    spread = np.sqrt(2 * gammaincinv(dof / 2, NODES) / dof)
    return float(WEIGHTS @ (ndtr(shift - critical * spread) + ndtr(-shift - critical * spread)))


def minimum_detectable(se: float, dof: float, wanted: float = POWER, confidence: float = CONFIDENCE) -> float:
    """The smallest true difference that a two-sided t test finds with the wanted power, in the unit of ``se``."""
    if se == 0:
        return 0.0
    critical = float(stdtrit(dof, 0.5 + confidence / 2))
    from scipy.optimize import brentq  # its import takes as long as a table of thousands of trials, which needs none of it

    return se * float(brentq(lambda shift: power(shift, 1.0, dof, confidence) - wanted, 0.0, 20.0 + 4 * critical))


def more_seeds(
    difference: float, seed_variance: float, fixed_variance: float, have: int, *, confidence: float = CONFIDENCE, wanted: float = POWER
) -> int | None:
    """How many seeds, beyond those there are, a test of this difference needs for the wanted power.

    Args:
        difference: the true one; that of the data is the best guess, and a rough one.
        seed_variance: of the difference of one pair of seeds.
        fixed_variance: the part of the squared error that seeds do not shrink: that of the examples.
        have: seeds there are.
        confidence: 0.95 for a test at 5 %.
        wanted: the power.

    Returns:
        0 where there are enough; ``None`` where :data:`MOST_SEEDS` would not do, because the examples are too few or there is no
        difference.
    """
    first = max(2, have)

    def enough(n: int) -> bool:
        part = seed_variance / n
        squared = part + fixed_variance
        dof = LARGE if part == 0 else min(LARGE, squared**2 * (n - 1) / part**2)
        return squared == 0 or power(difference, squared**0.5, dof, confidence) >= wanted

    if difference == 0 or not enough(MOST_SEEDS):
        return None
    low, high = first, MOST_SEEDS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return max(0, low - have)
