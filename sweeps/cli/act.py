"""``cancel``, ``pause``, ``resume``, ``retry``, ``tick`` and ``index``: what changes a sweep after its launch."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from core.control.decide import SweepState, TrialStatus
from core.control.tick import SweepReader
from core.control.tick import tick as one_pass
from core.definition.plan import cell_name
from core.errors import CAUSES, EnvironmentFault, SweepError, UsageError, nearest
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import Revision, event, newest, resolve
from core.workspace.requests import Asked, Request, asked, drop
from slurm.profile import of_sweep
from sweeps.cli.common import ClusterOption, JsonOption, WorkspaceOption, find_trial, hint, open_workspace, print_json, say
from sweeps.searching import go_on, grows, stop_asking
from sweeps.selecting import in_cells, is_forgivable, is_open, units, words

TargetArgument = Annotated[
    str, typer.Argument(metavar="SWEEP|TRIAL", help="A sweep, or the first digits of a trial's id.", show_default=False)
]
CellOption = Annotated[list[str] | None, typer.Option("--cell", metavar="PATH=VALUE", help="Only cells that match.", show_default=False)]
CauseOption = Annotated[str | None, typer.Option("--cause", help="Only trials whose last failure has this cause.", show_default=False)]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(cancel)
    app.command()(pause)
    app.command()(resume)
    app.command()(retry)
    app.command()(tick)
    group = typer.Typer(no_args_is_help=True, help="The index: a cache that answers questions quickly.", rich_markup_mode=None)
    group.command(name="rebuild")(rebuild)
    group.command(name="show")(show_index)
    app.add_typer(group, name="index")


def _target(workspace: Workspace, name: str) -> tuple[Revision | None, list[Trial]]:
    """A sweep's trials, or one trial."""
    try:
        revision = resolve(workspace, name)
    except UsageError as no_sweep:
        try:
            return None, [find_trial(workspace, name)[0]]
        except UsageError as no_trial:
            raise (no_trial if all(c in "0123456789abcdef" for c in name.lower()) else no_sweep) from None
    return revision, [workspace.trial(planned.id) for planned in revision.plan()]


def _statuses(workspace: Workspace, revision: Revision | None, trials: list[Trial]) -> dict[str, TrialStatus]:
    from sweeps import wiring

    wanted = {trial.id for trial in trials}
    found: dict[str, TrialStatus] = {}
    sweeps = [revision] if revision is not None else [r for r in (newest(s) for s in workspace.sweeps()) if r is not None]
    for one in sweeps:
        state: SweepState = wiring.reader(workspace, one).state()
        found.update({t.planned.id: t for t in state.trials if t.planned.id in wanted})
    return found


def _confirm(verb: str, touched: list[TrialStatus], yes: bool) -> None:
    say(f"{verb}: {len(touched)} trials")
    for trial in touched[:20]:
        say(f"  {trial.planned.id[:10]}  {cell_name(trial.planned.cell)}, seed {trial.planned.seed}  ({words(trial)})")
    if len(touched) > 20:
        say(f"  ... and {len(touched) - 20} more")
    if not yes and sys.stdin.isatty() and not typer.confirm("go on?", default=True):
        raise UsageError(
            "nothing was done", found="no", allowed="yes, or --yes without the question", next=f"the same `sweep {verb}` again"
        )


