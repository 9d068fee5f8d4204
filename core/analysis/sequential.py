"""Seeds that are added until a question is answered, and what an interval is worth after such a rule (pure, no I/O).

Whoever looks at the data, adds a seed and looks again finds too much: an ordinary 95 % interval that is read when a rule has stopped
covers the truth in about 92 % of all studies (``tests/analysis/test_sequential.py``). So each look is taken at a higher nominal confidence,
which is chosen such that the statement at the end holds at 95 %:

- ``halfwidth``: the rule stops a cell where its Student interval is narrow enough. That depends on the spread of the seeds alone, which for
  normal replicates says nothing about their mean (Anscombe, Proc. Cambridge Phil. Soc. 48, 1952; Stein, Annals of Mathematical Statistics
  16, 1945). The nominal level is the one at which the interval at the stop misses in 5 % of all cases for the *worst* true spread.
- ``decided``: the rule stops where a test is decided, which depends on the means. The same nominal level is taken at every look, such that
  *any* of them misses in 5 % of all cases (Pocock, Biometrika 64, 1977): the interval covers at all looks at once, whatever made one stop
  (repeated confidence intervals: Jennison and Turnbull, JRSS B 51, 1989).

Both levels are those of t statistics with as few degrees of freedom as there are, not of the normal limit: they come from simulated paths
with a fixed seed, so that they are the same everywhere. The looks must be fixed beforehand: whoever raises ``max`` later gets the level of
the longer rule, and what had ended may go on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr, stdtr, stdtrit

from core.analysis.intervals import CONFIDENCE, Floats

PATHS = 100_000
"""Simulated studies behind a level of ``decided``; its relative error is about 1.5 %."""

SPREAD_PATHS = 10_000
"""Simulated sequences of spreads behind a level of ``halfwidth``, where the mean's part is exact; its relative error is about 2 %."""

SPREADS = np.geomspace(0.1, 10.0, 20)
"""True spreads of the seeds, in units of the wanted half width, among which the worst is looked for."""

GRID = np.geomspace(1e-6, 1.0, 25)
"""P values at which the correction is computed; between them it is interpolated."""


@dataclass(frozen=True)
class Rule:
    """When a cell gets a further seed.

    Attributes:
        start: seeds that every cell has.
        max: seeds that a cell has at most.
        metric: full name of what the question is about.
        halfwidth: half of the interval that is narrow enough, in the unit of the metric; ``None``: until the best cell is decided.
        step: seeds that are added at a time.
    """

    start: int
    max: int
    metric: str
    halfwidth: float | None = None
    step: int = 1

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which the rule looks."""
        return (*range(self.start, self.max, self.step), self.max)

    @property
    def confidence(self) -> float:
        """Nominal confidence of an interval at one look, so that it holds at 95 % where the rule has stopped."""
        return 1.0 - _calibrated(self.looks, self.halfwidth is not None)[0]

    def overall(self, p: float) -> float:
        """The p value of a test at one look, as it counts after the rule: 5 % where the look's own is at the nominal level."""
        if p <= 0:
            return 0.0
        _, at, counts = _calibrated(self.looks, self.halfwidth is not None)
        if p < at[0]:
            return float(p * counts[0] / at[0])
        return float(np.exp(np.interp(np.log(p), np.log(at), np.log(counts))))

    def to_json(self) -> dict[str, Any]:
        """As a revision remembers it."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rule:
        """The inverse of :meth:`to_json`."""
        return cls(**value)

    @property
    def goal(self) -> str:
        """What is waited for, in words."""
        if self.halfwidth is not None:
            return f"the interval of {self.metric} is within ± {self.halfwidth:g}"
        return f"it is decided which cell is best on {self.metric}"


Word = Literal["open", "more", "reached", "max", "left"]
"""Seeds are open; it gets more; its question is answered; it has all it may have and is not answered; it is left alone."""


@dataclass(frozen=True)
class Standing:
    """Where a cell stands.

    Attributes:
        cell: its name.
        word: see :data:`Word`.
        why: one sentence, without a full stop.
        seeds: how many have a value.
        planned: how many it has, whatever became of them.
        halfwidth: half of its interval at the nominal confidence, where there is one.
    """

    cell: str
    word: Word
    why: str
    seeds: int
    planned: int
    halfwidth: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As `sweep status --json` and the report show it."""
        return asdict(self)


@dataclass(frozen=True)
class Added:
    """What a rule has done to a table: the rule, and where each cell stands under it."""

    rule: Rule
    standings: tuple[Standing, ...]

    def to_json(self) -> dict[str, Any]:
        """As the report and `sweep status --json` show it."""
        return {
            **self.rule.to_json(), "looks": list(self.rule.looks), "confidence": self.rule.confidence,
            "cells": [standing.to_json() for standing in self.standings],
        }  # fmt: skip

    def notes(self) -> list[str]:
        """What a reader of the table must know, in sentences."""
        rule = self.rule
        at_a_time = "" if rule.step == 1 else f", {rule.step} at a time"
        out = [
            f"Seeds were added to a cell{at_a_time} until {rule.goal}: {rule.start} to {rule.max} each. Intervals and tests "
            f"over seeds hold at 95 % for the whole of it: one look is taken at {100 * rule.confidence:.1f} %."
        ]
        for word, said in ENDS:
            found = [standing for standing in self.standings if standing.word == word]
            if found:
                listed = "; ".join(f"{standing.cell}: {standing.why}" for standing in found[:LISTED])
                more = f"; and {len(found) - LISTED} more" if len(found) > LISTED else ""
                out.append(f"{said}, {len(found)} of {len(self.standings)} cells" + (f" ({listed}{more})." if word in TOLD else "."))
        return out


