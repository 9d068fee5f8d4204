"""Two or more cells, trials or sweeps against the first: how sure the difference is, and on which examples they disagree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from core.analysis.compare import Comparison, Side
from core.analysis.outcomes import TrialOutcome
from core.analysis.report import is_percent
from core.errors import EnvironmentFault, SweepError
from dashboards import plots
from dashboards.web.address import Address
from dashboards.web.answers import Named
from dashboards.web.data import Data, Pending
from dashboards.web.examples import Scored, block
from dashboards.web.figures import look, picture
from dashboards.web.named import ENSEMBLE, behind, link, look_up, name_of, scores_of, version_of
from dashboards.web.shown import shown
from dashboards.web.site import Site, address, as_csv, paging

SHOWN = 5
KINDS = {"first": "only the first is right", "second": "only the second is right", "both": "both are wrong"}
RIGHT = {"first": (True, False), "second": (False, True), "both": (False, False)}
SUGGESTED = 300
"""Names that the form offers."""


def compare(site: Site, request: Request) -> Response:
    """The page of a comparison; without names, a form."""
    data, where = site.data, address(request)
    names = sides(where)
    values: dict[str, Any] = {
        "title": "Compare", "names": names, "kinds": KINDS, "results": [], "waiting": False, "examples": None, "trouble": [], "plotted": [],
        "metrics": where.words("metric"), "percent": is_percent,
    }  # fmt: skip
    if len(names) < 2:
        return site.page(request, "compare.html", suggested=_suggested(data), **values)
    trouble: list[str] = []
    for other in names[1:]:
        try:
            found = _compared(data, names[0], other, values["metrics"], patience=3.0)
        except SweepError as error:
            trouble += error.lines()
            continue
        values["waiting"] = values["waiting"] or found is None
        values["results"].append((other, found or []))
    values["plotted"] = [other for other, found in values["results"] if any(_in_plot(one) for one in found)]
    if where.flag("csv"):
        return as_csv(HEADER, [row(other, one) for other, found in values["results"] for one in found], "comparison")
    pair = None
    if not trouble and not values["waiting"]:
        try:
            pair = _pair(data, names[0], where.word("with", names[1:], names[1]))
        except SweepError as error:
            trouble += error.lines()
        values["waiting"] = pair is None and not trouble
    if where.flag("examples") and pair is not None:
        return _examples_file(site, where, pair)
    version = f"{hash(version_of(data, names))}-{values['waiting']}"
    if (nothing := site.still_right(request, version)) is not None:
        return nothing
    if pair is not None:
        values["examples"] = _disagreements(site, where, pair)
    return site.page(request, "compare.html", version=version, suggested=_suggested(data), **values | {"trouble": trouble})


def _compared(data: Data, a: str, b: str, metrics: Sequence[str], patience: float) -> Sequence[Comparison] | None:
    """The comparisons of two names; ``None`` while they are worked out.

    Raises:
        SweepError: a name or a metric stands for nothing, or nothing can be compared.
    """
    work = partial(data.answers.compare, a, b, metrics)
    found = data.soon(("compare", a, b, tuple(metrics)), version_of(data, (a, b)), work, patience=patience, slow=True)
    return None if isinstance(found, Pending) else list(found)


def plot(site: Site, request: Request) -> Response:
    """The differences with their intervals as a picture."""
    where = address(request)
    names = sides(where)
    other = where.word("with", names[1:], names[1] if len(names) > 1 else "")
    found = _compared(site.data, names[0], other, where.words("metric"), patience=60.0) if other else []
    if found is None:
        raise EnvironmentFault("the comparison is still being worked out", next="ask for it again in a minute")
    several = len({one.a for one in found}) > 1
    known = [one for one in found if _in_plot(one)]
    lines = [
        plots.Estimate(
            f"{one.metric}, {one.a.partition(':')[2]}" if several else one.metric, one.difference,
            one.decisive.ci if one.decisive else None, best=one.better is not None,
        )
        for one in known[:60]
    ]  # fmt: skip
    format = where.word("as", ("svg", "png"), "svg")
    wanted = look(where, format)
    key = ("compare", str(sorted(where.values.multi_items())), str(version_of(site.data, names)))
    label = "first less second (percentage points)"
    made = site.pictures.get(key, lambda: plots.intervals(lines, wanted, label=label, best="told apart", zero=True))
    return picture(made, format, name=f"comparison.{format}", download=where.flag("save"))


def _in_plot(one: Comparison) -> bool:
    """Differences in percentage points share an axis; those of fractions stand in the table alone."""
    return one.difference is not None and is_percent(one.metric)


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
    """The names to compare; boxes of a sweep's table come as its cells and ensembles."""
    sweep = where.text("sweep")
    cells = [name_of(sweep, cell) for cell in where.words("cell")] if sweep else []
    return list(dict.fromkeys([*cells, *(name.strip() for name in where.words("side"))]))[:8]


