"""Qwen2-VL: full attention in its vision tower, positions of a video's frames one by one."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2VLConfig, Qwen2VLModel

from core.models.qwen_vl import QwenVL
from core.models.twin import VISION_WIDTH, text_shape

WIDTHS = {"qwen2-vl-2b": 48, "qwen2-vl-7b": 64}
"""Hidden width of the twins (16 per attention head)."""


class Qwen2VL(QwenVL):
    """A member of the family."""

    model_class = Qwen2VLModel

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Qwen2VLConfig:
        """The twin's architecture."""
        width = WIDTHS[name]
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
        return Qwen2VLConfig(
            text_config=text_shape(width, tokenizer) | {"rope_parameters": rope},
            vision_config={
                "depth": 1,
                "embed_dim": VISION_WIDTH,
                "hidden_size": width,
                "mlp_ratio": 2,
                "num_heads": 4,
                "patch_size": cls.patch,
                "initializer_range": 0.05,
            },
            **cls.twin_ids(tokenizer),
        )
