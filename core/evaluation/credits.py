"""From ScoreTables to credits: what each example contributes to a metric, so that its uncertainty can be computed.

A metric of a preference benchmark is, in percent, the mean over *groups* of the mean over *units* of a credit. A unit is what
the metric counts: a pair for an accuracy, an id for Acc+, and its credit is the smallest of its pairs'. An accuracy has one group, a macro
average several. A benchmark says so once for its examples (:class:`Units`); the scores then enter by arithmetic on arrays, so
that thousands of tables over the same examples cost milliseconds each.

Units that share an id or an image are not independent. They form a *cluster* (also in a chain: one shares its id with a
second, which shares its image with a third), and whatever resamples examples resamples clusters.

Credits are those of the strict comparison: a tie and a score that could not be parsed are worth nothing, and a pair that was judged
in several orders is worth the mean over them. A metric with another policy has no units, and so no statistics by example.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from core.evaluation.benchmarks import get
from core.evaluation.metrics import Condensed, ExampleFields, Pair, Units, condense
from core.evaluation.score_table import ScoreMetadata, ScoreTable, comparable

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LAYOUT = ("example", "id", "response", "label", "comparison", "chars", "source", "category", "media_sha", "extra")
"""Columns of a ScoreTable that say which pairs there are, and to what they belong."""


@dataclass(frozen=True)
class PairLayout:
    """What tables over the same examples share.

    Attributes:
        keys: [pairs] the example and the number of the pair within it.
        ids: [pairs] the data set's own id of the example.
        better: [pairs] the row of the better response in the condensed table.
        worse: [pairs] the row of the worse one.
        cluster: [pairs] the cluster that the pair belongs to, from 0.
        units: the units of each metric that has any.
        chars: [pairs, 2] characters of the better and the worse response.
        sources: [pairs] the data set that the example came from, where known.
    """

    keys: tuple[tuple[str, int], ...]
    ids: tuple[str, ...]
    better: Integers
    worse: Integers
    cluster: Integers
    units: Mapping[str, Units]
    chars: Integers
    sources: tuple[str | None, ...]


def pair_layout(table: ScoreTable, shown: Condensed | None = None) -> PairLayout:
    """The pairs of a table with their clusters and units, ordered by example, so that the order of rows does not matter.

    ``shown`` is the condensed table, where the caller has it.
    """
    shown = shown or condense(table)
    rows = {name: shown.data.column(name).to_pylist() for name in LAYOUT}

    def place(pair: tuple[int, int]) -> tuple[Any, ...]:
        sides = ((rows["label"][row], rows["response"][row]) for row in pair)
        return (rows["example"][pair[0]], *sides)

    keys: list[tuple[str, int]] = []
    found = sorted(shown.pairs, key=place)
    for better, _ in found:
        example = rows["example"][better]
        keys.append((example, keys[-1][1] + 1 if keys and keys[-1][0] == example else 0))
    first = [better for better, _ in found]
    scored = _pairs(rows, first, [worse for _, worse in found])
    return PairLayout(
        tuple(keys),
        tuple(rows["id"][row] for row in first),
        np.array(first, dtype=np.int64),
        np.array([worse for _, worse in found], dtype=np.int64),
        clusters([rows["id"][row] for row in first], [rows["media_sha"][row] for row in first]),
        get(table.metadata.benchmark).units(scored) if scored else {},
        np.array([[rows["chars"][row] for row in pair] for pair in found], dtype=np.int64).reshape(-1, 2),
        tuple(rows["source"][row] for row in first),
    )


def clusters(*labels: Sequence[str | None]) -> Integers:
    """Numbers the connected components of items that share a label of any kind; ``None`` is shared with nobody.

    Args:
        labels: of each kind (ids, images) one label for each item.

    Returns:
        [items] the component of each item, from 0, in the order of their first items.
    """
    items = len(labels[0])
    numbers: dict[tuple[int, str], int] = {}
    edges = [
        (item, items + numbers.setdefault((kind, label), len(numbers)))
        for kind, column in enumerate(labels)
        for item, label in enumerate(column)
        if label is not None
    ]
    size = items + len(numbers)
    left, right = ([edge[side] for edge in edges] for side in (0, 1))
    graph = coo_array((np.ones(len(edges)), (left, right)), shape=(size, size))
    found = connected_components(graph, directed=False)[1][:items]
    return np.unique(found, return_inverse=True)[1].astype(np.int64)


def credits_of(shown: Condensed, layout: PairLayout) -> Floats:
    """[pairs] the share of the orders in which the better response scores strictly higher: a tie or an unparsed text does not."""
    right = (shown.scores[:, layout.better] > shown.scores[:, layout.worse]).astype(np.float64)
    return np.asarray(right.mean(axis=0))


def margins_of(shown: Condensed, layout: PairLayout) -> Floats:
    """[pairs] score of the better response less that of the worse one, the mean over the orders; NaN where one was not parsed."""
    return np.asarray((shown.scores[:, layout.better] - shown.scores[:, layout.worse]).mean(axis=0))


@dataclass(frozen=True)
class Credits:
    """The credits of several tables over the same pairs.

    Attributes:
        about: what holds for all of them but the scorer and the key.
        owners: [tables] who scored, such as a trial's id.
        layout: what the tables share.
        values: [tables, pairs] from 0 to 1.
        margins: [tables, pairs] score of the better response less that of the worse one; NaN where one could not be parsed.
    """

    about: ScoreMetadata
    owners: tuple[str, ...]
    layout: PairLayout
    values: npt.NDArray[np.float32]
    margins: npt.NDArray[np.float32]

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {owner: row for row, owner in enumerate(self.owners)}

    def __contains__(self, owner: object) -> bool:
        """Whether there is a table of this owner."""
        return owner in self._rows

    def unit_credits(self, metric: str, owners: Sequence[str] | None = None) -> tuple[Floats, Integers, Integers]:
        """The units of a metric.

        Args:
            metric: its short name (``overall``).
            owners: whose tables, in this order; ``None`` takes all.

        Returns:
            [tables, units] credits in percent, [units] groups and [units] clusters.

        Raises:
            KeyError: the metric has no units, or an owner no table.
        """
        units = self.layout.units[metric]
        rows = slice(None) if owners is None else [self._rows[owner] for owner in owners]
        counted = np.flatnonzero(units.unit >= 0)
        order = counted[np.argsort(units.unit[counted], kind="stable")]
        starts = np.flatnonzero(np.diff(units.unit[order], prepend=-1))
        smallest = np.minimum.reduceat(self.values[rows][:, order].astype(np.float64), starts, axis=1)
        return smallest * 100.0, units.group, self.layout.cluster[order[starts]]


def collect(tables: Iterable[tuple[str, ScoreTable]]) -> list[Credits]:
    """The credits of tables, those over the same examples together.

    Tables are kept apart where they may not be compared (another benchmark, revision, content, a rehearsal), or hold other
    pairs or other groups. The layout is computed anew only where a table's own columns differ from those of the one before.

    Args:
        tables: pairs of an owner and a table; read one by one, so that only the credits are kept.
    """
    found: list[tuple[ScoreTable, PairLayout, list[str], list[npt.NDArray[np.float32]], list[npt.NDArray[np.float32]]]] = []
    last: tuple[pa.Table, str, PairLayout] | None = None
    for owner, table in tables:
        shown = condense(table)
        columns = shown.data.select(LAYOUT)
        if last is None or last[1] != table.metadata.benchmark or not columns.equals(last[0]):
            last = (columns, table.metadata.benchmark, pair_layout(table, shown))
        layout = last[2]
        values = credits_of(shown, layout).astype(np.float32)
        margins = margins_of(shown, layout).astype(np.float32)
        for other, shared, owners, rows, away in found:
            if comparable(table.metadata, other.metadata) is None and same_layout(layout, shared):
                owners.append(owner)
                rows.append(values)
                away.append(margins)
                break
        else:
            found.append((table, layout, [owner], [values], [margins]))
    return [Credits(table.metadata, tuple(owners), layout, np.stack(rows), np.stack(away)) for table, layout, owners, rows, away in found]


def same_layout(a: PairLayout, b: PairLayout) -> bool:
    """Whether two layouts have the same pairs, and the same units of every metric."""
    if a is b:
        return True
    return a.keys == b.keys and not other_groupings(a, b)


def other_groupings(a: PairLayout, b: PairLayout) -> list[str]:
    """Metrics that two layouts over the same pairs put together in different ways."""
    return sorted(
        name
        for name in {*a.units, *b.units}
        if name not in a.units
        or name not in b.units
        or not np.array_equal(a.units[name].unit, b.units[name].unit)
        or not np.array_equal(a.units[name].group, b.units[name].group)
    )


def _pairs(rows: Mapping[str, list[Any]], better: Sequence[int], worse: Sequence[int]) -> list[Pair]:
    """The pairs whose responses stand in these rows, without scores."""
    names = ("example", "id", "source", "category", "extra")
    which = ((rows["response"][a], rows["response"][b]) for a, b in zip(better, worse, strict=True))
    return [Pair(ExampleFields(*(rows[name][row] for name in names)), None, None, pair) for row, pair in zip(better, which, strict=True)]
