"""How long training lasts and how the learning rate moves, both as functions of progress in ``[0, 1]``."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.definition.trial import OptimConfig, TrainConfig


def lr_factor(progress: float, config: OptimConfig) -> float:
    """Factor on the peak learning rate at a point of training.

    Linear from 0 over the first ``warmup`` of training, then constant, linear to 0, or half a cosine to 0.

    Args:
        progress: fraction of training, in ``[0, 1]``.
        config: schedule and warm-up.
    """
    if progress < config.warmup:
        return progress / config.warmup
    rest = min(1.0, (progress - config.warmup) / (1.0 - config.warmup))
    if config.schedule == "constant":
        return 1.0
    if config.schedule == "linear":
        return 1.0 - rest
    return 0.5 * (1.0 + math.cos(math.pi * rest))


@dataclass(frozen=True)
class Budget:
    """The end of training. Exactly one of ``pairs`` and ``tokens`` is set.

    Attributes:
        pairs: pairs to train on; the last batch is smaller where they do not divide.
        tokens: tokens of prompt and responses, images included, after which training ends.
        batch: pairs in an optimiser step.
    """

    pairs: int | None
    tokens: int | None
    batch: int

    @classmethod
    def of(cls, config: TrainConfig, epoch_size: int) -> Budget:
        """The budget of a trial whose epochs have ``epoch_size`` pairs."""
        if config.tokens is not None:
            return cls(None, config.tokens, config.batch)
        if config.steps is not None:
            return cls(config.steps * config.batch, None, config.batch)
        if config.pairs is not None:
            return cls(config.pairs, None, config.batch)
        assert config.epochs is not None, "the schema asks for exactly one budget"
        return cls(max(1, round(config.epochs * epoch_size)), None, config.batch)

    def next_batch(self, pairs: int) -> int:
        """Size of the next effective batch after ``pairs`` pairs."""
        return self.batch if self.pairs is None else min(self.batch, self.pairs - pairs)

    def progress(self, pairs: int, tokens: int) -> float:
        """Fraction of the budget that is used, in ``[0, 1]``."""
        if self.tokens is not None:
            return min(1.0, tokens / self.tokens)
        assert self.pairs is not None
        return min(1.0, pairs / self.pairs) if self.pairs else 1.0

    def step_progress(self, pairs: int, tokens: int, step: int) -> float:
        """Progress for the learning rate of the step after ``pairs`` pairs and ``tokens`` tokens: the middle of that step.

        The middle gives neither a first step without learning rate nor a last one. The tokens of a step to come are taken from
        the mean of those before it.
        """
        if self.tokens is not None:
            return self.progress(pairs, tokens + (tokens // (2 * step) if step else 0))
        assert self.pairs is not None
        return (pairs + self.next_batch(pairs) / 2) / self.pairs

    def total_steps(self, step: int, progress: float) -> int:
        """Steps in all; for a budget in tokens an estimate from the progress after ``step`` steps."""
        if self.pairs is not None:
            return math.ceil(self.pairs / self.batch)
        return max(step, math.ceil(step / progress)) if progress > 0 else 1
