"""The state of training: what a checkpoint holds, and what resuming puts back.

Random streams are indexed by epoch and step (see :mod:`core.data.streams`), so that the counters below are all that resuming
needs of them. Everything else is weights and the optimiser's moments.
"""

from __future__ import annotations

import json
import math
import shutil
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from core.models.reward_model import RewardModel
from core.training.ranks import Ranks


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


def write_plain(folder: Path, model: RewardModel, optimizer: Optimizer) -> None:
    """Write weights and optimiser of a model that lies in one process."""
    save_file(trained_weights(model), str(folder / "weights.safetensors"))
    torch.save(optimizer.state_dict(), folder / "optimizer.pt")


def write_progress(folder: Path, progress: Progress, best_weights: dict[str, Tensor] | None) -> None:
    """Write what no engine knows: the counters, and the best weights so far."""
    if best_weights is not None:
        save_file(best_weights, str(folder / "best.safetensors"))
    (folder / "progress.json").write_text(json.dumps(asdict(progress), indent=1))


def read_progress(folder: Path, first: bool) -> tuple[Progress, dict[str, Tensor] | None]:
    """The counters, and the best weights so far (``first``: on rank 0 alone)."""
    best = folder / "best.safetensors"
    progress = Progress(**json.loads((folder / "progress.json").read_text()))
    return progress, load_file(str(best)) if first and best.is_file() else None


DIVIDED = "zero"
"""Folder inside a checkpoint in which DeepSpeed writes, a file per rank."""

TAG = "state"
LAYOUT = "layout.json"


def layout_of(folder: Path) -> dict[str, int] | None:
    """``{"stage", "ranks"}`` of a checkpoint whose state is divided among ranks; ``None`` for one that is whole."""
    file = folder / LAYOUT
    found: dict[str, int] | None = json.loads(file.read_text()) if file.is_file() else None
    return found


class Kept(ABC):
    """The state in a checkpoint, parameter by parameter, however it was divided when it was written."""

    @staticmethod
    def open(folder: Path, scratch: Path, ranks: Ranks, model: RewardModel) -> Kept:
        """Read a checkpoint. A divided one is converted on rank 0 into DeepSpeed's universal form below ``scratch``, which all ranks see.

        All ranks must call it.
        """
        if layout_of(folder) is None:
            return KeptPlain(folder, model)
        return KeptUniversal(folder, scratch / ".universal", ranks, model)

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """The trained weights by name."""

    @abstractmethod
    def moments(self, name: str) -> dict[str, Tensor]:
        """AdamW's ``step``, ``exp_avg`` and ``exp_avg_sq`` of one weight."""

    @abstractmethod
    def close(self) -> None:
        """Let go of what was made to read it. All ranks must call it."""


class KeptPlain(Kept):
    """A checkpoint that one process wrote."""

    def __init__(self, folder: Path, model: RewardModel) -> None:
        self._weights: dict[str, Tensor] = load_file(str(folder / "weights.safetensors"))
        self._state: dict[int, dict[str, Tensor]]
        self._state = torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True)["state"]
        # the optimiser numbers its weights: those that decay first
        decay = [name for name, value in model.trained() if value.ndim >= 2]
        plain = [name for name, value in model.trained() if value.ndim < 2]
        self._number = {name: number for number, name in enumerate([*decay, *plain])}

    def weights(self) -> dict[str, Tensor]:
        """See :meth:`Kept.weights`."""
        return self._weights

    def moments(self, name: str) -> dict[str, Tensor]:
        """See :meth:`Kept.moments`."""
        return self._state[self._number[name]]

    def close(self) -> None:
        """See :meth:`Kept.close`."""


class KeptUniversal(Kept):
    """A checkpoint of several ranks, in DeepSpeed's universal form: a folder per weight."""

    def __init__(self, folder: Path, universal: Path, ranks: Ranks, model: RewardModel) -> None:
        self._folder = universal
        self._shapes = {name: value.shape for name, value in model.trained()}
        self._ranks = ranks
        self._step = torch.tensor(float(json.loads((folder / "progress.json").read_text())["step"]))
        if ranks.first:
            from core.training.zero import to_universal

            shutil.rmtree(universal, ignore_errors=True)
            to_universal(folder / DIVIDED / TAG, universal)
        ranks.wait()

    def _read(self, name: str, part: str) -> Tensor:
        found = torch.load(self._folder / "zero" / name / f"{part}.pt", map_location="cpu", weights_only=True)
        value: Tensor = found["param"] if isinstance(found, dict) else found  # as stages 1 and 2 write it, and as 3 does
        return value.view(self._shapes[name])

    def weights(self) -> dict[str, Tensor]:
        """See :meth:`Kept.weights`."""
        return {name: self._read(name, "fp32") for name in self._shapes}

    def moments(self, name: str) -> dict[str, Tensor]:
        """See :meth:`Kept.moments`."""
        return {"step": self._step.clone(), **{part: self._read(name, part) for part in ("exp_avg", "exp_avg_sq")}}

    def close(self) -> None:
        """See :meth:`Kept.close`."""
        self._ranks.wait()
        if self._ranks.first:
            shutil.rmtree(self._folder, ignore_errors=True)
