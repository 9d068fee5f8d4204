"""Parallel coordinates: a line for each cell through its axes' values and its metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib

from dashboards.plots.style import Look, drawing, nothing, shortened, wrapped

CHARACTER = 0.058
"""Inches of a letter below an axis."""
MANY = 2000
"""Lines that are drawn; more are a grey wall."""


@dataclass(frozen=True)
class Dimension:
    """One upright axis.

    Attributes:
        name: of a path or metric, with its unit.
        values: one for each line; a number, or a word that is told apart from others; ``None`` where the line has none.
        scale: whether numbers stand at their distances, however few they are: so for a metric, and not for the values of a grid.
    """

    name: str
    values: Sequence[float | str | None]
    scale: bool = False

    @property
    def words(self) -> list[str] | None:
        """The distinct values in the order in which they come, for what is no number; ``None`` for numbers."""
        known = [value for value in self.values if value is not None]
        if all(isinstance(value, (int, float)) for value in known) and (len(set(known)) > 6 or (self.scale and len(set(known)) > 1)):
            return None
        distinct = list(dict.fromkeys(known))
        if all(isinstance(value, (int, float)) for value in known):
            distinct.sort(key=lambda value: float(value))
        return [_word(value) for value in distinct]


def parallel(dimensions: Sequence[Dimension], look: Look, *, colour: Sequence[float | None], label: str) -> bytes:
    """Lines through the dimensions, coloured by a metric.

    Args:
        dimensions: from the left, each with one value for each line.
        look: how it is drawn.
        colour: of each line: the metric's value; a line without one is grey.
        label: of the metric, with its unit.
    """
    known = [value for value in colour if value is not None]
    if len(dimensions) < 2 or not known:
        return nothing(look, "too few values yet")
    low, high = min(known), max(known)
    palette = look.palette
    columns = [_scaled(dimension) for dimension in dimensions]
    order = sorted(range(len(colour)), key=lambda line: (colour[line] is not None, colour[line] or 0.0))[-MANY:]
    with drawing(look, 2.7 if look.width == "full" else 2.9) as made:
        axes = made.axes()
        for line in order:
            value = colour[line]
            tint = look.faint if value is None else palette(0.5 if high == low else (value - low) / (high - low))
            points = [(x, height) for x, column in enumerate(columns) if (height := column[line]) is not None]
            axes.plot([x for x, _ in points], [y for _, y in points], color=tint, alpha=0.85, linewidth=1.3, marker="o", markersize=2.5)
        for x, dimension in enumerate(dimensions):
            axes.axvline(x, color=look.ink, linewidth=0.8)
            for height, text in _ticks(dimension):
                axes.text(
                    x + 0.03,
                    height,
                    shortened(text, 16),
                    fontsize=7,
                    va="center",
                    bbox={"facecolor": look.paper, "alpha": 0.75, "pad": 0.6, "linewidth": 0},
                )
        room = max(7, int((look.inches - 0.9) / len(dimensions) / CHARACTER))
        axes.set_xticks(range(len(dimensions)), [wrapped(dimension.name, room, 5) for dimension in dimensions])
        axes.set_yticks([])
        axes.set_xlim(-0.15, len(dimensions) - 0.6)
        for side in axes.spines.values():
            side.set_visible(False)
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(low, high if high > low else low + 1e-9), palette)
        made.figure.colorbar(scale, ax=axes, label=label, shrink=0.9)
    return made.picture


def _word(value: float | str) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _scaled(dimension: Dimension) -> list[float | None]:
    """[lines] the height of each value, 0 to 1."""
    words = dimension.words
    if words is not None:
        place = {word: (0.5 if len(words) == 1 else number / (len(words) - 1)) for number, word in enumerate(words)}
        return [None if value is None else place[_word(value)] for value in dimension.values]
    numbers = [None if value is None else float(value) for value in dimension.values]
    known = [number for number in numbers if number is not None]
    low, high = min(known), max(known)
    return [None if number is None else (number - low) / (high - low) for number in numbers]


def _ticks(dimension: Dimension) -> list[tuple[float, str]]:
    words = dimension.words
    if words is not None:
        return [(0.5 if len(words) == 1 else number / (len(words) - 1), word) for number, word in enumerate(words)]
    known = [float(value) for value in dimension.values if value is not None]
    low, high = min(known), max(known)
    return [(part, f"{low + part * (high - low):.4g}") for part in (0.0, 0.5, 1.0)]
