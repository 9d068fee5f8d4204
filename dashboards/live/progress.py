"""What a live view is given: plain values, filled in by whoever watches the sweep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from core.control.states import OPEN, TRIAL_STATES, TrialState


@dataclass(frozen=True)
class TrialProgress:
    """One trial now.

    Attributes:
        id: of the trial.
        cell: its cell as a reader writes it.
        seed: the replicate.
        state: see :mod:`core.control.states`.
        attempt: the number of its last attempt, 0 before the first.
        step: optimiser steps done.
        total: optimiser steps in all, ``None`` while unknown.
        loss: the last training loss.
        accuracy: the last validation accuracy, a fraction.
        pairs_per_second: preference pairs trained on in a second.
        eta: seconds until training ends, as far as the speed tells.
        worker: what runs it.
        cause: of a failure.
        reason: one sentence: why it is as it is.
        stage: whether other trials need it, and it is no cell: it shows, and counts nowhere.
    """

    id: str
    cell: str
    seed: int
    state: TrialState
    attempt: int = 0
    step: int = 0
    total: int | None = None
    loss: float | None = None
    accuracy: float | None = None
    pairs_per_second: float | None = None
    eta: float | None = None
    worker: str = ""
    cause: str | None = None
    reason: str = ""
    stage: bool = False

    @property
    def name(self) -> str:
        """Cell and seed."""
        return f"{self.cell} seed={self.seed}"

    @property
    def open(self) -> bool:
        """Whether it still moves."""
        return self.state in OPEN

    @property
    def fraction(self) -> float:
        """How far it is, from 0 to 1."""
        if self.state == "completed":
            return 1.0
        return min(1.0, self.step / self.total) if self.total and self.state == "running" else 0.0


@dataclass(frozen=True)
class ScoringProgress:
    """One scoring that runs: ``done`` of ``total`` examples."""

    scorer: str
    benchmark: str
    done: int = 0
    total: int | None = None
    worker: str = ""


@dataclass(frozen=True)
class SweepProgress:
    """A sweep now.

    Attributes:
        sweep: its id.
        revision: the revision that is watched.
        rehearsal: whether it is one.
        trials: all trials, in the plan's order.
        scorings: those that run.
        score_counts: all scorings by state.
        workers: how many workers live.
        held: whether HOLD is set.
        trouble: what does not work beside the sweep (the tracker, the index), ``None`` where all does.
    """

    sweep: str
    revision: int
    rehearsal: bool
    trials: Sequence[TrialProgress]
    scorings: Sequence[ScoringProgress] = ()
    score_counts: Mapping[str, int] = field(default_factory=dict)
    workers: int = 0
    held: bool = False
    trouble: str | None = None

    def counts(self) -> dict[str, int]:
        """Trials by state in the states' order, states without trials left out."""
        found = Counter(trial.state for trial in self.cells)
        return {state: found[state] for state in TRIAL_STATES if found[state]}

    @property
    def fraction(self) -> float:
        """How far training is, from 0 to 1: the mean over trials."""
        return sum(trial.fraction for trial in self.cells) / len(self.cells) if self.cells else 1.0

    @property
    def cells(self) -> list[TrialProgress]:
        """The trials of cells, without stages."""
        return [trial for trial in self.trials if not trial.stage]


def duration(seconds: float) -> str:
    """A time span as a reader writes it: ``42s``, ``3m10s``, ``2h05m``, ``3d04h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def words(counts: Mapping[str, int]) -> str:
    """``3 running, 4 completed``."""
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
