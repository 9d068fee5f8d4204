"""Nightly grids as limits that :func:`core.control.decide.decide` sees.

A sweep that a grid runs starts workers in open nights only. Whoever makes a pass over the sweep (a timer, a worker between two
trials, a user) opens the night that is due, so no process has to be there at the minute, and a host that was off opens it late.

Of several open nights of one sweep (two grids whose windows overlap, or one opened by hand) the one that closes last counts, unless
its budget is used up; each has a budget of its own, which its own workers use up.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from core.control.decide import SweepState
from core.control.derive import UnitStatus
from core.control.ports import UNMEASURED_SECONDS, Grant, Job, JobAnswer
from core.control.windows import Window
from core.workspace import nights
from core.workspace.layout import Workspace
from core.workspace.nights import Grid, Night

STAGGER_PER_TRIAL = 5.0
LONGEST_STAGGER = 600.0
"""Final saves are spread over so many seconds a trial that may run, at most over so many (and a twentieth of the night)."""


@dataclass(frozen=True)
class Tonight:
    """What the nights of a sweep say about now.

    Attributes:
        closed: why nothing starts, or ``None``.
        grant: what a worker is given, where a night is open.
        left: GPU-seconds of its budget that nobody has; ``None``: it has none.
    """

    closed: str | None = None
    grant: Grant | None = None
    left: float | None = None


ALWAYS = Tonight()
"""Of a sweep that no grid runs."""


def window_of(grid: Grid) -> Window:
    """The window of a grid."""
    return Window.parse(grid.window, grid.days, grid.zone)


def tonight(
    workspace: Workspace, sweep: str, jobs: Sequence[tuple[Job, JobAnswer]], state: SweepState, at_once: int, now: float
) -> Tonight:
    """What bounds a sweep now; opens the night that is due.

    Args:
        workspace: the workspace.
        sweep: the sweep's id.
        jobs: all workers of the sweep, also those that ended long ago.
        state: of the sweep, for what loading and saving took.
        at_once: at most so many trials run side by side.
        now: unix seconds.
    """
    grids = nights.of_sweep(workspace, sweep)
    if not grids:
        return ALWAYS
    reasons: list[str] = []
    found: list[tuple[float, Tonight]] = []
    for grid in grids:
        due = window_of(grid).at(now)
        if grid.paused(workspace):
            reasons.append(f"nightly grid {grid.name} is paused (sweep nightly resume {grid.name})")
            if due is not None and not any(night.night == due.day.isoformat() for night in nights.nights(workspace, grid)):
                nights.skip(workspace, grid, due.day.isoformat(), "the grid was paused")
            continue
        if due is not None:
            opened = Night(grid.name, due.day.isoformat(), due.opens, due.closes, now, grid.budget, by=grid.by)
            nights.open_night(workspace, opened)
        for night in nights.nights(workspace, grid):
            if night.opens <= now < night.closes:
                left = None if night.budget is None else night.budget * 3600 - used(night.id, jobs)
                grant = Grant(
                    night.id, night.closes, useful=useful(state, jobs, night), stagger=_stagger(grid, night, at_once),
                    account=grid.account, nice=grid.nice,
                )  # fmt: skip
                if left is not None and left <= 0:
                    reasons.append(f"the budget of night {night.id} is given out: {night.budget:g} GPU-hours")
                else:
                    found.append((night.closes, Tonight(grant=grant, left=left)))
    if found:
        return max(found, key=lambda item: item[0])[1]
    return Tonight(closed="; ".join(reasons) or _outside(grids, now))


def _outside(grids: Iterable[Grid], now: float) -> str:
    opening, grid = min(((window_of(grid).next(now), grid) for grid in grids), key=lambda item: item[0].opens)
    when = datetime.fromtimestamp(opening.opens, ZoneInfo(grid.zone))
    return f"outside of its nights: {grid.name} opens {when:%a %Y-%m-%d %H:%M} {grid.zone}"


def _stagger(grid: Grid, night: Night, at_once: int) -> float:
    if grid.stagger is not None:
        return grid.stagger
    return min(STAGGER_PER_TRIAL * max(0, at_once - 1), LONGEST_STAGGER, (night.closes - night.opens) / 20)


def useful(state: SweepState, jobs: Sequence[tuple[Job, JobAnswer]], night: Night) -> float:
    """Seconds that a worker needs to start, to load and to save once: the longest of each that the sweep has measured."""
    shown = shown_useful([unit for _, unit in state.units()])
    if shown is None:
        return min(UNMEASURED_SECONDS, (night.closes - night.opens) / 10)
    workers: list[dict[str, Any]] = [job.details.get("worker") or {} for job, _ in jobs]
    starts = [float(worker["t"]) - float(worker["began"]) for worker in workers if "began" in worker]
    return max(starts, default=0.0) + shown


def shown_useful(units: Iterable[UnitStatus]) -> float | None:
    """Seconds that an attempt needs to load, to make a step and to save, the longest of each; ``None`` where none has done all of it."""
    shown = list(units)
    loads = [unit.load for unit in shown if unit.load is not None]
    saves = [unit.saving for unit in shown if unit.saving]
    return max(loads) + max(unit.step for unit in shown) + max(saves) if loads and saves else None


def used(night: str, jobs: Sequence[tuple[Job, JobAnswer]]) -> float:
    """GPU-seconds that a night's workers have used, or may still use."""
    return sum(job.gpus * (given(job) if answer.alive and job.left is None else spent(job)) for job, answer in jobs if of(job) == night)


def of(job: Job) -> str | None:
    """The id of the night that a worker works for."""
    orders = job.details.get("night") or {}
    return str(orders["id"]) if "id" in orders else None


def given(job: Job) -> float:
    """Seconds that a worker was given."""
    return float((job.details.get("night") or {}).get("seconds") or 0.0)


def spent(job: Job) -> float:
    """Seconds that a worker lasted, by its own clock alone; one that died without a word is taken to have used all that it was given."""
    worker: dict[str, Any] = job.details.get("worker") or {}
    if "began" not in worker:
        return 0.0
    if job.left is None or "t" not in job.left:
        return given(job)
    return max(0.0, float(job.left["t"]) - float(worker["began"]))


def lasted(job: Job, now: float, seen: float, heard: float | None = None, alive: bool = False) -> float:
    """Seconds that a worker has lasted until now, as nearly as is known; the limit of its allocation bounds what is not.

    Args:
        job: the worker.
        now: unix seconds.
        seen: when there was a sign of life of it, by its own clock: a line of one of its attempts.
        heard: when its end was written down, where it left no word.
        alive: whether it is known to run.
    """
    worker: dict[str, Any] = job.details.get("worker") or {}
    if "began" not in worker:
        return 0.0
    began = float(worker["began"])
    if job.left is not None and "t" in job.left:
        return max(0.0, float(job.left["t"]) - began)
    limit = given(job) or float(job.details.get("limit") or 0.0)
    until = min(now, heard if heard is not None else now)
    if limit:
        until = min(until, began + limit)
    elif not alive:
        until = min(until, max(seen, float(worker.get("t") or 0.0)))
    return max(0.0, until - began)


def gpu_seconds(job: Job) -> float:
    """GPU-seconds that an ended worker used."""
    return job.gpus * spent(job)
