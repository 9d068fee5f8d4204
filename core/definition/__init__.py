"""The definition language: from a YAML file to the trials that it means.

Everything here is imported when it is first used, because every light ``config`` module reaches this package.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.definition.claims import resolve_claims
    from core.definition.definition import SweepDefinition
    from core.definition.ensembles import read_ensembles
    from core.definition.expansion import Expansion, expand
    from core.definition.explain import why
    from core.definition.identity import canonical, scoring_key, trial_id
    from core.definition.loading import find, load
    from core.definition.plan import Cell, PlannedTrial, Shape
    from core.definition.reported import reported_for, reported_others

_HOMES = {
    "SweepDefinition": "definition",
    "read_ensembles": "ensembles",
    "Expansion": "expansion",
    "expand": "expansion",
    "why": "explain",
    "canonical": "identity",
    "scoring_key": "identity",
    "trial_id": "identity",
    "find": "loading",
    "load": "loading",
    "Cell": "plan",
    "PlannedTrial": "plan",
    "Shape": "plan",
    "reported_for": "reported",
    "reported_others": "reported",
    "resolve_claims": "claims",
}

__all__ = [
    "Cell",
    "Expansion",
    "PlannedTrial",
    "Shape",
    "SweepDefinition",
    "canonical",
    "expand",
    "find",
    "load",
    "read_ensembles",
    "reported_for",
    "reported_others",
    "resolve_claims",
    "scoring_key",
    "trial_id",
    "why",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