def _suggested(data: Data) -> list[str]:
    """Sweeps, the newest first, each with its cells and ensembles."""
    found: list[str] = []
    for sweep in sorted(data.index.sweeps(), key=lambda row: -row.created):
        try:
            one = shown(data, sweep.id)
        except SweepError:  # its own page says what is wrong with it
            continue
        names = [name_of(sweep.id, cell) for cell in one.cells if cell]
        found += [sweep.id, *(name_of(sweep.id, f"{ENSEMBLE}{name}") for name in one.ensembles), *names][:SUGGESTED]
        if len(found) >= SUGGESTED:
            break
    return found[:SUGGESTED]


class _Pair:
    """A replicate of each side, laid beside each other."""

    def __init__(self, other: str, named: tuple[Named, Named], trials: tuple[TrialOutcome, TrialOutcome] | None) -> None:
        self.other = other
        self.named = named
        self.trials = trials
        self.keys: dict[str, tuple[str, str]] = {}
        if trials is not None:
            theirs = {scoring.benchmark: scoring.key for scoring in trials[1].scorings}
            self.keys = {
                scoring.benchmark: (str(scoring.key), str(theirs[scoring.benchmark]))
                for scoring in trials[0].scorings
                if theirs.get(scoring.benchmark)
            }

    def benchmark(self, where: Address) -> str:
        """The one that is asked for."""
        return where.word("benchmark", self.keys, next(iter(self.keys)))

    def examples(self, data: Data, benchmark: str) -> list[tuple[Scored, Scored]]:
        """The examples that both were scored on."""
        assert self.trials is not None
        a, b = (scores_of(data, named, trial, key) for named, trial, key in zip(self.named, self.trials, self.keys[benchmark], strict=True))
        return [(a[key], b[key]) for key in a if key in b]


def _pair(data: Data, first: str, other: str) -> _Pair | None:
    """``None`` while it is being worked out."""
    left, right = look_up(data, first), look_up(data, other)
    return None if left is None or right is None else _Pair(other, (left, right), _partners(left.sides, right.sides))


def _disagreements(site: Site, where: Address, pair: _Pair) -> dict[str, Any] | None:
    """Where the first and the one that is looked at differ, example by example, for a pair of their trials."""
    if not pair.keys or pair.trials is None:
        return None
    data, benchmark = site.data, pair.benchmark(where)
    pairs = pair.examples(data, benchmark)
    counts = Counter((x.right, y.right) for x, y in pairs)
    kind = where.word("kind", KINDS, "first" if counts[True, False] >= counts[False, True] else "second")
    chosen = _chosen(pairs, kind)
    categories = Counter((x.category or "(none)", (x.right, y.right)) for x, y in pairs)
    pages = paging(where, len(chosen), SHOWN)
    left, right = pair.trials
    texts = behind(data, pair.named[0], left, benchmark)
    of = [next((side.name.partition("@")[0] for side in named.sides), "") for named in pair.named]
    return {
        "other": pair.other, "benchmark": benchmark, "benchmarks": list(pair.keys), "counts": counts, "total": len(pairs),
        "kind": kind, "rows": [(block(x, texts), y) for x, y in chosen[pages.first_row - 1 if chosen else 0 : pages.last_row]],
        "paging": pages, "seeds": (left.seed, right.seed), "why": texts[2] if isinstance(texts[2], str) else None,
        "trials": (link(pair.named[0], left, of[0]), link(pair.named[1], right, of[1])), "categories": _by_category(categories),
    }  # fmt: skip


def _by_category(counts: Mapping[tuple[str, tuple[bool, bool]], int]) -> list[tuple[str | int, ...]]:
    ways = ((True, True), (True, False), (False, True), (False, False))
    return [(name, *(counts[name, way] for way in ways)) for name in dict.fromkeys(name for name, _ in counts)]


def _chosen(pairs: Sequence[tuple[Scored, Scored]], kind: str) -> list[tuple[Scored, Scored]]:
    """The pairs of a kind, those that are furthest apart first."""
    return sorted((pair for pair in pairs if (pair[0].right, pair[1].right) == RIGHT[kind]), key=lambda pair: -_distance(*pair))


def _examples_file(site: Site, where: Address, pair: _Pair) -> Response:
    """All examples that both were scored on, with the margins of both, as CSV."""
    pairs = pair.examples(site.data, pair.benchmark(where)) if pair.keys else []
    rows = [[x.key, x.id, x.category, x.margin, y.margin, int(x.right), int(y.right)] for x, y in pairs]
    header = ["example", "id", "category", "margin of first", "margin of second", "first is right", "second is right"]
    return as_csv(header, rows, "comparison-examples")


def _distance(x: Scored, y: Scored) -> float:
    return abs((x.margin or 0.0) - (y.margin or 0.0))


def _partners(left: Sequence[Side], right: Sequence[Side]) -> tuple[TrialOutcome, TrialOutcome] | None:
    """A trial of each side to lay beside the other: of the first cell that both have scored, and of one seed where there is one."""
    ours = [trial for side in left for trial in side.trials if trial.scorings]
    others = [trial for side in right for trial in side.trials if trial.scorings]
    for x in ours:
        for y in others:
            if x.seed == y.seed and x.id != y.id and (len(left) == 1 or x.cell == y.cell):
                return x, y
    first = next(iter(ours), None)
    second = next((trial for trial in others if first is None or trial.id != first.id), None)
    return None if first is None or second is None else (first, second)
