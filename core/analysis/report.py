"""The ablation table as a value: rows, columns, notes, and its JSON (pure, no I/O). :mod:`core.analysis.build` makes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, Literal

from core.analysis.effects import Ablation
from core.analysis.effects import to_json as ablation_json
from core.analysis.multiplicity import holm
from core.analysis.sanity import Sanity
from core.analysis.sanity import to_json as sanity_json
from core.analysis.sequential import Added
from core.analysis.verdicts import Verdict
from core.analysis.verdicts import to_json as claims_json
from core.errors import UsageError, nearest

OWN = ("train", "validation")
"""Prefixes of the metrics that training logs: fractions, not percent."""

Kind = Literal["cell", "ensemble", "baseline", "reported"]


LEVEL = 0.05
"""A best cell is marked as better beyond chance where its adjusted p value is at or under this."""


@dataclass(frozen=True)
class Best:
    """What a test says about the best cell of a column: is it better than every other? And of an ensemble: than every member?

    Attributes:
        test: name of the test.
        p: the largest p value over all rivals: all of them must be beaten.
        rival: the cell that this one belongs to.
        adjusted: after Holm over the columns of the table (of ensembles: over all of them too); ``None`` where the column is not shown.
    """

    test: str
    p: float
    rival: str
    adjusted: float | None = None


@dataclass(slots=True)
class Value:
    """One metric of one row. Nothing changes one; a frozen one would take seven times as long to make, and a table has tens of thousands.

    Attributes:
        mean: over the replicates; ``None`` where there is none, or they were scored on different data.
        values: of the replicates, by seed.
        urls: the page of each value's run, where known.
        reported: what was printed for this cell.
        source: where it was printed.
        note: what its row or value says about it.
        difference: ours less the reported one; ``None`` where they are not comparable.
        spread: standard deviation over the replicates; ``None`` for fewer than two.
        ci: 95 % interval of the mean.
        ci_over: what it is over: other seeds (Student's), or for one replicate other examples (bootstrap, or Wilson's).
        best: whether no other cell of the column has a better mean; no ensemble is.
        tested: what a test says about that, where it is the only best and there was enough to test; of an ensemble, where it is better than
            every member.
        revision: revision of the benchmark, ``None`` for what training logged.
        partial: examples scored and skipped, where some were skipped.
    """

    mean: float | None = None
    values: tuple[float, ...] = ()
    urls: tuple[str | None, ...] = ()
    reported: float | None = None
    source: str | None = None
    note: str | None = None
    difference: float | None = None
    spread: float | None = None
    ci: tuple[float, float] | None = None
    ci_over: Literal["seeds", "examples"] | None = None
    best: bool = False
    tested: Best | None = None
    revision: str | None = None
    partial: tuple[int, int] | None = None

    @property
    def covers_reported(self) -> bool | None:
        """Whether the interval covers what was reported; ``None`` where the two are not compared, or there is no interval."""
        if self.difference is None or self.ci is None or self.reported is None:
            return None
        return self.ci[0] <= self.reported <= self.ci[1]

    @property
    def beyond_chance(self) -> bool:
        """Whether it is the best of its column (an ensemble: better than its members), and more than chance says so."""
        return self.tested is not None and self.tested.adjusted is not None and self.tested.adjusted <= LEVEL


@dataclass(frozen=True)
class Row:
    """One row: a cell, an ensemble of cells, a baseline, or a model that only the papers know.

    ``n`` counts the replicates that have a value, ``asked`` those that were asked for; ``missing`` says why something is absent;
    ``members`` are those of an ensemble.
    """

    kind: Kind
    name: str
    cell: Mapping[str, Any] | None
    n: int
    asked: int
    metrics: Mapping[str, Value]
    missing: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def replicated(self) -> bool:
        """Whether it has replicates: a cell, or an ensemble of cells."""
        return self.kind in ("cell", "ensemble")


@dataclass(frozen=True)
class Report:
    """A whole table.

    Attributes:
        sweep: name of the sweep.
        rehearsal: whether the numbers say nothing about the models that they are labelled with.
        axes: paths of the cells' coordinates, in order.
        metrics: all metrics, in order.
        columns: those that a table shows.
        rows: cells, then ensembles, then baselines, then outside models.
        notes: sentences that belong below the table.
        claims: the verdicts on what the study is meant to show.
        ablation: what each axis does to the first metric that is shown, or to the objective.
        sanity: length bias, calibration and accuracy by length and source, where score tables were read.
        added: the rule that has added seeds, with what became of each cell; ``None`` where the number of seeds is fixed.
    """

    sweep: str
    rehearsal: bool
    axes: tuple[str, ...]
    metrics: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    claims: tuple[Verdict, ...] = ()
    sanity: tuple[Sanity, ...] = ()
    ablation: Ablation | None = None
    added: Added | None = None


def with_values(rows: Sequence[Row], changed: Mapping[tuple[int, str], Value]) -> list[Row]:
    """The rows with other values at some (row, metric); what does not change is not made anew, because rows are many."""
    by_row: dict[int, dict[str, Value]] = {}
    for (index, metric), value in changed.items():
        by_row.setdefault(index, {})[metric] = value
    return [replace(row, metrics={**row.metrics, **by_row[index]}) if index in by_row else row for index, row in enumerate(rows)]


@lru_cache(maxsize=4096)
def is_percent(metric: str) -> bool:
    """Whether a metric is in percent (a benchmark's) or a fraction (training and validation)."""
    return metric.split("/", 1)[0] not in OWN


def direction(metric: str) -> Literal["max", "min"] | None:
    """Which way is better; ``None`` where neither is (a learning rate, a speed)."""
    if is_percent(metric) or metric.endswith("/accuracy"):
        return "max"
    return "min" if metric.endswith("/loss") else None


def choose(report: Report, patterns: Sequence[str]) -> Report:
    """The same report with the metrics that match one of the patterns (``vl_rewardbench/*``), in the order of the patterns.

    Raises:
        UsageError: a pattern matches no metric; it names those that there are and the nearest.
    """
    chosen: list[str] = []
    for pattern in patterns:
        found = [metric for metric in report.metrics if fnmatchcase(metric, pattern)]
        if not found:
            raise UsageError(
                "no metric of the report matches",
                found=pattern,
                allowed=report.metrics or "nothing: there are no metrics yet",
                nearest=nearest(pattern, report.metrics),
            )
        chosen += [metric for metric in found if metric not in chosen]
    return adjust(replace(report, metrics=tuple(chosen), columns=tuple(chosen)))


def adjust(report: Report) -> Report:
    """The same report with its tests adjusted by Holm over what it shows.

    The best cells of its columns are one family. The ensembles, each in every column, are another: they answer another question.
    """
    adjusted: dict[tuple[int, str], float] = {}
    for kind in ("cell", "ensemble"):
        tests = {
            (index, metric): value.tested
            for metric in report.columns
            for index, row in enumerate(report.rows)
            if row.kind == kind and (value := row.metrics.get(metric)) is not None and value.tested is not None
        }
        adjusted |= dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))

    changed = {
        (index, metric): replace(value, tested=replace(value.tested, adjusted=adjusted.get((index, metric))))
        for index, row in enumerate(report.rows)
        for metric, value in row.metrics.items()
        if value.tested is not None
    }
    return replace(report, rows=tuple(with_values(report.rows, changed)))


