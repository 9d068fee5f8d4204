"""Finds what each example contributes to a metric, among the credits of many score tables (pure, no I/O)."""

from __future__ import annotations

from collections.abc import Sequence

from core.analysis.intervals import Sample
from core.evaluation.credits import Credits


class Books:
    """Finds the credits of a metric; those of one metric are held at a time."""

    def __init__(self, credits: Sequence[Credits]) -> None:
        self._credits = credits
        self._held: tuple[tuple[int, str], Sample, dict[str, int]] | None = None

    def sample(self, metric: str, owners: Sequence[str]) -> Sample | None:
        """The credits of these trials, in this order; ``None`` where one has no table, or the tables differ in their examples."""
        benchmark, _, short = metric.partition("/")
        for number, book in enumerate(self._credits):
            if book.about.benchmark == benchmark and short in book.layout.units and all(owner in book for owner in owners):
                if self._held is None or self._held[0] != (number, metric):
                    rows = {owner: row for row, owner in enumerate(book.owners)}
                    self._held = ((number, metric), Sample(*book.unit_credits(short)), rows)
                sample, rows = self._held[1:]
                return sample.of(sample.values[[rows[owner] for owner in owners]])
        return None
