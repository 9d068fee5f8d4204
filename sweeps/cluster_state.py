"""What the dashboard's cluster page shows: workers with the scheduler's word, nights with their budgets, and what is held."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from core.control import nights as limits
from core.control.jobs import jobs_of, recorded
from core.control.ports import Job, JobAnswer, Scheduler
from core.errors import SweepError
from core.workspace import holds, nights
from core.workspace.layout import Workspace
from core.workspace.nights import Grid, Night
from dashboards.web.answers import ClusterState, NightFacts, NightlyGrid, Worker
from slurm.dispatch import AnyScheduler
from slurm.profile import Cluster, of_sweep

T = TypeVar("T")
SchedulerOf = Callable[[Cluster], Scheduler]
_SILENT = JobAnswer(alive=True, silent=True)


class ClusterWatch:
    """Looks at a workspace's workers again and again; one scheduler for each cluster, asked about all its workers at once."""

    def __init__(self, workspace: Workspace, scheduler_of: SchedulerOf = AnyScheduler, clock: Callable[[], float] = time.time) -> None:
        self._workspace = workspace
        self._scheduler_of = scheduler_of
        self._clock = clock
        self._schedulers: dict[str, Scheduler] = {}

    def look(self) -> ClusterState:
        """The state now. What cannot be read is said, and hides nothing else."""
        trouble: list[str] = []
        jobs = _safely(lambda: jobs_of(self._workspace), trouble) or []
        answers: dict[str, JobAnswer] = {}
        for cluster, mine in self._by_cluster(jobs, trouble):
            scheduler = self._schedulers.setdefault(cluster.name, self._scheduler_of(cluster))
            answers |= _safely(lambda scheduler=scheduler, mine=mine: scheduler.poll(mine), trouble) or {}  # type: ignore[misc]
            if scheduler.trouble is not None:
                trouble.append(f"{cluster.name}: {scheduler.trouble}")
        workers = sorted((_worker(job, answers.get(job.key)) for job in jobs), key=lambda worker: -worker.created)
        return ClusterState(workers, self._grids(jobs, answers, trouble), self._holds(trouble), trouble)

    def _by_cluster(self, jobs: Sequence[Job], trouble: list[str]) -> Iterator[tuple[Cluster, list[Job]]]:
        found: dict[str, tuple[Cluster, list[Job]]] = {}
        clusters: dict[str, Cluster | None] = {}
        for job in jobs:
            if job.sweep not in clusters:
                clusters[job.sweep] = _safely(lambda id=job.sweep: of_sweep(self._workspace.sweep(id)), trouble)  # type: ignore[misc]
            cluster = clusters[job.sweep]
            if cluster is not None:
                found.setdefault(cluster.name, (cluster, []))[1].append(job)
        yield from found.values()

    def _grids(self, jobs: Sequence[Job], answers: Mapping[str, JobAnswer], trouble: list[str]) -> list[NightlyGrid]:
        polled = [(job, answers.get(job.key) or recorded(job.details["folder"]) or _SILENT) for job in jobs]
        found: list[NightlyGrid] = []
        for name in _safely(lambda: nights.names(self._workspace), trouble) or []:
            wrong: list[str] = []
            grid = _safely(lambda name=name: self._grid(nights.read(self._workspace, name), polled), wrong)  # type: ignore[misc]
            found.append(grid or NightlyGrid(name, corrupt="; ".join(wrong)))
        return found

    def _grid(self, grid: Grid, polled: Sequence[tuple[Job, JobAnswer]]) -> NightlyGrid:
        now = self._clock()
        window = limits.window_of(grid)
        opened = nights.nights(self._workspace, grid)
        running = next((night for night in reversed(opened) if night.opens <= now < night.closes), None)
        over = [night for night in opened if night.closes <= now]
        last = self._facts(over[-1], polled, "over") if over else None
        known = {night.night for night in opened}
        for opening in window.between(max(grid.created, now - 8 * 86400), now):
            name = opening.day.isoformat()
            if name not in known and opening.closes <= now and (last is None or opening.opens > last.opens):
                why = nights.skipped(self._workspace, grid, name)
                last = NightFacts(
                    name, opening.opens, opening.closes, "skipped" if why else "missed", grid.budget,
                    why=why or "no pass was made in it: the timer did not run, or its host was off",
                )  # fmt: skip
        return NightlyGrid(
            grid.name, grid.sweep, of_sweep(self._workspace.sweep(grid.sweep)).name, grid.window, grid.days, grid.zone,
            grid.paused(self._workspace), grid.budget, window.next(now).opens,
            None if running is None else self._facts(running, polled, "open"), last,
        )  # fmt: skip

    def _facts(self, night: Night, polled: Sequence[tuple[Job, JobAnswer]], state: str) -> NightFacts:
        mine = [(job, answer) for job, answer in polled if limits.of(job) == night.id]
        record = nights.closed(self._workspace, night) or {}
        used = sum(limits.gpu_seconds(job) for job, answer in mine if not (answer.alive and job.left is None)) / 3600
        return NightFacts(
            night.night, night.opens, night.closes, state, night.budget,
            granted=record.get("given_gpu_hours", limits.used(night.id, mine) / 3600), used=record.get("gpu_hours", used),
            workers=record.get("workers", len(mine)), completed=record.get("completed"), attempts=record.get("attempts") or {},
        )  # fmt: skip

    def _holds(self, trouble: list[str]) -> list[tuple[str, str]]:
        found = [("this workspace", words) for _, words in holds.standing(self._workspace.root)]
        folders = [_safely(lambda sweep=sweep: holds.folder_of(sweep), trouble) for sweep in self._workspace.sweeps()]  # type: ignore[misc]
        for folder in dict.fromkeys(folder for folder in folders if folder is not None):
            found += [(_whom(file.name), words) for file, words in holds.standing(folder)]
        return found


def _whom(name: str) -> str:
    kind, _, whose = name.removeprefix(f"{holds.NAME}.").partition("-")
    return f"the sweeps of {kind} {whose}" if whose else "everybody's sweeps"


def _worker(job: Job, answer: JobAnswer | None) -> Worker:
    details = job.details
    worker = details.get("worker") or {}
    if job.left is not None:
        state, says = "left", str(job.left.get("reason") or "")
    elif answer is None:
        state, says = "unknown", "whoever submitted it has ended before the scheduler took it"
    elif not answer.alive:
        state, says = "ended", answer.evidence
    else:
        state = "working" if job.started else "unknown" if answer.silent else "queued"
        says = answer.evidence
    return Worker(
        job.key, job.sweep, job.job_id or str(worker.get("job_id") or ""), job.shape.key, job.gpus, state,
        float(details.get("created") or worker.get("began") or 0.0), str(worker.get("host") or ""), says, limits.of(job) or "",
    )  # fmt: skip


def _safely(read: Callable[[], T], trouble: list[str]) -> T | None:
    try:
        return read()
    except (SweepError, OSError, ValueError, KeyError, TypeError) as error:
        words = f"{error.message}: {error.place or error.found}" if isinstance(error, SweepError) else f"{type(error).__name__}: {error}"
        trouble.append(words)
        return None
