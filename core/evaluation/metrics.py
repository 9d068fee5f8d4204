"""Metrics of preference benchmarks, as pure functions of ScoreTables.

A benchmark names its policies instead of leaving them to an operator's sign. ``ties`` says what two equal scores are worth and
``unparsed`` what a missing score is worth; the strict comparison of the published scripts, ``chosen > rejected``, is
``ties="wrong", unparsed="wrong"``. Groups that are empty have no accuracy (``None``), and so has a macro average over one.

What a random scorer (continuous, so without ties) is expected to get:

====================  =============================================================
metric                expectation, in percent
====================  =============================================================
pairwise accuracy     50, in every group, and so in every macro average
Acc+                  the mean over ids of ``100 * 2 ** -pairs`` (11.24 on the 46 ids
                      of MM-RLHF-RewardBench)
====================  =============================================================

A constant scorer ties everywhere: 0, 50, 100 or nothing at all, by ``ties``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from core.evaluation.score_table import ScoreTable

TiePolicy = Literal["wrong", "half", "right", "drop"]
UnparsedPolicy = Literal["wrong", "half", "drop"]

CREDIT: Mapping[str, float | None] = {"wrong": 0.0, "half": 0.5, "right": 1.0, "drop": None}
"""What a pair is worth under a policy; ``None`` leaves it out of numerator and denominator."""


@dataclass(frozen=True)
class ExampleFields:
    """What a grouping may look at: the fields of an example that a ScoreTable carries."""

    example: str
    id: str
    source: str | None
    category: str | None
    raw_extra: str

    @cached_property
    def extra(self) -> Mapping[str, Any]:
        """Further fields of the example."""
        value: Mapping[str, Any] = json.loads(self.raw_extra)
        return value


@dataclass(frozen=True)
class Grouping:
    """A named partition of a benchmark.

    Attributes:
        name: how reports call it.
        groups: all groups, so that an empty one shows.
        of: the group of an example; ``None``, or a name outside of ``groups``, belongs to none of them.
    """

    name: str
    groups: tuple[str, ...]
    of: Callable[[ExampleFields], str | None]


@dataclass(frozen=True)
class Pair:
    """Two responses of one example of which one is better; a score is ``None`` where it could not be parsed.

    ``which`` holds their positions in the example, the better one's first.
    """

    example: ExampleFields
    better: float | None
    worse: float | None
    which: tuple[int, int] = (0, 1)


def pairs(table: ScoreTable) -> list[Pair]:
    """Every pair of responses with different known ranks, example by example, in the order of the table.

    Raises:
        ValueError: an example was scored in several orders or samples; which of them count is a decision, not an accident.
    """
    names = ("example", "id", "source", "category", "extra", "response", "label", "score")
    responses: dict[str, list[tuple[int, int | None, float | None]]] = {}
    known: dict[str, ExampleFields] = {}
    seen: set[tuple[str, int]] = set()
    for example, id, source, category, extra, response, label, score in zip(
        *(table.data.column(name).to_pylist() for name in names), strict=True
    ):
        if (example, response) in seen:
            raise ValueError(f"example {id} was scored several times: reduce orders and samples to one score first")
        seen.add((example, response))
        if example not in known:
            known[example] = ExampleFields(example, id, source, category, extra)
        responses.setdefault(example, []).append((response, label, score))
    return [
        Pair(known[example], better, worse, (first, second))
        for example, scored in responses.items()
        for first, rank, better in scored
        for second, other, worse in scored
        if rank is not None and other is not None and rank < other
    ]


def credit(pair: Pair, ties: TiePolicy, unparsed: UnparsedPolicy) -> float | None:
    """What a pair is worth: 1 right, 0 wrong, ``None`` left out; equal and missing scores as their policies say."""
    if pair.better is None or pair.worse is None:
        return CREDIT[unparsed]
    if pair.better == pair.worse:
        return CREDIT[ties]
    return float(pair.better > pair.worse)


def accuracy(scored: Iterable[Pair], *, ties: TiePolicy = "wrong", unparsed: UnparsedPolicy = "wrong") -> float | None:
    """Pairwise accuracy in percent: the mean credit of the pairs that count; ``None`` where none does. Random scorer: 50."""
    credits = [value for pair in scored if (value := credit(pair, ties, unparsed)) is not None]
    return 100.0 * sum(credits) / len(credits) if credits else None


def grouped_accuracy(
    scored: Sequence[Pair], grouping: Grouping, *, ties: TiePolicy = "wrong", unparsed: UnparsedPolicy = "wrong"
) -> dict[str, float | None]:
    """Pairwise accuracy in percent for each group, ``None`` for an empty one. Random scorer: 50 in each."""
    return {group: accuracy(found, ties=ties, unparsed=unparsed) for group, found in members(scored, grouping).items()}


def macro(groups: Mapping[str, float | None]) -> float | None:
    """Unweighted mean over the groups; ``None`` where there is no group or one of them is empty."""
    values = list(groups.values())
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def members(scored: Sequence[Pair], grouping: Grouping) -> dict[str, list[Pair]]:
    """The pairs of each group, those of an empty one included."""
    found: dict[str, list[Pair]] = {group: [] for group in grouping.groups}
    for pair in scored:
        group = grouping.of(pair.example)
        if group in found:
            found[group].append(pair)
    return found


def accuracy_plus(scored: Iterable[Pair], *, ties: TiePolicy = "wrong", unparsed: UnparsedPolicy = "wrong") -> float | None:
    """Acc+ in percent: the share of ids of which every pair is right (MM-RLHF, arXiv 2502.10391).

    The credit of an id is the smallest credit of its pairs; an id whose pairs are all left out does not count.
    Random scorer: the mean over ids of ``100 * 2 ** -pairs``.
    """
    worst: dict[str, float] = {}
    for pair in scored:
        value = credit(pair, ties, unparsed)
        if value is not None:
            worst[pair.example.id] = min(value, worst.get(pair.example.id, 1.0))
    return 100.0 * sum(worst.values()) / len(worst) if worst else None


@dataclass(frozen=True)
class Units:
    """What a metric counts: it is the mean over groups of the mean over units, and a unit is worth its worst pair.

    It says so for metrics under which ties and unparsed scores are wrong, and depends on no score.

    Attributes:
        unit: [pairs] the unit of each pair, from 0; -1 where the metric does not count the pair.
        group: [units] the group of each unit, from 0; no group is empty.
    """

    unit: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]


def pooled_units(scored: Sequence[Pair]) -> Units:
    """Units of :func:`accuracy`: every pair, in one group."""
    return Units(np.arange(len(scored)), np.zeros(len(scored), dtype=np.int64))


def id_units(scored: Sequence[Pair]) -> Units:
    """Units of :func:`accuracy_plus`: every id, in one group."""
    numbers: dict[str, int] = {}
    unit = [numbers.setdefault(pair.example.id, len(numbers)) for pair in scored]
    return Units(np.array(unit, dtype=np.int64), np.zeros(len(numbers), dtype=np.int64))


def grouped_units(scored: Sequence[Pair], grouping: Grouping) -> dict[str, Units]:
    """Units of :func:`grouped_accuracy` by group, without the empty ones."""
    groups = [grouping.of(pair.example) for pair in scored]
    found = {}
    for name in grouping.groups:
        inside = np.array([group == name for group in groups], dtype=bool)
        if inside.any():
            found[name] = Units(np.where(inside, np.cumsum(inside) - 1, -1), np.zeros(int(inside.sum()), dtype=np.int64))
    return found


def macro_units(scored: Sequence[Pair], grouping: Grouping) -> Units | None:
    """Units of :func:`macro` over a grouping; ``None`` where a group is empty."""
    return mean_units([grouping.of(pair.example) for pair in scored], grouping.groups)


def mean_units(labels: Sequence[str | None], groups: Sequence[str]) -> Units | None:
    """Units of a mean over groups of the mean over pairs; ``None`` where a group is empty.

    Args:
        labels: [pairs] the group of each; one that is not in ``groups`` does not count.
        groups: all of them.
    """
    numbers = {name: number for number, name in enumerate(groups)}
    group = np.array([numbers.get(label or "", -1) for label in labels], dtype=np.int64)
    inside = group >= 0
    if len(np.unique(group[inside])) < len(numbers):
        return None
    return Units(np.where(inside, np.cumsum(inside) - 1, -1), group[inside])
