"""The figures of a sweep: what is plotted, as rows for reading and downloading, and how it is drawn.

A figure is worked out once for the page, the picture and the CSV, so the three never differ.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from core.analysis.importance import axis_shares
from core.analysis.report import Report, Row, direction, is_percent
from core.store import Point, TrialRow
from dashboards import plots
from dashboards.report.numbers import axis_value, short_names, unit
from dashboards.web.address import Address
from dashboards.web.data import Data, NotHere
from dashboards.web.shown import Shown, downloaded, shown, table_of
from dashboards.web.site import Paging, Site, address, as_csv, attachment, paging, short

KINDS = ("grid", "curves", "intervals", "importance", "parallel")
CURVES = 10
"""Curves at once: more are not told apart."""
FEW = 6
"""Curves of a sweep with more cells than that, unless a reader picks some."""
INTERVALS = 60
"""Lines of an interval plot."""
POINTS = 400
"""Points of a curve that are drawn."""
X_AXES = {"step": "step", "tokens": "tokens seen by training (from its logged steps)", "time": "time in attempts (minutes)"}
GRID_ROWS = 100
"""Rows of a grid on one page; its picture has all."""
STEPS = 10
"""Shades of a metric's cells on the page."""


@dataclass(frozen=True)
class Choice:
    """A choice above a figure; ``several`` makes it a list of boxes."""

    name: str
    label: str
    options: Mapping[str, str]
    chosen: Sequence[str]
    several: bool = False


@dataclass(frozen=True)
class GridCell:
    """A cell of the grid on the page: its text, what a colour stands for, and the cells behind it."""

    text: str
    shade: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes:
        kind: which.
        words: one sentence that says what it shows.
        choices: what a reader may choose.
        header: of its rows.
        rows: what is plotted, for a table and a download.
        draw: makes the picture.
        grid: the grid as cells that can be followed, for kind ``grid``: (names across, names down with their cells); a page of it.
    """

    kind: str
    words: str
    choices: Sequence[Choice]
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    draw: Callable[[plots.Look], bytes] = field(repr=False)
    grid: tuple[Sequence[str], Sequence[tuple[str, Sequence[GridCell]]]] | None = None
    axes: tuple[str, str] = ("", "")
    paging: Paging | None = None


def figure(data: Data, found: Shown, report: Report, kind: str, where: Address) -> Figure:
    """A figure of a sweep.

    Raises:
        UsageError: something that was chosen is not there.
    """
    return {"grid": _grid, "curves": _curves, "intervals": _intervals, "importance": _importance, "parallel": _parallel}[kind](
        data, found, report, where
    )


def _cells(report: Report) -> list[Row]:
    return [row for row in report.rows if row.kind == "cell"]


def _metric(where: Address, report: Report) -> tuple[str, Choice]:
    known = [name for name in report.metrics if any(name in row.metrics and row.metrics[name].mean is not None for row in _cells(report))]
    first = next((name for name in report.columns if name in known), known[0] if known else "")
    chosen = where.word("metric", known, first)
    return chosen, Choice("metric", "Metric", {name: name for name in known}, [chosen])


def _grid(data: Data, found: Shown, report: Report, where: Address) -> Figure:
    axes = found.axes
    names = dict(zip(axes, short_names(axes), strict=True))
    across = where.word("x", axes, axes[-1] if axes else "")
    down = where.word("y", axes, next((axis for axis in axes if axis != across), across))
    by = where.word("by", ("state", "metric"), "state")
    metric, choice = _metric(where, report)
    choices = [
        Choice("by", "Show", {"state": "state", "metric": "metric"}, [by]), *([choice] if by == "metric" else []),
        Choice("x", "Across", names, [across]), Choice("y", "Down", names, [down]),
    ]  # fmt: skip
    columns = list(dict.fromkeys(axis_value(trials[0].cell.get(across)) for trials in found.cells.values()))
    rows = list(dict.fromkeys(axis_value(trials[0].cell.get(down)) for trials in found.cells.values()))
    there: dict[tuple[str, str], list[str]] = {}
    for name, trials in found.cells.items():
        there.setdefault((axis_value(trials[0].cell.get(down)), axis_value(trials[0].cell.get(across))), []).append(name)
    x_label, y_label = names.get(across, ""), names.get(down, "")
    pages = paging(where, len(rows), GRID_ROWS)
    seen = rows[pages.first_row - 1 if rows else 0 : pages.last_row]
    if by == "state":
        states = {
            place: Counter(trial.state or "pending" for name in cells for trial in found.cells[name]) for place, cells in there.items()
        }
        grid = [
            (row, [GridCell(", ".join(f"{n} {state}" for state, n in states.get((row, column), Counter()).items()) or "–",
                            _worst(states.get((row, column), Counter())), there.get((row, column), [])) for column in columns])
            for row in seen
        ]  # fmt: skip
        flat = [[row, column, state, n] for (row, column), counts in states.items() for state, n in counts.items()]

        def draw(look: plots.Look) -> bytes:
            table: list[list[Mapping[str, int]]] = [[states.get((row, column), {}) for column in columns] for row in rows]
            return plots.state_map(rows, columns, table, look, x_label=x_label, y_label=y_label)

        return Figure(
            "grid",
            "The grid by the states of its trials.",
            choices,
            [y_label, x_label, "state", "trials"],
            flat,
            draw,
            (columns, grid),
            (x_label, y_label),
            pages,
        )
    means = {row.name: row.metrics[metric].mean for row in _cells(report) if metric in row.metrics}
    values: dict[tuple[str, str], float | None] = {
        place: _mean([means[name] for name in cells if means.get(name) is not None]) for place, cells in there.items()
    }
    known = [value for value in values.values() if value is not None]
    ends = (min(known), max(known)) if known else (0.0, 0.0)
    digits = 1 if is_percent(metric) else 3
    grid = [
        (row, [GridCell("–" if values.get((row, column)) is None else f"{values[row, column]:.{digits}f}",
                        _shade(values.get((row, column)), *ends),
                        there.get((row, column), [])) for column in columns])
        for row in seen
    ]  # fmt: skip

    def draw_metric(look: plots.Look) -> bytes:
        numbers = [[values.get((row, column)) for column in columns] for row in rows]
        return plots.heat_map(rows, columns, numbers, look, x_label=x_label, y_label=y_label, label=unit(metric), digits=digits)

    flat = [[row, column, value, len(there[row, column])] for (row, column), value in values.items()]
    words = f"The grid by {unit(metric)}: the mean of the cells that fall into a place."
    return Figure(
        "grid", words, choices, [y_label, x_label, metric, "cells"], flat, draw_metric, (columns, grid), (x_label, y_label), pages
    )


def _worst(counts: Mapping[str, int]) -> str:
    """The state that a place is coloured by: what needs a reader's eye comes first."""
    order = ("failed", "unknown", "running", "held", "blocked", "pending", "cancelled", "pruned", "completed")
    return next((f"state-{state}" for state in order if counts.get(state)), "state-none")


