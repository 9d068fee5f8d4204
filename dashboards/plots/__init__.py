"""Plots for the page, the report and the paper: data in, SVG or PNG out (matplotlib; no I/O, no browser).

Every function takes plain values and a :class:`Look`, and returns the bytes of a picture. The look is light or dark, and as wide
as one or two columns of a paper; type is never smaller than 7 points. Colours are told apart by colour-blind readers too, and never
carry a meaning alone: a line has a marker, a cell its number or letter.
"""

from __future__ import annotations

from dashboards.plots.curves import Curve, curves
from dashboards.plots.heatmap import heat_map, state_map
from dashboards.plots.history import Tried, history
from dashboards.plots.importance import Share, importance
from dashboards.plots.intervals import Estimate, intervals
from dashboards.plots.parallel import Dimension, parallel
from dashboards.plots.slices import Slice, slices
from dashboards.plots.style import FORMATS, Format, Look

__all__ = [
    "FORMATS",
    "Curve",
    "Dimension",
    "Estimate",
    "Format",
    "Look",
    "Share",
    "Slice",
    "Tried",
    "curves",
    "heat_map",
    "history",
    "importance",
    "intervals",
    "parallel",
    "slices",
    "state_map",
]
