"""A JSON Schema (draft 2020-12) of a definition file, for completion and checks in an editor.

Editors read YAML with types of their own (``3e-6`` is text for some of them, a number for others), and any value may be an
interpolation. So a scalar is described by its words and bounds where it is a number, and as text that could be one else. The
loader stays the judge.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from core import registry
from core.definition import mixtures
from core.definition.ensembling import MemberConfig
from core.definition.keys import SET_ELSEWHERE, keys
from core.definition.schema import DefinitionConfig, SequentialConfig
from core.definition.searching import PrunerConfig, PrunerKind
from core.definition.trial import SHORTHAND, TrialConfig
from core.definition.walk import COMPONENTS, NAMED, Keys, alternatives

INTERPOLATION = {"type": "string", "pattern": r"\$\{"}
NUMBER_AS_TEXT = {"type": "string", "pattern": r"\$\{|^[-+]?[0-9._]+([eE][-+]?[0-9]+)?$"}
_NAMES = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_TRUTHS = (True, False)
_SCALAR = ["string", "number", "boolean"]


def json_schema() -> dict[str, Any]:
    """The schema, with the fields of every registered component."""
    top = {name: _field((), name, field) for name, field in DefinitionConfig.model_fields.items()}
    sections = {name: field for name, field in TrialConfig.model_fields.items() if name not in SET_ELSEWHERE}
    paths = _paths()
    axes = {"type": "object", "properties": paths}
    top["version"] = {"description": _doc(DefinitionConfig.model_fields["version"]), "enum": [1, "1"]}
    top["trial"] = {
        **_object({name: _field((), name, field) for name, field in sections.items()}),
        "description": _doc(DefinitionConfig.model_fields["trial"]),
    }
    top["grid"] = {**axes, "description": _doc(DefinitionConfig.model_fields["grid"])}
    for name in ("cases", "exclude"):
        top[name] = {"type": "array", "items": axes, "description": _doc(DefinitionConfig.model_fields[name])}
    top["code"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": _doc(DefinitionConfig.model_fields["code"]),
    }
    top["seeds"] = {
        "anyOf": [
            {"type": "integer", "minimum": 1},
            {"type": "array", "items": {"type": "integer", "minimum": 0}},
            _object({name: _field((), name, field) for name, field in SequentialConfig.model_fields.items()}),
        ],
        "description": _doc(DefinitionConfig.model_fields["seeds"]),
    }
    top["evaluate"] = {"type": "array", "items": _benchmark(), "description": _doc(DefinitionConfig.model_fields["evaluate"])}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "RewardSweep sweep definition, schema 1",
        **_object(top),
        "required": ["version", "name"],
    }


def _paths() -> dict[str, Any]:
    return {key.path: {"description": key.doc} for key in keys() if "<" not in key.path and "[" not in key.path and key.role is not None}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _doc(field: FieldInfo) -> str:
    return field.description or ""


def _benchmark() -> dict[str, Any]:
    configs = [component.config for component in registry.components("benchmark")]
    return {"anyOf": [{"enum": registry.names("benchmark")}, _models(("evaluate",), configs), INTERPOLATION]}


def _models(path: Keys, models: Iterable[type[BaseModel]]) -> dict[str, Any]:
    """One object with the fields of all models; a field that several declare takes what any of them takes."""
    options: dict[str, list[Any]] = {}
    for model in dict.fromkeys(models):
        for name, field in model.model_fields.items():
            schema = _field(path, name, field)
            if schema not in options.setdefault(name, []):
                options[name].append(schema)
    return _object({name: found[0] if len(found) == 1 else {"anyOf": found} for name, found in options.items()})


def _field(parent: Keys, name: str, field: FieldInfo) -> dict[str, Any]:
    path = (*parent, name)
    extra: dict[str, Any] = dict(field.json_schema_extra) if isinstance(field.json_schema_extra, dict) else {}
    about = "; ".join(str(part) for part in (field.description, extra.get("unit"), extra.get("source")) if part)
    options = _component(path) or [option for kind in alternatives(field.annotation) for option in _type(path, kind, field)]
    if type(None) in get_args(field.annotation) or path in NAMED or path in COMPONENTS:
        options.append({"type": "null"})
    return {"description": about, "anyOf": options}


def _component(path: Keys) -> list[dict[str, Any]]:
    if path in COMPONENTS:
        kind = COMPONENTS[path]
        model = _models(path, [component.config for component in registry.choices(kind)])
        names = [{"enum": [part.name for part in registry.choices(kind)]}] if path[0] in SHORTHAND else []
        return [*names, model, INTERPOLATION]
    if path == ("search", "pruner"):
        return [{"enum": list(get_args(PrunerKind))}, _models(path, [PrunerConfig])]
    if path == ("ensembles", "members"):
        return [{"type": "object"}, {"type": "array", "items": _models(path, [MemberConfig])}]
    if path == ("ensembles", "rules"):
        settings = _models(path, [component.config for component in registry.components("ensemble_rule")])
        rule = {"anyOf": [{"enum": registry.names("ensemble_rule")}, {"type": "string", "pattern": "^vote@[0-9]+$"}, settings]}
        return [rule, {"type": "array", "items": rule}]
    if path == ("loss",):
        terms = {
            part.name: {"anyOf": [_models((*path, part.name), [part.config]), {"type": "null"}]} for part in registry.components("loss")
        }
        return [_object(terms)]
    if path in NAMED:
        entry = _models((*path, "<name>"), [part.config for part in registry.components(NAMED[path])])
        return [{"type": "object", "additionalProperties": {"anyOf": [entry, {"type": "null"}]}}]
    return []


def _type(path: Keys, kind: Any, field: FieldInfo) -> list[dict[str, Any]]:
    origin = get_origin(kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        named = [{"enum": mixtures.names()}] if path == ("data", "mixture") else []
        return [*named, _models(path, [kind])]
    if origin is Literal:
        words = list(get_args(kind))
        return [{"enum": [*words, *_TRUTHS] if {"true", "false"} & set(words) else words}, INTERPOLATION]
    if origin in (tuple, list):
        parts = [part for part in get_args(kind) if part is not Ellipsis]
        return [
            {
                "type": "array",
                "items": {"anyOf": [option for part in parts for inner in _parts(part) for option in _type(path, inner, _BARE)]},
            }
        ]
    if origin is dict:
        return [{"type": "object"}]
    if kind in (int, float):
        bounds = {_NAMES[name]: getattr(part, name) for part in field.metadata for name in _NAMES if getattr(part, name, None) is not None}
        # memory may be written with a unit
        text = {"type": "string"} if path[-1] == "memory" else NUMBER_AS_TEXT
        return [{"type": "integer" if kind is int else "number", **bounds}, text]
    if kind is bool:
        return [{"type": "boolean"}, {"type": "string"}]
    return [{"type": _SCALAR}] if kind is str else [{}]


def _parts(part: Any) -> list[Any]:
    return [*alternatives(part), *([type(None)] if type(None) in get_args(part) else [])]


_BARE = FieldInfo(annotation=str)
