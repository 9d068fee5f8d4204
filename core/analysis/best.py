"""What stands behind a number of the table: intervals over examples, and whether the best cell is best beyond chance (pure, no I/O).

The best cell of a column was chosen because it is the best, so one test against the runner-up would find too much. It is tested against
*every* other cell, on the same examples and with the same seeds, and the largest p value counts: only a cell that beats each of the others
is better than all (an intersection-union test, Berger, Technometrics 24, 1982). Holm then corrects over the columns of the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from core.analysis.books import Books
from core.analysis.intervals import Interval, Progress, Sample, TooFew, bootstrap, wilson
from core.analysis.outcomes import TrialOutcome
from core.analysis.paired import Evidence, decisive_test, is_binary
from core.analysis.report import Best, Row, with_values
from core.analysis.sequential import Rule, overall
from core.evaluation.credits import Credits

Cells = Mapping[str, Sequence[TrialOutcome]]
"""The replicates of each row, by its name."""

BySeed = Mapping[int, tuple[str, float]]
"""{seed: (trial, value)} of the replicates that have a metric."""


def over_examples(
    rows: Sequence[Row], cells: Cells, credits: Sequence[Credits], progress: Progress | None = None
) -> tuple[list[Row], dict[str, str]]:
    """Give each value without an interval over seeds one over examples; returns the rows, and by metric what was too few.

    That is a single replicate, or replicates that all have the same value: nothing is known of the spread over seeds then.
    """
    if not credits:
        return list(rows), {}
    books = Books(credits)
    single: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        for metric, value in row.metrics.items():
            if row.kind in ("cell", "ensemble") and value.ci is None and value.mean is not None:
                single.setdefault(metric, []).append(index)
    found: dict[tuple[int, str], Interval] = {}
    notes: dict[str, str] = {}
    total = sum(map(len, single.values()))
    before = 0
    for metric, indices in single.items():
        for part in _same_data(rows, indices, metric):
            sample = _means(books, metric, [_owners(cells[rows[index].name], metric) for index in part])
            if sample is None:
                continue
            try:
                intervals = _intervals(sample, None if progress is None else _shifted(progress, before, total))
            except TooFew as few:
                notes[metric] = f"No interval on {metric}: {few}."
                continue
            found |= {(index, metric): interval for index, interval in zip(part, intervals, strict=True)}
        before += len(indices)

    changed = {place: replace(rows[place[0]].metrics[place[1]], ci=ci, ci_over="examples") for place, ci in found.items()}
    return with_values(rows, changed), notes


def rate_best(rows: Sequence[Row], cells: Cells, credits: Sequence[Credits], rule: Rule | None = None) -> tuple[list[Row], dict[str, str]]:
    """Test the best cell of each column; returns the rows, and by metric why there was no test. ``rule``: what has added seeds."""
    books = Books(credits)
    known: dict[str, Mapping[str, BySeed]] = {}
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
        rivals = (row.name for index, row in enumerate(rows) if index != indices[0] and _has_mean(row, metric))
        try:
            tested[indices[0], metric] = beats_all(rows[indices[0]].name, rivals, metric, cells, books, rule, known)
        except TooFew as few:
            untested[metric] = f"Not tested on {metric}: {few}."
    changed = {(index, metric): replace(rows[index].metrics[metric], tested=test) for (index, metric), test in tested.items()}
    return with_values(rows, changed), untested


def beats_all(
    leader: str,
    rivals: Iterable[str],
    metric: str,
    cells: Cells,
    books: Books,
    rule: Rule | None = None,
    known: dict[str, Mapping[str, BySeed]] | None = None,
) -> Best:
    """The test against the rival that is hardest to tell from the leader.

    ``known``: what :func:`all_by_seed` has found of each cell, for whoever asks about several metrics in a row.

    Raises:
        TooFew: a rival has no seed in common, or too little to know the error from.
    """
    known = {} if known is None else known

    def of(cell: str) -> BySeed:
        if cell not in known:
            known[cell] = all_by_seed(cells[cell])
        return known[cell].get(metric, {})

    mine = of(leader)
    worst: Best | None = None
    for rival in rivals:
        found = evidence(mine, of(rival), metric, books, rule)
        if worst is None or found.p > worst.p:
            worst = Best(found.test, found.p, rival)
    assert worst is not None
    return worst


def evidence(mine: BySeed, other: BySeed, metric: str, books: Books, rule: Rule | None = None) -> Evidence:
    """The test of two cells on their common seeds; its p value counts what a ``rule`` that has added seeds has seen.

    Raises:
        TooFew: no seed in common, or too little to test.
    """
    seeds = sorted(mine.keys() & other.keys())
    if not seeds:
        raise TooFew("cells without a seed in common")
    both = books.sample(metric, [side[seed][0] for side in (mine, other) for seed in seeds])
    n = len(seeds)
    difference = None if both is None else both.of(both.values[:n] - both.values[n:])
    found = decisive_test(difference, [mine[seed][1] - other[seed][1] for seed in seeds])
    return found if n == 1 or rule is None else replace(found, p=overall(rule, found.p))


def by_seed(trials: Sequence[TrialOutcome], metric: str) -> dict[int, tuple[str, float]]:
    """{seed: (trial, value)} of the replicates that have the metric."""
    benchmark, _, short = metric.partition("/")
    found = {}
    for trial in trials:
        value = trial.metrics.get(metric)
        for scoring in trial.scorings:
            if scoring.benchmark == benchmark and short in scoring.metrics:
                value = scoring.metrics[short]
                break
        if value is not None and math.isfinite(value):
            found[trial.seed] = (trial.id, float(value))
    return found


def all_by_seed(trials: Sequence[TrialOutcome]) -> Mapping[str, BySeed]:
    """:func:`by_seed` of every metric that they have, in one pass."""
    found: dict[str, dict[int, tuple[str, float]]] = {}
    for trial in trials:
        named = dict(trial.metrics)
        for scoring in reversed(trial.scorings):
            named |= {f"{scoring.benchmark}/{short}": value for short, value in scoring.metrics.items()}
        for metric, value in named.items():
            if value is not None and math.isfinite(value):
                found.setdefault(metric, {})[trial.seed] = (trial.id, float(value))
    return found


def _owners(trials: Sequence[TrialOutcome], metric: str) -> list[str]:
    return [trial for trial, _ in by_seed(trials, metric).values()]


def _means(books: Books, metric: str, owners: Sequence[Sequence[str]]) -> Sample | None:
    """[cells, units] the credits of each cell, the mean over its replicates; ``None`` where a table is missing."""
    sample = books.sample(metric, [owner for replicates in owners for owner in replicates])
    counts = [len(replicates) for replicates in owners]
    if sample is None or max(counts) == 1:
        return sample
    starts = np.cumsum([0, *counts[:-1]])
    return sample.of(np.add.reduceat(sample.values, starts, axis=0) / np.array(counts)[:, None])


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
    found = [(float(low), float(high)) for low, high in bootstrap(sample, progress=progress)]
    return [_wider(interval, sample.clusters) for interval in found]


def _wider(interval: Interval, clusters: int) -> Interval:
    """Where all examples are right, or all wrong, no resample differs: Wilson's interval then, with a cluster counting as one example."""
    low, high = interval
    if low == high and (math.isclose(low, 100) or math.isclose(low, 0, abs_tol=1e-9)):
        return wilson(clusters if low > 50 else 0, clusters)
    return interval


def _shifted(progress: Progress, before: int, total: int) -> Progress:
    return lambda done, _: progress(before + done, total)
