"""What the pages ask of the floor above: answers that need the whole house (scheduler, definitions, comparisons by name)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.analysis.compare import Comparison, Side
from core.analysis.outcomes import TrialOutcome
from core.analysis.report import Report
from core.evaluation.score_table import ScoreTable
from core.store import Index


@dataclass(frozen=True)
class Refreshed:
    """What a look at a sweep has found: whether it may still move by itself, and what of its files could not be read."""

    moves: bool
    problems: Sequence[str] = ()


@dataclass(frozen=True)
class Named:
    """What a name stands for.

    Attributes:
        sides: its cells and ensembles.
        tables: those that were made for its ensembles and lie in no file, by id of the replicate and key of the scoring.
        members: the trials that each replicate of its ensembles is made of.
    """

    sides: Sequence[Side]
    tables: Mapping[tuple[str, str], ScoreTable] = field(default_factory=dict)
    members: Mapping[str, Sequence[TrialOutcome]] = field(default_factory=dict)


@dataclass(frozen=True)
class Worker:
    """A worker as its folder and the scheduler's last answer show it.

    Attributes:
        state: ``queued``, ``working``, ``unknown`` (nobody answers for it), ``left`` by itself, or ``ended`` by the scheduler.
        created: unix seconds of its submission.
        says: the scheduler's words, or why it left.
        night: ``GRID/NIGHT`` that it works for.
    """

    key: str
    sweep: str
    job: str
    shape: str
    gpus: int
    state: str
    created: float
    host: str = ""
    says: str = ""
    night: str = ""


@dataclass(frozen=True)
class NightFacts:
    """A night of a grid; times in unix seconds, budgets in GPU-hours.

    Attributes:
        state: ``open``, ``over``, ``skipped`` or ``missed``.
        granted: what its workers were given, and may use up to the end of their time.
        used: what those of them used that are over.
        completed: trials that it completed; ``None`` while that is not written down.
        attempts: how the attempts of its workers ended, by state.
        why: why it was skipped or missed.
    """

    name: str
    opens: float
    closes: float
    state: str
    budget: float | None = None
    granted: float = 0.0
    used: float = 0.0
    workers: int = 0
    completed: int | None = None
    attempts: Mapping[str, int] = field(default_factory=dict)
    why: str | None = None

    @property
    def left(self) -> float | None:
        """GPU-hours of the budget that nobody was given."""
        return None if self.budget is None else max(0.0, self.budget - self.granted)


@dataclass(frozen=True)
class NightlyGrid:
    """A nightly grid: when it runs, what it may use, the night that is open, the last one, the next.

    Attributes:
        corrupt: why its files cannot be read; nothing else of it is known then.
    """

    name: str
    sweep: str = ""
    cluster: str = ""
    window: str = ""
    days: str = ""
    zone: str = "UTC"
    paused: bool = False
    budget: float | None = None
    next_opens: float = 0.0
    open: NightFacts | None = None
    last: NightFacts | None = None
    corrupt: str = ""


@dataclass(frozen=True)
class ClusterState:
    """What runs, waits and may run.

    Attributes:
        workers: of all sweeps, the newest first.
        grids: the nightly grids.
        holds: each HOLD that is set, as (what it stops, who set it and why).
        trouble: what could not be found out, and why.
    """

    workers: Sequence[Worker] = ()
    grids: Sequence[NightlyGrid] = ()
    holds: Sequence[tuple[str, str]] = ()
    trouble: Sequence[str] = ()


class Answers(Protocol):
    """Each may take seconds; none is called on a page's own time without a limit. All may be called from several threads."""

    def refresh(self, index: Index, sweep: str) -> Refreshed:
        """Bring the index up to the files and to the scheduler's word."""

    def report(self, index: Index, sweep: str, *, examples: bool) -> Report:
        """The table of a sweep's newest revision: without ``examples`` as the index has it, at once; with them with all statistics.

        Raises:
            SweepError: there is no such sweep.
        """

    def named(self, name: str) -> Named:
        """What a name stands for, as ``sweep compare`` takes it: ``SWEEP``, ``SWEEP:PATH=VALUE,...``, ``SWEEP:ensemble=NAME`` or a trial's
        first digits.

        Raises:
            SweepError: it stands for nothing.
        """

    def compare(self, a: str, b: str, metrics: Sequence[str]) -> Sequence[Comparison]:
        """Two names compared on metrics (empty: the headlines), as ``sweep compare`` does it.

        Raises:
            SweepError: a name or a metric stands for nothing, or nothing can be compared.
        """

    def cluster(self) -> ClusterState:
        """Workers with the scheduler's word, nights with their budgets, and HOLDs.

        The scheduler is asked as all processes of the user ask it: one question for everybody, within the budget of calls a minute.
        """
