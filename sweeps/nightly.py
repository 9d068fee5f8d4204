"""Nightly grids: setting one up, the pass that a timer makes, and what each night did."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from core.control import nights as limits
from core.control.ports import Job, JobAnswer, Submitter
from core.control.tick import SweepReader, TickResult, tick
from core.control.windows import Window
from core.errors import SweepError, UsageError
from core.workspace import nights
from core.workspace.layout import Sweep, Workspace
from core.workspace.nights import Grid, Night
from core.workspace.registration import Revision, newest
from core.workspace.requests import user
from slurm import accounting
from slurm.polling import Run
from slurm.profile import of_sweep
from slurm.shared import counted
from sweeps import wiring

HANDED_ON = frozenset({"MLFLOW_TRACKING_URI", "PATH", "PYTHONPATH", "SLURM_CONF", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"})
FAMILIES = ("DEEPSPEED_", "GLOO_", "HF_", "NCCL_", "SWEEP_", "TRANSFORMERS_")
"""Variables, and beginnings of such, that the passes of a timer and the workers that they start need as this shell has them."""
_OWN = ("SWEEP_JOB_", "SWEEP_WORKSPACE")
"""Of one worker; and the workspace, which a timer names."""
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|AUTH")
_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]*@")
_BUDGET = re.compile(r"(\d+(?:\.\d+)?)\s*gpuh")


def parse_budget(text: str) -> float:
    """GPU-hours of ``512gpuh``.

    Raises:
        UsageError: not a budget.
    """
    found = _BUDGET.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise UsageError("not a budget", found=text, allowed="GPU-hours of a night, such as 512gpuh")
    return float(found[1])


def handed_on(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """What a timer's file hands on, and the names that it leaves out: a token or password is never written into it."""
    wanted = {
        name: value for name, value in environment.items() if name in HANDED_ON or (name.startswith(FAMILIES) and not name.startswith(_OWN))
    }
    secret = {name for name in wanted if _SECRET.search(name) and not name.endswith("_PATH")}
    left_out = {name for name, value in wanted.items() if name in secret or _WITH_PASSWORD.search(value) or "\n" in value}
    return {name: value for name, value in wanted.items() if name not in left_out}, sorted(left_out)


def zone_here() -> str:
    """The name of this host's time zone.

    Raises:
        UsageError: the host does not say.
    """
    files = [Path("/etc/timezone")]
    names = [os.environ.get("TZ", "").lstrip(":"), *(file.read_text(encoding="ascii").strip() for file in files if file.is_file())]
    link = os.path.realpath("/etc/localtime")
    names.append(link.partition("/zoneinfo/")[2])
    for name in filter(None, names):
        try:
            return ZoneInfo(name).key
        except (KeyError, ValueError, OSError):
            continue
    raise UsageError("this host does not name its time zone", next="add --zone, such as --zone Europe/Berlin")


def check(window: str, days: str, zone: str) -> None:
    """Refuse nights that are none, before anything is written.

    Raises:
        UsageError: the window, the days or the zone cannot be read.
    """
    try:
        Window.parse(window, days, zone)
    except ValueError as error:
        raise UsageError(
            "the nights of the grid cannot be read", found=str(error),
            allowed="a window as 20:00-07:00, days as mon-fri, sat,sun or daily, a zone as Europe/Berlin",
            next="sweep nightly add --help",
        ) from None  # fmt: skip


def run_now(workspace: Workspace, grid: Grid, seconds: float | None, clock: Callable[[], float] = time.time) -> Night:
    """Open a night by hand, from now on; ``seconds`` long, or as long as its window.

    Raises:
        UsageError: the grid is paused.
    """
    if grid.paused(workspace):
        raise UsageError("the grid is paused", found=grid.name, next=f"sweep nightly resume {grid.name}")
    now = clock()
    window = limits.window_of(grid)
    if seconds is None:
        opening = window.next(now)
        seconds = opening.closes - opening.opens
    day = datetime.fromtimestamp(now, window.zone).date().isoformat()
    number = 1
    while True:
        night = Night(grid.name, f"{day}.{number}", now, now + seconds, now, grid.budget, by_hand=True, by=user())
        if nights.open_night(workspace, night):
            return night
        number += 1


