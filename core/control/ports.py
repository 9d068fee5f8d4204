"""The ports of the control loop: what it asks of a scheduler, a submitter and a tracker.

``slurm`` implements Scheduler and Submitter, ``dashboards`` the Tracker; ``sweeps/wiring.py`` joins them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from core.control.states import AttemptState
from core.definition.plan import PlannedTrial, Shape
from core.workspace.layout import Workspace

UNMEASURED_SECONDS = 600.0
"""What loading and one checkpoint are taken to need before the sweep has shown it; at most a tenth of the night, or of a worker's limit."""


@dataclass(frozen=True)
class JobAnswer:
    """What a scheduler says about one job.

    Attributes:
        alive: whether it is queued or running, as far as the scheduler knows.
        ended: how attempts that were running in it have ended, where the scheduler knows that it is over.
        evidence: the scheduler's words.
        silent: nobody answered: the job counts as there, and what runs in it is unknown.
        restart: how often the scheduler has restarted the job; what it says is about this incarnation.
        cause: of the end, where the scheduler names one (``node_failure``, ``host_oom``).
        nodes: which failed, where a failure of nodes is the cause and it is known; empty otherwise.
    """

    alive: bool
    ended: AttemptState | None = None
    evidence: str = ""
    silent: bool = False
    restart: int = 0
    cause: str | None = None
    nodes: Sequence[str] = ()

    def verdict(self, restart: int) -> tuple[AttemptState, str] | None:
        """How an attempt that began in incarnation ``restart`` of the job has ended, with the evidence; ``None`` if it need not have."""
        if self.restart > restart:
            return "lost", f"the scheduler has restarted the job since: {self.evidence}"
        return (self.ended, self.evidence) if self.ended is not None and self.restart == restart else None


@dataclass(frozen=True)
class Job:
    """One worker as ``jobs/<key>/job.json`` records it; ``slots`` trials of its shape fit into its allocation side by side."""

    key: str
    sweep: str
    revision: int
    shape: Shape
    job_id: str | None = None
    started: bool = False
    left: Mapping[str, Any] | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    slots: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of its whole allocation."""
        return int((self.details.get("allotted") or {}).get("gpus", self.shape.gpus))

    @property
    def unfit(self) -> bool:
        """Whether it left before it could begin: its node failed the check, or its time limit came while it warmed up."""
        return bool(self.left and self.left.get("unfit"))


@dataclass(frozen=True)
class Room:
    """What a worker of a shape is given.

    Attributes:
        slots: how many trials of the shape it runs side by side.
        gpus: of its whole allocation.
        seconds: how long it lasts at most; ``None``: as long as it likes.
    """

    slots: int = 1
    gpus: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Shown:
    """What the trials of a sweep have shown so far, by which further workers are sized; all in seconds.

    Attributes:
        saving: the longest time that a checkpoint has taken: a worker must be warned early enough for it.
        trial: the longest that a trial takes from its start to its end; ``None`` where none has shown it.
        each: how many trials each of the workers has before it, one after another.
        useful: what a trial needs to load, to make a step and to save; ``None`` where none has done all of it.
    """

    saving: float = 0.0
    trial: float | None = None
    each: int = 1
    useful: float | None = None


NOTHING_YET = Shown()


@dataclass(frozen=True)
class Grant:
    """What a worker of a nightly grid is given.

    Attributes:
        night: the night's id, ``GRID/NIGHT``.
        closes: unix seconds at which it must be gone.
        useful: seconds without which it cannot do anything that lasts: to load, and to save once.
        stagger: seconds over which the last saves of the night are spread, also those of one worker.
        seconds: its share of the budget: it lasts at most so long; ``None``: until the window's end.
        account: the scheduler's account; ``None``: the cluster's.
        nice: how far it stands behind other jobs.
    """

    night: str
    closes: float
    useful: float
    stagger: float = 0.0
    seconds: float | None = None
    account: str | None = None
    nice: int = 100

    def orders(self, number: int, seconds: float, lead: float, slots: int = 1) -> dict[str, Any]:
        """What the worker's ``job.json`` says of its night.

        Args:
            number: the worker's; the trials of one night leave at different moments, so that not all save at once.
            seconds: that its allocation lasts at most; they count against the budget.
            lead: seconds from the first word to leave until it must be gone.
            slots: trials that it runs side by side; each has a moment of its own, and nothing is taken up shortly before the first.
        """
        # multiples of the golden ratio, modulo 1, are spread evenly whatever their number
        turns = [(number * slots + slot) * 0.618033988749895 % 1.0 for slot in range(slots)]
        leaves = [round(self.closes - lead - self.stagger * turn, 3) for turn in turns]
        return {
            "id": self.night, "closes": self.closes, "leave": min(leaves), "claim": round(min(leaves) - self.useful, 3),
            "seconds": seconds, "lead": lead, **({"leaves": leaves} if slots > 1 else {}),
        }  # fmt: skip


@dataclass(frozen=True)
class Submit:
    """Start ``count`` workers of a shape; ``grant`` is what the night gives each of them."""

    shape: Shape
    count: int
    grant: Grant | None = None


class Scheduler(Protocol):
    """Answers for jobs, one batched question at a time."""

    @property
    def trouble(self) -> str | None:
        """Why its answers are old, in words for a user; ``None`` where they are not."""

    def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobAnswer]:
        """The answer for each job key; a job that it cannot say anything about is left out."""


class Submitter(Protocol):
    """Starts workers."""

    @property
    def trouble(self) -> str | None:
        """Why it starts none at the moment, in words for a user; ``None`` where it does."""

    def capacity(self, shape: Shape) -> int:
        """How many workers of this shape the place can hold at once."""

    def room(self, shape: Shape) -> Room:
        """What a worker of this shape is given."""

    def submit(self, sweep: str, revision: int, wanted: Submit, shown: Shown = NOTHING_YET, after: int | None = None) -> list[str]:
        """Start up to as many workers as are wanted and return their job keys.

        Args:
            sweep: the sweep.
            revision: its number.
            wanted: how many, of which shape, and what each is given in a night.
            shown: what trials have shown so far.
            after: the highest number of a worker that whoever decided this knew; none is started where there is a higher one, because
                another pass has acted on the same state. ``None``: the highest that there is.
        """

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Take workers that have not begun out of the queue; one that begins in the same moment finds nothing to do and leaves."""


@dataclass(frozen=True)
class TrackerReport:
    """What one pass of a tracker did."""

    runs: int = 0
    points: int = 0
    trouble: str | None = None


class Tracker(Protocol):
    """Mirrors trials to an experiment tracker; every call may be repeated."""

    def sync(self, workspace: Workspace, sweep_id: str, trials: Sequence[PlannedTrial]) -> TrackerReport:
        """Send what is new of these trials, once."""

    def url(self, trial_id: str) -> str | None:
        """Link to the trial's run, where it is known."""

    def close(self) -> None:
        """Let go of the store."""
