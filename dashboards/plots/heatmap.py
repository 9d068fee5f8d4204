"""Heat maps of a grid: cells by a metric, or by state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.colors import to_rgb

from dashboards.plots.style import STATES, Drawing, Look, drawing, nothing, shortened

Values = Sequence[Sequence[float | None]]


def heat_map(
    rows: Sequence[str], columns: Sequence[str], values: Values, look: Look, *, x_label: str, y_label: str, label: str, digits: int = 1
) -> bytes:
    """Cells by a metric.

    Args:
        rows: the values of the axis that runs down.
        columns: those of the axis that runs across.
        values: [rows][columns]; ``None`` where there is none yet, drawn as a dash.
        look: how it is drawn.
        x_label: name of the axis across.
        y_label: name of the axis down.
        label: of the metric, with its unit.
        digits: decimals of the numbers in the cells.
    """
    known = [value for line in values for value in line if value is not None]
    if not known:
        return nothing(look, "no value yet")
    low, high = min(known), max(known)
    palette = look.palette

    def colour(value: float | None) -> Any:
        return look.faint if value is None else palette(0.5 if high == low else (value - low) / (high - low))

    with drawing(look, _height(rows, look)) as made:
        axes = _grid(made, rows, columns, x_label, y_label, look)
        for y, line in enumerate(values):
            for x, value in enumerate(line):
                _cell(axes, x, y, colour(value), "–" if value is None else f"{value:.{digits}f}")
        scale = matplotlib.cm.ScalarMappable(matplotlib.colors.Normalize(low, high if high > low else low + 1e-9), palette)
        made.figure.colorbar(scale, ax=axes, label=label, shrink=0.9)
    return made.picture


def state_map(
    rows: Sequence[str], columns: Sequence[str], values: Sequence[Sequence[Mapping[str, int]]], look: Look, *, x_label: str, y_label: str
) -> bytes:
    """Cells by the states of their trials: the colour of the most frequent one, and a letter with a number for each."""
    if not any(counts for line in values for counts in line):
        return nothing(look, "no trial yet")
    with drawing(look, _height(rows, look) + 0.3) as made:
        axes = _grid(made, rows, columns, x_label, y_label, look)
        for y, line in enumerate(values):
            for x, counts in enumerate(line):
                most = Counter(counts).most_common(1)
                text = " ".join(f"{STATES[state][1]}{number}" for state, number in counts.items())
                _cell(axes, x, y, STATES[most[0][0]][0] if most else look.faint, text or "–")
        used = [state for state in STATES if any(state in counts for line in values for counts in line)]
        handles = [matplotlib.patches.Patch(color=STATES[state][0], label=f"{STATES[state][1]} {state}") for state in used]
        made.figure.legend(
            handles=handles, loc="outside lower center", ncols=min(len(handles), 5 if look.width == "full" else 3), frameon=False
        )
    return made.picture


def _height(rows: Sequence[str], look: Look) -> float:
    return 1.1 + (0.34 if look.width == "full" else 0.28) * max(len(rows), 1)


def _grid(made: Drawing, rows: Sequence[str], columns: Sequence[str], x_label: str, y_label: str, look: Look) -> Any:
    axes = made.axes()
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    steep = max(map(len, columns), default=0) * len(columns) > (60 if look.width == "full" else 26)
    axes.set_xticks(
        range(len(columns)), [shortened(name, 20) for name in columns], rotation=35 if steep else 0, ha="right" if steep else "center"
    )
    axes.set_yticks(range(len(rows)), [shortened(name, 20) for name in rows])
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return axes


def _cell(axes: Any, x: int, y: int, colour: Any, text: str) -> None:
    axes.add_patch(matplotlib.patches.Rectangle((x - 0.48, y - 0.48), 0.96, 0.96, color=colour, linewidth=0))
    red, green, blue = to_rgb(colour)
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    axes.text(x, y, text, ha="center", va="center", fontsize=7, color="#111111" if bright else "#FFFFFF")
