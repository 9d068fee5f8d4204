"""Launching: register what the definition says, then drive it to its end, or say who will.

Nothing is written before everything that can be refused has been refused. From then on each step may be repeated: a launch
that dies anywhere is continued by the next one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from core.control import canary as canaries
from core.control.tick import trial_key
from core.definition import SweepDefinition, read_ensembles, reported_for, reported_others, resolve_claims
from core.definition.plan import PlannedTrial, cell_name
from core.errors import UsageError
from core.workspace import fingerprints
from core.workspace.files import MANIFEST
from core.workspace.launched import note_launch
from core.workspace.layout import Sweep, Trial, Workspace
from core.workspace.registration import Revision, canaries_of, choose_canaries, event, newest, register, sweep_id
from core.workspace.requests import asked, drop
from slurm.checks import require_controller
from slurm.profile import HERE, Cluster, of_sweep
from sweeps import planning, rules, searching
from sweeps.existing import TrialAction

Stale = Literal["keep", "rerun", "fail"]


@dataclass
class Registered:
    """A launch after its registration.

    Attributes:
        revision: what was registered, or the one that stood already.
        fresh: whether the revision is new.
        plan: what each trial needs.
        removed: trials of the revision before that this one no longer has.
        revived: trials that had been cancelled and are taken up again.
        paused: the reason of each trial that stays paused.
        canaries: trials that go before the others.
        cluster: where it runs.
    """

    revision: Revision
    fresh: bool
    plan: planning.Plan
    removed: list[PlannedTrial] = field(default_factory=list)
    revived: int = 0
    paused: list[str] = field(default_factory=list)
    canaries: int = 0
    cluster: Cluster = HERE


def prepare(
    definition: SweepDefinition,
    workspace_root: Path,
    *,
    source: str,
    overrides: Sequence[str],
    stale: Stale,
    prune: bool,
    cluster: str | None = None,
    canary: bool = True,
    workers: int | None = None,
) -> tuple[Workspace, Registered]:
    """Check, plan and register a launch; ``cluster`` names where it runs, else it is where the sweep was launched last.

    ``workers`` bounds how many workers a pass starts, whoever makes it, until the next launch.

    With ``canary`` a few trials of a large launch go first (:mod:`core.control.canary`); an unchanged launch keeps its choice.

    Raises:
        EnvironmentFault: weights, data or a benchmark are missing, or the cluster does not answer.
        UsageError: stale trials with ``--stale fail``.
    """
    before = planning.workspace_if_any(workspace_root)
    rehearsal = definition.rehearsal is not None
    id = sweep_id(definition.name, rehearsal)
    chosen = planning.where(definition, workspace_root, cluster)
    require_controller(chosen)
    plan = planning.make(definition, before, elsewhere=chosen.profile.kind == "slurm")
    if stale == "rerun":
        again: list[tuple[PlannedTrial, TrialAction]] = [(t, "new" if a == "stale" else a) for t, a in plan.trials]
        found = tuple(planning.missing(definition, again, elsewhere=chosen.profile.kind == "slurm"))
        plan = replace(plan, missing=found)
    planning.require(plan)
    # what a search has suggested already, and further seeds, stand in the growth
    at_launch = [trial for trial, _ in plan.trials if trial.id not in plan.gained]
    planned = planning.with_revisions(definition, at_launch) if plan.search is None else []
    cells = [trial for trial in planned if trial.stage is None]
    stale_trials = [trial for trial, action in plan.trials if action == "stale"]
    if stale_trials and stale == "fail":
        raise UsageError(
            f"{len(stale_trials)} trials have results of other code",
            found=", ".join(trial.id[:10] for trial in stale_trials[:5]),
            next="--stale keep leaves and marks them, --stale rerun trains them again",
        )
    workspace = Workspace.open(workspace_root, create=True)
    sweep = workspace.sweep(id)
    last = newest(sweep)
    before_this = list(last.plan()) if last is not None else []
    meta = {
        "name": definition.name, "project": definition.project, "rehearsal": rehearsal, "digest": digest(definition),
        "source": source, "overrides": list(overrides), "description": definition.description,
        "objective": definition.objective.model_dump(mode="json"),
        "reported": reported(definition, cells), "claims": resolve_claims(definition, cells),
        "ensembles": [ensemble.to_json() for ensemble in read_ensembles(definition)],
        "failures": definition.failures.model_dump(mode="json", exclude_unset=True),
        "gates": {name: gate.model_dump(mode="json") for name, gate in definition.gates.items()},
    }  # fmt: skip
    if plan.search is not None:
        meta |= {"family": searching.family(definition), "search": searching.meta(definition, plan.search)}
    if (rule := rules.rule_of(definition)) is not None:
        meta |= {"family": searching.family(definition), "seeds": rule.to_json()}
    revision, fresh = register(workspace, sweep, meta=meta, definition=definition.text(), code=definition.code, trials=planned)
    everything = list(revision.plan())
    kept = {trial.id for trial in everything}
    removed = [trial for trial in before_this if trial.id not in kept]
    registered = Registered(revision, fresh, plan, removed if fresh else [], cluster=chosen)
    if revision.family is not None:
        searching.go_on(revision)
    if chosen != of_sweep(sweep):
        chosen.save(sweep)
    note_launch(sweep, workers)
    if fresh or not canary:
        new = {trial.id for trial, action in plan.trials if action == "new"}
        first = canaries.wanted([trial for trial in planned if trial.id in new]) if canary else []
        choose_canaries(sweep, [trial.id for trial in first])
    registered.canaries = len(canaries_of(sweep))
    writer = f"launch-{revision.number}"
    if fresh:
        event(sweep, writer, "registered", revision=revision.number, trials=len(cells))
    if prune:
        wanted = _wanted_elsewhere(workspace, sweep)
        pruned = [trial.id for trial in registered.removed if trial.id not in wanted]
        for id_of in pruned:
            drop(workspace.trial(id_of), "prune")
        event(sweep, writer, "pruned", trials=pruned)
    if stale == "rerun":
        for trial in stale_trials:
            set_aside(workspace.trial(trial.id))
        event(sweep, writer, "rerun", trials=[trial.id for trial in stale_trials])
    for trial in everything:
        folder = workspace.trial(trial.id)
        wish = asked(folder)
        if wish.stop == "pause":
            registered.paused.append(wish.why or "paused")
        # what a search has stopped stays stopped
        elif wish.stop in (("cancel", "prune") if plan.search is None else ("cancel",)) and not _is_done(folder, trial):
            drop(folder, "retry")
            registered.revived += 1
    return workspace, registered


def _is_done(folder: Trial, planned: PlannedTrial) -> bool:
    """Whether a trial has its result and all its scores."""
    keys = (trial_key(planned, entry) for entry in planned.evaluate)
    return (folder.result / MANIFEST).exists() and all(folder.scoring(key).summary.exists() for key in keys)


def _wanted_elsewhere(workspace: Workspace, sweep: Sweep) -> set[str]:
    """Trials that the newest revision of another sweep asks for."""
    others = [newest(other) for other in workspace.sweeps() if other.id != sweep.id]
    return {trial.id for revision in others if revision is not None for trial in revision.plan()}


def digest(definition: SweepDefinition) -> str:
    """What tells one revision from another: the definition, and the user's own component files."""
    parts = [definition.digest(), *(fingerprints.tree_digest(file) for file in definition.code)]
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]


