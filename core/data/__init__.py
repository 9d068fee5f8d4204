"""Data: examples, sources, mixtures, media, generated preferences (no torch at import)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from core import registry
from core.data.annotations import annotated, read_annotations
from core.data.curation import Overlaps
from core.data.examples import PreferenceExample
from core.data.mixture import Ingredient, Recipe, TrainingData, check_counts, joint_fingerprint, mix
from core.data.sources import Source, open_sources
from core.definition.trial import BackboneConfig, TrialConfig
from core.errors import DefinitionError

__all__ = ["TrainingData", "check_data", "data_fingerprint", "load_data", "recipe"]


def load_data(config: TrialConfig, annotations: Path | None = None) -> TrainingData:
    """Training pairs and validation split of a trial; no medium is decoded.

    Args:
        config: the trial; in a rehearsal its sources are generated and :meth:`TrialConfig.effective` is applied.
        annotations: a file of critiques or reasoning that goes with the examples (:mod:`core.data.annotations`).

    Raises:
        DefinitionError: a row is refused (file and row), or the sources are too small.
        EnvironmentFault: a file is missing.
    """
    config = config.effective()
    written = {} if annotations is None else read_annotations(annotations)
    ingredients = [
        Ingredient(
            source.name, [annotated(example, written) for example in source], source.config.weight, source.config.cap, source.fingerprint()
        )
        for source in open_sources(config)
    ]
    check_counts({part.name: len(part.examples) for part in ingredients}, config.data.held_out)
    data = mix(ingredients, config.data.held_out, recipe(config))
    return replace(data, fingerprint=data_fingerprint(config))


def recipe(config: TrialConfig) -> Recipe | None:
    """How the trial's mixture is put together; ``None`` where it has none.

    A rehearsal keeps the ratio alone: its generated pairs are drawn from a few sentences, so that most would be left out.

    Raises:
        EnvironmentFault: a benchmark whose questions are to be left out is not on this machine.
    """
    mixture = config.data.mixture
    if mixture is None:
        return None
    if config.rehearsal is not None:
        return Recipe(text_ratio=mixture.text_ratio)
    benchmarks = {name: _questions(name) for name in mixture.decontaminate}
    return Recipe(mixture.text_ratio, mixture.dedup, Overlaps(benchmarks) if benchmarks else None)


def _questions(benchmark: str) -> list[PreferenceExample]:
    """The examples of a benchmark, found where it lies by its own file names."""
    component = registry.get("benchmark", benchmark)
    examples: list[PreferenceExample] = component.load()().examples(component.config.model_validate({"name": benchmark}))
    return examples


def data_fingerprint(config: TrialConfig) -> str:
    """What :attr:`TrainingData.fingerprint` would be, without reading a row (a file's digest is remembered while it stays as it is).

    Raises:
        EnvironmentFault: a file is missing.
    """
    parts = [(source.name, source.fingerprint()) for source in open_sources(config.effective())]
    mixture = config.data.mixture
    if mixture is not None and config.rehearsal is None:
        parts.append(("", mixture.canonical().model_dump_json()))
    return joint_fingerprint(parts)


def check_data(config: TrialConfig) -> None:
    """What a launch checks before anything is queued: files, every row, every medium, enough pairs (light, no torch).

    Raises:
        DefinitionError: a row is refused (file and row), the sources are too small, or a row has media that the backbone cannot read.
        EnvironmentFault: a file or medium is missing; it names ``--rehearse``.
    """
    config = config.effective()
    sources = open_sources(config)
    for source in sources:
        source.check()
        _check_readable(source, config.backbone)
    check_counts({source.name: source.count for source in sources}, config.data.held_out)
    recipe(config)
    if config.data.held_out == 0 and (config.train.early_stop is not None or config.train.select == "best"):
        raise DefinitionError(
            "early stopping and `checkpoint.select: best` need pairs held out for validation",
            found="validation.items: 0",
            allowed="validation.items above 0",
        )


def _check_readable(source: Source, backbone: BackboneConfig) -> None:
    """Refuse media that the backbone cannot read: leaving them out would ask another question."""
    if set(backbone.READS) >= {"image", "video"}:
        return
    for example in source:
        found = next((medium.kind for medium in example.media if medium.kind not in backbone.READS), None)
        if found is not None:
            raise DefinitionError(
                f"{backbone.name} cannot read a row of source {source.name!r}",
                found=f"its {found}",
                allowed=f"rows with {' and '.join(backbone.READS)} alone",
                place=example.origin,
            )
