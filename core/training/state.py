"""The state of training: what a checkpoint holds, and what resuming puts back.

Random streams are indexed by epoch and step (see :mod:`core.data.streams`), so that the counters below are all that resuming
needs of them. Everything else is weights and the optimiser's moments.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from core.models.reward_model import RewardModel


@dataclass
class Progress:
    """Counters and decisions of a run so far.

    Attributes:
        step: optimiser steps done.
        pairs: pairs trained on, the position in the order of the data.
        tokens: tokens trained on.
        validations: validations done.
        last_validation: metrics of the latest validation, and the step it was made after.
        best: value of the watched metric at the best validation, and its metrics and step.
        stale: validations since the best one.
        last_train: metrics of the latest step.
        finished: training has ended; only publishing is left.
    """

    step: int = 0
    pairs: int = 0
    tokens: int = 0
    validations: int = 0
    last_validation: dict[str, float] = field(default_factory=dict)
    last_validation_step: int = 0
    best: float | None = None
    best_validation: dict[str, float] = field(default_factory=dict)
    best_step: int = 0
    stale: int = 0
    last_train: dict[str, float] = field(default_factory=dict)
    finished: bool = False

    def improves(self, metric: str, value: float, min_delta: float) -> bool:
        """Whether a validation is better than the best one by more than ``min_delta`` (NaN never is)."""
        if math.isnan(value) or self.best is None:
            return not math.isnan(value)
        return value > self.best + min_delta if metric == "accuracy" else value < self.best - min_delta


def trained_weights(model: RewardModel) -> dict[str, Tensor]:
    """A copy of the trained weights on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in model.trained()}


def restore_weights(model: RewardModel, weights: dict[str, Tensor]) -> None:
    """Put trained weights back.

    Raises:
        ValueError: they belong to another model.
    """
    own = dict(model.trained())
    if own.keys() != weights.keys():
        raise ValueError(f"the checkpoint holds other weights than the model: {sorted(own.keys() ^ weights.keys())[:3]}")
    with torch.no_grad():
        for name, value in weights.items():
            own[name].copy_(value)


def write_checkpoint(
    folder: Path, model: RewardModel, optimizer: Optimizer, progress: Progress, best_weights: dict[str, Tensor] | None
) -> None:
    """Fill a folder with everything that resuming exactly needs."""
    save_file(trained_weights(model), str(folder / "weights.safetensors"))
    if best_weights is not None:
        save_file(best_weights, str(folder / "best.safetensors"))
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")
    (folder / "progress.json").write_text(json.dumps(asdict(progress), indent=1))


def read_checkpoint(folder: Path, model: RewardModel, optimizer: Optimizer) -> tuple[Progress, dict[str, Tensor] | None]:
    """Put weights and optimiser back and return the counters and the best weights so far."""
    restore_weights(model, load_file(str(folder / "weights.safetensors")))
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
    best = folder / "best.safetensors"
    progress = Progress(**json.loads((folder / "progress.json").read_text()))
    return progress, load_file(str(best)) if best.is_file() else None