@dataclass
class Passed:
    """What a pass did for one sweep: the workers it started, or why none."""

    sweep: str
    grids: list[str]
    submitted: list[str] = field(default_factory=list)
    closed: str | None = None
    trouble: str | None = None
    counts: dict[str, int] = field(default_factory=dict)


ReaderOf = Callable[[Workspace, Revision], SweepReader]
SubmitterOf = Callable[[Workspace, Sweep], Submitter]


def one_pass(
    workspace: Workspace,
    *,
    clock: Callable[[], float] = time.time,
    reader_of: ReaderOf = wiring.reader,
    submitter_of: SubmitterOf = wiring.submitter,
    ask: Run = counted,
    also: Callable[[Revision, SweepReader, TickResult], str | None] | None = None,
) -> list[Passed]:
    """One pass over every sweep that a grid runs, where a night is open, due, or not yet written down as over.

    What goes wrong with one sweep is said in its row and keeps no other from its night.

    Args:
        workspace: the workspace.
        clock: unix seconds.
        reader_of: makes the reader of a sweep.
        submitter_of: makes what starts workers of a sweep.
        ask: runs a command of SLURM.
        also: called after each sweep's pass (index and MLflow); returns its trouble.
    """
    grids, damaged = nights.readable(workspace)
    found = [Passed("", [name], trouble=_words(error)) for name, error in damaged.items()]
    for sweep in dict.fromkeys(grid.sweep for grid in grids):
        mine = nights.of_sweep(workspace, sweep)
        passed = Passed(sweep, [grid.name for grid in mine])
        found.append(passed)
        revision = newest(workspace.sweep(sweep))
        if revision is None or not _wanted(workspace, mine, clock()):
            passed.closed = "no night is open" if revision is not None else "the sweep is gone"
            continue
        try:
            reader = reader_of(workspace, revision)
            result = tick(reader, submitter_of(workspace, revision.sweep), clock=clock)
            passed.submitted, passed.closed, passed.counts = result.submitted, result.closed, result.state.counts()
            passed.trouble = result.stopped.reason if result.stopped else result.trouble
            _write_down(workspace, mine, reader, clock(), ask)
            passed.trouble = passed.trouble or (also(revision, reader, result) if also is not None else None)
        except SweepError as error:
            passed.trouble = _words(error)
    return found


def _words(error: SweepError) -> str:
    return error.message + (f": {error.found}" if error.found else "") + (f" ({error.place})" if error.place else "")


def _wanted(workspace: Workspace, grids: Sequence[Grid], now: float) -> bool:
    for grid in grids:
        if limits.window_of(grid).at(now) is not None:
            return True
        if any(now < night.closes or nights.closed(workspace, night) is None for night in nights.nights(workspace, grid)):
            return True
    return False


def _write_down(workspace: Workspace, grids: Sequence[Grid], reader: SweepReader, now: float, ask: Run) -> None:
    """Close the nights that are over and whose workers have all left."""
    for grid in grids:
        for night in nights.nights(workspace, grid):
            mine = [(job, answer) for job, answer in reader.polled if limits.of(job) == night.id]
            over = now >= night.closes and not any(answer.alive and job.left is None for job, answer in mine)
            if over and nights.closed(workspace, night) is None:
                nights.close_night(workspace, night, {**measured(night, mine, reader, now, ask), "t": round(now, 3)})


def measured(night: Night, jobs: Sequence[tuple[Job, JobAnswer]], reader: SweepReader, now: float, ask: Run) -> dict[str, Any]:
    """What a night's workers used and did, from their own files; what accounting says of it stands beside it where there is one."""
    keys = {job.key for job, _ in jobs}
    attempts = Counter[str]()
    trials = set()
    for planned in reader.plan:
        for view in reader.reader.attempts(reader.workspace.trial(planned.id)):
            if view.owner.get("job") in keys:
                attempts[view.state] += 1
                trials.update([planned.id] if view.state == "completed" else [])
    alive = [job for job, answer in jobs if answer.alive and job.left is None]
    used = sum(limits.gpu_seconds(job) for job, answer in jobs if not (answer.alive and job.left is None))
    return {
        "workers": len(jobs), "gpu_hours": round(used / 3600, 3), "given_gpu_hours": round(limits.used(night.id, jobs) / 3600, 3),
        "running": len(alive), "completed": len(trials), "attempts": dict(attempts), "accounted_gpu_hours": _accounted(jobs, ask),
    }  # fmt: skip


