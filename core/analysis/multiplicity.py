"""Many tests at once (pure, no I/O)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted so that the chance of any false discovery in the family stays at or under the level.

    The step-down procedure of Holm (Scandinavian Journal of Statistics 6, 1979): the i-th smallest of m is multiplied by m - i + 1, made
    monotone, and cut at 1. It holds under any dependence between the tests.

    Args:
        p_values: of the whole family, in any order.

    Returns:
        The adjusted values in the same order.

    Raises:
        ValueError: a value is not within 0 and 1 (NaN is not).
    """
    values = np.asarray(p_values, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"a p value lies within 0 and 1: {[value for value in p_values if not 0 <= value <= 1]}")
    order = np.argsort(values, kind="stable")
    steps = np.minimum(1.0, np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)))
    adjusted = np.empty(len(values))
    adjusted[order] = steps
    return [float(value) for value in adjusted]
