"""``digest``: what has happened, for those who were not there."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from core.errors import UsageError
from core.workspace.files import write_atomic
from sweeps.cli.common import JsonOption, WorkspaceOption, hint, open_workspace, print_json


def add_to(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command()(digest)


def digest(
    sweeps: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SWEEP]...", help="Only these.  [default: all in which something is new]", show_default=False),
    ] = None,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="How far back: 24h, 90m, 7d.")] = "24h",
    format: Annotated[Literal["markdown", "html"], typer.Option("--format", "-f", help="How it is written.")] = "markdown",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write to a file instead.", show_default=False)] = None,
    webhook: Annotated[
        str | None, typer.Option("--webhook", metavar="URL", help='Post it as JSON {"text": ...} instead.', show_default=False)
    ] = None,
    mail: Annotated[
        str | None,
        typer.Option("--mail", metavar="COMMAND", help="Give it to this command on its standard input instead.", show_default=False),
    ] = None,
    workspace: WorkspaceOption = None,
    json: JsonOption = False,
) -> int:
    """Tell what has ended, what failed and why, what is best and what it cost; a finished sweep with its table."""
    from dashboards.digest import as_json, html, markdown
    from sweeps import digest as making

    place = open_workspace(workspace)
    made = making.make(place, sweeps or [], time.time() - making.seconds_of(since))
    if json:
        print_json(as_json(made))
        return 0
    text = markdown(made) if format == "markdown" else html(made)
    if webhook is not None:
        making.post(made, webhook)
        hint("sent to the webhook")
    if mail is not None:
        making.mail(text, mail)
        hint("given to the mail command")
    if output is not None:
        if not output.parent.is_dir():
            raise UsageError("there is no such folder", found=str(output.parent))
        write_atomic(output, text)
        hint(f"wrote {output}")
    if webhook is None and mail is None and output is None:
        print(text, end="")
    return 0
