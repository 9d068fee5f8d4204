"""What a search knows: its suggestions with what has become of them. Values only; :mod:`core.control.search.read` fills them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.definition.plan import PlannedTrial
from core.definition.searching import ObjectiveConfig, SearchConfig

Told = Literal["open", "complete", "pruned", "failed"]
"""What the sampler is told. A trial that waits, was preempted or is retried is open: only what will not go on has failed."""

Curve = Sequence[tuple[int, float]]
"""(progress in percent of the trial's own last step, value), in order."""


@dataclass(frozen=True)
class Suggestion:
    """One cell that was suggested.

    Attributes:
        number: from 1, in its study.
        planned: its trial, with the first seed.
        chosen: what the sampler chose, by parameter.
        told: what the sampler is told.
        values: one for each objective, where it is complete.
        curve: of the watched metric.
        reason: why it was stopped, or has failed.
        attrs: what the sampler keeps at this suggestion.
        shared: of which study-wide notes of the sampler were made when it was asked.
    """

    number: int
    planned: PlannedTrial
    chosen: Mapping[str, float | str]
    told: Told = "open"
    values: tuple[float, ...] | None = None
    curve: Curve = ()
    reason: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)
    shared: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The search at one cell of the grid.

    Attributes:
        name: the cell; ``base`` without a grid.
        suggestions: in the order in which they were asked.
        replicates: planned trials with further seeds, with whether each is still open.
        warm: finished trials of earlier sweeps: what stood in them, and their values.
        exhausted: why no further cell can be suggested, or ``None``.
    """

    name: str
    suggestions: Sequence[Suggestion] = ()
    replicates: Mapping[str, bool] = field(default_factory=dict)
    warm: Sequence[tuple[Mapping[str, float | str], tuple[float, ...]]] = ()
    exhausted: str | None = None

    def finished(self) -> list[Suggestion]:
        """The suggestions with values."""
        return [item for item in self.suggestions if item.values is not None]


@dataclass(frozen=True)
class SearchState:
    """All studies of a sweep.

    Attributes:
        config: the definition's ``search``.
        objectives: one or two.
        seeds: the replicates of the definition.
        studies: one for each cell of the grid.
        halted: whether the sweep was cancelled or paused: nothing more is asked for until it is launched or resumed.
    """

    config: SearchConfig
    objectives: tuple[ObjectiveConfig, ...]
    seeds: tuple[int, ...]
    studies: Sequence[Study]
    halted: bool = False

    def left(self, study: Study) -> int:
        """Cells that are still to be suggested."""
        return 0 if self.halted or study.exhausted is not None else max(0, self.config.n_cells - len(study.suggestions))

    def best(self, study: Study) -> list[Suggestion]:
        """The finished suggestions, the best first. With two objectives: the Pareto front by the first one, then the others."""
        signs = [1.0 if objective.mode == "max" else -1.0 for objective in self.objectives]

        def gains(item: Suggestion) -> tuple[float, ...]:
            assert item.values is not None
            return tuple(sign * value for sign, value in zip(signs, item.values, strict=True))

        ranked = sorted(study.finished(), key=lambda item: (gains(item)[0], -item.number), reverse=True)
        if len(signs) == 1:
            return ranked
        front = [item for item in ranked if not any(_dominates(gains(other), gains(item)) for other in ranked)]
        return front + [item for item in ranked if item not in front]

    def front(self, study: Study) -> list[Suggestion]:
        """The suggestions that no other beats in every objective; of one objective the best alone."""
        ranked = self.best(study)
        if len(self.objectives) == 1:
            return ranked[:1]
        signs = [1.0 if objective.mode == "max" else -1.0 for objective in self.objectives]
        gains = {item.number: tuple(s * v for s, v in zip(signs, item.values or (), strict=True)) for item in ranked}
        return [item for item in ranked if not any(_dominates(gains[other.number], gains[item.number]) for other in ranked)]

    def wanted(self, study: Study) -> list[tuple[Suggestion, int]]:
        """Replicates that the best cells still lack, the best cell first; none before every cell has been suggested."""
        if self.halted or self.left(study) or not self.config.replicate:
            return []
        return [
            (item, seed)
            for item in self.best(study)[: self.config.replicate]
            for seed in self.seeds[1:]
            if f"{item.planned.id}:{seed}" not in study.replicates
        ]

    @property
    def open(self) -> bool:
        """Whether the plan may still grow, whatever runs now."""
        growing = any(self.left(study) or self.wanted(study) for study in self.studies)
        running = any(item.told == "open" for study in self.studies for item in study.suggestions)
        # what still runs may become one of the best, which get replicates
        return growing or (running and not self.halted and bool(self.config.replicate) and len(self.seeds) > 1)


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return all(a >= b for a, b in zip(one, other, strict=True)) and one != other
