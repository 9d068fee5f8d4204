"""Cluster: who works and who waits, the nights with their budgets, what is held, and where hours went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from dashboards.web.answers import ClusterState, Worker
from dashboards.web.overview import Line, Waste, lines
from dashboards.web.site import Site, address, as_csv

STATES = {
    "queued": "in the queue", "working": "working", "unknown": "nobody answers for it", "left": "left by itself",
    "ended": "ended by the scheduler",
}  # fmt: skip
OPEN = ("queued", "working", "unknown")
SHOWN = 200
"""Workers on the page; the download has all."""


def cluster(site: Site, request: Request) -> Response:
    """The page."""
    where = address(request)
    state = where.word("state", ("open", "all", *STATES), "open")
    found = site.data.cluster()
    known = found if found is not None else ClusterState()
    shown = [worker for worker in known.workers if state in ("all", worker.state) or (state == "open" and worker.state in OPEN)]
    if where.flag("csv"):
        names = ["sweep", "key", "job", "shape", "gpus", "state", "created", "host", "night", "says"]
        return as_csv(names, [[getattr(worker, name) for name in names] for worker in shown], "workers")
    spent = lines(site)
    waste = wasted(spent)
    if where.flag("waste"):
        rows = [[sweep, cause, one.attempts, round(one.hours, 4), round(one.gpu_hours, 4)] for sweep, cause, one in waste]
        return as_csv(["sweep", "cause", "attempts", "hours for nothing", "GPU-hours for nothing"], rows, "waste")
    version = str(hash((repr(known), found is None, tuple(line.cost.hours for line in spent))))
    if (nothing := site.still_right(request, version)) is not None:
        return nothing
    return site.page(
        request, "cluster.html", title="Cluster", waiting=found is None, found=known, workers=shown[:SHOWN],
        more=max(0, len(shown) - SHOWN), counts=Counter(worker.state for worker in known.workers), state=state, worker_states=STATES,
        choices={"open": "working or waiting", "all": "all", **STATES}, queue=queue(known.workers),
        gpus=sum(worker.gpus for worker in known.workers if worker.state == "working"),
        lines=spent, waste=waste, when=when, version=version,
    )  # fmt: skip


def queue(workers: Sequence[Worker]) -> list[tuple[str, int, int, float]]:
    """The workers that wait by what the scheduler says of them: (its words without the job's number, workers, GPUs, oldest submission)."""
    found: dict[str, list[Worker]] = {}
    for worker in workers:
        if worker.state == "queued":
            found.setdefault(worker.says.replace(f" for job {worker.job}", ""), []).append(worker)
    rows = [(says, len(them), sum(one.gpus for one in them), min(one.created for one in them)) for says, them in found.items()]
    return sorted(rows, key=lambda row: -row[1])


def wasted(found: Sequence[Line]) -> list[tuple[str, str, Waste]]:
    """(sweep, cause, what was for nothing), the dearest first."""
    rows = [(line.row.id, cause, one) for line in found for cause, one in line.cost.waste.items()]
    return sorted(rows, key=lambda row: (-row[2].gpu_hours, -row[2].hours))


def when(seconds: float, zone: str) -> str:
    """A moment in the time zone of a grid."""
    return f"{datetime.fromtimestamp(seconds, ZoneInfo(zone)):%a %Y-%m-%d %H:%M}"
