"""How a search is told: in a plan, a status, a report, to people and as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from core.control.search.study import SearchState, Study, Suggestion
from core.definition import SweepDefinition
from core.definition.space import Parameter
from core.errors import UsageError, nearest
from core.workspace.growth import Growth

if TYPE_CHECKING:
    from sweeps.planning import SearchPlan


def plan_json(definition: SweepDefinition, plan: SearchPlan) -> dict[str, Any]:
    """The search in ``sweep plan --json``."""
    search, space = definition.search, definition.space
    assert search is not None and space is not None
    return {
        "sampler": search.sampler,
        "pruner": search.pruner.kind if search.pruner is not None else None,
        "objectives": [item.model_dump(mode="json") for item in definition.objectives],
        "cells": search.n_cells,
        "points": list(plan.points),
        "asked": plan.asked,
        "replicate": search.replicate,
        "warm": len(plan.warm),
        "space": {parameter.name: describe(parameter) for parameter in space.parameters},
    }


def describe(parameter: Parameter) -> str:
    """A parameter in words: ``1e-07 to 0.0001, logarithmic``."""
    found = parameter.range
    if found is None:
        text = " | ".join(parameter.choices)
    else:
        text = f"{found.text(found.low)} to {found.text(found.high)}"
        text += ", whole numbers" if found.whole else ""
        text += ", logarithmic" if found.log else ""
        text += f", step {found.step:g}" if found.step else ""
    when = ", ".join(f"{'.'.join(c.written)} is {' or '.join(str(v) for v in c.values)}" for c in parameter.when)
    return text + (f"; where {when}" if when else "")


def plan_lines(definition: SweepDefinition, plan: SearchPlan) -> list[str]:
    """What a search would do, for a reader."""
    search, space = definition.search, definition.space
    assert search is not None and space is not None
    each = f" at each of {len(plan.points)} cells of the grid" if len(plan.points) > 1 else ""
    pruner = f", {search.pruner.kind} stops what falls behind" if search.pruner is not None else ""
    objectives = " and ".join(f"{item.metric} ({item.mode})" for item in definition.objectives)
    out = [f"search: {search.sampler} suggests {search.n_cells} cells{each} for {objectives}{pruner}; {plan.asked} suggested so far"]
    out += [f"  {parameter.name}: {describe(parameter)}" for parameter in space.parameters]
    if search.warm_start:
        out.append(f"  warm start: {len(plan.warm)} finished trials of {', '.join(search.warm_start)} lie in the space")
    if len(definition.seeds) > 1 and search.replicate:
        seeds = ", ".join(map(str, definition.seeds[1:]))
        out.append(f"  each suggestion trains seed {definition.seeds[0]}; the best {search.replicate} train seeds {seeds} too")
    return out


def state_json(search: SearchState) -> dict[str, Any]:
    """The search in ``sweep status --json`` and ``sweep search show --json``."""
    return {
        "sampler": search.config.sampler,
        "pruner": search.config.pruner.kind if search.config.pruner is not None else None,
        "objectives": [item.model_dump(mode="json") for item in search.objectives],
        "cells": search.config.n_cells,
        "halted": search.halted,
        "studies": [
            {
                "study": study.name,
                "asked": len(study.suggestions),
                "told": {told: n for told in TOLD if (n := sum(1 for item in study.suggestions if item.told == told))},
                "warm": len(study.warm),
                "replicates": len(study.replicates),
                "exhausted": study.exhausted,
                "best": [item.planned.id for item in search.front(study)],
                "suggestions": [_suggestion_json(item) for item in study.suggestions],
            }
            for study in search.studies
        ],
    }


TOLD = ("open", "complete", "pruned", "failed")


def _suggestion_json(item: Suggestion) -> dict[str, Any]:
    return {
        "number": item.number, "trial": item.planned.id, "chosen": dict(item.chosen), "told": item.told,
        "values": list(item.values) if item.values is not None else None, "reason": item.reason or None,
        "curve": [[progress, value if value == value else None] for progress, value in item.curve],
    }  # fmt: skip


def lines(search: SearchState) -> list[str]:
    """What a search has done, a sentence for each study."""
    pruner = f" with {search.config.pruner.kind}" if search.config.pruner is not None else ""
    out = []
    for study in search.studies:
        where = f" at {study.name}" if len(search.studies) > 1 else ""
        counts = ", ".join(f"{n} {told}" for told in TOLD if (n := sum(1 for item in study.suggestions if item.told == told)))
        text = f"search by {search.config.sampler}{pruner}{where}: {len(study.suggestions)} of {search.config.n_cells} cells suggested"
        text += f" ({counts})" if counts else ""
        text += f", after {len(study.warm)} trials of earlier sweeps" if study.warm else ""
        text += f", {len(study.replicates)} replicates of the best" if study.replicates else ""
        text += f"; {study.exhausted}" if study.exhausted else ""
        text += "; it asks for no more: cancelled" if search.halted else ""
        out.append(text)
        for item in search.front(study):
            out.append(f"  best so far{where}: {best_line(search, item)}")
    return out


def best_line(search: SearchState, item: Suggestion) -> str:
    """A suggestion with its values: ``optim.lr=3e-06: validation/accuracy 0.98 (number 7)``."""
    values = ", ".join(f"{o.metric} {v:.4g}" for o, v in zip(search.objectives, item.values or (), strict=True))
    return f"{_name(item)}: {values} (number {item.number}, one seed)"


def _name(item: Suggestion) -> str:
    return " ".join(f"{name}={value if isinstance(value, str) else f'{value:g}'}" for name, value in item.chosen.items())


def report_notes(search: SearchState) -> list[str]:
    """What a reader of the table must know: how the cells were chosen, which were stopped, and what the best one's value is worth."""
    notes = [f"{line.strip()[0].upper()}{line.strip()[1:]}." for line in lines(search)]
    for study in search.studies:
        if len(study.finished()) > 1:
            where = f" at {study.name}" if len(search.studies) > 1 else ""
            notes.append(
                f"The best of {len(study.finished())} cells{where} was chosen by the numbers that are shown: its first seed's value is "
                f"optimistic, and seeds that were added afterwards are not."
            )
    return notes


def why_of(records: Iterable[Growth], trial: str) -> str | None:
    """Why a trial was added to its sweep, where it was."""
    found = next((record for record in records if any(planned.id == trial for planned in record.trials)), None)
    return None if found is None else str(found.facts.get("why", {}).get(trial, found.why))


def study_of(search: SearchState, name: str | None) -> Study:
    """The study that a user means; the only one where there is one.

    Raises:
        UsageError: there are several, or none of this name.
    """
    known = {study.name: study for study in search.studies}
    if name is None and len(known) == 1:
        return search.studies[0]
    if name not in known:
        raise UsageError(
            "which of the searches?" if name is None else "no such cell is searched at", found=name, allowed=list(known),
            nearest=nearest(name or "", known), next="--study CELL",
        )  # fmt: skip
    return known[name]
