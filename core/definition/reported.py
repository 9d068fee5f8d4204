"""What papers printed, laid beside the cells of a study.

A row names a cell by coordinates. They are compared with the cell's whole canonical configuration, not only with its axes,
and must fit exactly one cell: several are an error that names the paths that would tell them apart (a warning where only the
command line made them several), none is a warning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.definition.definition import SweepDefinition
from core.definition.ensembles import read_ensembles, row_name
from core.definition.matching import Conditions, all_hold, read_conditions
from core.definition.plan import Cell, PlannedTrial
from core.definition.problems import place_of
from core.definition.reading import Path_
from core.definition.sections import MISSING
from core.definition.walk import Keys
from core.errors import DefinitionError, Place

Reported = dict[str, dict[str, Any]]
"""``{metric: {"value", "source", "about", "note", "comparable"}}``: ``about`` is the note of the whole table, ``note`` that of the row;
the value is ``None`` where the paper printed none."""


@dataclass(frozen=True)
class Row:
    """One row of a reported table.

    Attributes:
        conditions: the cell that it names; ``None`` for an outside model.
        model: the outside model's name.
        ensemble: the full name of a row of an ensemble.
        metrics: its values.
        place: where it stands.
    """

    conditions: Conditions | None
    model: str | None
    metrics: Reported
    place: Place | None
    ensemble: str | None = None


def read_rows(definition: SweepDefinition) -> list[Row]:
    """All rows of ``reported``.

    Raises:
        DefinitionError: a coordinate is no path, its value is none that the path takes, an ensemble is not there, or values and metrics
            do not pair up.
    """
    places = definition.source.places
    ensembles = read_ensembles(definition)
    rows = []
    for number, table in enumerate(definition.reported):
        for index, row in enumerate(table.rows):
            path: Path_ = ("reported", number, "rows", index)

            def place(key: str, path: Path_ = path) -> Place | None:
                return place_of(places, (*path, "cell", key))

            if len(row.values) != len(table.metrics):
                found, allowed = f"{len(row.values)} values", f"{len(table.metrics)}, one per metric (null where none was printed)"
                raise DefinitionError("a reported row has the wrong length", found=found, allowed=allowed, place=place_of(places, path))
            metrics = {
                metric: {
                    "value": value,
                    "source": table.source,
                    "about": table.note,
                    "note": row.note,
                    "comparable": row.comparable,
                }
                for metric, value in zip(table.metrics, row.values, strict=True)
            }
            conditions = None if row.cell is None else read_conditions(row.cell, place)
            ensemble = None if row.ensemble is None else row_name(ensembles, row.ensemble, place_of(places, (*path, "ensemble")))
            rows.append(Row(conditions, row.model, metrics, place_of(places, path), ensemble))
    return rows


@dataclass
class RowCheck:
    """Counts, while cells stream by, how many each row fits."""

    definition: SweepDefinition
    rows: list[Row] = field(default_factory=list)
    fits: dict[int, list[Mapping[Keys, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rows = [row for row in read_rows(self.definition) if row.conditions is not None]

    def see(self, lookup: Any, labels: Mapping[Keys, str | None], coordinates: Any) -> None:
        """Take one cell; of each row only the first two that fit are kept."""
        for number, row in enumerate(self.rows):
            assert row.conditions is not None
            fits = self.fits.setdefault(number, [])
            if len(fits) < 2 and all_hold(row.conditions, lookup, labels):
                fits.append(coordinates())

    def finish(self) -> list[str]:
        """Warnings about rows that fit no cell.

        Raises:
            DefinitionError: a row fits several cells.
        """
        warnings = []
        for number, row in enumerate(self.rows):
            fits = self.fits.get(number, [])
            if not fits:
                warnings.append(f"{row.place}: a reported row fits no cell of this study: {_written(row)}")
            elif len(fits) > 1:
                warnings.append(self._several(row, fits))
        return warnings

    def _several(self, row: Row, fits: list[Mapping[Keys, Any]]) -> str:
        apart = sorted(".".join(path) for path in {**fits[0], **fits[1]} if fits[0].get(path, MISSING) != fits[1].get(path, MISSING))
        message = "a reported row fits several cells"
        overridden = {axis.name for block in self.definition.blocks for axis in block.axes if str(axis.place).startswith("command line")}
        made = ", ".join(sorted(set(apart) & overridden))
        if made:
            return f"{row.place}: {message}, because the command line made {made} an axis: {_written(row)}"
        raise DefinitionError(message, found=_written(row), allowed=f"one cell: give {' and '.join(apart)} too", place=row.place)


def _written(row: Row) -> str:
    return ", ".join(f"{'.'.join(item.written)}={item.texts[0] if item.texts else item.values[0]}" for item in row.conditions or ())


def reported_for(definition: SweepDefinition, cells: Iterable[PlannedTrial | Cell]) -> dict[str, Reported]:
    """The reported values of each cell or trial, by its ``id``; those without any are left out."""
    rows = [row for row in read_rows(definition) if row.conditions is not None]
    out: dict[str, Reported] = {}
    ambiguous = _ambiguous(rows, cells := list(cells))
    for cell in cells:
        for number, row in enumerate(rows):
            if number not in ambiguous and _fits(row, cell):
                out.setdefault(cell.id, {}).update(row.metrics)
    return out


def reported_others(definition: SweepDefinition) -> list[tuple[dict[str, str], Reported]]:
    """The reported values of what is no cell: ``{"ensemble": NAME}`` or ``{"model": NAME}`` with its values, each once."""
    out: dict[tuple[str, str], Reported] = {}
    for row in read_rows(definition):
        for kind, name in (("ensemble", row.ensemble), ("model", row.model)):
            if name is not None:
                out.setdefault((kind, name), {}).update(row.metrics)
    return [({kind: name}, metrics) for (kind, name), metrics in out.items()]


def _ambiguous(rows: list[Row], cells: list[PlannedTrial | Cell]) -> set[int]:
    """Rows that fit several cells (seeds of one cell count once): they belong to none of them."""
    out = set()
    for number, row in enumerate(rows):
        fits = {repr(sorted(cell.cell.items(), key=lambda item: item[0])) for cell in cells if _fits(row, cell)}
        if len(fits) > 1:
            out.add(number)
    return out


def _fits(row: Row, cell: PlannedTrial | Cell) -> bool:
    def lookup(keys: Keys) -> Any:
        here: Any = cell.config
        for key in keys:
            here = here.get(key, MISSING) if isinstance(here, Mapping) else MISSING
        return here

    labels = {tuple(path.split(".")): value for path, value in cell.cell.items() if isinstance(value, str)}
    return row.conditions is not None and all_hold(row.conditions, lookup, labels)
