"""The space of a search: parameters that a sampler chooses, read from ``search.space``.

A parameter is a list of values (or a generator, or joined paths: as an axis of the grid), or a range::

    head.activation: [none, tanh, silu]
    optim.lr: {low: 1e-7, high: 1e-4, log: true}
    head.layers: {low: 1, high: 5}
    loss.zero_coefficient.weight: {low: 1e-4, high: 1, log: true, when: {head.activation: silu}}

``when`` makes it conditional: it is chosen only where other parameters, or axes of the grid, have these values. Elsewhere its path
keeps what the trial says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from core.definition.axes import Axis, Block, Value, read_axis
from core.definition.matching import Conditions, read_conditions
from core.definition.problems import Places, place_of
from core.definition.reading import Path_
from core.definition.scalars import format_number
from core.definition.walk import Keys, alternatives, expand_shorthand, require, typed
from core.errors import DefinitionError, Place, nearest

DIGITS = 4
"""Significant digits of a number that is chosen from a range without a step."""

RANGE_KEYS = ("low", "high", "log", "step", "when")
SPACE: Path_ = ("search", "space")

Chosen = Mapping[str, "float | str"]
"""What a sampler has chosen: by parameter, a number of a range or the name of a choice."""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``whole`` where the field takes integers only."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def text(self, value: float) -> str:
        """A number of the range as a definition has it, so short that a reader can say it."""
        if self.whole:
            return str(round(value))
        if self.step is None:
            # rounding must not lead out of the range
            value = min(max(float(f"{value:.{DIGITS - 1}e}"), self.low), self.high)
        return format_number(Decimal(repr(float(value))))


@dataclass(frozen=True)
class Parameter:
    """One thing that is searched: a range of one path, or the choices of an axis.

    Attributes:
        name: the paths as written.
        paths: what it assigns.
        place: where it stands.
        range: of a number, else ``None``.
        axis: of choices, else ``None``.
        when: the conditions under which it is chosen; empty: always.
    """

    name: str
    paths: tuple[Keys, ...]
    place: Place | None
    range: Range | None
    axis: Axis | None
    when: Conditions = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The names of the choices: labels, or the values as written."""
        assert self.axis is not None
        return tuple(_name(self.axis.row(index)) for index in range(len(self.axis)))

    def fixed(self, value: float | str) -> Axis:
        """The axis with this one value."""
        if self.range is not None:
            row: tuple[Value, ...] = (Value(self.range.text(float(value)), None, self.place),)
        else:
            assert self.axis is not None
            row = self.axis.row(self.choices.index(str(value)))
        return Axis(self.paths, [row], self.place, "search")

    def extremes(self) -> list[float | str]:
        """All choices, or the ends of the range."""
        return [self.range.low, self.range.high] if self.range is not None else list(self.choices)


