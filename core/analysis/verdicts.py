"""What is claimed of a study, and what became of it, as values and their JSON (pure, no I/O). :mod:`core.analysis.claims` judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from core.analysis.paired import Over

Kind = Literal["better", "best", "no_effect", "monotone"]
Word = Literal["supported", "contradicted", "undecided"]


@dataclass(frozen=True)
class Claim:
    """A claim with the pairs of cells that it compares (see :func:`core.definition.claims.resolve_claims`)."""

    say: str
    kind: Kind
    on: str
    pairs: tuple[tuple[str, str], ...]
    within: float | None = None
    problem: str | None = None

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Claim:
        """From what a registered revision holds."""
        pairs = tuple((a, b) for a, b in value["pairs"])
        return cls(value["say"], value["kind"], value["on"], pairs, value["within"], value["problem"])


@dataclass(frozen=True)
class Estimate:
    """A difference, the first less the second, in the unit of the metric and with more being better.

    ``p`` is two-sided, against no difference; ``seeds`` that are compared, ``seed_variance`` of one pair of seeds, ``rest`` the part of
    ``se ** 2`` that seeds do not shrink. Both are ``None`` for one seed, where they are not known.
    """

    difference: float
    se: float
    dof: float
    test: str
    p: float
    over: Over
    seeds: int
    seed_variance: float | None = None
    rest: float | None = None


@dataclass(frozen=True)
class Step:
    """One pair of a claim; ``reason`` says why there is no estimate.

    ``shown`` and ``refuted`` are the p values of the pair's sentence and of its opposite.
    """

    a: str
    b: str
    estimate: Estimate | None = None
    shown: float = 1.0
    refuted: float = 1.0
    more: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Verdict:
    """What is known of a claim.

    Attributes:
        claim: the claim.
        word: the verdict.
        reason: why, in a sentence.
        p: of the claim, before Holm; ``None`` where nothing could be tested.
        adjusted: after Holm over all claims.
        decisive: the pair that it rests on: the weakest of a supported claim, the one that contradicts it.
        more: seeds that are missing in each cell for 80 % power, if the differences are what was found; ``None`` where not known.
        steps: all pairs.
    """

    claim: Claim
    word: Word
    reason: str
    p: float | None = None
    adjusted: float | None = None
    decisive: Step | None = None
    more: int | None = None
    steps: tuple[Step, ...] = ()


def to_json(verdicts: Sequence[Verdict]) -> list[dict[str, Any]]:
    """The stable JSON of verdicts."""
    return [_json(one) for one in verdicts]


def _json(one: Verdict) -> dict[str, Any]:
    claim = one.claim
    return {
        "say": claim.say, "kind": claim.kind, "on": claim.on, "within": claim.within, "verdict": one.word, "reason": one.reason,
        "p": one.p, "p_holm": one.adjusted, "more_seeds": one.more, "pairs": [_step_json(step) for step in one.steps],
    }  # fmt: skip


def _step_json(step: Step) -> dict[str, Any]:
    found = step.estimate
    return {
        "a": step.a, "b": step.b, "difference": found and found.difference, "se": found and found.se, "dof": found and found.dof,
        "test": found and found.test, "over": found and found.over, "seeds": found and found.seeds, "p_shown": step.shown,
        "p_refuted": step.refuted, "more_seeds": step.more, "reason": step.reason,
    }  # fmt: skip
