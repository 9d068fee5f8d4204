"""Why a cell is there, or is not: the answer to ``sweep plan DEF --why PATH=VALUE ...``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.definition.definition import SweepDefinition
from core.definition.expansion import Expansion, show
from core.definition.matching import Condition, Conditions, read_conditions
from core.definition.problems import place_of
from core.definition.reading import read_text
from core.definition.sections import MISSING
from core.definition.visits import Visit
from core.definition.walk import Keys, expand_shorthand, typed
from core.errors import DefinitionError, UsageError

SHOWN = 20
"""Cells that are explained one by one; more are counted."""


def why(definition: SweepDefinition, assignments: Mapping[str, str]) -> list[str]:
    """Which clause made, merged or dropped the cells that match.

    A cell matches where each path has the value given, either as the axis wrote it or in the cell's canonical form: the
    one-layer cell with ``silu`` is found, and said to be merged into the one with ``none``.

    Args:
        definition: the definition.
        assignments: ``{path: value as text}``; an empty one asks about every cell.

    Returns:
        Lines of text; the command line's own part first, then one cell after another.

    Raises:
        UsageError: an unknown path, or a value that the path does not take.
    """
    conditions = _read(assignments)
    expansion = Expansion(definition)
    lines = list(definition.notices)
    found = 0
    for visit in expansion.walk():
        if not _matches(visit, conditions):
            continue
        found += 1
        if found <= SHOWN:
            lines += _explain(expansion, visit)
    if found > SHOWN:
        lines.append(f"... and {found - SHOWN} more cells match; give more paths")
    return lines if found else [*lines, *_nothing(definition, conditions)]


def _read(assignments: Mapping[str, str]) -> Conditions:
    entries = {path: read_text(text, f"command line, {path}={text}", lines=False).tree for path, text in assignments.items()}
    try:
        return read_conditions(entries, lambda _: None)
    except DefinitionError as error:
        raise UsageError(error.message, found=error.found, allowed=error.allowed, nearest=error.nearest, next=error.next) from None


def _matches(visit: Visit, conditions: Conditions) -> bool:
    written = {expand_shorthand(path): (raw, label) for path, raw, label in visit.block.assigned(visit.indices)}
    for condition in conditions:
        raw, label = written.get(condition.keys, (MISSING, None))
        if condition.holds(visit.get(condition.keys), label):
            continue
        if raw is MISSING or isinstance(raw, dict | list) or not condition.holds(_typed(condition.keys, raw)):
            return False
    return True


def _typed(keys: Keys, raw: Any) -> Any:
    return raw if isinstance(raw, str) and "${" in raw else typed(keys, raw, None)


def _explain(expansion: Expansion, visit: Visit) -> list[str]:
    cell, id, rule, outcome = _as_written(visit), visit.id, visit.rule, visit.outcome
    lines = [f"{show(cell)}: made by {_origin(visit)}"]
    if outcome == "merged":
        first = expansion.first(id)
        lines.append(f"  merged into {show(first.coordinates())} of {first.block.block.origin}, which computes the same ({id[:10]})")
    elif rule is not None:
        exclude = expansion.definition.exclude[rule]
        lines.append(f"  dropped by exclude rule {rule + 1} ({exclude.place}): {show(exclude.written)}")
    elif expansion.chosen is not None and bytes.fromhex(id) not in expansion.chosen:
        sample = expansion.definition.sample
        place = place_of(expansion.definition.source.places, ("sample",))
        assert sample is not None
        lines.append(f"  left out by sample ({place}): its hash is not among the {sample.count} smallest")
    else:
        lines.append(f"  kept as {id[:10]}")
    return lines


def _as_written(visit: Visit) -> dict[str, Any]:
    return {".".join(path): label if label is not None else raw for path, raw, label in visit.block.assigned(visit.indices)}


def _origin(visit: Visit) -> str:
    block = visit.block.block
    axes = [f"{axis.name} ({axis.place})" for axis in block.axes if axis.origin == "grid"]
    parts = [f"{block.origin} ({block.place})"] if block.origin != "grid" else []
    parts += [f"the grid's {' and '.join(axes)}"] if axes else []
    return " with ".join(parts) or "the fixed part alone (no grid, no cases)"


def _nothing(definition: SweepDefinition, conditions: Conditions) -> list[str]:
    """Why no cell matches: for each path, the values that the cells do have."""
    lines = ["no cell matches"]
    for condition in conditions:
        axes = [axis for block in definition.blocks for axis in block.axes if condition.keys in map(expand_shorthand, axis.paths)]
        lines.append(f"  {'.'.join(condition.written)}: {_values(definition, condition, axes)}")
    return lines


def _values(definition: SweepDefinition, condition: Condition, axes: list[Any]) -> str:
    if not axes:
        place = place_of(definition.source.places, ("trial", *condition.keys), condition.keys)
        fixed = definition.source.raw(condition.keys[0])
        for key in condition.keys[1:]:
            fixed = fixed.get(key, MISSING) if isinstance(fixed, dict) else MISSING
        return "no axis, and left at its default" if fixed is MISSING or fixed is None else f"no axis, but fixed to {fixed} ({place})"
    values: dict[str, None] = {}
    for axis in axes:
        column = [expand_shorthand(path) for path in axis.paths].index(condition.keys)
        values.update({str(axis.row(index)[column].label or axis.row(index)[column].raw): None for index in range(min(len(axis), SHOWN))})
    return f"an axis with {', '.join(values)} ({', '.join(dict.fromkeys(str(axis.place) for axis in axes))})"
