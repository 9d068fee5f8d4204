"""Multimodal RewardBench (arXiv 2502.14191): pairs about images in seven columns.

The file is ``data/all_data.json``, a list, as the authors' ``scripts/0_download_data.py`` writes it: ``ID, Text, Image, Output1,
Output2, Better`` and ``Category`` (or ``Meta.Category``). Two overall accuracies are in circulation under one name. *micro* is
the authors' own, over all rows; *macro* is the unweighted mean of the seven columns, which BaseReward prints for the models that
it compares itself with, while its own rows are micro. They differ by several points.

``toxicity`` (Hateful Memes) was part of the paper's 5,211 rows and is not redistributed: in the released 4,711 rows, safety is bias
alone. Where a file has such rows, they count in micro and in a column of their own, never in macro.

Policies: a tie is wrong; a score that could not be parsed is wrong (the authors' script flips a coin there, so that a judge that
never answers gets 50); the order in which a judge sees the two responses is the scorer's (``order`` in the ScoreTable).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from core.data.examples import PreferenceExample
from core.data.generated import generate_pairs
from core.data.rows import RowError, RowReader
from core.definition.trial import BenchmarkConfig, RehearsalConfig
from core.evaluation.benchmarks.base import FileBenchmark, require_group, require_id, sized
from core.evaluation.metrics import (
    ExampleFields,
    Grouping,
    Pair,
    Units,
    accuracy,
    grouped_accuracy,
    grouped_units,
    macro,
    macro_units,
    pairs,
    pooled_units,
)
from core.evaluation.score_table import ScoreTable

CATEGORIES = ("open_generation/correctness_task", "open_generation/preference_task", "knowledge", "reasoning", "safety", "vqa")
"""The strings of ``Category``."""

COLUMNS = ("correctness", "preference", "knowledge", "math", "coding", "bias", "vqa")

REHEARSAL = (
    ("nocaps", CATEGORIES[0]),
    ("visitbench", CATEGORIES[1]),
    ("mmmu-s", "knowledge"),
    ("mathvista", "reasoning"),
    ("EMMA-Coding", "reasoning"),
    ("pairs", "safety"),
    ("MMBench", "vqa"),
    ("hateful_memes", "safety"),
)
"""A prefix of the ids and a category for each column, as in the released file."""


def column(example: ExampleFields) -> str | None:
    """The column of a row: its category, with reasoning and safety split by how the id begins, as the authors' script does."""
    start = example.id.lower()
    if example.category == "reasoning":
        return "math" if start.startswith("math") else "coding"
    if example.category == "safety":
        return "bias" if start.startswith("pairs") else "toxicity"
    names = {CATEGORIES[0]: "correctness", CATEGORIES[1]: "preference", "knowledge": "knowledge", "vqa": "vqa"}
    return names.get(example.category or "")


class MultimodalRewardBench(FileBenchmark):
    """Both overall accuracies, and one accuracy per column. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "multimodal_rewardbench"
    groupings: ClassVar[Mapping[str, Grouping]] = {
        "columns": Grouping("columns", COLUMNS, column),
        "all": Grouping("all", (*COLUMNS, "toxicity"), column),
    }
    metric_names: ClassVar[tuple[str, ...]] = ("overall/micro", "overall/macro", *COLUMNS, "toxicity")
    file_names: ClassVar[tuple[str, ...]] = (
        "multimodal_rewardbench.json",
        "multimodal_rewardbench.jsonl",
        "multimodal_rewardbench.parquet",
        "multimodal_rewardbench/data/all_data.json",
    )
    obtain: ClassVar[str | None] = (
        "clone github.com/facebookresearch/multimodal_rewardbench, run its scripts/0_download_data.py, and name data/all_data.json"
    )
    published_revision: ClassVar[str | None] = "4711-rows"
    known_revisions: ClassVar[Mapping[str, str]] = {}

    def read(self, row: Mapping[str, Any], reader: RowReader, origin: str) -> PreferenceExample:
        """A row with two outputs, of which ``Better`` names one."""
        id = require_id(row, "ID")
        meta = row.get("Meta")
        category = require_group({"Category": row.get("Category") or (meta or {}).get("Category")}, "Category", CATEGORIES)
        if not row.get("Text"):
            raise RowError("`Text` is missing: the release holds no prompts; the authors' scripts/0_download_data.py fills them in")
        better = require_group(row, "Better", ("Output1", "Output2"))
        worse = "Output2" if better == "Output1" else "Output1"
        if not row.get("Image"):
            raise RowError("`Image` is missing")
        pair = {"id": id, "prompt": row["Text"], "chosen": row.get(better), "rejected": row.get(worse), "image": row["Image"]}
        return replace(reader.read(pair, origin), category=category)

    def revision(self, config: BenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None) -> str:
        """``4711-rows`` for a file of that size, else by hash."""
        return sized(super().revision(config, examples, rehearsal), len(examples), 4711)

    def rehearse(self, config: BenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """Generated images under ids and categories of every column."""
        examples = generate_pairs(rehearsal.items, 0, split=self.name, groups=[prefix for prefix, _ in REHEARSAL])
        return [replace(example, category=dict(REHEARSAL)[str(example.category)]) for example in examples]

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Both overall accuracies and those of the columns in percent. A random scorer gets 50 in each."""
        scored = pairs(table)
        columns = grouped_accuracy(scored, self.groupings["columns"])
        every = grouped_accuracy(scored, self.groupings["all"])
        return {"overall/micro": accuracy(scored), "overall/macro": macro(columns), **every}

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Every pair counts in micro and in its column, and in macro by its column."""
        whole = macro_units(scored, self.groupings["columns"])
        found = {"overall/micro": pooled_units(scored)} | ({"overall/macro": whole} if whole is not None else {})
        return found | grouped_units(scored, self.groupings["all"])
