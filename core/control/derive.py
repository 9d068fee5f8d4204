"""From files to states: what a trial is, and whether it may be claimed. Pure: the caller has read everything.

The order of the rules matters and is the order of their strength: a published result outranks all, a user's word to stop
outranks retries, and silence decides nothing (``unknown`` is a state with an age, not a verdict).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.control.policy import LOST_WITHOUT_PROGRESS, Policy
from core.control.remedy import Remedy, had_time, remedy
from core.control.states import AttemptState, TrialState
from core.workspace.requests import Asked

DEFAULTS = Policy()


@dataclass(frozen=True)
class AttemptView:
    """One attempt as its files and the scheduler show it.

    Attributes:
        number: from 1.
        state: running, unknown, or how it ended.
        evidence: what proves that it has ended; ``None`` while it has not.
        cause: of a failure.
        message: of a failure, one line.
        signature: of the traceback, equal for equal ones.
        ask: what an interrupted attempt was asked (cancel, prune, stop, pause).
        steps: the last step that it reported.
        checkpoint: the newest step that it saved, 0 for none.
        last: its own clock at its last line, unix seconds.
        owner: ``owner.json``.
        started: its first line.
        progress: its last progress line.
        validation: its last line of validation metrics.
        score: its last line of a scoring's progress.
        load: seconds from its first line to its first step.
        saving: the longest time that a checkpoint took it, seconds.
        measured: ``step_seconds`` and ``memory_gib`` of its last step.
    """

    number: int
    state: AttemptState
    evidence: str | None = None
    cause: str | None = None
    message: str | None = None
    signature: str | None = None
    ask: str | None = None
    steps: int = 0
    checkpoint: int = 0
    last: float | None = None
    owner: Mapping[str, Any] = field(default_factory=dict)
    started: Mapping[str, Any] | None = None
    progress: Mapping[str, Any] | None = None
    validation: Mapping[str, Any] | None = None
    score: Mapping[str, Any] | None = None
    measured: Mapping[str, float] | None = None
    saving: float = 0.0
    load: float | None = None


@dataclass(frozen=True)
class UnitStatus:
    """What a trial (or a scoring) is now.

    Attributes:
        state: see :mod:`core.control.states`.
        attempts: how many there are.
        claimable: whether a worker may make attempt ``attempts + 1`` now.
        evidence: what proves that the last attempt has ended, for that claim.
        cause: of the failure, or of the last failed attempt while it is retried.
        reason: one sentence for `sweep explain`.
        last: the last attempt.
        remedy: what the next attempt does differently, or the running one.
        load: the longest that one of its attempts took to its first step, seconds; ``None`` where none made a step.
        step: the longest of their last steps.
        saving: the longest of their checkpoints.
    """

    state: TrialState
    attempts: int = 0
    claimable: bool = False
    evidence: str | None = None
    cause: str | None = None
    reason: str = ""
    last: AttemptView | None = None
    remedy: Remedy = field(default_factory=Remedy)
    load: float | None = None
    step: float = 0.0
    saving: float = 0.0


def derive(
    attempts: Sequence[AttemptView],
    *,
    published: bool,
    asked: Asked | None = None,
    held: bool = False,
    blocked: str | None = None,
    policy: Policy = DEFAULTS,
) -> UnitStatus:
    """The status of a trial or scoring.

    Args:
        attempts: oldest first.
        published: whether its result (or table) is there.
        asked: the requests of the trial, replayed.
        held: whether HOLD is set.
        blocked: what it waits for, or ``None``.
        policy: what follows a failure.
    """
    wish = asked or Asked()
    count = len(attempts)
    last = attempts[-1] if attempts else None

    judged = [a for a in attempts if a.number > wish.forgiven]
    changes = remedy(judged, policy)

    def status(state: TrialState, reason: str, **more: Any) -> UnitStatus:
        return UnitStatus(state, count, reason=reason, last=last, remedy=changes, **_pace(attempts), **more)

    if published:
        return status("completed", "its result is published")
    if last is not None and last.state == "running":
        return status("running", f"attempt {last.number} is running" + (f", asked to {wish.stop}" if wish.stop else ""))
    if last is not None and last.state == "unknown":
        return status("unknown", f"nothing proves attempt {last.number} alive or ended")
    if wish.stop == "cancel":
        return status("cancelled", "a cancel request")
    if wish.stop == "prune":
        return status("pruned", wish.why or "a prune request")
    if blocked is not None:
        return status("blocked", f"it waits for {blocked}")
    cause, reason = _verdict(judged, policy, changes)
    if reason is not None:
        return status("failed", reason, cause=cause)
    if held:
        return status("held", "HOLD is set", cause=cause)
    if wish.stop == "pause":
        return status("held", f"paused: {wish.why}" if wish.why else "paused", cause=cause)
    why = f"attempt {last.number} ended: {last.cause or last.state}" if last else "not started"
    if last is not None and changes.words:
        why += f"; the next one takes {changes.words}"
    return status("pending", why, claimable=True, evidence=last.evidence if last else None, cause=cause)


def _pace(attempts: Sequence[AttemptView]) -> dict[str, Any]:
    """What the attempts have shown, all of them: the next one may do what only an earlier one came to."""
    return {
        "load": max((a.load for a in attempts if a.load is not None), default=None),
        "step": max((float((a.measured or {}).get("step_seconds", 0.0)) for a in attempts), default=0.0),
        "saving": max((a.saving for a in attempts), default=0.0),
    }


def _verdict(attempts: Sequence[AttemptView], policy: Policy, changes: Remedy) -> tuple[str | None, str | None]:
    """(cause, reason why no further attempt is made); the reason is ``None`` where one may be made."""
    if not attempts:
        return None, None
    last = attempts[-1]
    if last.state == "failed":
        cause = last.cause or "user_bug"
        same = _in_a_row(attempts, last.cause)
        if same > policy.retries.get(cause, 0):
            return cause, f"attempt {last.number} failed: {cause}" + (f", {same} times" if same > 1 else "")
        return cause, f"attempt {last.number} failed: {cause}, and {changes.exhausted}" if changes.exhausted else None
    if last.state == "completed":
        return "crashed", f"attempt {last.number} says that it completed, but there is no result"
    silent = 0
    newest = 0
    for attempt in attempts:
        progressed = attempt.checkpoint > newest
        newest = max(newest, attempt.checkpoint)
        if progressed or attempt.state not in ("lost", "time_limit", "preempted"):
            silent = 0
        elif attempt.state == "lost" or (attempt.state == "time_limit" and had_time(attempt)):
            silent += 1  # one that was preempted says nothing of the trial, for or against it
    if silent >= LOST_WITHOUT_PROGRESS:
        return "no_progress", f"{silent} attempts in a row ended without a newer checkpoint, preemptions left out"
    return None, None


def _in_a_row(attempts: Sequence[AttemptView], cause: str | None) -> int:
    """Failures with this cause since the last one that had made a newer checkpoint, itself counted."""
    same = newest = 0
    for attempt in attempts:
        if attempt.checkpoint > newest:
            newest, same = attempt.checkpoint, 0
        same += attempt.state == "failed" and attempt.cause == cause
    return same
