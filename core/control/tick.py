"""One idempotent pass: read the journals and the scheduler, decide, act.

A watching launch, a worker's parent between two trials, a timer or a user call it; two at once are harmless.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.control.alike import Stopped, stopped
from core.control.canary import Canaries, trial_seconds
from core.control.decide import Action, Grow, Limits, Pause, StopDispatch, SweepState, TrialStatus, Withdraw, decide
from core.control.derive import UnitStatus, derive
from core.control.jobs import jobs_of, names_of, number_of
from core.control.memory import Memory
from core.control.nights import ALWAYS, shown_useful, tonight
from core.control.policy import Policy
from core.control.ports import Job, JobAnswer, Scheduler, Shown, Submit, Submitter
from core.control.read import Reader
from core.control.search.read import SearchReader, halted, is_growing
from core.control.search.steps import Ask, Prune, Replicate
from core.control.seeds.state import SeedsState
from core.definition.plan import PlannedTrial, Shape
from core.errors import IntegrityError
from core.workspace import holds, nodes
from core.workspace.files import create_exclusive, read_json
from core.workspace.growth import GrowthLog
from core.workspace.launched import last_launch
from core.workspace.layout import Sweep, Trial, Workspace
from core.workspace.registration import Revision, canaries_of
from core.workspace.requests import asked, drop

if TYPE_CHECKING:
    from core.control.seeds.read import SeedsReader

PASSED_SECONDS = 4.0
"""Passes of one process are marked so often: a little more than workers of a search look whether one was made."""
BASELINES = ("length", "random")
"""Baselines that every sweep is shown beside."""


def baseline_key(name: str, evaluate: Mapping[str, Any]) -> str:
    """The scoring key of a baseline on one entry of ``PlannedTrial.evaluate``."""
    from core.definition.identity import scoring_key  # the schema: a sweep that scores nothing needs none of it

    return scoring_key(f"baseline:{name}", evaluate["benchmark"], evaluate["revision"])


def trial_key(planned: PlannedTrial, evaluate: Mapping[str, Any]) -> str:
    """The scoring key of a trial on one entry of its ``evaluate``."""
    from core.definition.identity import scoring_key

    return scoring_key(planned.id, evaluate["benchmark"], evaluate["revision"])


def passed_file(sweep: Sweep) -> Path:
    """The file that a pass touches: workers, which all make passes, see in it that another has just made one."""
    return sweep.folder / "passed"


class SweepReader:
    """Reads the state of one revision of a sweep, again and again, at the price of what is new."""

    def __init__(self, workspace: Workspace, revision: Revision, scheduler: Scheduler | None = None) -> None:
        self.workspace = holds.of(workspace, revision.sweep)
        self.revision = revision
        self.scheduler = scheduler
        self.polled: list[tuple[Job, JobAnswer]] = []
        self.plan = list(revision.planned())
        self.growth = GrowthLog(revision.sweep, revision.family)
        self.policy = Policy.read(revision.meta)
        self.reader = Reader(workspace, policy=self.policy)
        self.canaries = Canaries(self.plan, canaries_of(revision.sweep))
        self._final: dict[str, TrialStatus] = {}
        self._canaries: dict[str, UnitStatus] = {}
        self._looked = self._said = float("-inf")
        self._memory: Memory | None = None
        self._remembered = False
        self._keys: dict[str, list[str]] = {}
        self.baselines: dict[tuple[str, str], Mapping[str, Any]] = {}
        self._know(self.plan)
        self._taken = 0
        self._last = 0
        self.refresh()
        self._search: SearchReader | None = None
        self._seeds: SeedsReader | None = None

    def passes(self) -> None:
        """Say that a pass is made over the sweep; a watching launch, which makes one after the other, says so now and then."""
        if time.monotonic() - self._said > PASSED_SECONDS:
            self._said = time.monotonic()
            with suppress(OSError):
                passed_file(self.revision.sweep).touch()

    @property
    def growing(self) -> bool:
        """Whether a pass may add trials, whatever runs now."""
        return is_growing(self.revision, self.growth)

    @property
    def search(self) -> SearchReader | None:
        """The reader of the sweep's search, if it is one."""
        if self._search is None and "search" in self.revision.meta:
            self._search = SearchReader(self.workspace, self.revision, self.growth)
        return self._search

    def refresh(self) -> None:
        """Take in the trials that the sweep has gained since the last look."""
        self.growth.refresh()
        new, self._taken = self.growth.records[self._taken :], len(self.growth.records)
        gained = {trial.id: trial for record in new for trial in record.trials if trial.id not in self._keys}
        self.plan += gained.values()
        self._know(gained.values())

    def _know(self, trials: Iterable[PlannedTrial]) -> None:
        entries: dict[str, Mapping[str, Any]] = {}
        for planned in trials:
            self._keys[planned.id] = [trial_key(planned, entry) for entry in planned.evaluate]
            entries.update((json.dumps(entry, sort_keys=True), entry) for entry in planned.evaluate)
        self.baselines |= {(name, baseline_key(name, entry)): entry for entry in entries.values() for name in BASELINES}

    @property
    def cells(self) -> list[PlannedTrial]:
        """The planned trials that are cells, without stages."""
        return [planned for planned in self.plan if planned.stage is None]

    def keys(self, planned: PlannedTrial) -> list[str]:
        """The scoring keys of a trial, one for each entry of its ``evaluate``."""
        return self._keys[planned.id]

    def state(self) -> SweepState:
        """The sweep as it is now; one batched question to the scheduler."""
        self.refresh()
        jobs = self._poll()
        launched = last_launch(self.revision.sweep).at
        self.reader.jobs = {job.key: answer for job, answer in jobs}
        held = self.workspace.held
        self._look_at_canaries(at_once=True)
        self._remember()
        there = self.workspace.trial_ids()
        trials = [self.trial(planned, held) if planned.id in there else self._untouched(planned, held) for planned in self.plan]
        baselines = {(name, key): self.reader.scoring(self.workspace.baseline(name, key), held=held) for name, key in self.baselines}
        search = self.search.state({t.planned.id: (t.train, self._by_benchmark(t)) for t in trials}) if self.search is not None else None
        self.memory.save()
        # workers of earlier launches that have ended say nothing about whether workers start now
        known = [(job, answer) for job, answer in jobs if answer.alive or float(job.details.get("created", launched)) >= launched]
        return SweepState(trials, baselines, known, held, search, self._standing(trials), self._last)

    def _standing(self, trials: Sequence[TrialStatus]) -> SeedsState | None:
        if "seeds" not in self.revision.meta:
            return None
        if self._seeds is None:
            from core.control.seeds.read import SeedsReader  # the statistics behind it: not in a worker's parent

            self._seeds = SeedsReader(self.workspace, self.revision, self.growth)
        return self._seeds.state([(t.planned, t.train, self._by_benchmark(t)) for t in trials], halted(self.growth.records))

    @property
    def memory(self) -> Memory:
        """What earlier processes saw of this sweep; read when it is first asked for."""
        if self._memory is None:
            self._memory = Memory(self.workspace, self.revision.sweep.id, self.revision.number)
        return self._memory

    def _remember(self) -> None:
        """Take the finished trials that earlier processes have seen; once."""
        if not self._remembered:
            self._remembered = True
            known = ((planned.id, self.memory.trial(planned, self._keys[planned.id])) for planned in self.plan)
            self._final |= {id: status for id, status in known if status is not None}

    def _untouched(self, planned: PlannedTrial, held: bool) -> TrialStatus:
        """A planned trial that has no folder yet: no attempt, no request."""
        waits_for = self.waits_for(planned) or self.canaries.blocks(planned, self._canaries)
        return TrialStatus(planned, _nothing(held, waits_for), dict.fromkeys(self._keys[planned.id], _nothing(held, "its training")))

    def _by_benchmark(self, trial: TrialStatus) -> dict[str, UnitStatus]:
        entries = zip(trial.planned.evaluate, self._keys[trial.planned.id], strict=True)
        return {str(entry["benchmark"]["name"]): trial.scorings[key] for entry, key in entries}

    def shapes_to_come(self) -> set[Shape]:
        """Shapes that a search or a further seed may ask for."""
        if not self.growing:
            return set()
        about = self.revision.meta.get("search")
        return {planned.shape for planned in self.plan} if about is None else {Shape(**shape) for shape in about["shapes"]}

    def waits_for(self, planned: PlannedTrial) -> str | None:
        """What a trial waits for: the first of its needs without a result, or what no trial gives; ``None``: nothing."""
        if planned.waits is not None:
            return planned.waits
        for id in planned.needed_trials:
            needed = self.workspace.trial(id)
            if self.reader.published(needed):
                continue
            stage = next((other for other in self.plan if other.id == id), None)
            name = f"the stage {stage.stage}" if stage is not None and stage.stage is not None else "a trial"
            state = self.reader.trial(needed).state
            return f"{name} ({id[:10]})" + (f", which has {state}: sweep explain {id[:10]}" if state in ("failed", "cancelled") else "")
        return None

    def _poll(self) -> list[tuple[Job, JobAnswer]]:
        names = names_of(self.workspace, self.revision.sweep.id)
        self._last = max(map(number_of, names), default=0)
        if self.scheduler is None:
            return []
        past = self.memory.workers(names)
        jobs = jobs_of(self.workspace, self.revision.sweep.id, [name for name in names if name not in past])
        answers = self.scheduler.poll(jobs)
        known = past | {job.key: (job, answers[job.key]) for job in jobs if job.key in answers}
        self.polled = [known[name] for name in names if name in known]
        for job in jobs:
            if job.key in answers:
                self.memory.keep_worker(job, answers[job.key])
        return self.polled

    def _look_at_canaries(self, *, at_once: bool = False) -> None:
        """Read the canaries' states, at most once a second where a worker asks trial by trial."""
        if self.canaries.passed or not (at_once or time.monotonic() - self._looked > 1.0):
            return
        self._looked = time.monotonic()
        self._canaries = {planned.id: self.reader.trial(self.workspace.trial(planned.id)) for planned in self.canaries.trials}
        self.canaries.see(self._canaries)

    def ask_canaries(self) -> None:
        """Ask canaries that have made their steps for a checkpoint, each attempt once."""
        for planned, attempt in self.canaries.to_save(self._canaries) if not self.canaries.passed else ():
            trial = self.workspace.trial(planned.id)
            if asked(trial).checkpoints < attempt:
                drop(trial, "checkpoint", "a canary shows that it can save")

    def trial(self, planned: PlannedTrial, held: bool = False) -> TrialStatus:
        """One planned trial with its scorings."""
        if planned.id in self._final:
            return self._final[planned.id]
        trial = self.workspace.trial(planned.id)
        self._look_at_canaries()
        waits_for = self.waits_for(planned) or self.canaries.blocks(planned, self._canaries)
        train = self.reader.trial(trial, held=held, blocked=waits_for)
        scorings: dict[str, UnitStatus] = {}
        for key in self._keys[planned.id]:
            waits = None if train.state == "completed" else "its training"
            wish = asked(trial).of_scoring(key) if train.state == "completed" else None
            scorings[key] = self.reader.scoring(trial.scoring(key), held=held, blocked=waits, wish=wish)
        status = TrialStatus(planned, train, scorings)
        if all(unit.state == "completed" for unit in (train, *scorings.values())):
            # nothing of it can change any more: a watcher of ten thousand trials pays for those that are open
            status = replace(status, record=_record(planned, trial))
            self._final[planned.id] = status
            self.memory.keep(status)
        return status


