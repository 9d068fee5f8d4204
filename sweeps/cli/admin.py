"""``admin``: for whoever looks after a cluster that others run sweeps on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from core.definition.scalars import parse_duration
from core.errors import EnvironmentFault, UsageError, nearest
from core.workspace import holds
from core.workspace.layout import Workspace
from sweeps.cli.common import JsonOption, print_json, say, table
from sweeps.wiring import workspace_root

SiteOption = Annotated[str, typer.Option("--cluster", metavar="NAME", help="The cluster whose profile names the shared folder.")]
UserOption = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Only this user's sweeps.", show_default=False)]
WorkspacesOption = Annotated[
    list[Path] | None, typer.Option("--workspace", "-w", help="Folder of a workspace; may be given several times.", show_default=False)
]
SinceOption = Annotated[str, typer.Option("--since", metavar="TIME", help="How far back.")]
HoldsOption = Annotated[
    str | None, typer.Option("--cluster", metavar="NAME", help="Also show the HOLDs in its shared folder.", show_default=False)
]
WEEK = "7d"
AccountOption = Annotated[str | None, typer.Option("--account", metavar="NAME", help="Only sweeps under this account.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    group = typer.Typer(
        invoke_without_command=True,
        callback=_plain,
        help="For whoever looks after a cluster; alone it shows `usage`.",
        rich_markup_mode=None,
    )
    group.command()(usage)
    group.command()(stop)
    group.command()(resume)
    app.add_typer(group, name="admin")


def _plain(
    ctx: typer.Context,
    workspace: WorkspacesOption = None,
    since: SinceOption = WEEK,
    cluster: HoldsOption = None,
    json: JsonOption = False,
) -> int:
    """For whoever looks after a cluster; alone it shows `usage`."""
    return usage(workspace, since, cluster, json) if ctx.invoked_subcommand is None else 0


def usage(workspace: WorkspacesOption = None, since: SinceOption = WEEK, cluster: HoldsOption = None, json: JsonOption = False) -> int:
    """Show who runs what, GPU-hours, waste by cause, preemptions, calls and budgets: of readable workspaces, and of all by accounting."""
    from slurm.shared import counted
    from sweeps import admin

    try:
        seconds = parse_duration(since)
    except ValueError as error:
        raise UsageError("not a duration", found=since, allowed=str(error), next="sweep admin usage --since 7d") from None
    now = time.time()
    roots = workspace or [workspace_root(None)]
    places = [Workspace.open(root) for root in roots if workspace or (root / "FORMAT").exists()]
    own = admin.of_workspaces(places, now - seconds, now, counted)
    accounted = admin.of_accounting(counted, f"now-{round(seconds)}seconds")
    budgets = admin.budgets(places, now)
    calls = admin.calls(counted, {use.user for use in [*own, *(accounted or [])]})
    held = [{"file": str(file), "says": says} for file, says in (holds.standing(_folder(cluster)) if cluster is not None else ())]
    uses = [*own, *(accounted or [])]
    if json:
        print_json(
            {
                "since": now - seconds, "uses": [use.as_json() for use in uses], "accounting": accounted is not None,
                **{f"by_{one}": admin.total(accounted or own, one) for one in admin.BY},
                "calls": calls, "budgets": budgets, "holds": held,
            }
        )  # fmt: skip
        return 0
    table(
        ["user", "account", "sweep", "seen in", "jobs", "running", "GPU-hours", "preempted", "failed GPU-hours"],
        [
            [
                use.user, use.account, use.sweep, use.source, use.jobs, use.running, f"{use.gpu_hours:.2f}", use.preempted,
                ", ".join(f"{cause} {hours:.2f}" for cause, hours in sorted(use.wasted.items())),
            ]
            for use in uses
        ],
    )  # fmt: skip
    for one in admin.BY:
        hours = admin.total(accounted or own, one)
        if len(hours) > 1:
            say(f"GPU-hours by {one}: " + ", ".join(f"{name or 'none'} {value:.2f}" for name, value in hours.items()))
    if accounted is None:
        say("accounting does not answer: only workspaces are shown")
    if calls:
        say("calls to the controller: " + ", ".join(f"{name} {count}" for name, count in sorted(calls.items())))
    for row in budgets:
        bound = f" of {row['budget_gpu_hours']:g}" if row["budget_gpu_hours"] else ""
        say(
            f"night {row['grid']}/{row['night']}: {row['used_gpu_hours']:.2f}{bound} GPU-hours"
            if row["night"]
            else f"{row['grid']}: no night yet"
        )
    for line in held:
        say(f"{line['file']} {line['says']}")
    return 0


def stop(
    cluster: SiteOption,
    user: UserOption = None,
    account: AccountOption = None,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="A word to those who look for the reason.")] = "",
) -> int:
    """Set HOLD in the site's folder: nothing starts, and workers save and leave within a minute, in every workspace of the cluster."""
    file = _file(cluster, user, account)
    holds.set_hold(file, why)
    say(f"{file} is set: workers save and leave; sweep admin resume --cluster {cluster}" + _scope(user, account))
    return 0


def resume(cluster: SiteOption, user: UserOption = None, account: AccountOption = None) -> int:
    """Take the HOLD away again; watching launches, timers and the next `sweep launch` or `tick` go on from the checkpoints."""
    file = _file(cluster, user, account)
    if not file.exists():
        standing = [str(path) for path, _ in holds.standing(file.parent)]
        raise UsageError(
            "there is no such HOLD", found=str(file), allowed=standing or "none is set", nearest=nearest(str(file), standing),
            next=f"sweep admin usage --cluster {cluster} shows those that are set",
        )  # fmt: skip
    try:
        file.unlink()
    except OSError as error:
        raise EnvironmentFault("the HOLD cannot be taken away", found=f"{file}: {error.strerror}") from error
    say(f"{file} is gone")
    return 0


def _folder(cluster: str) -> Path:
    from slurm.profile import find

    folder = find(cluster).shared_dir
    if folder is None:
        raise UsageError(
            "the cluster's profile names no shared folder",
            found=cluster,
            allowed="a profile with shared_dir",
            next=f"set {cluster}.shared_dir in clusters.yaml",
        )
    return folder


def _file(cluster: str, user: str | None, account: str | None) -> Path:
    if user is not None and account is not None:
        raise UsageError(
            "--user and --account are two HOLDs", found=f"--user {user} --account {account}", allowed="one of them at a time",
            next=f"sweep admin stop --cluster {cluster} --user {user}",
        )  # fmt: skip
    for name in (user, account):
        if name is not None and ("/" in name or not name):
            raise UsageError("no name of a user or an account", found=name, allowed="a name without /", next="sweep admin stop --help")
    folder = _folder(cluster)
    if not folder.is_dir():
        raise EnvironmentFault("the site's folder is not here", found=str(folder), next="make it, on a file system that all nodes see")
    users, accounts = ((user,) if user else ()), ((account,) if account else ())
    return list(holds.places(folder, users=users, accounts=accounts))[-1]


def _scope(user: str | None, account: str | None) -> str:
    return f" --user {user}" if user else f" --account {account}" if account else ""
