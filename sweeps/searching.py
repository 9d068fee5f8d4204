"""A search around its launch: what is checked and registered, and how it is stopped and taken up."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from core.control.search.read import GO, HALT, benchmark_key, halted
from core.definition import SweepDefinition
from core.definition.plan import PlannedTrial
from core.definition.problems import place_of
from core.errors import DefinitionError, UsageError, nearest
from core.training.config import VALIDATION_METRICS
from core.workspace import fingerprints
from core.workspace.growth import Growth, GrowthLog
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, newest, sweep_id

if TYPE_CHECKING:
    from sweeps.planning import SearchPlan


def family(definition: SweepDefinition) -> str:
    """What the suggestions of a definition belong to: it and the user's own component files."""
    parts = [definition.family(), *(fingerprints.tree_digest(file) for file in definition.code)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


def gained(definition: SweepDefinition, workspace: Workspace | None) -> list[Growth]:
    """What the search of this definition, or its rule for further seeds, has added to its plan so far."""
    if workspace is None:
        return []
    log = GrowthLog(workspace.sweep(sweep_id(definition.name, definition.rehearsal is not None)), family(definition))
    return log.refresh()


def meta(definition: SweepDefinition, plan: SearchPlan) -> dict[str, Any]:
    """What a revision remembers of its search, so that a pass on a compute node needs no data."""
    from sweeps.planning import with_revisions

    assert definition.search is not None
    entries = [entry for trial in with_revisions(definition, plan.probes) for entry in trial.evaluate]
    return {
        "cells": definition.search.n_cells * len(plan.points),
        "points": len(plan.points),
        "shapes": [asdict(shape) for shape in dict.fromkeys(probe.shape for probe in plan.probes)],
        "revisions": {benchmark_key(entry["benchmark"]): entry["revision"] for entry in entries},
        "replicas": plan.replicas,
        "warm": list(plan.warm),
    }


def check_objectives(definition: SweepDefinition, probes: Sequence[PlannedTrial]) -> None:
    """Refuse an objective that no trial would ever report.

    Raises:
        DefinitionError: with the place, the names that there are and the nearest.
    """
    search, places = definition.search, definition.source.places
    assert search is not None
    wanted: list[tuple[str, tuple[str | int, ...]]]
    wanted = [(item.metric, ("search", "objectives", number)) for number, item in enumerate(search.objectives)]
    wanted = wanted or [(definition.objective.metric, ("objective",))]
    if search.pruner is not None and search.pruner.metric is not None:
        wanted.append((search.pruner.metric, ("search", "pruner")))
    known = reported_metrics(probes)
    for metric, path in wanted:
        if metric not in known:
            same = [name for name in known if name.partition("/")[0] == metric.partition("/")[0]]
            raise DefinitionError(
                "the objective of the search is a metric that no trial reports", found=metric, allowed=same or known,
                nearest=nearest(metric, known), place=place_of(places, (*path, "metric"), path, ("search",)),
            )  # fmt: skip


def reported_metrics(trials: Iterable[PlannedTrial]) -> list[str]:
    """Full names of the metrics that these trials report."""
    from core.evaluation.benchmarks import get

    known = [f"validation/{name}" for name in VALIDATION_METRICS]
    for entry in {benchmark_key(entry): entry for trial in trials for entry in trial.evaluate}.values():
        known += [f"{entry['name']}/{name}" for name in get(entry["name"]).metric_names]
    return known


def go_on(registered: Revision) -> None:
    """Take up what was stopped by `sweep cancel`: a search, or a rule that adds seeds."""
    _say(registered, GO)


def stop_asking(registered: Revision) -> None:
    """Ask for nothing more until the next launch."""
    _say(registered, HALT)


def _say(registered: Revision, word: str) -> None:
    log = GrowthLog(registered.sweep, registered.family)
    while True:
        log.refresh()
        if halted(log.records) == (word == HALT) or log.append(word, why="sweep cancel" if word == HALT else "launched again"):
            return


def grows(found: Revision | None) -> bool:
    """Whether passes may add trials to a revision's plan."""
    return found is not None and found.family is not None


def is_search(found: Revision | None) -> bool:
    """Whether a revision's definition has a search."""
    return found is not None and "search" in found.meta


def require_search(workspace: Workspace, found: Revision) -> None:
    """Refuse a sweep without a search.

    Raises:
        UsageError: it names those that have one.
    """
    if not is_search(found):
        others = [sweep.id for sweep in workspace.sweeps() if is_search(newest(sweep))]
        raise UsageError("this sweep has no search", found=found.sweep.id, allowed=others or "a sweep with `search:` in its definition")
