"""Ensembles of a definition: their rules and members read and checked, and what is kept of them with a revision.

Which trials the members are is found out later, from the plans in the workspace (:mod:`sweeps.ensembles`): a search gains cells while it
runs, and a member in another sweep may not have been launched yet. Here is checked what this definition alone can tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import ValidationError

from core import registry
from core.definition.definition import SweepDefinition
from core.definition.ensembling import EnsembleConfig, EnsembleRuleConfig, MembersConfig, On
from core.definition.identity import jsonable
from core.definition.matching import Condition, Conditions, all_hold, read_conditions
from core.definition.plan import PlannedTrial
from core.definition.problems import place_of, translate
from core.definition.reading import Path_
from core.definition.sections import MISSING
from core.definition.walk import Keys
from core.errors import DefinitionError, Place, nearest

THIS = "this"
"""What a query calls its own sweep among others."""


@dataclass(frozen=True)
class Query:
    """Cells of one sweep.

    Attributes:
        sweep: its name; ``None`` for the definition's own.
        conditions: what the cells are like.
        on: the examples that they are asked about.
        exact: whether exactly one cell is meant.
        written: the conditions as written.
        place: where it stands.
    """

    sweep: str | None
    conditions: Conditions
    on: On = "auto"
    exact: bool = False
    written: Mapping[str, Any] = field(default_factory=dict)
    place: Place | None = None

    def __str__(self) -> str:
        said = ", ".join(f"{path}={value}" for path, value in self.written.items()) or "every cell"
        return said if self.sweep is None else f"{self.sweep}: {said}"

    def matching(self, plan: Iterable[PlannedTrial]) -> list[PlannedTrial]:
        """The trials of a plan that are of its cells."""
        return [trial for trial in plan if trial.stage is None and self._meets(trial)]

    def _meets(self, trial: PlannedTrial) -> bool:
        labels = {tuple(path.split(".")): value for path, value in trial.cell.items() if isinstance(value, str)}

        def lookup(keys: Keys) -> Any:
            here: Any = trial.config
            for key in keys:
                here = here.get(key, MISSING) if isinstance(here, Mapping) else MISSING
            return here

        return all_hold(self.conditions, lookup, labels)


@dataclass(frozen=True)
class Ensemble:
    """An ensemble whose rules and members have been read.

    Attributes:
        name: its name.
        rules: a row for each.
        normalise: whether scores become z-scores first.
        queries: its members.
        top: only so many cells, the best.
        by: the metric that says which are.
        mode: which way is better.
        place: where it stands.
    """

    name: str
    rules: tuple[EnsembleRuleConfig, ...]
    normalise: Literal["none", "zscore"]
    queries: tuple[Query, ...]
    top: int | None = None
    by: str | None = None
    mode: Literal["max", "min"] = "max"
    place: Place | None = None

    @property
    def rows(self) -> dict[str, EnsembleRuleConfig]:
        """Its rows by name: ``NAME/RULE``."""
        return {f"{self.name}/{rule.label}": rule for rule in self.rules}

    def to_json(self) -> dict[str, Any]:
        """What a registered revision holds."""
        return {
            "name": self.name, "rules": [jsonable(rule) for rule in self.rules], "normalise": self.normalise,
            "top": self.top, "by": self.by, "mode": self.mode,
            "members": [
                {
                    "sweep": query.sweep, "on": query.on, "exact": query.exact, "where": jsonable(dict(query.written)),
                    "conditions": [
                        {"written": one.written, "keys": one.keys, "values": jsonable(list(one.values)), "texts": list(one.texts)}
                        for one in query.conditions
                    ],
                }
                for query in self.queries
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Ensemble:
        """Read it back; the files of ``code`` that its rules come from have been loaded."""
        queries = [
            Query(
                member["sweep"],
                tuple(
                    Condition(tuple(one["written"]), tuple(one["keys"]), tuple(one["values"]), tuple(one["texts"]))
                    for one in member["conditions"]
                ),
                member["on"],
                member["exact"],
                member["where"],
            )
            for member in value["members"]
        ]
        rules = tuple(_typed_rule(rule) for rule in value["rules"])
        return cls(value["name"], rules, value["normalise"], tuple(queries), value["top"], value["by"], value["mode"])


def read_ensembles(definition: SweepDefinition) -> list[Ensemble]:
    """All ensembles of a definition.

    Raises:
        DefinitionError: a name stands twice, no such rule or a wrong setting of one, an unknown path, or a value that it does not take.
    """
    places = definition.source.places
    out: list[Ensemble] = []
    for number, config in enumerate(definition.ensembles):
        path: Path_ = ("ensembles", number)
        here = place_of(places, path)
        if config.name in [other.name for other in out]:
            raise DefinitionError("an ensemble's name stands twice", found=config.name, place=place_of(places, (*path, "name")))
        rules = tuple(_rule(rule, (*path, "rules", index), definition) for index, rule in enumerate(config.rules))
        labels = [rule.label for rule in rules]
        twice = next((label for label in labels if labels.count(label) > 1), None)
        if twice is not None:
            raise DefinitionError(
                f"a rule of the ensemble {config.name} stands twice", found=twice, place=place_of(places, (*path, "rules"))
            )
        top, by = (config.members.top, config.members.by) if isinstance(config.members, MembersConfig) else (None, None)
        objective = definition.objective
        metric = by or objective.metric
        mode = objective.mode if metric == objective.metric else "min" if metric.endswith("/loss") else "max"
        out.append(Ensemble(config.name, rules, config.normalise, _queries(config, path, definition), top, metric, mode, here))
    return out


def _queries(config: EnsembleConfig, path: Path_, definition: SweepDefinition) -> tuple[Query, ...]:
    places = definition.source.places
    members = config.members
    found = []
    if isinstance(members, MembersConfig):
        given = definition.source.tree["ensembles"][path[1]]["members"]
        inside: Path_ = (*path, "members", "where") if "where" in given else (*path, "members")
        conditions = read_conditions(members.where, lambda key: place_of(places, (*inside, key)))
        for sweep in members.sweep or (THIS,):
            own = sweep in (THIS, definition.name)
            found.append(Query(None if own else sweep, conditions, members.on, False, members.where, place_of(places, inside)))
        return tuple(found)
    for index, member in enumerate(members):
        there: Path_ = (*path, "members", index)

        def place(key: str, there: Path_ = there) -> Place | None:
            return place_of(places, (*there, "where", key))

        own = member.sweep in (None, THIS, definition.name)
        conditions = read_conditions(member.where, place)
        found.append(Query(None if own else member.sweep, conditions, member.on, True, member.where, place_of(places, there)))
    return tuple(found)


def _rule(written: Any, path: Path_, definition: SweepDefinition) -> EnsembleRuleConfig:
    place = place_of(definition.source.places, path)
    given = _spelled(written)
    known = registry.names("ensemble_rule")
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        raise DefinitionError("a rule is a name, or a mapping with a `name`", found=written, allowed=known, place=place)
    name = given["name"]
    if name not in known:
        raise DefinitionError("unknown ensemble rule", found=name, allowed=[*known, "vote@K"], nearest=nearest(name, known), place=place)
    try:
        return _typed_rule(given)
    except ValidationError as error:
        keys = list(registry.get("ensemble_rule", name).config.model_fields)
        raise translate(error, path, definition.source.places, raw=given, keys=keys) from None


def _typed_rule(given: Mapping[str, Any]) -> EnsembleRuleConfig:
    rule = registry.get("ensemble_rule", given["name"]).config.model_validate(dict(given))
    assert isinstance(rule, EnsembleRuleConfig)
    return rule


def _spelled(written: Any) -> Any:
    """``vote`` and ``vote@5`` with their settings spelled out."""
    if not isinstance(written, str):
        return written
    votes = re.fullmatch(r"vote@(\d+)", written)
    return {"name": "vote", "of_samples": int(votes[1])} if votes else {"name": written}


def row_name(ensembles: Sequence[Ensemble], written: str, place: Place | None) -> str:
    """The full name of a row, ``NAME/RULE``; the rule may be left out where there is one.

    Raises:
        DefinitionError: no such ensemble or rule, or several rules where one is meant.
    """
    known = [name for ensemble in ensembles for name in ensemble.rows]
    if written in known:
        return written
    own = [name for ensemble in ensembles for name in ensemble.rows if ensemble.name == written]
    if len(own) == 1:
        return own[0]
    raise DefinitionError(
        f"the ensemble {written} has {len(own)} rules: name one" if own else "no such ensemble",
        found=written,
        allowed=own or known or "nothing: there is no key `ensembles`",
        nearest=nearest(written, known),
        place=place,
    )


@dataclass
class EnsembleCheck:
    """Counts, while cells stream by, how many each member of this sweep is."""

    definition: SweepDefinition
    counts: dict[tuple[int, int], int] = field(default_factory=dict)
    queries: dict[tuple[int, int], Query] = field(default_factory=dict)
    ensembles: list[Ensemble] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ensembles = read_ensembles(self.definition)
        for number, ensemble in enumerate(self.ensembles):
            for index, query in enumerate(ensemble.queries):
                if query.sweep is None:
                    self.queries[number, index] = query
                    self.counts[number, index] = 0

    def see(self, lookup: Callable[[Keys], Any], labels: Mapping[Keys, str | None]) -> None:
        """Take one cell."""
        for key, query in self.queries.items():
            if all_hold(query.conditions, lookup, labels):
                self.counts[key] += 1

    def finish(self) -> list[str]:
        """Warnings about members that are no cell, where only the command line or `sample` can have taken them away.

        Raises:
            DefinitionError: a member is no cell of the study, or several where one is meant; a query finds none, or less than `top`.
        """
        warnings = []
        for (number, index), query in self.queries.items():
            ensemble, count = self.ensembles[number], self.counts[number, index]
            least = ensemble.top if ensemble.top is not None and len(ensemble.queries) == 1 else 1
            if count == 1 if query.exact else count >= (least or 1):
                continue
            if not count:
                message = f"{'a member' if query.exact else 'the query'} of the ensemble {ensemble.name} finds no cell of this study"
            elif query.exact:
                message = f"a member of the ensemble {ensemble.name} is {count} cells, and one is meant"
            else:
                message = f"the ensemble {ensemble.name} takes the best {least} of {count} cells"
            if self.definition.notices or self.definition.sample is not None:
                warnings.append(f"{query.place}: {message}: {query}")
                continue
            allowed = (
                "paths and values of one cell" if query.exact else "paths and values of cells of this study; {sweep: NAME, where: ...}"
            )
            raise DefinitionError(message, found=str(query), allowed=allowed, place=query.place)
        return warnings
