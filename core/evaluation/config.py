"""Typed configurations of benchmarks and baselines (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import ClassVar, Literal

from core.definition.fields import Section, identity, place
from core.definition.trial import BenchmarkConfig
from core.registry import register


class VLRewardBenchConfig(BenchmarkConfig):
    """VL-RewardBench (arXiv 2411.17451)."""

    NEEDS: ClassVar = ("image",)

    name: Literal["vl_rewardbench"] = identity("vl_rewardbench", doc="VL-RewardBench")


class MMRLHFRewardBenchConfig(BenchmarkConfig):
    """MM-RLHF-RewardBench (arXiv 2502.10391)."""

    NEEDS: ClassVar = ("image", "video")

    name: Literal["mm_rlhf_rewardbench"] = identity("mm_rlhf_rewardbench", doc="MM-RLHF-RewardBench")


class MultimodalRewardBenchConfig(BenchmarkConfig):
    """Multimodal RewardBench (arXiv 2502.14191)."""

    NEEDS: ClassVar = ("image",)

    name: Literal["multimodal_rewardbench"] = identity("multimodal_rewardbench", doc="Multimodal RewardBench")


class RewardBenchConfig(BenchmarkConfig):
    """RewardBench (arXiv 2403.13787), text alone."""

    name: Literal["rewardbench"] = identity("rewardbench", doc="RewardBench")
    prior: str | None = place(
        doc="folder with the prior sets, a file for each (anthropic_helpful.jsonl, ...); null looks in $SWEEP_DATA/preference-test-sets"
    )


class RMBenchConfig(BenchmarkConfig):
    """RM-Bench (arXiv 2410.16184), text alone."""

    name: Literal["rm_bench"] = identity("rm_bench", doc="RM-Bench")


class GeneratedImagesBenchmarkConfig(BenchmarkConfig):
    """Generated image preferences that no training source shares."""

    NEEDS: ClassVar = ("image",)

    name: Literal["generated_images"] = identity("generated_images", doc="generated image preferences")
    items: int = identity(128, ge=1, unit="pairs", doc="rows that are generated")
    images: Literal["shown", "blank"] = identity("shown", doc="`blank` hides the picture's content: a control that must stay at chance")


class GeneratedTextBenchmarkConfig(BenchmarkConfig):
    """Generated text preferences that no training source shares."""

    name: Literal["generated_text"] = identity("generated_text", doc="generated text preferences")
    items: int = identity(128, ge=1, unit="pairs", doc="rows that are generated")


class BaselineConfig(Section):
    """A scorer that needs no model."""


register("benchmark", "vl_rewardbench", VLRewardBenchConfig, "core.evaluation.benchmarks.vl_rewardbench:VLRewardBench")
register("benchmark", "mm_rlhf_rewardbench", MMRLHFRewardBenchConfig, "core.evaluation.benchmarks.mm_rlhf:MMRLHFRewardBench")
register(
    "benchmark",
    "multimodal_rewardbench",
    MultimodalRewardBenchConfig,
    "core.evaluation.benchmarks.multimodal_rewardbench:MultimodalRewardBench",
)
register("benchmark", "rewardbench", RewardBenchConfig, "core.evaluation.benchmarks.rewardbench:RewardBench")
register("benchmark", "rm_bench", RMBenchConfig, "core.evaluation.benchmarks.rm_bench:RMBench")
register("benchmark", "generated_images", GeneratedImagesBenchmarkConfig, "core.evaluation.benchmarks.generated:GeneratedImagesBenchmark")
register("benchmark", "generated_text", GeneratedTextBenchmarkConfig, "core.evaluation.benchmarks.generated:GeneratedTextBenchmark")
for _name in ("length", "random", "constant"):
    register("baseline", _name, BaselineConfig, f"core.evaluation.baselines:{_name}")
