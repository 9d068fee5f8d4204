"""Scoring: a benchmark's examples through a trained model or a baseline, into a ScoreTable.

torch and the model are imported when a trial is scored, not before: baselines and summaries stay light.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from core import registry
from core.data.examples import PreferenceExample
from core.data.media import media_missing
from core.definition.trial import BenchmarkConfig, RehearsalConfig, TrialConfig
from core.errors import DefinitionError, EnvironmentFault, TrialFailed
from core.evaluation.benchmarks import LoadedBenchmark, get, load, typed, unreadable
from core.evaluation.metrics import judging
from core.evaluation.partial import Partial
from core.evaluation.score_table import ScoreTable, from_judgements
from core.models.judgement import Judgement, Sampling

BATCH = 16
"""Examples in one forward pass, and between two calls of ``on_progress``."""

Progress = Callable[[int, int], None]
"""Called with the number of examples that are scored and their total."""


def score_trial(
    weights: Path,
    config: TrialConfig,
    benchmark: Mapping[str, Any] | BenchmarkConfig,
    *,
    key: str | None = None,
    scorer: str = "trial",
    device: str = "cpu",
    threads: int | None = None,
    on_progress: Progress | None = None,
    unfinished: Path | None = None,
    batch: int = BATCH,
) -> ScoreTable:
    """Score one benchmark with the published weights of a trial.

    Examples whose media are absent are skipped and counted; the result is then partial.

    Args:
        weights: the folder that :func:`core.models.external.base.load_scorer` reads.
        config: the trial; in a rehearsal the benchmark is a generated one.
        benchmark: its configuration.
        key: the scoring's key, for the table's metadata.
        scorer: who scores, for the table's metadata, such as ``trial:<id>``.
        device: ``cpu`` or ``cuda``.
        threads: CPU threads; ``None`` leaves torch's setting alone.
        on_progress: told how far the scoring is.
        unfinished: where the verdicts so far are kept while it runs, so that a scoring that was stopped goes on
            (:mod:`core.evaluation.partial`).
        batch: examples that are judged together; fewer need less memory and change a score by rounding alone.

    Raises:
        DefinitionError: the trial's backbone cannot read the benchmark.
        EnvironmentFault: the benchmark's data, or the media of all its examples, are not on this machine.
        IntegrityError: the weights are damaged.
        TrialFailed: ``nan_loss`` where a reward is not finite, ``data_error`` where a medium cannot be read.
    """
    benchmark = typed(benchmark)
    why = unreadable(config.backbone.name, benchmark.name)
    if why is not None:
        readable = [name for name in registry.names("benchmark") if unreadable(config.backbone.name, name) is None]
        raise DefinitionError(f"{why}, which {benchmark.name} is about", allowed=readable)
    loaded = load(benchmark, config.rehearsal)
    usable = [index for index, example in enumerate(loaded.examples) if not media_missing(example)]
    if not usable:
        raise EnvironmentFault(
            f"no example of the benchmark {loaded.name} has its media on this machine",
            found=_media_path(loaded.examples[0]),
            allowed="`media` of the benchmark in `evaluate`: the folder that the paths in its file are relative to",
            next=f"sweep score --baseline length --benchmark {loaded.name} needs no media",
        )

    import torch

    from core.models.external.base import load_scorer

    if threads is not None:
        torch.set_num_threads(threads)
    model = load_scorer(weights, config, device=device)
    judged: list[list[Judgement] | None] = [None] * len(loaded.examples)
    sampling = Sampling(loaded.config.votes, loaded.config.temperature, config.seed)
    about = {"data": loaded.data_hash, "scorer": scorer, "config": loaded.config.model_dump(mode="json"), "weights": _weights(weights)}
    with Partial(unfinished, about) if unfinished is not None else nullcontext() as partial:
        for index, verdicts in (partial.known if partial is not None else {}).items():
            judged[index] = verdicts
        left = [index for index in usable if judged[index] is None]
        for start in range(0, len(left), batch):
            part = left[start : start + batch]
            found = model.judge(
                [loaded.examples[index] for index in part],
                batch=batch,
                max_pixels=loaded.config.max_pixels,
                frames=loaded.config.frames,
                sampling=sampling,
            )
            for index, verdicts in zip(part, found, strict=True):
                _check_finite(loaded, index, verdicts)
                judged[index] = verdicts
                if partial is not None:
                    partial.add(index, verdicts)
            if on_progress is not None:
                on_progress(len(usable) - len(left) + start + len(part), len(usable))
    return _table(loaded, judged, scorer, key, _token_counter(getattr(model, "backbone", model)))


def _check_finite(loaded: LoadedBenchmark, index: int, verdicts: Sequence[Judgement]) -> None:
    """Refuse the first score that is no number, with the row that it is of: those of the other rows would be none either."""
    wrong = [score for verdict in verdicts for score in verdict.scores if score is not None and not math.isfinite(score)]
    if wrong:
        example = loaded.examples[index]
        raise TrialFailed(
            "nan_loss",
            f"benchmark {loaded.name}: {example.origin or example.id}: a score is {wrong[0]}: the weights hold values that are no "
            "numbers, or the precision is too low; train again with a lower optim.lr, or with train.dtype: fp32",
        )


def _weights(folder: Path) -> str:
    """What tells the published weights of one model from those of another: names, sizes and times of its files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return " ".join(f"{file.relative_to(folder)}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


def score_baseline(
    name: str,
    benchmark: Mapping[str, Any] | BenchmarkConfig,
    rehearsal: RehearsalConfig | None = None,
    *,
    key: str | None = None,
) -> ScoreTable:
    """Score one benchmark with a registered baseline; every row counts, with or without its media.

    ``key`` is the scoring's key, for the table's metadata.

    Raises:
        DefinitionError: no such baseline, or a row of the benchmark is refused.
        EnvironmentFault: the benchmark's data are not on this machine.
    """
    baseline = registry.get("baseline", name).load()
    loaded = load(benchmark, rehearsal)
    scores = baseline(loaded.examples)
    judged = [[Judgement(tuple(range(len(row))), tuple(row), (None,) * len(row))] for row in scores]
    return _table(loaded, judged, f"baseline:{name}", key, None)


def _token_counter(backbone: Any) -> Callable[[str], int] | None:
    """Counts the tokens of a text; ``None`` for a backbone without a tokenizer."""
    tokenizer = getattr(backbone, "tokenizer", None)
    if tokenizer is None:
        return None
    return lambda text: len(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def _table(
    loaded: LoadedBenchmark,
    judged: Sequence[Sequence[Judgement] | None],
    scorer: str,
    key: str | None,
    tokens: Callable[[str], int] | None,
) -> ScoreTable:
    try:
        return from_judgements(loaded.examples, judged, loaded.metadata(scorer, key), tokens=tokens)
    except ValueError as error:
        raise TrialFailed("nan_loss", f"benchmark {loaded.name}: {error}") from error


def _media_path(example: PreferenceExample) -> str:
    return ", ".join(str(media.path) for media in example.media)


def summarise(table: ScoreTable) -> dict[str, Any]:
    """The metrics of a table: ``{"benchmark", "revision", "n", "partial", "judging", "metrics"}``, metrics in percent.

    ``n`` is the number of examples that were scored; ``partial`` is ``None``, or ``{"scored", "skipped"}`` where some were left out
    because their media are absent; ``judging`` is ``None`` for a scorer that writes nothing (:class:`core.evaluation.metrics.Judging`).
    """
    about = table.metadata
    how = judging(table)
    n = table.examples
    return {
        "benchmark": about.benchmark,
        "revision": about.revision,
        "rehearsal": about.rehearsal,
        "n": n,
        "partial": {"scored": n, "skipped": about.skipped} if about.skipped else None,
        "judging": None if how is None else asdict(how),
        "metrics": get(about.benchmark).metrics(table),
    }
