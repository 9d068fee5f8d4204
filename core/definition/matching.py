"""Conditions on cells: ``exclude``, ``resources.when``, the rows of ``reported`` and ``--why`` all ask the same question.

A condition names a path and one value, or a list of which any will do. It holds on the cell's *canonical* value (a one-layer
head has the activation ``none``), or on the label of an axis value.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.definition.problems import Places, place_of
from core.definition.schema import ResourcesConfig
from core.definition.sections import MISSING
from core.definition.walk import Keys, expand_shorthand, require, typed
from core.errors import DefinitionError, Place

Lookup = Callable[[Keys], Any]
"""The canonical value at a path of a cell, as JSON types; ``MISSING`` (any value that equals nothing) where there is none."""


@dataclass(frozen=True)
class Condition:
    """One path and the values that it may have.

    Attributes:
        written: the path as written.
        keys: the path with its shorthand spelled out.
        values: the typed values, any of which will do.
        texts: the same as written, which may be labels.
    """

    written: Keys
    keys: Keys
    values: tuple[Any, ...]
    texts: tuple[Any, ...]

    def holds(self, value: Any, label: str | None = None) -> bool:
        """Whether a cell with this canonical value, or this label, meets the condition.

        What has no weight in the canonical form has the weight 0: leaving an entry out means the same.
        """
        if value is MISSING and self.keys[-1] == "weight":
            value = 0.0
        if label is not None and label in self.texts:
            return True
        if isinstance(value, list):
            return any(
                isinstance(wanted, list) and (wanted == value or sorted(map(str, wanted)) == sorted(map(str, value)))
                for wanted in self.values
            )
        return value in self.values


Conditions = tuple[Condition, ...]


def read_conditions(entries: Mapping[str, Any], place_of_key: Callable[[str], Place | None]) -> Conditions:
    """The conditions of one mapping from paths to values.

    Raises:
        DefinitionError: an unknown path, or a value that the path does not take.
    """
    return tuple(_read(key, value, place_of_key(key)) for key, value in entries.items())


def read_rules(config: ResourcesConfig, places: Places) -> list[Conditions]:
    """The conditions of each rule in ``resources.when``.

    Raises:
        DefinitionError: an unknown path, or a value that the path does not take.
    """

    def place(index: int) -> Callable[[str], Place | None]:
        return lambda key: place_of(places, ("resources", "when", index, "match", key))

    return [read_conditions(rule.match, place(index)) for index, rule in enumerate(config.when)]


def _read(key: str, value: Any, place: Place | None) -> Condition:
    written = tuple(key.strip().split("."))
    here = require(written, place)
    keys = expand_shorthand(written)
    if isinstance(value, dict):
        raise DefinitionError(f"{key} is matched by one value, a list of values, or a label", found="a mapping", place=place)
    if here.is_list:
        several = isinstance(value, list) and all(isinstance(item, list) for item in value) and value
        texts = tuple(value) if several else (value,)
    else:
        texts = tuple(value) if isinstance(value, list) else (value,)
    if not texts:
        raise DefinitionError(f"{key} is matched by no value", found="[]", allowed="at least one value", place=place)
    values = tuple(text if here.is_list and isinstance(text, str) else typed(written, text, place) for text in texts)
    return Condition(written, keys, values, tuple(text for text in texts if isinstance(text, str)))


def all_hold(conditions: Conditions, lookup: Lookup, labels: Mapping[Keys, str | None]) -> bool:
    """Whether a cell meets every condition."""
    return all(condition.holds(lookup(condition.keys), labels.get(condition.written)) for condition in conditions)