def reported(definition: SweepDefinition, planned: Sequence[PlannedTrial]) -> list[dict[str, Any]]:
    """What papers printed, resolved to the coordinates of the study's own cells, a row per source."""
    rows: list[dict[str, Any]] = []
    cells = {cell_name(trial.cell): trial for trial in planned}
    found = reported_for(definition, cells.values())
    named: list[tuple[Mapping[str, Any], Mapping[str, Any]]] = [
        ({"cell": dict(trial.cell)}, found[trial.id]) for trial in cells.values() if trial.id in found
    ]
    named += reported_others(definition)
    for subject, metrics in named:
        for source in dict.fromkeys(value["source"] for value in metrics.values()):
            values = {name: value for name, value in metrics.items() if value["source"] == source}
            rows.append({**subject, "source": source, "values": values})
    return rows


def set_aside(trial: Trial) -> None:
    """Move a stale result, its scores and resume states into the folder of its last attempt, so that the trial runs anew."""
    attempts = trial.attempts()
    place = attempts[-1].folder / "superseded"
    place.mkdir(exist_ok=True)
    for part in (trial.result, trial.folder / "scores"):
        if part.exists():
            part.rename(place / part.name)
    for attempt in attempts:
        if attempt.checkpoints.exists():
            attempt.checkpoints.rename(place / f"checkpoints-{attempt.number}")
    drop(trial, "retry")
