"""Axis importance: how much of the spread between cells each axis explains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.plots.style import Look, drawing, nothing, shortened


@dataclass(frozen=True)
class Share:
    """One bar: ``value`` of one axis as a share (0 to 1), with a 95 % interval where there is one."""

    name: str
    value: float
    interval: tuple[float, float] | None = None


def importance(bars: Sequence[Share], look: Look, *, label: str, note: str = "") -> bytes:
    """A bar for each axis, from the top.

    Args:
        bars: from the top.
        look: how it is drawn.
        label: what a bar's length is.
        note: said above the plot.
    """
    if not bars:
        return nothing(look, "too few cells with a value")
    with drawing(look, 0.85 + 0.28 * len(bars)) as made:
        axes = made.axes()
        for y, bar in enumerate(bars):
            axes.barh(y, 100 * bar.value, height=0.62, color=look.colours[0])
            end = bar.value
            if bar.interval is not None:
                axes.plot([100 * bar.interval[0], 100 * bar.interval[1]], [y, y], "|-", color=look.ink, linewidth=1.2, markersize=6)
                end = max(end, bar.interval[1])
            axes.text(100 * end + 1.5, y, f"{100 * bar.value:.0f} %", va="center", fontsize=7)
        axes.set_yticks(range(len(bars)), [shortened(bar.name, 34 if look.width == "full" else 22) for bar in bars])
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_xlim(0, 115)
        axes.set_xlabel(label)
        axes.grid(True, axis="x")
        if note:
            axes.set_title(note, loc="left")
    return made.picture
