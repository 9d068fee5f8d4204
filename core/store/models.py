"""The tables of the index. All that stands in them is read from the workspace's files, or derived from them.

:data:`VERSION` names this shape. An index of another version is dropped and filled anew, so there are no migrations.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Index, String, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

VERSION = 2
"""Raise it with every change of a table."""


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = {int: BigInteger, str: Text, dict[str, Any]: JSON, list[str]: JSON}  # noqa: RUF012 (SQLAlchemy's name)


def _key(length: int = 64) -> Mapped[str]:
    return mapped_column(String(length), primary_key=True)


class Meta(Base):
    """Facts about the index itself: its version."""

    __tablename__ = "meta"

    key: Mapped[str] = _key()
    value: Mapped[str]


class SweepTable(Base):
    """A sweep, as its newest revision says."""

    __tablename__ = "sweeps"

    id: Mapped[str] = _key(255)
    name: Mapped[str]
    project: Mapped[str]
    rehearsal: Mapped[bool]
    revision: Mapped[int]


class RevisionTable(Base):
    """A definition as launched; ``record`` is ``revision.json``."""

    __tablename__ = "revisions"

    sweep: Mapped[str] = _key(255)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created: Mapped[float]
    record: Mapped[dict[str, Any]]


class PlannedTable(Base):
    """A trial that a sweep's newest revision asks for; ``scorings`` are the keys of those it asks for, by benchmark."""

    __tablename__ = "planned"

    sweep: Mapped[str] = _key(255)
    trial: Mapped[str] = _key()
    position: Mapped[int]
    cell: Mapped[dict[str, Any]]
    seed: Mapped[int]
    shape: Mapped[str]
    stage: Mapped[str | None]
    scorings: Mapped[dict[str, Any]]


class TrialTable(Base):
    """A trial: its configuration and result as published, and the state that control last derived.

    ``result_mark`` and ``config`` are null before there is a folder with them.
    """

    __tablename__ = "trials"

    id: Mapped[str] = _key()
    config: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    result_mark: Mapped[str | None]
    state: Mapped[str | None]
    cause: Mapped[str | None]
    reason: Mapped[str | None]
    flags: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    attempts: Mapped[int] = mapped_column(default=0)


class AttemptTable(Base):
    """One attempt of a trial's training.

    ``state``, ``cause`` and ``message`` are those of its last line, null while there is none; ``offset`` is the byte behind the last
    journal line that was read, ``size`` the file's size then. ``started`` and ``ended`` are unix seconds of its own clock.
    """

    __tablename__ = "attempts"

    trial: Mapped[str] = _key()
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    host: Mapped[str | None]
    job: Mapped[str | None]
    started: Mapped[float | None]
    resumed_attempt: Mapped[int | None]
    resumed_step: Mapped[int | None]
    ended: Mapped[float | None]
    state: Mapped[str | None]
    cause: Mapped[str | None]
    message: Mapped[str | None]
    steps: Mapped[int] = mapped_column(default=0)
    checkpoint: Mapped[int] = mapped_column(default=0)
    offset: Mapped[int] = mapped_column("read_offset", default=0)
    size: Mapped[int] = mapped_column(default=0)


class MetricTable(Base):
    """One metrics line that counts (see :mod:`core.workspace.lineage`): all values of one group at one step."""

    __tablename__ = "metrics"
    __table_args__ = ({"sqlite_with_rowid": False},)

    trial: Mapped[str] = _key()
    group: Mapped[str] = mapped_column("metric_group", String(64), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    t: Mapped[float]
    attempt: Mapped[int]
    values: Mapped[dict[str, Any]] = mapped_column("metric_values")


class ScoringTable(Base):
    """A finished scoring of a trial (``kind`` trial) or of a baseline; ``owner`` is the trial's id or the baseline's name."""

    __tablename__ = "scorings"
    __table_args__ = (Index("scorings_by_benchmark", "benchmark", "revision"),)

    kind: Mapped[str] = _key(16)
    owner: Mapped[str] = _key(255)
    key: Mapped[str] = _key()
    benchmark: Mapped[str]
    revision: Mapped[str]
    n: Mapped[int]
    partial: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    mark: Mapped[str]


class ScoreMetricTable(Base):
    """One metric of a finished scoring, in percent; null where its group is empty."""

    __tablename__ = "score_metrics"
    __table_args__ = (Index("score_metrics_by_value", "name", "value"),)

    kind: Mapped[str] = _key(16)
    owner: Mapped[str] = _key(255)
    key: Mapped[str] = _key()
    name: Mapped[str] = _key(255)
    value: Mapped[float | None]


class TrackerMarkTable(Base):
    """The run of a trial in a tracker's store; ``mark`` names the files that were sent completely, empty while the trial is open."""

    __tablename__ = "tracker_marks"

    store: Mapped[str] = _key()
    sweep: Mapped[str] = _key(255)
    trial: Mapped[str] = _key()
    run: Mapped[str]
    mark: Mapped[str]
