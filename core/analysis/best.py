"""What stands behind a number of the table: intervals over examples, and whether the best cell is best beyond chance (pure, no I/O).

The best cell of a column was chosen because it is the best, so one test against the runner-up would find too much. It is tested against
*every* other cell, on the same examples and with the same seeds, and the largest p value counts: only a cell that beats each of the others
is better than all (an intersection-union test, Berger, Technometrics 24, 1982). Holm then corrects over the columns of the table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.analysis.books import Books
from core.analysis.intervals import Interval, Progress, Sample, TooFew, bootstrap, wilson
from core.analysis.outcomes import TrialOutcome
from core.analysis.paired import Evidence, decisive_test, is_binary
from core.analysis.report import Best, Row, Value
from core.evaluation.credits import Credits

Cells = Mapping[str, Sequence[TrialOutcome]]
"""The replicates of each row, by its name."""


def over_examples(
    rows: Sequence[Row], cells: Cells, credits: Sequence[Credits], progress: Progress | None = None
) -> tuple[list[Row], dict[str, str]]:
    """Give each value of a single replicate its interval over examples; returns the rows, and by metric what was too few."""
    books = Books(credits)
    single: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for metric, value in row.metrics.items():
            if row.kind in ("cell", "ensemble") and len(value.values) == 1 and value.mean is not None:
                single.setdefault(metric, []).append(index)
    found: dict[tuple[int, str], Interval] = {}
    notes: dict[str, str] = {}
    total = sum(map(len, single.values()))
    before = 0
    for metric, indices in single.items():
        for part in _same_data(rows, indices, metric):
            sample = books.sample(metric, [_owner(cells[rows[index].name], metric) for index in part])
            if sample is None:
                continue
            try:
                intervals = _intervals(sample, None if progress is None else _shifted(progress, before, total))
            except TooFew as few:
                notes[metric] = f"No interval on {metric}: {few}."
                continue
            found |= {(index, metric): interval for index, interval in zip(part, intervals, strict=True)}
        before += len(indices)

    def with_interval(index: int, metric: str, value: Value) -> Value:
        interval = found.get((index, metric))
        return value if interval is None else replace(value, ci=interval, ci_over="examples")

    out = [
        replace(row, metrics={metric: with_interval(index, metric, value) for metric, value in row.metrics.items()})
        for index, row in enumerate(rows)
    ]
    return out, notes


def rate_best(rows: Sequence[Row], cells: Cells, credits: Sequence[Credits]) -> tuple[list[Row], dict[str, str]]:
    """Test the best cell of each column; returns the rows, and by metric why there was no test."""
    books = Books(credits)
    leaders: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for metric, value in row.metrics.items():
            if value.best:
                leaders.setdefault(metric, []).append(index)
    tested: dict[tuple[int, str], Best] = {}
    untested: dict[str, str] = {}
    for metric, indices in leaders.items():
        if len(indices) > 1:
            continue  # equal means: nobody is better
        rivals = [row.name for index, row in enumerate(rows) if index != indices[0] and _has_mean(row, metric)]
        try:
            tested[indices[0], metric] = beats_all(rows[indices[0]].name, rivals, metric, cells, books)
        except TooFew as few:
            untested[metric] = f"Not tested on {metric}: {few}."
    marked = [
        replace(row, metrics={metric: replace(value, tested=tested.get((index, metric))) for metric, value in row.metrics.items()})
        for index, row in enumerate(rows)
    ]
    return marked, untested


def beats_all(leader: str, rivals: Iterable[str], metric: str, cells: Cells, books: Books) -> Best:
    """The test against the rival that is hardest to tell from the leader.

    Raises:
        TooFew: a rival has no seed in common, or too little to know the error from.
    """
    mine = _by_seed(cells[leader], metric)
    worst: Best | None = None
    for rival in rivals:
        found = _evidence(mine, _by_seed(cells[rival], metric), metric, books)
        if worst is None or found.p > worst.p:
            worst = Best(found.test, found.p, rival)
    assert worst is not None
    return worst


def _evidence(mine: Mapping[int, tuple[str, float]], other: Mapping[int, tuple[str, float]], metric: str, books: Books) -> Evidence:
    seeds = sorted(mine.keys() & other.keys())
    if not seeds:
        raise TooFew("cells without a seed in common")
    both = books.sample(metric, [side[seed][0] for side in (mine, other) for seed in seeds])
    n = len(seeds)
    difference = None if both is None else Sample(both.values[:n] - both.values[n:], both.group, both.cluster)
    return decisive_test(difference, [mine[seed][1] - other[seed][1] for seed in seeds])


def _by_seed(trials: Sequence[TrialOutcome], metric: str) -> dict[int, tuple[str, float]]:
    """{seed: (trial, value)} of the replicates that have the metric."""
    benchmark, _, short = metric.partition("/")
    found = {}
    for trial in trials:
        value = next(
            (s.metrics[short] for s in trial.scorings if s.benchmark == benchmark and short in s.metrics), trial.metrics.get(metric)
        )
        if value is not None and np.isfinite(value):
            found[trial.seed] = (trial.id, float(value))
    return found


def _owner(trials: Sequence[TrialOutcome], metric: str) -> str:
    return next(iter(_by_seed(trials, metric).values()))[0]


def _has_mean(row: Row, metric: str) -> bool:
    return row.kind == "cell" and metric in row.metrics and row.metrics[metric].mean is not None


def _same_data(rows: Sequence[Row], indices: Sequence[int], metric: str) -> list[list[int]]:
    """The rows apart by the data that they were scored on."""
    parts: dict[object, list[int]] = {}
    for index in indices:
        value = rows[index].metrics[metric]
        parts.setdefault((value.revision, value.partial), []).append(index)
    return list(parts.values())


def _intervals(sample: Sample, progress: Progress | None) -> list[Interval]:
    if is_binary(sample):
        n = sample.values.shape[1]
        return [wilson(round(float(row.sum()) / 100), n) for row in sample.values]
    return [(float(low), float(high)) for low, high in bootstrap(sample, progress=progress)]


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
