"""Paradigms: how rewards are read out of a model, what training reads of a pair, and how responses are judged.

A paradigm is the seam between backbone and trainer. The trainer asks it for the rows of a pair (:meth:`Paradigm.pair`), runs one
forward pass over all rows (:meth:`Paradigm.forward`) and minimises the terms of `loss` over its rewards plus the paradigm's own loss.
The scorer asks it for judgements (:meth:`Paradigm.judge`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from core.data.examples import PreferenceExample
from core.definition.trial import ParadigmConfig
from core.models.backbone import Backbone, Batch, Encoded, Limits, Part
from core.models.judgement import Judgement, Sampling

if TYPE_CHECKING:
    from core.models.reward_model import RewardModel


class Readout(NamedTuple):
    """What one forward pass gives: a tuple, so that a library that divides the model finds the tensors in it.

    Attributes:
        rewards: in fp32; while training ``[2 * pairs]``, preferred and other response in turn, otherwise ``[rows]``.
        tokens: tokens of the responses that the rewards belong to, as long as ``rewards``.
        own: ``[pairs]``, the paradigm's own loss beside the terms of `loss`; ``None`` where it has none.
    """

    rewards: Tensor
    tokens: Tensor
    own: Tensor | None = None


class Paradigm(nn.Module, ABC):
    """Base of all paradigms.

    Args:
        config: the paradigm's configuration.
        backbone: the backbone that it reads from.
        pooling: where a head reads its features, ``last`` or ``mean``.
    """

    def __init__(self, config: ParadigmConfig, backbone: Backbone, pooling: str) -> None:
        super().__init__()
        self.config = config
        self.pooling = pooling

    def pair(self, backbone: Backbone, example: PreferenceExample, limits: Limits, template: str | None) -> Encoded:
        """What training reads of a pair (on the CPU, safe in threads): the best response and the worst, a row each."""
        return backbone.encode(example, (example.best(), example.worst()), limits, template)

    def check(self, examples: Sequence[PreferenceExample]) -> None:
        """Refuse training pairs from which the paradigm could learn nothing.

        Raises:
            TrialFailed: ``data_error``, with what is missing.
        """

    @abstractmethod
    def forward(self, hidden: Tensor, batch: Batch, head: nn.Module) -> Readout:
        """The readout of hidden states ``[rows, length, hidden]``."""

    @abstractmethod
    def judge(self, model: RewardModel, examples: Sequence[PreferenceExample], limits: Limits, sampling: Sampling) -> list[list[Judgement]]:
        """Judge the responses of every example; the caller has switched gradients and dropout off.

        Raises:
            TrialFailed: ``data_error`` with file and row: a medium cannot be read, or a response does not fit.
        """

    def part(self, name: Part) -> Iterator[nn.Parameter]:
        """The paradigm's own parameters that belong to one part of the backbone and are frozen with it."""
        return iter(())


class Pointwise(Paradigm):
    """One response per row, judged alone: the base of paradigms with a scalar reward."""

    def features(self, hidden: Tensor, batch: Batch) -> Tensor:
        """``[rows, hidden]`` in fp32: of the last token, or the mean over the tokens of the response."""
        if self.pooling == "last":
            return hidden[torch.arange(hidden.shape[0], device=hidden.device), batch.response_end - 1].float()
        place = torch.arange(hidden.shape[1], device=hidden.device)
        inside = (place >= batch.response_start[:, None]) & (place < batch.response_end[:, None])
        return (hidden.float() * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)


class Naive(Pointwise):
    """The reward is read at the last token of a response, or from the mean over its tokens (BaseReward, section 4.1).

    The last token of a response is the one that ends its turn (``<|im_end|>``): the only one that has seen all of it.
    """

    def forward(self, hidden: Tensor, batch: Batch, head: nn.Module) -> Readout:
        """See :meth:`Paradigm.forward`."""
        return Readout(head(self.features(hidden, batch)), batch.response_end - batch.response_start)

    def judge(self, model: RewardModel, examples: Sequence[PreferenceExample], limits: Limits, sampling: Sampling) -> list[list[Judgement]]:
        """One reward per response; nothing is sampled."""
        encoded = [model.encode(example, range(len(example.responses)), limits) for example in examples]
        rows = model.collate(encoded)
        rewards = iter(model(rows.to(model.device)).rewards.tolist())
        out = []
        for count in rows.responses:
            scores = tuple(next(rewards) for _ in range(count))
            out.append([Judgement(tuple(range(count)), scores, (None,) * count)])
        return out