@cache
def _nothing(held: bool, blocked: str | None) -> UnitStatus:
    """The status of what has no attempt and no request."""
    return derive([], published=False, held=held, blocked=blocked)


def data_key(planned: PlannedTrial) -> str:
    """Equal for trials whose data lie in the same place and are read in the same way; "" for a model of others, which reads none."""
    if planned.config.get("task") == "external":
        return ""
    return hashlib.sha256(json.dumps([planned.config["data"], planned.config["rehearsal"]], sort_keys=True).encode()).hexdigest()[:16]


def _record(planned: PlannedTrial, trial: Trial) -> Mapping[str, Any] | None:
    """How a result was computed; ``None`` where that cannot be read."""
    try:
        value = read_json(trial.result / "metrics.json")
        return {"flags": list(value["flags"]), "fingerprints": {**value["fingerprints"]}, "data": data_key(planned)}
    except (OSError, IntegrityError, KeyError, TypeError):
        return None


@dataclass
class TickResult:
    """What one pass saw and did.

    ``grew``: whether the plan has gained trials; ``closed``: why nothing may start now, for a sweep that runs at night only;
    ``trouble``: why workers that are wanted could not be started now.
    """

    state: SweepState
    actions: Sequence[Action]
    submitted: list[str] = field(default_factory=list)
    stopped: StopDispatch | None = None
    grew: bool = False
    closed: str | None = None
    trouble: str | None = None


