"""The workers of a sweep as their folders show them.

A worker's life in files, below ``jobs/<key>/``, wherever it runs:

``job.json``        its orders, written by whoever submits, before it submits; making the folder is the claim on the key
``submitted.json``  the job id
``worker.json``     the worker's identity, once it has imported what it needs
``left.json``       why the worker left, and how much it did
``ended.json``      what the scheduler said of its end, written by whoever heard it first
``excluded.json``   the nodes that were left out because they failed under it; made once

``left.json`` and ``ended.json`` are how workers on other hosts, which ask no scheduler, learn that an attempt has ended.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core.control.ports import Job, JobAnswer
from core.control.states import ATTEMPT_STATES
from core.definition.plan import Shape
from core.workspace.files import write_atomic
from core.workspace.layout import Workspace

RECORDED = ("allotted", "array", "cluster", "created", "gpus", "limit", "night", "requeue", "submitter")
"""What ``Job.details`` holds of the orders."""


ENDS = ("ended.json", "left.json")
"""The files of a worker that say that it has ended."""


def names_of(workspace: Workspace, sweep_id: str | None = None) -> list[str]:
    """The names of the workers of a sweep, or of all, ``rs-SWEEP-NUMBER``, oldest first."""
    try:
        names = os.listdir(workspace.jobs)
    except FileNotFoundError:
        return []
    return sorted(name for name in names if sweep_id is None or name.rpartition("-")[0] == f"rs-{sweep_id}")


def number_of(name: str) -> int:
    """The number of a worker among those of its sweep; 0 for a folder that is none's."""
    number = name.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def last_of(workspace: Workspace, sweep_id: str) -> int:
    """The highest number of a worker of a sweep; 0 where it has none."""
    return max(map(number_of, names_of(workspace, sweep_id)), default=0)


def jobs_of(workspace: Workspace, sweep_id: str | None = None, names: Iterable[str] | None = None) -> list[Job]:
    """The workers that were submitted for a sweep, or for all of them, oldest first; ``names``: only these."""
    found = []
    root = str(workspace.jobs)  # of thousands of workers a pass reads many small files: a path object costs as much as the reading
    for name in names_of(workspace, sweep_id) if names is None else names:
        folder = f"{root}/{name}"
        record = _json(f"{folder}/job.json")
        if record is None or (sweep_id is not None and record.get("sweep") != sweep_id):
            continue
        submitted = _json(f"{folder}/submitted.json") or {}
        found.append(
            Job(
                key=name, sweep=record["sweep"], revision=record["revision"], shape=Shape(**record["shape"]),
                slots=int(record.get("slots", 1)), job_id=submitted.get("job_id"), started=os.path.exists(f"{folder}/worker.json"),
                left=_json(f"{folder}/left.json"),
                details={
                    **{name: record[name] for name in RECORDED if name in record},
                    "folder": folder, **submitted, "worker": _json(f"{folder}/worker.json"),
                },
            )
        )  # fmt: skip
    return found


def recorded(folder: Path | str) -> JobAnswer | None:
    """What the files of a worker say about its end, without asking anybody; ``None``: nothing."""
    ended = _json(f"{folder}/ended.json")
    if ended is not None and ended.get("ended") in ATTEMPT_STATES:
        nodes = tuple(ended.get("nodes", ()))
        return JobAnswer(
            False, ended["ended"], str(ended["evidence"]), restart=int(ended["restart"]), cause=ended.get("cause"), nodes=nodes
        )
    restart = int((_json(f"{folder}/worker.json") or {}).get("restart") or 0)
    left = _json(f"{folder}/left.json")
    if left is not None:
        return JobAnswer(alive=False, ended="lost", evidence=f"its worker has left: {left.get('reason')}", restart=restart)
    if restart:
        return JobAnswer(alive=True, silent=True, evidence=f"restart {restart} has begun", restart=restart)
    return None


def record(folder: Path, answer: JobAnswer) -> None:
    """Write down the end of a worker, and when it was heard of."""
    write_atomic(folder / "ended.json", json.dumps({**asdict(answer), "t": round(time.time(), 3)}, indent=1))


def heard(job: Job) -> float | None:
    """Unix seconds at which a worker's end was written down."""
    t = (_json(f"{job.details['folder']}/ended.json") or {}).get("t")
    return None if t is None else float(t)


def _json(path: str) -> dict[str, Any] | None:  # a file that another process may be making right now
    try:
        with open(path, "rb", buffering=0) as handle:
            value = json.loads(handle.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return value if isinstance(value, dict) else None
