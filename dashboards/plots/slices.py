"""Slices: the objective against each searched parameter, one small plot beside the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, NullFormatter

from dashboards.plots.style import Look, drawing, nothing, shortened

ACROSS = 3
"""Plots side by side at full width; two in a column."""


@dataclass(frozen=True)
class Slice:
    """One parameter.

    Attributes:
        name: as it is written.
        values: one for each suggestion; a number or a word, ``None`` where the parameter was not chosen.
        log: whether the parameter is searched on a logarithmic scale.
    """

    name: str
    values: Sequence[float | str | None]
    log: bool = False


def slices(found: Sequence[Slice], look: Look, *, objective: Sequence[float | None], stopped: Sequence[bool], label: str) -> bytes:
    """The objective of every suggestion against each parameter.

    Args:
        found: the parameters, each with one value for each suggestion.
        look: how it is drawn.
        objective: of each suggestion; of a stopped one the last value that it reported.
        stopped: whether the suggestion was stopped early.
        label: of the objective, with its unit.
    """
    if not found or not any(value is not None for value in objective):
        return nothing(look, "no suggestion has a value yet")
    across = min(len(found), ACROSS if look.width == "full" else 2)
    down = -(-len(found) // across)
    with drawing(look, 2.1 * down + 0.2) as made:
        panels = made.figure.subplots(down, across, squeeze=False, sharey=True)
        for position, axes in enumerate(panels.flat):
            if position >= len(found):
                axes.axis("off")
                continue
            one = found[position]
            words = list(dict.fromkeys(str(value) for value in one.values if isinstance(value, str)))
            for early, marker, colour in ((False, "o", look.colours[0]), (True, "x", look.colours[1])):
                pairs = [
                    (words.index(value) if isinstance(value, str) else value, gain)
                    for value, gain, was in zip(one.values, objective, stopped, strict=True)
                    if value is not None and gain is not None and was == early
                ]
                name = "stopped early" if early else "finished"
                axes.plot([x for x, _ in pairs], [y for _, y in pairs], marker, color=colour, markersize=4.5, label=name)
            if one.log:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.xaxis.set_minor_formatter(NullFormatter())
            if words:
                axes.set_xticks(range(len(words)), [shortened(word, 16) for word in words])
                axes.set_xlim(-0.5, len(words) - 0.5)
            axes.set_xlabel(shortened(one.name, 30))
            axes.grid(True)
            if position % across == 0:
                axes.set_ylabel(label)
        if any(stopped):
            panels.flat[0].legend(loc="best")
    return made.picture
