"""Which layout is chosen, the memory arithmetic behind it, and the sizes of the backbones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from core import registry
from core.definition.plan import Shape
from core.definition.trial import TrialConfig
from core.training.layout import Layout, choose, states

REAL: dict[str, dict[str, Any]] = {
    "qwen2.5-vl-3b": {
        "text_config": {"hidden_size": 2048, "num_hidden_layers": 36, "intermediate_size": 11008, "num_attention_heads": 16,
                        "num_key_value_heads": 2, "vocab_size": 151936},
        "vision_config": {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": 2048},
    },
    "qwen2-vl-2b": {
        "text_config": {"hidden_size": 1536, "num_hidden_layers": 28, "intermediate_size": 8960, "num_attention_heads": 12,
                        "num_key_value_heads": 2, "vocab_size": 151936},
        "vision_config": {"depth": 32, "embed_dim": 1280, "hidden_size": 1536, "mlp_ratio": 4, "num_heads": 16},
    },
    "qwen3-vl-4b": {
        "text_config": {"hidden_size": 2560, "num_hidden_layers": 36, "intermediate_size": 9728, "num_attention_heads": 32,
                        "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936},
        "vision_config": {"depth": 24, "hidden_size": 1024, "intermediate_size": 4096, "num_heads": 16, "out_hidden_size": 2560,
                          "deepstack_visual_indexes": [5, 11, 17]},
    },
    "internvl3-1b": {
        "text_config": {"model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "intermediate_size": 4864,
                        "num_attention_heads": 14, "num_key_value_heads": 2, "vocab_size": 151674},
        "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "num_attention_heads": 16},
    },
    "qwen3-8b": {
        "hidden_size": 4096, "num_hidden_layers": 36, "intermediate_size": 12288, "num_attention_heads": 32, "num_key_value_heads": 8,
        "head_dim": 128, "vocab_size": 151936,
    },
}  # fmt: skip
"""What the authors' own config.json says of the largest parts."""


def trial(name: str = "qwen2.5-vl-7b", freeze: tuple[str, ...] = ("vision",), **execution: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {"backbone": name, "data": {"sources": {"mine": {}}}, "train": {"epochs": 1, "freeze": freeze}, "execution": execution}
    )


@pytest.mark.parametrize("name", REAL)
def test_the_size_of_a_backbone_is_that_of_transformers_own_class(name: str) -> None:
    kind = registry.get("backbone", name).load()
    shape = kind.model_class.config_class(**REAL[name])
    with torch.device("meta"):
        model = kind.model_class._from_config(shape)
    counted = sum(value.numel() for value in model.parameters())
    assert registry.get("backbone", name).config.SIZES[name].all == pytest.approx(counted, rel=0.01)  # type: ignore[attr-defined]


def test_every_shipped_backbone_has_a_size() -> None:
    for name in registry.names("backbone"):
        kind: Any = registry.get("backbone", name).config
        if kind.__module__ == "core.models.config":
            assert name in kind.SIZES, name


def test_zero_arithmetic_is_that_of_the_paper() -> None:
    """ZeRO's Figure 1 for 7.5 billion parameters on 64 GPUs, with fp32 weights and gradients in place of its fp16 ones."""
    everything = 7.5e9
    device = [states(everything, everything, 64, Layout(stage)).device / 1e9 for stage in (0, 1, 2, 3)]
    assert device == pytest.approx([120.0, 61.4, 31.9, 2.34], rel=0.01)
    host = states(everything, everything, 64, Layout(3, "all"))
    assert (host.device, host.host / 1e9) == (0.0, pytest.approx(2.34, rel=0.01))


@pytest.mark.parametrize(
    ("config", "shape", "expected"),
    [
        (trial(), Shape(gpus=8), Layout(2)),
        (trial(), Shape(gpus=1), Layout(2, "optimizer")),
        (trial("qwen2.5-vl-3b"), Shape(gpus=1), Layout()),
        (trial("qwen2.5-vl-72b"), Shape(nodes=8, gpus=64), Layout(3)),
        (trial("qwen2.5-vl-72b"), Shape(gpus=8), Layout(3, "optimizer")),
        (trial("qwen2.5-vl-32b"), Shape(gpus=8, gpu_type="h200"), Layout(3)),
        (trial(zero=1), Shape(gpus=8, gpu_type="h200"), Layout(1)),
        (trial(zero=1), Shape(gpus=8), Layout(1, "optimizer")),
        (trial(zero=3, offload="all"), Shape(gpus=8), Layout(3, "all")),
        (trial(zero=0), Shape(gpus=1), Layout(0)),
        (trial(offload="optimizer"), Shape(gpus=1), Layout(2, "optimizer")),
        (trial(), Shape(ranks=2), Layout(2)),
        (trial(), Shape(), Layout()),
    ],
)
def test_the_fastest_layout_that_fits_is_chosen(config: TrialConfig, shape: Shape, expected: Layout) -> None:
    assert choose(config, shape) == expected
