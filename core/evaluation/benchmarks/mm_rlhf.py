"""MM-RLHF-RewardBench (arXiv 2502.10391): 170 pairs about 46 images and videos, with two to six pairs for each.

*Acc* is the share of pairs in which the chosen response scores strictly higher; *Acc+* the share of ids of which every pair is
right. The category of a pair is the first of mcq, long, short, safety, video that is found in the path of its image or video. A
video is a folder of frames, of which evenly spaced ones are read in sorted order (:mod:`core.data.media`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import PurePosixPath
from typing import Any, ClassVar

from core.data.examples import PreferenceExample
from core.data.generated import generate_pairs
from core.data.rows import RowError, RowReader
from core.definition.trial import BenchmarkConfig, RehearsalConfig
from core.evaluation.benchmarks.base import FileBenchmark, require_id
from core.evaluation.metrics import (
    ExampleFields,
    Grouping,
    Pair,
    Units,
    accuracy,
    accuracy_plus,
    grouped_accuracy,
    grouped_units,
    id_units,
    pairs,
    pooled_units,
)
from core.evaluation.score_table import ScoreTable

CATEGORIES = ("mcq", "long", "short", "safety", "video")
"""In the order in which the authors' ``get_acc.py`` looks for them in the path."""

REHEARSAL_SIZES = (2, 3, 4, 5, 6, 3, 2)
"""Pairs per id in a rehearsal; seven sizes against five categories, so that each category meets each size."""


def category(example: ExampleFields) -> str | None:
    """The first category whose name is found in the path of the medium; ``None`` where none is."""
    path = str(example.extra.get("media") or "")
    return next((name for name in CATEGORIES if name in path), None)


class MMRLHFRewardBench(FileBenchmark):
    """Acc, Acc+ and one accuracy per category. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "mm_rlhf_rewardbench"
    groupings: ClassVar[Mapping[str, Grouping]] = {"category": Grouping("category", CATEGORIES, category)}
    metric_names: ClassVar[tuple[str, ...]] = ("acc", "acc_plus", *CATEGORIES)
    file_names: ClassVar[tuple[str, ...]] = (
        "mm_rlhf_rewardbench.jsonl",
        "mm_rlhf_rewardbench.json",
        "mm_rlhf_rewardbench.parquet",
        "MM-RLHF-RewardBench/mm_reward_bench.jsonl",
    )
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"yifanzhang114/MM-RLHF-RewardBench": ("mm_reward_bench.jsonl", "images/**")}
    published_revision: ClassVar[str | None] = "170-pairs"
    known_revisions: ClassVar[Mapping[str, str]] = {
        "7ccf2e2d2c7b32ae6bd02ef6c1b5e4ddbb31efc12499dfa2d74d809d3207f593": "170-pairs",
    }

    def read(self, row: Mapping[str, Any], reader: RowReader, origin: str) -> PreferenceExample:
        """A row with ``chosen``, ``rejected`` and an ``image`` or a ``video``."""
        require_id(row)
        media = [value for value in (row.get("image"), row.get("video")) if value]
        if len(media) != 1:
            raise RowError("a row has an `image` or a `video`: its path says the category")
        path = media[0].get("path") if isinstance(media[0], Mapping) else media[0]
        return replace(reader.read(row, origin), extra={"media": str(path)})

    def foreign(self, examples: Sequence[PreferenceExample]) -> str | None:
        """No path names a category, so that no row would count in one."""
        paths = [str(example.extra["media"]) for example in examples]
        if any(name in path for path in paths for name in CATEGORIES):
            return None
        return f"no path of an image or video names one of {', '.join(CATEGORIES)}; the first is {paths[0]}"

    def rehearse(self, config: BenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """Generated images, two to six pairs under each id, categories in turn."""
        examples = generate_pairs(rehearsal.items, 0, split=self.name)
        out: list[PreferenceExample] = []
        for index, (size, name) in enumerate(zip(cycle(REHEARSAL_SIZES), cycle(CATEGORIES), strict=False)):
            part = examples[len(out) : len(out) + size]
            if not part:
                return out
            path = str(PurePosixPath(name, f"rehearsal_{index:04d}.png"))
            out += [replace(example, id=f"rehearsal_{index:04d}", extra={"media": path}) for example in part]
        raise AssertionError("the cycles do not end")

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Acc, Acc+ and category accuracies in percent. A random scorer gets 50 but for Acc+ (11.24 on the full set)."""
        scored = pairs(table)
        return {"acc": accuracy(scored), "acc_plus": accuracy_plus(scored), **grouped_accuracy(scored, self.groupings["category"])}

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Acc counts pairs, Acc+ counts ids."""
        return {"acc": pooled_units(scored), "acc_plus": id_units(scored), **grouped_units(scored, self.groupings["category"])}
