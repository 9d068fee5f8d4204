"""Paradigms: how rewards are read out of hidden states."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from core.models.backbone import Batch
from core.models.config import NaiveConfig


class Naive(nn.Module):
    """One response per row; the reward is read at its last token, or from the mean over its tokens (BaseReward, section 4.1).

    The last token of a response is the one that ends its turn (``<|im_end|>``): the only one that has seen all of it.

    Args:
        config: the paradigm's configuration.
        pooling: ``last`` or ``mean``.
    """

    def __init__(self, config: NaiveConfig, pooling: str) -> None:
        super().__init__()
        self.config = config
        self.pooling = pooling

    def forward(self, hidden: Tensor, batch: Batch, head: nn.Module) -> Tensor:
        """Rewards ``[rows]`` in fp32 of hidden states ``[rows, length, hidden]``."""
        if self.pooling == "last":
            features = hidden[torch.arange(hidden.shape[0], device=hidden.device), batch.response_end - 1]
        else:
            place = torch.arange(hidden.shape[1], device=hidden.device)
            inside = (place >= batch.response_start[:, None]) & (place < batch.response_end[:, None])
            features = (hidden.float() * inside[:, :, None]).sum(1) / inside.sum(1, keepdim=True)
        rewards: Tensor = head(features.float())
        return rewards
