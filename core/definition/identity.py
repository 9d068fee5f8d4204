"""What a trial is called: a hash of what it computes, and of nothing else.

Protocol. A configuration is brought to its canonical form (configurations that mean the same become the same). Of each
section the *identity* fields are written as canonical JSON (keys sorted, no blanks, floats typed by the schema and in
their shortest form) and hashed. The id is the hash of the version and of the sorted ``section:digest`` lines, 32 hex digits
of it. Fields with the role *execution* or *place* never enter. A field that was added later declares ``absent``: where it
has that value it is left out, so ids made before it existed stay as they are. NaN, infinities and -0.0 are refused, because
they have no one form.

Hashing by section makes grids cheap: a section that does not vary is hashed once for all cells.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from core import registry
from core.definition.fields import Role, Section, role_of
from core.definition.plan import PlannedTrial
from core.definition.trial import (
    DataConfig,
    ExternalConfig,
    OptimConfig,
    ParadigmConfig,
    PromptConfig,
    RewardTransformConfig,
    TrainConfig,
    TrialConfig,
    weighted,
)
from core.errors import DefinitionError

VERSION = 1
"""Version of the identity; another one gives every trial another id."""

LENGTH = 32
"""Hex digits of an id (16 bytes)."""

HASHED = tuple(sorted(name for name, field in TrialConfig.model_fields.items() if role_of(field) == "identity"))
"""Sections that enter an id, in order."""

UNTRAINED = ("paradigm", "head", "data", "loss", "optim", "train", "prompt", "annotate")
"""Sections that say how a model is trained."""

_NOTHING: Any = object()

_PLAIN = frozenset({str, int, bool, type(None)})
"""Types that are hashed as they are."""


class _Field(NamedTuple):
    name: str
    role: Role
    absent: Any


@cache
def _fields(model: type[BaseModel]) -> tuple[_Field, ...]:
    out = []
    for name, field in model.model_fields.items():
        extra = field.json_schema_extra
        absent = extra.get("absent", _NOTHING) if isinstance(extra, dict) else _NOTHING
        out.append(_Field(name, role_of(field), absent))
    return tuple(out)


def canonical_section(name: str, value: Any, paradigm: ParadigmConfig, task: str = "reward_model") -> Any:
    """The canonical form of one section of a trial.

    A public reward model (task `external`) is not trained: of all that says how, nothing has an effect. A paradigm without a reward head
    trains none and weighs no terms over its rewards: both sections are without effect. A template that ships for the paradigm is named by
    its text.

    Raises:
        DefinitionError: no term of the loss, or no source, has a weight above 0; or a paradigm with a reward head has none.
    """
    if name == "backbone" and isinstance(value, ExternalConfig) != (task == "external"):
        kind, other = ("external", "reward_model") if task == "external" else ("backbone", "external")
        raise DefinitionError(
            f"the task {task} scores a public reward model as it is" if task == "external" else f"{value.name} is not trained here",
            found=f"backbone: {value.name}, task: {task}",
            allowed=f"one of {', '.join(registry.names(kind))}; or task: {other}",
        )
    if task == "external" and name in UNTRAINED:
        value = _untrained(name, value)
    elif name == "loss":
        value = weighted(value) if paradigm.HEAD else {}
    elif name == "head" and not paradigm.HEAD:
        value = registry.get("head", "none").config()
    elif name == "prompt" and value.file is None and value.sha is None and paradigm.PROMPT is not None:
        value = value.model_copy(update={"sha": _sha_of(paradigm.PROMPT)})
    elif isinstance(value, Section):
        value = value.canonical()
    if task == "external":
        return value
    if name == "loss" and paradigm.HEAD and all(isinstance(term, RewardTransformConfig) for term in value.values()):
        only = f": {', '.join(value)} only changes the rewards" if value else ""
        raise DefinitionError(f"loss has no entry with a weight above 0{only}")
    if name == "head" and paradigm.HEAD and value.name == "none":
        heads = [known for known in registry.names("head") if known != "none"]
        raise DefinitionError(f"the paradigm {paradigm.name} reads its reward from a head", found="head: none", allowed=heads)
    if name == "data" and not value.sources:
        raise DefinitionError("data.sources has no entry with a weight above 0")
    return value


def _untrained(name: str, value: Any) -> Any:
    """The one form of a section that says how a model is trained, for one that is not."""
    if name == "train":
        return TrainConfig(steps=0, max_length=value.max_length, dtype=value.dtype)
    forms: dict[str, Any] = {
        "paradigm": lambda: registry.get("paradigm", "naive").config(),
        "head": lambda: registry.get("head", "none").config(),
        "data": lambda: DataConfig(sources={}, held_out=0),
        "loss": dict,
        "optim": OptimConfig,
        "prompt": PromptConfig,
        "annotate": lambda: None,
    }
    return forms[name]()


@cache
def _sha_of(file: Path) -> str:
    return hashlib.sha256(file.read_text(encoding="utf-8").encode()).hexdigest()


def canonical_form(config: TrialConfig) -> TrialConfig:
    """The configuration with every section in its canonical form (pure; applying it twice changes nothing).

    Raises:
        DefinitionError: see :func:`canonical_section`.
    """
    sections = {name: canonical_section(name, getattr(config, name), config.paradigm, config.task) for name in TrialConfig.model_fields}
    return config.model_copy(update=sections)


def identity_part(value: Any, path: str = "") -> Any:
    """What is hashed of a value: identity fields only, as JSON types.

    Raises:
        DefinitionError: a float that has no one form (NaN, infinity, -0.0).
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, BaseModel):
        out = {}
        for name, role, absent in _fields(type(value)):
            if role == "identity":
                inner = getattr(value, name)
                if type(inner) in _PLAIN and absent is _NOTHING:
                    out[name] = inner
                elif absent is _NOTHING or inner != absent:
                    out[name] = identity_part(inner, f"{path}.{name}")
        return out
    if isinstance(value, Mapping):
        return {key: identity_part(inner, f"{path}.{key}") for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [identity_part(inner, path) for inner in value]
    if isinstance(value, float) and (not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0)):
        raise DefinitionError(f"{path.lstrip('.')} has no one form to hash", found=value, allowed="a finite number, zero without a sign")
    return value


