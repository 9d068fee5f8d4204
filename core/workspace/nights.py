"""Nightly grids as files, below ``nights/`` of a workspace.

::

    nights/<name>/grid.json            what runs when: sweep, window, days, zone, budget, account
    nights/<name>/PAUSED               while it exists, no further work is taken up in its nights
    nights/<name>/<night>.json         a night that has opened: from when until when; made once, by whoever saw it open first
    nights/<name>/<night>.closed.json  what it did, written after its end
    nights/<name>/<night>.skipped.json why it did not open: the grid was paused
    nights/.removed/<name>-<n>/        a grid that was removed, with its history

``<night>`` is the day on which it opens, ``2026-11-20``, and with a number behind it one that was opened by hand. Once open, a night's
end stands: editing the grid changes the next one.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from core.errors import IntegrityError, UsageError, nearest
from core.workspace.files import create_exclusive, fault, read_json, write_atomic
from core.workspace.layout import Workspace
from core.workspace.requests import user

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NIGHT = re.compile(r"\d{4}-\d\d-\d\d(\.\d+)?")


@dataclass(frozen=True)
class Grid:
    """``grid.json``.

    Attributes:
        name: of the grid, unique in the workspace.
        sweep: the id of the sweep that it runs.
        window: ``20:00-07:00``.
        days: ``mon-fri``.
        zone: the time zone of the window.
        budget: GPU-hours of a night, allocated to workers; ``None``: no limit but the window.
        account: the scheduler's account; ``None``: the cluster profile's.
        nice: how far its jobs stand behind others.
        stagger: seconds over which the last saves of a night are spread; ``None``: by the number of trials that may run at once.
        created: unix seconds.
        by: the user.
    """

    name: str
    sweep: str
    window: str
    days: str
    zone: str
    budget: float | None = None
    account: str | None = None
    nice: int = 100
    stagger: float | None = None
    created: float = 0.0
    by: str = ""

    def folder(self, workspace: Workspace) -> Path:
        """Where its files lie."""
        return workspace.nights / self.name

    def paused(self, workspace: Workspace) -> bool:
        """Whether nothing further is taken up."""
        return (self.folder(workspace) / "PAUSED").exists()


@dataclass(frozen=True)
class Night:
    """``<night>.json``: a night that has opened; times are unix seconds."""

    grid: str
    night: str
    opens: float
    closes: float
    opened: float
    budget: float | None = None
    by_hand: bool = False
    by: str = ""

    @property
    def id(self) -> str:
        """``GRID/NIGHT``."""
        return f"{self.grid}/{self.night}"


def add(workspace: Workspace, grid: Grid) -> None:
    """Write a new grid.

    Raises:
        UsageError: the name is taken, or is none.
    """
    if not NAME.fullmatch(grid.name):
        raise UsageError("no name for a nightly grid", found=grid.name, allowed="letters, digits, - and _")
    folder = grid.folder(workspace)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(error, folder) from error
    if not create_exclusive(folder / "grid.json", json.dumps({"v": 1, **asdict(grid)}, indent=1)):
        raise UsageError("there is a nightly grid of this name", found=grid.name, next=f"--name NAME, or sweep nightly remove {grid.name}")


def names(workspace: Workspace) -> list[str]:
    """The names of all grids, those that cannot be read included."""
    found = sorted(os.listdir(workspace.nights)) if workspace.nights.is_dir() else []
    return [name for name in found if (workspace.nights / name / "grid.json").is_file()]


def read(workspace: Workspace, name: str) -> Grid:
    """The grid of this name, which :func:`names` has given.

    Raises:
        IntegrityError: its file is damaged.
    """
    file = workspace.nights / name / "grid.json"
    try:
        return Grid(**_known(Grid, read_json(file)))
    except (TypeError, AttributeError) as error:
        raise IntegrityError("not a nightly grid", found=str(error), place=file) from error


def grids(workspace: Workspace) -> list[Grid]:
    """All grids, by name.

    Raises:
        IntegrityError: the file of one is damaged: what it would have run, and when, is not known, so nothing may be taken for granted.
    """
    return [read(workspace, name) for name in names(workspace)]


def readable(workspace: Workspace) -> tuple[list[Grid], dict[str, IntegrityError]]:
    """The grids that can be read, by name, and of each of the others what is wrong with it."""
    found: list[Grid] = []
    damaged: dict[str, IntegrityError] = {}
    for name in names(workspace):
        try:
            found.append(read(workspace, name))
        except IntegrityError as error:
            damaged[name] = error
    return found, damaged


def of_sweep(workspace: Workspace, sweep: str) -> list[Grid]:
    """The grids that run a sweep; where there is one, the sweep runs in their nights only.

    Raises:
        IntegrityError: none is known, and the file of one is damaged: it may be this sweep's.
    """
    found, damaged = readable(workspace)
    mine = [grid for grid in found if grid.sweep == sweep]
    if damaged and not mine:
        raise next(iter(damaged.values()))
    return mine


def named(workspace: Workspace, name: str) -> Grid:
    """The grid of this name.

    Raises:
        UsageError: there is none; it names those that there are.
        IntegrityError: its file is damaged.
    """
    known = names(workspace)
    if name not in known:
        raise UsageError(
            "no such nightly grid", found=name, allowed=sorted(known) or "there is none", nearest=nearest(name, known),
            next="sweep nightly list",
        )  # fmt: skip
    return read(workspace, name)


def pause(workspace: Workspace, grid: Grid) -> None:
    """Let nothing further be taken up."""
    write_atomic(grid.folder(workspace) / "PAUSED", json.dumps({"by": user(), "t": round(time.time(), 3)}))


def resume(workspace: Workspace, grid: Grid) -> None:
    """Take away what :func:`pause` wrote."""
    (grid.folder(workspace) / "PAUSED").unlink(missing_ok=True)


def remove(workspace: Workspace, grid: Grid) -> Path:
    """Set a grid aside with its history; returns where to."""
    folder = workspace.nights / ".removed"
    try:
        folder.mkdir(exist_ok=True)
        number = 1
        while (folder / f"{grid.name}-{number}").exists():
            number += 1
        os.rename(grid.folder(workspace), folder / f"{grid.name}-{number}")
    except OSError as error:
        raise fault(error, folder) from error
    return folder / f"{grid.name}-{number}"


def nights(workspace: Workspace, grid: Grid) -> list[Night]:
    """The nights that have opened, oldest first."""
    names = [name.removesuffix(".json") for name in os.listdir(grid.folder(workspace)) if name.endswith(".json")]
    files = [grid.folder(workspace) / f"{name}.json" for name in names if _NIGHT.fullmatch(name)]
    return sorted((Night(**_known(Night, read_json(file))) for file in files), key=lambda night: night.opens)


def open_night(workspace: Workspace, night: Night) -> bool:
    """Write down that a night has opened; ``False`` where somebody has done so already."""
    file = workspace.nights / night.grid / f"{night.night}.json"
    return not file.exists() and create_exclusive(file, json.dumps({"v": 1, **asdict(night)}, indent=1))


def skip(workspace: Workspace, grid: Grid, night: str, why: str) -> None:
    """Write down why a night that was due does not open."""
    create_exclusive(grid.folder(workspace) / f"{night}.skipped.json", json.dumps({"v": 1, "why": why, "t": round(time.time(), 3)}))


def skipped(workspace: Workspace, grid: Grid, night: str) -> str | None:
    """Why a night did not open, where somebody was there to write it down."""
    file = grid.folder(workspace) / f"{night}.skipped.json"
    return str(read_json(file)["why"]) if file.exists() else None


def closed(workspace: Workspace, night: Night) -> dict[str, Any] | None:
    """What a night did, where its end has been written down."""
    file = workspace.nights / night.grid / f"{night.night}.closed.json"
    return dict(read_json(file)) if file.exists() else None


def close_night(workspace: Workspace, night: Night, record: Mapping[str, Any]) -> None:
    """Write down what a night did."""
    create_exclusive(workspace.nights / night.grid / f"{night.night}.closed.json", json.dumps({"v": 1, **record}, indent=1))


def _known(kind: type[Grid] | type[Night], record: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in record.items() if name in names}
