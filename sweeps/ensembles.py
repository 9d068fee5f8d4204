"""Who the members of a sweep's ensembles are, how far they have come, and the tables that are made of theirs.

Members are looked up in the plans of the workspace each time they are asked for: those of this sweep in its own, those of another sweep in
that of its newest revision (a rehearsal's in its rehearsal). A member that another sweep has not trained holds nothing up here: its row
says what it waits for.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from core import registry
from core.analysis.compare import Side, values_of
from core.analysis.ensembles import EnsembleOutcome, Part, ReadTable, Wanted, assemble
from core.analysis.outcomes import ScoringOutcome, TrialOutcome
from core.control.read import Reader
from core.definition import SweepDefinition, find, read_ensembles
from core.definition.ensembles import Ensemble, Query
from core.definition.identity import scoring_key
from core.definition.plan import PlannedTrial, cell_name
from core.errors import DefinitionError, UsageError, nearest
from core.evaluation.benchmarks import unreadable
from core.evaluation.ensembles.combine import On
from core.evaluation.score_table import ScoreTable
from core.workspace.files import MANIFEST, read_json
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, newest, sweep_id
from sweeps.wiring import search_path

HAVE_RESULTS = ("completed", "reused", "stale")
"""States of trials, and actions of a plan, that mean a published result."""

KEPT = 64
"""Score tables that are kept while the rows of ensembles are made."""

State = Callable[[PlannedTrial], str]
"""What has become of a trial, in a word."""


@dataclass(frozen=True)
class Found:
    """One cell that is a member, or may be chosen as one.

    Attributes:
        name: the cell, with its sweep before it where that is another.
        sweep: the other sweep; ``None`` for this one.
        trials: its planned replicates.
        on: the examples that it is asked about.
    """

    name: str
    sweep: str | None
    trials: Sequence[PlannedTrial]
    on: On


@dataclass(frozen=True)
class Members:
    """What an ensemble's queries find.

    Attributes:
        ensemble: the ensemble.
        found: cells that are members, or of which the best are.
        problem: why they are not those that are meant.
    """

    ensemble: Ensemble
    found: Sequence[Found]
    problem: str | None = None


@dataclass
class Plans:
    """The plans of a workspace: this sweep's, and those of others as they are asked for."""

    own: Sequence[PlannedTrial]
    workspace: Workspace | None
    rehearsal: bool
    _known: dict[str, list[PlannedTrial] | None] = field(default_factory=dict)

    def of(self, sweep: str | None) -> Sequence[PlannedTrial] | None:
        """The plan of a sweep; ``None`` where it was not launched in this workspace."""
        if sweep is None:
            return self.own
        if sweep not in self._known:
            revision = newest(self.workspace.sweep(sweep_id(sweep, self.rehearsal))) if self.workspace is not None else None
            self._known[sweep] = None if revision is None else list(revision.plan())
        return self._known[sweep]

    def members(self, ensemble: Ensemble) -> Members:
        """What the queries of an ensemble find now."""
        found: dict[frozenset[str], Found] = {}
        problem = None
        for query in ensemble.queries:
            plan = self.of(query.sweep)
            if plan is None:
                problem = (
                    problem or f"{query.sweep}, which has not been launched{' as a rehearsal' if self.rehearsal else ''} in this workspace"
                )
                continue
            cells: dict[str, list[PlannedTrial]] = {}
            for trial in query.matching(plan):
                cells.setdefault(cell_name(trial.cell), []).append(trial)
            if query.exact and len(cells) != 1:
                which = f"exactly one cell{f' of {query.sweep}' if query.sweep else ''} that is like a member ({query}): {len(cells)} are"
                problem = problem or which
            for name, trials in cells.items():
                full = name if query.sweep is None else f"{query.sweep}:{name.replace(' ', ',')}"
                found.setdefault(frozenset(trial.id for trial in trials), Found(full, query.sweep, trials, _asked_about(query, trials[0])))
        return Members(ensemble, list(found.values()), problem or (None if found else "members: no cell is like them"))


def _asked_about(query: Query, trial: PlannedTrial) -> On:
    """Text alone for a backbone that reads nothing else, unless the definition says it."""
    if query.on != "auto":
        return query.on
    reads: Any = registry.get("backbone", trial.config["backbone"]["name"]).config
    return "all" if {"image", "video"} & set(reads.READS) else "text"


