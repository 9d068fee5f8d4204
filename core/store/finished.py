"""A sweep whose every trial has ended, from the index alone: no file of the workspace is looked at.

What has ended stays as it is until somebody retries it or launches again, and both bring the index up to the files. So a table over
thousands of finished trials costs a few queries; listing and reading their folders costs minutes on a shared file system.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select

from core.control.states import OPEN
from core.store.index import Index, Score
from core.store.models import AttemptTable, PlannedTable, ScoreMetricTable, ScoringTable, SweepTable, TrialTable


@dataclass(frozen=True)
class Finished:
    """One trial that has ended.

    Attributes:
        id: of the trial.
        cell: its coordinates.
        seed: the replicate.
        shape: key of the resources that it asked for.
        state: how it ended.
        cause: why it failed, where it did.
        reason: one sentence.
        asked: the key of each scoring that the sweep asks for, by benchmark.
        metrics: of its training, where it has a result.
        flags: of its result.
        scores: its finished scorings.
        seconds: wall-clock of all its attempts, where known.
    """

    id: str
    cell: Mapping[str, Any]
    seed: int
    shape: str
    state: str
    cause: str | None
    reason: str | None
    asked: Mapping[str, str]
    metrics: Mapping[str, float | None]
    flags: tuple[str, ...]
    scores: tuple[Score, ...]
    seconds: float | None


def finished(index: Index, sweep: str, revision: int) -> list[Finished] | None:
    """The trials of the cells of a revision in the plan's order; ``None`` where the index does not know that all of them have ended.

    A completed trial must have every scoring that is asked for: one without may still be scored.
    """
    p, t, s, v, a = PlannedTable, TrialTable, ScoringTable, ScoreMetricTable, AttemptTable
    mine = select(p.trial).where(p.sweep == sweep)
    with index.reading() as connection:
        if connection.scalar(select(SweepTable.revision).where(SweepTable.id == sweep)) != revision:
            return None
        rows = connection.execute(
            select(p.trial, p.cell, p.seed, p.shape, p.scorings, p.stage, t.state, t.cause, t.reason, t.result)
            .outerjoin(t, t.id == p.trial)
            .where(p.sweep == sweep)
            .order_by(p.position)
        ).all()
        if any(row.state is None or row.state in OPEN for row in rows):
            return None
        values: dict[str, dict[str, float | None]] = {}
        of_trials = (v.kind == "trial") & v.owner.in_(mine)
        for key, name, value in connection.execute(select(v.key, v.name, v.value).where(of_trials)):
            values.setdefault(key, {})[name] = value
        scores: dict[str, Score] = {}
        query = select(s.owner, s.key, s.benchmark, s.revision, s.n, s.partial).where((s.kind == "trial") & s.owner.in_(mine))
        for owner, key, benchmark, number, n, partial in connection.execute(query):
            scores[key] = Score(owner, key, benchmark, number, n, partial, values.get(key, {}))
        spent = select(a.trial, func.sum(a.ended - a.started)).where(a.trial.in_(mine), a.ended.is_not(None), a.started.is_not(None))
        seconds = {trial: float(total or 0.0) for trial, total in connection.execute(spent.group_by(a.trial))}
    out = []
    for row in rows:
        if row.stage is not None:
            continue
        found = tuple(scores[key] for key in row.scorings.values() if key in scores)
        if row.state == "completed" and (row.result is None or len(found) < len(row.scorings)):
            return None
        result = row.result if row.state == "completed" else {}
        flags, metrics = tuple(result.get("flags", ())), dict(result.get("metrics", {}))
        out.append(
            Finished(
                row.trial, row.cell, row.seed, row.shape, row.state, row.cause, row.reason, row.scorings, metrics, flags, found,
                seconds.get(row.trial),
            )
        )  # fmt: skip
    return out
