"""Bringing the index up to the files: what is new is found by looks (listing, stat, offset), read once, written in bulk.

All of it runs under the index's one write lock, a few hundred trials at a time, and reads what the index knows under the same
lock. A trial whose lineage changed (another attempt started) is read anew as a whole, so its hidden lines go.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from core.definition.identity import scoring_key
from core.definition.plan import PlannedTrial
from core.errors import IntegrityError
from core.store.models import (
    AttemptTable,
    Base,
    MetricTable,
    PlannedTable,
    RevisionTable,
    ScoreMetricTable,
    ScoringTable,
    SweepTable,
    TrialTable,
)  # fmt: skip
from core.store.rows import Seen, attempt_row, finished, look, metric_rows, read_on, scoring_rows
from core.workspace.files import read_json
from core.workspace.layout import Sweep, Trial, Workspace
from core.workspace.registration import Revision, revision

CHUNK = 200
"""Trials looked at under one lock: other writers wait no longer than these take."""


@dataclass
class Changes:
    """What one sync found new.

    Attributes:
        sweeps: sweeps with a new revision.
        trials: trials of which anything was new.
        lines: journal lines read.
        scorings: finished scorings, those of baselines included.
        problems: files that could not be read, one sentence each; the rest was taken.
    """

    sweeps: list[str] = field(default_factory=list)
    trials: set[str] = field(default_factory=set)
    lines: int = 0
    scorings: int = 0
    problems: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.sweeps or self.trials or self.scorings)


def upsert(connection: Connection, table: type[Base], rows: Sequence[Mapping[str, Any]], update: Iterable[str] | None = None) -> None:
    """Insert rows, or update those whose key is there (all given columns, or only ``update``)."""
    if not rows:
        return
    keys = list(table.__mapper__.primary_key)
    columns = {prop.key: prop.columns[0] for prop in table.__mapper__.column_attrs}
    named = [{columns[name].name: value for name, value in row.items()} for row in rows]
    changed = [columns[name].name for name in (update or rows[0]) if columns[name] not in keys]
    target = table.__mapper__.local_table
    make: Any = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement = make(target)
    if changed:
        statement = statement.on_conflict_do_update(index_elements=keys, set_={name: statement.excluded[name] for name in changed})
    else:
        statement = statement.on_conflict_do_nothing()
    connection.execute(statement, named)


def sync_sweep(connection: Connection, sweep: Sweep, changes: Changes) -> None:
    """Take new revisions; the plan of the newest one replaces what was planned."""
    known = set(connection.scalars(select(RevisionTable.number).where(RevisionTable.sweep == sweep.id)))
    numbers = sweep.revisions()
    fresh = [revision(sweep, number) for number in numbers if number not in known]
    if not fresh:
        if numbers:
            _gained(connection, revision(sweep, numbers[-1]), changes)
        return
    changes.sweeps.append(sweep.id)
    rows = [{"sweep": sweep.id, "number": r.number, "created": r.meta["created"], "record": r.meta} for r in fresh]
    upsert(connection, RevisionTable, rows)
    last = fresh[-1]
    if last.number != numbers[-1]:
        return
    meta = last.meta
    row = {"id": sweep.id, "name": meta["name"], "project": meta["project"], "rehearsal": meta["rehearsal"], "revision": last.number}
    upsert(connection, SweepTable, [row])
    connection.execute(delete(PlannedTable).where(PlannedTable.sweep == sweep.id))
    _plan(connection, last)


def _gained(connection: Connection, last: Revision, changes: Changes) -> None:
    """Take the trials that the newest revision has gained since it was taken."""
    if last.family is None:
        return
    stored = connection.scalar(select(func.count()).select_from(PlannedTable).where(PlannedTable.sweep == last.sweep.id))
    if stored != sum(1 for _ in last.plan()):
        changes.sweeps.append(last.sweep.id)
        _plan(connection, last)


def _plan(connection: Connection, last: Revision) -> None:
    sweep = last.sweep
    batch: list[dict[str, Any]] = []
    for position, trial in enumerate(last.plan()):
        batch.append(
            {
                "sweep": sweep.id, "trial": trial.id, "position": position, "cell": dict(trial.cell), "seed": trial.seed,
                "shape": trial.shape.key, "stage": trial.stage,
                "scorings": _scoring_keys(trial),
            }
        )  # fmt: skip
        if len(batch) == CHUNK * 10:
            upsert(connection, PlannedTable, batch)
            batch.clear()
    upsert(connection, PlannedTable, batch)


def _scoring_keys(trial: PlannedTrial) -> dict[str, str]:
    entries = ((entry["benchmark"], entry["revision"]) for entry in trial.evaluate)
    return {str(benchmark["name"]): scoring_key(trial.id, benchmark, number) for benchmark, number in entries}


def known(connection: Connection, trials: Sequence[str]) -> dict[str, Seen]:
    """What the index has seen of these trials."""
    sizes: dict[str, dict[int, int]] = defaultdict(dict)
    for row in connection.execute(select(AttemptTable.trial, AttemptTable.number, AttemptTable.size).where(AttemptTable.trial.in_(trials))):
        sizes[row.trial][row.number] = row.size
    scorings: dict[str, dict[str, str]] = defaultdict(dict)
    of_trials = (ScoringTable.kind == "trial") & ScoringTable.owner.in_(trials)
    for found in connection.execute(select(ScoringTable.owner, ScoringTable.key, ScoringTable.mark).where(of_trials)):
        scorings[found.owner][found.key] = found.mark
    results = connection.execute(select(TrialTable.id, TrialTable.result_mark).where(TrialTable.id.in_(trials)))
    marks = {row.id: row.result_mark for row in results}
    return {trial: Seen(sizes[trial], marks.get(trial), scorings[trial]) for trial in trials}


def sync_trials(connection: Connection, trials: Mapping[str, tuple[Trial, Seen]], changes: Changes) -> None:
    """Take what is new of these trials, given what a look at their folders showed."""
    before = known(connection, list(trials))
    changed = {id: (trial, seen, before[id]) for id, (trial, seen) in trials.items() if seen != before[id]}
    if not changed:
        return
    changes.trials |= changed.keys()
    stored: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    columns = [prop.columns[0].label(prop.key) for prop in AttemptTable.__mapper__.column_attrs]
    for row in connection.execute(select(*columns).where(AttemptTable.trial.in_(changed))).mappings():
        stored[row["trial"]][row["number"]] = dict(row)
    attempts: list[dict[str, Any]] = []
    metrics: list[dict[str, Any]] = []
    for id, (trial, seen, old) in changed.items():
        try:
            if seen.attempts != old.attempts:
                rows, lines = _journals(connection, trial, seen, stored[id], changes)
                attempts += rows
                metrics += lines
            _result(connection, trial, seen.result)
            _scorings(connection, trial, seen.scorings, old.scorings, changes)
        except (IntegrityError, OSError) as error:
            changes.problems.append(str(error))
    upsert(connection, AttemptTable, attempts)
    upsert(connection, MetricTable, metrics)


def _journals(
    connection: Connection, trial: Trial, seen: Seen, stored: dict[int, dict[str, Any]], changes: Changes
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of the trial's attempts, and of its new metrics lines that count."""
    folders = [folder for folder in trial.attempts() if folder.number in seen.attempts]
    rows = {folder.number: dict(stored.get(folder.number) or attempt_row(trial, folder)) for folder in folders}
    started = {number for number, row in rows.items() if row["started"] is not None}
    again = bool(stored.keys() - rows.keys()) or any(seen.attempts[number] < row["offset"] for number, row in rows.items())
    lines = {}
    for folder in folders:
        row, size = rows[folder.number], seen.attempts[folder.number]
        if size != row["size"] and not again:
            lines[folder.number] = read_on(folder, row, size)
    again = again or (bool(started) and started != {number for number, row in rows.items() if row["started"] is not None})
    if again:
        connection.execute(delete(MetricTable).where(MetricTable.trial == trial.id))
        connection.execute(delete(AttemptTable).where(AttemptTable.trial == trial.id))
        rows = {folder.number: attempt_row(trial, folder) for folder in folders}
        lines = {folder.number: read_on(folder, rows[folder.number], seen.attempts[folder.number]) for folder in folders}
    changes.lines += sum(len(new) for new in lines.values())
    return list(rows.values()), metric_rows(trial.id, rows.values(), lines)