def cancel(
    target: TargetArgument,
    cell: CellOption = None,
    cause: CauseOption = None,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Stop a sweep or a trial: running trials save a checkpoint and leave, pending ones (and scorings) are not started."""
    touched = _ask("cancel", target, cell, cause, yes, workspace, json, lambda place, t: is_open(t, cause))
    if touched and not json:
        say(f"asked; running ones leave after their step. `sweep retry {target}` or a new launch takes them up again")
    return 0


def pause(
    target: TargetArgument,
    cell: CellOption = None,
    cause: CauseOption = None,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Hold trials: running ones save a checkpoint and leave, pending ones (and scorings) are not started, until `sweep resume`."""
    touched = _ask("pause", target, cell, cause, yes, workspace, json, lambda place, t: is_open(t, cause) and _wish(place, t).stop is None)
    if touched and not json:
        say(f"asked; running ones save and leave after their step. `sweep resume {target}` takes them up again")
    return 0


def resume(
    target: TargetArgument,
    cell: CellOption = None,
    cause: CauseOption = None,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Lift a pause; the next launch or tick goes on."""

    def paused(place: Workspace, trial: TrialStatus) -> bool:
        return _wish(place, trial).stop == "pause" and (cause is None or any(unit.cause == cause for unit in units(trial)))

    touched = _ask("resume", target, cell, cause, yes, workspace, json, paused)
    if touched and not json:
        say("they go on from their checkpoints; next: sweep launch DEF, or sweep tick SWEEP")
    return 0


DONE: dict[Request, str] = {"cancel": "cancelled", "pause": "paused", "resume": "resumed"}


def _ask(
    kind: Request,
    target: str,
    cell: list[str] | None,
    cause: str | None,
    yes: bool,
    workspace: Path | None,
    json: bool,
    chosen: Callable[[Workspace, TrialStatus], bool],
) -> list[TrialStatus]:
    """Drop a request into every trial that is meant; returns those."""
    _check_cause(cause)
    place = open_workspace(workspace)
    revision, trials = _target(place, target)
    found = _statuses(place, revision, trials)
    touched = [t for t in in_cells(list(found.values()), cell or []) if chosen(place, t)]
    if not json:
        _confirm(kind, touched, yes)
    if revision is not None and grows(revision) and not cell and cause is None:
        go_on(revision) if kind == "resume" else stop_asking(revision)
    for trial in touched:
        drop(place.trial(trial.planned.id), kind)
    if revision is not None and touched:
        event(revision.sweep, kind, DONE[kind], trials=[t.planned.id for t in touched])
    if json:
        print_json({DONE[kind]: [t.planned.id for t in touched]})
    return touched


def _wish(place: Workspace, trial: TrialStatus) -> Asked:
    return asked(place.trial(trial.planned.id))


def _check_cause(cause: str | None) -> None:
    if cause is not None and cause not in CAUSES:
        raise UsageError("no such cause", found=cause, allowed=CAUSES, nearest=nearest(cause, CAUSES))


def retry(
    target: TargetArgument,
    cause: CauseOption = None,
    cell: CellOption = None,
    force: Annotated[bool, typer.Option("--force", help="Declare attempts of unknown state dead.")] = False,
    yes: YesOption = False,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Forgive failed, cancelled or pruned trials (and scorings), so that the next launch or tick takes them up again."""
    _check_cause(cause)
    place = open_workspace(workspace)
    revision, trials = _target(place, target)
    found = _statuses(place, revision, trials)
    touched = [t for t in in_cells(list(found.values()), cell or []) if is_forgivable(t, _wish(place, t), cause, force=force)]
    if not json:
        _confirm("retry", touched, yes)
    for trial in touched:
        drop(place.trial(trial.planned.id), "force" if force else "retry")
    if json:
        print_json({"retried": [t.planned.id for t in touched]})
    elif touched:
        say("they are pending again; next: sweep launch DEF, or sweep tick SWEEP")
    return 0


def tick(
    sweep: Annotated[str | None, typer.Argument(metavar="[SWEEP]", help="Only this sweep.  [default: all]", show_default=False)] = None,
    files_only: Annotated[bool, typer.Option("--files-only", help="Leave the index and MLflow to the host that owns them.")] = False,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Workers at once.", show_default=False)] = None,
    cluster: ClusterOption = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Make one pass by hand: read journals and scheduler, decide, act."""
    from sweeps import wiring

    place = open_workspace(workspace)

    def passed(revision: Revision) -> dict[str, Any]:
        reader = wiring.reader(place, revision)
        where = wiring.cluster(cluster, revision.sweep)
        if where != of_sweep(revision.sweep):
            where.save(revision.sweep)
        result = one_pass(reader, wiring.submitter(place, revision.sweep, workers, where), workers)
        if result.stopped is not None:
            raise EnvironmentFault(
                "no worker starts", found=result.stopped.reason, place=place.jobs / result.stopped.job, next="sweep doctor"
            )
        trouble = None if files_only else mirror(place, revision, reader, result.state)
        found = {"counts": result.state.counts(), "submitted": result.submitted, "closed": result.closed, "trouble": result.trouble}
        return {"sweep": revision.sweep.id, **found, "tracker": trouble, "error": None}

    rows, code = [], 0
    for one in place.sweeps() if sweep is None else [resolve(place, sweep).sweep]:
        try:
            revision = newest(one)
            if revision is None:
                continue
            rows.append(passed(revision))
        except SweepError as error:
            if sweep is not None:
                raise
            # what goes wrong with one sweep keeps no other from its pass
            code = max(code, error.exit_code)
            nothing: dict[str, Any] = {"counts": {}, "submitted": [], "closed": None, "trouble": None, "tracker": None}
            rows.append({"sweep": one.id, **nothing, "error": "\n".join(error.lines())})
        if not json:
            _say_passed(rows[-1])
    if json:
        print_json(rows)
    return code


def _say_passed(row: dict[str, Any]) -> None:
    if row["error"] is not None:
        hint(f"error: {row['sweep']}: {row['error']}")
        return
    text = ", ".join(f"{n} {state}" for state, n in row["counts"].items())
    say(f"{row['sweep']}: {text}" + (f"; started {len(row['submitted'])} workers" if row["submitted"] else ""))
    for why in (row["closed"], row["trouble"]):
        if why is not None:
            say(f"  {why}")
    if row["tracker"]:
        say(f"  MLflow: {row['tracker']}")


def mirror(place: Workspace, revision: Revision, reader: SweepReader, state: SweepState) -> str | None:
    """Bring the index and MLflow up to the files; returns the tracker's trouble."""
    from core.store import Index
    from sweeps import wiring
    from sweeps.watching import mirror_once

    index = Index.open(place)
    mirror_once(place, reader, state, index)
    index.close()
    tracker = wiring.tracker(place, revision.meta["project"], revision.rehearsal)
    report = tracker.sync(place, revision.sweep.id, reader.cells)
    tracker.close()
    return report.trouble


def rebuild(workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Make the index anew from the files."""
    from core.store import Index
    from sweeps import wiring

    place = open_workspace(workspace)
    index = Index.open(place)
    index.rebuild(place)
    for sweep in place.sweeps():
        revision = newest(sweep)
        if revision is not None:
            from sweeps.watching import state_rows

            index.record_states(state_rows(wiring.reader(place, revision).state()))
    counts = index.counts()
    index.close()
    if json:
        print_json(counts)
    else:
        say("rebuilt: " + ", ".join(f"{number} {name}" for name, number in counts.items()))
    return 0


def show_index(workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Say where the index lies and what it holds."""
    from core.store import Index

    index = Index.open(open_workspace(workspace))
    url, counts = index.url, index.counts()
    index.close()
    if json:
        print_json({"url": url, "counts": counts})
    else:
        say(url)
        say(", ".join(f"{number} {name}" for name, number in counts.items()))
    return 0
