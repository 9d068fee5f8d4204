"""Typed configurations of the terms of the loss and of the transforms before them (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import Literal

from core.definition.fields import identity
from core.definition.trial import PAPER, LossTermConfig, RewardTransformConfig
from core.registry import register

VALIDATION_METRICS = ("loss", "accuracy", "margin", "chosen_reward", "rejected_reward")
"""What a validation reports, as ``validation/NAME``."""


class BradleyTerryConfig(LossTermConfig):
    """``-log sigmoid(r_chosen - r_rejected)``, in fp32 (BaseReward, equation 1)."""


class ZeroCoefficientConfig(LossTermConfig):
    """``mean((r_chosen + r_rejected)^2)``: draws the rewards of a pair towards zero sum (BaseReward, Algorithm 1)."""

    weight: float = identity(
        0.01,
        ge=0,
        doc="the coefficient lambda; 0 is the same as leaving the term out",
        source=PAPER + ", Figure 1: 0, 0.001, 0.01, 0.1, chosen 0; MM-RLHF's center_rewards_coefficient is 0.01",
    )


class LengthNormalisationConfig(RewardTransformConfig):
    """``r / ln(length + 1)`` before all terms of the loss (BaseReward, Algorithm 1)."""

    unit: Literal["tokens"] = identity(
        "tokens",
        doc="unit of the length: tokens of the response, its end-of-turn token included; the loss alone sees the quotient",
        source=PAPER + ", Algorithm 1, which is the training loss; the paper names neither unit nor base of the logarithm",
    )


register("loss", "zero_coefficient", ZeroCoefficientConfig, "core.training.losses:zero_coefficient")
register("loss", "length_normalisation", LengthNormalisationConfig, "core.training.losses:length_normalisation")
register("loss", "bradley_terry", BradleyTerryConfig, "core.training.losses:bradley_terry")
