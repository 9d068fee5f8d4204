"""A workspace written by hand, file by file as a worker would, for tests of what reads it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.definition.plan import PlannedTrial
from core.workspace import process
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter
from core.workspace.layout import Scoring, Trial, Workspace
from core.workspace.registration import Revision, register

CONFIG = {
    "task": "reward_model", "paradigm": {"name": "naive"}, "backbone": {"name": "qwen2.5-vl-3b"}, "optim": {"lr": 3e-06}, "seed": 0,
    "train": {"freeze": ["vision"]}, "rehearsal": None,
}  # fmt: skip
PRINTS = {"code": "c0de", "env": "e4"}


def trial_id(number: int) -> str:
    return f"{number:02x}" + f"{number:030x}"


def planned(number: int, **cell: Any) -> PlannedTrial:
    return PlannedTrial(trial_id(number), cell or {"head.layers": number}, 0, CONFIG)


def launch(
    workspace: Workspace, name: str, trials: Iterable[PlannedTrial], *, project: str = "basereward", rehearsal: bool = False
) -> Revision:
    trials = list(trials)
    digest = json.dumps([trial.to_json() for trial in trials])
    meta = {"name": name, "project": project, "rehearsal": rehearsal, "digest": digest, "source": f"{name}.yaml", "overrides": []}
    sweep = workspace.sweep(f"{name}-rehearsal" if rehearsal else name)
    return register(workspace, sweep, meta=meta, definition=f"name: {name}\n", code=[], trials=trials)[0]


class Clock:
    """A journal's clock that goes on by one second a line."""

    def __init__(self, start: float = 1_790_000_000.0) -> None:
        self.now = start

    def __call__(self) -> float:
        self.now += 1
        return self.now


CLOCK = Clock()


class Writer:
    """The journal of one attempt."""

    def __init__(
        self, trial: Trial, number: int, *, resumed: tuple[int, int] | None = None, start: bool = True, code: str = "c0de"
    ) -> None:
        self.trial = trial
        self.folder = trial.folder / "attempts" / f"{number:04d}"
        self.number = number
        fresh = not self.folder.exists()
        self.folder.mkdir(parents=True, exist_ok=True)
        if fresh:
            dead = process.identity() | {"pid": 2**22 + 1, "start": 1}
            (self.folder / "owner.json").write_text(json.dumps({"v": 1, "worker": "w", "job": "j", "attempt": number, **dead}))
        if not trial.config.exists():
            trial.config.write_text(json.dumps(CONFIG))
        self.journal = JournalWriter(self.folder / "journal.jsonl", CLOCK)
        if fresh and start:
            source = {"attempt": resumed[0], "step": resumed[1]} if resumed else None
            self.journal.write("started", attempt=number, pid=1, resumed=source, fingerprints=PRINTS | {"code": code})

    def metrics(self, step: int, group: str = "train", **values: float) -> None:
        self.journal.write("metrics", group=group, step=step, values=values or {"loss": self.number + step / 1000, "accuracy": 0.5})

    def steps(self, first: int, last: int, validate: int = 10) -> Writer:
        for step in range(first, last + 1):
            self.metrics(step)
            if step % validate == 0:
                self.metrics(step, "validation", accuracy=step / 100)
        return self

    def end(self, state: str = "completed", **fields: Any) -> None:
        self.journal.write("ended", state=state, **fields)
        self.journal.close()


def publish(trial: Trial, attempt: int, metrics: Mapping[str, float], steps: int = 60) -> None:
    record = {
        "v": 1, "metrics": dict(metrics), "attempt": attempt, "steps": steps, "seconds": 1.0,
        "fingerprints": PRINTS | {"data": "da7a"}, "flags": [],
    }  # fmt: skip
    publish_folder(trial.result, trial.folder / ".result", lambda f: _write(f / "metrics.json", record), {"attempt": attempt})


def score(scoring: Scoring, metrics: Mapping[str, float | None], *, benchmark: str = "vl_rewardbench", revision: str = "r1250") -> None:
    scoring.folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"score": [1.0]}), scoring.table)
    value = {
        "v": 1, "key": scoring.folder.name, "benchmark": benchmark, "revision": revision, "data_hash": "d", "n": 3,
        "partial": {"scored": 3, "skipped": 1}, "metrics": dict(metrics), "scorer": "trial",
    }  # fmt: skip
    temporary = scoring.folder / ".summary"
    _write(temporary, value)
    os.replace(temporary, scoring.summary)


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
