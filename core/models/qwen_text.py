"""Qwen2.5 and Qwen3, which read text alone: an example with media is refused, because leaving them out would change the question.

In a rehearsal such a backbone gets generated preferences whose picture is described in words (:mod:`core.data.generated`).
A response of Qwen3 stands directly behind the header of its turn, without an empty ``<think>`` block: so stand the responses of all
other backbones, and the data hold none.
"""

from __future__ import annotations

from typing import Any

from transformers import Qwen2Config, Qwen2Model, Qwen3Config, Qwen3Model

from core.models.chat import TURNS, Dialect
from core.models.text_backbone import TextBackbone
from core.models.twin import text_shape


class Qwen25(TextBackbone):
    """Qwen2.5, whose template introduces the model where there is no system turn."""

    dialect = Dialect("Qwen2.5", "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.", TURNS)
    model_class = Qwen2Model

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Qwen2Config:
        """The twin's architecture."""
        return Qwen2Config(**text_shape(64, tokenizer))


class Qwen3(TextBackbone):
    """Qwen3, whose template adds no system turn."""

    dialect = Dialect("Qwen3", None, TURNS)
    model_class = Qwen3Model

    @classmethod
    def twin_shape(cls, name: str, tokenizer: Any) -> Qwen3Config:
        """The twin's architecture."""
        return Qwen3Config(**text_shape(64, tokenizer), head_dim=16)
