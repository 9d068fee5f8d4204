"""Qwen3-VL: features of several depths of the vision tower enter the first layers of the language model (DeepStack).

A video stands in the text frame pair by frame pair, each behind its time in seconds. The family's template adds no system turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from transformers import Qwen3VLConfig, Qwen3VLModel
from transformers.models.qwen3_vl.modeling_qwen3_vl import BaseModelOutputWithDeepstackFeatures

from core.models.backbone import Batch, Patches
from core.models.chat import Dialect
from core.models.qwen_vl import CONTROL, FRAMES_PER_SECOND, QwenVL
from core.models.twin import VISION_WIDTH, text_shape

WIDTHS = {"qwen3-vl-2b": 48, "qwen3-vl-4b": 64, "qwen3-vl-8b": 80, "qwen3-vl-32b": 96}
"""Hidden width of the twins (16 per attention head)."""


class Qwen3VL(QwenVL):
    """A member of the family."""

    dialect = Dialect("Qwen3-VL", None, CONTROL)
    model_class = Qwen3VLModel
    patch = 16

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Qwen3VLConfig:
        """The twin's architecture."""
        width = WIDTHS[name]
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3], "mrope_interleaved": True}
        return Qwen3VLConfig(
            text_config=text_shape(width, tokenizer) | {"rope_parameters": rope, "head_dim": 16},
            vision_config={
                "depth": 2,
                "hidden_size": VISION_WIDTH,
                "intermediate_size": 2 * VISION_WIDTH,
                "num_heads": 4,
                "patch_size": cls.patch,
                "out_hidden_size": width,
                "num_position_embeddings": 64,
                "deepstack_visual_indexes": [0],
                "initializer_range": 0.05,
            },
            **cls.twin_ids(tokenizer),
        )

    def place(self, patches: Patches) -> list[int]:
        """A video's frame pairs stand apart, each behind the mean time of its two frames."""
        if patches.kind == "image":
            return super().place(patches)
        pairs, height, width = patches.grid
        one = super().place(Patches("video", patches.pixels, (1, height, width)))
        seconds = [(2 * pair + 0.5) / FRAMES_PER_SECOND for pair in range(pairs)]
        return [id for time in seconds for id in [*self.chat.text(f"<{time:.1f} seconds>"), *one]]

    def mask(self, batch: Batch) -> None:
        """None: the model builds its own causal mask where its attention needs one."""

    def values(self, seen: Any) -> list[Tensor]:
        """The features of all depths."""
        return [*seen.pooler_output, *(feature for layer in seen.deepstack_features for feature in layer)]

    def repeat(self, seen: Any, use: Sequence[int]) -> Any:
        """The features of each medium, of all depths, once per place in which it stands."""
        return BaseModelOutputWithDeepstackFeatures(
            pooler_output=[seen.pooler_output[index] for index in use],
            deepstack_features=[[layer[index] for index in use] for layer in seen.deepstack_features],
        )