def other_part(value: Any) -> Any:
    """What is *not* hashed of a value: its execution and place fields, as JSON types; ``None`` where there are none."""
    parts: dict[str, Any]
    if isinstance(value, BaseModel):
        parts = {}
        for name, role, _ in _fields(type(value)):
            inner = getattr(value, name)
            if role != "identity":
                parts[name] = inner
            elif isinstance(inner, BaseModel | dict):
                parts[name] = other_part(inner)
    elif isinstance(value, Mapping):
        parts = {key: other_part(inner) for key, inner in value.items()}
    else:
        return None
    return {name: part for name, part in parts.items() if part is not None} or None


def canonical(config: TrialConfig) -> dict[str, Any]:
    """What of a trial is hashed, by section, in canonical form.

    Raises:
        DefinitionError: see :func:`identity_part` and :func:`canonical_section`.
    """
    part: dict[str, Any] = identity_part(canonical_form(config))
    return part


def jsonable(value: Any) -> Any:
    """A typed section as JSON types, execution and place fields included."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, dict):
        return {key: jsonable(inner) for key, inner in value.items()}
    return [jsonable(inner) for inner in value] if isinstance(value, list | tuple) else value


def section_line(name: str, value: Any) -> str:
    """``section:digest`` of one typed section in canonical form; empty where the section was added later and is ``absent``.

    Raises:
        DefinitionError: see :func:`identity_part`.
    """
    if value == _absent().get(name, _NOTHING):
        return ""
    return f"{name}:{hashlib.sha256(canonical_json(identity_part(value, name))).hexdigest()}"


@cache
def _absent() -> dict[str, Any]:
    """Sections of a trial that were added later, with the value that means "as before"."""
    return {name: absent for name, _, absent in _fields(TrialConfig) if absent is not _NOTHING}


def canonical_json(value: Any) -> bytes:
    """JSON with sorted keys, no blanks, ASCII only, floats in their shortest form."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def join_lines(lines: Iterable[str]) -> str:
    """The id made of ``section:digest`` lines, which must be sorted by section."""
    text = "\n".join((f"trial {VERSION}", *filter(None, lines)))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:LENGTH]


def trial_id(config: TrialConfig) -> str:
    """The id of a trial: 32 hex digits.

    Raises:
        DefinitionError: see :func:`canonical`.
    """
    form = canonical_form(config)
    return join_lines(section_line(name, getattr(form, name)) for name in HASHED)


def with_seed(planned: PlannedTrial, seed: int) -> PlannedTrial:
    """The replicate of a planned trial with another seed."""
    config = {**planned.config, "seed": seed}
    return replace(planned, id=trial_id(TrialConfig.model_validate(config)), seed=seed, config=config)


@cache
def _benchmark_part(benchmark: str) -> Any:
    """What is hashed of a benchmark's configuration, given as JSON; ten thousand trials are scored on the same few."""
    value = json.loads(benchmark)
    return identity_part(registry.get("benchmark", str(value.get("name"))).config.model_validate(value))


def scoring_key(trial: str, benchmark: Mapping[str, Any], revision: str) -> str:
    """The key of one scoring, 32 hex digits.

    Args:
        trial: the trial's id, or the name of a baseline.
        benchmark: the benchmark's configuration, as in ``PlannedTrial.evaluate``; places do not count.
        revision: the revision of the benchmark's data.

    Raises:
        DefinitionError: the benchmark is not registered.
    """
    parts = ["scoring", VERSION, trial, _benchmark_part(json.dumps(dict(benchmark), sort_keys=True)), revision]
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:LENGTH]
