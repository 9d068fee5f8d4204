"""How large a backbone is, from the numbers in its configuration: what a plan needs before anything heavy is imported."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True)
class Tower:
    """A stack of transformer layers.

    Attributes:
        layers: how many.
        hidden: width.
        inner: width of the feed-forward part.
        heads: attention heads.
        kv_heads: heads of keys and values.
        head: width of a head; 0: ``hidden / heads``.
        vocabulary: tokens of its embedding; 0 for a vision tower.
        gated: whether the feed-forward part has a gate, and so three matrices and not two.
    """

    layers: int
    hidden: int
    inner: int
    heads: int
    kv_heads: int
    head: int = 0
    vocabulary: int = 0
    gated: bool = True

    @property
    def parameters(self) -> float:
        """Weights of the matrices; norms and biases, some thousandths of them, are left out."""
        head = self.head or self.hidden / self.heads
        attention = 2 * self.hidden * head * (self.heads + self.kv_heads)
        feed = (3 if self.gated else 2) * self.hidden * self.inner
        return self.layers * (attention + feed) + self.vocabulary * self.hidden

    def adapters(self, rank: int, targets: Collection[str]) -> float:
        """Weights of low-rank adapters beside the named layers."""
        wide = self.heads * (self.head or self.hidden / self.heads)
        narrow = wide * self.kv_heads / self.heads
        sides = {
            "q_proj": self.hidden + wide, "k_proj": self.hidden + narrow, "v_proj": self.hidden + narrow, "o_proj": wide + self.hidden,
            **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), self.hidden + self.inner),
        }  # fmt: skip
        return self.layers * rank * sum(sides.get(name, 0.0) for name in targets)


@dataclass(frozen=True)
class Size:
    """The towers of a backbone and the weights between them.

    Attributes:
        language: the language model, without its output layer.
        vision: the vision tower; ``None`` for a model that reads text alone.
        merger: parameters that carry what the vision tower sees into the language model.
    """

    language: Tower
    vision: Tower | None = None
    merger: float = 0.0

    @property
    def all(self) -> float:
        """All parameters."""
        return self.trained(())

    def trained(self, freeze: Collection[str]) -> float:
        """Parameters of what is not frozen."""
        parts = {"language": self.language.parameters, "merger": self.merger}
        parts["vision"] = self.vision.parameters if self.vision is not None else 0.0
        return sum(count for part, count in parts.items() if part not in freeze)
