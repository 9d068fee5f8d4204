"""Sections of a cell: built, interpolated, typed, made canonical and hashed one by one, and remembered.

A section is a key of the trial (``optim``, ``head``, ...) or a top-level key that may vary (``validation``, ``evaluate``,
...). It depends on few axes: those that assign a path in it, and those that the sections it reads depend on (through
``${...}``, or because ``validation`` and ``checkpoint`` set fields of the trial). So a result is remembered by the values of
exactly those axes, and a grid of 100,000 cells validates and hashes each distinct section once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from core.definition.axes import Block, Value
from core.definition.identity import UNTRAINED, canonical_section, jsonable, other_part, section_line
from core.definition.interpolation import ENVIRONMENT, Interpolation
from core.definition.layers import without_other_budgets
from core.definition.problems import Places, check_components, place_of, translate
from core.definition.reading import Path_, leaves
from core.definition.scalars import parse_cadence
from core.definition.schema import VARIABLE, DefinitionConfig, validate_evaluate
from core.definition.trial import BUDGETS, SHORTHAND, TrialConfig
from core.definition.walk import COMPONENTS, Keys
from core.errors import DefinitionError, Place

TRIAL = tuple(name for name in TrialConfig.model_fields if name not in ("seed", "rehearsal"))
"""Sections of the trial that a definition sets."""

SECTIONS = (*VARIABLE, *TRIAL)
"""All sections, those first that others read."""

TARGETS: dict[Keys, tuple[Keys, ...]] = {
    ("validation", "items"): (("data", "held_out"),),
    ("validation", "every"): (("execution", "validate_every"), ("train", "validate_every")),
    ("checkpoint", "every"): (("execution", "checkpoint_every"), ("execution", "checkpoint_steps")),
    ("checkpoint", "keep"): (("execution", "checkpoint_keep"),),
    ("checkpoint", "after"): (("execution", "checkpoint_after"),),
    ("checkpoint", "select"): (("train", "select"),),
}
"""Which fields of the trial a top-level key sets."""

READS = {
    "paradigm": {"task"},
    "backbone": {"task"},
    "head": {"task", "paradigm"},
    "loss": {"task", "paradigm"},
    "optim": {"task"},
    "prompt": {"task", "paradigm"},
    "annotate": {"task"},
    "data": {"task", "validation"},
    "train": {"task", "validation", "checkpoint", "execution"},
    "execution": {"validation", "checkpoint"},
}
"""Sections that a section reads even without ``${...}``."""

FILLED = {target[0] for targets in TARGETS.values() for target in targets}
"""Sections of which another one sets fields."""

CACHE = 4096
"""Results remembered per section; older ones are forgotten first."""

MISSING: Any = object()
"""What :meth:`Result.get` returns where a path is not there."""

_SIMPLE = re.compile(r"\$\{([A-Za-z_][\w\-]*)(?:[.\[][^${}:]*)?\}")


@dataclass
class Source:
    """What the sections of a definition are built from.

    Attributes:
        tree: the merged definition, everything as written.
        places: where its parts stand.
        prompts: sha256 of every prompt file that it names.
        needs: what ``${needs.NAME}`` stands for.
    """

    tree: Mapping[str, Any]
    places: Places
    prompts: Mapping[str, str] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)

    def raw(self, section: str) -> Any:
        """A section as written in the fixed part, ``None`` where it is absent."""
        return self.tree.get(section) if section in VARIABLE else self.tree.get("trial", {}).get(section)


class Result:
    """One section for one combination of the values that it depends on.

    Attributes:
        value: the typed section in canonical form.
        line: ``section:digest`` of its identity (empty for top-level keys and ``execution``).
        other: canonical JSON of what is not identity, to tell apart cells that compute the same.
    """

    __slots__ = ("_dump", "_known", "line", "other", "value")

    def __init__(self, section: str, value: Any) -> None:
        self.value = value
        hashed = section in TRIAL and section != "execution"
        self.line = section_line(section, value) if hashed else ""
        rest = other_part(value) if hashed else jsonable(value)
        self.other = "" if rest is None else json.dumps(rest, sort_keys=True)
        self._dump: Any = MISSING
        self._known: dict[Keys, Any] = {}

    @property
    def dump(self) -> Any:
        """The section as JSON types, made once."""
        if self._dump is MISSING:
            self._dump = jsonable(self.value)
        return self._dump

    def get(self, keys: Keys) -> Any:
        """The canonical value at a path inside the section, as JSON types; :data:`MISSING` where there is none."""
        if keys not in self._known:
            self._known[keys] = self._look(keys)
        return self._known[keys]

    def _look(self, keys: Keys) -> Any:
        here = self.value
        for key in keys:
            if isinstance(here, BaseModel):
                here = getattr(here, key, MISSING) if key in type(here).model_fields else MISSING
            else:
                here = here.get(key, MISSING) if isinstance(here, dict) else MISSING
        return here if here is MISSING or here is None or isinstance(here, str | int | float) else jsonable(here)


@dataclass(frozen=True)
class _Assignment:
    axis: int
    column: int
    keys: Keys


class SectionPlan:
    """How one section of one block is made from the indices of the block's axes."""

    def __init__(self, name: str, source: Source, block: Block) -> None:
        self.name, self.source, self.block = name, source, block
        self.assignments = sorted(
            (
                _Assignment(position, column, path[1:])
                for position, axis in enumerate(block.axes)
                for column, path in enumerate(axis.paths)
                if path[0] == name
            ),
            key=lambda item: len(item.keys),
        )
        self.axes: tuple[int, ...] = ()
        """Positions of the axes that this section depends on."""
        self.interpolated = False
        self.reads: set[str] = set(READS.get(name, ()))
        self._cache: dict[tuple[int, ...], Result] = {}
        self._scan()

    def _scan(self) -> None:
        """Find out whether ``${...}`` occurs in the section, and which sections it reads."""
        texts = [text for _, text in leaves(self.source.raw(self.name)) if isinstance(text, str) and "${" in text]
        for item in self.assignments:
            axis = self.block.axes[item.axis]
            if isinstance(axis.rows, list):
                texts += [text for row in axis.rows for _, text in leaves(row[item.column].raw) if isinstance(text, str) and "${" in text]
        self.interpolated = bool(texts)
        for text in texts:
            names = {found[1] for found in _SIMPLE.finditer(text)}
            simple = len(_SIMPLE.findall(text)) == text.count("${") - len(ENVIRONMENT.findall(text))
            self.reads |= names & set(SECTIONS) if simple else set(SECTIONS)

    def result(self, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> Result:
        """The section where the axes stand at ``indices``.

        Raises:
            DefinitionError: the section is not valid; it names path, place, what is allowed and the nearest name.
        """
        key = tuple([indices[position] for position in self.axes])
        found = self._cache.get(key)
        if found is None:
            found = self._make(plans, indices)
            if len(self._cache) >= CACHE:
                del self._cache[next(iter(self._cache))]
            self._cache[key] = found
        return found

    def value(self, item: _Assignment, indices: Sequence[int]) -> Value:
        """What one assignment assigns."""
        return self.block.axes[item.axis].row(indices[item.axis])[item.column]

    def raw(self, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> Any:
        """The section as written, with what axes and top-level keys assign, before interpolation."""
        out = self.source.raw(self.name)
        for item in self.assignments:
            value = self.value(item, indices)
            keys = ("name",) if not item.keys and self.name in SHORTHAND and isinstance(value.raw, str) else item.keys
            if self.name == "train" and keys and keys[0] in BUDGETS and isinstance(out, dict):
                out = without_other_budgets(out, {keys[0]: value.raw})
            out = _assign(out, keys, value.raw, (self.name,), value.place)
        if self.name == "loss" and isinstance(out, dict) and not any(not item.keys for item in self.assignments):
            out = {**{name: {} for name in TrialConfig.model_fields["loss"].get_default(call_default_factory=True)}, **out}
        return self._derived(out, plans, indices)

    def _derived(self, out: Any, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> Any:
        """Fill in what ``validation`` and ``checkpoint`` set."""
        if self.name not in FILLED or not (out is None or isinstance(out, dict)):
            return out
        out = dict(out or {})
        for (section, key), targets in TARGETS.items():
            for target in targets:
                if target[0] == self.name and target[1] != "checkpoint_steps":
                    given = plans[section].raw(plans, indices)
                    if isinstance(given, dict) and key in given:
                        out[target[1]] = given[key]
        if self.name == "train" and out.get("validate_every") is None:
            execution = plans["execution"].raw(plans, indices)
            every = execution.get("validate_every") if isinstance(execution, dict) else None
            out["validate_every"] = every if every is not None else str(DefinitionConfig(version="1", name="x").validation.every)
        return out if self.name != "data" or out else None

    def _make(self, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> Result:
        raw = self.raw(plans, indices)
        if self.interpolated or any(plans[name].interpolated for name in self.reads):
            raw = Interpolation(self, plans, indices).resolve(raw)
        if self.name == "execution" and isinstance(raw, dict):
            raw = _split_cadence(raw)
        if self.name == "prompt" and isinstance(raw, dict) and raw.get("file") is not None:
            if raw["file"] not in self.source.prompts:
                raise DefinitionError(
                    "prompt.file is written out, not interpolated", found=raw["file"], place=self._place(("file",), indices)
                )
            raw = {**raw, "sha": self.source.prompts[raw["file"]]}
        return self._typed(raw, plans, indices)

    def _typed(self, raw: Any, plans: Mapping[str, SectionPlan], indices: Sequence[int]) -> Result:
        prefix: Path_ = (self.name,) if self.name in VARIABLE else ("trial", self.name)
        try:
            value = self._validated(raw, prefix, indices)
            if self.name in TRIAL and self.name != "task":  # which other sections read
                paradigm = value if self.name == "paradigm" else plans["paradigm"].result(plans, indices).value
                task = plans["task"].result(plans, indices).value if self.name in UNTRAINED or self.name == "backbone" else "reward_model"
                value = canonical_section(self.name, value, paradigm, task)
            return Result(self.name, value)
        except ValidationError as error:
            raise translate(error, prefix, self.places(indices), raw=raw) from None
        except ValueError as error:
            raise DefinitionError(f"{self.name} is wrong: {error}", found=raw, place=place_of(self.places(indices), prefix)) from None
        except DefinitionError as error:
            if error.place is None:
                latest = self.value(self.assignments[-1], indices).place if self.assignments else None
                error.place = latest or place_of(self.places(indices), prefix)
            raise

    def _validated(self, raw: Any, prefix: Path_, indices: Sequence[int]) -> Any:
        if raw is None:
            return self._default(prefix)
        if self.name == "evaluate":
            return validate_evaluate(raw)
        if (self.name,) in COMPONENTS or self.name in ("loss", "data"):
            check_components(self.name, raw, self.places(indices), prefix)
        return _adapter(self.name).validate_python(raw)

    def _default(self, prefix: Path_) -> Any:
        declared = (DefinitionConfig if self.name in VARIABLE else TrialConfig).model_fields[self.name]
        if declared.is_required():
            place = place_of(self.source.places, prefix[:-1] or ("name",)) or place_of(self.source.places, ("name",))
            raise DefinitionError(
                f"{self.name} is missing", found="nothing", allowed=f"`{self.name}` under trial, or as an axis", place=place
            )
        return declared.get_default(call_default_factory=True)

    def places(self, indices: Sequence[int]) -> dict[Path_, Place]:
        """Where the parts of this section stand, axis values included."""
        places = dict(self.source.places)
        top = () if self.name in VARIABLE else ("trial",)
        for (section, key), targets in TARGETS.items():
            if (section, key) in places:
                places.update({("trial", *target): places[(section, key)] for target in targets})
        for item in self.assignments:
            value = self.value(item, indices)
            if value.place is not None:
                below = (*top, self.name, *item.keys)
                places = {path: place for path, place in places.items() if path[: len(below)] != below}
                places[below] = value.place
        return places

    def _place(self, keys: Keys, indices: Sequence[int]) -> Place | None:
        return place_of(self.places(indices), ("trial", self.name, *keys))


def _assign(tree: Any, keys: Keys, value: Any, path: Keys, place: Place | None) -> Any:
    """A tree with a value at a path; what is not on the path is shared with the old one."""
    if not keys:
        return value
    if tree is not None and not isinstance(tree, dict):
        raise DefinitionError(f"{'.'.join(path)} holds nothing by name", found=tree, allowed="a mapping", place=place)
    key, *rest = keys
    return {**(tree or {}), key: _assign((tree or {}).get(key), tuple(rest), value, (*path, key), place)}


def _split_cadence(raw: dict[str, Any]) -> dict[str, Any]:
    """``checkpoint_every: 20min`` in seconds, ``50steps`` as ``checkpoint_steps``."""
    text = raw.get("checkpoint_every")
    if not isinstance(text, str) or text.replace(".", "", 1).isdigit():
        return raw
    try:
        seconds, steps = parse_cadence(text)
    except ValueError:
        return raw  # the section `checkpoint` reports it, with its place
    out = {key: value for key, value in raw.items() if key != "checkpoint_every"}
    return {**out, "checkpoint_every": seconds} if steps is None else {**out, "checkpoint_steps": steps}


_adapters: dict[str, TypeAdapter[Any]] = {}


def _adapter(section: str) -> TypeAdapter[Any]:
    if section not in _adapters:
        declared = (DefinitionConfig if section in VARIABLE else TrialConfig).model_fields[section]
        _adapters[section] = TypeAdapter[Any](cast("Any", Annotated[declared.annotation, Field(), *declared.metadata]))
    return _adapters[section]


def plan_sections(source: Source, block: Block) -> dict[str, SectionPlan]:
    """The plans of all sections of a block, each knowing the axes that it depends on."""
    plans = {name: SectionPlan(name, source, block) for name in SECTIONS}
    own = {name: {item.axis for item in plan.assignments} for name, plan in plans.items()}
    for name, plan in plans.items():
        reached = {name}
        while True:
            more = {other for member in reached for other in plans[member].reads} - reached
            if not more:
                break
            reached |= more
        plan.axes = tuple(sorted({axis for member in reached for axis in own[member]}))
        plan.reads = reached - {name}
    return plans