def to_json(report: Report) -> dict[str, Any]:
    """The stable JSON of a report; every cell has an entry for every metric, with an empty one where nothing is known."""
    return {
        "schema": 1,
        "sweep": report.sweep,
        "rehearsal": report.rehearsal,
        "axes": list(report.axes),
        "columns": list(report.columns),
        "rows": [_row_json(report, row) for row in report.rows],
        "notes": list(report.notes),
        "claims": claims_json(report.claims),
        "sanity": sanity_json(report.sanity),
        "ablation": ablation_json(report.ablation),
        "seeds": None if report.added is None else report.added.to_json(),
    }


def _row_json(report: Report, row: Row) -> dict[str, Any]:
    names = report.metrics if row.kind == "cell" else [name for name in report.metrics if name in row.metrics]
    return {
        "kind": row.kind,
        "name": row.name,
        "cell": None if row.cell is None else dict(row.cell),
        "n": row.n,
        "asked": row.asked,
        "metrics": {name: _value_json(row.metrics.get(name, Value())) for name in names},
        "missing": list(row.missing),
        "flags": list(row.flags),
        "members": list(row.members),
    }


def _test_json(best: Best) -> dict[str, Any]:
    return {"name": best.test, "rival": best.rival, "p": best.p, "p_holm": best.adjusted}


def _value_json(value: Value) -> dict[str, Any]:
    return {
        "mean": value.mean,
        "values": list(value.values),
        "reported": value.reported,
        "difference": value.difference,
        "covers_reported": value.covers_reported,
        "spread": value.spread,
        "ci": None if value.ci is None else list(value.ci),
        "ci_over": value.ci_over,
        "best": value.best,
        "beyond_chance": value.beyond_chance,
        "test": None if value.tested is None else _test_json(value.tested),
        "revision": value.revision,
        "partial": None if value.partial is None else {"scored": value.partial[0], "skipped": value.partial[1]},
        "runs": list(value.urls),
        "source": value.source,
    }
