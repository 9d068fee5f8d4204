"""Two or more cells, trials or sweeps against the first: how sure the difference is, and on which examples they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.analysis.compare import Comparison, Side
from core.analysis.outcomes import TrialOutcome
from core.analysis.report import is_percent
from core.errors import SweepError
from dashboards.web.address import Address
from dashboards.web.data import Data, Pending
from dashboards.web.examples import Scored, scored, table_of, texts
from dashboards.web.site import Site, address, as_csv, paging
from dashboards.web.trial import block

SHOWN = 5
KINDS = {"first": "only the first is right", "second": "only the second is right", "both": "both are wrong"}


def compare(site: Site, request: Request) -> Response:
    """The page of a comparison; without names, a form."""
    data, where = site.data, address(request)
    names = sides(where)
    values: dict[str, Any] = {
        "title": "Compare",
        "names": names,
        "suggested": _suggested(data),
        "kinds": KINDS,
        "results": [],
        "waiting": False,
        "examples": None,
    }
    if len(names) < 2:
        return site.page(request, "compare.html", version=None, trouble=[], metrics=where.words("metric"), percent=is_percent, **values)
    metrics = where.words("metric")
    trouble: list[str] = []
    version = tuple(data.browser.version(sweep.id, points=False) for sweep in data.workspace.sweeps())
    for other in names[1:]:
        try:
            work = partial(data.answers.compare, names[0], other, metrics)
            found = data.soon(("compare", names[0], other, tuple(metrics)), version, work, patience=3.0, slow=True)
        except SweepError as error:
            trouble += error.lines()
            continue
        values["waiting"] = values["waiting"] or isinstance(found, Pending)
        values["results"].append((other, [] if isinstance(found, Pending) else found))
    if not trouble and not values["waiting"]:
        try:
            values["examples"] = _disagreements(site, where, names, version)
        except SweepError as error:
            trouble += error.lines()
    if where.flag("csv"):
        return as_csv(HEADER, [row(other, one) for other, found in values["results"] for one in found], "comparison")
    shown = f"{hash(version)}-{values['waiting']}"
    return site.page(request, "compare.html", version=shown, trouble=trouble, metrics=metrics, percent=is_percent, **values)


HEADER = [
    "first",
    "second",
    "metric",
    "mean of first",
    "mean of second",
    "difference",
    "low",
    "high",
    "over",
    "test",
    "p",
    "p (Holm)",
    "better",
    "refused",
]


def row(other: str, one: Comparison) -> list[object]:
    """A comparison as a line of a table."""
    part = one.decisive
    return [
        one.a, one.b or other, one.metric, *(one.means or (None, None)), one.difference, *(part.ci if part else (None, None)),
        part.over if part else None,
        part.evidence.test if part else None, part.evidence.p if part else None, one.adjusted, one.better, one.refused,
    ]  # fmt: skip


def sides(where: Address) -> list[str]:
    """The names to compare; boxes of a sweep's table come as its cells."""
    sweep = where.text("sweep")
    cells = [f"{sweep}:{cell.replace(' ', ',')}" for cell in where.words("cell")] if sweep else []
    return list(dict.fromkeys([*(name.strip() for name in where.words("side")), *cells]))[:8]


def _suggested(data: Data) -> list[str]:
    found: list[str] = []
    for sweep in sorted(data.index.sweeps(), key=lambda row: -row.created):
        cells = dict.fromkeys(
            ",".join(f"{path}={value}" for path, value in trial.cell.items()) for trial in data.index.trials(sweep.id)[:500]
        )
        found += [sweep.id, *(f"{sweep.id}:{cell}" for cell in cells if cell)]
        if len(found) > 300:
            break
    return found[:300]


def _disagreements(site: Site, where: Address, names: Sequence[str], version: tuple[str, ...]) -> dict[str, Any] | None:
    """Where the first and the one that is looked at differ, example by example, for a pair of their trials."""
    data = site.data
    other = where.word("with", names[1:], names[1])
    found = data.soon(("sides", names[0], other), version, lambda: (data.answers.sides(names[0]), data.answers.sides(other)), patience=5.0)
    if isinstance(found, Pending):
        return None
    left, right = _partners(*found)
    if left is None or right is None:
        return None
    theirs = {scoring.benchmark: scoring.key for scoring in right.scorings}
    shared = {scoring.benchmark: (scoring.key, theirs[scoring.benchmark]) for scoring in left.scorings if theirs.get(scoring.benchmark)}
    if not shared:
        return None
    benchmark = where.word("benchmark", shared, next(iter(shared)))
    keys = shared[benchmark]
    a, b = (scored(table_of(data, trial.id, str(key))) for trial, key in zip((left, right), keys, strict=True))
    pairs = [(a[key], b[key]) for key in a if key in b]
    counts = Counter((x.right, y.right) for x, y in pairs)
    kind = where.word("kind", KINDS, "first" if counts[True, False] >= counts[False, True] else "second")
    wanted = {"first": (True, False), "second": (False, True), "both": (False, False)}[kind]
    chosen = sorted((pair for pair in pairs if (pair[0].right, pair[1].right) == wanted), key=lambda pair: -_distance(*pair))
    categories = Counter((x.category or "(none)", (x.right, y.right)) for x, y in pairs)
    pages = paging(where, len(chosen), SHOWN)
    sweeps = data.browser.sweeps_of(left.id)
    planned = data.planned(sweeps[0], left.id) if sweeps else None
    behind = texts(data, planned, str(keys[0])) if planned is not None else "no sweep asks for this trial any more"
    rows = [(block(x, left.id, str(keys[0]), behind), y) for x, y in chosen[pages.first_row - 1 if chosen else 0 : pages.last_row]]
    return {
        "other": other, "benchmark": benchmark, "benchmarks": list(shared), "counts": counts, "total": len(pairs),
        "kind": kind, "rows": rows, "paging": pages,
        "trials": (left, right), "why": behind if isinstance(behind, str) else None,
        "categories": [(name, *(categories[name, way] for way in ((True, True), (True, False), (False, True), (False, False))))
                       for name in dict.fromkeys(name for name, _ in categories)],
    }  # fmt: skip


def _distance(x: Scored, y: Scored) -> float:
    return abs((x.margin or 0.0) - (y.margin or 0.0))


def _partners(left: Sequence[Side], right: Sequence[Side]) -> tuple[TrialOutcome | None, TrialOutcome | None]:
    """A trial of each side to lay beside the other: of the first cell that both have scored, and of one seed where there is one."""
    ours = [trial for side in left for trial in side.trials if trial.scorings]
    others = [trial for side in right for trial in side.trials if trial.scorings]
    for x in ours:
        for y in others:
            if x.seed == y.seed and x.id != y.id and (len(left) == 1 or x.cell == y.cell):
                return x, y
    first = next(iter(ours), None)
    return first, next((trial for trial in others if first is None or trial.id != first.id), None)
