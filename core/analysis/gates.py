"""Gates: bounds beyond which a cell or an ensemble is not to be promoted, whatever its accuracy (pure, no I/O)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from core.analysis.report import Row
from core.analysis.sanity import Sanity

SANITY = ("length_bias", "ece")
"""Gates on what is not a metric: they hold on every benchmark, and a length bias counts whichever way it goes."""


@dataclass(frozen=True)
class Gate:
    """What a value must lie within; ``None`` for no bound."""

    max: float | None = None
    min: float | None = None

    def beyond(self, value: float) -> str | None:
        """In which way a value is beyond it."""
        if self.max is not None and value > self.max:
            return f"above {self.max:g}"
        return f"below {self.min:g}" if self.min is not None and value < self.min else None


def mark(rows: Sequence[Row], gates: Mapping[str, Gate], sanity: Sequence[Sanity]) -> tuple[list[Row], list[str]]:
    """Flag the cells that are beyond a gate; returns the rows, and a sentence on each gate that could not be tried.

    Args:
        rows: of the table.
        gates: by ``length_bias``, ``ece`` or full name of a metric.
        sanity: of all cells.
    """
    by_cell: dict[str, list[Sanity]] = {}
    for one in sanity:
        by_cell.setdefault(one.cell, []).append(one)
    tried: set[str] = set()
    out = []
    for row in rows:
        flags = []
        for name, gate in gates.items() if row.kind in ("cell", "ensemble") else ():
            for where, value in _values(row, name, by_cell.get(row.name, ())):
                tried.add(name)
                how = gate.beyond(abs(value) if name == "length_bias" else value)
                if how is not None:
                    flags.append(f"do not promote: {where} {value:.3g} is {how}")
        out.append(replace(row, flags=(*row.flags, *flags)) if flags else row)
    return out, [f"The gate on {name} was not tried: no cell has a value." for name in gates if name not in tried]


def _values(row: Row, name: str, sanity: Sequence[Sanity]) -> Iterator[tuple[str, float]]:
    if name in SANITY:
        for one in sanity:
            value = one.length_bias if name == "length_bias" else one.ece
            if value is not None:
                yield f"{name} on {one.benchmark}", value
        return
    metric = row.metrics.get(name)
    if metric is not None and metric.mean is not None:
        yield name, metric.mean
