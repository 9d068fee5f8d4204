"""Pages of trials and sums over many, for readers of thousands of runs: SQL does the filtering, the ordering and the counting."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from sqlalchemy import Select, Text, cast, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from core.store.index import Index, TrialRow
from core.store.models import AttemptTable, MetricTable, PlannedTable, ScoreMetricTable, ScoringTable, SweepTable, TrialTable

T = TypeVar("T")
PATH = re.compile(r"[\w.-]+")
BOOLEANS = {"true": "1", "false": "0"}
"""How SQLite takes them out of JSON."""


@dataclass(frozen=True)
class Wanted:
    """Which trials of a sweep, in which order, and which of them.

    Attributes:
        states: only these; empty takes all.
        causes: only failures of these; empty takes all.
        trials: only these; ``None`` takes all.
        text: only trials whose id, cell or cause contains it.
        order: ``plan``, ``state``, ``attempts``, or the full name of a metric.
        down: whether the largest comes first; trials without a value come last either way.
        offset: how many are passed over.
        limit: how many are returned at most.
    """

    states: Sequence[str] = ()
    causes: Sequence[str] = ()
    trials: Sequence[str] | None = None
    text: str = ""
    order: str = "plan"
    down: bool = False
    offset: int = 0
    limit: int = 50

    def beginning(self, offset: int, limit: int | None = None) -> Wanted:
        """The same trials from another one on."""
        return replace(self, offset=offset, limit=limit or self.limit)


@dataclass(frozen=True)
class TrialPage:
    """The trials of a page, and how many there are on all pages."""

    rows: Sequence[TrialRow]
    total: int


@dataclass(frozen=True)
class AttemptRow:
    """One attempt as the index has it; times in unix seconds of its own clock, ``None`` where it said nothing."""

    trial: str
    number: int
    shape: str
    state: str | None
    cause: str | None
    message: str | None
    host: str | None
    job: str | None
    started: float | None
    ended: float | None
    steps: int
    checkpoint: int

    @property
    def gpus(self) -> int:
        """The GPUs of its trial, from the short name of the shape (``2n8g-h100``)."""
        nodes, _, rest = self.shape.partition("n")
        return int(nodes) * int(rest.partition("g")[0])


class Browser:
    """Questions of readers to an open index. What all of them ask is answered once until somebody writes to the index."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self._stamp: int | None = None
        self._answers: dict[Hashable, Any] = {}

    def _once(self, question: Hashable, answer: Callable[[], T]) -> T:
        stamp = self._index.stamp()  # before the question: an answer may be newer than its stamp, and never older
        with self._lock:
            if stamp is None or stamp != self._stamp:
                self._stamp = stamp
                self._answers.clear()
            if question in self._answers:
                known: T = self._answers[question]
                return known
        found = answer()
        with self._lock:
            if stamp is not None and stamp == self._stamp:
                self._answers[question] = found
        return found

    def version(self, sweep: str, *, points: bool = True) -> str:
        """Changes whenever the index has learnt anything new of a sweep: states, attempts, results, scorings, revisions.

        ``points`` adds journal lines: what is made of results alone need not be made anew for each.
        """
        return self._once(("version", sweep, points), lambda: self._version(sweep, points))

    def _version(self, sweep: str, points: bool) -> str:
        p, t, a, s = PlannedTable, TrialTable, AttemptTable, ScoringTable
        of = p.sweep == sweep
        queries: list[Select[*tuple[Any, ...]]] = [
            select(SweepTable.revision).where(SweepTable.id == sweep),
            select(func.count()).select_from(p).where(of),
            select(t.state, t.cause, func.count(), func.sum(t.attempts), func.count(t.result_mark), func.max(t.result_mark))
            .join(p, p.trial == t.id).where(of).group_by(t.state, t.cause).order_by(t.state, t.cause),
            select(func.count(), func.max(s.mark)).join(p, p.trial == s.owner).where(of & (s.kind == "trial")),
        ]  # fmt: skip
        if points:
            queries.append(select(func.count(), func.sum(a.offset), func.sum(a.steps)).join(p, p.trial == a.trial).where(of))
        with self._index.reading() as connection:
            facts = [[tuple(row) for row in connection.execute(query)] for query in queries]
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]

    def planned(self, sweep: str) -> int:
        """How many trials a sweep asks for now."""
        with self._index.reading() as connection:
            return connection.scalar(select(func.count()).select_from(PlannedTable).where(PlannedTable.sweep == sweep)) or 0

    def page(self, sweep: str, wanted: Wanted) -> TrialPage:
        """One page of a sweep's trials."""
        p, t = PlannedTable, TrialTable
        of = (p.sweep == sweep, p.stage.is_(None), *_conditions(wanted))
        query = (
            select(p.trial, p.cell, p.seed, p.shape, t.state, t.cause, t.reason, t.flags, func.coalesce(t.attempts, 0))
            .outerjoin(t, t.id == p.trial)
            .where(*of)
        )
        count = select(func.count()).select_from(p).outerjoin(t, t.id == p.trial).where(*of)
        query = _ordered(query, wanted).limit(wanted.limit).offset(wanted.offset)
        with self._index.reading() as connection:
            total = connection.scalar(count) or 0
            rows = connection.execute(query).all()
        found = [TrialRow(i, c, s, sh, st, cause, why, tuple(flags or ()), n) for i, c, s, sh, st, cause, why, flags, n in rows]
        return TrialPage(found, total)

    def counts(self) -> dict[str, dict[str, int]]:
        """{sweep: {state: trials}}; a trial without a recorded state counts as pending, and a stage is none."""
        return self._once("counts", self._counts)

    def _counts(self) -> dict[str, dict[str, int]]:
        p, t = PlannedTable, TrialTable
        state = func.coalesce(t.state, "pending")
        query = select(p.sweep, state, func.count()).outerjoin(t, t.id == p.trial).where(p.stage.is_(None)).group_by(p.sweep, state)
        found: dict[str, dict[str, int]] = {}
        with self._index.reading() as connection:
            for sweep, name, number in connection.execute(query):
                found.setdefault(sweep, {})[name] = number
        return found

    def causes(self) -> dict[str, dict[str, int]]:
        """{sweep: {cause: failed trials}}."""
        return self._once("causes", self._causes)

    def _causes(self) -> dict[str, dict[str, int]]:
        p, t = PlannedTable, TrialTable
        query = (
            select(p.sweep, t.cause, func.count()).join(t, t.id == p.trial).where(t.state == "failed").group_by(p.sweep, t.cause)
        )  # fmt: skip
        found: dict[str, dict[str, int]] = {}
        with self._index.reading() as connection:
            for sweep, cause, number in connection.execute(query):
                found.setdefault(sweep, {})[cause or "unknown"] = number
        return found

    def attempts(self, sweep: str) -> list[AttemptRow]:
        """Every attempt of a sweep's trials, in the order of the plan; an attempt without a last line ends at its last metrics line."""
        p, a, m = PlannedTable, AttemptTable, MetricTable
        last = (
            select(m.trial, m.attempt, func.max(m.t).label("t"))
            .join(a, (a.trial == m.trial) & (a.number == m.attempt) & a.ended.is_(None))
            .group_by(m.trial, m.attempt)
            .subquery()
        )
        query = (
            select(
                a.trial, a.number, p.shape, a.state, a.cause, a.message, a.host, a.job, a.started, func.coalesce(a.ended, last.c.t),
                a.steps, a.checkpoint,
            )
            .join(p, p.trial == a.trial)
            .outerjoin(last, (last.c.trial == a.trial) & (last.c.attempt == a.number))
            .where(p.sweep == sweep)
            .order_by(p.position, a.number)
        )  # fmt: skip
        with self._index.reading() as connection:
            return [AttemptRow(*tuple(row)) for row in connection.execute(query)]

    def messages(self, trials: Sequence[str]) -> dict[str, str]:
        """{trial: what its last failed attempt said}."""
        a = AttemptTable
        query = select(a.trial, a.message).where(a.trial.in_(trials), a.message.is_not(None), a.state == "failed").order_by(a.number)
        with self._index.reading() as connection:
            return {trial: str(message) for trial, message in connection.execute(query)}

    def metric_names(self, sweep: str) -> list[str]:
        """The metrics that trials of a sweep have, benchmarks first, as a table names them."""
        p, s, v, t = PlannedTable, ScoringTable, ScoreMetricTable, TrialTable
        scored = (
            select(s.benchmark, v.name).distinct()
            .join(v, (v.kind == s.kind) & (v.owner == s.owner) & (v.key == s.key))
            .join(p, p.trial == s.owner).where(s.kind == "trial", p.sweep == sweep).order_by(s.benchmark, v.name)
        )  # fmt: skip
        some = select(t.result).join(p, p.trial == t.id).where(p.sweep == sweep, t.result_mark.is_not(None)).order_by(p.position).limit(20)
        groups = (
            select(MetricTable.values, MetricTable.group).join(p, p.trial == MetricTable.trial).where(p.sweep == sweep)
            .order_by(MetricTable.step.desc()).limit(20)
        )  # fmt: skip
        with self._index.reading() as connection:
            names = [f"{benchmark}/{name}" for benchmark, name in connection.execute(scored)]
            trained = {name for (result,) in connection.execute(some) for name in result["metrics"]}
            if not trained:
                trained = {f"{group}/{name}" for values, group in connection.execute(groups) for name in values}
        return names + sorted(trained, key=lambda name: (not name.startswith("validation/"), name))

    def series_names(self, trials: Sequence[str]) -> list[str]:
        """The metrics of which trials have points: those of each group's newest line."""
        m = MetricTable
        last = (
            select(m.trial, m.group.label("kind"), func.max(m.step).label("step"))
            .where(m.trial.in_(trials))
            .group_by(m.trial, m.group)
            .subquery()
        )
        query = select(m.group, m.values).join(last, (m.trial == last.c.trial) & (m.group == last.c.kind) & (m.step == last.c.step))
        with self._index.reading() as connection:
            return list(dict.fromkeys(f"{group}/{name}" for group, values in connection.execute(query) for name in values))

    def ids(self, prefix: str) -> list[str]:
        """The trials whose ids start like this, planned or attempted; at most 20."""
        p, t = PlannedTable, TrialTable
        with self._index.reading() as connection:
            found = set(connection.scalars(select(p.trial).where(p.trial.startswith(prefix, autoescape=True)).distinct().limit(20)))
            found |= set(connection.scalars(select(t.id).where(t.id.startswith(prefix, autoescape=True)).limit(20)))
        return sorted(found)

    def recorded(self, trial: str) -> tuple[str, str, int] | None:
        """(state, reason, attempts) of a trial as control last derived them, with all that its folder alone does not say."""
        t = TrialTable
        with self._index.reading() as connection:
            row = connection.execute(select(t.state, t.reason, t.attempts).where(t.id == trial, t.state.is_not(None))).first()
        return None if row is None else (str(row.state), row.reason or "", row.attempts)

    def sweeps_of(self, trial: str) -> list[str]:
        """The sweeps whose newest revision asks for a trial."""
        with self._index.reading() as connection:
            return list(connection.scalars(select(PlannedTable.sweep).where(PlannedTable.trial == trial).order_by(PlannedTable.sweep)))


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    p, t = PlannedTable, TrialTable
    found: list[ColumnElement[bool]] = []
    if wanted.states:
        found.append(func.coalesce(t.state, "pending").in_(wanted.states))
    if wanted.causes:
        found.append(t.cause.in_(wanted.causes))
    if wanted.trials is not None:
        found.append(p.trial.in_(wanted.trials))
    for word in wanted.text.split():
        path, equals, value = word.partition("=")
        if equals and PATH.fullmatch(path):  # head.layers=2: the coordinate itself, and not the text 2 anywhere
            found.append(_coordinate(path).in_([value, BOOLEANS.get(value, value)]))
        else:
            found.append(
                or_(
                    p.trial.startswith(word, autoescape=True),
                    t.cause.contains(word, autoescape=True),
                    _cell().contains(word, autoescape=True),
                )
            )
    return found


