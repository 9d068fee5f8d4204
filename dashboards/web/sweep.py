"""A sweep: the ablation table, the grid, curves, intervals, importance, parallel coordinates, and its trials one by one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.analysis.report import Report, Row, choose, direction, is_percent
from core.control.states import TRIAL_STATES
from core.store import TrialRow
from core.store.browse import Wanted
from core.workspace.registration import Revision
from dashboards.report.delimited import render_csv
from dashboards.report.numbers import digits, half_width, legend, mark, short_names, signed
from dashboards.report.verdicts import Verdict, verdicts
from dashboards.web.address import Address
from dashboards.web.data import Data
from dashboards.web.figures import figure
from dashboards.web.shown import Shown, downloaded, mistakes_of, shown, table_of
from dashboards.web.site import PAGE_ROWS, Site, address, as_csv, attachment, paging

VIEWS = {
    "table": "Table",
    "grid": "Grid",
    "curves": "Curves",
    "intervals": "Intervals",
    "importance": "Importance",
    "parallel": "Parallel coordinates",
    "trials": "Trials",
}
COLUMNS = 6
"""Metrics that the list of trials shows unless others are asked for."""
EXPLAIN = re.compile(r"sweep explain ([0-9a-f]{10})")
LONGEST = 300
"""Characters of an error that the table's page quotes."""
MISSING = 10
"""Cells without values that the table's page names."""
DOWNLOADED = 100_000
"""Trials in one download."""


def sweep(site: Site, request: Request) -> Response:
    """One of the views of a sweep."""
    where = address(request)
    view = where.word("view", VIEWS, "table")
    found = shown(site.data, request.path_params["sweep"])
    values: dict[str, Any] = {
        "title": found.id,
        "found": found,
        "view": view,
        "views": VIEWS,
        "causes": site.data.browser.causes().get(found.id, {}),
    }
    if view == "trials":
        if (nothing := site.still_right(request, found.version)) is not None:
            return nothing
        values |= _trials(site, where, found)
        # the list says itself that it is live: another page of it must not be swapped while it is read
        return site.page(request, "trials.html", version=found.version, **values)
    made = table_of(site.data, found)
    report = made.report
    values |= {"report": report, "partial": made.partial, "fresh": made.fresh}
    version = f"{found.version}-{made.version}"
    if (nothing := site.still_right(request, version)) is not None:
        return nothing
    if report is None:
        return site.page(request, "waiting.html", version=version, waiting=True, **values)
    if view == "table":
        return site.page(request, "table.html", version=version, **values, **_table(site.data, where, report, found))
    return site.page(request, "figure.html", version=version, **values, figure=figure(site.data, found, report, view, where))


def _table(data: Data, where: Address, report: Report, found: Shown) -> dict[str, Any]:
    chosen = where.words("metric", report.metrics)
    if chosen:
        report = choose(report, chosen)
    cells = [row for row in report.rows if row.kind == "cell"]
    order = where.word("order", ("plan", *report.columns), "plan")
    if order != "plan":
        cells.sort(key=lambda row: _place(row, order))
    pages = paging(where, len(cells), 100)
    names = short_names(report.axes)
    missing, stopped = _missing(data, report, found)
    columns = [(metric, digits(report, metric)) for metric in report.columns]
    return {
        "table": report, "rows": cells[pages.first_row - 1 if cells else 0 : pages.last_row],
        "others": [row for row in report.rows if row.kind != "cell"],
        "columns": columns, "axes": list(zip(report.axes, names, strict=True)), "paging": pages, "legend": legend(report),
        "verdicts": [(metrics, one, mistakes_of(data, found, one)) for metrics, one in _joined(verdicts(report))],
        "missing": missing[:MISSING], "more_missing": max(0, len(missing) - MISSING), "stopped": stopped,
        "order": order, "orders": {"plan": "as planned", **{metric: f"best {metric} first" for metric in report.columns}},
        "mark": mark, "half_width": half_width, "signed": signed,
        "percent": is_percent,
    }  # fmt: skip


def _joined(found: Sequence[Verdict]) -> list[tuple[list[str], Verdict]]:
    """The verdicts, those that say the same of several metrics once."""
    joined: dict[tuple[tuple[str, ...], str], tuple[list[str], Verdict]] = {}
    for one in found:
        joined.setdefault((tuple(one.cells), one.words), ([], one))[0].append(one.metric)
    return list(joined.values())


def _place(row: Row, metric: str) -> tuple[bool, float]:
    """Where a cell stands among others by a metric, the best first and those without a value last."""
    mean = row.metrics[metric].mean if metric in row.metrics else None
    return mean is None, 0.0 if mean is None else mean if direction(metric) == "min" else -mean


Part = tuple[str, str | None]
"""A piece of a sentence, and the trial that it leads to."""


