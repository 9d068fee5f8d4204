"""What moves the weights: an engine owns the model and its optimiser, the trainer decides what they see and when.

:class:`PlainEngine` is one process with torch's own AdamW. :class:`core.training.zero.ZeroEngine` is DeepSpeed, for one rank or several.
Both do the same to the bit of rounding: the loss of a step is the mean over the effective batch, gradients are clipped by their
norm over all ranks, a trained weight that a step did not use has the gradient zero.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from core.definition.trial import TrialConfig
from core.models.backbone import Batch
from core.models.paradigms import Readout
from core.models.reward_model import RewardModel
from core.training.context import RunContext
from core.training.ranks import Ranks
from core.training.state import Kept, restore_weights, trained_weights, write_plain


class Engine(ABC):
    """A model with its optimiser.

    Attributes:
        model: what is trained.
    """

    model: RewardModel

    @abstractmethod
    def train(self, mode: bool) -> None:
        """Switch dropout on or off."""

    @abstractmethod
    def readout(self, batch: Batch) -> Readout:
        """What the model gives for this rank's rows."""

    @abstractmethod
    def backward(self, loss: Tensor, last: bool) -> None:
        """Add the gradients of one micro batch; ``last`` where the optimiser's step follows.

        The loss is this rank's share: the shares of all ranks and micro batches add up to the mean over the effective batch.
        """

    @abstractmethod
    def step(self, lr: float) -> float:
        """One step of the optimiser; returns the norm of the gradients of all ranks before they were clipped."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write this rank's part of weights and optimiser."""

    @abstractmethod
    def trained(self) -> dict[str, Tensor]:
        """A copy of the trained weights on the CPU; on rank 0, empty on the others. All ranks must call it."""

    @abstractmethod
    def everything(self, names: Collection[str]) -> dict[str, Tensor]:
        """These entries of the model's state; on rank 0, empty on the others. All ranks must call it."""


class PlainEngine(Engine):
    """One process without DeepSpeed.

    Args:
        model: built, on its device.
        config: the trial.
        kept: what to go on from.
    """

    def __init__(self, model: RewardModel, config: TrialConfig, kept: Kept | None) -> None:
        self.model = model
        self._clip = config.optim.grad_clip or math.inf
        self.optimizer = torch.optim.AdamW(groups(model, config), lr=config.optim.lr, betas=config.optim.betas, eps=config.optim.eps)
        if kept is not None:
            restore_weights(model, kept.weights())
            for name, value in model.trained():
                self.optimizer.state[value] = kept.moments(name)

    def train(self, mode: bool) -> None:
        """See :meth:`Engine.train`."""
        self.model.train(mode)

    def readout(self, batch: Batch) -> Readout:
        """See :meth:`Engine.readout`."""
        readout: Readout = self.model(batch)
        return readout

    def backward(self, loss: Tensor, last: bool) -> None:
        """See :meth:`Engine.backward`."""
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def step(self, lr: float) -> float:
        """See :meth:`Engine.step`."""
        for _, value in self.model.trained():
            if value.grad is None:  # a batch without images: ranks that divide the model cannot leave a weight out either
                value.grad = torch.zeros_like(value)
        norm = float(nn.utils.clip_grad_norm_((value for _, value in self.model.trained()), self._clip))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def save(self, folder: Path) -> None:
        """See :meth:`Engine.save`."""
        write_plain(folder, self.model, self.optimizer)

    def trained(self) -> dict[str, Tensor]:
        """See :meth:`Engine.trained`."""
        return trained_weights(self.model)

    def everything(self, names: Collection[str]) -> dict[str, Tensor]:
        """See :meth:`Engine.everything`."""
        state: Mapping[str, Tensor] = self.model.state_dict()
        return {name: state[name].detach().cpu() for name in names}


def groups(model: RewardModel, config: TrialConfig) -> list[dict[str, object]]:
    """Parameter groups of AdamW: biases and norms (fewer than two dimensions) do not decay."""
    decay = [value for _, value in model.trained() if value.ndim >= 2]
    plain = [value for _, value in model.trained() if value.ndim < 2]
    found: list[dict[str, object]] = [
        {"params": decay, "weight_decay": config.optim.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return [group for group in found if group["params"]]


def start(model: RewardModel, config: TrialConfig, context: RunContext, ranks: Ranks) -> Engine:
    """The engine that the layout of this trial asks for, resumed where there is something to go on from."""
    if context.seat.layout.stage is None:
        kept = Kept.open(context.resume, context.folder, ranks, model) if context.resume is not None else None
        engine: Engine = PlainEngine(model, config, kept)
        if kept is not None:
            kept.close()
        return engine
    from core.training.zero import ZeroEngine

    return ZeroEngine(model, config, context, ranks)
