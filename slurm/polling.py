"""Asking SLURM about all workers at once, seldom, and never taking silence for death.

One ``squeue`` for all jobs of the user answers for nearly all of them. A job that a reachable controller no longer lists has
ended long ago, or the answer was short: ``sacct`` is asked for those (one call, where accounting is there), and then the
controller by job id, whose *invalid job id* (*not found*, of one task of an array that it still knows) is the proof that it has
purged a job which it once knew. A worker that wrote why it
left, or whose end was seen before (``ended.json`` in its folder), is not asked about at all.

A call that fails proves nothing: every open job then counts as there, what runs in it is unknown, and the next call waits
longer. Between two calls the last answer holds.
"""

from __future__ import annotations

import contextlib
import pwd
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.control.jobs import record, recorded
from core.control.ports import Job, JobAnswer
from core.errors import SweepError
from core.workspace import process
from slurm.reading import FIELDS, Row, down, of_end, of_row, read_sacct, read_squeue, tasks_in

CALL_SECONDS = 30.0
LONGEST_WAIT = 300.0
ASKED_BY_ID = 4
"""Questions about arrays and tasks by id in one pass; the others wait for the next."""

SQUEUE = ("squeue", "--me", "--noheader", "--array", "--states=all", f"--Format={','.join(FIELDS)}")


@dataclass(frozen=True)
class Reply:
    """How a command of SLURM ended."""

    code: int
    out: str
    err: str


Run = Callable[[Sequence[str]], Reply]