def tick(
    reader: SweepReader, submitter: Submitter | None, workers: int | None = None, clock: Callable[[], float] = time.time
) -> TickResult:
    """One pass over a sweep.

    Args:
        reader: of the sweep; its scheduler is asked once.
        submitter: starts workers; ``None`` only looks.
        workers: at most so many at once; default: what the place can hold.
        clock: unix seconds.
    """
    if submitter is not None:
        reader.passes()
    result = _pass(reader, submitter, workers, clock)
    if result.grew:  # what was gained is worked on at once
        first, result = result, _pass(reader, submitter, workers, clock)
        result.submitted = first.submitted + result.submitted
    return result


def _pass(reader: SweepReader, submitter: Submitter | None, workers: int | None, clock: Callable[[], float]) -> TickResult:
    state = reader.state()
    _exclude_failed_nodes(reader, state)
    shapes = {shape for shape, unit in state.units() if unit.claimable} or reader.shapes_to_come()
    if workers is None:
        workers = max((submitter.capacity(shape) for shape in shapes), default=1) if submitter is not None else 0
    now = clock()
    sweep = reader.revision.sweep.id
    rooms = {shape: submitter.room(shape) for shape in shapes} if submitter is not None else {}
    at_once = workers * max((room.slots for room in rooms.values()), default=1)
    night = tonight(reader.workspace, sweep, reader.polled, state, at_once, now) if submitter is not None else ALWAYS
    limits = Limits(workers, reader.policy, night.closed, night.grant, night.left, rooms)
    actions = decide(state, limits, now)
    result = TickResult(state, actions, closed=night.closed)
    last = state.last
    if submitter is not None:
        reader.ask_canaries()
    for action in actions:
        if isinstance(action, Ask | Prune | Replicate) and submitter is not None and reader.search is not None and state.search is not None:
            from core.control.search.carry import carry_out  # the definition language: a sweep without a search needs none of it

            result.grew |= carry_out(reader.search, state.search, action)
        if isinstance(action, Submit) and submitter is not None:
            shown = _shown(state, action, limits.room(action.shape).slots)
            number = reader.revision.number
            started = submitter.submit(sweep, number, action, shown, last)
            last = max([last, *map(number_of, started)])
            result.submitted += started
        if isinstance(action, Withdraw) and submitter is not None:
            submitter.withdraw(action.jobs)
        if isinstance(action, Grow) and submitter is not None:
            result.grew |= reader.growth.append(action.kind, why=action.why, trials=action.trials, facts=action.facts)
        if isinstance(action, Pause) and submitter is not None:
            _pause(reader, action)
        if isinstance(action, StopDispatch):
            result.stopped = action
    if submitter is not None and any(isinstance(action, Submit) for action in actions):
        result.trouble = submitter.trouble
    return result


