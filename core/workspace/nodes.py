"""Nodes that no worker is sent to for a while: ``nodes/<name>.json``, with the reason and the end of the exclusion.

The end is by the clock of whoever writes; it is hours away, so that clocks which differ by minutes do no harm.
"""

from __future__ import annotations

import json
import os
import time

from core.workspace.files import write_atomic
from core.workspace.layout import Workspace


def exclude(workspace: Workspace, node: str, seconds: float, why: str, job: str) -> None:
    """Exclude a node from now on; said again for a worker (``job``) that stands in its file already, it changes nothing."""
    file = workspace.nodes / f"{node}.json"
    known = (_read(file) or {}).get("jobs")
    jobs = list(known) if isinstance(known, list) else []
    if job in jobs:
        return
    workspace.nodes.mkdir(exist_ok=True)
    record = {"v": 1, "node": node, "until": round(time.time() + seconds, 3), "why": why, "jobs": [*jobs, job]}
    write_atomic(file, json.dumps(record, indent=1))


def excluded(workspace: Workspace, now: float | None = None) -> dict[str, str]:
    """{node: why} of the exclusions that have not ended."""
    try:
        names = sorted(os.listdir(workspace.nodes))
    except FileNotFoundError:
        return {}
    clock = time.time() if now is None else now
    records = [record for name in names if (record := _read(workspace.nodes / name)) is not None]
    return {str(record["node"]): str(record["why"]) for record in records if float(str(record["until"])) > clock}


def _read(file: os.PathLike[str]) -> dict[str, object] | None:
    try:
        with open(file, encoding="utf-8") as handle:
            value = json.load(handle)
    except (FileNotFoundError, ValueError):
        return None
    return value if isinstance(value, dict) and "until" in value else None