@dataclass(frozen=True)
class Space:
    """All parameters, one that a condition names before those that depend on it."""

    parameters: tuple[Parameter, ...]

    @property
    def conditional(self) -> bool:
        """Whether some parameter is not always chosen."""
        return any(parameter.when for parameter in self.parameters)

    @property
    def size(self) -> int | None:
        """How many combinations there are at most; ``None`` where a range has no step."""
        out = 1
        for parameter in self.parameters:
            found = parameter.range
            if found is None:
                out *= len(parameter.choices)
            elif found.whole or found.step is not None:
                out *= int((found.high - found.low) / (found.step or 1)) + 1
            else:
                return None
        return out

    def active(self, parameter: Parameter, chosen: Chosen, point: Mapping[str, Any]) -> bool:
        """Whether a parameter is chosen, given what was chosen before it and the cell of the grid."""
        return all(self._holds(condition, chosen, point) for condition in parameter.when)

    def _holds(self, condition: Any, chosen: Chosen, point: Mapping[str, Any]) -> bool:
        for other in self.parameters:
            paths = [expand_shorthand(path) for path in other.paths]
            if condition.keys in paths:
                if other.name not in chosen:
                    return False
                value = other.fixed(chosen[other.name]).row(0)[paths.index(condition.keys)]
                return bool(condition.holds(_typed(condition.keys, value.raw), value.label))
        known = {expand_shorthand(tuple(path.split("."))): value for path, value in point.items()}
        return condition.keys in known and bool(condition.holds(known[condition.keys], str(known[condition.keys])))

    def axes(self, chosen: Chosen) -> tuple[Axis, ...]:
        """An axis of one value for each parameter that was chosen."""
        return tuple(parameter.fixed(chosen[parameter.name]) for parameter in self.parameters if parameter.name in chosen)

    def probes(self, point: Mapping[str, Any]) -> Iterator[dict[str, float | str]]:
        """Choices that together show every value of every parameter (of ranges the ends), each once or more."""
        seen: set[tuple[tuple[str, float | str], ...]] = set()
        for wanted in self.parameters:
            for value in wanted.extremes():
                chosen = self._with(wanted, value, point)
                key = tuple(chosen.items())
                if wanted.name in chosen and key not in seen:
                    seen.add(key)
                    yield chosen

    def _with(self, wanted: Parameter, value: float | str, point: Mapping[str, Any]) -> dict[str, float | str]:
        """A choice in which one parameter has a value, and what it depends on allows it."""
        needed = {condition.keys: condition for condition in self._ancestors(wanted)}
        chosen: dict[str, float | str] = {}
        for parameter in self.parameters:
            if not self.active(parameter, chosen, point):
                continue
            options = [value] if parameter is wanted else parameter.extremes()
            for option in options:
                row = parameter.fixed(option).row(0)
                fits = all(
                    needed[keys].holds(_typed(keys, item.raw), item.label)
                    for path, item in zip(parameter.paths, row, strict=True)
                    if (keys := expand_shorthand(path)) in needed
                )
                if fits:
                    chosen[parameter.name] = option
                    break
            else:
                chosen[parameter.name] = options[0]
        return chosen

    def _ancestors(self, parameter: Parameter) -> Iterator[Any]:
        for condition in parameter.when:
            yield condition
            for other in self.parameters:
                if condition.keys in map(expand_shorthand, other.paths):
                    yield from self._ancestors(other)


def _typed(keys: Keys, raw: Any) -> Any:
    return typed(keys, raw, None) if not (isinstance(raw, str) and "${" in raw) else raw


def _name(row: Sequence[Value]) -> str:
    return ", ".join(str(value.label or ("null" if value.raw is None else value.raw)) for value in row)


def read_space(tree: Any, places: Places, folder: Path, blocks: Sequence[Block]) -> Space:
    """The space of a search, given the grid's blocks.

    Raises:
        DefinitionError: it is empty; an unknown path, or one that is an axis too; an empty or wrong range; a condition that names
            no path of the space and no axis, or that leads back to its own parameter.
    """
    if not isinstance(tree, dict) or not tree:
        raise DefinitionError(
            "the space of the search is empty",
            found="nothing to search" if tree in (None, {}) else tree,
            allowed="paths with a list of values, or {low: ..., high: ...}",
            place=place_of(places, SPACE),
        )
    found = [_read(key, value, places, folder) for key, value in tree.items()]
    taken: dict[Keys, str] = {expand_shorthand(path): axis.origin for block in blocks for axis in block.axes for path in axis.paths}
    known = set(taken)
    for parameter in found:
        for path in parameter.paths:
            keys = expand_shorthand(path)
            if keys in taken:
                raise DefinitionError(
                    f"the path {'.'.join(path)} is searched, and is an axis of {taken[keys]} too", found=parameter.name,
                    allowed="one of them", place=parameter.place,
                )  # fmt: skip
            taken[keys] = "search.space"
    return Space(_ordered(found, known))


def _read(key: str, value: Any, places: Places, folder: Path) -> Parameter:
    path: Path_ = (*SPACE, key)
    place = place_of(places, path)
    paths = tuple(tuple(name.strip().split(".")) for name in key.split(","))
    conditions: Conditions = ()
    if isinstance(value, dict) and "when" in value:
        rules = value["when"]
        if not isinstance(rules, dict) or not rules:
            raise DefinitionError("`when` maps paths to values", found=rules, place=place_of(places, (*path, "when")))
        conditions = read_conditions(rules, lambda name: place_of(places, (*path, "when", name)))
    if isinstance(value, dict) and {"low", "high"} & set(value):
        return Parameter(key, paths, place, _range(key, value, paths, places), None, conditions)
    if isinstance(value, dict) and "choices" in value:
        _only(value, ("choices", "when"), path, places)
        value, path = value["choices"], (*path, "choices")
    elif isinstance(value, dict) and "when" in value:
        raise DefinitionError("a parameter is a range or choices", found=value, allowed="low and high, or choices", place=place)
    axis = read_axis(key, value, path, places, "search.space", folder)
    parameter = Parameter(key, paths, place, None, axis, conditions)
    names = parameter.choices
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DefinitionError("a value stands twice", found=twice, allowed="each value once, or labels that differ", place=place)
    return parameter


