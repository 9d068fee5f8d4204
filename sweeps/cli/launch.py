"""``launch``, ``watch`` and ``run``: set a sweep going, look at it, or train one cell right here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from core.control.decide import SweepState
from core.definition.plan import cell_name
from core.errors import EnvironmentFault
from core.workspace import nights
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, resolve
from slurm.profile import of_sweep
from sweeps.cli.common import (
    ClusterOption,
    OverridesArgument,
    RealDataOption,
    RehearseOption,
    SweepArgument,
    WorkersOption,
    WorkspaceOption,
    hint,
    open_workspace,
    say,
)
from sweeps.cli.define import DefinitionArgument
from sweeps.wiring import workspace_root

if TYPE_CHECKING:
    from sweeps.launching import Registered


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(launch)
    app.command()(watch)
    app.command()(run)


def launch(
    definition: DefinitionArgument,
    overrides: OverridesArgument = None,
    rehearse: RehearseOption = False,
    real_data: RealDataOption = None,
    cluster: ClusterOption = None,
    workers: WorkersOption = None,
    detach: Annotated[bool, typer.Option("--detach", help="Start the workers and return; says who drives the sweep from then on.")] = False,
    stale: Annotated[Literal["keep", "rerun", "fail"], typer.Option("--stale", help="What to do with results of other code.")] = "keep",
    prune: Annotated[bool, typer.Option("--prune", help="Stop trials that the edited definition no longer has.")] = False,
    no_canary: Annotated[bool, typer.Option("--no-canary", help="Do not let a few trials of a large sweep go first.")] = False,
    workspace: WorkspaceOption = None,
) -> int:
    """Register a definition, train every trial that has no result, and print the table."""
    from sweeps import launching, planning

    loaded = planning.read(definition, overrides or [], rehearse, real_data)
    for line in loaded.notices:
        hint(line)
    place, registered = launching.prepare(
        loaded, workspace_root(workspace), source=str(definition), overrides=overrides or [], stale=stale, prune=prune,
        cluster=cluster, canary=not no_canary, workers=workers,
    )  # fmt: skip
    for line in loaded.warnings:  # complete once every cell has been seen
        hint(f"warning: {line}")
    _introduce(registered, prune)
    for line in planning.real_rows(loaded, [planned for planned, _ in registered.plan.trials]):
        say(line)
    for grid in nights.of_sweep(place, registered.revision.sweep.id):
        say(f"workers start in the nights of {grid.name} only: {grid.window} {grid.zone}, {grid.days}")
    if detach:
        return _detach(place, registered.revision, workers)
    return _drive(place, registered.revision, workers)


def _introduce(registered: Registered, prune: bool) -> None:
    from sweeps import rules

    revision, counts = registered.revision, registered.plan.counts
    say(f"sweep {revision.sweep.id}, revision {revision.number}" + ("" if registered.fresh else " (unchanged)"))
    if revision.rehearsal:
        say("REHEARSAL: tiny random models, generated images and benchmarks; no number here is a result")
    parts = [f"{counts['cells']} cells", f"{counts['trials']} trials"]
    parts += [f"{counts[name]} {name}" for name in ("new", "reused", "stale", "blocked", "excluded", "merged") if counts[name]]
    stages = [planned.stage for planned, _ in registered.plan.trials if planned.stage is not None]
    say(", ".join(parts) + (f"; before them {', '.join(stages)}" if stages else ""))
    if registered.plan.search is not None:
        from sweeps.search_words import plan_lines

        for line in plan_lines(registered.plan.definition, registered.plan.search):
            say(line)
    if (rule := rules.rule_of(registered.plan.definition)) is not None:
        say(rules.plan_line(rule, counts["cells"], len(registered.plan.gained)))
    if registered.cluster.profile.kind == "slurm":
        say(f"on cluster {registered.cluster.name}, at most {registered.cluster.profile.limits.workers} workers")
    if counts["reused"]:
        say(f"{counts['reused']} reused: their results stand in this workspace and are of the same code")
    if counts["stale"]:
        say(f"{counts['stale']} stale: their results are of other code; kept and marked (--stale rerun trains them again)")
    if registered.canaries:
        say(f"{registered.canaries} go first, as canaries: together they have every shape and every value that may fail by itself")
    if registered.revived:
        say(f"{registered.revived} had been cancelled and are taken up again")
    for why, count in Counter(registered.paused).items():
        say(f"{count} stay paused ({why}): sweep resume {revision.sweep.id}")
    for trial in registered.removed:
        verdict = "pruned, unless another sweep asks for it" if prune else "left alone (--prune stops it)"
        say(f"no longer in the definition: {trial.id[:10]} {cell_name(trial.cell)}, seed {trial.seed}: {verdict}")


def _detach(place: Workspace, revision: Revision, workers: int | None) -> int:
    from core.control.tick import tick
    from slurm import driving
    from sweeps import wiring

    cluster = of_sweep(revision.sweep)
    if not nights.of_sweep(place, revision.sweep.id):  # else a timer makes the passes
        shapes = {shape for planned in revision.planned() for shape in (planned.shape, planned.score_shape)}
        why = driving.obstacle(cluster, shapes)
        if why is not None:
            raise EnvironmentFault(
                f"nobody would drive {revision.sweep.id}: workers of {cluster.name} cannot send the next ones", found=why,
                allowed="a launch that watches, here or in tmux; or `sweep tick` every few minutes from cron",
                next=f"launch it again without --detach; sweep doctor --cluster {cluster.name} tries it on a node",
            )  # fmt: skip
    result = tick(wiring.reader(place, revision), wiring.submitter(place, revision.sweep, workers), workers)
    if result.stopped is not None:
        raise EnvironmentFault("no worker starts", found=result.stopped.reason, place=place.jobs / result.stopped.job, next="sweep doctor")
    alive = len(result.submitted) + sum(1 for job, answer in result.state.jobs if answer.alive and job.left is None)
    if not alive and result.closed is not None:
        say(f"registered: {result.closed}")
        return 0
    if not alive and result.trouble is not None:
        raise EnvironmentFault(
            "registered, but no worker could be started", found=result.trouble, next=f"sweep tick {revision.sweep.id} tries again"
        )
    if not alive:
        say("nothing to do: " + ", ".join(f"{count} {state}" for state, count in result.state.counts().items()))
        return 0
    say(f"detached: {alive} workers drive it to its end: they look after each other, and the last of them sends the next")
    if cluster.profile.kind == "slurm" and driving.remembered(cluster) is None:
        say(f"whether nodes of {cluster.name} may submit has not been tried: sweep doctor --cluster {cluster.name}")
    say(f"next: sweep status {revision.sweep.id}, sweep watch {revision.sweep.id}; sweep cancel {revision.sweep.id} stops it")
    return 0


def _drive(place: Workspace, revision: Revision, workers: int | None, *, only_watch: bool = False) -> int:
    from sweeps import wiring
    from sweeps.progress import Show
    from sweeps.watching import Mirror, drive

    reader = wiring.reader(place, revision)
    project, rehearsal = revision.meta["project"], revision.rehearsal
    mirror = Mirror(place, reader, lambda: wiring.tracker(place, project, rehearsal))
    mirror.start()
    name = revision.sweep.id
    try:
        submitter = None if only_watch else wiring.submitter(place, revision.sweep, workers)
        with Show(reader, mirror, submitter) as show:
            outcome = drive(reader, submitter, workers, mirror=mirror, show=show)
        mirror.finish()
    except KeyboardInterrupt:
        say(f"detached from {name}: its workers go on. `sweep watch {name}` looks again, `sweep cancel {name}` stops it")
        return 0
    if outcome.stopped is not None:
        raise EnvironmentFault(
            "no worker starts", found=outcome.stopped.reason, place=place.jobs / outcome.stopped.job / "submitit", next="sweep doctor"
        )
    if mirror.trouble:
        hint(f"MLflow: {mirror.trouble}; the next launch, watch or tick sends what is missing")
    from sweeps.cli.answer import print_report

    print_report(place, revision)
    return _exit_code(outcome.state)


def _exit_code(state: SweepState) -> int:
    bad = [t for t in state.trials if t.train.state == "failed"]
    unscored = [t for t in state.trials for s in t.scorings.values() if s.state == "failed"]
    for trial in bad:
        hint(f"failed: {trial.planned.id[:10]} {trial.train.cause}: {trial.train.reason}; sweep explain {trial.planned.id[:10]}")
    for trial in unscored:
        hint(f"scoring failed: {trial.planned.id[:10]}; sweep explain {trial.planned.id[:10]}")
    blocked = [t for t in state.trials if t.train.state == "blocked"]
    for why, count in Counter(t.train.reason for t in blocked).items():
        hint(f"blocked: {count} trials: {why}")
    held = [t for t in state.trials if t.train.state == "held"]
    for why, count in Counter(t.train.reason for t in held).items():
        hint(f"held: {count} trials ({why}); sweep resume takes them up again")
    return 1 if bad or unscored else 0


def watch(sweep: SweepArgument, workspace: WorkspaceOption = None) -> int:
    """Look at a sweep live, to its end; starts nothing. Ctrl-C leaves it alone."""
    place = open_workspace(workspace)
    return _drive(place, resolve(place, sweep), None, only_watch=True)


def run(
    definition: DefinitionArgument,
    overrides: OverridesArgument = None,
    rehearse: RehearseOption = False,
    real_data: RealDataOption = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Train so many steps in a scratch folder; keeps nothing.")] = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Open the debugger where an exception is raised.")] = False,
    workspace: WorkspaceOption = None,
) -> int:
    """Train one cell here and now: this process, no fork, no retry, live output."""
    from sweeps.running import run_here

    return run_here(definition, overrides or [], rehearse, workspace_root(workspace), steps=steps, pdb=pdb, real_data=real_data)
