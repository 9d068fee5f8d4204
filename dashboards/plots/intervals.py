"""Interval plot: each cell's mean with its 95 % interval, and what a paper reported for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.plots.style import Look, drawing, nothing, wrapped


@dataclass(frozen=True)
class Estimate:
    """One line of the plot.

    Attributes:
        name: of the cell.
        mean: of its replicates; ``None`` where there is none.
        interval: 95 %, ``None`` where there is none.
        reported: what a paper printed.
        best: whether it has the best mean.
        baseline: whether it is a scorer without a model.
    """

    name: str
    mean: float | None
    interval: tuple[float, float] | None = None
    reported: float | None = None
    best: bool = False
    baseline: bool = False


def intervals(lines: Sequence[Estimate], look: Look, *, label: str, note: str = "", best: str = "best mean", zero: bool = False) -> bytes:
    """Means and intervals, one line below the other.

    Args:
        lines: from the top.
        look: how it is drawn.
        label: of the metric, with its unit.
        note: what the intervals are over, said above the plot.
        best: what the key calls those that are best.
        zero: whether the lines are differences: nought is drawn then.
    """
    lines = [line for line in lines if line.mean is not None or line.reported is not None]
    if not lines:
        return nothing(look, "no value yet")
    with drawing(look, 1.15 + 0.2 * len(lines)) as made:
        axes = made.axes()
        if zero:
            axes.axvline(0, color=look.ink, linewidth=0.8)
        for y, line in enumerate(lines):
            colour = look.colours[6] if line.baseline else look.colours[0]
            if line.mean is not None:
                axes.plot(
                    [line.mean],
                    [y],
                    marker="D" if line.best else "s" if line.baseline else "o",
                    color=colour,
                    markersize=6 if line.best else 4.5,
                )
            if line.interval is not None:
                axes.plot(line.interval, [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
                axes.plot(line.interval, [y, y], "|", color=colour, markersize=6)
            if line.reported is not None:
                axes.plot([line.reported], [y], marker="x", color=look.colours[1], markersize=5, linestyle="none")
        axes.set_yticks(range(len(lines)), [wrapped(line.name, 40 if look.width == "full" else 26) for line in lines])
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_xlabel(label)
        axes.grid(True, axis="x")
        known = any(line.interval is not None for line in lines)
        keys = [("o", look.colours[0], ("difference" if zero else "mean") + (", with its 95 % interval" if known else ""))]
        keys += [("D", look.colours[0], best)] if any(line.best for line in lines) else []
        keys += [("s", look.colours[6], "baseline")] if any(line.baseline for line in lines) else []
        keys += [("x", look.colours[1], "reported")] if any(line.reported is not None for line in lines) else []
        handles = [
            axes.plot([], [], marker=marker, color=colour, linestyle="none", markersize=4.5, label=text)[0] for marker, colour, text in keys
        ]
        made.figure.legend(handles=handles, loc="outside lower center", ncols=4 if look.width == "full" else 2, frameon=False)
        if note:
            axes.set_title(note, loc="left")
    return made.picture
