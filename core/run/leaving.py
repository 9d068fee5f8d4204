"""What a signal means inside an allocation: preemption, the time limit, or somebody's wish.

A scheduler warns with SIGUSR2 ahead of both preemption and the time limit, and does not say which. The two are told apart by the
allocation's own clock: from ``warned`` seconds on, a warning is that of the time limit; one before that is a preemption. SIGTERM
alone is an order to leave (a cancelled job, Ctrl-C, a preemption without warning); the scheduler's own answer for the job may say more.

Whoever starts the worker in an allocation hands it three environment variables: ``SWEEP_JOB_BEGAN`` (unix seconds of this host,
written before anything else runs), ``SWEEP_JOB_ID`` and ``SWEEP_JOB_RESTART`` (how often the scheduler has restarted the job).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.training.context import Ask

WARNING = signal.SIGUSR2
RESOLUTION_SECONDS = 120.0
"""A limit that the scheduler cuts to a deadline is cut to whole minutes, and its warning may come a minute early."""


@dataclass(frozen=True)
class Allocation:
    """What a worker was given; on one's own machine there is no end and no preemption.

    Attributes:
        warned: seconds after the beginning from which on a warning is that of the time limit; ``None``: there is no limit.
        began: unix seconds of this host.
        job_id: the scheduler's name for it.
        restart: how often the scheduler has restarted it.
        limit: seconds that it lasts at most; ``None``: for ever.
        leave: unix seconds at which its night ends for it, or for the first of the trials that it runs side by side.
        leaves: the same for each of these trials.
        claim: unix seconds until which it takes up work.
        grid: the folder of the nightly grid that it works for.
    """

    warned: float | None = None
    began: float = 0.0
    job_id: str | None = None
    restart: int = 0
    limit: float | None = None
    leave: float | None = None
    claim: float | None = None
    grid: Path | None = None
    leaves: tuple[float, ...] = ()

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Allocation:
        """From ``job.json`` and the environment."""
        began = float(os.environ.get("SWEEP_JOB_BEGAN") or time.time())
        restart = int(os.environ.get("SWEEP_JOB_RESTART") or 0)
        given = cls(record.get("warned"), began, os.environ.get("SWEEP_JOB_ID"), restart, record.get("limit"))
        night = record.get("night")
        if night is None:
            return given
        grid = Path(record["workspace"]) / "nights" / str(night["id"]).partition("/")[0]
        warned = given.warned
        if warned is not None:  # the scheduler has cut the limit so that it ends with the night
            warned = max(0.0, min(warned, night["closes"] - began - night["lead"] - RESOLUTION_SECONDS))
        leaves = tuple(night.get("leaves", ()))
        return replace(given, warned=warned, leave=night["leave"], claim=night["claim"], grid=grid, leaves=leaves)

    def of(self, number: int) -> Allocation:
        """As the ``number``-th of the trials that run side by side sees it: its last save has a moment of its own."""
        return replace(self, leave=self.leaves[number % len(self.leaves)], leaves=()) if self.leaves else self

    def closed(self, now: float) -> str | None:
        """Why nothing further is taken up in it, or ``None``."""
        if self.claim is not None and now >= self.claim:
            return "its night ends"
        if self.grid is not None and not (self.grid / "grid.json").exists():
            return "its nightly grid was removed"
        if self.grid is not None and (self.grid / "PAUSED").exists():
            return "its nightly grid is paused"
        return None

    def why(self, number: int, now: float | None = None) -> Ask:
        """What signal ``number`` asks for."""
        if number == WARNING and self.leave is not None and (time.time() if now is None else now) >= self.leave:
            return "time_limit"
        if self.warned is None or number != WARNING:
            return "stop"
        elapsed = (time.time() if now is None else now) - self.began
        return "time_limit" if elapsed >= self.warned else "preempted"


def end_without_word(status: int, told: int | None, allocation: Allocation) -> dict[str, Any] | None:
    """Fields of the last line of a process that was told to leave and said nothing; ``None`` where it ended for another reason.

    Told to leave outside of a training step (while it loads, or scores), it ends at once and has nothing to save. A scheduler
    signals parent and child alike, so the child may be gone before the parent has heard of it.

    Args:
        status: its wait status.
        told: the signal that its parent has heard.
        allocation: what the signal means here.
    """
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if number != WARNING and not (number == signal.SIGTERM and told is not None):
        return None
    ask = allocation.why(told or number)
    state = ask if ask in ("preempted", "time_limit") else "interrupted"
    return {"state": state, "ask": ask, "message": f"it was told to leave ({signal.Signals(number).name}) with nothing to save"}
