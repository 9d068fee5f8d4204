"""One run in MLflow: found by tag or created, and sent each (metric, step) exactly once.

How a point is sent once. Each group (``train``, ``validation``) has a high-water mark, the last step that was sent, as a tag
of the run; the call that sends points sends the new mark too. MLflow stores the two one after the other, so a process that dies
in between leaves points beyond the mark: whoever takes the run up next asks MLflow, before it first sends, which of the points
beyond the mark are there. Nothing of this is kept anywhere but in MLflow.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.workspace.lineage import BEFORE_ALL, MetricLine
from dashboards.mlflow.library import Metric, MlflowClient, Param, Run, RunTag, ViewType

BATCH = 1000
"""Metrics in one call: MLflow's limit."""
PARAMS = 100
"""Parameters or tags in one call: MLflow's limit."""
PARAM_LENGTH = 6000
TAG_LENGTH = 5000
KEY_LENGTH = 250

TRIAL = "rewardsweep.trial"
SWEEP = "rewardsweep.sweep"
MARK = "rewardsweep.mark."
SENT = "rewardsweep.sent."


def milliseconds(seconds: float) -> int:
    """MLflow's time."""
    return round(seconds * 1000)


def metric_key(name: str) -> str:
    """A name that MLflow takes for a metric or parameter."""
    return re.sub(r"[^\w\-. :/]", "_", name)[:KEY_LENGTH]


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The leaves of a configuration as (dotted path, text)."""
    for name, value in config.items():
        path = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from flattened(value, f"{path}.")
        elif isinstance(value, bool):
            yield path, str(value).lower()
        else:
            yield path, "null" if value is None else str(value)


def content(path: Path) -> str:
    """A short name of a small file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


@dataclass
class TrialRun:
    """A run that is open for sending.

    Attributes:
        client: of the store.
        id: the run.
        experiment: its experiment.
        deleted: whether a user has deleted it; nothing is sent then.
        status: as MLflow has it.
        tags: as MLflow has them.
        single: names of metrics that the run has already.
    """

    client: MlflowClient
    id: str
    experiment: str
    deleted: bool = False
    status: str = "RUNNING"
    tags: dict[str, str] = field(default_factory=dict)
    single: set[str] = field(default_factory=set)
    _checked: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, client: MlflowClient, run: Run) -> TrialRun:
        """A run as MLflow returned it."""
        info, data = run.info, run.data
        deleted = info.lifecycle_stage == "deleted"
        return cls(client, info.run_id, info.experiment_id, deleted, info.status, dict(data.tags), set(data.metrics))

    @property
    def name(self) -> str:
        """``experiment/run``, as links are made of it."""
        return f"{self.experiment}/{self.id}"

    def mark(self, group: str) -> int:
        """The last step of a group that was sent."""
        return int(self.tags.get(MARK + group, BEFORE_ALL))

    def send_lines(self, lines: Sequence[MetricLine]) -> int:
        """Send lines that are ordered by step and not sent yet; returns the number of points."""
        fresh = [line for line in lines if line.step > self.mark(line.group)]
        stored = self._stored_beyond_marks(fresh)
        points = 0
        batch: list[Metric] = []
        marks: dict[str, int] = {}
        for line in fresh:
            if line.step <= max(marks.get(line.group, BEFORE_ALL), self.mark(line.group)):
                continue
            values = [(metric_key(f"{line.group}/{name}"), value) for name, value in line.values.items()]
            if len(batch) + len(values) > BATCH:
                points += self._flush(batch, marks)
                batch, marks = [], {}
            at = milliseconds(line.t)
            batch += [Metric(key, value, at, line.step) for key, value in values if line.step not in stored.get(key, ())]
            marks[line.group] = line.step
        return points + self._flush(batch, marks)

    def _flush(self, batch: Sequence[Metric], marks: Mapping[str, int]) -> int:
        self.send(batch, {MARK + group: str(step) for group, step in marks.items()})
        return len(batch)

    def _stored_beyond_marks(self, lines: Sequence[MetricLine]) -> dict[str, set[int]]:
        """Steps beyond the marks that MLflow has already, by metric; asked once for each group."""
        keys = {
            (line.group, metric_key(f"{line.group}/{name}")) for line in lines if line.group not in self._checked for name in line.values
        }
        self._checked |= {group for group, _ in keys}
        return {
            key: {point.step for point in self.client.get_metric_history(self.id, key) if point.step > self.mark(group)}
            for group, key in keys
            if key in self.single
        }

    def send(self, metrics: Sequence[Metric] = (), tags: Mapping[str, str] | None = None, params: Sequence[Param] = ()) -> None:
        """Send metrics, tags that differ from those there, and parameters, in as few calls as MLflow allows."""
        if self.deleted:
            return
        new = {key: value[:TAG_LENGTH] for key, value in (tags or {}).items() if self.tags.get(key) != value[:TAG_LENGTH]}
        for start in range(0, len(params), PARAMS):
            self.client.log_batch(self.id, params=params[start : start + PARAMS])
        if metrics or new:
            self.client.log_batch(self.id, metrics=metrics, tags=[RunTag(key, value) for key, value in new.items()])
        self.tags |= new
        self.single |= {metric.key for metric in metrics}

    def send_file(self, path: Path, folder: str, name: str, *, because: Path | None = None) -> bool:
        """Upload a file once; ``name`` remembers the content (of ``because``, where the file itself is large)."""
        now = content(because or path)
        if self.tags.get(SENT + name) == now:
            return False
        self.client.log_artifact(self.id, str(path), folder or None)
        return True

    def set_status(self, status: str, ended: float | None = None) -> None:
        """Set the run's status; ``ended`` in unix seconds."""
        if status == self.status or self.deleted:
            return
        if status == "RUNNING":
            self.client.update_run(self.id, status=status)
        else:
            self.client.set_terminated(self.id, status, end_time=milliseconds(ended) if ended else None)
        self.status = status


def find(client: MlflowClient, experiments: Sequence[str], tags: Mapping[str, str]) -> TrialRun | None:
    """The run with these tags, one that is deleted only where no other has them."""
    words = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    for view in (ViewType.ACTIVE_ONLY, ViewType.DELETED_ONLY):
        found = client.search_runs(list(experiments), words, view, max_results=1, order_by=["attributes.start_time ASC"])
        if found:
            return TrialRun.of(client, found[0])
    return None
