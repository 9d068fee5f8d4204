"""What the pages ask of the floor above: answers that need the whole house (scheduler, definitions, comparisons by name)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from core.analysis.compare import Comparison, Side
from core.analysis.report import Report
from core.store import Index


@dataclass(frozen=True)
class Refreshed:
    """What a look at a sweep has found: whether it may still move by itself, and what of its files could not be read."""

    moves: bool
    problems: Sequence[str] = ()


class Answers(Protocol):
    """Each may take seconds; none is called on a page's own time without a limit. All may be called from several threads."""

    def refresh(self, index: Index, sweep: str) -> Refreshed:
        """Bring the index up to the files and to the scheduler's word."""

    def report(self, sweep: str, *, examples: bool) -> Report:
        """The table of a sweep's newest revision; ``examples`` adds the statistics that need the score tables.

        Raises:
            SweepError: there is no such sweep.
        """

    def sides(self, name: str) -> Sequence[Side]:
        """The cells that a name stands for, as ``sweep compare`` takes it: ``SWEEP``, ``SWEEP:PATH=VALUE,...`` or a trial's first digits.

        Raises:
            SweepError: it stands for nothing.
        """

    def compare(self, a: str, b: str, metrics: Sequence[str]) -> Sequence[Comparison]:
        """Two names compared on metrics (empty: the headlines), as ``sweep compare`` does it.

        Raises:
            SweepError: a name or a metric stands for nothing, or nothing can be compared.
        """
