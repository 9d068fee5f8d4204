"""Typed configurations of paradigms, backbones and heads (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal, Self

from core.data.truth import generated_texts
from core.definition.fields import identity
from core.definition.trial import PAPER, BackboneConfig, HeadConfig, ParadigmConfig
from core.models import sizes
from core.registry import register

PROMPTS = Path(__file__).parent / "prompts"
"""The templates that ship with the project."""


REHEARSED_TOKENS = 24
"""Longest text of a tiny model in a rehearsal."""


class NaiveConfig(ParadigmConfig):
    """One response at a time; the reward is read at its last token and trained with Bradley-Terry."""

    name: Literal["naive"] = identity("naive", doc="scalar reward at the last token of the response", source=PAPER + ", section 4.1")


class GenerativeConfig(ParadigmConfig):
    """Both responses in one prompt; the model writes 1 or 2. Trained on the number, or zero-shot with ``train.steps: 0``."""

    HEAD: ClassVar = False
    PROMPT: ClassVar = PROMPTS / "generative.txt"
    PLACES: ClassVar = ("prompt", "response_1", "response_2")
    REHEARSAL_STEPS: ClassVar = 7.5
    REHEARSAL_LR: ClassVar = 0.5

    name: Literal["generative"] = identity(
        "generative", doc="both responses in one prompt, answered with 1 or 2", source=PAPER + ", section 4.1"
    )
    max_new_tokens: int = identity(
        8,
        ge=1,
        unit="tokens",
        doc="longest text at scoring",
        source="a number and the end of the turn are 2 tokens; the rest shows what else is written",
    )


class GenerativeCotConfig(ParadigmConfig):
    """Both responses in one prompt; the model thinks in writing, then answers. Learns from written reasoning."""

    HEAD: ClassVar = False
    PROMPT: ClassVar = PROMPTS / "generative_cot.txt"
    ANNOTATES: ClassVar = "reasoning"
    PLACES: ClassVar = ("prompt", "response_1", "response_2")
    REHEARSAL_STEPS: ClassVar = 6.0
    REHEARSAL_LR: ClassVar = 0.5

    name: Literal["generative_cot"] = identity("generative_cot", doc="reasoning, then 1 or 2", source=PAPER + ", section 4.1")
    reasoning: str | None = identity(
        None, doc="the need that writes the reasoning to learn from: ${needs.NAME}", source="R1-Reward, section 3"
    )
    reinforce: Literal["none", "stable_reinforce"] = identity(
        "none", doc="reinforcement learning after the reasoning is learnt; not part of this version", source="R1-Reward, section 4"
    )
    max_new_tokens: int = identity(1024, ge=1, unit="tokens", doc="longest text at scoring", source="R1-Reward's train.sh: 1024")

    def rehearsed(self) -> Self:
        """See the base."""
        return self.model_copy(update={"max_new_tokens": min(self.max_new_tokens, REHEARSED_TOKENS)})

    def annotations(self) -> str | None:
        """See the base."""
        return self.reasoning

    def waits(self) -> str | None:
        """See the base."""
        return None if self.reinforce == "none" else "reinforcement learning of judges, which this version cannot do"

    def twin_texts(self) -> list[str]:
        """The template, and what generated reasoning is made of."""
        return [*super().twin_texts(), "<think></think><answer></answer>", *generated_texts()]


class CriticConfig(ParadigmConfig):
    """Writes a critique of a response, then a head scores both."""

    PROMPT: ClassVar = PROMPTS / "critic.txt"
    ANNOTATES: ClassVar = "critiques"
    PLACES: ClassVar = ()
    REHEARSAL_STEPS: ClassVar = 2.0

    name: Literal["critic"] = identity("critic", doc="a critique, then a reward behind it", source=PAPER + ", section 4.1; MM-RLHF")
    critiques: str | None = identity(
        None, doc="the need that writes the critiques to learn from: ${needs.NAME}; null: the data bring them", source="MM-RLHF, section 4"
    )
    critique_weight: float = identity(
        1.0, ge=0, doc="weight of the critiques' likelihood in the loss", source="MM-RLHF's train_dpo.py: 1.0"
    )
    max_new_tokens: int = identity(
        1024, ge=1, unit="tokens", doc="longest critique at scoring", source="the papers are silent; as generative_cot"
    )

    def rehearsed(self) -> Self:
        """See the base."""
        return self.model_copy(update={"max_new_tokens": min(self.max_new_tokens, REHEARSED_TOKENS)})

    def annotations(self) -> str | None:
        """See the base."""
        return self.critiques

    def twin_texts(self) -> list[str]:
        """The template, and what generated critiques are made of."""
        return [*super().twin_texts(), *generated_texts()]


class NoHeadConfig(HeadConfig):
    """No reward head: what paradigms that write their verdict have."""

    name: Literal["none"] = identity("none", doc="no reward head")


class MLPHeadConfig(HeadConfig):
    """A multi-layer perceptron; the activation stands between the layers."""

    name: Literal["mlp"] = identity("mlp", doc="multi-layer perceptron")
    layers: int = identity(2, ge=1, le=5, unit="layers", doc="linear layers", source=PAPER + ", Table 2: best of 1-5")
    activation: Literal["none", "tanh", "silu", "relu", "gelu"] = identity(
        "silu", doc="activation between the layers", source=PAPER + ", Table 2: best of none, tanh, silu"
    )
    width: int | None = identity(
        None,
        ge=1,
        unit="units",
        doc="hidden width; null is the backbone's hidden size",
        source="the paper is silent; MM-RLHF's and R1-Reward's heads keep the width",
    )
    dropout: float = identity(
        0.0,
        ge=0,
        lt=1,
        doc="dropout before each layer but the first",
        source="the paper is silent; the sibling code uses attention_dropout, which is 0",
    )
    pooling: Literal["last", "mean"] = identity(
        "last",
        doc="features of the last response token, or their mean over the response",
        source="the paper is silent; the sibling code reads the last token",
    )
    init: Literal["default", "zero"] = identity(
        "default", doc="initialisation of the last layer: torch's default, or zeros", source="the paper is silent"
    )

    def canonical(self) -> Self:
        """One linear layer has no activation in between, no width and no dropout."""
        return self.model_copy(update={"activation": "none", "width": None, "dropout": 0.0}) if self.layers == 1 else self


class Qwen25VLConfig(BackboneConfig):
    """A member of the Qwen2.5-VL family."""

    HUB: ClassVar = {f"qwen2.5-vl-{size}": f"Qwen/Qwen2.5-VL-{size.upper()}-Instruct" for size in ("3b", "7b", "32b", "72b")}
    SIZES: ClassVar = sizes.QWEN25_VL
    MODEL_TYPE: ClassVar = "qwen2_5_vl"

    name: Literal["qwen2.5-vl-3b", "qwen2.5-vl-7b", "qwen2.5-vl-32b", "qwen2.5-vl-72b"] = identity(doc="the member of the family")


class Qwen2VLConfig(BackboneConfig):
    """A member of the Qwen2-VL family."""

    HUB: ClassVar = {f"qwen2-vl-{size}": f"Qwen/Qwen2-VL-{size.upper()}-Instruct" for size in ("2b", "7b")}
    SIZES: ClassVar = sizes.QWEN2_VL
    MODEL_TYPE: ClassVar = "qwen2_vl"

    name: Literal["qwen2-vl-2b", "qwen2-vl-7b"] = identity(doc="the member of the family")


class Qwen3VLConfig(BackboneConfig):
    """A member of the Qwen3-VL family."""

    HUB: ClassVar = {f"qwen3-vl-{size}": f"Qwen/Qwen3-VL-{size.upper()}-Instruct" for size in ("2b", "4b", "8b", "32b")}
    SIZES: ClassVar = sizes.QWEN3_VL
    MODEL_TYPE: ClassVar = "qwen3_vl"

    name: Literal["qwen3-vl-2b", "qwen3-vl-4b", "qwen3-vl-8b", "qwen3-vl-32b"] = identity(doc="the member of the family")


class InternVLConfig(BackboneConfig):
    """A member of InternVL2 or InternVL3, in transformers' own layout (the hub's ``-hf`` repositories).

    InternVL2-8B is not on the hub in that layout: convert it, and name its folder in ``backbone.path`` or ``$SWEEP_MODELS``.
    """

    HUB: ClassVar = {f"internvl3-{size}": f"OpenGVLab/InternVL3-{size.upper()}-hf" for size in ("1b", "2b", "8b")}
    SIZES: ClassVar = sizes.INTERNVL
    MODEL_TYPE: ClassVar = "internvl"
    OTHERS: ClassVar = {
        "internvl_chat": "take the repository of the same name with -hf at its end, or convert with convert_internvl_weights_to_hf.py"
    }

    name: Literal["internvl2-8b", "internvl3-1b", "internvl3-2b", "internvl3-8b"] = identity(doc="the member of the family")


class QwenTextConfig(BackboneConfig):
    """Qwen2.5-7B or Qwen3-8B, which read text alone: examples with media are refused."""

    HUB: ClassVar = {"qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct", "qwen3-8b": "Qwen/Qwen3-8B"}
    SIZES: ClassVar = sizes.QWEN_TEXT
    READS: ClassVar = ("text",)

    name: Literal["qwen2.5-7b", "qwen3-8b"] = identity(doc="the language model")


register("paradigm", "naive", NaiveConfig, "core.models.paradigms:Naive")
register("paradigm", "generative", GenerativeConfig, "core.models.judges:Generative")
register("paradigm", "generative_cot", GenerativeCotConfig, "core.models.judges:GenerativeCot")
register("paradigm", "critic", CriticConfig, "core.models.critics:Critic")
register("head", "none", NoHeadConfig, "core.models.heads:NoHead")
register("head", "mlp", MLPHeadConfig, "core.models.heads:MLPHead")
for _name in Qwen25VLConfig.HUB:
    register("backbone", _name, Qwen25VLConfig, "core.models.qwen2_5_vl:Qwen25VL")
for _name in Qwen2VLConfig.HUB:
    register("backbone", _name, Qwen2VLConfig, "core.models.qwen2_vl:Qwen2VL")
for _name in Qwen3VLConfig.HUB:
    register("backbone", _name, Qwen3VLConfig, "core.models.qwen3_vl:Qwen3VL")
for _name in ("internvl2-8b", *InternVLConfig.HUB):
    register("backbone", _name, InternVLConfig, "core.models.internvl:InternVL")
register("backbone", "qwen2.5-7b", QwenTextConfig, "core.models.qwen_text:Qwen25")
register("backbone", "qwen3-8b", QwenTextConfig, "core.models.qwen_text:Qwen3")
