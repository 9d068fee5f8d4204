"""What looks after a cluster wants to know: who runs what, what it cost, and what of it was wasted.

Two sources, side by side and never added up: the workspaces that the caller can read (attempts and workers, by their own clocks, with
causes), and SLURM's accounting, by the prefix of our jobs' names, which also knows workspaces that are private.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.control import nights as limits
from core.control.jobs import heard, jobs_of
from core.control.ports import Job, JobAnswer
from core.control.read import Reader
from core.workspace import nights, process
from core.workspace.layout import Scoring, Workspace
from core.workspace.registration import newest
from slurm import accounting
from slurm.local import LocalScheduler
from slurm.polling import Run, answers_of, is_slurm
from slurm.profile import of_sweep

BY = ("user", "account", "sweep")
"""What GPU-hours are added up by."""
WASTED = frozenset({"BOOT_FAIL", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"})
"""Last states of jobs whose hours accounting calls failed."""
_CALLS = re.compile(r"^\s+(\S+)\s+\(\s*\d+\)\s+count:(\d+)\s+ave_time:(\d+)\s+total_time:(\d+)")


@dataclass
class Use:
    """Of one user, account and sweep; hours are GPU-hours."""

    user: str
    account: str
    sweep: str
    source: str
    jobs: int = 0
    running: int = 0
    gpu_hours: float = 0.0
    preempted: int = 0
    wasted: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    def as_json(self) -> dict[str, Any]:
        """The documented shape."""
        wasted = {cause: round(hours, 3) for cause, hours in sorted(self.wasted.items())}
        return {**vars(self), "gpu_hours": round(self.gpu_hours, 3), "wasted": wasted}


def of_workspaces(workspaces: Sequence[Workspace], since: float, now: float, ask: Run) -> list[Use]:
    """What the sweeps of workspaces used since then; a sweep belongs to whoever registered its newest revision.

    SLURM is asked once, for all of them: what runs on other nodes is known to nobody else.
    """
    found = []
    answers = _answers(workspaces, ask)
    for workspace in workspaces:
        reader = Reader(workspace, {key: answer for (root, key), answer in answers.items() if root == workspace.root})
        for sweep in workspace.sweeps():
            revision = newest(sweep)
            if revision is None:
                continue
            account = of_sweep(sweep).profile.account or ""
            use = Use(str(revision.meta.get("by", "")), account, sweep.id, str(workspace.root))
            workers: dict[str, Job] = {}
            seen: dict[str, float] = defaultdict(float)
            for job in jobs_of(workspace, sweep.id):
                worker = job.details.get("worker") or {}
                if float(job.details.get("created") or worker.get("began") or 0.0) < since:
                    continue
                workers[job.key] = job
                use.jobs += 1
            for planned in revision.plan():
                trial = workspace.trial(planned.id)
                scorings = (Scoring(folder) for folder in sorted((trial.folder / "scores").glob("*")))
                for view in (view for unit in (trial, *scorings) for view in reader.attempts(unit)):
                    key = str(view.owner.get("job"))
                    if key not in workers:
                        continue
                    shape, seen[key] = workers[key].shape, max(seen[key], view.last or 0.0)
                    use.running += view.state == "running"
                    use.preempted += view.state == "preempted"
                    if view.state in ("failed", "lost") and view.started is not None and view.last is not None:
                        hours = shape.gpus * (view.last - float(view.started["t"])) / 3600
                        use.wasted[view.cause or "lost"] += hours
            for key, job in workers.items():
                answer = answers.get((workspace.root, key))
                alive = answer is not None and answer.alive and not answer.silent
                use.gpu_hours += job.gpus * limits.lasted(job, now, seen[key], heard(job), alive) / 3600
            found.append(use)
    return found


def _answers(workspaces: Sequence[Workspace], ask: Run) -> dict[tuple[Path, str], JobAnswer]:
    """What is said of the workers that have not left, by workspace and key."""
    mine = [(workspace.root, job) for workspace in workspaces for job in jobs_of(workspace) if job.left is None and heard(job) is None]
    users = {
        str(revision.meta.get("by", "")) for workspace in workspaces for s in workspace.sweeps() if (revision := newest(s)) is not None
    }
    there = [(root, job) for root, job in mine if is_slurm(job)]
    # a process of another machine cannot be looked for
    local = [(root, job) for root, job in mine if not is_slurm(job)]
    here = [(root, job) for root, job in local if process.is_here(job.details.get("worker") or job.details["submitter"])]
    said = zip(there, answers_of([job for _, job in there], ask, users), strict=True)
    return {
        **{(root, job.key): answer for (root, job), answer in said if answer is not None},
        **{(root, job.key): LocalScheduler().poll([job])[job.key] for root, job in here},
    }


def of_accounting(ask: Run, since: str) -> list[Use] | None:
    """What accounting says of all users' jobs that carry our prefix; ``None`` where nobody answers."""
    records = accounting.records(ask, since=since, everyone=True)
    if records is None:
        return None
    found: dict[tuple[str, str, str], Use] = {}
    for record in records:
        key = (record.user, record.account, record.sweep)
        use = found.setdefault(key, Use(*key, source="accounting"))
        use.jobs += 1
        use.running += record.state == "RUNNING"
        use.preempted += record.state == "PREEMPTED"
        use.gpu_hours += record.gpu_hours
        if record.state in WASTED:
            use.wasted[record.state] += record.gpu_hours
    return [found[key] for key in sorted(found)]


def calls(ask: Run, users: Iterable[str]) -> dict[str, int]:
    """Calls to the controller by user since its statistics began (``sdiag``); all of a user's, not only ours."""
    reply = ask(("sdiag",))
    names = set(users)
    section = reply.out.partition("by user")[2]
    rows = [found.groups() for line in section.splitlines() if (found := _CALLS.match(line))]
    return {name: int(count) for name, count, _, _ in rows if name in names} if reply.code == 0 else {}


def budgets(workspaces: Iterable[Workspace], now: float) -> list[dict[str, Any]]:
    """The nightly grids with what their newest night was given."""
    rows = []
    for workspace in workspaces:
        for grid in nights.grids(workspace):
            opened = nights.nights(workspace, grid)
            last = opened[-1] if opened else None
            jobs = [job for job in jobs_of(workspace, grid.sweep) if last is not None and limits.of(job) == last.id]
            used = sum(limits.gpu_seconds(job) for job in jobs) / 3600
            rows.append(
                {
                    "workspace": str(workspace.root), "grid": grid.name, "account": grid.account, "budget_gpu_hours": grid.budget,
                    "night": last.night if last else None, "open": bool(last and last.opens <= now < last.closes),
                    "used_gpu_hours": round(used, 3),
                }
            )  # fmt: skip
    return rows


def total(uses: Sequence[Use], by: str) -> dict[str, float]:
    """GPU-hours by ``user``, ``account`` or ``sweep``."""
    found: dict[str, float] = defaultdict(float)
    for use in uses:
        found[str(getattr(use, by))] += use.gpu_hours
    return {name: round(hours, 3) for name, hours in sorted(found.items(), key=lambda item: -item[1])}
