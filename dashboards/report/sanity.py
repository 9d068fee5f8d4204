"""Length bias, calibration and accuracy by length, as a plain table below the report's own."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from core.analysis.sanity import LENGTHS, Sanity

HEADS = ("benchmark", "length bias", "ECE", *(f"{name}, %" for name in LENGTHS))
SHORT = ("bias", "ECE", "<1/2", "<1", ">=1", ">=2")
OF_MEMBERS = ("members differ", "any right")
"""Further columns where there are ensembles."""
SHORT_OF_MEMBERS = ("differ", "any")
NUMBER = 7
"""Columns of a number in text."""

LEGEND = (
    "Length bias: change of the chance to be right with each doubling of the better response's length over the worse one's. "
    "ECE: calibration error of the margins. Then accuracy by that ratio of lengths: under half, under one, one or more, two or more."
)
LEGEND_OF_MEMBERS = " Of an ensemble: how often two of its members differ, and how often any of them is right (shares of the pairs)."


def legend(found: Sequence[Sanity]) -> str:
    """What the columns are."""
    return LEGEND + (LEGEND_OF_MEMBERS if _has_ensembles(found) else "")


def sanity_table(found: Sequence[Sanity]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads and rows, as texts; the first two columns are words."""
    members = _has_ensembles(found)
    heads = ("cell", *HEADS, *(OF_MEMBERS if members else ()))
    return heads, [(one.cell, one.benchmark, *_numbers(one, members)) for one in found]


def sanity_lines(found: Sequence[Sanity], width: int) -> list[str]:
    """The table in columns, benchmark by benchmark."""
    members = _has_ensembles(found)
    heads = (*SHORT, *(SHORT_OF_MEMBERS if members else ()))
    room = width - NUMBER * len(heads)
    benchmarks = list(dict.fromkeys(one.benchmark for one in found))
    names = min(room, max(cell_len(text) for text in (*benchmarks, *(one.cell for one in found))) + 1)
    lines = []
    for benchmark in benchmarks:
        lines.append(_fit(benchmark, names) + "".join(head.rjust(NUMBER) for head in heads))
        lines += [
            _fit(one.cell, names) + "".join(text.rjust(NUMBER) for text in _numbers(one, members))
            for one in found
            if one.benchmark == benchmark
        ]
    return lines


def _numbers(one: Sanity, members: bool) -> list[str]:
    lengths = [f"{one.by_length[name][0]:.1f}" if name in one.by_length else "–" for name in LENGTHS]
    told = [_fraction(one.disagreement), _fraction(one.any_right)] if one.disagreement is not None else ["", ""]
    return [_fraction(one.length_bias, signed=True), _fraction(one.ece), *lengths, *(told if members else ())]


def _has_ensembles(found: Sequence[Sanity]) -> bool:
    return any(one.disagreement is not None for one in found)


def _fit(text: str, size: int) -> str:
    return text + " " * (size - cell_len(text)) if cell_len(text) < size else set_cell_size(text, max(0, size - 2)) + "… "


def _fraction(value: float | None, *, signed: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if signed else ''}.3f}"