def _only(value: Mapping[str, Any], allowed: Sequence[str], path: Path_, places: Places) -> None:
    for name in value:
        if name not in allowed:
            raise DefinitionError(
                f"unknown key {name}", found=name, allowed=list(allowed), nearest=nearest(name, allowed),
                place=place_of(places, (*path, name)),
            )  # fmt: skip


def _range(key: str, value: Mapping[str, Any], paths: tuple[Keys, ...], places: Places) -> Range:
    path: Path_ = (*SPACE, key)
    place = place_of(places, path)
    _only(value, RANGE_KEYS, path, places)
    if len(paths) > 1:
        raise DefinitionError("a range makes the values of one path", found=key, allowed="choices: a list of rows", place=place)
    here = require(paths[0], place)
    if paths[0][0] == "seed":
        raise DefinitionError("the seed is not searched: replicates are set by `seeds`", found="seed", allowed="seeds: 3", place=place)
    kinds = [kind for field in require(expand_shorthand(paths[0]), place).fields for kind in alternatives(field.annotation)]
    if not here.is_leaf or not {int, float} & set(kinds):
        raise DefinitionError(f"{key} takes no range of numbers", found=dict(value), allowed="a list of values", place=place)
    numbers: dict[str, float] = {}
    for name in ("low", "high", "step"):
        if value.get(name) is None:
            continue
        try:
            numbers[name] = float(value[name])
        except (TypeError, ValueError):
            where = place_of(places, (*path, name))
            raise DefinitionError(f"{name} of {key} is not a number", found=value[name], place=where) from None
    for name in ("low", "high"):
        if name not in numbers:
            raise DefinitionError(f"{key} has no `{name}`", found=dict(value), allowed="low and high", place=place)
    log = value.get("log") in ("true", "True", "yes", "on")
    if not log and value.get("log") not in (None, "false", "False", "no", "off"):
        raise DefinitionError(f"log of {key} is true or false", found=value["log"], place=place_of(places, (*path, "log")))
    found = Range(numbers["low"], numbers["high"], log, numbers.get("step"), float not in kinds)
    problem = _problem(found)
    if problem is not None:
        raise DefinitionError(f"{key}: {problem}", found={name: value[name] for name in value if name != "when"}, place=place)
    return found


def _problem(found: Range) -> str | None:
    if not found.low < found.high:
        return "an empty range: `low` is below `high`"
    if found.log and found.low <= 0:
        return "a logarithmic range begins above 0"
    if found.step is not None and (found.log or not 0 < found.step <= found.high - found.low):
        return "a step is above 0, no larger than the range, and none of a logarithmic one"
    if found.whole and any(not float(number).is_integer() for number in (found.low, found.high, found.step or 1)):
        return "this path takes whole numbers"
    return None


def _ordered(found: Sequence[Parameter], axes: set[Keys]) -> tuple[Parameter, ...]:
    owner = {expand_shorthand(path): parameter for parameter in found for path in parameter.paths}
    graph: dict[str, list[str]] = {}
    by_name = {parameter.name: parameter for parameter in found}
    for parameter in found:
        graph[parameter.name] = []
        for condition in parameter.when:
            if condition.keys in owner:
                graph[parameter.name].append(owner[condition.keys].name)
            elif condition.keys not in axes:
                names = sorted(".".join(keys) for keys in {*owner, *axes} if owner.get(keys) is not parameter)
                written = ".".join(condition.written)
                raise DefinitionError(
                    f"`when` of {parameter.name} names a path that does not vary", found=written,
                    allowed=names or "another path of the space, or an axis of the grid", nearest=nearest(written, names),
                    place=parameter.place,
                )  # fmt: skip
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        circle = " -> ".join(error.args[1])
        raise DefinitionError("the conditions of the space form a circle", found=circle, place=by_name[error.args[1][0]].place) from None
    return tuple(by_name[name] for name in order)
