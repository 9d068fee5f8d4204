"""Real sweeps in worker processes, driven through the command as a user would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import call

DEFINITION = """\
version: 1
name: small
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  train: {epochs: 1}
  execution: {threads: 1}
grid:
  head.layers: [1, 2]
checkpoint: {every: 4steps}
validation: {items: 16, every: 0.5}
evaluate: [generated_images]
"""
SHORT = ("rehearsal.steps=12", "rehearsal.pairs=96", "rehearsal.items=16", "rehearsal.batch=8")
"""Overrides that make a rehearsal of seconds: enough steps to be interrupted, too few to learn."""


def short(*words: str) -> list[str]:
    """The overrides of :data:`SHORT` that ``words`` do not set themselves."""
    given = {word.split("=")[0] for word in words}
    return [word for word in SHORT if word.split("=")[0] not in given]


@dataclass
class Study:
    """A folder with a definition and a workspace."""

    folder: Path

    @property
    def workspace(self) -> Path:
        return self.folder / "runs"

    def environment(self) -> dict[str, str]:
        return {**os.environ, "COLUMNS": "140"}

    def write(self, text: str = DEFINITION, name: str = "small") -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *words: str, **more: Any) -> subprocess.Popen[str]:
        """Start the command and leave it running."""
        return subprocess.Popen(
            [str(Path(sys.executable).parent / "sweep"), *words],
            cwd=self.folder, env=self.environment(), stdout=subprocess.PIPE, text=True, **{"stderr": subprocess.STDOUT, **more},
        )  # fmt: skip

    def run(self, *words: str, code: int = 0, timeout: float = 240) -> str:
        """Run the command to its end and return what it printed."""
        ended = call(words, self.folder, self.environment(), timeout)
        output = ended.stdout + ended.stderr
        assert ended.code == code, output
        return output

    def json(self, *words: str) -> Any:
        """Run a reading command with --json."""
        ended = call((*words, "--json"), self.folder, self.environment(), 120)
        assert ended.code == 0, ended.stderr
        return json.loads(ended.stdout)

    def launch(self, *words: str, name: str = "small", code: int = 0) -> str:
        return self.run("launch", f"{name}.yaml", *short(*words), "--rehearse", *words, code=code)

    def trials(self, sweep: str = "small") -> list[dict[str, Any]]:
        return list(self.json("status", sweep)["trials"])

    def final(self, sweep: str = "small") -> dict[str, dict[str, float]]:
        """{trial: final metrics that do not measure time or memory}."""
        timed = ("per_second", "seconds", "memory")
        found = {}
        for trial in self.trials(sweep):
            record = json.loads((self.workspace / "trials" / trial["id"][:2] / trial["id"] / "result" / "metrics.json").read_text())
            found[trial["id"]] = {k: v for k, v in record["metrics"].items() if not any(word in k for word in timed)}
        return found


def wait_for(condition: Callable[[], Any], seconds: float = 90.0) -> Any:
    """What ``condition`` returns once it is true."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def points(study: Study) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Every point in the MLflow store: {trial: {metric: [(step, value)]}}."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what mlflow says of its own dependencies
        return _points(study)


def _points(study: Study) -> dict[str, dict[str, list[tuple[int, float]]]]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{study.workspace / 'mlflow' / 'mlflow.db'}")
    found: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for experiment in client.search_experiments():
        for run in client.search_runs([experiment.experiment_id], max_results=1000):
            trial = run.data.tags.get("rewardsweep.trial")
            if trial is None:
                continue
            assert trial not in found, "a trial has two runs"
            found[trial] = {
                key: sorted((m.step, m.value) for m in client.get_metric_history(run.info.run_id, key)) for key in run.data.metrics
            }
    return found
