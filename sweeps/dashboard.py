"""Answers for the dashboard's pages, from the rooms that the command uses too."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from core.analysis.compare import Comparison
from core.analysis.report import Report
from core.control.states import OPEN
from core.control.tick import SweepReader
from core.evaluation.benchmarks import published_revisions
from core.store import Index
from core.workspace.layout import Workspace
from core.workspace.registration import newest, resolve
from dashboards.web.answers import ClusterState, Named, Refreshed
from sweeps import wiring
from sweeps.cluster_state import ClusterWatch
from sweeps.comparing import compare_named, look_up
from sweeps.reporting import build, gather, recorded_study
from sweeps.watching import mirror_once


class HouseAnswers:
    """Implements :class:`dashboards.web.answers.Answers`."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._readers: dict[str, SweepReader] = {}
        self._lock = threading.Lock()
        self._cluster = ClusterWatch(workspace)
        published_revisions()  # every table needs them: the benchmarks are loaded before a reader waits for one

    def refresh(self, index: Index, sweep: str) -> Refreshed:
        """Index and derived states brought up to date."""
        revision = newest(self._workspace.sweep(sweep))
        if revision is None:
            return Refreshed(False)
        with self._lock:
            reader = self._readers.get(sweep)
            if reader is None or reader.revision.number != revision.number:
                reader = self._readers[sweep] = wiring.reader(self._workspace, revision)
            state = reader.state()
            changes = mirror_once(self._workspace, reader, state, index)
            moves = any(unit.state in OPEN for _, unit in state.units())
            if not moves:
                del self._readers[sweep]  # a reader of thousands of ended trials is memory for nothing
        return Refreshed(moves, tuple(changes.problems))

    def report(self, index: Index, sweep: str, *, examples: bool) -> Report:
        """As ``sweep report``; without examples from the index alone, which :meth:`refresh` keeps up to the files."""
        revision = resolve(self._workspace, sweep)
        # where a rule adds seeds, the files tell how often it has looked, and intervals depend on that
        found = None if examples or "seeds" in revision.meta else recorded_study(self._workspace, revision, index)
        return gather(self._workspace, revision, examples=examples) if found is None else build(self._workspace, found, examples=False)

    def named(self, name: str) -> Named:
        """As ``sweep compare`` takes a name."""
        sides, ensembles = look_up(self._workspace, name)
        wanted = {trial.id for side in sides.values() for trial in side.trials}
        made = [(one, trial) for one in ensembles for trial in one.trials if trial.id in wanted]
        tables = {place: table for one, trial in made for place, table in one.tables.items() if place[0] == trial.id}
        members = {trial.id: [member for part in one.members for member in part.trials if member.seed == trial.seed] for one, trial in made}
        return Named(list(sides.values()), tables, members)

    def compare(self, a: str, b: str, metrics: Sequence[str]) -> Sequence[Comparison]:
        """As ``sweep compare``."""
        return compare_named(self._workspace, a, b, metrics).comparisons

    def cluster(self) -> ClusterState:
        """One look, by whoever asks; the scheduler's answer is shared with all processes of the user."""
        return self._cluster.look()
