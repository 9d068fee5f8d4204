"""Axes: what ``grid`` and ``cases`` say, read into blocks whose cells are a product of axes.

An axis assigns one path, or several that move together (``"a, b": [[1, 2], [3, 4]]``). Its values are a list, a generator
(``{range: [first, last]}``) or one value. A value may carry a label (``{label: ..., value: ...}``), which the cell then
shows. Without ``cases`` there is one block, the grid; with them there is one per case, each the grid's axes times its own.

The number of cells is known, and refused above :data:`MAX_CELLS`, before any cell or generated value exists.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from core.definition.layers import absolute, absolute_benchmark, one_budget
from core.definition.problems import Places, place_of
from core.definition.reading import Path_
from core.definition.scalars import GENERATORS, Generated
from core.definition.trial import BUDGETS
from core.definition.walk import Keys, expand_shorthand, require
from core.errors import DefinitionError, Place, nearest

MAX_CELLS = 5_000_000
"""Cells that a definition may have before merging."""


class Value(NamedTuple):
    """What one axis value assigns at one path: text, ``None``, a list or a mapping; and the label that the cell shows."""

    raw: Any
    label: str | None
    place: Place | None


@dataclass(frozen=True)
class Axis:
    """One axis.

    Attributes:
        paths: the paths that it assigns, as written.
        rows: for each value, what it assigns to each path; or a generator of text for one path.
        place: where it stands.
        origin: ``grid``, ``case 2`` or ``command line``.
    """

    paths: tuple[Keys, ...]
    rows: Sequence[tuple[Value, ...]] | Generated
    place: Place | None
    origin: str

    def __len__(self) -> int:
        return len(self.rows)

    def row(self, index: int) -> tuple[Value, ...]:
        """What value ``index`` assigns, one entry per path."""
        row = self.rows[index]
        return (Value(row, None, self.place),) if isinstance(row, str) else row

    @property
    def name(self) -> str:
        """The axis as it is written."""
        return ", ".join(".".join(path) for path in self.paths)


@dataclass(frozen=True)
class Block:
    """The cells of the grid, or of one case with the grid: the product of ``axes``, the last one varying fastest."""

    axes: tuple[Axis, ...]
    origin: str
    place: Place | None

    @cached_property
    def size(self) -> int:
        """How many cells the product has."""
        return math.prod(len(axis) for axis in self.axes)


def read_axes(entries: Any, prefix: Path_, places: Places, origin: str, folder: Path) -> list[Axis]:
    """The axes of a ``grid`` or of one case.

    Raises:
        DefinitionError: an unknown path, an empty axis, rows of unequal length, a path that is no axis.
    """
    if not isinstance(entries, dict):
        raise DefinitionError(f"{origin} is a mapping from paths to values", found=entries, place=place_of(places, prefix))
    return [read_axis(key, value, (*prefix, key), places, origin, folder) for key, value in entries.items()]


def read_axis(key: str, value: Any, path: Path_, places: Places, origin: str, folder: Path) -> Axis:
    """One axis; ``path`` is where its values stand.

    Raises:
        DefinitionError: as for :func:`read_axes`.
    """
    return _Reader(key, path, places, origin, folder).read(value)


class _Reader:
    """Reads one axis."""

    def __init__(self, key: str, path: Path_, places: Places, origin: str, folder: Path) -> None:
        self.key, self.path, self.places, self.origin, self.folder = key, path, places, origin, folder
        self.place = place_of(places, path)
        self.names = [name.strip() for name in key.split(",")]
        self.paths = tuple(tuple(name.split(".")) for name in self.names)

    def read(self, value: Any) -> Axis:
        nodes = [self._check(path) for path in self.paths]
        if len(set(map(expand_shorthand, self.paths))) < len(self.paths):
            raise self._error("a path stands twice in one axis", self.key)
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in GENERATORS:
            return self._generated(value)
        lists = [node.is_list for node in nodes]
        if len(self.paths) > 1:
            return self._axis(self._joined(value))
        if lists[0]:
            return self._axis(self._of_lists(value))
        if not isinstance(value, list):
            return self._axis([(self._value(value, 0, self.path),)])
        if not value:
            raise self._error("an axis without values", "[]", allowed="at least one value")
        return self._axis([(self._value(item, 0, (*self.path, index)),) for index, item in enumerate(value)])

    def _axis(self, rows: list[tuple[Value, ...]]) -> Axis:
        for column in range(len(self.paths)):
            self._labels([row[column] for row in rows])
        return Axis(self.paths, rows, self.place, self.origin)

    def _check(self, path: Keys) -> Any:
        if path[0] == "seed":
            raise self._error("the seed is no axis: replicates are set by `seeds`", "seed", allowed="seeds: 3")
        if path[0] in ("rehearsal", "trial"):
            hint = ".".join(path[1:]) if path[0] == "trial" else None
            raise DefinitionError(
                f"{path[0]} is no axis: paths start inside `trial`", found=".".join(path), nearest=hint or None, place=self.place
            )
        return require(path, self.place)

    def _generated(self, value: dict[str, Any]) -> Axis:
        kind, arguments = next(iter(value.items()))
        if len(self.paths) > 1:
            raise self._error("a generator makes the values of one path", self.key)
        try:
            return Axis(self.paths, Generated(kind, arguments), self.place, self.origin)
        except ValueError as error:
            raise self._error(str(error), f"{kind}: {arguments}") from None

    def _joined(self, value: Any) -> list[tuple[Value, ...]]:
        if not isinstance(value, list) or not value:
            raise self._error("joined paths take a list of rows", value, allowed=f"[[{', '.join(self.names)}], ...], one value per path")
        rows = []
        for index, row in enumerate(value):
            if not isinstance(row, list) or len(row) != len(self.paths):
                found = f"row {index + 1}: {row if not isinstance(row, list) else f'{len(row)} values'}"
                place = place_of(self.places, (*self.path, index))
                allowed = f"{len(self.paths)} values per row, one each for {', '.join(self.names)}"
                raise DefinitionError("joined paths need rows of equal length", found=found, allowed=allowed, place=place)
            rows.append(tuple(self._value(item, column, (*self.path, index, column)) for column, item in enumerate(row)))
        return rows

    def _of_lists(self, value: Any) -> list[tuple[Value, ...]]:
        """The values of a path that is itself a list; in a case, ``evaluate`` may be given as one plain list."""
        items = value if isinstance(value, list) else [value]
        plain = [item for item in items if not isinstance(item, list) and not _labelled(item) and item is not None]
        if not items:
            raise self._error("an axis without values", "[]", allowed="at least one value")
        if not plain and isinstance(value, list):
            return [(self._value(item, 0, (*self.path, index)),) for index, item in enumerate(items)]
        if self.origin != "grid" and self.paths == (("evaluate",),) and len(plain) == len(items):
            return [(self._value(items, 0, self.path),)]
        raise self._error(
            f"{self.key} is itself a list: an axis over it is a list of lists",
            value,
            allowed=f"[[...], [...]]; to fix it: trial, or {self.key}: [[...]]",
        )

    def _value(self, item: Any, column: int, path: Path_) -> Value:
        label = None
        if _labelled(item):
            label, item = str(item["label"]), item["value"]
        keys = self.paths[column]
        if keys == ("evaluate",) and isinstance(item, list):
            item = [absolute_benchmark(entry, self.folder) for entry in item]
        elif keys[0] != "evaluate":
            item = absolute(item, keys, self.folder)
        if isinstance(item, dict) and require(keys, None).is_leaf:
            close = nearest(next(iter(item), ""), GENERATORS)
            raise DefinitionError(
                f"{'.'.join(keys)} takes no mapping",
                found=item,
                allowed=[*GENERATORS, "label and value"],
                nearest=close,
                place=place_of(self.places, path),
            )
        return Value(item, label, place_of(self.places, path))

    def _labels(self, values: list[Value]) -> None:
        seen: dict[str, Any] = {}
        for value in values:
            if value.label is not None and seen.setdefault(value.label, value.raw) != value.raw:
                raise DefinitionError("one label for two values", found=value.label, place=value.place)

    def _error(self, message: str, found: Any, allowed: str | None = None) -> DefinitionError:
        return DefinitionError(message, found=f"{self.key}" if found is None else found, allowed=allowed, place=self.place)


def _labelled(item: Any) -> bool:
    return isinstance(item, dict) and set(item) == {"label", "value"} and isinstance(item["label"], str)


def blocks(grid: Sequence[Axis], cases: Sequence[tuple[list[Axis], Place | None]], places: Places) -> tuple[Block, ...]:
    """The blocks of a definition.

    Raises:
        DefinitionError: a path stands in two axes of one block, two budgets, or too many cells.
    """
    if cases:
        out = tuple(Block((*grid, *axes), f"case {number}", place) for number, (axes, place) in enumerate(cases, 1))
    else:
        out = (Block(tuple(grid), "grid", grid[0].place if grid else None),)
    for block in out:
        _check_block(block, places)
    total = sum(block.size for block in out)
    if total > MAX_CELLS:
        raise DefinitionError(
            "the grid has too many cells",
            found=f"{total:,} cells ({' x '.join(str(len(axis)) for axis in out[0].axes)})",
            allowed=f"at most {MAX_CELLS:,}; shorten an axis, or join paths that move together",
            place=out[0].place,
        )
    return out


def _check_block(block: Block, places: Places) -> None:
    first: dict[Keys, Axis] = {}
    budgets: dict[Path_, Place] = {}
    for axis in block.axes:
        for path in axis.paths:
            known = first.setdefault(expand_shorthand(path), axis)
            if known is not axis:
                where = f"{known.origin} ({known.place}) and {axis.origin} ({axis.place})"
                raise DefinitionError(f"the path {'.'.join(path)} stands in two axes", found=where, allowed="one of them", place=axis.place)
            if path[0] == "train" and path[1:] and path[1] in BUDGETS and axis.place is not None:
                budgets[path] = axis.place
    one_budget(list(budgets), {**places, **budgets})


def assigned(blocks_: Sequence[Block]) -> Iterator[tuple[Keys, Axis]]:
    """Every path that an axis assigns, each axis once."""
    seen: set[int] = set()
    for block in blocks_:
        for axis in block.axes:
            if id(axis) not in seen:
                seen.add(id(axis))
                yield from ((path, axis) for path in axis.paths)
