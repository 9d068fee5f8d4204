"""How numbers and names of a report are written, the same in every format that people read."""

from __future__ import annotations

from collections.abc import Sequence

from core.analysis.report import Report, Value, is_percent

LEGEND = "Benchmarks in percent, training and validation metrics as fractions"

FRACTION_DIGITS = 3


def digits(report: Report, metric: str) -> int:
    """Decimals of a column: as many as a paper printed for it (one or two), three for fractions."""
    if not is_percent(metric):
        return FRACTION_DIGITS
    printed = [row.metrics[metric].reported for row in report.rows if metric in row.metrics]
    return 2 if any(value is not None and abs(value * 10 - round(value * 10)) > 1e-6 for value in printed) else 1


def all_digits(report: Report) -> dict[str, int]:
    """:func:`digits` of every column, asked once for a table and not for each of its rows."""
    return {metric: digits(report, metric) for metric in report.columns}


def short_names(axes: Sequence[str]) -> list[str]:
    """Each path by its last parts, as many as tell it from the others: ``layers``, ``activation``."""
    names = []
    for axis in axes:
        parts = axis.split(".")
        taken = 1
        while taken < len(parts) and any(_tail(other, taken) == _tail(axis, taken) for other in axes if other != axis):
            taken += 1
        names.append(_tail(axis, taken))
    return names


def _tail(path: str, parts: int) -> str:
    return ".".join(path.split(".")[-parts:])


def axis_value(value: object) -> str:
    """A coordinate as the definition writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)


def replicates(n: int, asked: int) -> str:
    """``3``, or ``2/3`` where one is absent."""
    return str(n) if n == asked else f"{n}/{asked}"


def signed(difference: float, decimals: int) -> str:
    """``+0.3``, ``-1.2``, and ``0.0`` where nothing is left after rounding."""
    text = f"{difference:+.{decimals}f}"
    return text[1:] if float(text) == 0 else text


def difference(value: Value, decimals: int) -> str:
    """Ours less the reported one, with ``~`` where our interval covers what was reported."""
    if value.difference is None:
        return ""
    return signed(value.difference, decimals) + ("~" if value.covers_reported else "")


def sources(report: Report) -> list[str]:
    """Where reported numbers were printed, in order."""
    found = (value.source for row in report.rows for value in row.metrics.values() if value.reported is not None)
    return list(dict.fromkeys(source for source in found if source is not None))


def title(report: Report) -> str:
    """``head_ablation: 7 cells``, with the replicates where there are several."""
    cells = [row for row in report.rows if row.kind == "cell"]
    least, asked = min((row.asked for row in cells), default=0), max((row.asked for row in cells), default=0)
    ensembles = sum(row.kind == "ensemble" for row in report.rows)
    text = f"{report.sweep}: {len(cells)} cell{'' if len(cells) == 1 else 's'}"
    text += f", {ensembles} ensemble{'' if ensembles == 1 else 's'}" if ensembles else ""
    return text + (f", {asked if least == asked else f'{least} to {asked}'} replicates each" if asked > 1 else "")


def half_width(value: Value, decimals: int) -> str:
    """``±1.2``: half of the interval, which need not lie evenly about the mean; the exact ends stand in CSV and JSON.

    ``≥98.5`` and ``≤1.5`` where the mean is an end of it: all examples are right, or all wrong.
    """
    if value.ci is None or value.mean is None:
        return ""
    low, high = value.ci
    if high - low > 0 and one_sided(value):
        return f"≥{low:.{decimals}f}" if value.mean - low > high - value.mean else f"≤{high:.{decimals}f}"
    return f"±{(high - low) / 2:.{decimals}f}"


def one_sided(value: Value) -> bool:
    """Whether the mean is an end of its interval."""
    return value.ci is not None and value.mean is not None and min(abs(end - value.mean) for end in value.ci) < 1e-9


def mark(value: Value) -> str:
    """``*`` for a best cell that is better than every other beyond chance, and an ensemble that is better than each of its members; ``^``
    for a cell that merely has the best mean."""
    return "*" if value.beyond_chance else "^" if value.best else ""


def legend(report: Report) -> str:
    """One line that says what the numbers and marks are."""
    shown = _shown(report)
    parts = [LEGEND]
    over = {value.ci_over for value in shown if value.ci is not None}
    if over:
        examples = "over examples where n = 1 or all seeds give the same (bootstrap or Wilson; says nothing of other seeds)"
        what = {"seeds": "over seeds (Student's t)", "examples": examples}
        parts.append(f"± half of the 95 % interval {' and '.join(what[kind] for kind in ('seeds', 'examples') if kind in over)}")
    if any(one_sided(value) for value in shown):
        parts.append("≥ and ≤ the other end of it where all examples are right, or all wrong")
    for kind, whom in (("cell", "every other cell"), ("ensemble", "each of its members (an ensemble)")):
        starred = [value for value in _shown(report, kind) if value.beyond_chance and value.tested]
        if starred:
            tests = ", ".join(dict.fromkeys(map(_test, starred)))
            parts.append(f"* better than {whom} beyond chance ({tests}; 5 % after Holm)")
    if any(value.best and not value.beyond_chance for value in shown):
        parts.append("^ merely the best mean of its column")
    if any(value.reported is not None for value in shown):
        where = " and ".join(sources(report))
        parts.append(f"(in brackets) reported in {where}" if where else "(in brackets) reported")
    if any(value.difference is not None for value in shown):
        covered = any(value.covers_reported for value in shown)
        parts.append("then ours less reported" + (" (~ where our interval covers it)" if covered else ""))
    return "; ".join(parts) + "."


def _shown(report: Report, kind: str | None = None) -> list[Value]:
    """The values of the columns, of all rows or of one kind."""
    rows = [row for row in report.rows if kind in (None, row.kind)]
    return [row.metrics[metric] for row in rows for metric in report.columns if metric in row.metrics]


def _test(value: Value) -> str:
    assert value.tested is not None
    return value.tested.test + (", n = 1: these models, not other seeds" if len(value.values) == 1 else "")


def unit(metric: str) -> str:
    """A metric with its unit."""
    if is_percent(metric):
        return f"{metric} (%)"
    name = metric.rpartition("/")[2]
    known = {
        "accuracy": "fraction",
        "loss": "nats",
        "memory_gib": "GiB",
        "step_seconds": "s",
        "tokens_per_second": "1/s",
        "pairs_per_second": "1/s",
    }
    return f"{metric} ({known[name]})" if name in known else metric