def _shown(state: SweepState, action: Submit, slots: int) -> Shown:
    """What the sweep's trials of this shape say about the workers to come."""
    # more time, or less, changes nothing of what a trial does
    alike = [trial.train for trial in state.trials if trial.planned.shape.alike(action.shape)]
    open_here = sum(1 for shape, unit in state.units() if shape == action.shape and unit.claimable)
    saving = max((status.saving for status in alike), default=0.0)
    return Shown(saving, trial_seconds(alike), math.ceil(open_here / (action.count * slots)), shown_useful(alike))


def hold_back(reader: SweepReader) -> None:
    """Pause what would fail as others have; a worker calls it after a failure, before it claims the next trial."""
    entries = [(planned.id, planned.cell, reader.trial(planned).train) for planned in reader.plan]
    for group in stopped(entries, reader.policy):
        _pause(reader, group)


def _pause(reader: SweepReader, group: Pause | Stopped) -> None:
    for trial in group.trials:
        drop(reader.workspace.trial(trial), "pause", group.reason, group.causes)


def _exclude_failed_nodes(reader: SweepReader, state: SweepState) -> None:
    """No worker is sent for a while to a node of which the scheduler says that it failed."""
    seconds = reader.policy.config.exclude_node
    for job, answer in state.jobs:
        if answer.cause != "node_failure" or not answer.nodes or not seconds:
            continue
        done = reader.workspace.jobs / job.key / "excluded.json"
        if done.exists():  # once a worker, whoever makes the pass: a user may take the exclusion away
            continue
        for node in answer.nodes:
            nodes.exclude(reader.workspace, node, seconds, answer.evidence, job.key)
        create_exclusive(done, json.dumps({"nodes": list(answer.nodes)}))
