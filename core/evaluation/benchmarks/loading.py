"""From a benchmark's configuration to its examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core import registry
from core.data.examples import PreferenceExample
from core.data.media import media_missing
from core.definition.trial import BenchmarkConfig, RehearsalConfig
from core.errors import DefinitionError, EnvironmentFault, nearest
from core.evaluation.benchmarks.base import Benchmark, data_hash
from core.evaluation.score_table import ScoreMetadata


@dataclass(frozen=True)
class LoadedBenchmark:
    """A benchmark with its data.

    Attributes:
        name: its name in the registry.
        config: its typed configuration.
        examples: in the order of the file.
        revision: name of the data's version.
        data_hash: hash of examples and labels, whatever their order.
        rehearsal: whether the examples are a generated stand-in.
    """

    name: str
    config: BenchmarkConfig
    examples: list[PreferenceExample]
    revision: str
    data_hash: str
    rehearsal: bool

    def metadata(self, scorer: str, scoring_key: str | None = None) -> ScoreMetadata:
        """The metadata of a table that ``scorer`` makes of these examples."""
        return ScoreMetadata(self.name, self.revision, self.data_hash, scorer, scoring_key, self.rehearsal)


def unreadable(backbone: str, benchmark: str) -> str | None:
    """Why a backbone cannot be scored on a benchmark at all, such as ``it reads no image``; ``None`` where it can (light)."""
    needs: tuple[str, ...] = registry.get("benchmark", benchmark).config.NEEDS  # type: ignore[attr-defined]  # a BenchmarkConfig
    reads: tuple[str, ...] = registry.get("backbone", backbone).config.READS  # type: ignore[attr-defined]  # a BackboneConfig
    lacking = [medium for medium in needs if medium not in reads]
    return f"{backbone} reads no {' and no '.join(lacking)}" if lacking else None


def get(name: str) -> Benchmark:
    """The benchmark registered under this name.

    Raises:
        DefinitionError: there is none; it names the registered ones and the nearest.
    """
    benchmark: Benchmark = registry.get("benchmark", name).load()()
    return benchmark


def published_revisions() -> dict[str, str | None]:
    """For each registered benchmark the revision that published numbers refer to."""
    return {name: get(name).published_revision for name in registry.names("benchmark")}


def typed(config: Mapping[str, Any] | BenchmarkConfig) -> BenchmarkConfig:
    """A benchmark's configuration in the type that is registered for its name.

    Raises:
        DefinitionError: no name, an unknown name, or a field that the benchmark does not have.
    """
    if isinstance(config, BenchmarkConfig):
        return config
    name = config.get("name")
    if not isinstance(name, str):
        raise DefinitionError("a benchmark needs a name", found=dict(config), allowed=registry.names("benchmark"))
    model = registry.get("benchmark", name).config
    unknown = next((key for key in config if key not in model.model_fields), None)
    if unknown is not None:
        allowed = sorted(model.model_fields)
        raise DefinitionError(f"unknown key of the benchmark {name}", found=unknown, allowed=allowed, nearest=nearest(unknown, allowed))
    typed = model.model_validate(dict(config))
    assert isinstance(typed, BenchmarkConfig)
    return typed


def load(config: Mapping[str, Any] | BenchmarkConfig, rehearsal: RehearsalConfig | None = None) -> LoadedBenchmark:
    """The examples of a benchmark with their revision; in a rehearsal those of its generated stand-in, or the first real ones.

    Raises:
        DefinitionError: the configuration or a row is wrong; it names the key, or file and row.
        EnvironmentFault: the data are not on this machine; it says what was searched and names ``--rehearse``.
    """
    config = typed(config)
    benchmark = get(config.name)
    real = _first_rows(benchmark, config, rehearsal.real_data) if rehearsal is not None and rehearsal.real_data is not None else None
    if real is not None:
        return LoadedBenchmark(config.name, config, real, f"rehearsal-real-{len(real)}", data_hash(real), True)
    examples = benchmark.examples(config) if rehearsal is None else benchmark.rehearse(config, rehearsal)
    revision = benchmark.revision(config, examples, rehearsal)
    return LoadedBenchmark(config.name, config, examples, revision, data_hash(examples), rehearsal is not None)


def _first_rows(benchmark: Benchmark, config: BenchmarkConfig, count: int) -> list[PreferenceExample] | None:
    """The first examples of the real benchmark whose media are here; ``None`` where there is none."""
    if config.name.startswith("generated_"):
        return None
    try:
        examples = benchmark.examples(config)
    except EnvironmentFault:
        return None
    return [example for example in examples if not media_missing(example)][:count] or None
