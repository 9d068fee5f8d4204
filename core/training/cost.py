"""What a trial costs before it has run: floating-point operations, and what it writes (no torch here).

Operations of one token, for each weight that it passes through (Kaplan et al., arXiv 2001.08361, section 2.1: 2 forward and 4 backward,
attention scores left out): 2 forward; 2 backward for the gradients of what lies before, where something trained lies there or
here; 2 for the gradients of the weights themselves, if they are trained. Activation checkpointing goes forward twice.

Bytes of a checkpoint: fp32 weights of what is trained and AdamW's two moments, so 12 for each trained parameter; DeepSpeed's stages 0 to 2
write a master copy beside the weights, 16. Frozen weights are in neither, nor in a result.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import registry
from core.definition.plan import Shape
from core.definition.size import Size
from core.definition.trial import TrialConfig
from core.training.layout import choose, trained_of

PEAK: dict[str, float] = {
    "v100": 125, "a10": 125, "a40": 150, "l40": 181, "l40s": 362, "a100": 312, "h100": 989, "h200": 989, "b200": 2250, "gh200": 989,
}  # fmt: skip
"""Dense bf16 (V100: fp16) TFLOP/s of GPU types, from their makers' data sheets; any other counts as :data:`USUAL_PEAK`."""
USUAL_PEAK = 312.0
UTILISATION = 0.35
"""Share of the peak that training reaches: multimodal batches of uneven length, with ZeRO. Real ones lie between 0.2 and 0.5."""
PATCHES = 4
"""Patches of an image that the merger makes one token of the language model of (2 x 2, in every shipped backbone)."""


@dataclass(frozen=True)
class Disk:
    """Bytes that a trial writes: each checkpoint of its resume state, and its result."""

    checkpoint: float
    result: float


def size_of(config: TrialConfig) -> Size | None:
    """The size of the trial's backbone; ``None`` where it is not known."""
    kind = registry.get("backbone", config.backbone.name).config
    sizes: dict[str, Size] = getattr(kind, "SIZES", {})
    return sizes.get(config.backbone.name)


def operations(config: TrialConfig, size: Size) -> tuple[float, float]:
    """FLOP for one token of the language model, and what each token of an image adds for its patches."""
    frozen = set(config.train.freeze)
    eye = size.vision.parameters if size.vision is not None else 0.0
    own = trained_of(config, Size(size.language))
    sees = {"vision": PATCHES * eye, "merger": size.merger}
    trained = {part: count for part, count in sees.items() if part not in frozen}
    passes = 4 if config.execution.activation_checkpointing else 2
    language = size.language.parameters
    text = passes * language + (2 * language if trained or own else 0.0) + 2 * own
    image = passes * sum(sees.values()) + 2 * sum(trained.values()) + (2 * sum(sees.values()) if "vision" in trained else 0.0)
    return text, image


def gpu_seconds(config: TrialConfig, shape: Shape, tokens: float, image_tokens: float) -> float | None:
    """GPU-seconds of training, all GPUs together, at :data:`UTILISATION` of their peak; ``None`` without GPUs or a known size.

    Args:
        config: of the trial.
        shape: what it asks for.
        tokens: of prompts and responses that it trains on, images included.
        image_tokens: those of them that are images'.
    """
    size = size_of(config)
    if size is None or not shape.gpus:
        return None
    text, image = operations(config, size)
    peak = PEAK.get((shape.gpu_type or "").lower(), USUAL_PEAK) * 1e12
    return (tokens * text + image_tokens * image) / (peak * UTILISATION)


def disk(config: TrialConfig, shape: Shape) -> Disk | None:
    """What a trial writes; ``None`` for a backbone of unknown size."""
    size = size_of(config)
    if size is None:
        return None
    trained = trained_of(config, size)
    each = 12 if choose(config, shape).stage in (None, 3) else 16
    best = 4 if config.train.select == "best" else 0
    return Disk((each + best) * trained, 4 * trained)
