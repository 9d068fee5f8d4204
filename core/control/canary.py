"""Canaries: the first attempts of a few trials that show that the others can work. Pure.

A typo in a loss, a head that does not fit its backbone, a data set that is not on the nodes: each would fail in every trial that
has it. So in a large sweep a few trials go first. Together they cover every shape, and every value of each axis that changes code, data or
backbone. A trial waits until every part of it has been seen at work, that is until, for each of its values and for its shape, some
canary that shares it has made a few steps and a checkpoint; where all that share one have failed it goes on waiting, and the reason names
them. A pass asks a canary for that checkpoint: what cannot be saved fails then and not hours later, and how long it takes tells how early
the others must be warned.

Canaries are ordinary attempts and simply go on from their checkpoint: what they have done is not done again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from core.control.derive import AttemptView, UnitStatus
from core.definition.plan import PlannedTrial

LARGE = 20
"""A sweep of fewer trials that have not begun needs no canary."""
STEPS = 3
"""Optimiser steps after which a canary has shown that it trains, and is asked to save."""
TELLING = ("task", "paradigm", "backbone", "head", "data", "loss", "prompt", "train.freeze", "train.lora", "train.max_length", "execution")
"""Axes whose values may fail by themselves; a learning rate or a seed does not."""

Feature = str


def features(planned: PlannedTrial) -> frozenset[Feature]:
    """What a trial shares with its canaries: its shape, and its values on the axes that tell."""
    own = {f"shape {planned.shape.key}"}
    for path, value in planned.cell.items():
        if any(path == part or path.startswith(f"{part}.") for part in TELLING):
            own.add(f"{path}={value if isinstance(value, str) else json.dumps(value, sort_keys=True)}")
    return frozenset(own)


def choose(plan: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """As few trials of the plan as cover every feature, each next one covering most of what is left; ties in the plan's order."""
    first: dict[frozenset[Feature], PlannedTrial] = {}
    for planned in plan:
        first.setdefault(features(planned), planned)
    left = {feature for own in first for feature in own}
    chosen = []
    while left:
        own = max(first, key=lambda candidate: len(candidate & left))
        chosen.append(first.pop(own))
        left -= own
    return chosen


@dataclass(frozen=True)
class Measured:
    """What the trials of a sweep have shown so far; medians.

    Attributes:
        step_seconds: of one optimiser step.
        memory_gib: the largest peak: of the GPU's allocator, or of the process where there is no GPU.
        trials: how many were measured.
        trial_seconds: the longest that a trial takes from its start to its end, by its own pace.
    """

    step_seconds: float
    memory_gib: float
    trials: int
    trial_seconds: float | None = None


def measured(statuses: Iterable[UnitStatus]) -> Measured | None:
    """Pace and memory from the trials' own last measurements; ``None`` where none has made a step."""
    known = list(statuses)
    found = [status.last.measured for status in known if status.last is not None and status.last.measured]
    if not found:
        return None
    return Measured(median(f["step_seconds"] for f in found), max(f["memory_gib"] for f in found), len(found), trial_seconds(known))


def trial_seconds(statuses: Iterable[UnitStatus]) -> float | None:
    """The longest that a trial takes from its start to its end, by the pace of its last attempt; ``None`` where none has a pace."""
    found = [seconds for status in statuses if (seconds := _whole(status.last)) is not None]
    return max(found, default=None)


def _whole(last: AttemptView | None) -> float | None:
    if last is None or last.started is None or last.last is None or last.progress is None or not last.progress.get("total"):
        return None
    done = int(last.progress["step"]) - int((last.started.get("resumed") or {}).get("step", 0))
    # the attempt's own clock alone: loading and validation are part of its pace
    return (last.last - float(last.started["t"])) / done * int(last.progress["total"]) if done >= STEPS else None


def wanted(fresh: Sequence[PlannedTrial]) -> list[PlannedTrial]:
    """The canaries of a launch that trains ``fresh``; none where it is small, or where they would be most of it."""
    chosen = choose(fresh) if len(fresh) >= LARGE else []
    return chosen if 2 * len(chosen) <= len(fresh) else []


class Canaries:
    """Which trials of a plan wait for which.

    Args:
        plan: of the sweep.
        ids: the canaries that its launch chose.
    """

    def __init__(self, plan: Sequence[PlannedTrial], ids: Collection[str]) -> None:
        self.trials = [planned for planned in plan if planned.id in ids]
        self.ids = frozenset(planned.id for planned in self.trials)
        self._train = {planned.id for planned in self.trials if planned.config.get("task", "reward_model") == "reward_model"}
        self._sharing: dict[Feature, list[str]] = {}
        for planned in self.trials:
            for feature in features(planned):
                self._sharing.setdefault(feature, []).append(planned.id)
        self.passed = not self.trials

    def blocks(self, planned: PlannedTrial, statuses: Mapping[str, UnitStatus]) -> str | None:
        """What a trial waits for, given the statuses of the canaries; ``None`` where it may go."""
        if self.passed or planned.id in self.ids:
            return None
        waiting: str | None = None
        for feature in sorted(features(planned)):
            sharing = self._sharing.get(feature, [])
            if not sharing or any(self._works(id, statuses) for id in sharing):
                continue
            if all(statuses[id].state in ("failed", "cancelled", "pruned") for id in sharing):
                return f"a canary with {feature}, and {sharing[0][:10]} failed"
            waiting = waiting or f"the canary {sharing[0][:10]} ({feature})"
        return waiting

    def see(self, statuses: Mapping[str, UnitStatus]) -> None:
        """Remember that all canaries have passed; from then on nothing is asked again."""
        self.passed = self.passed or all(self._works(id, statuses) for id in statuses)

    def to_save(self, statuses: Mapping[str, UnitStatus]) -> list[tuple[PlannedTrial, int]]:
        """Canaries that have made their steps and no checkpoint yet, each with the attempt that is to make one."""
        found = [(planned, statuses[planned.id].last) for planned in self.trials if not self._works(planned.id, statuses)]
        return [
            (planned, last.number)
            for planned, last in found
            if last is not None and statuses[planned.id].state == "running" and last.steps >= STEPS
        ]

    def _works(self, id: str, statuses: Mapping[str, UnitStatus]) -> bool:
        status = statuses[id]
        saved = status.last is not None and (status.last.checkpoint >= STEPS or status.saving > 0)
        # what is written or scored, and not trained, makes no checkpoint
        return status.state == "completed" or saved or (id not in self._train and status.last is not None and status.last.steps >= STEPS)


def as_json(canaries: Canaries, found: Measured | None) -> dict[str, Any]:
    """The documented shape in ``sweep status --json``."""
    return {
        "trials": [planned.id for planned in canaries.trials],
        "passed": canaries.passed,
        "measured": None if found is None else asdict(found),
    }