@dataclass(frozen=True)
class Derived:
    """The ensembles of a revision, and its trials as far as they have come."""

    workspace: Workspace
    revision: Revision
    trials: Sequence[TrialOutcome]

    @cached_property
    def outcomes(self) -> list[EnsembleOutcome]:
        """A row for each rule of each ensemble."""
        return [assemble(row, self._read) for members in self._members for row in self._rows(members)]

    @cached_property
    def notes(self) -> list[str]:
        """What a reader should know of the members' validation."""
        return [
            f"{members.ensemble.name}: its members were validated on different pairs, for they were trained on different sets; "
            "weights compare what each got on its own."
            for members in self._members
            if any(rule.validation for rule in members.ensemble.rules) and len({_validated_on(found) for found in members.found}) > 1
        ]

    @cached_property
    def _plans(self) -> Plans:
        return Plans(list(self.revision.plan()), self.workspace, self.revision.rehearsal)

    @cached_property
    def _members(self) -> list[Members]:
        return [self._plans.members(Ensemble.from_json(value)) for value in self.revision.meta.get("ensembles", [])]

    @cached_property
    def _own(self) -> Mapping[str, TrialOutcome]:
        return {trial.id: trial for trial in self.trials}

    @cached_property
    def _entries(self) -> list[Mapping[str, Any]]:
        """Every benchmark that this sweep scores, with its revision."""
        found = {json.dumps(entry, sort_keys=True): entry for trial in self._plans.own for entry in trial.evaluate}
        return list(found.values())

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.workspace)

    def _rows(self, members: Members) -> list[Wanted]:
        ensemble, problem, flags = members.ensemble, members.problem, []
        parts = [Part(found.name, [self._outcome(trial) for trial in found.trials], found.on) for found in members.found]
        if ensemble.top is not None and ensemble.by is not None and problem is None:
            ranked = _ranked(parts, ensemble.by, ensemble.mode)
            if len(ranked) < ensemble.top:
                problem = f"{ensemble.top} cells with {ensemble.by}: {len(ranked)} of {len(parts)} have it"
            elif len(ranked) < len(parts):
                flags.append(f"chosen of the {len(ranked)} of {len(parts)} cells that have {ensemble.by}")
            if not ensemble.by.startswith("validation/"):
                flags.append(f"members selected on {ensemble.by}, which it reports")
            parts = ranked[: ensemble.top]
        return [Wanted(name, rule, ensemble.normalise, tuple(parts), problem, tuple(flags)) for name, rule in ensemble.rows.items()]

    def _outcome(self, planned: PlannedTrial) -> TrialOutcome:
        """A trial of this sweep as it is known, one of another sweep by its files; scored in the way that this sweep scores."""
        if planned.id in self._own:
            return self._own[planned.id]
        trial = self.workspace.trial(planned.id)
        status = self._reader.trial(trial)
        backbone = planned.config["backbone"]["name"]
        why = {entry["benchmark"]["name"]: unreadable(backbone, entry["benchmark"]["name"]) for entry in self._entries}
        scorings: dict[str, ScoringOutcome] = {}
        for entry in self._entries:
            key = scoring_key(planned.id, entry["benchmark"], entry["revision"])
            summary = trial.scoring(key).summary
            if entry["benchmark"]["name"] not in scorings and summary.exists():
                scorings[entry["benchmark"]["name"]] = replace(ScoringOutcome.from_summary(read_json(summary)), key=key)
        return TrialOutcome(
            planned.id, planned.cell, planned.seed, status.state, cause=status.cause, scorings=tuple(scorings.values()),
            metrics=read_json(trial.result / "metrics.json")["metrics"] if status.state == "completed" else {},
            evaluate=tuple(name for name, reason in why.items() if reason is None),
            unreadable={name: reason for name, reason in why.items() if reason is not None},
        )  # fmt: skip

    @cached_property
    def _read(self) -> ReadTable:
        """Reads score tables, and keeps the last ones: the rules of an ensemble read the same."""

        @lru_cache(maxsize=KEPT)
        def read(trial: str, key: str) -> ScoreTable:
            return ScoreTable.read(self.workspace.trial(trial).scoring(key).table)

        return read


