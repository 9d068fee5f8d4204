"""Finding one's way in the schema by dotted path: what stands at a path, what may stand there, and of which type it is.

A path starts at the trial's root (``optim.lr``, ``head.layers``, ``data.sources.NAME.cap``) or names one of the top-level
keys that may vary (``validation.items``). Where a component stands, a path may reach into the configuration of any
registered one; which of them is meant shows only when a cell is complete.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from core import registry
from core.definition import fields
from core.definition.schema import VARIABLE, DefinitionConfig
from core.definition.trial import SHORTHAND, TrialConfig
from core.errors import DefinitionError, Place, nearest

Keys = tuple[str, ...]

COMPONENTS = {("paradigm",): "paradigm", ("backbone",): "backbone", ("head",): "head"}
"""Paths at which one component stands, chosen by its ``name``, and their kinds."""

NAMED = {("loss",): "loss", ("data", "sources"): "source"}
"""Paths at which a mapping from names to components stands."""


@dataclass(frozen=True)
class Node:
    """What stands at a path: the fields that declare it, and what may stand below.

    Attributes:
        path: the path.
        fields: the declarations of this path; several where several components have a field of this name.
        models: the models whose fields are the keys below; empty for a leaf.
        named: the kind of component that stands below by name (``loss``, ``source``), where this is such a mapping.
        free: whether any key may stand below (a mapping of text).
    """

    path: Keys
    fields: tuple[FieldInfo, ...] = ()
    models: tuple[type[BaseModel], ...] = ()
    named: str | None = None
    free: bool = False

    def keys(self) -> list[str] | None:
        """The names that may follow; ``None`` where any may."""
        if self.free or self.named == "source":
            return None
        if self.named is not None:
            return registry.names(self.named)
        return list(dict.fromkeys(name for model in self.models for name in model.model_fields))

    @property
    def is_list(self) -> bool:
        """Whether a value here is a list, so that an axis needs a list of lists."""
        return any(get_origin(kind) in (tuple, list) for field in self.fields for kind in alternatives(field.annotation))

    @property
    def is_leaf(self) -> bool:
        """Whether nothing stands below."""
        return not (self.models or self.named or self.free)


def alternatives(annotation: Any) -> list[Any]:
    """The types of a union, one by one; ``None`` left out."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin is Union or str(origin) == "<class 'types.UnionType'>":
        return [kind for part in get_args(annotation) if part is not type(None) for kind in alternatives(part)]
    return [annotation]


def node(path: Keys) -> Node | None:
    """What stands at a path, or ``None`` where no such path exists."""
    root = DefinitionConfig if path and path[0] in VARIABLE else TrialConfig
    here = Node((), (), (root,))
    for key in path:
        below = _step(here, key)
        if below is None:
            return None
        here = below
    return here


def _step(here: Node, key: str) -> Node | None:
    path = (*here.path, key)
    if here.named is not None:
        if here.named == "loss":
            return Node(path, (), (registry.get("loss", key).config,)) if registry.has("loss", key) else None
        return Node(path, (), tuple(component.config for component in registry.components(here.named)))
    if here.free:
        return Node(path, here.fields)
    found = tuple(model.model_fields[key] for model in here.models if key in model.model_fields)
    return _below(Node(path, found)) if found else None


def _below(here: Node) -> Node:
    if here.path in COMPONENTS:
        return replace(here, models=tuple(dict.fromkeys(part.config for part in registry.choices(COMPONENTS[here.path]))))
    if here.path in NAMED:
        return replace(here, named=NAMED[here.path])
    kinds = [kind for field in here.fields for kind in alternatives(field.annotation)]
    models = tuple(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return replace(here, models=models, free=any(get_origin(kind) is dict for kind in kinds))


def require(path: Keys, place: Place | None) -> Node:
    """What stands at a path.

    Raises:
        DefinitionError: no such path; it names the keys that are allowed there and the nearest.
    """
    found = node(path)
    if found is not None:
        return found
    for length in range(len(path) - 1, -1, -1):
        parent = node(path[:length])
        if parent is None:
            continue
        names = parent.keys() or []
        if length == 0:
            names = [*names, *VARIABLE]
        close = nearest(path[length], names)
        raise DefinitionError(
            f"unknown path {'.'.join(path)}" if names else f"{'.'.join(path[:length])} holds nothing by name",
            found=path[length],
            allowed=names or None,
            nearest=".".join((*path[:length], close)) if close else None,
            place=place,
            next="sweep keys" if length == 0 else f"sweep keys {'.'.join(path[:length])}",
        )
    raise AssertionError("the root is always there")


def role(path: Keys) -> fields.Role:
    """The role of a path: that of its section where the whole section is execution, else its own."""
    roles: list[fields.Role] = []
    for length in range(1, len(path) + 1):
        here = node(path[:length])
        for field in here.fields[:1] if here is not None else ():
            if isinstance(field.json_schema_extra, dict) and "role" in field.json_schema_extra:
                roles.append(fields.role_of(field))
    return next((kind for kind in roles if kind != "identity"), "identity" if roles else "execution")


def expand_shorthand(path: Keys) -> Keys:
    """``backbone`` as ``backbone.name``; other paths as they are."""
    return (*path, "name") if len(path) == 1 and path[0] in SHORTHAND else path


_adapters: dict[int, tuple[FieldInfo, TypeAdapter[Any]]] = {}


def _adapter(field: FieldInfo) -> TypeAdapter[Any]:
    """The validator of one field alone, made once; the field is kept beside it so that its ``id`` stays its own."""
    if id(field) not in _adapters:
        _adapters[id(field)] = (field, TypeAdapter[Any](cast("Any", Annotated[field.annotation, Field(), *field.metadata])))
    return _adapters[id(field)][1]


def typed(path: Keys, value: Any, place: Place | None) -> Any:
    """A value as the field at a path takes it, in JSON's types; a mapping stays as it is.

    Raises:
        DefinitionError: no field of this path takes the value; it names what is allowed.
    """
    require(path, place)
    if isinstance(value, dict):
        return value
    path = expand_shorthand(path)
    problem: ValidationError | None = None
    here = require(path, place)
    for field in () if here.models or here.named else here.fields:
        adapter = _adapter(field)
        try:
            return adapter.dump_python(adapter.validate_python(fields.whole_number(field.annotation, value)), mode="json")
        except ValidationError as error:
            problem = error
    if problem is None:
        return value
    words = literals(path)
    raise DefinitionError(
        f"{'.'.join(path)} does not take this value",
        found=value,
        allowed=words or problem.errors()[0]["msg"],
        nearest=nearest(str(value), words),
        place=place,
    )


def literals(path: Keys) -> list[str]:
    """The words that a path takes, where its type lists them."""
    here = node(path)
    if here is None:
        return []
    return list(dict.fromkeys(_literals(kind for field in here.fields for kind in alternatives(field.annotation))))


def _literals(kinds: Iterable[Any]) -> Iterable[str]:
    for kind in kinds:
        if get_origin(kind) is Literal:
            yield from (str(word) for word in get_args(kind))
        elif get_origin(kind) in (tuple, list):
            yield from _literals(part for part in get_args(kind) if part is not Ellipsis)
