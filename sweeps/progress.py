"""Fills the live view from the state of a sweep."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from core.control.decide import SweepState, TrialStatus
from core.control.derive import AttemptView
from core.control.ports import Submitter
from core.control.tick import SweepReader
from core.definition.plan import cell_name
from dashboards.live import LiveView, ScoringProgress, SweepProgress, TrialProgress
from sweeps.watching import Mirror


class Show:
    """Shows each state that it is called with; a context manager.

    Args:
        reader: of the sweep.
        mirror: whose trouble is shown beside it.
        submitter: likewise.
    """

    def __init__(self, reader: SweepReader, mirror: Mirror, submitter: Submitter | None = None) -> None:
        self._reader = reader
        self._submitter = submitter
        self._mirror = mirror
        self._view = LiveView()

    def __enter__(self) -> Self:
        self._view.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._view.__exit__(kind, error, trace)

    def __call__(self, state: SweepState) -> None:
        """Show the sweep as it is now."""
        revision = self._reader.revision
        self._view.update(
            SweepProgress(
                sweep=revision.sweep.id,
                revision=revision.number,
                rehearsal=revision.rehearsal,
                trials=[self._trial(trial) for trial in state.trials],
                scorings=self._scorings(state),
                score_counts=state.score_counts(),
                workers=sum(1 for job, answer in state.jobs if answer.alive and job.left is None),
                held=state.held,
                trouble=self._trouble(),
            )
        )

    def _trouble(self) -> str | None:
        """What is wrong outside of the trials; the sweep goes on as well as it can."""
        scheduler = self._reader.scheduler
        found = [one.trouble for one in (scheduler, self._submitter) if one is not None and one.trouble]
        return "; ".join([*found, *([f"MLflow: {self._mirror.trouble}"] if self._mirror.trouble else [])]) or None

    def _trial(self, trial: TrialStatus) -> TrialProgress:
        last = trial.train.last
        line = dict(last.progress) if last is not None and last.progress is not None else {}
        values: dict[str, Any] = line.get("values", {})
        step, total = line.get("step", 0), line.get("total")
        running = trial.train.state == "running"
        validation = last.validation if last is not None else None
        return TrialProgress(
            id=trial.planned.id,
            cell=cell_name(trial.planned.cell),
            seed=trial.planned.seed,
            state=trial.train.state,
            attempt=trial.train.attempts,
            step=step,
            total=total,
            loss=values.get("loss"),
            accuracy=validation["values"].get("accuracy") if validation is not None else values.get("validation_accuracy"),
            pairs_per_second=values.get("pairs_per_second") if running else None,
            eta=_eta(last, step, total) if running else None,
            worker=_worker(last),
            cause=trial.train.cause,
            reason=trial.train.reason,
            stage=trial.planned.stage is not None,
        )

    def _scorings(self, state: SweepState) -> list[ScoringProgress]:
        found = []
        for trial in state.trials:
            entries = zip(self._reader.keys(trial.planned), trial.planned.evaluate, strict=True)
            benchmarks = {key: str(entry["benchmark"]["name"]) for key, entry in entries}
            for key, scoring in trial.scorings.items():
                if scoring.state == "running" and scoring.last is not None:
                    score = scoring.last.score or {}
                    name = f"{cell_name(trial.planned.cell)} seed={trial.planned.seed}"
                    done, total = score.get("done", 0), score.get("total")
                    found.append(ScoringProgress(name, benchmarks[key], done, total, _worker(scoring.last)))
        return found


def _eta(last: AttemptView | None, step: int, total: int | None) -> float | None:
    """Seconds that the rest of the steps takes at this attempt's own pace so far."""
    if last is None or last.started is None or last.last is None or not total or not step:
        return None
    first = last.started.get("resumed") or {}
    done = step - int(first.get("step", 0))
    # the clock of the attempt alone: two hosts' times are never compared
    return (last.last - float(last.started["t"])) / done * (total - step) if done > 0 else None


def _worker(last: AttemptView | None) -> str:
    return str(last.owner.get("job") or last.owner.get("worker", "")) if last is not None else ""