def _result(connection: Connection, trial: Trial, mark: str | None) -> None:
    config = read_json(trial.config) if trial.config.exists() else None
    result = read_json(trial.result / "metrics.json") if mark is not None else None
    upsert(
        connection, TrialTable, [{"id": trial.id, "config": config, "result": result, "result_mark": mark, "attempts": 0}],
        update=("config", "result", "result_mark"),
    )  # fmt: skip


def _scorings(connection: Connection, trial: Trial, seen: Mapping[str, str], old: Mapping[str, str], changes: Changes) -> None:
    _forget(connection, "trial", trial.id, old.keys() - seen.keys())
    for key, mark in seen.items():
        if old.get(key) != mark:
            row, values = scoring_rows("trial", trial.id, trial.scoring(key), mark)
            _forget(connection, "trial", trial.id, {key})
            upsert(connection, ScoringTable, [row])
            upsert(connection, ScoreMetricTable, values)
            changes.scorings += 1


def _forget(connection: Connection, kind: str, owner: str, keys: Iterable[str]) -> None:
    gone = [(kind, owner, key) for key in keys]
    for table in (ScoringTable, ScoreMetricTable):
        if gone:
            connection.execute(delete(table).where(tuple_(table.kind, table.owner, table.key).in_(gone)))


def sync_baselines(connection: Connection, workspace: Workspace, changes: Changes) -> None:
    """Take the finished scorings of baselines."""
    folder = workspace.root / "baselines"
    stored = connection.execute(select(ScoringTable).where(ScoringTable.kind == "baseline")).mappings()
    old = {(row["owner"], row["key"]): row["mark"] for row in stored}
    seen: dict[tuple[str, str], str] = {}
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        seen |= {(place.name, key): mark for key, mark in finished(place / "scores").items()}
    for name, key in old.keys() - seen.keys():
        _forget(connection, "baseline", name, {key})
    for (name, key), mark in seen.items():
        if old.get((name, key)) == mark:
            continue
        try:
            row, values = scoring_rows("baseline", name, workspace.baseline(name, key), mark)
        except (IntegrityError, OSError) as error:
            changes.problems.append(str(error))
            continue
        _forget(connection, "baseline", name, {key})
        upsert(connection, ScoringTable, [row])
        upsert(connection, ScoreMetricTable, values)
        changes.scorings += 1


def look_at(workspace: Workspace, trials: Iterable[str]) -> dict[str, tuple[Trial, Seen]]:
    """Look at the folders of these trials; they need not exist."""
    return {id: (trial := workspace.trial(id), look(trial)) for id in trials}