ENDS: tuple[tuple[Word, str], ...] = (
    ("reached", "Answered"), ("max", "Not answered with all seeds that a cell may have"), ("left", "Left alone"),
    ("more", "About to get further seeds"), ("open", "Not ended yet"),
)  # fmt: skip
TOLD = ("max", "left")
"""Ends of which a table tells each cell's reason."""

LISTED = 5
"""Cells that a note lists."""


def stricter(one: Rule | None, other: Rule | None) -> Rule | None:
    """Of two rules that have added to the two sides of a comparison, the one whose looks cost more."""
    found = [rule for rule in (one, other) if rule is not None]
    return max(found, key=lambda rule: rule.confidence, default=None)


def overall(rule: Rule | None, p: float) -> float:
    """The p value as it counts: unchanged where no rule has added seeds."""
    return p if rule is None else rule.overall(p)


def one_sided(rule: Rule | None, p: float) -> float:
    """The same for a one-sided p value: half of what its two-sided test counts."""
    return p if rule is None or p > 0.5 else rule.overall(2 * p) / 2


def confidence(rule: Rule | None, wanted: float = CONFIDENCE) -> float:
    """The nominal confidence of an interval that holds at ``wanted``: higher where a rule has added seeds."""
    if rule is None:
        return wanted
    if wanted == CONFIDENCE:
        return rule.confidence
    _, at, counts = _calibrated(rule.looks, rule.halfwidth is not None)
    return 1.0 - float(np.exp(np.interp(np.log(1.0 - wanted), np.log(counts), np.log(at))))


@lru_cache(maxsize=32)
def _calibrated(looks: tuple[int, ...], by_spread: bool) -> tuple[float, Floats, Floats]:
    """The nominal level of a look, and p values of a look with what each counts after the rule."""
    level, counts = _by_spread(looks) if by_spread else _at_any_look(looks)
    counts = np.clip(np.maximum.accumulate(counts), GRID, np.minimum(1.0, len(looks) * GRID))
    below, above = level * (1 - 1e-9) > GRID, level * (1 + 1e-9) < GRID
    # a p value exactly at the level counts exactly 5 %
    at = np.concatenate([GRID[below], [level], GRID[above]])
    miss = 1.0 - CONFIDENCE
    return level, at, np.concatenate([np.minimum(counts[below], miss), [miss], np.maximum(counts[above], miss)])


def _at_any_look(looks: tuple[int, ...]) -> tuple[float, Floats]:
    """The smallest p value over the looks, of studies without an effect: its 5 % quantile, and its distribution."""
    draws = np.random.default_rng(0)
    total, squares, smallest = np.zeros(PATHS), np.zeros(PATHS), np.ones(PATHS)
    for n in range(1, looks[-1] + 1):
        x = draws.standard_normal(PATHS)
        total += x
        squares += x * x
        if n in looks:
            variance = (squares - total**2 / n) / (n - 1)
            smallest = np.minimum(smallest, 2 * stdtr(n - 1, -np.abs(total) / np.sqrt(n * variance)))
    smallest.sort()
    miss = 1 - CONFIDENCE
    # two standard errors of the simulation to the safe side
    level = float(smallest[int((miss - 2 * (miss * CONFIDENCE / PATHS) ** 0.5) * PATHS) - 1])
    return level, np.maximum(np.searchsorted(smallest, GRID, side="right"), 1) / PATHS


def _by_spread(looks: tuple[int, ...]) -> tuple[float, Floats]:
    """The level at which the interval at the stop misses in 5 % for the worst spread, and what other p values count at that stop."""
    draws = np.random.default_rng(0)
    total, squares = np.zeros(SPREAD_PATHS), np.zeros(SPREAD_PATHS)
    spreads = []
    for n in range(1, looks[-1] + 1):
        x = draws.standard_normal(SPREAD_PATHS)
        total += x
        squares += x * x
        if n in looks:
            spreads.append(np.sqrt((squares - total**2 / n) / (n - 1)))
    found = np.array(spreads)
    size = np.array(looks)[:, None]

    def stops(p: float) -> list[Any]:
        """For each true spread the look at which each study stops."""
        half = stdtrit(size - 1, 1 - p / 2) * found / np.sqrt(size)
        half[-1] = 0.0
        return [(half * spread <= 1.0).argmax(axis=0) for spread in SPREADS]

    def misses(p: float, stopped: list[Any]) -> float:
        """How often a look's own p value is at or under ``p`` where the rule stops, for the worst spread."""
        reach = stdtrit(size - 1, 1 - p / 2) * found
        return float(max((2 * ndtr(-reach[at, np.arange(SPREAD_PATHS)])).mean() for at in stopped))

    low, high = (1 - CONFIDENCE) / len(looks), 1 - CONFIDENCE
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if misses(middle, stops(middle)) <= 1 - CONFIDENCE else (low, middle)
    stopped = stops(low)
    return low, np.array([misses(float(p), stopped) for p in GRID])
