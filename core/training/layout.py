"""How the ranks of a trial divide the model: ZeRO's stage and what is kept in the memory of the host (no torch here).

The plan and every rank come to the same layout, because it is a function of the trial's configuration and shape alone.

Memory of one GPU for the states of the model, in bytes, with P parameters, T of them trained, on N ranks (weights, gradients
and the optimiser's two moments are fp32; ``train.dtype: bf16`` computes in bf16 and keeps them so):

=========  ===================================
stage      bytes
=========  ===================================
alone, 0   4 P + 4 T + 8 T
1          4 P + 4 T + (4 + 8) T / N
2          4 P + 4 T / N + (4 + 8) T / N
3          4 P / N + 4 T / N + (4 + 8) T / N
=========  ===================================

These are the rows of ZeRO's Figure 1 (Rajbhandari et al., arXiv 1910.02054) for fp32: a master copy of the trained weights joins the
moments as soon as they are divided. ``offload: optimizer`` takes the last term to the host, ``offload: all`` the weights too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from core import registry
from core.definition.plan import Shape
from core.definition.size import Size
from core.definition.trial import TrialConfig

Offload = Literal["none", "optimizer", "all"]

GPU_GIB: Mapping[str, float] = {
    "v100": 32, "a10": 24, "a40": 48, "l40": 48, "l40s": 48, "a100": 80, "h100": 80, "h200": 141, "b200": 180, "gh200": 96,
}  # fmt: skip
"""Memory of GPU types as clusters name them; any other counts as :data:`USUAL_GIB`."""

USUAL_GIB = 80.0
BUCKET = 200_000_000
"""Most elements that ZeRO reduces in one call (0.8 GB in fp32), as far as there are so many."""

STATES = 0.7
"""Share of a GPU that the states of the model may take; activations and buffers need the rest."""


@dataclass(frozen=True)
class Layout:
    """How a trial's model lies on its ranks.

    Attributes:
        stage: ZeRO's stage; ``None``: one process without DeepSpeed.
        offload: what is kept in the host's memory.
    """

    stage: int | None = None
    offload: Offload = "none"

    @property
    def name(self) -> str:
        """As a plan shows it."""
        if self.stage is None:
            return "one process"
        return f"ZeRO-{self.stage}" + ("" if self.offload == "none" else f", {self.offload} offloaded")


@dataclass(frozen=True)
class States:
    """Memory of the states of a model on one rank, in bytes: on its device, and in the host's memory."""

    device: float
    host: float


def states(parameters: float, trained: float, ranks: int, layout: Layout) -> States:
    """Bytes of the states of a model on one rank (see the table above).

    Args:
        parameters: all parameters.
        trained: those that are trained.
        ranks: processes of the trial.
        layout: how they divide the model.
    """
    stage = layout.stage
    weights = 4 * parameters / (ranks if stage == 3 else 1)
    gradients = 4 * trained / (ranks if stage in (2, 3) else 1)
    moments = 8 * trained if stage in (None, 0) else 12 * trained / ranks
    host = {"none": 0.0, "optimizer": moments + gradients, "all": moments + gradients + weights}[layout.offload]
    return States(weights + gradients + moments - host, host)


def gpu_gib(shape: Shape) -> float:
    """Memory of one GPU of a shape."""
    return GPU_GIB.get((shape.gpu_type or "").lower(), USUAL_GIB)


def trained_of(config: TrialConfig, size: Size) -> float:
    """Trained parameters of a backbone of this size; adapters in place of the language model's own."""
    lora = config.train.lora
    if lora is None:
        return size.trained(config.train.freeze)
    return size.trained((*config.train.freeze, "language")) + size.language.adapters(lora.rank, lora.targets)


def candidates(config: TrialConfig, ranks: int) -> list[Layout]:
    """The layouts that the configuration leaves, in the order of preference: the fastest first."""
    several = [Layout(2), Layout(3), Layout(3, "optimizer"), Layout(3, "all")]
    alone = [Layout(), Layout(2, "optimizer"), Layout(3, "all")]
    zero, offload = config.execution.zero, config.execution.offload
    if zero == "auto":
        found = several if ranks > 1 else alone
    else:
        found = [Layout(zero), *([Layout(zero, "optimizer")] if zero > 0 else []), *([Layout(zero, "all")] if zero == 3 else [])]
    if offload != "auto":
        kept = [layout for layout in found if layout.offload == offload]
        found = kept or [Layout(3 if offload == "all" else 2, offload)]
    return found


def choose(config: TrialConfig, shape: Shape) -> Layout:
    """The first layout whose states fit on a GPU of the shape; the last where none does. Without GPUs, or for a backbone of
    unknown size, the first."""
    ranks = shape.processes
    found = candidates(config, ranks)
    size = registry.get("backbone", config.backbone.name).config.SIZES.get(config.backbone.name)  # type: ignore[attr-defined]
    if size is None or not shape.gpus:
        return found[0]
    room = STATES * gpu_gib(shape) * 2**30
    return next((layout for layout in found if states(size.all, trained_of(config, size), ranks, layout).device <= room), found[-1])
