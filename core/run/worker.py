"""The worker: owns one allocation, imports torch once, and forks a child for each trial that it takes up.

It runs as many side by side as fit its allocation (:mod:`core.run.packing`), each in a child with its own part of it, and
whatever befalls one child leaves its neighbours alone.

The parent stays a safe thing to fork: one thread, no tensor arithmetic (one multi-threaded CPU operation before the fork
hangs the child). It looks for claimable work among the planned trials of its shape, in the order of the plan from an offset of
its own, so that workers do not all race for the same trial. Scorings of trained trials come before new trainings: an answer
that is nearly there is worth more than one that is not begun. Scorings that ask for another shape run in what is left free.

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
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from core.control import causes
from core.control.decide import TrialStatus
from core.control.derive import AttemptView
from core.control.states import OPEN
from core.control.tick import SweepReader, hold_back, passed_file
from core.definition.plan import Shape
from core.run.attempt import Place, Work
from core.run.child import fork
from core.run.dying import LOST_RACE
from core.run.fitness import problems_by, problems_here
from core.run.leaving import Allocation, AskScheduler, end_without_word, was_cancelled
from core.run.oom import Kills
from core.run.orders import Orders
from core.run.packing import Packing, Part, visible_gpus
from core.run.passing import Passes, Start
from core.workspace import nodes, process
from core.workspace.files import write_atomic
from core.workspace.journal import JournalWriter, read_lines
from core.workspace.layout import Attempt, Unit, Workspace
from core.workspace.registration import newest

POLL_SECONDS = 0.2
LONGEST_PAUSE = 10.0
"""Between two looks for work in what is left free beside a child that works."""
LOOK_SHARE = 50.0
"""Such looks take at most one part in so many of the time: a look through a large plan costs something."""
TICK_SECONDS = 60.0
GROWING_TICK_SECONDS = 5.0
"""Between two passes where a pass may add trials, or stop some."""
GROWING_SECONDS = 60.0
"""So long a worker without work stays where a pass may still add trials."""
LOOK_SECONDS = 2.0
"""How often the parent looks, while a child works, whether its night has ended or HOLD is set."""
HOLD_SECONDS = 20.0
"""A child sees HOLD itself and leaves; one that is stuck, or between two batches of a scoring for long, is told to after so long."""


@dataclass(frozen=True)
class Child:
    """A running child: what it works on, with which part of the allocation, and how long that lasts for it."""

    pid: int
    handle: int
    unit: Unit
    part: Part
    allocation: Allocation

    def tell(self, number: int) -> None:
        """Send it a signal; it may be gone."""
        with suppress(OSError):
            signal.pidfd_send_signal(self.handle, number)


class Worker:
    """Takes up claimable work until none is left, as much at once as its allocation holds.

    Args:
        workspace: the workspace.
        orders: what it was told at submission.
        start_pass: starts the process of one pass of the control loop (:mod:`core.run.passing`); ``None``: it makes none.
        scheduler: asks what becomes of the allocation.
    """

    def __init__(
        self, workspace: Workspace, orders: Orders, start_pass: Start | None = None, scheduler: AskScheduler | None = None
    ) -> None:
        self.workspace = workspace
        self.orders = orders
        self.done = 0
        self._scheduler = scheduler
        self._passes = Passes(start_pass, passed_file(workspace.sweep(orders.sweep)))
        self._leaving: int | None = None
        self._children: dict[int, Child] = {}
        self._told: dict[int, int] = {}
        self._failed_node: str | None = None
        self._why: str | None = None
        self._took_up: set[str] = set()
        self._held_since: float | None = None
        self._kills = Kills()
        gpus = visible_gpus(orders.allotted.gpus // orders.shape.nodes)
        cores = sorted(os.sched_getaffinity(0))
        self._packing = Packing(orders.shape, orders.slots, orders.threads, orders.allotted, gpus, cores)
        self._reader = self._read_plan()
        self._offset = int(orders.key.rsplit("-", 1)[-1])

    def _read_plan(self) -> SweepReader:
        revision = newest(self.workspace.sweep(self.orders.sweep))
        if revision is None:
            raise FileNotFoundError(f"sweep {self.orders.sweep} has no revision")
        return SweepReader(self.workspace, revision)

    def run(self) -> None:
        """Work until nothing is claimable for ``idle`` seconds, or until told to leave; then see to it that the sweep goes on."""
        self._run()
        if not self._was_ended() and self._more_to_do():
            self._passes.last()

    def _run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, self._leave)
        for name in ("left.json", "ended.json"):  # of an incarnation that the scheduler has restarted since
            (self.orders.folder / name).unlink(missing_ok=True)
        allocation = self.orders.allocation
        identity = {
            **process.identity(),
            "node": process.node(),
            "nodes": os.environ.get("SLURM_JOB_NODELIST"),
            "job_id": allocation.job_id,
            "restart": allocation.restart,
        }
        identity |= {"began": round(allocation.began, 3), "t": round(time.time(), 3)}
        write_atomic(self.orders.folder / "worker.json", json.dumps(identity, indent=1), sync=True)
        excluded = nodes.excluded(self.workspace) if self.orders.allocation.job_id is not None else {}
        if process.node() in excluded:
            # this array was queued before its node failed
            reason = f"node {process.node()} is left out: {excluded[process.node()]}"
            self._left(reason)
            return
        problems = self._check()
        if problems:
            self._unfit(problems)
            return
        self._left(self._work())

    def _check(self) -> dict[str, list[str]]:
        """What is wrong, by node."""
        if self.orders.check:
            return problems_by(self.orders.check, self.orders.folder)
        problems = problems_here(self.orders.needs)
        return {process.node(): problems} if problems else {}

    def _work(self) -> str:
        """Fill the allocation, wait, look after the children, again and again; returns why it is over."""
        quiet = time.monotonic()
        pause, look = POLL_SECONDS, 0.0
        while True:
            reason = self._reason()
            began = time.monotonic()
            if reason is None and began >= look and not self._packing.full:
                if self._fill():
                    quiet, pause = time.monotonic(), POLL_SECONDS
                elif self._children:
                    pause = max(min(2 * pause, LONGEST_PAUSE), LOOK_SHARE * (time.monotonic() - began))
                look = time.monotonic() + pause
            if not self._children:
                # while nothing runs, HOLD ends it at once
                reason = reason or self._reason() or ("HOLD is set" if self.workspace.held else None)
                if reason is not None:
                    return reason
                idle = self.orders.idle
                if self._reader.growing:
                    # what it has just finished may be what the search waits for: a pass suggests the next cell
                    self._tick()
                    idle = max(idle, GROWING_SECONDS)
                if time.monotonic() - quiet > idle:
                    return "nothing left to claim"
                pause, look = POLL_SECONDS, 0.0
            nothing_to_take_up = reason is not None or self._packing.full
            self._wait(POLL_SECONDS if not self._children else LOOK_SECONDS if nothing_to_take_up else min(pause, LOOK_SECONDS))
            if self._reap():
                quiet, pause, look = time.monotonic(), POLL_SECONDS, 0.0
            self._tick()
            self._look()

    def _reason(self) -> str | None:
        """Why nothing further is taken up; what runs is left to end."""
        if self._leaving is not None:
            return self._why or f"signal {signal.Signals(self._leaving).name}"
        if (self.orders.folder / "ended.json").exists():
            # a node that was cut off for a while: others go on with what was done here
            return "the scheduler says that this job has ended"
        if self._failed_node is not None:
            return f"its node failed: {self._failed_node}"
        allocation, now = self.orders.allocation, time.time()
        return allocation.closed(now) or (allocation.late(now) if self._had_its_turn(now) else None)

    def _had_its_turn(self, now: float) -> bool:
        """Whether it has trained, or scored until half of its time was gone.

        Until then it takes up what it can, however late: that a short worker warms up for long, or scores a baseline first, must not make
        it leave without a trial, and be followed by another that does the same.
        """
        left, limit = self.orders.allocation.left(now), self.orders.allocation.limit
        return "train" in self._took_up or (bool(self._took_up) and left is not None and limit is not None and left < limit / 2)

    def _left(self, reason: str, **more: bool) -> None:
        left = {"reason": reason, "done": self.done, "t": round(time.time(), 3), **more}
        write_atomic(self.orders.folder / "left.json", json.dumps(left), sync=True)

    def _unfit(self, problems: Mapping[str, list[str]]) -> None:
        """Leave before the first claim, and keep others away from the nodes that are not fit."""
        for node, found in problems.items():
            print(f"{node} failed its check: {'; '.join(found)}", file=sys.stderr, flush=True)
            self._exclude(f"its check failed: {'; '.join(found)}", node)
        self._left(f"the check of its node failed: {'; '.join(why for found in problems.values() for why in found)}", unfit=True)

    def _leave(self, number: int, frame: object) -> None:
        self._leaving = self._leaving or number
        for child in list(self._children.values()):
            self._tell(child, number)

    def _tell(self, child: Child, number: int) -> None:
        self._told.setdefault(child.pid, number)
        # a child takes a second SIGINT as "at once"
        child.tell(signal.SIGTERM if number == signal.SIGINT else number)

    def _look(self) -> None:
        """What the children must hear of beside signals: the night has ended for one of them, or HOLD is set."""
        if self._leaving is not None:
            return
        for child in list(self._children.values()):
            leave = child.allocation.leave
            if leave is not None and time.time() >= leave and child.pid not in self._told:
                self._tell(child, signal.SIGUSR2)
        if not self.workspace.held:
            self._held_since = None
        elif self._held_since is None:
            self._held_since = time.monotonic()
        elif self._children and time.monotonic() - self._held_since > HOLD_SECONDS:
            self._why = "HOLD is set"
            self._leave(signal.SIGTERM, None)

    def _tick(self) -> None:
        self._passes.make(GROWING_TICK_SECONDS if self._reader.growing else TICK_SECONDS)

    def _was_ended(self) -> bool:
        """Whether somebody has ended it, on his own machine or with ``scancel``: he does not mean it to be replaced at once."""
        if self._leaving not in (signal.SIGTERM, signal.SIGINT):
            return False
        if self.orders.allocation.job_id is None:
            return True
        return was_cancelled(self.orders.allocation, self._scheduler)

    def _more_to_do(self) -> bool:
        """Whether a pass may find something to do, now or when what others run has ended."""
        self._reader.refresh()
        if self.workspace.held:
            return False
        if self._reader.growing:
            return True
        trials = (self._reader.trial(planned) for planned in self._reader.plan)
        if any(unit.state in OPEN for status in trials for unit in (status.train, *status.scorings.values())):
            return True
        baselines = (self.workspace.baseline(name, key) for name, key in self._reader.baselines)
        return any(self._reader.reader.scoring(baseline).state in OPEN for baseline in baselines)

    def _fill(self) -> bool:
        """Take up as much as fits; whether anything was."""
        revision = newest(self.workspace.sweep(self.orders.sweep))
        if revision is not None and revision.number != self._reader.revision.number:
            self._reader = self._read_plan()
        self._reader.refresh()
        if self.workspace.held:
            return False
        filled = False
        for work, shape in self._in_order():
            if self._leaving is not None or self._packing.full:
                break
            if (part := self._packing.take(shape)) is not None:
                self._begin(work, part, self.orders.device if shape.gpus else "cpu")
                filled = True
        return filled

    def _in_order(self) -> Iterator[tuple[Work, Shape]]:
        """Claimable work with the shape that it asks for: scorings, trainings, and then scorings that have workers of their own shape."""
        own = self.orders.shape
        busy = {child.unit for child in self._children.values()}  # one that has just begun may not have claimed yet
        trainings: list[tuple[Work, Shape]] = []
        spare: list[tuple[Work, Shape]] = []
        for status in self._rotated():
            if status.train.claimable and status.shape == own and len(trainings) < self.orders.slots:
                work = Work("train", status.train, status.planned)
                trainings += [(work, own)] if work.unit(self.workspace) not in busy else []
            shape = status.planned.score_shape
            for work in self._scorings(status) if shape == own or self._may_lend(shape) else ():
                if work.unit(self.workspace) in busy:
                    continue
                if shape == own:
                    yield work, shape
                else:
                    spare.append((work, shape))
        shape = self._reader.plan[0].score_shape if self._reader.plan else own
        for work in self._baselines() if shape == own or self._may_lend(shape) else ():
            if work.unit(self.workspace) in busy:
                continue
            if shape == own:
                yield work, own
            else:
                spare.append((work, shape))
        yield from trainings
        yield from spare

    def _may_lend(self, shape: Shape) -> bool:
        """Whether a scoring of another shape may run in what the trials leave free; where the scheduler places ranks, it counts them."""
        own = self.orders.shape
        return (
            not self.orders.step and shape.nodes == own.nodes == 1 and shape.gpus <= self.orders.allotted.gpus
            and shape.gpu_type in (None, own.gpu_type)
        )  # fmt: skip

    def _rotated(self) -> Iterator[TrialStatus]:
        plan = self._reader.plan
        start = self._offset % max(1, len(plan))
        for planned in plan[start:] + plan[:start]:
            score = planned.score_shape
            if self.orders.shape.alike(planned.shape) or score == self.orders.shape or self._may_lend(score):
                yield self._reader.trial(planned)

    def _scorings(self, status: TrialStatus) -> Iterator[Work]:
        for (key, scoring), entry in zip(status.scorings.items(), status.planned.evaluate, strict=True):
            if scoring.claimable:
                yield Work("score", scoring, status.planned, key=key, evaluate=entry)

    def _baselines(self) -> Iterator[Work]:
        rehearsal = self._reader.plan[0].config.get("rehearsal") if self._reader.plan else None
        for (name, key), entry in self._reader.baselines.items():
            status = self._reader.reader.scoring(self.workspace.baseline(name, key))
            if status.claimable:
                yield Work("baseline", status, key=key, evaluate=entry, baseline=name, rehearsal=rehearsal)

    def _begin(self, work: Work, part: Part, device: str) -> None:
        orders = self.orders
        allocation = orders.allocation.of(part.number)
        if orders.step:  # which GPUs and cores its ranks get, the scheduler says
            part = replace(part, gpus=None, cores=None)
        place = Place(
            worker=orders.key, job=orders.key, device=device, threads=part.threads, code=tuple(self._reader.revision.code()),
            allocation=allocation, step=orders.step, gpus=part.gpus or (), scheduler=self._scheduler,
        )  # fmt: skip
        if not self._children:
            self._kills.forget()
        pid = fork(self.workspace, work, place, part)
        child = Child(pid, os.pidfd_open(pid), work.unit(self.workspace), part, allocation)
        self._children[pid] = child
        self._took_up.add(work.kind)
        if self._leaving is not None:
            self._tell(child, self._leaving)

    def _wait(self, seconds: float) -> None:
        """Until a child has ended, at most so long; without children just so long."""
        poll = select.poll()
        for child in self._children.values():
            poll.register(child.handle, select.POLLIN)
        poll.poll(1000 * seconds)

    def _reap(self) -> bool:
        """Look after the children that have ended; whether there were any."""
        found = False
        for child in list(self._children.values()):
            done, status = os.waitpid(child.pid, os.WNOHANG)
            if not done:
                continue
            found = True
            del self._children[child.pid]
            os.close(child.handle)
            self._packing.give_back(child.part)
            told = self._told.pop(child.pid, None) or self._leaving
            if os.WIFEXITED(status) and os.WEXITSTATUS(status) == LOST_RACE:
                continue
            self.done += 1
            self._end_for(child, status, told)
            self._after(child, told)
        return found

    def _after(self, child: Child, told: int | None) -> None:
        """What may concern others is looked at soon: that the node failed, a bug that the next trial would meet too, an order to leave."""
        mine = {attempt.number for attempt in self._mine(child)}
        views = self._reader.reader.attempts(child.unit)
        view = next((view for view in views if view.number in mine), None)
        if view is None:
            return
        if self.orders.step and told is None and _was_told(view) and view is views[-1]:
            # a scheduler that sends no warning before it preempts tells the ranks of a step, and not the worker outside of it
            self._why = f"its ranks were told to leave ({view.state})"
            self._leave(signal.SIGUSR2 if view.state == "time_limit" else signal.SIGTERM, None)
        if view.state != "failed":
            return
        if view.cause == "node_failure":
            self._failed_node = str(view.message)
            self._exclude(self._failed_node)
        hold_back(self._reader)

    def _exclude(self, why: str, node: str | None = None) -> None:
        """Keep other workers away from this node, or another of the allocation, for a while (on one's own machine there is no other)."""
        seconds = self._reader.policy.config.exclude_node
        if seconds and self.orders.allocation.job_id is not None:
            nodes.exclude(self.workspace, node or process.node(), seconds, why, self.orders.key)

    def _mine(self, child: Child) -> list[Attempt]:
        """The attempt that a child of this worker made, if it made one."""
        here = process.host()["boot"]
        return [a for a in child.unit.attempts() if (owner := a.owner()).get("pid") == child.pid and owner.get("boot") == here][-1:]

    def _end_for(self, child: Child, status: int, told: int | None) -> None:
        """Write the last line for a child that could not."""
        for attempt in self._mine(child):
            lines, _ = read_lines(attempt.journal)
            if lines and lines[-1]["kind"] == "ended":
                if lines[-1].get("cause") == "host_oom":  # a process of its own was killed: no neighbour is to blame for that
                    self._kills.blame()
                continue
            journal = JournalWriter(attempt.journal)
            journal.write("ended", **self._end_of(child, status, told, attempt))
            journal.close()

    def _end_of(self, child: Child, status: int, told: int | None, attempt: Attempt) -> dict[str, Any]:
        """Fields of the last line of a child that ended without a word."""
        fields = end_without_word(status, told, child.allocation, self._scheduler)
        if fields is not None:
            return fields
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        cause, message = causes.of_status(status, self._kills.blame() if killed else 0, causes.tail_of(attempt.output))
        return {"state": "failed", "cause": cause, "message": message}


def _was_told(view: AttemptView) -> bool:
    """Whether an attempt ended because its allocation does, or because its processes were ordered to leave."""
    return view.state in ("preempted", "time_limit") or (view.state == "interrupted" and view.ask == "stop")
