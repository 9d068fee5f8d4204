"""How all plots look: colours, type, sizes, and how a figure becomes bytes."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure

Format = Literal["svg", "png"]
FORMATS: tuple[Format, ...] = get_args(Format)
WIDTHS = {"half": 3.4, "full": 7.0}
"""Inches: one and two columns of a paper."""
PARTS = re.compile(r"[^/_, ]+[/_, ]*|[/_, ]+")
DPI = 200
"""Dots per inch of a PNG."""
MARKERS = "osD^vPX*<>"
NAMED = 10
"""So many things at once get a colour and a marker of their own; more would not be told apart."""

_LOCK = threading.Lock()
"""matplotlib's settings belong to the whole process: one figure is drawn at a time."""

# Okabe and Ito, "Color Universal Design" (2008), without its yellow, which is not seen on white; on black the blue is lighter.
LIGHT = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#444444", "#882255", "#117733", "#999933")
DARK = ("#56B4E9", "#E69F00", "#2FBF94", "#E79AC6", "#F0E442", "#FF7F3F", "#CCCCCC", "#88CCEE", "#DDCC77", "#AA99FF")
STATES = {
    "completed": ("#009E73", "C"),
    "running": ("#56B4E9", "R"),
    "failed": ("#D55E00", "F"),
    "pending": ("#BBBBBB", "P"),
    "blocked": ("#999999", "B"),
    "unknown": ("#CC79A7", "U"),
    "cancelled": ("#777777", "X"),
    "pruned": ("#E69F00", "N"),
    "held": ("#F0E442", "H"),
}
"""Colour and letter of each state of a trial."""


@dataclass(frozen=True)
class Look:
    """How a plot is drawn.

    Attributes:
        theme: ``light`` or ``dark``.
        width: ``half`` for one column of a paper, ``full`` for both.
        format: of the bytes.
    """

    theme: Literal["light", "dark"] = "light"
    width: Literal["half", "full"] = "full"
    format: Format = "svg"

    @property
    def inches(self) -> float:
        """Width of the figure."""
        return WIDTHS[self.width]

    @property
    def colours(self) -> tuple[str, ...]:
        """Colours of what is told apart by name."""
        return DARK if self.theme == "dark" else LIGHT

    @property
    def ink(self) -> str:
        """Colour of text and axes."""
        return "#E8E8E8" if self.theme == "dark" else "#222222"

    @property
    def paper(self) -> str:
        """Colour of the background."""
        return "#15181D" if self.theme == "dark" else "#FFFFFF"

    @property
    def faint(self) -> str:
        """Colour of grid lines."""
        return "#3A3F47" if self.theme == "dark" else "#DDDDDD"

    @property
    def palette(self) -> Colormap:
        """Colours of what is ordered: cividis, made for colour-blind readers, less the end that sinks into the background."""
        ends = (0.25, 1.0) if self.theme == "dark" else (0.0, 0.93)
        return ListedColormap(matplotlib.colormaps["cividis"](np.linspace(*ends, 256)))


class Drawing:
    """A figure in the making; :attr:`picture` is its bytes once the ``with`` block has ended."""

    def __init__(self, figure: Figure) -> None:
        self.figure = figure
        self.picture = b""

    def axes(self) -> Axes:
        """The one pair of axes of the figure."""
        axes: Axes = self.figure.subplots()
        return axes


@contextmanager
def drawing(look: Look, height: float) -> Iterator[Drawing]:
    """A figure of this look, ``height`` inches high; its bytes follow from the same data alone, without a date or a random name."""
    settings: Any = {
        "font.family": "DejaVu Sans", "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7,
        "ytick.labelsize": 7, "legend.fontsize": 7, "axes.spines.top": False, "axes.spines.right": False,
        "axes.edgecolor": look.ink, "axes.labelcolor": look.ink, "text.color": look.ink, "xtick.color": look.ink,
        "ytick.color": look.ink, "axes.facecolor": look.paper, "figure.facecolor": look.paper, "savefig.facecolor": look.paper,
        "legend.facecolor": look.paper, "legend.edgecolor": look.faint, "grid.color": look.faint, "grid.linewidth": 0.6,
        "axes.axisbelow": True, "svg.hashsalt": "rewardsweep", "svg.fonttype": "path", "lines.linewidth": 1.4,
        "text.usetex": False, "text.parse_math": False,
    }  # fmt: skip
    # a name in a script that the font lacks is drawn as boxes: no reason to refuse the picture
    with _LOCK, matplotlib.rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        made = Drawing(Figure(figsize=(look.inches, height), layout="constrained"))
        yield made
        out = io.BytesIO()
        if look.format == "svg":
            made.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
        else:
            made.figure.savefig(out, format="png", dpi=DPI, metadata={"Software": None})
        made.picture = out.getvalue()


def nothing(look: Look, words: str) -> bytes:
    """A picture that says why there is nothing to show."""
    with drawing(look, 1.0) as made:
        axes = made.axes()
        axes.axis("off")
        axes.text(0.5, 0.5, words, ha="center", va="center", transform=axes.transAxes)
    return made.picture


def shortened(text: str, length: int = 34) -> str:
    """A name that fits beside a plot: its end tells it from others as well as its beginning."""
    return text if len(text) <= length else f"{text[: length // 2 - 1]}…{text[-(length - length // 2) :]}"


def wrapped(text: str, length: int, lines: int = 2) -> str:
    """A name over lines of about ``length`` characters, broken behind ``/``, ``_``, ``,`` and spaces, shortened beyond ``lines``."""
    found = [""]
    for part in PARTS.findall(text if len(text) <= lines * length else shortened(text, lines * length)):
        if found[-1] and len(found[-1] + part.rstrip()) > length and len(found) < lines:
            found.append("")
        found[-1] += part
    return "\n".join(line.strip() for line in found)
