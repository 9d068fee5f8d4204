"""What the best cell of each column is, and how sure that is, in one sentence: for pages and digests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.analysis.report import Report, Value, direction


@dataclass(frozen=True)
class Verdict:
    """The best cells of a column, and what a test says of them."""

    metric: str
    cells: Sequence[str]
    words: str


def verdicts(report: Report) -> list[Verdict]:
    """One for each column that has a best cell, or a single one with a value."""
    found = []
    for metric in report.columns:
        best = [row for row in report.rows if metric in row.metrics and row.metrics[metric].best]
        if not best:
            known = [row for row in report.rows if row.kind == "cell" and metric in row.metrics and row.metrics[metric].mean is not None]
            if len(known) == 1 and direction(metric) is not None and sum(row.kind == "cell" for row in report.rows) > 1:
                found.append(Verdict(metric, [known[0].name], "is the only cell with a value so far."))
            continue
        value = best[0].metrics[metric]
        if len(best) > 1:
            words = "share the best mean."
        elif value.tested is None or value.tested.adjusted is None:
            words = "has the best mean; nothing tests whether that is more than chance."
        else:
            how = f"{value.tested.test}, p = {value.tested.adjusted:.2g} after Holm"
            rest = (
                "is better than every other cell"
                if value.beyond_chance
                else f"has the best mean, but is not told apart from {value.tested.rival}"
            )
            over = "these models, not other seeds" if len(value.values) == 1 else f"{len(value.values)} seeds"
            words = f"{rest} ({how}; {over})."
        found.append(Verdict(metric, [row.name for row in best], words + _ensemble(report, metric, value)))
    return found


def _ensemble(report: Report, metric: str, best: Value) -> str:
    """A sentence on the ensemble that has a better mean than the best cell, if there is one."""
    sign = -1 if direction(metric) == "min" else 1
    known = [
        (sign * mean, row.name, row.metrics[metric])
        for row in report.rows
        if row.kind == "ensemble" and metric in row.metrics and (mean := row.metrics[metric].mean) is not None
    ]
    top = max(known, key=lambda item: item[0], default=None)
    if top is None or best.mean is None or top[0] <= sign * best.mean:
        return ""
    beats = ", and beats each of its members beyond chance" if top[2].beyond_chance else ""
    return f" The ensemble {top[1]} has a better mean still{beats}."
