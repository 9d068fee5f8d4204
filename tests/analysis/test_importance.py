"""Axis importance: known shares, and what one cell less would change."""

from __future__ import annotations

import pytest

from core.analysis.importance import axis_shares

ADDITIVE = [({"a": a, "b": b}, 10.0 * a + 5.0 * b) for a in (0, 1) for b in (0, 1)]


def test_a_full_additive_grid_is_shared_out_among_its_axes() -> None:
    a, b = axis_shares(ADDITIVE)
    assert (a.axis, b.axis) == ("a", "b")
    assert (a.share, b.share) == (pytest.approx(0.8), pytest.approx(0.2))
    assert a.values == 2


def test_the_span_is_what_leaving_out_each_cell_gives() -> None:
    cells = [({"a": number % 3, "b": number % 2}, 70 + (number * 37 % 11)) for number in range(9)]
    for one in axis_shares(cells):
        rest = [axis_shares(cells[:left] + cells[left + 1 :]) for left in range(len(cells))]
        shares = [found.share for shares in rest for found in shares if found.axis == one.axis]
        assert one.span == (pytest.approx(min(shares)), pytest.approx(max(shares)))


def test_what_says_nothing_is_left_out() -> None:
    assert axis_shares([({"a": number}, float(number)) for number in range(5)]) == [], "a value for each cell"
    assert axis_shares(ADDITIVE[:2]) == [], "too few cells"
    assert [one.share for one in axis_shares([({"a": number % 2}, 3.0) for number in range(5)])] == [0.0], "no spread"
