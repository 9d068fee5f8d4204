"""The index: the SQL database that answers questions quickly. It holds nothing that files do not, and is made anew at will.

::

    index = Index.open(workspace)
    index.sync(workspace)                    # reads what is new since the last time
    index.final_metrics(ids)                 # {trial: {"validation/accuracy": 0.91, ...}}
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.exc import DatabaseError

from core.store.engine import Database, location
from core.store.models import (
    AttemptTable,
    MetricTable,
    PlannedTable,
    RevisionTable,
    ScoreMetricTable,
    ScoringTable,
    SweepTable,
    TrackerMarkTable,
    TrialTable,
)  # fmt: skip
from core.store.sync import CHUNK, Changes, look_at, sync_baselines, sync_sweep, sync_trials, upsert
from core.workspace.layout import Workspace

MANY = 900
"""Ids in one statement."""


@dataclass(frozen=True)
class StateRow:
    """What control derives about a trial and hands in."""

    trial: str
    state: str
    cause: str | None = None
    flags: Sequence[str] = ()
    attempts: int = 0
    reason: str = ""


@dataclass(frozen=True)
class SweepRow:
    """A sweep as its newest revision says; ``created`` is when that was launched, unix seconds."""

    id: str
    name: str
    project: str
    rehearsal: bool
    revision: int
    created: float
    trials: int


@dataclass(frozen=True)
class TrialRow:
    """A trial that a sweep asks for, with its last recorded state (``None`` before the first record); a stage has a name, a trial none."""

    id: str
    cell: Mapping[str, Any]
    seed: int
    shape: str
    state: str | None
    cause: str | None
    reason: str | None
    flags: Sequence[str]
    attempts: int
    stage: str | None = None


@dataclass(frozen=True)
class Point:
    """One point of a series: unix seconds ``t`` and the attempt beside the step and the value."""

    step: int
    value: float
    t: float
    attempt: int


@dataclass(frozen=True)
class Score:
    """One finished scoring: metrics in percent, ``None`` where the metric's group is empty.

    ``partial`` is ``None``, or how many examples were scored and skipped.
    """

    owner: str
    key: str
    benchmark: str
    revision: str
    n: int
    partial: Mapping[str, int] | None
    metrics: Mapping[str, float | None] = field(default_factory=dict)

    def named(self) -> dict[str, float | None]:
        """The metrics as a table names them: ``vl_rewardbench/overall``."""
        return {f"{self.benchmark}/{name}": value for name, value in self.metrics.items()}


class Index:
    """An open index. Every method may be called from several threads and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, workspace: Workspace, url: str | None = None) -> Self:
        """Open the index of a workspace, made empty where it is missing, of another version, or damaged (see ``notices``).

        Args:
            workspace: the workspace.
            url: of a database; default ``$SWEEP_INDEX``, else this host's SQLite file in the workspace's cache.

        Raises:
            UsageError: the URL names no database that serves.
            EnvironmentFault: the database cannot be reached or written.
        """
        return cls(Database(workspace, location(workspace, url or os.environ.get("SWEEP_INDEX"))))

    @property
    def url(self) -> str:
        """Where it lies, without a password."""
        return self._database.url.render_as_string(hide_password=True)

    @property
    def notices(self) -> Sequence[str]:
        """What a user should know: that the index had to be made anew, and why."""
        return tuple(self._database.notices)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- writing ------------------------------------------------------------------------------------------------------------

    def sync(self, workspace: Workspace, sweep_ids: Iterable[str] | None = None) -> Changes:
        """Read what is new in the files: of these sweeps and their trials, or of the whole workspace.

        Raises:
            EnvironmentFault: the database cannot be written.
        """
        wanted = None if sweep_ids is None else list(sweep_ids)
        try:
            return self._sync(workspace, wanted)
        except DatabaseError as error:
            if not self._database.is_damaged(error):
                raise
            self._database.replace_damaged()
            return self._sync(workspace, None)

    def rebuild(self, workspace: Workspace, progress: Callable[[int], None] | None = None) -> Changes:
        """Drop everything and read all files again; ``progress`` is called with the number of trials read so far."""
        self._database.clear()
        return self._sync(workspace, None, progress)

    def record_states(self, rows: Iterable[StateRow]) -> None:
        """Store the states that control derived, beside what the files say; those that are stored already cost no write."""
        values = {
            row.trial: {
                "id": row.trial, "state": row.state, "cause": row.cause, "reason": row.reason, "flags": list(row.flags),
                "attempts": row.attempts,
            }
            for row in rows
        }  # fmt: skip
        t = TrialTable
        with self._database.write() as connection:
            for ids in _chunks(values, MANY):
                query = select(t.id, t.state, t.cause, t.reason, t.flags, t.attempts).where(t.id.in_(ids))
                known = {row["id"]: dict(row) for row in connection.execute(query).mappings()}
                upsert(connection, TrialTable, [values[id] for id in ids if known.get(id) != values[id]])

    def _sync(self, workspace: Workspace, wanted: list[str] | None, progress: Callable[[int], None] | None = None) -> Changes:
        changes = Changes()
        sweeps = workspace.sweeps() if wanted is None else [workspace.sweep(id) for id in wanted]
        for sweep in sweeps:
            with self._database.write() as connection:
                sync_sweep(connection, sweep, changes)
        ids = self._planned(wanted) if wanted is not None else self._everything(workspace)
        done = 0
        for chunk in _chunks(ids, CHUNK):
            # looked at under the lock: what another process has read meanwhile is known by then
            with self._database.write() as connection:
                sync_trials(connection, look_at(workspace, chunk), changes)
            done += len(chunk)
            if progress is not None:
                progress(done)
        with self._database.write() as connection:
            sync_baselines(connection, workspace, changes)
        return changes

    def _planned(self, sweeps: list[str]) -> list[str]:
        with self._database.read() as connection:
            return list(connection.scalars(select(PlannedTable.trial).where(PlannedTable.sweep.in_(sweeps)).distinct()))

    def _everything(self, workspace: Workspace) -> list[str]:
        with self._database.read() as connection:
            known = set(connection.scalars(select(AttemptTable.trial).distinct()))
        return sorted(known | {trial.id for trial in workspace.trials()})

    # -- reading ------------------------------------------------------------------------------------------------------------

    def reading(self) -> AbstractContextManager[Connection]:
        """A connection that sees one state of the index, for questions that are asked elsewhere (:mod:`core.store.browse`)."""
        return self._database.read()

    def stamp(self) -> int | None:
        """Another number whenever anybody has written to the index since; ``None`` where the database does not tell."""
        return self._database.stamp()

    def counts(self) -> dict[str, int]:
        """How many rows of each kind there are."""
        tables = {
            "sweeps": SweepTable, "revisions": RevisionTable, "trials": TrialTable, "attempts": AttemptTable, "metrics": MetricTable,
            "scorings": ScoringTable,
        }  # fmt: skip
        with self._database.read() as connection:
            return {name: connection.scalar(select(func.count()).select_from(table)) or 0 for name, table in tables.items()}

    def sweeps(self) -> list[SweepRow]:
        """All sweeps, by id."""
        s, r, p = SweepTable, RevisionTable, PlannedTable
        planned = select(p.sweep, func.count().label("trials")).where(p.stage.is_(None)).group_by(p.sweep).subquery()
        query = (
            select(s.id, s.name, s.project, s.rehearsal, s.revision, r.created, func.coalesce(planned.c.trials, 0))
            .join(r, (r.sweep == s.id) & (r.number == s.revision))
            .outerjoin(planned, planned.c.sweep == s.id)
            .order_by(s.id)
        )
        with self._database.read() as connection:
            return [SweepRow(*row) for row in connection.execute(query)]

    def trials(self, sweep_id: str) -> list[TrialRow]:
        """The trials that a sweep's newest revision asks for, in the plan's order."""
        p, t = PlannedTable, TrialTable
        query = (
            select(p.trial, p.cell, p.seed, p.shape, t.state, t.cause, t.reason, t.flags, func.coalesce(t.attempts, 0), p.stage)
            .outerjoin(t, t.id == p.trial)
            .where(p.sweep == sweep_id)
            .order_by(p.position)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [TrialRow(i, c, s, sh, st, cause, why, tuple(flags or ()), *more) for i, c, s, sh, st, cause, why, flags, *more in rows]

    def final_metrics(self, trial_ids: Iterable[str]) -> dict[str, dict[str, float]]:
        """Training and validation metrics: those of the published result, else the newest that count.

        Returns:
            ``{trial: {"validation/accuracy": 0.91, "train/loss": 0.2, ...}}``; a trial without any is left out.
        """
        found: dict[str, dict[str, float]] = {}
        m, t = MetricTable, TrialTable
        with self._database.read() as connection:
            for ids in _chunks(trial_ids, MANY):
                for row in connection.execute(select(t.id, t.result).where(t.id.in_(ids), t.result_mark.is_not(None))):
                    found[row.id] = {name: value for name, value in row.result["metrics"].items() if value is not None}
                rest = [id for id in ids if id not in found]
                last = (
                    select(m.trial, m.group.label("kind"), func.max(m.step).label("step"))
                    .where(m.trial.in_(rest))
                    .group_by(m.trial, m.group)
                    .subquery()
                )
                same = (m.trial == last.c.trial) & (m.group == last.c.kind) & (m.step == last.c.step)
                for line in connection.execute(select(m.trial, m.group, m.values).join(last, same)):
                    found.setdefault(line[0], {}).update({f"{line[1]}/{name}": value for name, value in line[2].items()})
        return found

    def seconds(self, trial_ids: Iterable[str]) -> dict[str, float]:
        """Wall-clock seconds of all attempts of each trial, each from its first line to its last; those without an end are left out."""
        a = AttemptTable
        found: dict[str, float] = {}
        with self._database.read() as connection:
            for ids in _chunks(trial_ids, MANY):
                query = select(a.trial, func.sum(a.ended - a.started)).where(a.trial.in_(ids), a.ended.is_not(None), a.started.is_not(None))
                found |= {trial: float(seconds or 0.0) for trial, seconds in connection.execute(query.group_by(a.trial))}
        return found

    def series(self, trial_id: str, name: str) -> list[Point]:
        """One metric by step, such as ``train/loss``; each step once, whatever attempts there were."""
        group, _, metric = name.partition("/")
        m = MetricTable
        query = select(m.step, m.values, m.t, m.attempt).where(m.trial == trial_id, m.group == group).order_by(m.step)
        with self._database.read() as connection:
            return [Point(step, v[metric], t, attempt) for step, v, t, attempt in connection.execute(query) if metric in v]

    def scores(self, trial_ids: Iterable[str]) -> dict[str, list[Score]]:
        """The finished scorings of trials, by benchmark and revision; a trial without any is left out."""
        found: dict[str, list[Score]] = {}
        for ids in _chunks(trial_ids, MANY):
            for score in self._scores("trial", ids):
                found.setdefault(score.owner, []).append(score)
        return found

    def baselines(self, keys: Iterable[str] | None = None) -> list[Score]:
        """The finished scorings of baselines (``owner`` is the baseline's name), all or those with these keys."""
        scores = self._scores("baseline", None)
        wanted = None if keys is None else set(keys)
        return [score for score in scores if wanted is None or score.key in wanted]

    def _scores(self, kind: str, owners: Sequence[str] | None) -> list[Score]:
        s, v = ScoringTable, ScoreMetricTable
        of_s, of_v = s.kind == kind, v.kind == kind
        if owners is not None:
            of_s, of_v = of_s & s.owner.in_(owners), of_v & v.owner.in_(owners)
        values: dict[tuple[str, str], dict[str, float | None]] = defaultdict(dict)
        with self._database.read() as connection:
            for row in connection.execute(select(v.owner, v.key, v.name, v.value).where(of_v)):
                values[row.owner, row.key][row.name] = row.value
            query = select(s.owner, s.key, s.benchmark, s.revision, s.n, s.partial).where(of_s)
            rows = connection.execute(query.order_by(s.owner, s.benchmark, s.revision, s.key)).all()
        return [Score(o, k, b, r, n, partial, values[o, k]) for o, k, b, r, n, partial in rows]

    # -- what a tracker has sent ----------------------------------------------------------------------------------------------

    def tracker_marks(self, store: str, sweep_id: str) -> dict[str, tuple[str, str]]:
        """{trial: (run, mark)} of what a tracker's store has; a loss costs a look there, never a point."""
        k = TrackerMarkTable
        with self._database.read() as connection:
            rows = connection.execute(select(k.trial, k.run, k.mark).where(k.store == store, k.sweep == sweep_id)).all()
        return {trial: (run, mark) for trial, run, mark in rows}

    def tracker_runs(self, sweep_id: str) -> dict[str, str]:
        """{trial: run} as the tracker named it."""
        k = TrackerMarkTable
        with self._database.read() as connection:
            rows = connection.execute(select(k.trial, k.run).where(k.sweep == sweep_id)).all()
        return {row.trial: row.run for row in rows}

    def record_tracker_marks(self, store: str, sweep_id: str, marks: Mapping[str, tuple[str, str]]) -> None:
        """Store what was sent; the sweep's marks for another store go."""
        rows = [{"store": store, "sweep": sweep_id, "trial": trial, "run": run, "mark": mark} for trial, (run, mark) in marks.items()]
        with self._database.write() as connection:
            connection.execute(delete(TrackerMarkTable).where(TrackerMarkTable.sweep == sweep_id, TrackerMarkTable.store != store))
            upsert(connection, TrackerMarkTable, rows)


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
