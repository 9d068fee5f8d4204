"""Plots: whatever the data, a picture comes out, the same each time, labelled, and told apart without colour."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from itertools import product

import pytest
from PIL import Image

from dashboards.plots import (
    Curve,
    Dimension,
    Estimate,
    Look,
    Share,
    Slice,
    Tried,
    curves,
    heat_map,
    history,
    importance,
    intervals,
    parallel,
    slices,
    state_map,
)
from dashboards.plots.style import DARK, DPI, LIGHT, STATES, WIDTHS

Draw = Callable[[Look], bytes]
NAMES = [f"head.layers={n} head.activation=silu" for n in range(1, 8)]
PLOTS: dict[str, Draw] = {
    "curves": lambda look: curves(
        [Curve(name, [0, 1, 2], [n, n + 1, n], [n - 1] * 3, [n + 2] * 3) for n, name in enumerate(NAMES)], look,
        x_label="step", y_label="validation accuracy (fraction)", note="band: lowest and highest seed",
    ),
    "heat": lambda look: heat_map(
        ["1", "2"], ["none", "tanh", "silu"], [[1.0, None, 3.0], [2.0, 2.0, 2.5]], look,
        x_label="activation", y_label="layers", label="overall (%)",
    ),
    "states": lambda look: state_map(
        ["1", "2"], ["none", "silu"], [[{"completed": 2}, {"failed": 1, "running": 1}], [{}, {"pending": 3}]], look,
        x_label="activation", y_label="layers",
    ),
    "intervals": lambda look: intervals(
        [Estimate(NAMES[0], 71.0, (69.0, 73.0), 71.2), Estimate(NAMES[1], 72.0, best=True), Estimate("length", 50.0, baseline=True)],
        look, label="overall (%)", note="over examples",
    ),
    "importance": lambda look: importance([Share("head.layers", 0.7, (0.5, 0.8)), Share("head.activation", 0.1)], look, label="share (%)"),
    "parallel": lambda look: parallel(
        [Dimension("layers", [1, 2, 3]), Dimension("activation", ["none", None, "silu"]), Dimension("overall (%)", [70.0, 71.5, None])],
        look, colour=[70.0, 71.5, None], label="overall (%)",
    ),
    "history": lambda look: history(
        [Tried(1, "complete", 0.7), Tried(2, "pruned", 0.5), Tried(3, "failed", None), Tried(4, "complete", 0.8), Tried(5, "open", None)],
        look, mode="max", label="validation/accuracy",
    ),
    "slices": lambda look: slices(
        [Slice("optim.lr", [1e-6, 1e-5, 1e-4], log=True), Slice("head.activation", ["silu", "none", None])], look,
        objective=[0.7, 0.5, 0.8], stopped=[False, True, False], label="validation/accuracy",
    ),
}  # fmt: skip
NOTHING: dict[str, Draw] = {
    "curves": lambda look: curves([Curve("a", [], [])], look, x_label="step", y_label="loss"),
    "heat": lambda look: heat_map(["1"], ["a"], [[None]], look, x_label="x", y_label="y", label="m"),
    "states": lambda look: state_map([], [], [], look, x_label="x", y_label="y"),
    "intervals": lambda look: intervals([Estimate("a", None)], look, label="m"),
    "importance": lambda look: importance([], look, label="m"),
    "parallel": lambda look: parallel([], look, colour=[], label="m"),
    "history": lambda look: history([Tried(1, "open", None)], look, mode="min", label="m"),
    "slices": lambda look: slices([Slice("a", [1.0])], look, objective=[None], stopped=[False], label="m"),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_the_same_picture_each_time_in_every_look(name: str) -> None:
    seen = set()
    for theme, width in product(("light", "dark"), ("half", "full")):
        look = Look(theme, width)  # type: ignore[arg-type]
        picture = PLOTS[name](look)
        assert picture == PLOTS[name](look)
        root = ElementTree.fromstring(picture)
        assert root.tag.endswith("svg")
        assert float(str(root.get("width")).removesuffix("pt")) == pytest.approx(WIDTHS[width] * 72)
        seen.add(picture)
    assert len(seen) == 4


@pytest.mark.parametrize("name", PLOTS)
def test_a_picture_of_dots_has_the_resolution_of_print(name: str) -> None:
    image = Image.open(io.BytesIO(PLOTS[name](Look("light", "half", "png"))))
    assert image.size[0] == pytest.approx(WIDTHS["half"] * DPI, abs=1)


@pytest.mark.parametrize("name", NOTHING)
def test_a_plot_of_nothing_says_so_instead_of_failing(name: str) -> None:
    assert NOTHING[name](Look()) != PLOTS[name](Look())


def test_a_name_is_text_and_no_formula() -> None:
    """matplotlib would read `$` as mathematics, and refuse what does not parse."""
    assert curves([Curve("$\\frac{", [0, 1], [0, 1])], Look(), x_label="$", y_label="_a^")


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return math.fsum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _contrast(a: str, b: str) -> float:
    bright, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_colours_stand_out_from_their_background() -> None:
    """3:1 for the first, which carry most plots, is what WCAG 2.1 asks of graphics; light blue and orange come late and with a marker."""
    assert all(_contrast(colour, Look("light").paper) >= 3 for colour in LIGHT[:4] if colour != "#CC79A7")
    assert all(_contrast(colour, Look("dark").paper) >= 3 for colour in DARK)
    assert all(_contrast(look.ink, look.paper) >= 7 for look in (Look("light"), Look("dark")))


def test_every_state_has_a_letter_of_its_own() -> None:
    from core.control.states import TRIAL_STATES

    assert set(STATES) == set(TRIAL_STATES)
    assert len({letter for _, letter in STATES.values()}) == len(STATES)
