"""A sweep while one of its pages is made: its cells, its states, its table."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from core.analysis.report import Report
from core.definition.ensembles import Ensemble
from core.definition.plan import cell_name
from core.errors import EnvironmentFault, SweepError
from core.store import TrialRow
from core.workspace.registration import Revision
from dashboards.report.verdicts import Verdict
from dashboards.web.address import query
from dashboards.web.data import Data, Pending

LARGE = 1000
"""Cells of a sweep whose table is made when its own page is opened, and not before."""
NAMED = 10
"""Best cells of a column that are named with their mistakes."""
WHOLE = 0.2
"""Seconds that a page with a table waits for the one with all statistics."""


@dataclass(frozen=True)
class Shown:
    """What is known of a sweep while one of its pages is made.

    Attributes:
        revision: the newest.
        version: changes with everything that the index learns of it.
        results: changes with states, results and scorings alone.
        counts: trials by state.
        cells: {name of a cell: its trials}, in the order of the plan.
        stages: what several trials need, each run once.
    """

    revision: Revision
    version: str
    results: str
    counts: Mapping[str, int]
    cells: Mapping[str, Sequence[TrialRow]]
    stages: Sequence[TrialRow] = ()

    @property
    def id(self) -> str:
        """The sweep."""
        return self.revision.sweep.id

    @property
    def ensembles(self) -> list[str]:
        """Names of its ensembles' rows, ``NAME/RULE``; without those of a rule that is not known here."""
        found: list[str] = []
        for one in self.revision.meta.get("ensembles", ()):
            with suppress(SweepError):
                found += Ensemble.from_json(one).rows
        return found

    @property
    def axes(self) -> list[str]:
        """Paths of the cells' coordinates."""
        return list(dict.fromkeys(path for trials in self.cells.values() for path in trials[0].cell))


def shown(data: Data, sweep: str) -> Shown:
    """Look a sweep up.

    Raises:
        NotHere: there is none of this name.
    """
    revision = data.revision(sweep)
    results = data.browser.version(sweep, points=False)
    known = data.soon(("cells", sweep), results, lambda: _cells(data.index.trials(sweep)), patience=20.0)
    cells, stages = ({}, []) if isinstance(known, Pending) else known
    return Shown(revision, data.browser.version(sweep), results, data.browser.counts().get(sweep, {}), cells, stages)


def _cells(rows: Iterable[TrialRow]) -> tuple[dict[str, list[TrialRow]], list[TrialRow]]:
    found: dict[str, list[TrialRow]] = {}
    stages = []
    for row in rows:
        if row.stage is not None:
            stages.append(row)
        else:
            found.setdefault(cell_name(row.cell), []).append(row)
    return found, stages


def mistakes_of(data: Data, found: Shown, best: Verdict) -> list[tuple[str, str | None]]:
    """The cells of a verdict, each with the address of its mistakes on that benchmark; ``None`` where no trial of it is scored."""
    benchmark = best.metric.partition("/")[0]
    cells = [name for name in best.cells if name in found.cells][:NAMED]
    scores = data.index.scores([trial.id for name in cells for trial in found.cells[name]])
    addresses = {}
    for name in cells:
        known = [trial.id for trial in found.cells[name] if scores.get(trial.id)]
        here = [id for id in known if any(score.benchmark == benchmark for score in scores[id])]
        where = [("sweep", found.id), *([("benchmark", benchmark)] if here else [])]
        addresses[name] = f"/trial/{(here or known)[0]}{query(where)}#examples" if known else None
    return [(name, addresses.get(name)) for name in best.cells]


@dataclass(frozen=True)
class Table:
    """A sweep's table as far as it is worked out.

    Attributes:
        report: ``None`` while even the first one is worked out.
        partial: whether it is still without its statistics by example.
        fresh: whether it is of the sweep as it is now; else it is the one before.
    """

    report: Report | None
    partial: bool
    fresh: bool

    @property
    def version(self) -> str:
        """Changes with what it shows, beside the sweep's own version."""
        return f"{'quick' if self.partial else 'full'}-{self.report is not None}-{self.fresh}"


def downloaded(data: Data, found: Shown, *, examples: bool, patience: float) -> Report:
    """The sweep's table as it is now, for a file, which has nothing to show before it is there.

    Raises:
        EnvironmentFault: it took too long.
    """
    report = data.soon(*_question(data, found, examples), patience=patience, slow=examples)
    if isinstance(report, Pending):
        raise EnvironmentFault("the table is still being worked out", next="ask for it again in a minute")
    made: Report = report
    return made


def table_of(data: Data, found: Shown) -> Table:
    """The sweep's table for a page: at once where there is one of any age."""
    ready = data.ready(*_question(data, found, True)[:2])
    if ready is not None:
        return Table(ready, False, True)
    quick, fresh = data.latest(*_question(data, found, False))
    if isinstance(quick, Pending):
        return Table(None, True, False)
    if not fresh:
        return Table(quick, True, False)
    # one after the other: both at once would only keep each other waiting
    whole, fresh = data.latest(*_question(data, found, True), slow=True, patience=WHOLE)
    return Table(whole, False, True) if fresh else Table(quick, True, True)


def there(data: Data, found: Shown) -> Report | Pending | None:
    """The table where it is worked out; else it is begun, and nobody waits. Of a large sweep only what its own page has asked for."""
    if len(found.cells) > LARGE:
        ready = (data.ready(*_question(data, found, examples)[:2]) for examples in (True, False))
        return next((one for one in ready if one is not None), None)
    quick, _ = data.latest(*_question(data, found, False), patience=0.0)
    if isinstance(quick, Pending):
        return quick
    whole: Report | Pending = data.latest(*_question(data, found, True), slow=True, patience=0.0)[0]
    return whole


def warm(data: Data) -> None:
    """Begin the table of the newest sweep, which is what readers open first."""
    newest = max(data.index.sweeps(), key=lambda row: row.created, default=None)
    if newest is not None:
        data.latest(*_question(data, shown(data, newest.id), False), patience=0.0)


def _question(data: Data, found: Shown, examples: bool) -> tuple[Hashable, Hashable, Callable[[], Report]]:
    return ("report", found.id, examples), found.results, lambda: data.answers.report(data.index, found.id, examples=examples)
