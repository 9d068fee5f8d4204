"""Reward heads: features ``[rows, hidden]`` to rewards ``[rows]``, always in fp32."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from core.models.config import MLPHeadConfig, NoHeadConfig

ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "silu": nn.SiLU, "relu": nn.ReLU, "gelu": nn.GELU}


class MLPHead(nn.Module):
    """A perceptron of 1 to 5 linear layers with the activation between them (BaseReward, Table 2).

    Args:
        hidden_size: width of the features.
        config: layers, activation, width, dropout and initialisation.
    """

    def __init__(self, hidden_size: int, config: MLPHeadConfig) -> None:
        super().__init__()
        width = config.width or hidden_size
        sizes = [hidden_size, *[width] * (config.layers - 1), 1]
        layers: list[nn.Module] = []
        for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
            if index > 0:
                layers += [ACTIVATIONS[config.activation](), nn.Dropout(config.dropout)]
            layers.append(nn.Linear(inputs, outputs, dtype=torch.float32))
        self.layers = nn.Sequential(*layers)
        if config.init == "zero":
            last = layers[-1]
            assert isinstance(last, nn.Linear)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Rewards ``[rows]`` of features ``[rows, hidden]``."""
        rewards: Tensor = self.layers(features.float()).squeeze(-1)
        return rewards


class NoHead(nn.Module):
    """Stands where a paradigm has no reward head; it has no weights and computes nothing."""

    def __init__(self, hidden_size: int, config: NoHeadConfig) -> None:
        super().__init__()
