"""Generated preferences that no training source shares: benchmarks that need no data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from core.data.examples import PreferenceExample
from core.data.generated import VERSION, generate_pairs
from core.definition.trial import RehearsalConfig
from core.evaluation.config import GeneratedImagesBenchmarkConfig, GeneratedTextBenchmarkConfig
from core.evaluation.metrics import Grouping, Pair, Units, accuracy, pairs, pooled_units
from core.evaluation.score_table import ScoreTable


class GeneratedImagesBenchmark:
    """Pairwise accuracy on generated images. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "generated_images"
    groupings: ClassVar[Mapping[str, Grouping]] = {}
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy",)
    published_revision: ClassVar[str | None] = None

    def examples(self, config: GeneratedImagesBenchmarkConfig) -> list[PreferenceExample]:
        """``config.items`` pairs; the switch ``images`` stays what it is."""
        return generate_pairs(config.items, 0, split="benchmark", images=config.images)

    def rehearse(self, config: GeneratedImagesBenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """The same with the rehearsal's number of items; a control stays a control."""
        return generate_pairs(rehearsal.items, 0, split="benchmark", images=config.images)

    def revision(
        self, config: GeneratedImagesBenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None
    ) -> str:
        """Version of the generator and number of items; ``-blank`` where the pictures are hidden."""
        kind = "rehearsal" if rehearsal is not None else f"v{VERSION}"
        return f"{kind}-{len(examples)}" + ("-blank" if config.images == "blank" else "")

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Accuracy in percent. A random scorer gets 50, and so does whatever reads only text."""
        return {"accuracy": accuracy(pairs(table))}

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Every pair counts."""
        return {"accuracy": pooled_units(scored)}


class GeneratedTextBenchmark:
    """Pairwise accuracy on generated text, for backbones that read text alone. Ties and unparsed scores are wrong."""

    name: ClassVar[str] = "generated_text"
    groupings: ClassVar[Mapping[str, Grouping]] = {}
    metric_names: ClassVar[tuple[str, ...]] = ("accuracy",)
    published_revision: ClassVar[str | None] = None

    def examples(self, config: GeneratedTextBenchmarkConfig) -> list[PreferenceExample]:
        """``config.items`` pairs."""
        return generate_pairs(config.items, 0, split="benchmark", images="told")

    def rehearse(self, config: GeneratedTextBenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """The same with the rehearsal's number of items."""
        return generate_pairs(rehearsal.items, 0, split="benchmark", images="told")

    def revision(
        self, config: GeneratedTextBenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None
    ) -> str:
        """Version of the generator and number of items."""
        return f"{'rehearsal' if rehearsal is not None else f'v{VERSION}'}-{len(examples)}"

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Accuracy in percent. A random scorer gets 50, and so does whatever reads only question and answers."""
        return {"accuracy": accuracy(pairs(table))}

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """Every pair counts."""
        return {"accuracy": pooled_units(scored)}
