"""The states of trials and attempts, and the legal transitions with the evidence that each needs.

One table: ``derive`` enters no state that is not here, the tests check that, and the diagram in ``docs/design/states.md`` is
printed from it (``python -m core.control.states``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

TrialState = Literal["blocked", "pending", "running", "unknown", "completed", "failed", "cancelled", "pruned", "held"]
AttemptState = Literal["running", "unknown", "completed", "failed", "preempted", "time_limit", "interrupted", "lost"]

TRIAL_STATES: tuple[TrialState, ...] = get_args(TrialState)
ATTEMPT_STATES: tuple[AttemptState, ...] = get_args(AttemptState)
OPEN: frozenset[TrialState] = frozenset({"blocked", "pending", "running", "unknown", "held"})
"""States from which a trial still moves by itself, or once what holds it is lifted."""


@dataclass(frozen=True)
class Transition:
    """One legal step of a trial; ``evidence`` names what must be seen for it."""

    before: TrialState
    after: TrialState
    evidence: str


TRANSITIONS: tuple[Transition, ...] = (
    Transition("blocked", "pending", "what it needs has a result"),
    Transition("pending", "running", "an attempt's folder with a living owner"),
    Transition("pending", "held", "HOLD, or a pause"),
    Transition("held", "pending", "HOLD is gone, or a resume request"),
    Transition("running", "held", "HOLD, or a pause, and the attempt has left"),
    Transition("held", "cancelled", "a cancel request"),
    Transition("pending", "cancelled", "a cancel request"),
    Transition("pending", "pruned", "a prune request"),
    Transition("running", "completed", "a published result"),
    Transition("running", "failed", "the attempt ended with a cause whose policy allows no further one"),
    Transition("running", "pending", "the attempt ended (preempted, time limit, interrupted, lost, or a cause that is retried)"),
    Transition("running", "unknown", "no answer proves the owner alive or ended"),
    Transition("unknown", "running", "a sign of life of the owner"),
    Transition("unknown", "pending", "proof that the owner ended"),
    Transition("unknown", "completed", "a published result"),
    Transition("running", "cancelled", "a cancel request, and the attempt has left"),
    Transition("running", "pruned", "a prune request, and the attempt has left"),
    Transition("failed", "pending", "a retry request"),
    Transition("cancelled", "pending", "a retry request, or the sweep is launched again"),
    Transition("pruned", "pending", "a retry request"),
)


def diagram() -> str:
    """The transitions of a trial as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> pending", "    [*] --> blocked"]
    lines += [f"    {t.before} --> {t.after}: {t.evidence}" for t in TRANSITIONS]
    lines += ["    completed --> [*]"]
    return "\n".join(lines)


if __name__ == "__main__":
    print(diagram())
