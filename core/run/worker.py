"""The worker: owns one allocation, imports torch once, and forks a child for each trial that it takes up.

The parent stays a safe thing to fork: one thread, no tensor arithmetic (one multi-threaded CPU operation before the fork
hangs the child). It looks for claimable work among the planned trials of its shape, in the order of the plan from an offset of
its own, so that workers do not all race for the same trial. Scorings of trained trials come before new trainings: an answer
that is nearly there is worth more than one that is not begun.

When a child ends without a last journal line (a crash, the out-of-memory killer), the parent has reaped it, is therefore the
only possible writer left, and writes the line with the cause.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.control import causes
from core.control.decide import TrialStatus
from core.control.tick import SweepReader, hold_back
from core.definition.plan import Shape
from core.run.attempt import Place, Work
from core.run.child import fork
from core.run.dying import LOST_RACE
from core.run.fitness import Needs, problems_here
from core.run.leaving import Allocation, end_without_word
from core.workspace import holds, nodes, process
from core.workspace.files import write_atomic
from core.workspace.journal import JournalWriter, read_lines
from core.workspace.layout import Attempt, Unit, Workspace
from core.workspace.registration import newest

POLL_SECONDS = 0.2
TICK_SECONDS = 60.0
GROWING_TICK_SECONDS = 5.0
"""Between two passes where a pass may add trials, or stop some."""
GROWING_SECONDS = 60.0
"""So long a worker without work stays where a pass may still add trials."""
LOOK_SECONDS = 2.0
"""How often the parent looks, while a child works, whether its night has ended or HOLD is set."""
HOLD_SECONDS = 20.0
"""A training child sees HOLD itself and saves; one that scores, or is stuck, is told to leave after so long."""


@dataclass(frozen=True)
class Orders:
    """``job.json``: what a worker is told.

    ``step``: the command that starts the ranks of a trial in the allocation; empty where they are forks of the worker's child.
    """

    key: str
    folder: Path
    sweep: str
    shape: Shape
    threads: int
    device: str
    idle: float
    allocation: Allocation = field(default_factory=Allocation)
    mounts: tuple[str, ...] = ()
    free: float = 0.0
    step: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: Path) -> tuple[Orders, Workspace]:
        """Read the orders in a job's folder."""
        record = json.loads((folder / "job.json").read_text(encoding="utf-8"))
        shape = Shape(**record["shape"])
        orders = cls(
            key=folder.name, folder=folder, sweep=record["sweep"], shape=shape, threads=record["threads"],
            device="cuda" if shape.gpus else "cpu", idle=record["idle"], allocation=Allocation.read(record),
            mounts=tuple(record.get("mounts", ())), free=float(record.get("free", 0.0)),
            step=tuple(record.get("step", ())),
        )  # fmt: skip
        workspace = Workspace.open(Path(record["workspace"]))
        return orders, holds.of(workspace, workspace.sweep(record["sweep"]))


