"""A search driven by the real ticks, with workers that write what trials write and compute nothing.

Each trial's curve is given by its configuration. One :meth:`Farm.round` is one validation of every worker, then a tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.control.ports import NOTHING_YET, Job, Room, Shown, Submit
from core.control.search.study import SearchState
from core.control.tick import SweepReader, TickResult, tick
from core.definition import load
from core.definition.plan import PlannedTrial, Shape
from core.workspace.claim import claim
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter
from core.workspace.layout import Workspace, write_config
from core.workspace.registration import Revision, newest
from core.workspace.requests import asked
from sweeps.launching import prepare
from tests.written import PRINTS, _write

SHIPPED = Path(__file__).resolve().parents[2] / "sweeps"
HEAD = "version: 1\nname: tuned\ntrial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}\n"
STEPS = 100

CurveOf = Callable[[Mapping[str, Any]], list[dict[str, float]]]
"""The validations of a trial with this configuration, evenly spread over its steps."""


def register(root: Path, text: str, *overrides: str, name: str = "tuned") -> Revision:
    file = root.parent / f"{name}.yaml"
    file.write_text(HEAD.replace("tuned", name) + text)
    definition = load(file, overrides, search=[SHIPPED], rehearsal=True)
    place, registered = prepare(definition, root, source=str(file), overrides=overrides, stale="keep", prune=False)
    assert newest(place.sweep(f"{name}-rehearsal")) == registered.revision
    return registered.revision


class Submitter:
    """Holds ``workers`` at once and starts none: the farm's own are there already."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.trouble: str | None = None

    def capacity(self, shape: Shape) -> int:
        return self.workers

    def room(self, shape: Shape) -> Room:
        return Room()

    def submit(self, sweep: str, revision: int, wanted: Submit, shown: Shown = NOTHING_YET, after: int | None = None) -> list[str]:
        return []

    def withdraw(self, jobs: Sequence[Job]) -> None:
        raise AssertionError("a search that goes on withdraws nobody")


class _Busy:
    """A worker in the middle of a trial."""

    def __init__(self, farm: Farm, planned: PlannedTrial, attempt: int, evidence: str | None) -> None:
        self.farm, self.planned = farm, planned
        self.trial = farm.place.trial(planned.id)
        made = claim(self.trial, attempt, f"w{attempt}", {"job": None, "restart": 0, "kind": "train"}, evidence)
        assert made is not None
        write_config(self.trial, dict(planned.config))
        self.attempt = made
        self.journal = JournalWriter(made.journal)
        self.journal.write("started", attempt=attempt, pid=1, resumed=None, fingerprints=PRINTS, device="cpu", threads=1)
        self.curve = farm.curve(planned.config)
        self.done = 0

    def advance(self) -> bool:
        """One validation; returns whether the worker is free again."""
        step = round(STEPS * (self.done + 1) / len(self.curve))
        values = self.curve[self.done]
        self.journal.write("progress", step=step, total=STEPS, values={"loss": 1.0})
        self.journal.write("metrics", group="validation", step=step, values=values)
        self.farm.steps += step - round(STEPS * self.done / len(self.curve))
        self.done += 1
        if self.done == len(self.curve):
            metrics = {f"validation/{name}": value for name, value in values.items()}
            record = {
                "v": 1, "metrics": metrics, "attempt": self.attempt.number, "steps": STEPS, "seconds": 1.0,
                "fingerprints": PRINTS | {"data": "d"}, "facts": {}, "flags": [],
            }  # fmt: skip
            staging = self.attempt.folder / ".result"
            publish_folder(self.trial.result, staging, lambda f: _write(f / "metrics.json", record), {"attempt": self.attempt.number})
            return self.end("completed")
        return False

    def leave_if_asked(self) -> bool:
        stop = asked(self.trial).stop
        return self.end("interrupted", ask=stop) if stop is not None else False

    def end(self, state: str, **fields: Any) -> bool:
        self.journal.write("ended", state=state, **fields)
        self.journal.close()
        return True


class Farm:
    """Workers of a search.

    Args:
        revision: of the sweep.
        curve: of each trial.
        workers: how many.
    """

    def __init__(self, revision: Revision, curve: CurveOf, workers: int = 4) -> None:
        self.place = Workspace.open(revision.sweep.folder.parent.parent)
        self.revision, self.curve = revision, curve
        self.reader = SweepReader(self.place, revision)
        self.submitter = Submitter(workers)
        self.busy: list[_Busy | None] = [None] * workers
        self.steps = 0

    @property
    def search(self) -> SearchState:
        found = self.reader.state().search
        assert found is not None
        return found

    def tick(self) -> TickResult:
        return tick(self.reader, self.submitter)

    def work(self, standing: int | None = None) -> None:
        """Every worker takes up a trial or makes one validation; number ``standing`` does nothing."""
        for index, worker in enumerate(self.busy):
            if index == standing:
                continue
            if worker is not None:
                if worker.leave_if_asked() or worker.advance():
                    self.busy[index] = None
                continue
            free = next((trial for trial in self.reader.state().trials if trial.train.claimable), None)
            if free is not None:
                self.busy[index] = _Busy(self, free.planned, free.train.attempts + 1, free.train.evidence)

    def run(self, rounds: int = 2000) -> Farm:
        """Until nothing is left to do."""
        from core.control.decide import Finish

        for _ in range(rounds):
            result = self.tick()
            if any(isinstance(action, Finish) for action in result.actions):
                return self
            self.work()
        raise AssertionError(f"no end after {rounds} rounds: {self.reader.state().counts()}")


def told(farm: Farm) -> dict[str, int]:
    """Suggestions by what the sampler is told."""
    out: dict[str, int] = {}
    for study in farm.search.studies:
        for item in study.suggestions:
            out[item.told] = out.get(item.told, 0) + 1
    return out
