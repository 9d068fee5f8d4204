"""Every key of a definition with its type, unit, default, role and source: what ``sweep keys`` shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core import registry
from core.definition.ensembling import EnsembleConfig
from core.definition.identity import jsonable
from core.definition.schema import DefinitionConfig
from core.definition.trial import TrialConfig
from core.definition.walk import COMPONENTS, NAMED, alternatives
from core.errors import UsageError, nearest

SET_ELSEWHERE = ("seed", "rehearsal")
"""Fields of a trial that a definition does not set under ``trial``."""


@dataclass(frozen=True)
class KeyInfo:
    """One key. ``role`` is null for keys that are no part of a trial; ``<name>`` in a path stands for any name."""

    path: str
    type: str
    unit: str | None
    default: Any
    role: str | None
    source: str | None
    doc: str


def keys(path: str | None = None) -> list[KeyInfo]:
    """All keys, or those at and below a path (relative to ``trial``, or a top-level key).

    Raises:
        UsageError: no such path; it names the nearest.
    """
    found = list(_all())
    if path is None:
        return found
    wanted = path.split(".")
    chosen = [key for key in found if _covers(wanted, key.path.split("."))]
    if not chosen:
        known = {prefix for key in found for prefix in _prefixes(key.path)}
        raise UsageError("no such key", found=path, nearest=nearest(path, known), next="sweep keys")
    return chosen


def _covers(wanted: list[str], path: list[str]) -> bool:
    return len(path) >= len(wanted) and all(part in ("<name>", given, f"{given}[]") for given, part in zip(wanted, path, strict=False))


def _prefixes(path: str) -> list[str]:
    parts = path.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


def _all() -> Iterator[KeyInfo]:
    for name, field in DefinitionConfig.model_fields.items():
        if name == "trial":
            yield _info("trial", field)
            for section, declared in TrialConfig.model_fields.items():
                if section not in SET_ELSEWHERE:
                    yield from _field((section,), declared)
        else:
            yield from _field((name,), field)
            if name == "evaluate":
                yield from _component_fields(("evaluate[]",), "benchmark")
            elif name == "ensembles":
                yield from _model(("ensembles[]",), EnsembleConfig)
                yield from _component_fields(("ensembles[]", "rules[]"), "ensemble_rule")


def _field(path: tuple[str, ...], field: FieldInfo) -> Iterator[KeyInfo]:
    yield _info(".".join(path), field)
    if path in COMPONENTS:
        yield from _component_fields(path, COMPONENTS[path])
    elif path in NAMED:
        kind = NAMED[path]
        if kind == "source":
            yield from _component_fields((*path, "<name>"), kind)
        else:
            for component in registry.components(kind):
                yield from _model((*path, component.name), component.config)
    else:
        for model in {kind: None for kind in alternatives(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel)}:
            yield from _model(path, model)


def _model(path: tuple[str, ...], model: type[BaseModel]) -> Iterator[KeyInfo]:
    for name, field in model.model_fields.items():
        yield from _field((*path, name), field)


def _component_fields(path: tuple[str, ...], kind: str) -> Iterator[KeyInfo]:
    """The fields of all components of a kind, once each; one that not all share says whose it is."""
    owners: dict[KeyInfo, list[str]] = {}
    components = registry.choices(kind)
    choice = "type" if kind == "source" else "name"
    for component in components:
        for info in _model(path, component.config):
            if info.path == ".".join((*path, choice)):
                words = " | ".join(part.name for part in components)
                base = "the registered type of source" if kind == "source" else f"the {kind}"
                info = replace(info, type=words, doc=base, source=None, default=None)
            owners.setdefault(_hashable(info), []).append(component.name)
    for info, names in owners.items():
        whose = ", ".join(names) if len(names) <= 8 else f"{names[0]} and {len(names) - 1} others"
        yield info if len(names) == len(components) else replace(info, doc=f"{info.doc} (of {whose})")


def _hashable(info: KeyInfo) -> KeyInfo:
    return replace(info, default=str(info.default)) if isinstance(info.default, list | dict) else info


def _info(path: str, field: FieldInfo) -> KeyInfo:
    extra: dict[str, Any] = dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}
    default = None if field.is_required() else jsonable(field.get_default(call_default_factory=True))
    return KeyInfo(
        path=path,
        type=type_name(field),
        unit=extra.get("unit"),
        default=None if isinstance(default, dict) else default,
        role=extra.get("role"),
        source=extra.get("source"),
        doc=field.description or "",
    )


def type_name(field: FieldInfo) -> str:
    """The type of a field in words, with its bounds: ``integer, 1 to 5``, ``none | tanh | silu``, ``number | null``."""
    words = [_name(kind) for kind in alternatives(field.annotation)]
    if type(None) in get_args(field.annotation):
        words.append("null")
    bounds = _bounds(field)
    return " | ".join(dict.fromkeys(words)) + (f", {bounds}" if bounds else "")


def _name(kind: Any) -> str:
    origin = get_origin(kind)
    if origin is Literal:
        return " | ".join(str(word) for word in get_args(kind))
    if origin in (tuple, list):
        parts = [part for part in get_args(kind) if part is not Ellipsis]
        inner = [" | ".join(_name(option) for option in alternatives(part)) for part in parts]
        return f"list of {inner[0]}" if Ellipsis in get_args(kind) or origin is list else f"[{', '.join(inner)}]"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return "mapping"
    return {int: "integer", float: "number", bool: "true | false", str: "text", Any: "any"}.get(kind, str(kind))


def _bounds(field: FieldInfo) -> str:
    found = {
        name: getattr(part, name) for part in field.metadata for name in ("ge", "gt", "le", "lt") if getattr(part, name, None) is not None
    }
    low = f"at least {found['ge']}" if "ge" in found else f"above {found['gt']}" if "gt" in found else ""
    high = f"at most {found['le']}" if "le" in found else f"below {found['lt']}" if "lt" in found else ""
    if "ge" in found and "le" in found:
        return f"{found['ge']} to {found['le']}"
    return ", ".join(part for part in (low, high) if part)
