"""A sweep while one of its pages is made: its cells, its states, its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from core.analysis.report import Report
from core.definition.plan import cell_name
from core.errors import EnvironmentFault
from core.store import TrialRow
from core.workspace.registration import Revision
from dashboards.web.data import PATIENCE, Data, Pending


@dataclass(frozen=True)
class Shown:
    """What is known of a sweep while one of its pages is made.

    Attributes:
        revision: the newest.
        version: changes with everything that the index learns of it.
        results: changes with states, results and scorings alone.
        counts: trials by state.
        cells: {name of a cell: its trials}, in the order of the plan.
    """

    revision: Revision
    version: str
    results: str
    counts: Mapping[str, int]
    cells: Mapping[str, Sequence[TrialRow]]

    @property
    def id(self) -> str:
        """The sweep."""
        return self.revision.sweep.id

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
    cells = data.soon(("cells", sweep), results, lambda: _cells(data.index.trials(sweep)), patience=20.0)
    if isinstance(cells, Pending):
        cells = {}
    return Shown(revision, data.browser.version(sweep), results, data.browser.counts().get(sweep, {}), cells)


def _cells(rows: Iterable[TrialRow]) -> dict[str, list[TrialRow]]:
    found: dict[str, list[TrialRow]] = {}
    for row in rows:
        found.setdefault(cell_name(row.cell), []).append(row)
    return found


def quick_report(data: Data, found: Shown, patience: float) -> Report | Pending:
    """The sweep's table without statistics by example."""
    report: Report | Pending = data.soon(
        ("report", found.id, "quick"), found.results, lambda: data.answers.report(found.id, examples=False), patience=patience
    )
    return report


def full_report(data: Data, found: Shown, patience: float) -> Report | Pending:
    """The sweep's table with all statistics."""
    report: Report | Pending = data.soon(
        ("report", found.id, "full"), found.results, lambda: data.answers.report(found.id, examples=True), patience=patience, slow=True
    )
    return report


def there(report: Report | Pending) -> Report:
    """The report of a download, which has nothing to show before it is there.

    Raises:
        EnvironmentFault: it took too long.
    """
    if isinstance(report, Pending):
        raise EnvironmentFault("the table is still being worked out", next="ask for it again in a minute")
    return report


def report_of(data: Data, found: Shown) -> tuple[Report | None, bool]:
    """The sweep's table, and whether it is still without its statistics by example; ``None`` while even that is worked out."""
    ready = data.ready(("report", found.id, "full"), found.results)
    if ready is not None:
        return ready, False
    # one after the other: both at once would only keep each other waiting
    quick = quick_report(data, found, PATIENCE)
    if isinstance(quick, Pending):
        return None, True
    whole = full_report(data, found, PATIENCE)
    return (quick, True) if isinstance(whole, Pending) else (whole, False)