def _ranked(parts: Sequence[Part], metric: str, mode: str) -> list[Part]:
    """Those that have the metric, the best first; equal ones by name."""
    means = {part.name: list(values_of(Side(part.name, False, part.trials), metric).values()) for part in parts}
    known = [(float(np.mean(means[part.name])), part) for part in parts if means[part.name]]
    return [part for _, part in sorted(known, key=lambda item: (-item[0] if mode == "max" else item[0], item[1].name))]


def _validated_on(found: Found) -> str:
    """What decides which pairs are held out: the sets, whatever their weights and caps."""
    data = dict(found.trials[0].config["data"])
    sources = {name: {k: v for k, v in source.items() if k not in ("weight", "cap")} for name, source in data["sources"].items()}
    return json.dumps({**data, "sources": sources}, sort_keys=True)


def require_sweeps(definition: SweepDefinition, workspace: Workspace | None) -> None:
    """Refuse a member in a sweep that is neither in the workspace nor a definition that can be found.

    Raises:
        DefinitionError: with the nearest name.
    """
    known = {sweep.id for sweep in workspace.sweeps()} if workspace is not None else set()
    for ensemble in read_ensembles(definition):
        for query in ensemble.queries:
            if query.sweep is None or known & {sweep_id(query.sweep, rehearsal) for rehearsal in (False, True)}:
                continue
            try:
                find(query.sweep, [definition.files[0].parent, *search_path()])
            except UsageError as error:
                close = nearest(query.sweep, known) or error.nearest
                raise DefinitionError(
                    f"the ensemble {ensemble.name} has a member in a sweep that is not there",
                    found=query.sweep, allowed=error.allowed, nearest=close, place=query.place,
                ) from None  # fmt: skip


# -- plan and status ------------------------------------------------------------------------------------------------------------


def as_json(ensembles: Iterable[Ensemble], plans: Plans, state: State) -> list[dict[str, Any]]:
    """The documented shape of the ensembles in ``sweep plan --json`` and ``sweep status --json``.

    Args:
        ensembles: of a definition or of a revision.
        plans: where their members are looked for.
        state: what has become of a trial of this sweep.
    """
    return [_shown(members, plans, state) for members in map(plans.members, ensembles)]


def _shown(members: Members, plans: Plans, state: State) -> dict[str, Any]:
    ensemble = members.ensemble
    shown, own, waits = [], 0, []
    for found in members.found:
        trials = [{"id": trial.id, "seed": trial.seed, "state": _state(plans, found, trial, state)} for trial in found.trials]
        shown.append({"name": found.name, "sweep": found.sweep, "on": found.on, "trials": trials})
        lacking = sum(trial["state"] not in HAVE_RESULTS for trial in trials)
        if found.sweep is None:
            own += lacking
        elif lacking:
            waits.append(f"{found.name} of another sweep: {lacking} of {len(trials)} trials have no result")
    waits = [*([f"{own} trial{'s' if own > 1 else ''} of this sweep"] if own else []), *waits]
    waits += [members.problem] if members.problem is not None else []
    return {
        "name": ensemble.name, "rules": [rule.label for rule in ensemble.rules], "normalise": ensemble.normalise,
        "top": ensemble.top, "by": ensemble.by if ensemble.top is not None else None, "members": shown, "waits": waits,
    }  # fmt: skip


def _state(plans: Plans, found: Found, trial: PlannedTrial, state: State) -> str:
    if found.sweep is None or plans.workspace is None or any(trial.id == own.id for own in plans.own):
        return state(trial)
    folder = plans.workspace.trial(trial.id)
    return "completed" if (folder.result / MANIFEST).exists() else Reader(plans.workspace).trial(folder).state


def lines(shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for a terminal: a line for each ensemble, and one for each thing that it waits for."""
    out = []
    for one in shown:
        names = [str(member["name"]) for member in one["members"]]
        listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        chosen = f"the best {one['top']} by {one['by']} of {len(names)} cells" if one["top"] is not None else listed or "no members"
        scores = ", z-scores" if one["normalise"] == "zscore" else ""
        out.append(f"ensemble {one['name']} ({', '.join(one['rules'])}{scores}): {chosen}")
        waits = list(one["waits"])
        out += [f"  waits for {wait}" for wait in waits[:4]] + ([f"  waits for {len(waits) - 4} more"] if len(waits) > 4 else [])
    return out
