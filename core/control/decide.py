"""The one pure decision: from the state of a sweep to what should be done now.

``decide(state, limits, now) -> actions`` reads nothing and does nothing. :mod:`core.control.tick` gathers the state and carries
the actions out; two ticks at once are harmless, because every action is either idempotent or guarded where it is carried out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from core.control.alike import Stopped, stopped
from core.control.derive import DEFAULTS, UnitStatus
from core.control.policy import Policy
from core.control.ports import Grant, Job, JobAnswer, Room, Submit
from core.control.search.steps import Step, steps
from core.control.search.study import SearchState
from core.control.seeds.state import SeedsState, further
from core.control.states import OPEN
from core.definition.plan import PlannedTrial, Shape

FAILED_STARTS = 3
LOOK_BACK = 6 * 3600.0
"""Seconds for which a worker that could not start counts: what fails for ever is tried thrice in them, and a fault that is gone heals."""
"""So many workers in a row that ended without taking up work stop the dispatch: the installation is at fault, not a trial."""


@dataclass(frozen=True)
class TrialStatus:
    """A planned trial with the status of its training and of each scoring asked for, by scoring key.

    ``record`` is what ``metrics.json`` says of how a finished trial was computed (``flags``, ``fingerprints``), and ``data``, a key of
    where its data lie; ``None`` where it was not read, or could not be.
    """

    planned: PlannedTrial
    train: UnitStatus
    scorings: Mapping[str, UnitStatus] = field(default_factory=dict)
    record: Mapping[str, Any] | None = None

    @property
    def shape(self) -> Shape:
        """What its next attempt asks for: the planned shape, with more time where the last limit was too short."""
        time = self.train.remedy.time
        return self.planned.shape if time is None else replace(self.planned.shape, time=max(time, self.planned.shape.time or 0.0))


@dataclass(frozen=True)
class SweepState:
    """All that a decision rests on.

    Attributes:
        trials: every planned trial of the newest revision.
        baselines: scorings that need no model, by (baseline, key).
        jobs: the sweep's workers with the scheduler's answers.
        held: whether HOLD is set.
        search: the search that the sweep is, if it is one.
        seeds: where it stands under its rule for further seeds, if it has one.
        last: the highest number of a worker that it knows.
    """

    trials: Sequence[TrialStatus]
    baselines: Mapping[tuple[str, str], UnitStatus]
    jobs: Sequence[tuple[Job, JobAnswer]]
    held: bool = False
    search: SearchState | None = None
    seeds: SeedsState | None = None
    last: int = 0

    def units(self, *, pruned: bool = True) -> Iterator[tuple[Shape, UnitStatus]]:
        """Every training and scoring with the shape it asks for; without those of pruned trials where ``pruned`` is false."""
        for trial in self.trials:
            if not pruned and trial.train.state == "pruned":
                continue
            yield trial.shape, trial.train
            for scoring in trial.scorings.values():
                yield trial.planned.score_shape, scoring
        for scoring in self.baselines.values():
            yield (self.trials[0].planned.score_shape if self.trials else Shape()), scoring

    def counts(self) -> dict[str, int]:
        """Trials of cells by state, states without trials left out."""
        return dict(Counter(trial.train.state for trial in self.trials if trial.planned.stage is None))

    def stage_counts(self) -> dict[str, int]:
        """Stages by state: trials that others need, and that are no cells."""
        return dict(Counter(trial.train.state for trial in self.trials if trial.planned.stage is not None))

    def score_counts(self) -> dict[str, int]:
        """Scorings by state, states without scorings left out."""
        return dict(Counter(s.state for trial in self.trials for s in trial.scorings.values()))


@dataclass(frozen=True)
class Limits:
    """What bounds a sweep.

    Attributes:
        workers: at most so many at once.
        policy: what follows failures.
        closed: why nothing is started now, for a sweep that runs at night only.
        grant: what each worker of the open night is given; ``None`` where the sweep has no nights.
        left: GPU-seconds of the night's budget that are neither used nor given to a worker; ``None``: no budget.
        rooms: what a worker of a shape is given; one trial at a time where nothing is said.
    """

    workers: int
    policy: Policy = DEFAULTS
    closed: str | None = None
    grant: Grant | None = None
    left: float | None = None
    rooms: Mapping[Shape, Room] = field(default_factory=dict)

    def room(self, shape: Shape) -> Room:
        """What a worker of a shape is given."""
        return self.rooms.get(shape) or Room(gpus=shape.gpus)


@dataclass(frozen=True)
class Grow:
    """Add trials to the plan, as one record of the sweep's growth (:mod:`core.workspace.growth`).

    Attributes:
        kind: what asks for them.
        why: one sentence for `sweep explain`.
        trials: ordinary planned trials.
        facts: what the decision on later states needs to know of this one.
    """

    kind: str
    why: str
    trials: tuple[PlannedTrial, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Withdraw:
    """Take workers out of the queue for which nothing is left to do; those that run leave by themselves."""

    jobs: Sequence[Job]


@dataclass(frozen=True)
class Finish:
    """Nothing is left to do; ``complete`` where every trial has a result and every scoring a table."""

    complete: bool


@dataclass(frozen=True)
class StopDispatch:
    """No worker takes up work: stop submitting and say why."""

    reason: str
    job: str


@dataclass(frozen=True)
class Pause:
    """Hold trials that would fail as others have; each gets a pause request with the reason and the causes of those failures."""

    trials: Sequence[str]
    reason: str
    causes: Sequence[str] = ()


Action = Submit | Grow | Step | Finish | StopDispatch | Pause | Withdraw


def decide(state: SweepState, limits: Limits, now: float) -> list[Action]:
    """The actions that the state calls for.

    Args:
        state: the sweep as it is.
        limits: what bounds it.
        now: unix seconds, for what depends on a window or a wait.
    """
    pauses = [] if state.held else [Pause(group.trials, group.reason, group.causes) for group in _stopped(state, limits.policy)]
    if pauses:
        # carried out first: the next pass sees what is left
        return list(pauses)
    open_units = Counter(shape for shape, unit in state.units() if unit.claimable)
    busy = Counter(shape for shape, unit in state.units() if unit.state in ("running", "unknown"))
    waiting = any(unit.state in OPEN and not unit.claimable for _, unit in state.units())
    side_by_side = max((room.slots for room in limits.rooms.values()), default=1)
    search = steps(state.search, limits.workers * side_by_side) if state.search is not None and not state.held else []
    seeds = _further_seeds(state)
    if not open_units and not busy:
        if any(grow.trials for grow in seeds):
            return list(seeds)
        if search or (state.search is not None and state.search.open and state.held):
            return list(search)
        # HOLD is waited for; what a user paused, or what waits for something that failed, is the end of this run
        if waiting and (state.held or not all(unit.state in ("blocked", "held") for _, unit in state.units() if unit.state in OPEN)):
            return [*_idle(state, Counter())]
        complete = all(unit.state == "completed" for _, unit in state.units(pruned=state.search is None))
        return [*seeds, *_idle(state, Counter()), Finish(complete)]
    if state.held:
        return [*_idle(state, Counter())]
    if limits.closed is not None:
        return []
    stop = _no_worker_starts(state, now)
    if stop is not None:
        return [stop]
    actions: list[Action] = [*search, *seeds] or [*_idle(state, open_units + busy)]
    live = [job for job, answer in state.jobs if answer.alive and job.left is None]
    taken_up: Counter[Shape] = Counter()
    for job in live:
        taken_up[job.shape] += job.slots
    free = limits.workers - len(live)
    left = limits.left
    for shape, count in open_units.items():
        short = min(count + busy[shape] - taken_up[shape], count)
        wanted = min(math.ceil(short / limits.room(shape).slots), free)
        for submit in _granted(shape, wanted, limits, left, now) if wanted > 0 else ():
            actions.append(submit)
            free -= submit.count
            if left is not None:
                left -= submit.count * limits.room(shape).gpus * _lasts(submit, limits, now)
    return actions


def _further_seeds(state: SweepState) -> list[Grow]:
    found = further(state.seeds) if state.seeds is not None and not state.held else None
    return [Grow(found.kind, found.why, found.trials, found.facts)] if found is not None else []


def _idle(state: SweepState, wanted: Mapping[Shape, int]) -> list[Withdraw]:
    """Queued workers of shapes for which nothing is claimable or running."""
    queued = [job for job, answer in state.jobs if answer.alive and not answer.silent and not job.started and not wanted.get(job.shape)]
    return [Withdraw(queued)] if queued else []


def _stopped(state: SweepState, policy: Policy) -> list[Stopped]:
    return stopped([(trial.planned.id, trial.planned.cell, trial.train) for trial in state.trials], policy)


def _granted(shape: Shape, wanted: int, limits: Limits, left: float | None, now: float) -> list[Submit]:
    """As many of the wanted workers as the night has time and budget for.

    A worker is given GPU-seconds before it starts, as many as its allocation may last, so the budget holds whatever becomes of our
    processes: the scheduler ends the allocation. What is given and not used comes back when the worker has left.
    """
    grant = limits.grant
    if grant is None:
        return [Submit(shape, wanted)]
    longest = _lasts(Submit(shape, 1, grant), limits, now)
    if longest < grant.useful:
        return []
    gpus = limits.room(shape).gpus
    if left is None or not gpus:
        return [Submit(shape, wanted, grant)]
    whole = min(wanted, int(left // (gpus * longest)))
    found = [Submit(shape, whole, grant)] if whole else []
    rest = left / gpus - whole * longest
    if whole < wanted and rest >= grant.useful:
        found.append(Submit(shape, 1, replace(grant, seconds=rest)))
    return found


def _lasts(submit: Submit, limits: Limits, now: float) -> float:
    """Seconds that a worker lasts at most."""
    if submit.grant is None:
        return 0.0
    bounds = (submit.grant.closes - now, limits.room(submit.shape).seconds, submit.grant.seconds)
    return min(bound for bound in bounds if bound is not None)


def _no_worker_starts(state: SweepState, now: float) -> StopDispatch | None:
    ended = [
        (job, answer)
        for job, answer in sorted(state.jobs, key=lambda item: item[0].key)
        if not answer.alive and now - float(job.details.get("created", now)) < LOOK_BACK and _says_whether_it_can_start(job, answer)
    ]
    last = ended[-FAILED_STARTS:]
    if len(last) < FAILED_STARTS or any(job.started and not job.unfit for job, _ in last):
        return None
    job, answer = last[-1]
    return StopDispatch(f"{FAILED_STARTS} workers in a row ended before they took up work: {answer.evidence}", job.key)


def _says_whether_it_can_start(job: Job, answer: JobAnswer) -> bool:
    """Whether the end of a worker tells something about the installation.

    One that was cancelled or preempted before it began or while it warmed up tells nothing, nor one of a night that SLURM removed from the
    queue because it could no longer end in time.
    """
    if job.started or job.unfit:
        return True
    out_of_the_night = "night" in job.details and answer.ended == "time_limit"
    return job.left is None and answer.ended not in ("interrupted", "preempted") and not out_of_the_night
