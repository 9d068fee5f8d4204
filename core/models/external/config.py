"""Typed configurations of public reward models (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.definition.fields import identity
from core.definition.trial import ExternalConfig
from core.registry import register

R1_SCRIPTS = "R1-Reward's inference scripts"


class IXCRewardConfig(ExternalConfig):
    """IXC-2.5-Reward (arXiv 2501.12368): a scalar reward, read by the Python in its own folder."""

    HUB: ClassVar = {"ixc-2.5-reward": "internlm/internlm-xcomposer2d5-7b-reward"}
    READS: ClassVar = ("text", "image")  # how a folder of frames would be given to it is not published
    FILES: ClassVar = (*ExternalConfig.FILES, "*.py", "*.bin")
    REMOTE_CODE: ClassVar = True

    name: Literal["ixc-2.5-reward"] = identity("ixc-2.5-reward", doc="IXC-2.5-Reward, 7B")
    hd_num: int = identity(9, ge=1, unit="tiles", doc="most tiles of an image", source="the model's README and " + R1_SCRIPTS + ": 9")


class MMRLHFRewardConfig(ExternalConfig):
    """MM-RLHF-Reward (arXiv 2502.10391): LLaVA-OneVision writes a critique, and a head reads a reward behind it."""

    HUB: ClassVar = {"mm-rlhf-reward": "yifanzhang114/MM-RLHF-Reward-7B-llava-ov-qwen"}

    name: Literal["mm-rlhf-reward"] = identity("mm-rlhf-reward", doc="MM-RLHF-Reward, 7B")
    max_new_tokens: int = identity(4096, ge=1, unit="tokens", doc="longest critique", source=R1_SCRIPTS + ": 4096")


class R1RewardConfig(ExternalConfig):
    """R1-Reward (arXiv 2505.02835): Qwen2.5-VL thinks about two responses in writing, then answers 1 or 2."""

    HUB: ClassVar = {"r1-reward": "yifanzhang114/R1-Reward"}

    name: Literal["r1-reward"] = identity("r1-reward", doc="R1-Reward, 7B")
    max_pixels: int | None = identity(
        1003520 // 2, unit="pixels", ge=28 * 28, doc="largest image area", source=R1_SCRIPTS + ": 1003520 // 2"
    )
    max_new_tokens: int = identity(4096, ge=1, unit="tokens", doc="longest text", source=R1_SCRIPTS + ": 4096")


register("external", "ixc-2.5-reward", IXCRewardConfig, "core.models.external.ixc:IXCReward")
register("external", "mm-rlhf-reward", MMRLHFRewardConfig, "core.models.external.mm_rlhf:MMRLHFReward")
register("external", "r1-reward", R1RewardConfig, "core.models.external.r1:R1Reward")
