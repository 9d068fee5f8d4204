"""Learning curves: one line for each cell, with a band over its replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.plots.style import MARKERS, Look, drawing, nothing, shortened


@dataclass(frozen=True)
class Curve:
    """One line.

    Attributes:
        name: what the legend calls it.
        x: where its points stand.
        y: their values.
        low: the lower end of the band at each point; empty for none.
        high: the upper end.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def curves(lines: Sequence[Curve], look: Look, *, x_label: str, y_label: str, note: str = "") -> bytes:
    """Overlaid curves.

    Args:
        lines: one for each cell; those without points are left out.
        look: how it is drawn.
        x_label: with its unit.
        y_label: with its unit.
        note: what the bands are, said above the plot.
    """
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return nothing(look, "no points yet")
    rows = (len(lines) + 1) // 2 if look.width == "full" else len(lines)
    with drawing(look, (2.6 if look.width == "full" else 2.2) + 0.17 * rows) as made:
        axes = made.axes()
        for number, line in enumerate(lines):
            colour = look.colours[number % len(look.colours)]
            every = max(1, len(line.x) // 8)
            axes.plot(
                line.x, line.y, color=colour, marker=MARKERS[number % len(MARKERS)], markersize=3.5, markevery=(number % every, every),
                label=shortened(line.name, 48 if look.width == "full" else 46),
            )  # fmt: skip
            if len(line.low):
                axes.fill_between(line.x, line.low, line.high, color=colour, alpha=0.2, linewidth=0)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.grid(True)
        if note:
            axes.set_title(note, loc="left", color=look.ink)
        made.figure.legend(loc="outside lower center", ncols=2 if look.width == "full" else 1, frameon=False)
    return made.picture
