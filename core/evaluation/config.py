"""Typed configurations of benchmarks and baselines (no torch here; see :mod:`core.registry`)."""

from __future__ import annotations

from typing import Literal

from core.definition.fields import Section, identity
from core.definition.trial import BenchmarkConfig
from core.registry import register


class VLRewardBenchConfig(BenchmarkConfig):
    """VL-RewardBench (arXiv 2411.17451)."""

    name: Literal["vl_rewardbench"] = identity("vl_rewardbench", doc="VL-RewardBench")


class MMRLHFRewardBenchConfig(BenchmarkConfig):
    """MM-RLHF-RewardBench (arXiv 2502.10391)."""

    name: Literal["mm_rlhf_rewardbench"] = identity("mm_rlhf_rewardbench", doc="MM-RLHF-RewardBench")


class GeneratedImagesBenchmarkConfig(BenchmarkConfig):
    """Generated image preferences that no training source shares."""

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
register("benchmark", "generated_images", GeneratedImagesBenchmarkConfig, "core.evaluation.benchmarks.generated:GeneratedImagesBenchmark")
register("benchmark", "generated_text", GeneratedTextBenchmarkConfig, "core.evaluation.benchmarks.generated:GeneratedTextBenchmark")
for _name in ("length", "random", "constant"):
    register("baseline", _name, BaselineConfig, f"core.evaluation.baselines:{_name}")
