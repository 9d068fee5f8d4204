"""The report as CSV: one line per row of the table, nine columns per metric, nothing rounded."""

from __future__ import annotations

import csv
import io

from core.analysis.report import Report, Row, Value
from dashboards.report.numbers import axis_value, mark

BESIDE = ("spread", "low", "high", "reported", "difference", "interval over", "mark", "test")
"""Columns beside each metric's mean: the standard deviation over the replicates, the ends of the 95 % interval, and so on."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What makes a spreadsheet take a text for a formula."""


def safe(text: str) -> str:
    """Text that a spreadsheet shows and does not run (OWASP, CSV injection): a quote before what looks like a formula."""
    return "'" + text if text.startswith(FORMULA) else text


def render_csv(report: Report) -> str:
    """All metrics; the metric's own column holds the mean, and those of :data:`BESIDE` what stands beside it."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = ["sweep", "rehearsal", "kind", "name", *report.axes, "n", "asked"]
    for metric in report.metrics:
        heads += [metric, *(f"{metric} {name}" for name in BESIDE)]
    writer.writerow([safe(head) for head in [*heads, "missing", "flags"]])
    for row in report.rows:
        writer.writerow(_fields(report, row))
    return out.getvalue()


def _fields(report: Report, row: Row) -> list[str]:
    cell = row.cell or {}
    fields = [safe(report.sweep), "true" if report.rehearsal else "false", row.kind, safe(row.name)]
    fields += [_coordinate(cell[axis]) if axis in cell else "" for axis in report.axes]
    fields += [str(row.n), str(row.asked)]
    for metric in report.metrics:
        value = row.metrics.get(metric, Value())
        low, high = value.ci or (None, None)
        numbers = (value.mean, value.spread, low, high, value.reported, value.difference)
        fields += ["" if number is None else repr(number) for number in numbers]
        fields += [value.ci_over or "", mark(value), _test(value)]
    return [*fields, safe("; ".join(row.missing)), safe("; ".join(row.flags))]


def _test(value: Value) -> str:
    """The test of the best cell, whatever its outcome."""
    if value.tested is None or value.tested.adjusted is None:
        return ""
    return f"{value.tested.test}, p = {value.tested.adjusted:.3g} after Holm"


def _coordinate(value: object) -> str:
    """Numbers as they are, texts made safe: ``-0.5`` is a number and ``-A1`` might be a formula."""
    text = repr(value) if isinstance(value, float) else axis_value(value)
    return text if isinstance(value, (int, float)) else safe(text)
