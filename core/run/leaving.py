"""What a signal means inside an allocation: preemption, the time limit, or somebody's wish.

A scheduler warns with SIGUSR2 ahead of both preemption and the time limit, and does not say which. The two are told apart by the
allocation's own clock: from ``warned`` seconds on, a warning is that of the time limit; one before that is a preemption. SIGTERM
alone is an order to leave (a cancelled job, Ctrl-C, a preemption without warning): where the worker can ask the scheduler about its own
job, its word settles which (:class:`Word`).

Whoever starts the worker in an allocation hands it three environment variables: ``SWEEP_JOB_BEGAN`` (unix seconds of this host,
written before anything else runs), ``SWEEP_JOB_ID`` and ``SWEEP_JOB_RESTART`` (how often the scheduler has restarted the job).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.control.ports import UNMEASURED_SECONDS
from core.training.context import Ask

WARNING = signal.SIGUSR2
AT_THE_LIMIT_SECONDS = 60.0
"""An allocation that ends with less left than this has met its time limit; a scheduler looks at limits now and then."""
RESOLUTION_SECONDS = 120.0
"""A limit that the scheduler cuts to a deadline is cut to whole minutes, and its warning may come a minute early."""


@dataclass(frozen=True)
class Word:
    """What the scheduler says of an allocation, asked from within.

    Attributes:
        preempted: whether it is taken away for another job.
        ending: whether it is being ended (cancelled, or at its limit).
        limit: seconds that it lasts; ``None``: no limit, or it does not say.
    """

    preempted: bool = False
    ending: bool = False
    limit: float | None = None


AskScheduler = Callable[[], Word | None]
"""Asks the scheduler about the allocation of this process; ``None`` where nobody answers."""


@dataclass(frozen=True)
class Allocation:
    """What a worker was given; on one's own machine there is no end and no preemption.

    Attributes:
        warned: seconds after the beginning from which on a warning is that of the time limit; ``None``: there is no limit.
        began: unix seconds of this host.
        job_id: the scheduler's name for it.
        restart: how often the scheduler has restarted it.
        limit: seconds that it lasts at most; ``None``: for ever.
        ahead: how long before the limit the warning of it may come, seconds.
        leave: unix seconds at which its night ends for it, or for the first of the trials that it runs side by side.
        leaves: the same for each of these trials.
        useful: seconds without which a trial does nothing that lasts, as others have shown: to load, to make a step, to save.
        usual: seconds that a worker of this shape lasts where nothing cuts its limit, a night or a gap in the queue.
        most: the longest that one may be given.
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
    useful: float | None = None
    usual: float | None = None
    most: float | None = None
    ahead: float = 0.0

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Allocation:
        """From ``job.json`` and the environment."""
        began = float(os.environ.get("SWEEP_JOB_BEGAN") or time.time())
        restart = int(os.environ.get("SWEEP_JOB_RESTART") or 0)
        given = cls(
            record.get("warned"), began, os.environ.get("SWEEP_JOB_ID"), restart, record.get("limit"),
            useful=record.get("useful"), usual=record.get("usual"), most=record.get("most"),
        )  # fmt: skip
        if given.limit is not None and given.warned is not None:
            given = replace(given, ahead=given.limit - given.warned)
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

    def lasting(self, limit: float | None) -> Allocation:
        """With the time limit that the scheduler has really given it; ``None``: it does not say."""
        if limit is None or self.limit is None or limit >= self.limit:
            return self
        return replace(self, limit=limit, warned=None if self.warned is None else max(0.0, min(self.warned, limit - self.ahead)))

    def closed(self, now: float) -> str | None:
        """Why nothing further is taken up in it, or ``None``."""
        if self.claim is not None and now >= self.claim:
            return "its night ends"
        if self.grid is not None and not (self.grid / "grid.json").exists():
            return "its nightly grid was removed"
        if self.grid is not None and (self.grid / "PAUSED").exists():
            return "its nightly grid is paused"
        return None

    def late(self, now: float) -> str | None:
        """Why a further trial would do nothing that lasts before the time limit, or ``None``."""
        if self.warned is None or self.limit is None:
            return None
        useful = min(UNMEASURED_SECONDS, self.limit / 10) if self.useful is None else self.useful
        return "its time limit is near" if now >= self.began + self.warned - useful else None

    def left(self, now: float) -> float | None:
        """Seconds until the time limit; ``None``: there is none."""
        return None if self.limit is None else self.began + self.limit - now

    def why(self, number: int, now: float | None = None) -> Ask:
        """What signal ``number`` asks for."""
        if number == WARNING and self.leave is not None and (time.time() if now is None else now) >= self.leave:
            return "time_limit"
        if self.warned is None or number != WARNING:
            return "stop"
        elapsed = (time.time() if now is None else now) - self.began
        return "time_limit" if elapsed >= self.warned else "preempted"


def was_cancelled(allocation: Allocation, ask: AskScheduler | None) -> bool:
    """Whether an allocation ends because somebody wishes it: it is neither taken away, nor at its limit."""
    word, left = ask() if ask is not None else None, allocation.left(time.time())
    return word is not None and word.ending and not word.preempted and (left is None or left > AT_THE_LIMIT_SECONDS)


def settled(fields: dict[str, Any], ask: AskScheduler | None) -> dict[str, Any]:
    """The fields of an attempt's last line; one that was ordered to leave because its allocation is taken away was preempted."""
    if ask is None or fields.get("state") != "interrupted" or fields.get("ask") != "stop":
        return fields
    word = ask()
    return {**fields, "state": "preempted", "ask": "preempted"} if word is not None and word.preempted else fields


def end_without_word(status: int, told: int | None, allocation: Allocation, ask: AskScheduler | None = None) -> dict[str, Any] | None:
    """Fields of the last line of a process that was told to leave and said nothing; ``None`` where it ended for another reason.

    Told to leave outside of a training step (while it loads, or scores), it ends at once and has nothing to save. A scheduler
    signals parent and child alike, so the child may be gone before the parent has heard of it.

    Args:
        status: its wait status.
        told: the signal that its parent has heard.
        allocation: what the signal means here.
        ask: asks the scheduler, which may have told the process alone.
    """
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    if number == signal.SIGTERM and told is None and ask is not None:
        word = ask()
        told = number if word is not None and (word.preempted or word.ending) else None
    if number != WARNING and not (number == signal.SIGTERM and told is not None):
        return None
    asked = allocation.why(told or number)
    state = asked if asked in ("preempted", "time_limit") else "interrupted"
    fields = {"state": state, "ask": asked, "message": f"it was told to leave ({signal.Signals(number).name}) with nothing to save"}
    return settled(fields, ask)
