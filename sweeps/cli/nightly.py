"""``nightly``: grids that run at night, within a window and a budget."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo

import typer

from core.control.tick import SweepReader, TickResult
from core.definition.scalars import parse_duration
from core.errors import UsageError
from core.workspace import nights
from core.workspace.layout import Workspace
from core.workspace.registration import Revision
from core.workspace.requests import user
from sweeps.cli.common import (
    ClusterOption,
    JsonOption,
    OverridesArgument,
    RehearseOption,
    WorkspaceOption,
    hint,
    open_workspace,
    print_json,
    say,
    table,
)
from sweeps.cli.define import DefinitionArgument
from sweeps.wiring import workspace_root

if TYPE_CHECKING:
    from slurm.profile import Cluster

GridArgument = Annotated[str, typer.Argument(metavar="GRID", help="The name of a nightly grid.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(no_args_is_help=True, help="Grids that run at night, within a window and a budget.", rich_markup_mode=None)
    group.command()(add)
    group.command(name="list")(list_grids)
    group.command()(history)
    group.command()(pause)
    group.command()(resume)
    group.command()(remove)
    group.command(name="run-now")(run_now)
    group.command()(tick)
    group.command()(serve)
    group.command()(timer)
    app.add_typer(group, name="nightly")


def add(
    definition: DefinitionArgument,
    overrides: OverridesArgument = None,
    window: Annotated[str, typer.Option("--window", metavar="HH:MM-HH:MM", help="When its nights begin and end.")] = "20:00-07:00",
    days: Annotated[str, typer.Option("--days", metavar="DAYS", help="On which they begin: mon-fri, sat,sun, daily.")] = "daily",
    zone: Annotated[
        str | None, typer.Option("--zone", metavar="ZONE", help="Time zone of the window.  [default: this host's]", show_default=False)
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="NUMBERgpuh", help="GPU-hours of a night.  [default: no limit]", show_default=False)
    ] = None,
    account: Annotated[
        str | None, typer.Option("--account", metavar="NAME", help="SLURM account.  [default: the profile's]", show_default=False)
    ] = None,
    cluster: ClusterOption = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="GRID", help="Name of the grid.  [default: the sweep's id]", show_default=False)
    ] = None,
    nice: Annotated[int, typer.Option("--nice", min=1, help="How far its jobs stand behind other jobs.")] = 100,
    stagger: Annotated[
        str | None,
        typer.Option(
            "--stagger", metavar="TIME", help="Spread the last saves of a night over so long.  [default: 5s a trial, at most 10min]",
            show_default=False,
        ),
    ] = None,
    rehearse: RehearseOption = False,
    workspace: WorkspaceOption = None,
) -> int:  # fmt: skip
    """Register a definition as `launch` does, to run at night only; starts nothing."""
    from sweeps import launching, nightly, planning

    limit = nightly.parse_budget(budget) if budget is not None else None
    seconds = _duration(stagger) if stagger is not None else None
    where = zone or nightly.zone_here()
    nightly.check(window, days, where)
    loaded = planning.read(definition, overrides or [], rehearse)
    for line in loaded.notices:
        hint(line)
    place, registered = launching.prepare(
        loaded, workspace_root(workspace), source=str(definition), overrides=overrides or [], stale="keep", prune=False, cluster=cluster
    )
    sweep = registered.revision.sweep.id
    grid = nights.Grid(name or sweep, sweep, window, days, where, limit, account, nice, seconds, created=round(time.time(), 3), by=user())
    nights.add(place, grid)
    coming = nightly.about(place, grid, time.time())["next"]
    say(f"nightly grid {grid.name}: sweep {sweep}, {registered.plan.counts['trials']} trials, on {registered.cluster.name}")
    say(
        f"opens {_when(coming['opens'], where)}, closes {_when(coming['closes'], where)}"
        + (f", at most {limit:g} GPU-hours" if limit else "")
    )
    say("next: `sweep nightly timer systemd` (or cron, scrontab, keeper) prints what makes its passes; or `sweep nightly serve`")
    return 0


def list_grids(workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """List the nightly grids of the workspace."""
    from sweeps import nightly

    place = open_workspace(workspace)
    rows = [nightly.about(place, grid, time.time()) for grid in nights.grids(place)]
    if json:
        print_json(rows)
        return 0
    if not rows:
        say("no nightly grid; sweep nightly add DEF makes one")
        return 0
    table(
        ["grid", "sweep", "cluster", "window", "days", "budget", "state", "next"],
        [
            [
                row["name"], row["sweep"], row["cluster"], f"{row['window']} {row['zone']}", row["days"], _hours(row["budget_gpu_hours"]),
                "paused" if row["paused"] else f"open until {_when(row['open']['closes'], row['zone'])}" if row["open"] else "closed",
                _when(row["next"]["opens"], row["zone"]),
            ]
            for row in rows
        ],
    )  # fmt: skip
    return 0


def history(grid: GridArgument, workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Show what each night of a grid did, also those that were missed."""
    from sweeps import nightly

    place = open_workspace(workspace)
    found = nights.named(place, grid)
    rows = list(nightly.history(place, found))
    if json:
        print_json(rows)
        return 0
    table(
        ["night", "state", "from", "until", "workers", "GPU-hours", "budget", "completed", "attempts"],
        [
            [
                row["night"], row["state"], _when(row["opens"], found.zone), _when(row["closes"], found.zone), row["workers"],
                f"{row['gpu_hours']:.2f}", _hours(row["budget_gpu_hours"]), row["completed"],
                row["why"] or ", ".join(f"{number} {state}" for state, number in sorted(row["attempts"].items())),
            ]
            for row in rows
        ],
    )  # fmt: skip
    return 0


