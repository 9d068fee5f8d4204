"""The key ``ensembles`` of a definition: derived rows that train nothing, each a rule over the scores of some cells."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from core.definition.fields import Section, identity, setting
from core.definition.trial import named

On = Literal["auto", "all", "text", "media"]

ON = "examples that a member is asked about: all, text alone, or those with media; auto: text for a backbone that reads text alone"
WHERE = "paths and canonical values of the cells (a list means any of them); nothing: every cell"


class EnsembleRuleConfig(Section):
    """Base of the configuration of a rule (registry ``ensemble_rule``); what is no default is part of the name of its row."""

    VALIDATION: ClassVar[tuple[str, ...]] = ()
    """Validation metrics of the members that the rule rests on: ``accuracy``, ``margin``."""
    PAIRS: ClassVar[bool] = False
    """Whether it decides pair by pair: every two responses of an example are then a comparison of their own."""

    name: str = identity(doc="the rule")

    @property
    def samples(self) -> int | None:
        """How many samples of each member are ballots of their own; ``None``: a member's samples are put together first."""
        return None

    @property
    def validation(self) -> tuple[str, ...]:
        """:attr:`VALIDATION`, with what the settings add."""
        return self.VALIDATION

    @property
    def label(self) -> str:
        """How its row is called: the name, with the settings that are no defaults."""
        fields = {name: getattr(self, name) for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        said = ",".join(f"{name}={value}" for name, value in fields.items() if name != "name")
        return self.name + (f"[{said}]" if said else "")


class MemberConfig(Section):
    """One member, named as exactly one cell."""

    sweep: str | None = setting(None, doc="another sweep, by its name in the workspace; null: this one")
    where: dict[str, Any] = setting({}, doc="paths and canonical values that name exactly one cell")
    on: On = setting("auto", doc=ON)


def _names(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class MembersConfig(Section):
    """Members by what they are like."""

    sweep: Annotated[tuple[str, ...], BeforeValidator(_names)] = setting(
        (), doc="other sweeps, by name; `this` is this one; none: this one"
    )
    where: dict[str, Any] = setting({}, doc=WHERE)
    top: int | None = setting(None, ge=1, unit="cells", doc="only so many, the best by `by`; null: all that match")
    by: str | None = setting(None, doc="the metric that `top` chooses by; null: that of `objective`")
    on: On = setting("auto", doc=ON)


def _members(value: Any) -> Any:
    """A list of cells; or a query, for which a mapping of paths to values is short."""
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("an ensemble has at least one member")
        return tuple(named(index, MemberConfig, {**entry}) if isinstance(entry, dict) else entry for index, entry in enumerate(value))
    if not isinstance(value, dict):
        raise ValueError("members are a list of cells ({where: {...}}), paths with values, or a query such as {top: 3}")
    if not value:
        raise ValueError("an ensemble has at least one member: {where: {}} stands for every cell")
    if not value.keys() & MembersConfig.model_fields.keys():
        value = {"where": value}
    return MembersConfig.model_validate(value)


def _rules(value: Any) -> Any:
    if isinstance(value, list | tuple) and not value:
        raise ValueError("an ensemble has at least one rule")
    return [value] if isinstance(value, str | dict) else value


class EnsembleConfig(Section):
    """One ensemble: its members, and a row for each of its rules."""

    name: Annotated[str, Field(pattern=r"^[^/\s]([^/\r\n]{0,98}[^/\s])?$")] = setting(
        doc="its rows are called NAME/RULE: up to 100 characters, no slash"
    )
    members: Annotated[MembersConfig | tuple[MemberConfig, ...], BeforeValidator(_members)] = setting(
        doc="a list of cells, each {where: {...}} and perhaps {sweep: NAME}; or paths with values; or a query {top: 3}"
    )
    rules: Annotated[tuple[Any, ...], BeforeValidator(_rules)] = setting(
        ("mean",), doc="rules by name (`vote@5` is {name: vote, of_samples: 5}), or with their settings"
    )
    normalise: Literal["none", "zscore"] = setting(
        "none", doc="zscore: each member's scores less their mean, by their standard deviation, before they are put together"
    )
