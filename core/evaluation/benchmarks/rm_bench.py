"""RM-Bench (arXiv 2410.16184): three chosen and three rejected responses to each prompt, in three styles.

The file is ``total_dataset.json``, a list of ``id, prompt, chosen[3], rejected[3], domain``; the styles stand in the order concise,
detailed, detailed with markdown. Every chosen response is compared with every rejected one, which makes a matrix of nine
accuracies: *easy* is where the chosen one has the richer style, *normal* the diagonal, *hard* where the rejected one has it. The
score of a domain is the mean of the three, the overall accuracy that of the four domains; ``safety-refuse`` and ``safety-response``
are one domain, their rows pooled. ``easy``, ``normal`` and ``hard`` over all are means over the domains too.

Policies: the comparison is the published one, ``chosen > rejected``, so that a tie is wrong, and so is a score that could not be
parsed. Responses are scored one by one; for a judge of pairs, the order is the scorer's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any, ClassVar

from core.data.examples import PreferenceExample, PreferenceLabel, Response
from core.data.generated import generate_pairs
from core.data.rows import RowError, RowReader, checked_text
from core.definition.trial import BenchmarkConfig, RehearsalConfig
from core.evaluation.benchmarks.base import FileBenchmark, require_group, require_id, sized
from core.evaluation.metrics import ExampleFields, Grouping, Pair, Units, accuracy, macro, mean_units, pairs
from core.evaluation.score_table import ScoreTable

DOMAINS = ("chat", "code", "math", "safety")
LEVELS = ("easy", "normal", "hard")
FILE_DOMAINS = ("chat", "code", "math", "safety-refuse", "safety-response")
STYLES = 3


def domain(example: ExampleFields) -> str | None:
    """``safety`` for both of its parts, else the file's own domain."""
    name = example.category or ""
    return "safety" if name.startswith("safety-") else name or None


def level(pair: Pair) -> str:
    """How hard the styles make a pair: positions 0 to 2 are the chosen responses, 3 to 5 the rejected ones."""
    chosen, rejected = pair.which[0], pair.which[1] - STYLES
    return "normal" if chosen == rejected else "easy" if chosen > rejected else "hard"


class RMBench(FileBenchmark):
    """Overall, the three levels, the four domains, and each level of each domain. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "rm_bench"
    groupings: ClassVar[Mapping[str, Grouping]] = {"domain": Grouping("domain", DOMAINS, domain)}
    metric_names: ClassVar[tuple[str, ...]] = ("overall", *LEVELS, *DOMAINS, *(f"{d}/{name}" for d in DOMAINS for name in LEVELS))
    file_names: ClassVar[tuple[str, ...]] = (
        "rm_bench.json",
        "rm_bench.jsonl",
        "rm_bench.parquet",
        "RM-Bench/total_dataset.json",
        "RM-Bench/data/total_dataset.json",
    )
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {"THU-KEG/RM-Bench": ("total_dataset.json",)}
    published_revision: ClassVar[str | None] = "1327-rows"
    known_revisions: ClassVar[Mapping[str, str]] = {}

    def read(self, row: Mapping[str, Any], reader: RowReader, origin: str) -> PreferenceExample:
        """A row with three chosen and three rejected responses."""
        texts = [text for side in ("chosen", "rejected") for text in _three(row, side)]
        for chosen, rejected in product(texts[:STYLES], texts[STYLES:]):
            if chosen == rejected:
                raise RowError("a chosen and a rejected response are equal")
        return PreferenceExample(
            id=require_id(row),
            prompt=checked_text(row.get("prompt"), "prompt"),
            responses=tuple(Response(text) for text in texts),
            label=PreferenceLabel((0,) * STYLES + (1,) * STYLES),
            category=require_group(row, "domain", FILE_DOMAINS),
            source=self.name,
            origin=origin,
        )

    def revision(self, config: BenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None) -> str:
        """``1327-rows`` for a file of that size, else by hash."""
        return sized(super().revision(config, examples, rehearsal), len(examples), 1327)

    def rehearse(self, config: BenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """Generated text with both answers in the three styles: a scorer that reads length alone gets 100, 50 and 0 in the levels."""
        made = []
        for example in generate_pairs(rehearsal.items, 0, split=self.name, images="told", groups=FILE_DOMAINS):
            styled = [style for response in example.responses for style in _styles(response.text)]
            label = PreferenceLabel((0,) * STYLES + (1,) * STYLES)
            made.append(replace(example, responses=tuple(map(Response, styled)), label=label))
        return made

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Accuracies in percent. A random scorer gets 50 in each."""
        cells: dict[tuple[str, str], list[Pair]] = {key: [] for key in product(DOMAINS, LEVELS)}
        for pair in pairs(table):
            key = (domain(pair.example) or "", level(pair))
            if key in cells:
                cells[key].append(pair)
        matrix = {key: accuracy(found) for key, found in cells.items()}
        levels = {name: macro({d: matrix[d, name] for d in DOMAINS}) for name in LEVELS}
        domains = {d: macro({name: matrix[d, name] for name in LEVELS}) for d in DOMAINS}
        return {"overall": macro(domains), **levels, **domains, **{f"{d}/{name}": value for (d, name), value in matrix.items()}}

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Every pair counts, by its domain and level; the nine pairs of a prompt are one cluster."""
        labels = [f"{domain(pair.example)}/{level(pair)}" for pair in scored]
        kinds = {"overall": [f"{d}/{name}" for d in DOMAINS for name in LEVELS]}
        kinds |= {name: [f"{d}/{name}" for d in DOMAINS] for name in LEVELS}
        kinds |= {d: [f"{d}/{name}" for name in LEVELS] for d in DOMAINS}
        kinds |= {f"{d}/{name}": [f"{d}/{name}"] for d in DOMAINS for name in LEVELS}
        found = {metric: mean_units(labels, groups) for metric, groups in kinds.items()}
        return {metric: units for metric, units in found.items() if units is not None}


def _three(row: Mapping[str, Any], side: str) -> list[str]:
    value = row.get(side)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != STYLES:
        raise RowError(f"`{side}` is a list of {STYLES} texts (concise, detailed, markdown), found {str(value)[:60]}")
    return [checked_text(text, f"{side}[{index}]") for index, text in enumerate(value)]


def _styles(text: str) -> tuple[str, str, str]:
    detailed = f"{text} That is what the sentence before the question says about the picture."
    return text, detailed, f"## Answer\n\n**{detailed}**"
