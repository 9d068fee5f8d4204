"""Length bias, calibration and accuracy by length, as a plain table below the report's own."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from core.analysis.sanity import LENGTHS, Sanity

HEADS = ("benchmark", "length bias", "ECE", *(f"{name}, %" for name in LENGTHS))
SHORT = ("bias", "ECE", "<1/2", "<1", ">=1", ">=2")
NUMBER = 7
"""Columns of a number in text."""

LEGEND = (
    "Length bias: change of the chance to be right with each doubling of the better response's length over the worse one's. "
    "ECE: calibration error of the margins. Then accuracy by that ratio of lengths: under half, under one, one or more, two or more."
)


def cells_of(one: Sanity) -> list[str]:
    """One line of the table, as texts, without the cell's name."""
    lengths = [f"{one.by_length[name][0]:.1f}" if name in one.by_length else "–" for name in LENGTHS]
    return [one.benchmark, _fraction(one.length_bias, signed=True), _fraction(one.ece), *lengths]


def sanity_lines(found: Sequence[Sanity], width: int) -> list[str]:
    """The table in columns, benchmark by benchmark."""
    room = width - NUMBER * len(SHORT)
    benchmarks = list(dict.fromkeys(one.benchmark for one in found))
    names = min(room, max(cell_len(text) for text in (*benchmarks, *(one.cell for one in found))) + 1)
    lines = []
    for benchmark in benchmarks:
        lines.append(_fit(benchmark, names) + "".join(head.rjust(NUMBER) for head in SHORT))
        lines += [
            _fit(one.cell, names) + "".join(text.rjust(NUMBER) for text in cells_of(one)[1:]) for one in found if one.benchmark == benchmark
        ]
    return lines


def _fit(text: str, size: int) -> str:
    return text + " " * (size - cell_len(text)) if cell_len(text) < size else set_cell_size(text, max(0, size - 2)) + "… "


def _fraction(value: float | None, *, signed: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if signed else ''}.3f}"
