"""Losses: functions of rewards, one value per pair.

A loss is a function ``(batch: RewardBatch, config) -> Tensor [pairs]``, registered under a name with its typed configuration.
The trainer takes the weighted sum of the trial's terms and the mean over the effective batch, so that a loss never sees how
the batch was cut into micro batches.

A transform of the rewards is registered as a loss too: its configuration derives from ``RewardTransformConfig``, it returns a
:class:`RewardBatch`, and it runs before all terms.

A loss of one's own, in a file listed under ``code:``::

    from core.definition.trial import LossTermConfig
    from core.definition.fields import identity
    from core.registry import register

    class FocalConfig(LossTermConfig):
        gamma: float = identity(2.0, ge=0, doc="how much easy pairs are discounted")

    def focal(batch, config):
        import torch.nn.functional as F
        difference = batch.chosen - batch.rejected
        return -((1 - difference.sigmoid()) ** config.gamma) * F.logsigmoid(difference)

    register("loss", "focal", FocalConfig, "my_losses:focal")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F  # noqa: N812  (the field's own name for it)
from torch import Tensor

from core import registry
from core.data.examples import PreferenceExample
from core.definition.trial import LossTermConfig, RewardTransformConfig
from core.training.config import BradleyTerryConfig, LengthNormalisationConfig, ZeroCoefficientConfig


@dataclass(frozen=True)
class RewardBatch:
    """What a loss sees of some pairs. All tensors are ``[pairs]`` and on one device.

    Attributes:
        chosen: rewards of the preferred responses, fp32.
        rejected: rewards of the others, fp32.
        chosen_tokens: tokens of the preferred responses, fp32.
        rejected_tokens: tokens of the others, fp32.
        tie: whether the annotator saw no difference; then chosen and rejected are in no order.
        margin: difference of scores in the data set's own unit, NaN where unknown.
        strength: annotator's grade of the preference, 1 to 3, NaN where unknown.
    """

    chosen: Tensor
    rejected: Tensor
    chosen_tokens: Tensor
    rejected_tokens: Tensor
    tie: Tensor
    margin: Tensor
    strength: Tensor

    @classmethod
    def of(cls, rewards: Tensor, tokens: Tensor, examples: Sequence[PreferenceExample]) -> RewardBatch:
        """From rewards and token counts ``[2 * pairs]``, chosen and rejected in turn."""
        chosen, rejected = rewards.float().view(-1, 2).unbind(1)
        chosen_tokens, rejected_tokens = tokens.float().view(-1, 2).unbind(1)

        def known(values: Sequence[float | None]) -> Tensor:
            filled = [float("nan") if value is None else float(value) for value in values]
            return torch.tensor(filled, device=rewards.device)

        return cls(
            chosen=chosen,
            rejected=rejected,
            chosen_tokens=chosen_tokens,
            rejected_tokens=rejected_tokens,
            tie=torch.tensor([example.tie for example in examples], device=rewards.device),
            margin=known([example.label.margin for example in examples]),
            strength=known([example.label.strength for example in examples]),
        )

    def detached(self) -> RewardBatch:
        """The same values without their graph."""
        return replace(self, chosen=self.chosen.detach(), rejected=self.rejected.detach())

    def mapped(self, change: Callable[[Tensor], Tensor]) -> RewardBatch:
        """With every tensor changed in the same way."""
        return RewardBatch(**{item.name: change(getattr(self, item.name)) for item in fields(self)})

    @classmethod
    def concatenated(cls, batches: Sequence[RewardBatch]) -> RewardBatch:
        """The pairs of several batches, one after the other."""
        return cls(**{item.name: torch.cat([getattr(batch, item.name) for batch in batches]) for item in fields(cls)})


def bradley_terry(batch: RewardBatch, config: BradleyTerryConfig) -> Tensor:
    """``-log sigmoid(r_chosen - r_rejected)`` (BaseReward, equation 1; Bradley and Terry 1952), ``[pairs]`` in fp32.

    A tie says nothing about the order and counts as 0.
    """
    loss = -F.logsigmoid(batch.chosen.float() - batch.rejected.float())
    return loss.masked_fill(batch.tie, 0.0)


def zero_coefficient(batch: RewardBatch, config: ZeroCoefficientConfig) -> Tensor:
    """``(r_chosen + r_rejected)^2`` (BaseReward, Algorithm 1; MM-RLHF's ``center_rewards_coefficient``), ``[pairs]`` in fp32.

    It penalises the sum: rewards r and -r cost nothing, so it centres and does not shrink. A tie is centred like any other pair.
    """
    return (batch.chosen.float() + batch.rejected.float()) ** 2


def length_normalisation(batch: RewardBatch, config: LengthNormalisationConfig) -> RewardBatch:
    """The rewards over ``ln(tokens + 1)`` of their responses (BaseReward, Algorithm 1).

    An empty response counts as one token, because ln(1) is 0.
    """
    return replace(
        batch,
        chosen=batch.chosen / torch.log1p(batch.chosen_tokens.clamp(min=1)),
        rejected=batch.rejected / torch.log1p(batch.rejected_tokens.clamp(min=1)),
    )


def total_loss(batch: RewardBatch, terms: Mapping[str, LossTermConfig]) -> Tensor:
    """The weighted sum of the trial's terms over the transformed rewards, ``[pairs]``.

    Transforms come first, in the order of their names: the order in which a definition writes them has no meaning.

    Raises:
        ValueError: a term does not return one value per pair.
    """
    active = {name: config for name, config in sorted(terms.items()) if config.weight != 0}
    for name, config in active.items():
        if isinstance(config, RewardTransformConfig):
            batch = registry.get("loss", name).load()(batch, config)
    total = torch.zeros_like(batch.chosen)
    for name, config in active.items():
        if isinstance(config, RewardTransformConfig):
            continue
        value: Tensor = registry.get("loss", name).load()(batch, config)
        if value.shape != batch.chosen.shape:
            raise ValueError(f"the loss {name!r} returned {list(value.shape)}; it must return [pairs] = {list(batch.chosen.shape)}")
        total = total + config.weight * value
    return total
