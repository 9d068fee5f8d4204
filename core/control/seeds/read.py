"""Reading a sweep with sequential seeds back from files. What cannot change any more is read once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

from core.analysis.outcomes import TrialOutcome
from core.analysis.sequential import Rule, Standing
from core.analysis.standing import standings
from core.control.derive import UnitStatus
from core.control.seeds.state import SeedsState, last_settled
from core.control.states import OPEN
from core.control.values import TRAINING, final_value, scoring_of
from core.definition.plan import PlannedTrial, cell_name
from core.errors import IntegrityError
from core.evaluation.credits import Credits, collect
from core.evaluation.score_table import ScoreTable
from core.workspace.growth import GrowthLog
from core.workspace.layout import Workspace
from core.workspace.registration import Revision

Unit = tuple[PlannedTrial, UnitStatus, Mapping[str, UnitStatus]]
"""A planned trial with the status of its training and of its scorings by benchmark."""


class SeedsReader:
    """Reads where a sweep stands under its rule, again and again, at the price of what is new.

    Args:
        workspace: the workspace.
        revision: whose definition has a rule.
        log: its growth, read by the caller.
    """

    def __init__(self, workspace: Workspace, revision: Revision, log: GrowthLog) -> None:
        self.rule = Rule.from_json(revision.meta["seeds"])
        self.workspace, self.log = workspace, log
        self._values: dict[str, float | None] = {}
        self._judged: tuple[str, list[Standing]] | None = None

    def state(self, units: Sequence[Unit], halted: bool) -> SeedsState:
        """Where the sweep stands, given its trials in order."""
        cells: dict[str, list[Unit]] = {}
        for unit in units:
            if unit[0].stage is None:
                cells.setdefault(cell_name(unit[0].cell), []).append(unit)
        benchmark = self.rule.metric.partition("/")[0]
        waits = {planned.id for planned, train, scorings in units if _open(train, scorings.get(benchmark))}
        outcomes = {name: [self._outcome(unit, unit[0].id in waits) for unit in found] for name, found in cells.items()}
        mark = self._mark(outcomes, waits)
        settled = last_settled(self.log.records, self.rule.to_json())
        settled = settled if settled is not None and settled.facts["mark"] == mark else None
        if self._judged is None or self._judged[0] != mark:
            said = [Standing(**one) for one in settled.facts["standings"]] if settled is not None else None
            self._judged = (mark, said if said is not None else standings(self.rule, outcomes, waits, self._credits(units, waits)))
        first = {name: found[0][0] for name, found in cells.items()}
        had = {name: frozenset(planned.seed for planned, _, _ in found) for name, found in cells.items()}
        return SeedsState(self.rule, self._judged[1], first, had, settled is not None, halted, mark)

    def _outcome(self, unit: Unit, waits: bool) -> TrialOutcome:
        planned, train, _ = unit
        value = None
        if train.state == "completed" and not waits:
            if planned.id not in self._values:
                self._values[planned.id] = final_value(self.workspace, planned, self.rule.metric)
            value = self._values[planned.id]
        return TrialOutcome(planned.id, planned.cell, planned.seed, train.state, metrics={self.rule.metric: value})

    def _mark(self, outcomes: Mapping[str, Sequence[TrialOutcome]], waits: set[str]) -> str:
        told = [
            (trial.id, trial.metrics[self.rule.metric], trial.id in waits, trial.state in ("cancelled", "pruned"))
            for trials in outcomes.values()
            for trial in trials
        ]
        return hashlib.sha256(json.dumps([self.rule.to_json(), told]).encode()).hexdigest()[:32]

    def _credits(self, units: Sequence[Unit], waits: set[str]) -> list[Credits]:
        """What the tests by example need, once no seed is open; a table that cannot be read leaves them to the seeds."""
        benchmark = self.rule.metric.partition("/")[0]
        if self.rule.halfwidth is not None or waits or benchmark in TRAINING:
            return []

        def tables() -> Iterator[tuple[str, ScoreTable]]:
            for planned, _, _ in units:
                scoring = scoring_of(self.workspace, planned, benchmark)
                if scoring is not None and self._values.get(planned.id) is not None:
                    yield planned.id, ScoreTable.read(scoring.table)

        try:
            return collect(tables())
        except (IntegrityError, ValueError):
            return []


def _open(train: UnitStatus, scoring: UnitStatus | None) -> bool:
    """Whether a trial may still get a value by itself."""
    return train.state in OPEN or (train.state == "completed" and scoring is not None and scoring.state in OPEN)
