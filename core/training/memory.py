"""How much memory of a GPU a trial will need, from the sizes in the definition alone (no torch here).

Three parts: the states of the model (:mod:`core.training.layout`), DeepSpeed's buffers, and the activations of one forward pass. The
first two are arithmetic; a test compares them with what training holds. Activations depend on the length of the examples, so
they are given for a thousand tokens, and as the number of tokens that the rest of a GPU has room for.

Activations kept for the backward pass, in values per token of one layer: its input and the two normed ones, queries, keys and values,
what attention gives, and the products of the gated feed-forward part (Korthikanti et al., arXiv 2205.05198, section 4.1, counts a
layer the same way, without a gate and with the matrix of attention scores, which today's kernels do not keep). With activation
checkpointing a layer keeps its input alone, and one layer at a time the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

from core import registry
from core.definition.plan import Shape
from core.definition.size import Size, Tower
from core.definition.trial import TrialConfig
from core.training.layout import BUCKET, Layout, choose, gpu_gib, states, trained_of

GIB = 2**30
RESERVE = 0.9
"""Share of a GPU that can be used: the rest goes to the driver, libraries and fragments."""


@dataclass(frozen=True)
class Memory:
    """Memory of one rank, in GiB.

    Attributes:
        layout: how the model is divided.
        ranks: processes of the trial.
        states: weights, gradients and optimiser on the GPU.
        buffers: what DeepSpeed moves gradients and weights through.
        host: states in the host's memory.
        activations: of a thousand tokens of a forward pass.
        gpu: what one GPU has; ``None`` without GPUs.
    """

    layout: Layout
    ranks: int
    states: float
    buffers: float
    host: float
    activations: float
    gpu: float | None

    @property
    def room(self) -> int | None:
        """Tokens of one forward pass that fit beside the rest; ``None`` without GPUs."""
        if self.gpu is None:
            return None
        return max(0, int(1000 * (RESERVE * self.gpu - self.states - self.buffers) / self.activations))


def buffers(trained: float, largest: float, ranks: int, layout: Layout, *, overlap: bool) -> float:
    """Bytes of DeepSpeed's buffers: a bucket of gradients (two where reducing overlaps with computing), and in ZeRO-3 whole layers."""
    if layout.stage in (None, 0) or ranks == 1:
        return 0.0
    bucket = 4 * min(BUCKET, trained)
    return bucket * (2 if overlap else 1) + (8 * largest if layout.stage == 3 else 0.0)


def activations(tower: Tower, bits: int, checkpointing: bool) -> float:
    """Bytes per token that a tower keeps for its backward pass; ``bits`` of a value: 16 or 32."""
    head = tower.head or tower.hidden / tower.heads
    layer = 4 * tower.hidden + head * (tower.heads + 2 * tower.kv_heads) + (4 if tower.gated else 2) * tower.inner
    kept = tower.layers * tower.hidden + layer if checkpointing else tower.layers * layer
    return kept * bits / 8


def estimate(config: TrialConfig, shape: Shape) -> Memory | None:
    """The memory of one rank of a trial; ``None`` for a backbone of unknown size."""
    size: Size | None = registry.get("backbone", config.backbone.name).config.SIZES.get(config.backbone.name)  # type: ignore[attr-defined]
    if size is None:
        return None
    layout, ranks = choose(config, shape), shape.processes
    trained = trained_of(config, size)
    held = states(size.all, trained, ranks, layout)
    tower = size.language
    largest = max(tower.vocabulary * tower.hidden, (tower.parameters - tower.vocabulary * tower.hidden) / tower.layers)
    moved = buffers(trained, largest, ranks, layout, overlap=shape.gpus > 0)
    bits = 16 if config.train.dtype == "bf16" else 32
    token = activations(tower, bits, config.execution.activation_checkpointing)
    gpu = gpu_gib(shape) if shape.gpus else None
    return Memory(layout, ranks, held.device / GIB, moved / GIB, held.host / GIB, 1000 * token / GIB, gpu)
