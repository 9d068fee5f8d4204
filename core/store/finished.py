"""A sweep whose every trial has ended, from the index alone: no file of the workspace is looked at.

What has ended stays as it is until somebody retries it or launches again, and both bring the index up to the files. So a table over
thousands of finished trials costs a few queries; listing and reading their folders costs minutes on a shared file system. Whoever keeps
the index up to the files himself may take a sweep that still moves in the same way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, func, select

from core.control.states import OPEN
from core.store.index import Index, Score
from core.store.models import AttemptTable, PlannedTable, ScoreMetricTable, ScoringTable, SweepTable, TrialTable


@dataclass(frozen=True)
class Finished:
    """One trial that has ended, or as it was last recorded.

    Attributes:
        id: of the trial.
        cell: its coordinates.
        seed: the replicate.
        shape: key of the resources that it asked for.
        state: how it ended, or its state at the last record.
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


def finished(index: Index, sweep: str, revision: int, *, moving: bool = False) -> list[Finished] | None:
    """The trials of the cells of a revision in the plan's order; ``None`` where the index does not know that all of them have ended.

    A completed trial must have every scoring that is asked for: one without may still be scored. ``moving`` takes trials as they were last
    recorded, whatever may still become of them; ``None`` is then another revision alone.
    """
    p, t, s, v, a = PlannedTable, TrialTable, ScoringTable, ScoreMetricTable, AttemptTable
    mine = select(p.trial).where(p.sweep == sweep)
    with index.reading() as connection:
        if connection.scalar(select(SweepTable.revision).where(SweepTable.id == sweep)) != revision:
            return None
        texts = [cast(column, Text) for column in (p.cell, p.scorings, t.result)]
        rows = connection.execute(
            select(p.trial, p.seed, p.shape, p.stage, t.state, t.cause, t.reason, *texts)
            .outerjoin(t, t.id == p.trial)
            .where(p.sweep == sweep)
            .order_by(p.position)
        ).all()
        if not moving and any(row.state is None or row.state in OPEN for row in rows):
            return None
        values: dict[str, dict[str, float | None]] = defaultdict(dict)
        of_trials = (v.kind == "trial") & v.owner.in_(mine)
        for key, name, value in connection.execute(select(v.key, v.name, v.value).where(of_trials)).all():
            values[key][name] = value
        scores: dict[str, Score] = {}
        query = select(s.owner, s.key, s.benchmark, s.revision, s.n, s.partial).where((s.kind == "trial") & s.owner.in_(mine))
        for owner, key, benchmark, number, n, partial in connection.execute(query).all():
            scores[key] = Score(owner, key, benchmark, number, n, partial, values[key])
        spent = select(a.trial, func.sum(a.ended - a.started)).where(a.trial.in_(mine), a.ended.is_not(None), a.started.is_not(None))
        seconds = {trial: float(total or 0.0) for trial, total in connection.execute(spent.group_by(a.trial)).all()}
    out = []
    columns = [_parsed([row[place] for row in rows]) for place in (-3, -2, -1)]
    for (trial, seed, shape, stage, state, cause, reason, *_), cell, asked, result in zip(rows, *columns, strict=True):
        if stage is not None:
            continue
        found = tuple([scores[key] for key in asked.values() if key in scores])
        if state == "completed" and not moving and (result is None or len(found) < len(asked)):
            return None
        result = (result or {}) if state == "completed" else {}
        metrics, flags = result.get("metrics", {}), tuple(result.get("flags", ()))
        known = seconds.get(trial)
        out.append(Finished(trial, cell, seed, shape, state or "pending", cause, reason, asked, metrics, flags, found, known))
    return out


def _parsed(column: Sequence[Any]) -> list[Any]:
    """What a column of JSON holds, parsed at once: for thousands of small texts a call each costs more than they do."""
    return list(json.loads(f"[{','.join([text or 'null' for text in column])}]"))
