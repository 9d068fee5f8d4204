"""VL-RewardBench (arXiv 2411.17451): 1,250 pairs of general, hallucination and reasoning questions.

Two groupings are in circulation, and published tables mix them. *official* is the authors' own: the group follows from the set
that an id comes from, so that RLAIF-V and RLHF-V are hallucination (183 / 749 / 318). *r1_script* is what R1-Reward's
``get_acc.py`` computes: it looks for ``rlhf`` and ``rlaif`` in lower case, which no id has, so that those 301 pairs fall into
general (484 / 448 / 318). BaseReward's numbers follow the second. The overall accuracy is the same under both; groups and macro
averages are not comparable across them.

Two formats are read: the text copy that was published with R1-Reward (``prompt, chosen, rejected, image``) and the hub's
(``query, response, human_ranking, image``), in which ``human_ranking[i]`` is the rank of response i and 0 is the better one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
    grouped_accuracy,
    grouped_units,
    macro,
    macro_units,
    pairs,
    pooled_units,
)
from core.evaluation.score_table import ScoreTable

GROUPS = ("general", "hallucination", "reasoning")

ORIGINS = ("rlaif", "rlhf", "hallucination", "mathverse", "mmmu", "wildvision")
"""How ids begin, in lower case: the sets that the rows were drawn from."""

REHEARSAL_IDS = ("wildvision-battle", "RLAIF-V", "mathverse", "hallucination_pair", "mmmu_pro", "RLHF-V")
"""Prefixes of real ids: together they fill every group under both groupings."""


def official(example: ExampleFields) -> str:
    """The authors' grouping, by the first part of the id (``cal.py`` groups by the source set, which the id begins with)."""
    origin = re.split(r"[-_]", example.id, maxsplit=1)[0].lower()
    if origin in ("rlaif", "rlhf", "hallucination"):
        return "hallucination"
    return "reasoning" if origin in ("mathverse", "mmmu") else "general"


def r1_script(example: ExampleFields) -> str:
    """The grouping of R1-Reward's ``get_acc.py``, lower-case search included."""
    if "mmmu" in example.id or "mathverse" in example.id:
        return "reasoning"
    return "hallucination" if any(part in example.id for part in ("hallucination", "rlhf", "rlaif")) else "general"


class VLRewardBench(FileBenchmark):
    """Overall and macro accuracy, and one accuracy per group under both groupings. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "vl_rewardbench"
    groupings: ClassVar[Mapping[str, Grouping]] = {
        "official": Grouping("official", GROUPS, official),
        "r1_script": Grouping("r1_script", GROUPS, r1_script),
    }
    metric_names: ClassVar[tuple[str, ...]] = (
        "overall",
        *(f"macro/{name}" for name in groupings),
        *(f"official/{group}" for group in GROUPS),
        *(f"r1_script/{group}" for group in GROUPS),
    )
    file_names: ClassVar[tuple[str, ...]] = (
        "vl_rewardbench.jsonl",
        "vl_rewardbench.json",
        "vl_rewardbench.parquet",
        "VL-RewardBench/data/test-00000-of-00001.parquet",
    )
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"MMInstruction/VL-RewardBench": ("data/test-*.parquet",)}
    published_revision: ClassVar[str | None] = "1250-rows"
    known_revisions: ClassVar[Mapping[str, str]] = {
        "27fcec2022e022266661f0ecc32ffdd0fbbde14c0b1ad2356f0e84fa06ffdf7d": "1250-rows",
    }

    def read(self, row: Mapping[str, Any], reader: RowReader, origin: str) -> PreferenceExample:
        """A row of either format; a leading ``<image>`` line is stripped from the prompt."""
        require_id(row)
        hub = "query" in row or "human_ranking" in row
        pair = from_hub(row) if hub else dict(row)
        if isinstance(pair.get("prompt"), str):
            pair["prompt"] = pair["prompt"].removeprefix("<image>\n")
        extra = {"format": "hub", "query_source": row.get("query_source")} if hub else {}
        return replace(reader.read(pair, origin), extra=extra)

    def foreign(self, examples: Sequence[PreferenceExample]) -> str | None:
        """Fewer than half of the ids begin with the name of a set that the benchmark draws on (1,240 of 1,250 do)."""
        known = sum(example.id.lower().startswith(ORIGINS) for example in examples)
        if 2 * known >= len(examples):
            return None
        return f"{known} of {len(examples)} ids begin with {', '.join(ORIGINS)}; the first is {examples[0].id!r}"

    def revision(self, config: BenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None) -> str:
        """``1250-rows`` by content, ``1247-rows`` for a file of that size in the hub's format, else by hash."""
        if rehearsal is None and len(examples) == 1247 and all(example.extra.get("format") == "hub" for example in examples):
            return "1247-rows"
        return super().revision(config, examples, rehearsal)

    def rehearse(self, config: BenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """Generated images under ids of the real sets."""
        return generate_pairs(rehearsal.items, 0, split=self.name, groups=REHEARSAL_IDS)

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Overall, macro and group accuracies in percent. A random scorer gets 50 in each."""
        scored = pairs(table)
        groups = {name: grouped_accuracy(scored, grouping) for name, grouping in self.groupings.items()}
        values: dict[str, float | None] = {"overall": accuracy(scored)}
        values |= {f"macro/{name}": macro(accuracies) for name, accuracies in groups.items()}
        values |= {f"{name}/{group}": value for name, accuracies in groups.items() for group, value in accuracies.items()}
        return values

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Every pair counts in the overall accuracy, and in its group under both groupings."""
        found = {"overall": pooled_units(scored)}
        for name, grouping in self.groupings.items():
            whole = macro_units(scored, grouping)
            found |= {f"macro/{name}": whole} if whole is not None else {}
            found |= {f"{name}/{group}": units for group, units in grouped_units(scored, grouping).items()}
        return found


def from_hub(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the hub's format as chosen and rejected.

    Raises:
        RowError: there are not two responses, or the ranking is not 0 and 1.
    """
    responses, ranking = row.get("response"), row.get("human_ranking")
    if not isinstance(responses, Sequence) or isinstance(responses, str) or len(responses) != 2:
        raise RowError(f"`response` is a list of two texts, found {_shown(responses)}")
    if not isinstance(ranking, Sequence) or isinstance(ranking, str) or any(isinstance(rank, bool) for rank in ranking):
        raise RowError(f"`human_ranking` is [0, 1] or [1, 0], found {_shown(ranking)}")
    if list(ranking) not in ([0, 1], [1, 0]):
        raise RowError(f"`human_ranking` is [0, 1] or [1, 0], found {_shown(ranking)}")
    best = list(ranking).index(0)
    return {
        "id": row.get("id"),
        "prompt": row.get("query"),
        "chosen": responses[best],
        "rejected": responses[1 - best],
        "image": row.get("image"),
    }


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 60 else f"{repr(value)[:57]}..."
