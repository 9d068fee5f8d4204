"""Reading a search back from files: growth records, journals, results. What cannot change any more is read once."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from core.control.derive import UnitStatus
from core.control.search.study import Curve, SearchState, Study, Suggestion, Told
from core.control.seeds.state import last_settled
from core.control.states import OPEN
from core.control.values import final_value
from core.definition.plan import PlannedTrial
from core.definition.searching import SearchConfig
from core.workspace.growth import Growth, GrowthLog
from core.workspace.layout import Workspace
from core.workspace.lineage import MetricFeed
from core.workspace.registration import Revision

if TYPE_CHECKING:
    from core.definition.definition import SweepDefinition
    from core.definition.searched import Point

SUGGESTION, REPLICATE, EXHAUSTED, HALT, GO = "suggestion", "replicate", "exhausted", "halt", "go"
"""Kinds of growth records that a search writes and reads."""


def benchmark_key(benchmark: Mapping[str, Any]) -> str:
    """What tells one configuration of a benchmark from another, in a revision's record of their revisions."""
    return json.dumps(benchmark, sort_keys=True)


def is_growing(revision: Revision, log: GrowthLog) -> bool:
    """Whether a pass may still add trials, from the log alone."""
    about, rule = revision.meta.get("search"), revision.meta.get("seeds")
    if rule is not None:
        return not halted(log.records) and last_settled(log.records, rule) is None
    if about is None or halted(log.records):
        return False
    asked = sum(1 for record in log.records if record.kind == SUGGESTION)
    exhausted = sum(1 for record in log.records if record.kind == EXHAUSTED)
    replicated = sum(1 for record in log.records if record.kind == REPLICATE)
    return (asked < int(about["cells"]) and exhausted < int(about["points"])) or replicated < int(about["replicas"])


def halted(records: list[Growth]) -> bool:
    """Whether the last word was to stop asking."""
    words = [record.kind for record in records if record.kind in (HALT, GO)]
    return bool(words) and words[-1] == HALT


@dataclass
class _Known:
    """What has been read of one trial."""

    feed: MetricFeed
    starts: set[int] = field(default_factory=set)
    points: dict[int, float] = field(default_factory=dict)
    total: int | None = None
    values: tuple[float, ...] | None = None


class SearchReader:
    """Reads the search of a revision, again and again, at the price of what is new.

    Args:
        workspace: the workspace.
        revision: whose definition has a search.
        log: its growth, read by the caller.

    Raises:
        SweepError: the definition as launched cannot be read any more (a prompt's file is gone or changed, say).
    """

    def __init__(self, workspace: Workspace, revision: Revision, log: GrowthLog) -> None:
        # the definition language, for the sweeps that search alone: a look at the others imports none of it
        from core.definition import load
        from core.definition.searched import points

        self.revision, self.log = revision, log
        self.definition: SweepDefinition = load(revision.folder / "definition.yaml", rehearsal=revision.rehearsal, code=revision.code())
        assert self.definition.search is not None
        self.config: SearchConfig = self.definition.search
        self.points: dict[str, Point] = {point.name: point for point in points(self.definition)}
        self.workspace = workspace
        self._known: dict[str, _Known] = {}
        pruner = self.config.pruner
        validated = [item.metric for item in self.definition.objectives if item.metric.startswith("validation/")]
        self.watched = (pruner.metric if pruner is not None else None) or (validated[0] if validated else None)

    def state(self, trials: Mapping[str, tuple[UnitStatus, Mapping[str, UnitStatus]]]) -> SearchState:
        """The search as it is, given the status of each planned trial and of its scorings by benchmark."""
        warm = self.revision.meta["search"]["warm"]
        studies = []
        for name in self.points:
            told = [(item["chosen"], tuple(item["values"])) for item in warm if item["study"] == name]
            own = [record for record in self.log.records if record.facts.get("study") == name]
            suggestions: list[Suggestion] = []
            replicates: dict[str, bool] = {}
            for record in own:
                planned = record.trials[0] if record.trials else None
                if record.kind == SUGGESTION and planned is not None:
                    suggestions.append(self._suggestion(len(suggestions) + 1, planned, record, *trials[planned.id]))
                if record.kind == REPLICATE and planned is not None:
                    replicates[f"{record.facts['of']}:{planned.seed}"] = trials[planned.id][0].state in OPEN
            exhausted = next((record.why for record in own if record.kind == EXHAUSTED), None)
            studies.append(Study(name, suggestions, replicates, told, exhausted))
        return SearchState(self.config, self.definition.objectives, self.definition.seeds, studies, halted(self.log.records))

    def _suggestion(
        self, number: int, planned: PlannedTrial, record: Growth, train: UnitStatus, scorings: Mapping[str, UnitStatus]
    ) -> Suggestion:
        known = self._known.setdefault(planned.id, _Known(MetricFeed(self.workspace.trial(planned.id))))
        told, reason = self._told(planned, known, train, scorings)
        facts = record.facts
        return Suggestion(
            number, planned, facts["chosen"], told, known.values if told == "complete" else None, self._curve(known, train), reason,
            facts["attrs"], facts["shared"],
        )  # fmt: skip

    def _told(self, planned: PlannedTrial, known: _Known, train: UnitStatus, scorings: Mapping[str, UnitStatus]) -> tuple[Told, str]:
        if train.state == "pruned":
            return "pruned", train.reason
        if train.state in ("failed", "cancelled"):
            return "failed", train.reason
        if train.state != "completed":
            return "open", ""
        if known.values is None:
            found: list[float] = []
            for objective in self.definition.objectives:
                group = objective.metric.partition("/")[0]
                scoring = scorings.get(group)
                if scoring is not None and scoring.state in OPEN:
                    return "open", ""
                value = final_value(self.workspace, planned, objective.metric)
                if value is None or not math.isfinite(value):
                    return "failed", f"it reports no {objective.metric}"
                found.append(float(value))
            known.values = tuple(found)
        return "complete", ""

    def _curve(self, known: _Known, train: UnitStatus) -> Curve:
        if self.watched is None:
            return ()
        name = self.watched.partition("/")[2]
        lines = known.feed.read()
        if set(known.feed.started) != known.starts:  # another attempt: everything has been read anew
            known.starts = set(known.feed.started)
            known.points = {}
        known.points.update({line.step: line.values.get(name, math.nan) for line in lines if line.group == "validation"})
        progress = train.last.progress if train.last is not None else None
        known.total = int(progress["total"]) if progress is not None else known.total
        if not known.total:
            return ()
        total = known.total
        return tuple((math.floor(100 * step / total + 1e-9), value) for step, value in sorted(known.points.items()))
