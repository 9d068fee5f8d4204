"""An ablation as a value, and its JSON (pure, no I/O). :mod:`core.analysis.ablation` makes it and says what the parts are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from core.analysis.paired import Over


@dataclass(frozen=True)
class Level:
    """One value of an axis.

    Attributes:
        value: the coordinate.
        cell: name of the cell; empty where the mean is over several.
        mean: of the metric.
        difference: to the base cell; ``None`` for that itself, and where there was too little to test.
        ci: 95 % interval of the difference.
        p: of the difference, two-sided.
        adjusted: after Holm over the values of the axis.
        over: what the interval is over.
    """

    value: Any
    cell: str
    mean: float
    difference: float | None = None
    ci: tuple[float, float] | None = None
    p: float | None = None
    adjusted: float | None = None
    over: Over | None = None

    def with_adjusted(self, p: float) -> Level:
        """The same with its p value after Holm."""
        return replace(self, adjusted=p)


@dataclass(frozen=True)
class OneFactor:
    """The values of one axis; in a one-factor table the base cell's first."""

    axis: str
    levels: tuple[Level, ...]


@dataclass(frozen=True)
class Effect:
    """A main effect (one axis) or an interaction (two): its share of the spread between cells, and the p value of its F test."""

    axes: tuple[str, ...]
    share: float
    p: float | None


@dataclass(frozen=True)
class Cost:
    """What a cell's quality cost: hours of workers times GPUs, tokens of training, seconds per scored example; means over replicates."""

    cell: str
    quality: float
    hours: float | None
    tokens: float | None
    example_seconds: float | None
    front: bool


@dataclass(frozen=True)
class Ablation:
    """All of it, for one metric; what the cells do not allow is empty."""

    metric: str
    base: str | None = None
    factors: tuple[OneFactor, ...] = ()
    means: tuple[OneFactor, ...] = ()
    effects: tuple[Effect, ...] = ()
    importance: tuple[tuple[str, float], ...] = ()
    method: str = ""
    costs: tuple[Cost, ...] = ()
    notes: tuple[str, ...] = ()


def to_json(found: Ablation | None) -> dict[str, Any] | None:
    """The stable JSON of an ablation."""
    if found is None:
        return None
    return {
        "metric": found.metric,
        "base": found.base,
        "one_factor": [_factor(factor) for factor in found.factors],
        "means": [
            {"axis": factor.axis, "values": [{"value": one.value, "mean": one.mean} for one in factor.levels]} for factor in found.means
        ],
        "effects": [{"axes": list(effect.axes), "share": effect.share, "p": effect.p} for effect in found.effects],
        "importance": {"method": found.method or None, "shares": [{"axis": axis, "share": share} for axis, share in found.importance]},
        "costs": [
            {
                "cell": cost.cell, "quality": cost.quality, "hours": cost.hours, "tokens": cost.tokens,
                "example_seconds": cost.example_seconds, "pareto": cost.front,
            }
            for cost in found.costs
        ],
        "notes": list(found.notes),
    }  # fmt: skip


def _factor(factor: OneFactor) -> dict[str, Any]:
    return {
        "axis": factor.axis,
        "values": [
            {
                "value": one.value, "cell": one.cell, "mean": one.mean, "difference": one.difference,
                "ci": None if one.ci is None else list(one.ci), "p": one.p, "p_holm": one.adjusted, "over": one.over,
            }
            for one in factor.levels
        ],
    }  # fmt: skip
