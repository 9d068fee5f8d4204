"""Qwen2.5-VL: windowed attention in its vision tower, positions of a video's frames in seconds."""

from __future__ import annotations

from typing import Any

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLModel

from core.models.chat import SYSTEM, Dialect
from core.models.qwen_vl import CONTROL, QwenVL
from core.models.twin import VISION_WIDTH, text_shape

WIDTHS = {"qwen2.5-vl-3b": 48, "qwen2.5-vl-7b": 64, "qwen2.5-vl-32b": 80, "qwen2.5-vl-72b": 96}
"""Hidden width of the twins (16 per attention head)."""


class Qwen25VL(QwenVL):
    """A member of the family."""

    dialect = Dialect("Qwen2.5-VL", SYSTEM, CONTROL)
    model_class = Qwen2_5_VLModel

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Qwen2_5_VLConfig:
        """The twin's architecture."""
        width = WIDTHS[name]
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
        return Qwen2_5_VLConfig(
            text_config=text_shape(width, tokenizer) | {"rope_parameters": rope},
            vision_config={
                "depth": 1,
                "hidden_size": VISION_WIDTH,
                "intermediate_size": 2 * VISION_WIDTH,
                "num_heads": 4,
                "patch_size": cls.patch,
                "out_hidden_size": width,
                "window_size": 8 * cls.patch,
                "fullatt_block_indexes": [0],
                "initializer_range": 0.05,
            },
            **cls.twin_ids(tokenizer),
        )