def pause(grid: GridArgument, workspace: WorkspaceOption = None) -> int:
    """Let a grid's workers take up nothing further, tonight and in the nights to come."""
    place = open_workspace(workspace)
    nights.pause(place, nights.named(place, grid))
    say(f"{grid} is paused: trials that are running go on to their end, or to the night's; sweep nightly resume {grid}")
    return 0


def resume(grid: GridArgument, workspace: WorkspaceOption = None) -> int:
    """Let a paused grid go on, tonight where its night is open."""
    place = open_workspace(workspace)
    nights.resume(place, nights.named(place, grid))
    say(f"{grid} goes on")
    return 0


def remove(grid: GridArgument, workspace: WorkspaceOption = None) -> int:
    """Remove a grid; its history is set aside, its sweep and results stay, and `launch` may run the sweep at any time again."""
    place = open_workspace(workspace)
    where = nights.remove(place, nights.named(place, grid))
    say(f"{grid} is removed (its history: {where}); its workers leave after the trial that they are at")
    return 0


def run_now(
    grid: GridArgument,
    length: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="How long.  [default: as long as its window]", show_default=False)
    ] = None,
    workspace: WorkspaceOption = None,
) -> int:
    """Open a night by hand, now, with a budget of its own, and start its workers."""
    from sweeps import nightly

    seconds = _duration(length) if length is not None else None
    place = open_workspace(workspace)
    found = nights.named(place, grid)
    night = nightly.run_now(place, found, seconds)
    say(f"night {night.id} is open until {_when(night.closes, found.zone)}")
    return _say_passed([row for row in nightly.one_pass(place) if row.sweep == found.sweep])


def tick(workspace: WorkspaceOption = None, json: JsonOption = False) -> int:
    """Make one pass over all grids: open nights that are due, start workers, write down nights that are over. Timers call it."""
    from sweeps import nightly

    place = open_workspace(workspace)
    rows = nightly.one_pass(place, also=_mirrors(place))
    if json:
        print_json([vars(row) for row in rows])
        return 0
    return _say_passed(rows)


def serve(
    every: Annotated[str, typer.Option("--every", metavar="TIME", help="Time between two passes.")] = "1min",
    workspace: WorkspaceOption = None,
) -> int:
    """Make passes until Ctrl-C; two of them, or one beside a timer, do no harm."""
    from sweeps import nightly

    seconds = _duration(every)
    place = open_workspace(workspace)
    said = ""
    say(f"serving the nightly grids of {place.root}; Ctrl-C leaves, and workers go on to the end of their night")
    try:
        while True:
            rows = nightly.one_pass(place, also=_mirrors(place))
            now = "; ".join(f"{row.sweep}: {row.trouble or row.closed or 'open'}" for row in rows) or "there is no grid"
            if now != said or any(row.submitted for row in rows):
                said = now
                _say_passed(rows)
            time.sleep(seconds)
    except KeyboardInterrupt:
        return 0


def timer(
    kind: Annotated[Literal["systemd", "cron", "scrontab", "keeper"], typer.Argument(help="What the site has.")],
    cluster: ClusterOption = None,
    workspace: WorkspaceOption = None,
) -> int:
    """Print what makes the passes: a systemd timer, lines for cron or scrontab, or a batch script (`| sbatch`) that serves them."""
    from slurm import timers
    from slurm.profile import find
    from sweeps import nightly

    place = open_workspace(workspace)
    environment, left_out = nightly.handed_on(os.environ)
    command = str(Path(sys.executable).parent / "sweep")
    if kind == "systemd":
        text = timers.systemd(command, place.root, environment)
    elif kind == "cron":
        text = timers.cron(command, place.root, environment)
    else:
        chosen = find(cluster) if cluster is not None else _only_cluster(place)
        if chosen.profile.kind != "slurm":
            raise UsageError(f"{kind} runs in SLURM", found=f"cluster {chosen.name}", next="add --cluster NAME")
        if kind == "scrontab":
            text = timers.scrontab(command, place.root, environment, chosen.profile)
        else:
            text = timers.keeper(command, place.root, environment, chosen.profile)
    sys.stdout.write(text)
    if left_out:
        hint(f"left out, because it may be secret or takes several lines: {', '.join(left_out)}; its passes and their workers do without")
    return 0


def _only_cluster(place: Workspace) -> Cluster:
    from slurm.profile import of_sweep

    found = {of_sweep(place.sweep(grid.sweep)).name: of_sweep(place.sweep(grid.sweep)) for grid in nights.grids(place)}
    if len(found) != 1:
        raise UsageError("which cluster?", allowed=sorted(found) or "no grid runs yet", next="add --cluster NAME")
    return next(iter(found.values()))


def _mirrors(place: Workspace) -> Any:
    """What brings the index and MLflow up to date after each sweep's pass."""
    from sweeps.cli.act import mirror

    def also(revision: Revision, reader: SweepReader, result: TickResult) -> str | None:
        return mirror(place, revision, reader, result.state)

    return also


def _say_passed(rows: list[Any]) -> int:
    for row in rows:
        counts = ", ".join(f"{number} {state}" for state, number in row.counts.items())
        parts = [counts, f"started {len(row.submitted)} workers" if row.submitted else "", row.closed or ""]
        if row.sweep:  # of a grid that cannot be read, it is not known
            say(f"{row.sweep}: " + "; ".join(part for part in parts if part))
        if row.trouble:
            hint(f"{row.sweep or row.grids[0]}: {row.trouble}")
    return 0


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError("not a duration", found=text, allowed=str(error)) from None


def _when(seconds: float, zone: str) -> str:
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%a %Y-%m-%d %H:%M}"


def _hours(value: float | None) -> str:
    return "" if value is None else f"{value:g} h"
