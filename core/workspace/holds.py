"""HOLD files: while one exists, nothing new starts, and running trials save a checkpoint and leave.

A workspace has its own (``HOLD``). Beside it a sweep obeys those in its site's folder, which whoever looks after the cluster sets
(``sweep admin stop``) without any right in the workspace::

    HOLD                    everybody
    HOLD.user-<name>        one user's sweeps: those whose processes run as that user
    HOLD.account-<name>     sweeps that run under one account

``sweeps/<id>/holds.json`` names the folder and the account, as the launch found them, because a worker may see no other configuration.
The accounts of the nightly grids that run a sweep count beside it, as long as the grids are there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import SweepError
from core.workspace import nights
from core.workspace.files import read_json, write_atomic
from core.workspace.layout import Sweep, Workspace
from core.workspace.requests import user

NAME = "HOLD"


def places(folder: Path, *, users: tuple[str, ...] = (), accounts: tuple[str, ...] = ()) -> Iterator[Path]:
    """The files that stop these users and accounts; the one for everybody first."""
    yield folder / NAME
    yield from (folder / f"{NAME}.user-{name}" for name in users)
    yield from (folder / f"{NAME}.account-{name}" for name in accounts)


def remember(sweep: Sweep, folder: Path | None, account: str | None) -> None:
    """Write down which site's folder a sweep obeys; ``None``: none."""
    record = {"v": 1, "folder": str(folder) if folder is not None else None, "account": account}
    write_atomic(sweep.folder / "holds.json", json.dumps(record, indent=1), sync=True)


def of(workspace: Workspace, sweep: Sweep) -> Workspace:
    """The workspace as a sweep sees it: held where its own HOLD is set, or one of its site's that means this sweep."""
    record = _record(sweep)
    if not record.get("folder"):
        return workspace
    accounts = tuple(dict.fromkeys(filter(None, [record.get("account"), *_of_grids(workspace, sweep)])))
    return Workspace(workspace.root, tuple(places(Path(record["folder"]), users=(user(),), accounts=accounts)))


def _of_grids(workspace: Workspace, sweep: Sweep) -> list[str]:
    found = []
    for name in nights.names(workspace):
        with suppress(SweepError):  # a grid that cannot be read is said by its own pass, and keeps no HOLD from the others
            grid = nights.read(workspace, name)
            found += [grid.account] if grid.sweep == sweep.id and grid.account is not None else []
    return found


def folder_of(sweep: Sweep) -> Path | None:
    """The site's folder whose HOLDs a sweep obeys."""
    folder = _record(sweep).get("folder")
    return Path(folder) if folder else None


def _record(sweep: Sweep) -> dict[str, Any]:
    file = sweep.folder / "holds.json"
    return dict(read_json(file)) if file.exists() else {}


def set_hold(file: Path, why: str) -> None:
    """Set a HOLD; an older one is replaced.

    Raises:
        EnvironmentFault: the folder cannot be written.
    """
    write_atomic(file, json.dumps({"by": user(), "t": round(time.time(), 3), "why": why}), sync=True)


def standing(folder: Path) -> list[tuple[Path, str]]:
    """The HOLDs of a site's folder that are set, each with who set it and why."""
    found = []
    for file in sorted(folder.glob(f"{NAME}*")) if folder.is_dir() else ():
        if file.name == NAME or file.name.startswith((f"{NAME}.user-", f"{NAME}.account-")):
            found.append((file, words(file)))
    return found


def words(file: Path) -> str:
    """Who set a HOLD, and why."""
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return f"set by {record['by']}" + (f": {record['why']}" if record.get("why") else "")
    except (OSError, ValueError, KeyError, TypeError):
        return "set by hand"
