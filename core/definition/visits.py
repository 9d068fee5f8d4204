"""Visiting the points of one block, section by section: what a point computes, and which points repeat an earlier one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from core.definition.axes import Axis, Block
from core.definition.definition import SweepDefinition
from core.definition.identity import HASHED, join_lines, section_line
from core.definition.matching import all_hold
from core.definition.sections import MISSING, SECTIONS, Result, SectionPlan, plan_sections
from core.definition.walk import Keys, expand_shorthand

SMALL_GROUP = 10_000
"""Combinations of a group of axes up to which repeating cells are found without remembering every id."""

Outcome = Literal["kept", "merged", "excluded"]


@dataclass(slots=True)
class Visit:
    """One point of a block, before anything is built from it.

    Attributes:
        block: the block that it belongs to.
        indices: which value each axis of the block has.
        results: its sections by name (reused for the next visit: read it before going on).
        id: the id of its trial with seed 0.
        outcome: what became of it.
        rule: the number of the exclude rule that dropped it, from 0.
    """

    block: Walker
    indices: tuple[int, ...]
    results: dict[str, Result]
    id: str
    outcome: Outcome = "kept"
    rule: int | None = None

    def get(self, keys: Keys) -> Any:
        """The canonical value at a path; ``MISSING`` where there is none."""
        return self.results[keys[0]].get(keys[1:]) if keys[0] in self.results else MISSING

    def labels(self) -> dict[Keys, str | None]:
        """The labels of the axis values, by path as written."""
        return {path: label for path, _, label in self.block.assigned(self.indices)}

    def coordinates(self) -> dict[str, Any]:
        """``{path: canonical value or label}`` of the block's axes."""
        out: dict[str, Any] = {}
        for column in self.block.columns:
            label, keys = None, column.keys
            if not column.plain:
                value = column.axis.row(self.indices[column.position])[column.number]
                label, keys = value.label, column.path if isinstance(value.raw, dict) else keys
            if label is not None:
                out[column.name] = label
            elif column.path not in (("evaluate",), ("resources",)):
                found = self.results[keys[0]].get(keys[1:])
                # a term or source of weight 0 is not there any more
                out[column.name] = found if found is not MISSING else 0.0 if keys[-1] == "weight" else None
        return out


class Column(NamedTuple):
    """One path that an axis of a block assigns; ``plain`` where no value of it is a mapping or carries a label."""

    axis: Axis
    position: int
    number: int
    path: Keys
    keys: Keys
    name: str
    plain: bool


def _columns(block: Block) -> list[Column]:
    out = []
    for position, axis in enumerate(block.axes):
        for index, path in enumerate(axis.paths):
            rows = [row[index] for row in axis.rows] if isinstance(axis.rows, list) else []
            plain = not any(value.label is not None or isinstance(value.raw, dict) for value in rows)
            out.append(Column(axis, position, index, path, expand_shorthand(path), ".".join(path), plain))
    return out


class Walker:
    """Visits the cells of one block."""

    def __init__(self, definition: SweepDefinition, block: Block, rehearsal: str, rules: list[Any]) -> None:
        self.block = block
        self.plans: Mapping[str, SectionPlan] = plan_sections(definition.source, block)
        self.rules = rules
        self.lines = {"rehearsal": rehearsal, "seed": seed_line(0)}
        self.columns = _columns(block)
        self.has_labels = any(
            value.label is not None for axis in block.axes if isinstance(axis.rows, list) for row in axis.rows for value in row
        )

    def assigned(self, indices: tuple[int, ...]) -> Iterator[tuple[Keys, Any, str | None]]:
        """What each axis assigns: path as written, value as written, label."""
        for axis, index in zip(self.block.axes, indices, strict=True):
            for path, value in zip(axis.paths, axis.row(index), strict=True):
                yield path, value.raw, value.label

    def results(self, indices: tuple[int, ...]) -> dict[str, Result]:
        """All sections at one point."""
        return {name: self.plans[name].result(self.plans, indices) for name in SECTIONS}

    def id(self, results: Mapping[str, Result], seed: str) -> str:
        """The id of a trial made of these sections and a seed's line."""
        return join_lines([results[name].line if name in results else seed if name == "seed" else self.lines[name] for name in HASHED])

    def visits(self) -> Iterator[Visit]:
        """Every point of the block, the last axis varying fastest; merging is the caller's."""
        plans = self.plans
        first = (0,) * len(self.block.axes)
        results = self.results(first)
        lines = [results[name].line if name in results else self.lines[name] for name in HASHED]
        varying = [(name, plan) for name, plan in plans.items() if plan.axes]
        hashed = [(HASHED.index(name), name) for name, _ in varying if name in HASHED]
        for indices in itertools.product(*(range(len(axis)) for axis in self.block.axes)):
            for name, plan in varying:
                results[name] = plan.result(plans, indices)
            for position, name in hashed:
                lines[position] = results[name].line
            yield Visit(self, indices, results, join_lines(lines))

    def repeats(self) -> list[tuple[tuple[int, ...], set[tuple[int, ...]]]] | None:
        """Which cells repeat an earlier one of this block, without looking at every cell.

        Sections that share axes form a group, and groups vary independently. So a cell repeats an earlier one exactly where, in
        some group, its values compute what earlier values of that group computed. Per group: the positions of its axes, and the
        indices that repeat.

        Returns:
            ``None`` where a group is too large for this, or where repeating values differ in what is not identity.
        """
        out = []
        for positions, names in self._groups():
            if math.prod(len(self.block.axes[position]) for position in positions) > SMALL_GROUP:
                return None
            first: dict[tuple[str, ...], tuple[str, ...]] = {}
            repeating = set()
            for chosen in itertools.product(*(range(len(self.block.axes[position])) for position in positions)):
                indices = [0] * len(self.block.axes)
                for position, index in zip(positions, chosen, strict=True):
                    indices[position] = index
                results = [self.plans[name].result(self.plans, indices) for name in names]
                other = tuple(result.other for result in results)
                known = first.setdefault(tuple(result.line for result in results), other)
                if known is not other:
                    if known != other:
                        return None
                    repeating.add(chosen)
            out.append((positions, repeating))
        return out

    def _groups(self) -> list[tuple[tuple[int, ...], list[str]]]:
        """Varying sections that share axes, with the positions of these axes."""
        groups: list[tuple[set[int], list[str]]] = []
        for name, plan in self.plans.items():
            if plan.axes:
                touching = [group for group in groups if group[0] & set(plan.axes)]
                groups = [group for group in groups if group not in touching]
                axes = set(plan.axes).union(*(group[0] for group in touching))
                groups.append((axes, [*(member for group in touching for member in group[1]), name]))
        return [(tuple(sorted(axes)), names) for axes, names in groups]

    def excluded_by(self, visit: Visit) -> int | None:
        """The first rule of ``exclude`` that the cell meets."""
        if not self.rules:
            return None
        labels = visit.labels() if self.has_labels else {}
        return next((number for number, rule in enumerate(self.rules) if all_hold(rule.conditions, visit.get, labels)), None)


def seed_line(seed: int) -> str:
    """``seed:digest`` of a seed."""
    return section_line("seed", seed)
