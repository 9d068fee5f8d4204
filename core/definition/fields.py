"""How a field of the trial's schema is declared: its role, unit, source and what it meant before it existed.

Roles (see ``docs/design/identity.md``): *identity* fields are hashed into the trial's id; *execution* fields are recorded
only; *place* fields say where things lie. A field that is added later declares ``absent``, the value that means "as before
it existed": that value is left out of the hash, so that older ids stay as they are.
"""

from __future__ import annotations

import re
from typing import Any, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Role = Literal["identity", "execution", "place"]

REQUIRED: Any = PydanticUndefined

_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE]\+?\d{1,2}")


def whole_number(annotation: Any, value: Any) -> Any:
    """``value``, or the integer that it means where it is written ``1e6`` and the annotation takes integers only."""
    if not isinstance(value, str) or not _EXPONENT.fullmatch(value):
        return value
    kinds = get_args(annotation) or (annotation,)
    number = float(value)
    return int(number) if int in kinds and float not in kinds and number.is_integer() else value


class Section(BaseModel):
    """Base of every configuration model: unknown keys are errors, values are finite, instances are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _whole_number_with_exponent(cls, value: Any, info: ValidationInfo) -> Any:
        """Let a whole number be written ``1e6`` where the field takes one."""
        if info.field_name is None or type(value) is not str or "e" not in value.lower():
            return value
        return whole_number(cls.model_fields[info.field_name].annotation, value)

    def canonical(self) -> Self:
        """The one form of all configurations that mean the same; override it where fields can be without effect.

        It must be pure, and applying it twice must give what applying it once gives.
        """
        return self


def _declare(role: Role, default: Any, doc: str, unit: str | None, source: str | None, **more: Any) -> Any:
    extra: dict[str, Any] = {"role": role}
    if unit is not None:
        extra["unit"] = unit
    if source is not None:
        extra["source"] = source
    if "absent" in more:
        extra["absent"] = more.pop("absent")
    if "default_factory" in more:
        return Field(description=doc, json_schema_extra=extra, **more)
    return Field(default, description=doc, json_schema_extra=extra, **more)


def identity(default: Any = REQUIRED, *, doc: str, unit: str | None = None, source: str | None = None, **more: Any) -> Any:
    """A field that is hashed: it changes what the trial computes. ``absent=`` marks a field that was added later."""
    return _declare("identity", default, doc, unit, source, **more)


def execution(default: Any = REQUIRED, *, doc: str, unit: str | None = None, source: str | None = None, **more: Any) -> Any:
    """A field that is recorded only: it changes how, not what, the trial computes."""
    return _declare("execution", default, doc, unit, source, **more)


def place(default: Any = None, *, doc: str, **more: Any) -> Any:
    """A field that says where something lies."""
    return _declare("place", default, doc, None, None, **more)


def role_of(field: FieldInfo) -> Role:
    """The role that a field declares; a field without one is a mistake of the schema.

    Raises:
        TypeError: the field was declared without :func:`identity`, :func:`execution` or :func:`place`.
    """
    extra = field.json_schema_extra
    if not isinstance(extra, dict) or "role" not in extra:
        raise TypeError("every field of the trial's schema declares a role: use identity(), execution() or place()")
    return extra["role"]  # type: ignore[return-value]


def setting(default: Any = REQUIRED, *, doc: str, unit: str | None = None, source: str | None = None, **more: Any) -> Any:
    """A key of a sweep definition that is no part of a trial: it has no role."""
    field = _declare("execution", default, doc, unit, source, **more)
    del field.json_schema_extra["role"]
    return field