def _accounted(jobs: Sequence[tuple[Job, JobAnswer]], ask: Run) -> float | None:
    ids = {job.job_id for job, _ in jobs if job.job_id and "array" in job.details}
    found = accounting.records(ask, jobs=sorted({id.partition("_")[0] for id in ids}, key=int)) if ids else None
    return None if found is None else round(sum(record.gpu_hours for record in found if record.job_id in ids), 3)


def history(
    workspace: Workspace, grid: Grid, *, clock: Callable[[], float] = time.time, reader_of: ReaderOf = wiring.reader, ask: Run = counted
) -> Iterator[dict[str, Any]]:
    """Every night of a grid, oldest first: those that opened, those that were skipped, and those in which no pass was made."""
    now = clock()
    opened = nights.nights(workspace, grid)
    rows: list[tuple[float, dict[str, Any]]] = []
    reader: SweepReader | None = None
    for night in opened:
        record = nights.closed(workspace, night)
        if record is None:
            revision = newest(workspace.sweep(grid.sweep))
            if reader is None and revision is not None:
                reader = reader_of(workspace, revision)
                reader.state()
            mine = [(job, answer) for job, answer in (reader.polled if reader else ()) if limits.of(job) == night.id]
            record = measured(night, mine, reader, now, ask) if reader is not None else {}
        state = "open" if now < night.closes else "closed"
        rows.append((night.opens, _row(grid, night.night, night.opens, night.closes, state, night.budget, record, late=night.opened)))
    known = {night.night for night in opened}
    for opening in limits.window_of(grid).between(grid.created, now):
        name = opening.day.isoformat()
        if name not in known:
            why = nights.skipped(workspace, grid, name)
            state = "skipped" if why else "open" if now < opening.closes else "missed"
            rows.append((opening.opens, _row(grid, name, opening.opens, opening.closes, state, grid.budget, {}, why=why)))
    yield from (row for _, row in sorted(rows, key=lambda item: item[0]))


def _row(
    grid: Grid,
    night: str,
    opens: float,
    closes: float,
    state: str,
    budget: float | None,
    record: dict[str, Any],
    *,
    late: float | None = None,
    why: str | None = None,
) -> dict[str, Any]:
    names = ("workers", "gpu_hours", "given_gpu_hours", "accounted_gpu_hours", "running", "completed", "attempts")
    empty: dict[str, Any] = {"attempts": {}, "accounted_gpu_hours": None}
    if state == "missed":
        why = "no pass was made in it: the timer did not run, or its host was off"
    return {
        "grid": grid.name, "night": night, "state": state, "opens": opens, "closes": closes, "opened": late, "budget_gpu_hours": budget,
        **{name: record.get(name, empty.get(name, 0)) for name in names}, "why": why,
    }  # fmt: skip


def about(workspace: Workspace, grid: Grid, now: float) -> dict[str, Any]:
    """One grid as ``sweep nightly list --json`` shows it."""
    window = limits.window_of(grid)
    night = next((night for night in reversed(nights.nights(workspace, grid)) if night.opens <= now < night.closes), None)
    coming = window.next(now)
    return {
        "name": grid.name, "sweep": grid.sweep, "cluster": of_sweep(workspace.sweep(grid.sweep)).name, "window": grid.window,
        "days": grid.days, "zone": grid.zone, "budget_gpu_hours": grid.budget, "account": grid.account, "nice": grid.nice,
        "paused": grid.paused(workspace), "open": None if night is None else {"night": night.night, "closes": night.closes},
        "next": {"night": coming.day.isoformat(), "opens": coming.opens, "closes": coming.closes}, "by": grid.by, "created": grid.created,
    }  # fmt: skip
