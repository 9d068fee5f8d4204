"""What an accuracy hides: length bias, calibration, and accuracy by source and by length (pure, no I/O).

All of it follows from the margins of a benchmark's pairs (score of the better response less that of the worse one) and says something of
one trained model; a cell has the mean over its replicates.

- **Length bias**: by how much the chance of being right rises with each doubling of the better response's length relative to the worse
  one's; the least-squares slope of right (0 or 1) on ``log2((c + 1) / (w + 1))`` in characters. 0 for a scorer that does not look at
  length, above 0 for one that prefers long responses, below for one that prefers short ones.
- **ECE**: expected calibration error of the Bradley-Terry probability ``sigmoid(|margin|)`` of the response that the model prefers, over
  ten equal bins of [0.5, 1] (Guo et al., ICML 2017, arXiv 1706.04599). A margin that could not be parsed is left out.
- **By length**: accuracy where the better response is under half as long, shorter, longer, or more than twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.analysis.intervals import Floats
from core.analysis.outcomes import TrialOutcome
from core.evaluation.credits import Credits

BINS = 10
LENGTHS = ("under half", "shorter", "longer", "over twice")
"""Bins of the better response's length relative to the worse one's; equal lengths count as longer."""
EDGES = (-1.0, 0.0, 1.0)
BLOCK = 256
"""Tables at a time, which bounds the memory."""


@dataclass(frozen=True)
class Sanity:
    """One benchmark of one cell, each number the mean over its replicates.

    Attributes:
        cell: name of the cell.
        benchmark: name of the benchmark.
        n: pairs.
        length_bias: change of the chance to be right per doubling of length, a fraction; ``None`` where all lengths are alike.
        ece: expected calibration error, a fraction; ``None`` where no margin was parsed.
        by_length: accuracy in percent by :data:`LENGTHS`, with the number of pairs; empty bins left out.
        by_source: the same by the source of the example; empty where no source is known.
        disagreement: of an ensemble: how often two of its members differ, a fraction (:mod:`core.analysis.ensembles`).
        any_right: of an ensemble: how often at least one of its members is right, a fraction.
    """

    cell: str
    benchmark: str
    n: int
    length_bias: float | None
    ece: float | None
    by_length: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    by_source: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    disagreement: float | None = None
    any_right: float | None = None


def inspect(cells: Mapping[str, Sequence[TrialOutcome]], credits: Sequence[Credits]) -> list[Sanity]:
    """Every benchmark of every cell, cells in order."""
    found: dict[str, list[Sanity]] = {name: [] for name in cells}
    for book in credits:
        slopes, errors = length_bias(book), calibration_error(book)
        lengths, sources = _by_length(book), _by_source(book)
        rows = {owner: row for row, owner in enumerate(book.owners)}
        for name, trials in cells.items():
            mine = [rows[trial.id] for trial in trials if trial.id in rows]
            if mine:
                by_length, by_source = (
                    {key: (float(values[mine].mean()), n) for key, (values, n) in part.items()} for part in (lengths, sources)
                )
                bias, error = _mean(slopes[mine]), _mean(errors[mine])
                found[name].append(Sanity(name, book.about.benchmark, len(book.layout.keys), bias, error, by_length, by_source))
    return [one for group in found.values() for one in group]


def length_bias(book: Credits) -> Floats:
    """[tables] the slope; NaN where all pairs have the same ratio of lengths."""
    ratio = _ratio(book)
    away = ratio - ratio.mean()
    total = float((away**2).sum())
    if total == 0:
        return np.full(len(book.owners), np.nan)
    return np.asarray(book.values @ away / total)


def calibration_error(book: Credits) -> Floats:
    """[tables] ECE; NaN where no margin was parsed."""
    out = np.full(len(book.owners), np.nan)
    for start in range(0, len(out), BLOCK):
        margins = book.margins[start : start + BLOCK].astype(np.float64)
        known = np.isfinite(margins)
        confidence = 1 / (1 + np.exp(-np.minimum(np.abs(np.where(known, margins, 0.0)), 700.0)))
        right = (margins > 0).astype(np.float64)
        number = np.minimum(((confidence - 0.5) * 2 * BINS).astype(np.int64), BINS - 1)
        gap = np.zeros((len(margins), BINS))
        for index in range(BINS):
            gap[:, index] = np.abs(((right - confidence) * ((number == index) & known)).sum(axis=1))
        count = known.sum(axis=1)
        out[start : start + BLOCK] = np.divide(gap.sum(axis=1), count, out=np.full(len(count), np.nan), where=count > 0)
    return out


def _ratio(book: Credits) -> Floats:
    chars = book.layout.chars + 1.0
    return np.asarray(np.log2(chars[:, 0] / chars[:, 1]))


def _by_length(book: Credits) -> dict[str, tuple[Floats, int]]:
    number = np.searchsorted(np.array(EDGES), _ratio(book), side="right")
    return _parts(book, {name: number == index for index, name in enumerate(LENGTHS)})


def _by_source(book: Credits) -> dict[str, tuple[Floats, int]]:
    sources = np.array([source or "" for source in book.layout.sources])
    return _parts(book, {str(name): sources == name for name in np.unique(sources) if name})


def _parts(book: Credits, inside: Mapping[str, Any]) -> dict[str, tuple[Floats, int]]:
    """[tables] accuracy in percent of each part that is not empty, and its number of pairs."""
    return {name: (100.0 * book.values[:, taken].mean(axis=1), int(taken.sum())) for name, taken in inside.items() if taken.any()}


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if np.isfinite(values).all() else None


def to_json(found: Sequence[Sanity]) -> list[dict[str, Any]]:
    """The stable JSON of all benchmarks of all cells."""

    def parts(given: Mapping[str, tuple[float, int]]) -> dict[str, dict[str, float]]:
        return {name: {"accuracy": accuracy, "n": n} for name, (accuracy, n) in given.items()}

    return [
        {
            "cell": one.cell, "benchmark": one.benchmark, "n": one.n, "length_bias": one.length_bias, "ece": one.ece,
            "by_length": parts(one.by_length), "by_source": parts(one.by_source),
            "disagreement": one.disagreement, "any_right": one.any_right,
        }
        for one in found
    ]  # fmt: skip
