"""A worker for the fake SLURM: it claims, saves and leaves through the project's own files and by its own rules, and computes nothing."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task

from core.control.tick import SweepReader
from core.definition.plan import PlannedTrial, Shape
from core.run.leaving import Allocation
from core.workspace.claim import claim, newest_valid_checkpoint
from core.workspace.files import publish_folder, write_atomic
from core.workspace.journal import JournalWriter
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import Revision, newest, register


def plan_of(count: int, shape: Shape | None = None) -> list[PlannedTrial]:
    return [PlannedTrial(f"{number:032x}", {"head.layers": number}, 0, {}, shape or Shape(gpus=1)) for number in range(1, count + 1)]


def registered(workspace: Workspace, plan: list[PlannedTrial], name: str = "study") -> Revision:
    meta = {"digest": name, "name": name, "project": name, "family": name, "rehearsal": False}
    return register(workspace, workspace.sweep(name), meta=meta, definition="", code=[], trials=plan)[0]


@dataclass
class Toy:
    """The program of all tasks.

    Attributes:
        step: seconds of an optimiser step.
        steps: of a trial.
        load: seconds before the first step.
        deaf: whether workers hear neither signals nor their own clock.
        ends: (second, trial, state) of every attempt's end.
    """

    workspace: Workspace
    step: float = 600.0
    steps: int = 40
    load: float = 120.0
    deaf: bool = False
    slurm: FakeSlurm | None = None
    ends: list[tuple[float, str, str]] = field(default_factory=list)

    @property
    def now(self) -> float:
        assert self.slurm is not None
        return self.slurm.now

    def __call__(self, task: Task) -> Iterator[float]:
        first = Path(shlex.split(task.command)[-1])
        folder = first.parent / json.loads((first / "array.json").read_text())["tasks"][task.index]
        record = json.loads((folder / "job.json").read_text())
        allocation = self._allocation(record, task)
        identity = {"host": task.node, "boot": "", "pid": 1, "job_id": task.id, "restart": task.restart}
        write_atomic(folder / "worker.json", json.dumps({**identity, "began": task.began, "t": self.now}))
        reason, began = None, False
        while reason is None:
            reason = None if self.deaf else allocation.closed(self.now) or (allocation.late(self.now) if began else None)
            found = None if reason else self._claimable(record)
            if found is None:
                reason = reason or "nothing left to claim"
                break
            planned, number, evidence = found
            began = True
            yield from self._train(task, allocation, folder.name, self.workspace.trial(planned.id), number, evidence)
            if task.signals or (allocation.leave is not None and self.now >= allocation.leave):
                reason = "its night ends"
        write_atomic(folder / "left.json", json.dumps({"reason": reason, "done": 0, "t": self.now}))

    def _allocation(self, record: dict[str, object], task: Task) -> Allocation:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SWEEP_JOB_BEGAN", str(task.began))
            return Allocation.read(record)

    def _claimable(self, record: dict[str, object]) -> tuple[PlannedTrial, int, str | None] | None:
        revision = newest(self.workspace.sweep(str(record["sweep"])))
        assert revision is not None
        reader = SweepReader(self.workspace, revision)
        for planned in reader.plan:
            status = reader.trial(planned).train
            if status.claimable:
                return planned, status.attempts + 1, status.evidence
        return None

    def _train(self, task: Task, allocation: Allocation, key: str, trial: Trial, number: int, evidence: str | None) -> Iterator[float]:
        attempt = claim(trial, number, f"{key}-{self.now}", {"job": key, "restart": task.restart}, evidence)
        assert attempt is not None
        owner = attempt.owner() | {"host": task.node, "boot": "", "machine": ""}  # another host: only SLURM can say that it has ended
        write_atomic(attempt.folder / "owner.json", json.dumps(owner))
        journal = JournalWriter(attempt.journal, clock=lambda: self.now)
        found = newest_valid_checkpoint(trial)
        step = found[1] if found else 0
        journal.write("started", attempt=number, resumed=None)
        yield self.load
        while step < self.steps:
            leave = math.inf if allocation.leave is None or self.deaf else allocation.leave
            yield max(0.0, min(self.step, leave - self.now))
            word = "SIGUSR2" if task.signals else ""
            if not self.deaf and (word or self.now >= leave):
                self._save(trial, attempt.folder, journal, number, step)
                state = allocation.why(12, self.now) if word or self.now >= leave else "stop"
                self._end(journal, trial, state, ask=state)
                return
            step += 1
            journal.write("progress", step=step, total=self.steps, values={})
            if step % 6 == 0:
                self._save(trial, attempt.folder, journal, number, step)
        publish_folder(trial.result, attempt.folder / ".result", lambda made: (made / "metrics.json").touch(), {})
        self._end(journal, trial, "completed")

    def _save(self, trial: Trial, folder: Path, journal: JournalWriter, number: int, step: int) -> None:
        name = f"step-{step:08d}"
        staging, about = folder / "checkpoints" / f".{name}", {"attempt": number, "step": step}
        made = publish_folder(folder / "checkpoints" / name, staging, lambda made: (made / "state").touch(), about)
        if made:
            journal.write("checkpoint", step=step, folder=name, seconds=30.0)

    def _end(self, journal: JournalWriter, trial: Trial, state: str, **more: str) -> None:
        journal.write("ended", state=state, **more)
        journal.close()
        self.ends.append((self.now, trial.id, state))
