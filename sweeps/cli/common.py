"""What the commands share: options, output, and finding what a user names."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from core.errors import UsageError
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import newest
from sweeps.wiring import workspace_root

WorkspaceOption = Annotated[
    Path | None,
    typer.Option("--workspace", "-w", help="Folder of the workspace.  [default: $SWEEP_WORKSPACE, else ./runs]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, in the documented and stable shape.")]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="[PATH=VALUE]...", help="Fix a path, or make it an axis with PATH=[a,b].", show_default=False),
]
RehearseOption = Annotated[bool, typer.Option("--rehearse", help="The same grid with tiny random models and generated images, on CPU.")]
RealDataOption = Annotated[
    int | None,
    typer.Option(
        "--real-data",
        metavar="N",
        min=4,
        help="With --rehearse: the first N rows of every real set and benchmark that is here, through its real reader.",
        show_default=False,
    ),
]
ClusterOption = Annotated[
    str | None,
    typer.Option(
        "--cluster", metavar="NAME", help="Where workers run.  [default: where the sweep ran last, else this machine]", show_default=False
    ),
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, help="Workers at once.  [default: by GPUs and cores]", show_default=False)
]
SweepArgument = Annotated[str, typer.Argument(metavar="SWEEP", help="A name or an id; NAME@N is its revision N.", show_default=False)]


def open_workspace(given: Path | None, *, create: bool = False) -> Workspace:
    """Open the workspace that the user means."""
    return Workspace.open(workspace_root(given), create=create)


MANY_ROWS = 200
"""A longer list is printed a row a line: Python indents a hundred times slower than it writes."""


def print_json(value: Any) -> None:
    """Print a JSON document to standard output."""
    long = {}
    if isinstance(value, dict):
        long = {name: rows for name, rows in value.items() if isinstance(rows, list) and len(rows) > MANY_ROWS}
    if not long:
        json.dump(value, sys.stdout, indent=2, ensure_ascii=False, default=str)
        sys.stdout.write("\n")
        return
    sys.stdout.write("{")
    for number, (name, item) in enumerate(value.items()):
        sys.stdout.write(f"{',' if number else ''}\n  {json.dumps(name)}: ")
        if name in long:
            lines = ",\n    ".join(json.dumps(row, ensure_ascii=False, default=str) for row in item)
            sys.stdout.write(f"[\n    {lines}\n  ]")
        else:
            sys.stdout.write(json.dumps(item, indent=2, ensure_ascii=False, default=str).replace("\n", "\n  "))
    sys.stdout.write("\n}\n")


def text_width() -> int:
    """Columns of running text: the terminal's, or 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def say(text: str = "") -> None:
    """Print a line to standard output."""
    print(text, flush=True)


def hint(text: str) -> None:
    """Print a line that is not part of the answer, to standard error."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def counting() -> Iterator[Callable[[str, int, int], None] | None]:
    """What tells a user at a terminal how far something long is, on one line of standard error; ``None`` elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    started = last = time.monotonic()
    shown = False

    def progress(what: str, done: int, total: int) -> None:
        nonlocal last, shown
        now = time.monotonic()
        if now - started > 1 and now - last > 0.1:
            print(f"\r\x1b[K{what}: {done}/{total}", end="", file=sys.stderr, flush=True)
            last, shown = now, True

    try:
        yield progress
    finally:
        if shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], *, title: str | None = None) -> None:
    """Print a plain table; numbers and states as they are."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    if title is not None:
        say(title)
    out = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        out.add_column(name, overflow="fold")
    for row in rows:
        out.add_row(*("" if value is None else escape(str(value)) for value in row))
    # what goes into a file or a pipe is not folded to the width of a terminal that is not there
    Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else 200).print(out)


def known_trials(workspace: Workspace) -> dict[str, str]:
    """Every trial that a sweep plans or that has a folder: id to the sweep that names it ("" for none)."""
    found = {trial.id: "" for trial in workspace.trials()}
    for sweep in workspace.sweeps():
        revision = newest(sweep)
        if revision is not None:
            found.update({planned.id: sweep.id for planned in revision.plan()})
    return found


def find_trial(workspace: Workspace, prefix: str) -> tuple[Trial, str]:
    """The trial whose id starts with ``prefix``, and the newest sweep that plans it.

    Raises:
        UsageError: none, or several.
    """
    found = {id: sweep for id, sweep in known_trials(workspace).items() if id.startswith(prefix.lower())}
    if len(found) > 1:
        raise UsageError("several trials start like this", found=prefix, allowed=[id[:16] for id in sorted(found)][:10])
    if not found:
        raise UsageError("no trial starts like this", found=prefix, next="sweep status SWEEP lists the trials of a sweep")
    id, sweep = next(iter(found.items()))
    return workspace.trial(id), sweep
