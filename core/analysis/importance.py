"""How much of the spread between cells each axis explains (pure, no I/O).

The share of an axis is the correlation ratio (eta squared; Fisher, Statistical Methods for Research Workers, 1925): the sum of squares
between the means of its values over the total sum of squares of the cells' means. In a full and balanced grid the shares of the axes and of
their interactions add up to 1. In any other grid they overlap, and an axis that goes with another shares its credit.

What the share rests on is shown by leaving out one cell at a time: the lowest and the highest share that this gives.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

FEWEST = 3
"""Cells that a share needs."""


@dataclass(frozen=True)
class AxisShare:
    """One axis.

    Attributes:
        axis: its path.
        share: 0 to 1.
        span: the lowest and highest share without any one of the cells; ``None`` where too few would be left.
        values: how many values of the axis have a cell.
    """

    axis: str
    share: float
    span: tuple[float, float] | None
    values: int


def axis_shares(cells: Sequence[tuple[Mapping[str, Any], float]]) -> list[AxisShare]:
    """The share of each axis that has two values or more, the largest first.

    Args:
        cells: the coordinates of each cell with the mean of its replicates. An axis that a cell lacks counts as a value of its own.
    """
    axes = list(dict.fromkeys(path for cell, _ in cells for path in cell))
    found = []
    for axis in axes:
        labels = [repr(cell.get(axis)) for cell, _ in cells]
        numbers = [value for _, value in cells]
        if len(cells) < FEWEST or len(set(labels)) < 2 or len(set(labels)) == len(labels):
            continue  # a value for each cell explains everything, and says nothing
        share, rest = _shares(labels, numbers)
        span = (min(rest), max(rest)) if len(cells) > FEWEST else None
        found.append(AxisShare(axis, share, span, len(set(labels))))
    return sorted(found, key=lambda one: -one.share)


def _shares(labels: Sequence[str], numbers: Sequence[float]) -> tuple[float, list[float]]:
    """The share of all cells, and the shares without each of them, from sums alone: thousands of cells cost no more than a pass."""
    mean = math.fsum(numbers) / len(numbers)
    centred = [number - mean for number in numbers]  # so that the sums of squares lose no digits
    groups: dict[str, list[float]] = {}
    for label, number in zip(labels, centred, strict=True):
        groups.setdefault(label, []).append(number)
    sums = {label: (math.fsum(group), len(group)) for label, group in groups.items()}
    parts = math.fsum(total * total / count for total, count in sums.values())
    whole, squares, n = math.fsum(centred), math.fsum(number * number for number in centred), len(centred)

    def share(parts: float, whole: float, squares: float, n: int) -> float:
        spread = squares - whole * whole / n
        return 0.0 if spread <= 1e-12 * (squares or 1.0) else min(max((parts - whole * whole / n) / spread, 0.0), 1.0)

    without = []
    for label, number in zip(labels, centred, strict=True):
        total, count = sums[label]
        left = (total - number) ** 2 / (count - 1) if count > 1 else 0.0
        without.append(share(parts - total * total / count + left, whole - number, squares - number * number, n - 1))
    return share(parts, whole, squares, n), without
