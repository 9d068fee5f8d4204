"""What a report is made from: the outcomes of trials and baselines, and what papers printed (pure, no I/O)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ScoringOutcome:
    """The metrics of one benchmark.

    Attributes:
        benchmark: its name; a metric's full name is ``benchmark/metric``.
        revision: which version of its data.
        n: examples that were scored.
        skipped: examples that were left out because their media are absent; more than 0 makes the result partial.
        metrics: by short name, in percent; ``None`` where there was nothing to average.
        key: of the scoring, where its ScoreTable is kept.
    """

    benchmark: str
    revision: str
    n: int
    skipped: int
    metrics: Mapping[str, float | None]
    key: str | None = None

    @classmethod
    def from_summary(cls, summary: Mapping[str, Any]) -> ScoringOutcome:
        """From what :func:`core.evaluation.scorer.summarise` returns."""
        partial = summary["partial"]
        return cls(summary["benchmark"], summary["revision"], summary["n"], partial["skipped"] if partial else 0, summary["metrics"])


@dataclass(frozen=True)
class TrialOutcome:
    """One trial as far as it has come.

    Attributes:
        id: the trial's id.
        cell: the cell's coordinates, without the seed.
        seed: the replicate.
        state: one of the states of a trial.
        flags: what is said beside the state: stale, reused, micro_batch_halved, partial, corrupt.
        cause: why it failed, where it did.
        reason: one sentence more for a reader, such as what blocks it.
        run_url: the trial's page in the tracker, where known.
        metrics: final training and validation metrics of the published result, by full name, as fractions.
        scorings: one for each finished scoring.
        evaluate: benchmarks that were asked for; one without a scoring is said to be missing.
        hours: wall-clock hours of all its attempts times its GPUs (one where it has none); ``None`` where not known.
        example_seconds: seconds per scored example, the mean over its benchmarks.
        unreadable: benchmarks of the sweep that the trial's backbone cannot read, each with the reason: *n/a*, no failure.
    """

    id: str
    cell: Mapping[str, Any]
    seed: int
    state: str
    flags: tuple[str, ...] = ()
    cause: str | None = None
    reason: str | None = None
    run_url: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    scorings: tuple[ScoringOutcome, ...] = ()
    evaluate: tuple[str, ...] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    hours: float | None = None
    example_seconds: float | None = None


@dataclass(frozen=True)
class BaselineOutcome:
    """What a scorer without a model gets."""

    name: str
    scorings: tuple[ScoringOutcome, ...] = ()


@dataclass(frozen=True)
class ReportedValue:
    """A number that a paper printed.

    Attributes:
        value: in percent for benchmarks; ``None`` where the paper has none.
        comparable: ``False`` where it must not be subtracted from ours.
        note: why, or what else a reader should know.
        revision: revision of the benchmark that it refers to; ``None``: the one that published numbers refer to.
    """

    value: float | None
    comparable: bool = True
    note: str | None = None
    revision: str | None = None


@dataclass(frozen=True)
class ReportedRow:
    """One row of a published table: it names a cell or an ensemble of the sweep, or a model outside of it (exactly one of the three).

    Attributes:
        source: where it was printed.
        values: by full name of the metric.
        cell: the coordinates of a cell of the sweep, all of them.
        model: name of an outside model.
        about: what a reader should know of the whole table that the row is from.
        ensemble: name of an ensemble's row.
    """

    source: str
    values: Mapping[str, ReportedValue]
    cell: Mapping[str, Any] | None = None
    model: str | None = None
    about: str | None = None
    ensemble: str | None = None
