"""Search history: the value of each suggestion in the order in which they were asked, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.ticker import MaxNLocator

from dashboards.plots.style import Look, drawing, nothing


@dataclass(frozen=True)
class Tried:
    """One suggestion: its number from 1, what became of it, and its value (of a stopped one the last that it reported)."""

    number: int
    told: Literal["open", "complete", "pruned", "failed"]
    value: float | None


def history(points: Sequence[Tried], look: Look, *, mode: Literal["max", "min"], label: str) -> bytes:
    """A point for each suggestion and a step line through the best so far.

    Args:
        points: in the order in which they were asked.
        look: how it is drawn.
        mode: whether more or less is better.
        label: of the objective, with its unit.
    """
    finished = [(point.number, point.value) for point in points if point.told == "complete" and point.value is not None]
    stopped = [(point.number, point.value) for point in points if point.told == "pruned" and point.value is not None]
    if not finished and not stopped:
        return nothing(look, "no suggestion has a value yet")
    with drawing(look, 2.5) as made:
        axes = made.axes()
        if stopped:
            x, y = [number for number, _ in stopped], [value for _, value in stopped]
            axes.plot(x, y, "x", color=look.colours[1], markersize=5, label="stopped early (last value)")
        if finished:
            x, y = [number for number, _ in finished], [value for _, value in finished]
            axes.plot(x, y, "o", color=look.colours[0], markersize=4.5, label="finished")
            best: list[float] = []
            for value in y:
                last = best[-1] if best else value
                best.append(max(last, value) if mode == "max" else min(last, value))
            axes.step([*x, points[-1].number], [*best, best[-1]], where="post", color=look.ink, linewidth=1.2, label="best so far")
        failed = [point.number for point in points if point.told == "failed"]
        for number in failed:
            axes.axvline(number, color=look.faint, linewidth=1.0, linestyle=":")
        axes.set_xlabel("suggestion" + (f" (dotted: {len(failed)} failed)" if failed else ""))
        axes.set_ylabel(label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(True)
        axes.legend(loc="best")
    return made.picture