def run(command: Sequence[str]) -> Reply:
    """Run one of SLURM's commands; one that is missing or does not come back has failed."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Reply(-1, "", str(error))
    return Reply(ended.returncode, ended.stdout, ended.stderr.strip())


class SlurmScheduler:
    """Answers for workers that run as array tasks.

    Args:
        calls_per_minute: questions to SLURM from this process.
        ask: runs a command.
        clock: seconds.
    """

    def __init__(self, calls_per_minute: float = 12, ask: Run = run, clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble: str | None = None
        self._interval = 60.0 / calls_per_minute
        self._ask = ask
        self._clock = clock
        self._next = float("-inf")
        self._failures = 0
        self._answers: dict[str, JobAnswer] = {}
        self._down: dict[str, Sequence[str]] = {}

    def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobAnswer]:
        """The answer for each job; one that was never submitted is left out."""
        answers = {job.key: answer for job in jobs if (answer := recorded(job.details["folder"])) is not None and not answer.alive}
        open_jobs = [job for job in jobs if job.key not in answers]
        if open_jobs and self._clock() >= self._next:
            self._look(open_jobs)
        for job in open_jobs:
            if job.key in self._answers:
                answers[job.key] = self._answers[job.key]
            elif _job_id(job) is not None or self.trouble is not None:
                # submitted since the last look, or nobody could be asked whether it was
                answers[job.key] = JobAnswer(alive=True, silent=self.trouble is not None, evidence=self.trouble or "submitted")
            elif (
                "unanswered" not in job.details
                and process.is_here(job.details["submitter"])
                and process.evidence_of_end(job.details["submitter"]) is None
            ):
                answers[job.key] = JobAnswer(alive=True, silent=True, evidence="being submitted")
        return answers

    def _look(self, jobs: Sequence[Job]) -> None:
        reply = self._ask(SQUEUE)
        if reply.code != 0:
            self._failures += 1
            self._next = self._clock() + min(LONGEST_WAIT, self._interval * 2**self._failures)
            self.trouble = f"SLURM does not answer: {reply.err or f'squeue ended with {reply.code}'}"
            self._answers = {job.key: JobAnswer(alive=True, silent=True, evidence=self.trouble) for job in jobs if _job_id(job)}
            return
        self._failures, self.trouble = 0, None
        self._next = self._clock() + self._interval
        rows = read_squeue(reply.out)
        by_id = {row.job_id: row for row in rows}
        by_task = {(row.name, row.array_task): row for row in rows}
        self._answers = {}
        gone: dict[str, Job] = {}
        for job in jobs:
            job_id = _job_id(job)
            row = by_id.get(job_id or "") or _by_name(job, by_task)
            if row is not None:
                self._settle(job, of_row(row, requeue=_requeue(job)))
            elif job_id is not None:
                gone[job_id] = job
        self._ask_about(gone)

    def _ask_about(self, gone: Mapping[str, Job]) -> None:
        """Jobs that the controller does not list: accounting first, then the controller itself, array by array."""
        if not gone:
            return
        arrays = sorted({job_id.partition("_")[0] for job_id in gone}, key=int)
        recorded = self._ask(("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={','.join(arrays)}"))
        states = read_sacct(recorded.out) if recorded.code == 0 else {}
        missing = []
        for job_id, job in gone.items():
            answer = of_end(states.get(job_id, "nothing"), job_id, requeue=_requeue(job))
            self._settle(job, answer)
            if answer.silent:
                missing.append(job_id)
        calls = ASKED_BY_ID
        for array in arrays:
            mine = [job_id for job_id in missing if job_id.partition("_")[0] == array]
            if not mine or not calls:
                continue
            calls -= 1
            reply = self._ask(_by_id(array))
            if is_unknown(reply, array):
                for job_id in mine:
                    self._purged(gone[job_id], job_id)
            elif reply.code == 0:  # of an array that still has tasks, those that have ended are forgotten one by one
                for job_id in [job_id for job_id in mine if job_id.partition("_")[2] not in tasks_in(reply.out)][:calls]:
                    calls -= 1
                    if is_unknown(self._ask(_by_id(job_id)), job_id):
                        self._purged(gone[job_id], job_id)

    def _purged(self, job: Job, job_id: str) -> None:
        evidence = f"SLURM no longer knows job {job_id}, which it once ran (purged)"
        # whichever incarnation ran last has ended with the job
        self._settle(job, JobAnswer(alive=False, ended="lost", evidence=evidence, restart=_restart(job)))

    def _settle(self, job: Job, answer: JobAnswer) -> None:
        if answer.cause == "node_failure":
            answer = replace(answer, nodes=self._failed(job))
        self._answers[job.key] = answer
        if answer.ended is not None:
            # a reader without write access sees the same answer again from SLURM, as long as SLURM knows it
            with contextlib.suppress(SweepError):
                record(Path(job.details["folder"]), answer)

    def _failed(self, job: Job) -> Sequence[str]:
        """The nodes of a job that a failure of nodes has ended which SLURM calls down; the only one of a job of one node; else none."""
        worker = job.details.get("worker") or {}
        if job.shape.nodes == 1:
            return [str(worker["node"])] if worker.get("node") else []
        if job.key not in self._down and worker.get("nodes"):
            self._down[job.key] = down(self._ask(("sinfo", "--noheader", "--Node", "--format=%N|%T", f"--nodes={worker['nodes']}")).out)
        return self._down.get(job.key, [])


def answers_of(jobs: Sequence[Job], ask: Run, users: Collection[str]) -> list[JobAnswer | None]:
    """What one ``squeue`` for the jobs of these users says of each; ``None`` where it says nothing. Nothing is written down."""
    known = sorted(user for user in users if _is_user(user))
    if not jobs or not known:
        return [None] * len(jobs)
    rows = read_squeue(ask(("squeue", f"--user={','.join(known)}", *SQUEUE[2:])).out)
    by_id = {row.job_id: row for row in rows}
    by_task = {(row.name, row.array_task): row for row in rows}
    found = [by_id.get(_job_id(job) or "") or _by_name(job, by_task) for job in jobs]
    return [None if row is None else of_row(row, requeue=_requeue(job)) for row, job in zip(found, jobs, strict=True)]


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:  # squeue would refuse the question
        return False
    return True


def is_unknown(reply: Reply, job_id: str) -> bool:
    """Whether a reachable controller says that it does not know a job, or a task of an array."""
    said = f"{reply.err}\n{reply.out}"
    return reply.code != 0 and ("Invalid job id" in said or f"Job {job_id} not found" in said)


def _by_id(job_id: str) -> tuple[str, ...]:
    return ("scontrol", "--oneliner", "show", "job", job_id)


def _restart(job: Job) -> int:
    return int((job.details.get("worker") or {}).get("restart") or 0)


def _requeue(job: Job) -> bool:
    return bool(job.details.get("requeue"))


def _job_id(job: Job) -> str | None:
    """SLURM's id, from whoever submitted it or from the worker itself; with either, a controller has known the job."""
    return job.job_id or (job.details.get("worker") or {}).get("job_id")


def _by_name(job: Job, rows: Mapping[tuple[str, int | None], Row]) -> Row | None:
    """A job whose submitter died before it wrote down the id is found by the name that it chose before."""
    array: Mapping[str, Any] = job.details["array"]
    return rows.get((array["name"], array["task"]))


def is_slurm(job: Job) -> bool:
    """Whether a worker was submitted to SLURM (else it runs on this machine)."""
    return "array" in job.details