class Worker:
    """Takes up claimable work of one shape until none is left.

    Args:
        workspace: the workspace.
        orders: what it was told at submission.
        between: called between two trials, at most once a minute (one pass of the control loop).
    """

    def __init__(self, workspace: Workspace, orders: Orders, between: Callable[[], None] | None = None) -> None:
        self.workspace = workspace
        self.orders = orders
        self.done = 0
        self._between = between
        self._ticked = time.monotonic()
        self._leaving: int | None = None
        self._child: int | None = None
        self._failed_node: str | None = None
        self._why: str | None = None
        self._held_since: float | None = None
        self._reader = self._read_plan()
        self._offset = int(orders.key.rsplit("-", 1)[-1])

    def _read_plan(self) -> SweepReader:
        revision = newest(self.workspace.sweep(self.orders.sweep))
        if revision is None:
            raise FileNotFoundError(f"sweep {self.orders.sweep} has no revision")
        return SweepReader(self.workspace, revision)

    def run(self) -> None:
        """Work until nothing is claimable for ``idle`` seconds, or until told to leave."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._leave)
        signal.signal(signal.SIGALRM, self._look)
        for name in ("left.json", "ended.json"):  # of an incarnation that the scheduler has restarted since
            (self.orders.folder / name).unlink(missing_ok=True)
        allocation = self.orders.allocation
        identity = {**process.identity(), "node": process.node(), "job_id": allocation.job_id, "restart": allocation.restart}
        identity |= {"began": round(allocation.began, 3), "t": round(time.time(), 3)}
        write_atomic(self.orders.folder / "worker.json", json.dumps(identity, indent=1), sync=True)
        excluded = nodes.excluded(self.workspace) if self.orders.allocation.job_id is not None else {}
        if process.node() in excluded:
            # this array was queued before its node failed
            reason = f"node {process.node()} is left out: {excluded[process.node()]}"
            self._left(reason)
            return
        problems = problems_here(Needs(self.orders.shape, self.orders.folder, self.orders.mounts, self.orders.free))
        if problems:
            self._unfit(problems)
            return
        reason = "nothing left to claim"
        quiet = time.monotonic()
        while self._leaving is None:
            if (self.orders.folder / "ended.json").exists():
                # a node that was cut off for a while: others go on with what was done here
                reason = "the scheduler says that this job has ended"
                break
            if self._failed_node is not None:
                reason = f"its node failed: {self._failed_node}"
                break
            closed = allocation.closed(time.time())
            if closed is not None:
                reason = closed
                break
            work = self._next()
            if work is not None:
                self._perform(work)
                quiet = time.monotonic()
                self._tick()
                continue
            if self.workspace.held:
                reason = "HOLD is set"
                break
            idle = self.orders.idle
            if self._reader.growing and self._between is not None:
                # what it has just finished may be what the search waits for: a pass suggests the next cell
                self._tick()
                idle = max(idle, GROWING_SECONDS)
            if time.monotonic() - quiet > idle:
                break
            time.sleep(POLL_SECONDS)
        if self._leaving is not None:
            reason = self._why or f"signal {signal.Signals(self._leaving).name}"
        self._left(reason)

    def _left(self, reason: str, **more: bool) -> None:
        left = {"reason": reason, "done": self.done, "t": round(time.time(), 3), **more}
        write_atomic(self.orders.folder / "left.json", json.dumps(left), sync=True)

    def _unfit(self, problems: list[str]) -> None:
        """Leave before the first claim, and keep others away from this node."""
        why = "; ".join(problems)
        print(f"this node failed its check: {why}", file=sys.stderr, flush=True)
        self._exclude(f"its check failed: {why}")
        self._left(f"the check of its node failed: {why}", unfit=True)

    def _leave(self, number: int, frame: object) -> None:
        self._leaving = self._leaving or number
        if self._child is not None:
            os.kill(self._child, _passed_on(number))

    def _look(self, number: int, frame: object) -> None:
        """Called while a child works: its night may have ended, or HOLD been set."""
        if self._leaving is not None:
            return
        leave = self.orders.allocation.leave
        if leave is not None and time.time() >= leave:
            self._why = "its night ends"
            self._leave(signal.SIGUSR2, frame)
        elif not self.workspace.held:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = time.monotonic()
        elif time.monotonic() - self._held_since > HOLD_SECONDS:
            self._why = "HOLD is set"
            self._leave(signal.SIGTERM, frame)

    def _tick(self) -> None:
        pause = GROWING_TICK_SECONDS if self._reader.growing else TICK_SECONDS
        if self._between is not None and time.monotonic() - self._ticked > pause:
            self._ticked = time.monotonic()
            self._between()

    def _next(self) -> Work | None:
        revision = newest(self.workspace.sweep(self.orders.sweep))
        if revision is not None and revision.number != self._reader.revision.number:
            self._reader = self._read_plan()
        self._reader.refresh()
        if self.workspace.held:
            return None
        trainings: Work | None = None
        for status in self._rotated():
            for work in self._works(status):
                if work.kind == "score":
                    return work
                trainings = trainings or work
        return self._baseline() or trainings

    def _rotated(self) -> Iterator[TrialStatus]:
        plan = self._reader.plan
        start = self._offset % max(1, len(plan))
        for planned in plan[start:] + plan[:start]:
            if _alike(self.orders.shape, planned.shape) or planned.score_shape == self.orders.shape:
                yield self._reader.trial(planned)

    def _works(self, status: TrialStatus) -> Iterator[Work]:
        planned = status.planned
        if status.train.claimable and status.shape == self.orders.shape:
            yield Work("train", status.train, planned)
        if planned.score_shape == self.orders.shape:
            for (key, scoring), entry in zip(status.scorings.items(), planned.evaluate, strict=True):
                if scoring.claimable:
                    yield Work("score", scoring, planned, key=key, evaluate=entry)

    def _baseline(self) -> Work | None:
        if not self._reader.plan or self._reader.plan[0].score_shape != self.orders.shape:
            return None
        rehearsal = self._reader.plan[0].config.get("rehearsal")
        for (name, key), entry in self._reader.baselines.items():
            status = self._reader.reader.scoring(self.workspace.baseline(name, key))
            if status.claimable:
                return Work("baseline", status, key=key, evaluate=entry, baseline=name, rehearsal=rehearsal)
        return None

    def _perform(self, work: Work) -> None:
        orders = self.orders
        place = Place(
            worker=orders.key, job=orders.key, device=orders.device, threads=orders.threads,
            code=tuple(self._reader.revision.code()), allocation=orders.allocation, step=orders.step,
        )  # fmt: skip
        killed_before = oom_kills()
        unit = work.unit(self.workspace)
        self._child = fork(self.workspace, work, place)
        if self._leaving is not None:
            os.kill(self._child, _passed_on(self._leaving))
        # a timer beside the wait: the end of the child is seen at once
        signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
        status = self._wait(self._child)
        signal.setitimer(signal.ITIMER_REAL, 0)
        child, self._child = self._child, None
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == LOST_RACE:
            return
        self.done += 1
        self._end_for(unit, child, status, oom_kills() - killed_before)
        self._after(unit, child)

    def _after(self, unit: Unit, child: int) -> None:
        """A failure that may concern others is looked at soon: the node's, and a bug that the next trial would meet too."""
        mine = {attempt.number for attempt in self._mine(unit, child)}
        view = next((view for view in self._reader.reader.attempts(unit) if view.number in mine), None)
        if view is None or view.state != "failed":
            return
        if view.cause == "node_failure":
            self._failed_node = str(view.message)
            self._exclude(self._failed_node)
        hold_back(self._reader)

    def _exclude(self, why: str) -> None:
        """Keep other workers away from this node for a while (on one's own machine there is no other)."""
        seconds = self._reader.policy.config.exclude_node
        if seconds and self.orders.allocation.job_id is not None:
            nodes.exclude(self.workspace, process.node(), seconds, why, self.orders.key)

    def _mine(self, unit: Unit, child: int) -> list[Attempt]:
        """The attempt that a child of this worker made, if it made one."""
        here = process.host()["boot"]
        return [a for a in unit.attempts() if (owner := a.owner()).get("pid") == child and owner.get("boot") == here][-1:]

    def _wait(self, child: int) -> int:
        """The wait status of a child; where a pass may add or stop trials, passes go on meanwhile."""
        if self._between is not None and self._reader.growing:
            handle = os.pidfd_open(child)
            try:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                while not poll.poll(1000 * GROWING_TICK_SECONDS):
                    self._tick()
            finally:
                os.close(handle)
        return os.waitpid(child, 0)[1]

    def _end_for(self, unit: Unit, child: int, status: int, oom: int) -> None:
        """Write the last line for a child that could not."""
        for attempt in self._mine(unit, child):
            if not _has_ended(attempt):
                journal = JournalWriter(attempt.journal)
                journal.write("ended", **self._end_of(status, oom, attempt))
                journal.close()

    def _end_of(self, status: int, oom: int, attempt: Attempt) -> dict[str, Any]:
        """Fields of the last line of a child that ended without a word."""
        told = end_without_word(status, self._leaving, self.orders.allocation)
        if told is not None:
            return told
        cause, message = causes.of_status(status, oom, causes.tail_of(attempt.output))
        return {"state": "failed", "cause": cause, "message": message}


def _passed_on(number: int) -> int:  # a child takes a second SIGINT as "at once"
    return signal.SIGTERM if number == signal.SIGINT else number


def _has_ended(attempt: Attempt) -> bool:
    lines, _ = read_lines(attempt.journal)
    return bool(lines) and lines[-1]["kind"] == "ended"


def _alike(one: Shape, other: Shape) -> bool:
    """Whether two shapes differ in nothing but the time."""
    return replace(one, time=None) == replace(other, time=None)


def oom_kills() -> int:
    """Processes of this control group that the kernel has killed for memory so far (cgroup v2, then v1)."""
    own = Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines()
    for line in own:
        _, controllers, path = line.split(":", 2)
        for file in (
            Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.events",
            Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.oom_control",
        ):
            if controllers in ("", "memory") and file.is_file():
                counts = dict(entry.split() for entry in file.read_text(encoding="ascii").splitlines())
                return int(counts.get("oom_kill", 0))
    return 0


def describe(orders: Orders) -> dict[str, Any]:
    """What a worker says of itself at its start."""
    return {"key": orders.key, "sweep": orders.sweep, "shape": orders.shape.key, "threads": orders.threads, "device": orders.device}
