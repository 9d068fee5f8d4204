"""What SLURM's answers mean: pure functions from the text of squeue and sacct to a :class:`JobAnswer`.

====================================  =================================================================================
SLURM says                            it means
====================================  =================================================================================
PENDING, RUNNING, COMPLETING, ...     the worker is there, or will be
PENDING after a restart               what ran before the restart has ended; the worker will come again
PENDING, launch failed requeued held  it waits for ``scontrol release`` and nobody will come: others are started instead
PREEMPTED, NODE_FAIL, BOOT_FAIL       an end (the last two with the cause node_failure); where SLURM may requeue the job, only
                                      a moment on the way to PENDING
TIMEOUT, DEADLINE                     ended at the time limit
CANCELLED                             somebody's request
COMPLETED, FAILED                     no process is left. Whether a trial has a result is the trial's folder to say
OUT_OF_MEMORY                         the same, and the cause is host_oom
no row, a state never heard of        nothing
====================================  =================================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.control.ports import JobAnswer
from core.control.states import AttemptState

FIELDS = ("JobArrayID:40", "State:20", "RestartCnt:10", "Name:200", "Reason:200")
"""What squeue is asked for (``--Format``), with widths."""

THERE = frozenset(
    {
        "CONFIGURING",
        "COMPLETING",
        "PENDING",
        "REQUEUED",
        "REQUEUE_FED",
        "RESIZING",
        "RESV_DEL_HOLD",
        "RUNNING",
        "SIGNALING",
        "STAGE_OUT",
        "STOPPED",
        "SUSPENDED",
    }
)
ENDS: Mapping[str, AttemptState] = {
    "BOOT_FAIL": "failed",
    "CANCELLED": "interrupted",
    "COMPLETED": "lost",
    "DEADLINE": "time_limit",
    "FAILED": "lost",
    "NODE_FAIL": "failed",
    "OUT_OF_MEMORY": "failed",
    "PREEMPTED": "preempted",
    "REVOKED": "lost",
    "TIMEOUT": "time_limit",
}
"""How an attempt has ended that was running in a job with this last state, and did not say so itself."""
CAUSES: Mapping[str, str] = {"BOOT_FAIL": "node_failure", "NODE_FAIL": "node_failure", "OUT_OF_MEMORY": "host_oom"}
"""What SLURM itself names as the cause of an end."""
MAY_RETURN = frozenset({"BOOT_FAIL", "NODE_FAIL", "PREEMPTED"})
"""Ends that SLURM shows for a moment before it puts a requeueable job back into the queue."""
DEAD = frozenset({"down", "error", "fail", "failing", "unknown"})
"""States of a node that has failed, as sinfo writes them."""
STUCK = frozenset({"REQUEUE_HOLD", "SPECIAL_EXIT"})
HELD_AFTER_FAILURE = "launch failed requeued held"

WAY_OUT: Mapping[str, str] = {
    "AssocGrpGRESMinutes": "the account's GPU-minutes are used up",
    "BadConstraints": "no node has what the profile's constraint asks for",
    "DependencyNeverSatisfied": "what it depends on has failed: cancel it",
    "JobHeldAdmin": "an administrator holds it",
    "JobHeldUser": "you hold it: scontrol release",
    "PartitionDown": "the partition is down",
    "PartitionTimeLimit": "the profile's time is above the partition's limit",
    "ReqNodeNotAvail": "nodes are down or reserved, often for maintenance",
    "Reservation": "nodes are reserved, often for maintenance",
}
"""Reasons to wait that a user can do something about, or should know of."""


@dataclass(frozen=True)
class Row:
    """One job, or one task of an array, as squeue shows it."""

    job_id: str
    state: str
    restart: int
    name: str
    reason: str

    @property
    def array_task(self) -> int | None:
        """The index in its array."""
        tail = self.job_id.partition("_")[2]
        return int(tail) if tail.isdigit() else None


def read_squeue(text: str) -> list[Row]:
    """The rows of ``squeue --noheader --array --Format=FIELDS``; a line that is none is passed over."""
    widths = [int(field.partition(":")[2]) for field in FIELDS]
    rows = []
    for line in text.splitlines():
        parts, at = [], 0
        for width in widths:
            parts.append(line[at : at + width].strip())
            at += width
        if parts[0] and parts[2].isdigit():
            rows.append(Row(parts[0], parts[1], int(parts[2]), parts[3], parts[4]))
    return rows


def down(text: str) -> list[str]:
    """The nodes that do not work or do not answer (``*``), of the lines of ``sinfo --Node --format=%N|%T``."""
    states = dict(line.split("|") for line in text.split() if line.count("|") == 1)
    return sorted(node for node, state in states.items() if state.endswith("*") or state.rstrip("*$@#~%+-^") in DEAD)


def tasks_in(text: str) -> set[str]:
    """The tasks of an array that ``scontrol --oneliner show job ARRAY`` lists one by one."""
    return set(re.findall(r"\bArrayTaskId=(\d+)\s", text))


def read_sacct(text: str) -> dict[str, str]:
    """Last states by job id from ``sacct --noheader --parsable2 --allocations --format=JobID,State``.

    ``CANCELLED by 1000`` is CANCELLED; tasks that wait are shown as ``12_[3-5,7%4]``.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        job_id, bar, state = line.partition("|")
        if bar and state:
            found.update(dict.fromkeys(_expanded(job_id), state.split()[0]))
    return found


def _expanded(job_id: str) -> list[str]:
    head, bracket, tail = job_id.partition("_[")
    if not bracket:
        return [job_id]
    found = []
    for part in tail.rstrip("]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (last or first).isdigit():
            found += [f"{head}_{number}" for number in range(int(first), int(last or first) + 1)]
    return found


def of_row(row: Row, *, requeue: bool) -> JobAnswer:
    """What a row of squeue says about a worker; ``requeue``: SLURM may restart the job by itself."""
    words = f"SLURM says {row.state} for job {row.job_id}"
    stuck = row.state in STUCK or (row.state == "PENDING" and row.reason.replace("_", " ") == HELD_AFTER_FAILURE)
    if stuck:
        words += f" ({row.reason}): `scontrol release {row.job_id}` frees it, `scancel {row.job_id}` ends it"
        return JobAnswer(alive=False, evidence=words, restart=row.restart)
    if row.state in THERE:
        if row.state == "PENDING" and row.reason not in ("", "None"):
            known = WAY_OUT.get(row.reason.partition(",")[0].strip("()"))
            words += f" ({row.reason}{': ' + known if known else ''})"
        return JobAnswer(alive=True, evidence=words, restart=row.restart)
    return of_end(row.state, row.job_id, requeue=requeue, restart=row.restart)


def of_end(state: str, job_id: str, *, requeue: bool, restart: int = 0) -> JobAnswer:
    """What a last state says; a state that is none, or may not be the last one, says nothing."""
    words = f"SLURM says {state} for job {job_id}"
    ended = ENDS.get(state)
    if ended is None or (requeue and state in MAY_RETURN):
        return JobAnswer(alive=True, evidence=words, silent=True, restart=restart)
    return JobAnswer(alive=False, ended=ended, evidence=words, restart=restart, cause=CAUSES.get(state))