def _cell() -> ColumnElement[str]:
    return cast(PlannedTable.cell, Text)


def _coordinate(path: str) -> ColumnElement[str]:
    return cast(PlannedTable.cell[path].as_string(), Text)


def _ordered(query: Select[Any], wanted: Wanted) -> Select[Any]:
    p, t, v, s = PlannedTable, TrialTable, ScoreMetricTable, ScoringTable
    if wanted.order == "plan":
        return query.order_by(p.position.desc() if wanted.down else p.position)
    column: ColumnElement[Any]
    if wanted.order == "state":
        column = func.coalesce(t.state, "pending")
    elif wanted.order == "attempts":
        column = func.coalesce(t.attempts, 0)
    elif wanted.order.split("/", 1)[0] in ("train", "validation"):
        column = t.result["metrics"][wanted.order].as_float()
    else:
        benchmark, _, name = wanted.order.partition("/")
        value = (
            select(func.max(v.value)).join(s, (v.kind == s.kind) & (v.owner == s.owner) & (v.key == s.key))
            .where(s.kind == "trial", s.owner == p.trial, s.benchmark == benchmark, v.name == name).scalar_subquery()
        )  # fmt: skip
        column = value
    return query.order_by((column.desc() if wanted.down else column.asc()).nulls_last(), p.position)
