"""Metrics of preference benchmarks, as pure functions of ScoreTables.

A benchmark names its policies instead of leaving them to an operator's sign. ``ties`` says what two equal scores are worth and
``unparsed`` what a missing score is worth; the strict comparison of the published scripts, ``chosen > rejected``, is
``ties="wrong", unparsed="wrong"``. Groups that are empty have no accuracy (``None``), and so has a macro average over one.

A judge that writes is asked in several *orders* of the responses, and may be asked several times (*samples*) in each:

- The samples of one order are votes. A response's score in that order is the mean over the samples that could be parsed; so equal
  votes are a tie, and an order of which nothing could be parsed is unparsed.
- Each order is a judgement of its own, and the credit of a pair is the mean of its credits over the orders. So a judge that always
  names the same slot gets half of every pair, 50 in all, as a random one does.

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
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

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

    Attributes:
        example: the example.
        better: score of the better response.
        worse: score of the other one.
        which: their positions in the example, the better one's first.
        again: the scores in further orders, better and worse.
    """

    example: ExampleFields
    better: float | None
    worse: float | None
    which: tuple[int, int] = (0, 1)
    again: tuple[tuple[float | None, float | None], ...] = ()


def pairs(table: ScoreTable) -> list[Pair]:
    """Every pair of responses with different known ranks, example by example, in the order of the table.

    Responses that were shown together are paired with each other alone; see the module for orders and samples.
    """
    shown = condense(table)
    names = ("example", "id", "source", "category", "extra")
    fields = list(zip(*(shown.data.column(name).to_pylist() for name in names), strict=True))
    place = shown.data.column("response").to_pylist()
    scores = [[None if math.isnan(score) else float(score) for score in row] for row in shown.scores]
    known: dict[str, ExampleFields] = {}
    return [
        Pair(
            known.setdefault(fields[better][0], ExampleFields(*fields[better])),
            scores[0][better],
            scores[0][worse],
            (place[better], place[worse]),
            tuple((row[better], row[worse]) for row in scores[1:]),
        )
        for better, worse in shown.pairs
    ]


@dataclass(frozen=True)
class Condensed:
    """A ScoreTable with the samples of each order put together.

    Attributes:
        data: one row per example, comparison and response.
        scores: [orders, rows] NaN where nothing could be parsed.
    """

    data: pa.Table
    scores: npt.NDArray[np.float64]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Rows of the better and of the worse response of every pair, in the order of the table."""
        columns = [self.data.column(name).to_pylist() for name in ("example", "comparison", "label")]
        groups: dict[tuple[str, str | None], list[int]] = {}
        for row, (example, comparison) in enumerate(zip(*columns[:2], strict=True)):
            groups.setdefault((example, comparison), []).append(row)
        labels = columns[2]
        return [
            (a, b)
            for members in groups.values()
            for a in members
            for b in members
            if labels[a] is not None and labels[b] is not None and labels[a] < labels[b]
        ]


def condense(table: ScoreTable) -> Condensed:
    """Put the samples of each order together.

    Raises:
        ValueError: some examples were scored in orders that others were not.
    """
    data = table.data
    if not data.num_rows or (pc.max(data.column("order")).as_py(), pc.max(data.column("sample")).as_py()) == (0, 0):
        return Condensed(data, np.asarray(data.column("score").to_numpy(), dtype=np.float64)[None])
    columns = [data.column(name).to_pylist() for name in ("example", "comparison", "response", "order", "score")]
    first: dict[tuple[str, str | None, int], int] = {}
    found: dict[tuple[int, int], list[float]] = {}
    for row, (example, comparison, response, order, score) in enumerate(zip(*columns, strict=True)):
        place = first.setdefault((example, comparison, response), row)
        found.setdefault((order, place), []).extend([] if score is None else [score])
    rows = sorted(first.values())
    number = {row: index for index, row in enumerate(rows)}
    orders = sorted({order for order, _ in found})
    if len(found) != len(orders) * len(rows):
        raise ValueError("some examples were scored in orders that others were not")
    scores = np.full((len(orders), len(rows)), np.nan)
    for (order, row), values in found.items():
        if values:
            scores[orders.index(order), number[row]] = sum(values) / len(values)
    return Condensed(data.take(rows), scores)


def credit(pair: Pair, ties: TiePolicy, unparsed: UnparsedPolicy) -> float | None:
    """What a pair is worth: 1 right, 0 wrong, ``None`` left out; equal and missing scores as their policies say, orders averaged."""
    values = [_credit(better, worse, ties, unparsed) for better, worse in ((pair.better, pair.worse), *pair.again)]
    counted = [value for value in values if value is not None]
    return sum(counted) / len(counted) if counted else None


def _credit(better: float | None, worse: float | None, ties: TiePolicy, unparsed: UnparsedPolicy) -> float | None:
    if better is None or worse is None:
        return CREDIT[unparsed]
    if better == worse:
        return CREDIT[ties]
    return float(better > worse)


@dataclass(frozen=True)
class Judging:
    """How a judge that writes did its work, beside what it decided.

    Attributes:
        orders: in how many orders the responses were shown.
        samples: texts per order.
        texts: texts in all.
        unparsed: texts of which no verdict could be read.
        consistent: share of the pairs with a strict verdict in every order that is the same in all, in percent; ``None`` with one order.
    """

    orders: int
    samples: int
    texts: int
    unparsed: int
    consistent: float | None


def judging(table: ScoreTable) -> Judging | None:
    """How a judge did its work; ``None`` for a scorer that writes nothing."""
    columns = [table.data.column(name).to_pylist() for name in ("example", "comparison", "order", "sample", "response", "score", "text")]
    texts: dict[tuple[object, ...], bool] = {}
    for example, comparison, order, sample, response, score, text in zip(*columns, strict=True):
        if text is not None:
            texts[(example, comparison, order, sample, None if comparison is not None else response)] = score is None
    if not texts:
        return None
    orders, samples = (len(set(column)) for column in (columns[2], columns[3]))
    shown = [((pair.better, pair.worse), *pair.again) for pair in pairs(table)]
    known = [[(a, b) for a, b in scores if a is not None and b is not None and a != b] for scores in shown]
    strict = [{a > b for a, b in scores} for scores, all_scores in zip(known, shown, strict=True) if len(scores) == len(all_scores)]
    same = 100.0 * sum(len(verdicts) == 1 for verdicts in strict) / len(strict) if strict and orders > 1 else None
    return Judging(orders, samples, len(texts), sum(texts.values()), same)


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