def _missing(data: Data, report: Report, found: Shown) -> tuple[list[tuple[Row, list[list[Part]]]], int]:
    """Rows without all their values with the reasons, failures first; and the number of cells that a pruner has stopped."""
    rows = [row for row in report.rows if row.missing]
    states = {row.name: {trial.state or "pending" for trial in found.cells.get(row.name, ())} for row in rows}
    rest = [row for row in rows if states[row.name] != {"pruned"}]
    rest.sort(key=lambda row: "failed" not in states[row.name])
    said = data.browser.messages([trial.id for row in rest[:MISSING] for trial in found.cells.get(row.name, ())])
    return [(row, [_told(line, found.cells.get(row.name, ()), said) for line in row.missing]) for row in rest], len(rows) - len(rest)


def _told(line: str, trials: Sequence[TrialRow], said: Mapping[str, str]) -> list[Part]:
    """A reason with what the failed attempt said, and a link in place of the command that explains it."""
    found = EXPLAIN.search(line)
    trial = next((one.id for one in trials if found is not None and one.id.startswith(found[1])), None)
    if found is None or trial is None:
        return [(line, None)]
    message = said.get(trial, "")
    return [(line[: found.start()] + (f"{message[:LONGEST]} " if message else ""), None), (f"trial {trial[:10]}", trial)]


def table_csv(site: Site, request: Request) -> Response:
    """The table as the command writes it."""
    where = address(request)
    found = shown(site.data, request.path_params["sweep"])
    report = downloaded(site.data, found, examples=True, patience=600.0)
    chosen = where.words("metric", report.metrics)
    return attachment(render_csv(choose(report, chosen) if chosen else report).encode(), "text/csv; charset=utf-8", f"{found.id}.csv")


def _wanted(where: Address, found: Shown, metrics: Sequence[str], causes: Iterable[str]) -> Wanted:
    cells = where.words("cell", found.cells)
    return Wanted(
        states=where.words("state", TRIAL_STATES), causes=where.words("cause", causes), text=where.text("q")[:200],
        trials=None if not cells else [trial.id for name in cells for trial in found.cells[name]],
        order=where.word("order", ("plan", "state", "attempts", *metrics), "plan"), down=where.flag("down"), limit=PAGE_ROWS,
    )  # fmt: skip


def _trials(site: Site, where: Address, found: Shown) -> dict[str, Any]:
    browser = site.data.browser
    known: list[str] = site.data.soon(("metrics", found.id), found.results, lambda: browser.metric_names(found.id), patience=20.0)
    wanted = _wanted(where, found, known, browser.causes().get(found.id, {}))
    asked = where.number("page", 1, 1, 10**7)
    page = browser.page(found.id, wanted.beginning((asked - 1) * PAGE_ROWS))
    pages = paging(where, page.total)
    if pages.number != asked:  # there are fewer
        page = browser.page(found.id, wanted.beginning((pages.number - 1) * PAGE_ROWS))
    columns = known if where.text("columns") == "all" else where.words("metric", known) or headlines(known, found.revision)
    return {
        "rows": page.rows, "values": values_of(site.data, [row.id for row in page.rows], columns),
        "columns": columns, "metrics": known, "paging": pages,
        "wanted": wanted, "cells": where.words("cell"), "links": site.data.run_links(found.id),
        "axes": list(zip(found.axes, short_names(found.axes), strict=True)),
        "percent": is_percent,
    }  # fmt: skip


def headlines(known: Sequence[str], revision: Revision) -> list[str]:
    """The metrics that a list shows by itself: what is selected by, then each benchmark's first, then the losses."""
    objective = str(revision.meta.get("objective", {}).get("metric", ""))
    order = [name for name in known if name == objective]
    order += [name for name in known if is_percent(name) and name.split("/", 1)[1].split("/")[0] in ("overall", "acc", "accuracy", "macro")]
    order += [name for name in known if name in ("validation/accuracy", "validation/loss", "train/loss")]
    return list(dict.fromkeys(order or known))[:COLUMNS]


def values_of(data: Data, trials: Sequence[str], columns: Sequence[str]) -> dict[str, dict[str, float | None]]:
    """{trial: {metric: value}} of the trials of a page."""
    found: dict[str, dict[str, float | None]] = {id: dict(values) for id, values in data.index.final_metrics(trials).items()}
    for id, scores in data.index.scores(trials).items():
        for score in scores:
            found.setdefault(id, {}).update(score.named())
    return {id: {name: values.get(name) for name in columns} for id, values in found.items()}


def trials_csv(site: Site, request: Request) -> Response:
    """The trials of a view, all pages of it, with all metrics."""
    where = address(request)
    found = shown(site.data, request.path_params["sweep"])
    known = site.data.browser.metric_names(found.id)
    rows = site.data.browser.page(
        found.id, _wanted(where, found, known, site.data.browser.causes().get(found.id, {})).beginning(0, DOWNLOADED)
    ).rows
    values = values_of(site.data, [row.id for row in rows], known)
    lines = [
        [
            row.id,
            *(row.cell.get(axis) for axis in found.axes),
            row.seed,
            row.state or "pending",
            row.cause,
            row.attempts,
            *(values.get(row.id, {}).get(name) for name in known),
        ]
        for row in rows
    ]
    return as_csv(["trial", *found.axes, "seed", "state", "cause", "attempts", *known], lines, f"{found.id}-trials")
