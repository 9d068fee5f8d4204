"""Turning what pydantic and OmegaConf say into errors that name the path, the place, what is allowed and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from core import registry
from core.definition.reading import Path_
from core.definition.schema import DefinitionConfig
from core.definition.trial import TrialConfig
from core.definition.walk import COMPONENTS, NAMED, Keys, alternatives, node
from core.errors import DefinitionError, Place, nearest

Places = Mapping[Path_, Place]

_QUOTED = re.compile(r"'((?:[^'\\]|\\.)*)'")


def place_of(places: Places, *paths: Path_) -> Place | None:
    """The place of the first path that has one, each also tried without its last keys."""
    for path in paths:
        for length in range(len(path), 0, -1):
            if path[:length] in places:
                return places[path[:length]]
    return places.get(())


def translate(error: ValidationError, prefix: Path_, places: Places, *, raw: Any = None, keys: list[str] | None = None) -> DefinitionError:
    """The first problem of a validation as an error of the definition.

    Args:
        error: what pydantic found; its locations are relative to ``prefix``.
        prefix: path of the validated value, as a user writes it.
        places: where paths stand, with ``prefix`` as it is.
        raw: the validated value, to find out which component is meant.
        keys: the keys allowed at ``prefix`` itself; default: what the schema says.
    """
    details = error.errors(include_url=False)
    first = next((line for line in details if line["type"] == "extra_forbidden"), details[0])  # a misspelt key explains a missing one
    location = tuple(part for part in first["loc"] if not _internal(part))
    path = (*prefix, *location)
    name = dotted(path)
    place = place_of(places, path)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = keys if keys is not None and len(location) == 1 else keys_below(path[:-1], raw, location[:-1])
        return DefinitionError(
            f"unknown key {name}{more}", found=location[-1], allowed=allowed, nearest=nearest(str(location[-1]), allowed), place=place
        )
    if first["type"] == "missing":
        return DefinitionError(f"{name} is missing{more}", place=place_of(places, path[:-1]))
    if first["type"] == "literal_error":
        words = _QUOTED.findall(str(first.get("ctx", {}).get("expected", "")))
        return DefinitionError(
            f"{name} does not take this value{more}",
            found=first["input"],
            allowed=words,
            nearest=nearest(str(first["input"]), words),
            place=place,
        )
    reason = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    reason = {"a valid tuple": "a list", "a valid dictionary": "a mapping"}.get(reason.partition(" or instance")[0], reason)
    found = None if first["type"] == "value_error" and isinstance(first["input"], dict) else _short(first["input"])
    return DefinitionError(f"{name} is wrong{more}", found=found, allowed=reason, place=place)


def _internal(part: Any) -> bool:
    """Whether a part of pydantic's location is its own word and not a key (a union's branch, a validator's name)."""
    return isinstance(part, str) and (part.startswith("function-") or "[" in part)


def dotted(path: Path_) -> str:
    """A path as it is written, relative to ``trial``: ``data.sources.mm.cap``, ``reported[0].rows``."""
    out = ""
    for part in path[1:] if len(path) > 1 and path[0] == "trial" else path:
        out += f"[{part}]" if isinstance(part, int) else ("." if out else "") + part
    return out


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:197] + "..."


def keys_below(path: Path_, raw: Any, location: Path_) -> list[str]:
    """The keys allowed below a path of a trial; ``raw`` at ``location`` tells which component is meant."""
    names: Keys = tuple(str(part) for part in path)
    if names[:1] == ("trial",):
        names = names[1:]
    value = raw
    for part in location:
        if isinstance(value, list):
            value = value[part] if isinstance(part, int) and part < len(value) else None
        else:
            value = value.get(part) if isinstance(value, dict) else None
    config = _component(names, value)
    if config is not None:
        return list(config.model_fields)
    if names and names[0] not in TrialConfig.model_fields and names[0] in DefinitionConfig.model_fields:
        models = _models(DefinitionConfig, tuple(part for part in path if isinstance(part, str)))
        return list(dict.fromkeys(name for model in models for name in model.model_fields))
    here = node(names)
    return (here.keys() or []) if here is not None else []


def _models(model: type[BaseModel], names: Keys) -> list[type[BaseModel]]:
    """The models below a model by field names, whether they stand in lists or not."""
    if not names:
        return [model]
    kinds = alternatives(model.model_fields[names[0]].annotation) if names[0] in model.model_fields else []
    inner = [part for kind in kinds for part in (kind, *get_args(kind)) if isinstance(part, type) and issubclass(part, BaseModel)]
    return [found for part in inner for found in _models(part, names[1:])]


def _component(names: Keys, value: Any) -> Any:
    given = value if isinstance(value, dict) else {}
    if names in COMPONENTS:
        name = given.get("name", "mlp" if names == ("head",) else None)
        kind = COMPONENTS[names]
    elif names[:-1] in NAMED:
        kind = NAMED[names[:-1]]
        name = names[-1] if kind == "loss" else given.get("type", names[-1] if registry.has("source", names[-1]) else "file")
    elif names[:1] == ("evaluate",) and len(names) == 2:
        kind, name = "benchmark", given.get("name")
    else:
        return None
    return registry.get(kind, name).config if isinstance(name, str) and registry.has(kind, name) else None


def check_components(section: str, raw: Any, places: Places, prefix: Path_) -> None:
    """Refuse a component that is not registered, before pydantic sees the section.

    Raises:
        DefinitionError: an unknown paradigm, backbone, head, loss or source, with its place.
    """
    if (section,) in COMPONENTS:
        name = raw.get("name") if isinstance(raw, dict) else raw
        if isinstance(name, str):
            _known(COMPONENTS[(section,)], name, place_of(places, (*prefix, "name"), prefix))
    elif section == "loss" and isinstance(raw, dict):
        for name in raw:
            _known("loss", name, place_of(places, (*prefix, name)))
    elif section == "data" and isinstance(raw, dict) and isinstance(raw.get("sources"), dict):
        for name, source in raw["sources"].items():
            kind = source.get("type") if isinstance(source, dict) else None
            if isinstance(kind, str):
                _known("source", kind, place_of(places, (*prefix, "sources", name, "type")))


def _known(kind: str, name: str, place: Place | None) -> None:
    if not registry.has(kind, name):
        allowed = [part.name for part in registry.choices(kind)]
        raise DefinitionError(f"unknown {kind}", found=name, allowed=allowed, nearest=nearest(name, allowed), place=place)
