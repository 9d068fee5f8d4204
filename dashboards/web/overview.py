"""Overview: every sweep with its progress, what is left, what it cost and what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response

from core.control.states import OPEN
from core.errors import SweepError
from core.store import SweepRow
from core.store.browse import AttemptRow
from dashboards.report.verdicts import Verdict, verdicts
from dashboards.web.data import Data, Pending
from dashboards.web.shown import mistakes_of, shown, there
from dashboards.web.site import Site, address, as_csv

TABLES = 20
"""Sweeps, the newest, of which the overview says what is best."""


@dataclass
class Waste:
    """Attempts that ended without completing, and the hours that were for nothing."""

    attempts: int = 0
    hours: float = 0.0
    gpu_hours: float = 0.0


@dataclass
class Cost:
    """Where hours went. An attempt without a known end counts up to its last metrics line.

    Attributes:
        hours: of attempts, whatever the number of their GPUs.
        gpu_hours: the same times their GPUs.
        wasted: hours of attempts that ended without bringing their trial further than a checkpoint that another one used.
        seconds: of each finished attempt, for an estimate of what is left.
        waste: by cause, or by the state of an attempt that has none.
    """

    hours: float = 0.0
    gpu_hours: float = 0.0
    wasted: float = 0.0
    wasted_gpu: float = 0.0
    seconds: list[float] = field(default_factory=list)
    waste: dict[str, Waste] = field(default_factory=dict)


def cost(attempts: Sequence[AttemptRow]) -> Cost:
    """What attempts cost, and what of it was for nothing: an attempt that did not complete, less what its checkpoints saved."""
    found = Cost()
    for attempt in attempts:
        if attempt.started is None or attempt.ended is None:
            continue
        hours = max(0.0, attempt.ended - attempt.started) / 3600
        found.hours += hours
        found.gpu_hours += hours * attempt.gpus
        if attempt.state == "completed":
            found.seconds.append(hours * 3600)
        elif attempt.state is not None and attempt.state != "running":
            lost = hours * (1 - min(1.0, attempt.checkpoint / attempt.steps)) if attempt.steps else hours
            found.wasted += lost
            found.wasted_gpu += lost * attempt.gpus
            of = found.waste.setdefault(attempt.cause or attempt.state, Waste())
            of.attempts += 1
            of.hours += lost
            of.gpu_hours += lost * attempt.gpus
    return found


@dataclass(frozen=True)
class Line:
    """A sweep on the overview.

    Attributes:
        left: about how many seconds it still takes, where that can be said.
        best: what is best by the metric that it selects by and by its first other one, each with the address of its mistakes;
            ``None`` while the table is worked out.
    """

    row: SweepRow
    counts: dict[str, int]
    causes: dict[str, int]
    cost: Cost
    left: float | None
    best: Sequence[tuple[Verdict, str | None]] | None = ()

    @property
    def done(self) -> int:
        """Trials with a result."""
        return self.counts.get("completed", 0)


def lines(site: Site) -> list[Line]:
    """All sweeps, the newest first."""
    data = site.data
    counts, causes = data.browser.counts(), data.browser.causes()
    found = []
    for number, row in enumerate(sorted(data.index.sweeps(), key=lambda row: -row.created)):
        version = data.browser.version(row.id)
        spent = data.soon(("cost", row.id), version, lambda row=row: cost(data.browser.attempts(row.id)), patience=5.0)  # type: ignore[misc]
        spent = spent if isinstance(spent, Cost) else Cost()
        states = counts.get(row.id, {})
        found.append(Line(row, states, causes.get(row.id, {}), spent, _left(states, spent), _best(data, row.id) if number < TABLES else ()))
    return found


def _best(data: Data, sweep: str) -> list[tuple[Verdict, str | None]] | None:
    try:
        found = shown(data, sweep)
    except SweepError:  # its own page says what is wrong with it
        return []
    report = there(data, found)
    if isinstance(report, Pending):
        return None
    known = [one for one in verdicts(report) if one.cells[0] in found.cells] if report is not None else []
    objective = str(found.revision.meta.get("objective", {}).get("metric", ""))
    known.sort(key=lambda one: one.metric != objective)
    return [(one, mistakes_of(data, found, one)[0][1]) for one in known[:2]]


def _left(states: dict[str, int], spent: Cost) -> float | None:
    """Seconds until the open trials are through, at the mean pace of those that are, as many at once as run now."""
    waiting = sum(number for state, number in states.items() if state in OPEN)
    running = states.get("running", 0)
    if not waiting or not running or not spent.seconds:
        return None
    return waiting / running * sum(spent.seconds) / len(spent.seconds)


def overview(site: Site, request: Request) -> Response:
    """The first page."""
    where = address(request)
    kinds = where.word("show", ("all", "real", "rehearsals"), "all")
    text = where.text("q").lower()
    shown = [
        line
        for line in lines(site)
        if text in f"{line.row.id} {line.row.project}".lower() and (kinds == "all" or line.row.rehearsal == (kinds == "rehearsals"))
    ]
    if where.flag("csv"):
        header = [
            "sweep",
            "project",
            "rehearsal",
            "revision",
            "launched",
            "trials",
            *_states(shown),
            "attempt hours",
            "GPU-hours",
            "causes",
        ]
        rows = [
            [
                line.row.id, line.row.project, line.row.rehearsal, line.row.revision, line.row.created, line.row.trials,
                *(line.counts.get(state, 0) for state in _states(shown)), round(line.cost.hours, 4), round(line.cost.gpu_hours, 4),
                "; ".join(f"{cause} {n}" for cause, n in line.causes.items()),
            ]
            for line in shown
        ]  # fmt: skip
        return as_csv(header, rows, "sweeps")
    seen = [(line.row.id, line.row.revision, sorted(line.counts.items()), line.cost.hours, line.best) for line in shown]
    version = str(hash(repr(seen)))
    if (nothing := site.still_right(request, version)) is not None:
        return nothing
    waiting = any(line.best is None for line in shown)
    return site.page(
        request, "overview.html", title="Sweeps", waiting=waiting, lines=shown, kinds=kinds, text=where.text("q"), version=version
    )


def _states(found: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(state for line in found for state in line.counts))