def _shade(value: float | None, low: float, high: float) -> str:
    if value is None:
        return "state-none"
    return f"shade-{STEPS // 2 if high == low else min(STEPS - 1, int((value - low) / (high - low) * STEPS))}"


def _mean(values: Sequence[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return math.fsum(numbers) / len(numbers) if numbers else None


def _curves(data: Data, found: Shown, report: Report, where: Address) -> Figure:
    started = [name for name, trials in found.cells.items() if any(trial.attempts for trial in trials)]
    chosen = where.words("cell", found.cells)[:CURVES] or started[: CURVES if len(started) <= CURVES else FEW]
    known = series_names(data, [trial.id for name in chosen for trial in found.cells[name]])
    metric = where.word("metric", known, "validation/accuracy" if "validation/accuracy" in known else known[0] if known else "")
    x = where.word("x", X_AXES, "step")
    lines = [curve(data, name, found.cells[name], metric, x) for name in chosen]
    several = any(len(found.cells[name]) > 1 for name in chosen)
    choices = [
        Choice("metric", "Metric", {name: name for name in known}, [metric]), Choice("x", "By", {name: name for name in X_AXES}, [x]),
        Choice("cell", f"Cells (up to {CURVES})", {name: name for name in list(found.cells)[:200]}, chosen, several=True),
    ]  # fmt: skip
    rows = [
        [line.name, a, b, line.low[number] if len(line.low) else None, line.high[number] if len(line.high) else None]
        for line in lines
        for number, (a, b) in enumerate(zip(line.x, line.y, strict=True))
    ]
    note = "line: mean of the seeds; band: lowest to highest seed" if several else ""
    words = f"{unit(metric)} of {len(chosen)} of {len(found.cells)} cells." + (
        f" {note.capitalize()}." if note else " One seed each: nothing says how other seeds would run."
    )
    named = labels(found.axes, {name: found.cells[name][0].cell for name in chosen})
    drawn = [replace(line, name=named[line.name]) for line in lines]
    return Figure(
        "curves", words, choices, ["cell", x, metric, "lowest", "highest"], rows,
        lambda look: plots.curves(drawn, look, x_label=X_AXES[x], y_label=unit(metric), note=note),
    )  # fmt: skip


def labels(axes: Sequence[str], cells: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The names of cells as a plot writes them, by their own: each axis by its last parts, each id by its first digits."""
    known = dict(zip(axes, short_names(axes), strict=True))
    return {
        name: short(" ".join(f"{known.get(path, path)}={axis_value(value)}" for path, value in cell.items())) or name
        for name, cell in cells.items()
    }


def series_names(data: Data, trials: Sequence[str]) -> list[str]:
    """The metrics of which any of these trials has points."""
    found = data.browser.series_names(trials)
    return sorted(found, key=lambda name: (not name.startswith("validation/"), name))


def curve(data: Data, name: str, trials: Sequence[TrialRow], metric: str, x: str) -> plots.Curve:
    """The curve of a cell: mean and range of its seeds at the steps that all of them have reached."""
    by_seed = []
    for trial in trials:
        points = data.index.series(trial.id, metric)
        if points:
            by_seed.append(
                {point.step: (place, point.value) for point, place in zip(points, places(data, trial.id, points, x), strict=True)}
            )
    if not by_seed:
        return plots.Curve(name, [], [])
    steps = sorted(set.intersection(*(set(points) for points in by_seed)))
    steps = [steps[number] for number in np.unique(np.linspace(0, len(steps) - 1, min(len(steps), POINTS)).astype(int))] if steps else []
    places_ = [_mean([points[step][0] for points in by_seed]) or 0.0 for step in steps]
    values = [[points[step][1] for points in by_seed] for step in steps]
    low, high = ([min(v) for v in values], [max(v) for v in values]) if len(by_seed) > 1 else ((), ())
    return plots.Curve(name, places_, [_mean(v) or 0.0 for v in values], low, high)


def places(data: Data, trial: str, points: Sequence[Point], x: str) -> list[float]:
    """Where points stand: at their step, at the tokens seen by then, or at the minutes that attempts had worked by then."""
    if x == "step":
        return [float(point.step) for point in points]
    if x == "time":
        found, before, last = [], 0.0, points[0]
        for point in points:
            if point.attempt == last.attempt:  # clocks of two attempts are never compared
                before += max(0.0, point.t - last.t)
            found.append(before / 60)
            last = point
        return found
    speed = {point.step: point.value for point in data.index.series(trial, "train/tokens_per_second")}
    steps, total, seen = [0], [0.0], 0
    for point in data.index.series(trial, "train/step_seconds"):
        steps.append(point.step)
        total.append(total[-1] + point.value * speed.get(point.step, 0.0) * (point.step - seen))
        seen = point.step
    return [float(value) for value in np.interp([point.step for point in points], steps, total)]


def _intervals(data: Data, found: Shown, report: Report, where: Address) -> Figure:
    metric, choice = _metric(where, report)
    rows = [row for row in report.rows if metric in row.metrics and (row.kind != "reported")]
    order = where.word("order", ("plan", "value"), "value" if len(rows) > INTERVALS else "plan")
    if order == "value":
        sign = 1 if direction(metric) == "min" else -1
        rows.sort(key=lambda row: math.inf if row.metrics[metric].mean is None else sign * (row.metrics[metric].mean or 0.0))
    over = {row.metrics[metric].ci_over for row in rows if row.metrics[metric].ci is not None}
    note = (
        f"95 % intervals over {' and '.join(sorted(str(kind) for kind in over))}"
        if over
        else "no interval: too few seeds, and no scores by example"
    )
    named = labels(report.axes, {row.name: row.cell for row in rows[:INTERVALS] if row.kind == "cell" and row.cell})
    lines = [
        plots.Estimate(
            named.get(row.name, row.name), value.mean, value.ci, value.reported, value.best and row.kind == "cell", row.kind == "baseline"
        )
        for row in rows[:INTERVALS]
        for value in (row.metrics[metric],)
    ]
    choices = [choice, Choice("order", "Order", {"plan": "as planned", "value": "best first"}, [order])]
    flat = [[row.name, value.mean, *(value.ci or (None, None)), value.reported] for row in rows for value in (row.metrics[metric],)]
    words = f"{unit(metric)}: {note}." + (f" The first {INTERVALS} of {len(rows)} rows; the CSV has all." if len(rows) > INTERVALS else "")
    return Figure(
        "intervals", words, choices, ["cell", metric, "low", "high", "reported"], flat,
        lambda look: plots.intervals(lines, look, label=unit(metric), note=note),
    )  # fmt: skip


def _importance(data: Data, found: Shown, report: Report, where: Address) -> Figure:
    metric, choice = _metric(where, report)
    cells = [(row.cell or {}, row.metrics[metric].mean) for row in _cells(report) if metric in row.metrics]
    shares = axis_shares([(cell, mean) for cell, mean in cells if mean is not None])
    bars = [plots.Share(share.axis, share.share, share.span) for share in shares]
    words = (
        f"How much of the spread of {unit(metric)} between {len(cells)} cells each axis explains (eta squared). "
        "Bars of a grid that is not full overlap; "
        "the line is the lowest and highest share when one cell is left out."
    )
    return Figure(
        "importance", words, [choice], ["axis", "share", "lowest without one cell", "highest without one cell", "values"],
        [[share.axis, share.share, *(share.span or (None, None)), share.values] for share in shares],
        lambda look: plots.importance(bars, look, label=f"share of the spread of {metric} (%)"),
    )  # fmt: skip


def _parallel(data: Data, found: Shown, report: Report, where: Address) -> Figure:
    metric, choice = _metric(where, report)
    cells = _cells(report)
    also = where.words("with", report.metrics) or [name for name in report.columns if name != metric][:2]
    dimensions = [
        plots.Dimension(short, [_plain((row.cell or {}).get(axis)) for row in cells])
        for axis, short in zip(report.axes, short_names(report.axes), strict=True)
    ]
    values = {name: [row.metrics[name].mean if name in row.metrics else None for row in cells] for name in [*also, metric]}
    dimensions += [plots.Dimension(unit(name), numbers, scale=True) for name, numbers in values.items()]
    choices = [choice, Choice("with", "Beside it", {name: name for name in report.metrics}, also, several=True)]
    rows = [[row.name, *(values[name][number] for name in values)] for number, row in enumerate(cells)]
    words = f"Each line is a cell, through the values of its axes and its metrics; its colour is {unit(metric)}."
    return Figure(
        "parallel", words, choices, ["cell", *values], rows,
        lambda look: plots.parallel(dimensions, look, colour=values.get(metric, []), label=unit(metric)),
    )  # fmt: skip


def _plain(value: Any) -> float | str | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else axis_value(value)


def look(where: Address, format: str) -> plots.Look:
    """How a picture is asked for."""
    theme = where.word("theme", ("light", "dark"), "light")
    width = where.word("width", ("half", "full"), "full")
    return plots.Look(theme, width, format)  # type: ignore[arg-type]  # checked one by one


def picture(content: bytes, format: str, *, name: str, download: bool) -> Response:
    """A picture of ours: it may be looked at, and nothing in it may run."""
    kind = {"svg": "image/svg+xml", "png": "image/png"}[format]
    if download:
        return attachment(content, kind, name)
    return Response(content, media_type=kind, headers={"Content-Security-Policy": "sandbox; default-src 'none'; style-src 'unsafe-inline'"})


def plot(site: Site, request: Request) -> Response:
    """A figure of a sweep as SVG, PNG or CSV."""
    where = address(request)
    kind, format = request.path_params["kind"], where.word("as", ("svg", "png", "csv"), "svg")
    if kind not in KINDS:
        raise NotHere("no such plot", found=kind[:80], allowed=KINDS)
    found = shown(site.data, request.path_params["sweep"])
    table = table_of(site.data, found)
    report = table.report or downloaded(site.data, found, examples=False, patience=120.0)
    made = figure(site.data, found, report, kind, where)
    name = f"{found.id}-{kind}.{format}"
    if format == "csv":
        return as_csv(made.header, made.rows, name.removesuffix(".csv"))
    wanted = look(where, format)
    key = (found.id, found.version, table.version, kind, str(sorted(where.values.multi_items())), format)
    return picture(site.pictures.get(key, lambda: made.draw(wanted)), format, name=name, download=where.flag("save"))
