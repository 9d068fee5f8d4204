"""What the next attempt of a trial does differently, from its attempts alone. Pure.

After ``cuda_oom`` the next attempt goes one rung down the ladder of execution settings that need less memory: the micro-batch
is halved until it is one pair, then activations are recomputed, then weights are divided among the ranks (ZeRO-3), then states move to the
host's memory. The effective batch, the order of the data and the id stay as
they are. A setting that helped once is kept by all later attempts. A rung whose setting an attempt did not record is passed
over, so that the ladder grows with the settings.

An attempt that met the time limit before its first checkpoint is followed by one that is given more time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from core.control.derive import AttemptView
    from core.control.policy import Policy
    from core.definition.trial import TrialConfig

MOST = 0.5
"""An attempt that had so much of its worker's time limit had most of it."""


@dataclass(frozen=True)
class Rung:
    """One execution setting that can be changed to need less memory.

    Attributes:
        setting: its name in ``execution``.
        less: the next value, or ``None`` where there is none.
        flag: what is said beside a result that was computed with it.
    """

    setting: str
    less: Callable[[Any], Any]
    flag: str


LADDER = (
    Rung("micro_batch", lambda size: size // 2 or None, "micro_batch_halved"),
    Rung("activation_checkpointing", lambda on: None if on else True, "activations_recomputed"),
    Rung("zero", {0: 3, 1: 3, 2: 3}.get, "weights_divided"),
    Rung("offload", {"none": "optimizer", "optimizer": "all"}.get, "offloaded"),
)
"""From the cheapest to the dearest."""
SCORING = (Rung("scoring_batch", lambda size: size // 2 or None, "scoring_batch_halved"),)
"""What a scoring has: examples judged together, which changes a score by rounding alone."""


@dataclass(frozen=True)
class Remedy:
    """Changes for the next attempt.

    Attributes:
        execution: settings that replace the definition's.
        flags: said beside the result.
        time: seconds that it is given; ``None``: what the definition or the cluster profile says.
        exhausted: why nothing is left to change although the last failure asks for it.
    """

    execution: Mapping[str, Any] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    time: float | None = None
    exhausted: str | None = None

    @property
    def words(self) -> str:
        """The changes in words; "" for none."""
        own = {rung.setting for rung in SCORING}  # no key of a definition
        said = [f"{'' if name in own else 'execution.'}{name}={str(value).lower()}" for name, value in self.execution.items()]
        return ", ".join([*said, *([f"{self.time / 60:g} min of time"] if self.time else [])])


def used(config: TrialConfig) -> dict[str, Any]:
    """The ladder's settings as an attempt with this configuration uses them."""
    execution = config.execution.model_dump(mode="json")
    execution["micro_batch"] = config.micro_batch
    return {rung.setting: execution[rung.setting] for rung in LADDER}


def remedy(attempts: Sequence[AttemptView], policy: Policy) -> Remedy:
    """What the attempt after these does differently (those before a user's retry are left out by the caller)."""
    changes: dict[str, Any] = {}
    exhausted = None
    for attempt in attempts:
        started = attempt.started or {}
        changes = dict(started.get("changed") or changes)
        exhausted = None
        # one that never began has met the memory of others: it is repeated as it is
        if attempt.cause == "cuda_oom" and policy.config.shrink and attempt.started is not None:
            step = _down({**started.get("execution", {}), **changes})
            exhausted = None if step else "no setting is left that needs less memory"
            changes |= step
    flags = tuple(rung.flag for rung in (*LADDER, *SCORING) if rung.setting in changes)
    return Remedy(changes, flags, _longer(attempts, policy), exhausted)


def _down(execution: Mapping[str, Any]) -> dict[str, Any]:
    for rung in (*LADDER, *SCORING):
        if rung.setting in execution and (value := rung.less(execution[rung.setting])) is not None:
            return {rung.setting: value}
    return {}


def had_time(attempt: AttemptView) -> bool:
    """Whether an attempt had most of what its worker was given: one that began shortly before the limit shows nothing by meeting it."""
    limit, left = attempt.owner.get("limit"), attempt.owner.get("left")
    return not limit or left is None or float(left) >= MOST * float(limit)


def _longer(attempts: Sequence[AttemptView], policy: Policy) -> float | None:
    """More time than the last limit, where that was met before there was a checkpoint to go on from.

    Never less than a worker of its shape usually has (the limit may have been that of a short night), and never more than one may have.
    """
    if policy.config.longer <= 1 or not attempts or any(a.checkpoint for a in attempts):
        return None
    met = [a.owner for a in attempts if a.state == "time_limit" and a.owner.get("limit") and had_time(a)]
    if not met:
        return None
    wanted = policy.config.longer * max(min(float(o["limit"]), float(o.get("left", o["limit"]))) for o in met)
    usual, most = (max((float(o[name]) for o in met if name in o), default=None) for name in ("usual", "most"))
    wanted = max(wanted, usual or 0.0)
    return wanted if most is None else min(wanted, most)
