"""Opening the database of an index: where it lies, who may write at a time, and when it is made anew.

SQLite is a cache on one host: the host's name is in the file's name, so two hosts that share the workspace never open the same
file (its locks are not to be trusted across a network file system), and its journal is not WAL, which needs shared memory.
PostgreSQL serves a team by one URL; each workspace has a schema of its own in it, named after the workspace's path.

One writer at a time: SQLite takes its write lock when a transaction begins (``BEGIN IMMEDIATE``), PostgreSQL an advisory lock.
So whoever decides what is new decides it under the lock, and two processes that sync at once do the work once.
"""

from __future__ import annotations

import hashlib
import re
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, insert, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from core.errors import EnvironmentFault, UsageError
from core.store.models import VERSION, Base, Meta
from core.workspace.layout import Workspace

BUSY_SECONDS = 60.0
"""How long a writer waits for another one."""
CORRUPT = ("file is not a database", "malformed", "file is encrypted")
"""What SQLite says of a file that is damaged."""


def location(workspace: Workspace, url: str | None) -> URL:
    """The database's URL: the one given, or this host's SQLite file in the workspace's cache.

    Raises:
        UsageError: the URL is none, or names another kind of database.
    """
    if not url:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
        return URL.create("sqlite", database=str(workspace.cache / f"index-{host}.sqlite"))
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise UsageError("not the URL of a database", found=url, allowed=_ALLOWED, place="SWEEP_INDEX") from error
    name = parsed.drivername
    if name in ("postgresql", "postgres"):
        return parsed.set(drivername="postgresql+psycopg")
    if name not in ("postgresql+psycopg", "sqlite"):
        raise UsageError("the index cannot live in this kind of database", found=name, allowed=_ALLOWED, place="SWEEP_INDEX")
    return parsed


_ALLOWED = "postgresql://USER@HOST/DATABASE, or sqlite:////absolute/file"


def schema_name(workspace: Workspace) -> str:
    """The PostgreSQL schema of a workspace."""
    return "rewardsweep_" + hashlib.sha256(str(workspace.root.resolve()).encode()).hexdigest()[:12]


class Database:
    """An open index database with one writer at a time.

    Args:
        workspace: whose index it is.
        url: see :func:`location`.
    """

    def __init__(self, workspace: Workspace, url: URL) -> None:
        self.url = url
        self.notices: list[str] = []
        self._schema = schema_name(workspace)
        self._looking = threading.Lock()
        self._look: sqlite3.Connection | None = None
        self.is_sqlite = url.get_backend_name() == "sqlite"
        self.engine = self._sqlite() if self.is_sqlite else self._postgresql()
        try:
            self._make_ready()
        except DatabaseError as error:
            if not self.is_damaged(error):
                self.engine.dispose()
                raise self._fault(error) from error
            self.replace_damaged()

    def _sqlite(self) -> Engine:
        engine = create_engine(self.url, connect_args={"timeout": BUSY_SECONDS})

        @event.listens_for(engine, "connect")
        def connected(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # the driver begins no transaction of its own: `begin` below does
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("PRAGMA synchronous=OFF")  # a cache: after a power cut it is made anew

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("writes", False)
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def _postgresql(self) -> Engine:
        try:
            return create_engine(self.url, connect_args={"options": f"-csearch_path={self._schema}"}, pool_pre_ping=True)
        except (ImportError, NoSuchModuleError) as error:
            raise EnvironmentFault(
                "PostgreSQL needs psycopg", found=str(error), next="pip install 'rewardsweep[postgres]', or unset SWEEP_INDEX"
            ) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the index."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    def stamp(self) -> int | None:
        """Another number whenever somebody else has written; ``None`` where the database does not tell (PostgreSQL)."""
        if not self.is_sqlite:
            return None
        with self._looking:
            if self._look is None:  # a connection that never writes: to it, every writer is somebody else
                self._look = sqlite3.connect(str(self.url.database), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            return int(self._look.execute("PRAGMA data_version").fetchone()[0])

    def _look_away(self) -> None:
        with self._looking:
            if self._look is not None:
                self._look.close()
            self._look = None

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction of the one writer; committed at the end, or rolled back."""
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            if not self.is_sqlite:
                connection.execute(text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": self._schema})
            yield connection

    def _make_ready(self) -> None:
        """Make the tables where they are missing or of another version."""
        with self.write() as connection:
            if not self.is_sqlite:
                connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{self._schema}"'))
            tables = self._tables(connection)
            found = connection.scalar(select(Meta.value).where(Meta.key == "version")) if "meta" in tables else None
            if found == str(VERSION):
                return
            if tables:
                self.notices.append(f"the index was of version {found or 'unknown'}, this is {VERSION}: it is made anew from the files")
            self._recreate(connection, tables)

    def _tables(self, connection: Connection) -> list[str]:
        return inspect(connection).get_table_names(schema=None if self.is_sqlite else self._schema)

    def _recreate(self, connection: Connection, tables: list[str]) -> None:
        for table in tables:
            connection.execute(text(f'DROP TABLE "{table}"'))
        Base.metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(Meta), [{"key": "version", "value": str(VERSION)}])

    def clear(self) -> None:
        """Drop all that the index holds."""
        with self.write() as connection:
            self._recreate(connection, self._tables(connection))

    def is_damaged(self, error: DatabaseError) -> bool:
        """Whether the error says that the SQLite file is damaged."""
        return self.is_sqlite and any(words in str(error.orig) for words in CORRUPT)

    def replace_damaged(self) -> None:
        """Remove a damaged SQLite file and begin an empty one."""
        self.engine.dispose()
        self._look_away()
        path = Path(str(self.url.database))
        for file in (path, path.with_name(path.name + "-journal")):
            file.unlink(missing_ok=True)
        self.notices.append(f"the index {path.name} was damaged: it is made anew from the files")
        self.engine = self._sqlite()
        self._make_ready()

    def _fault(self, error: DatabaseError) -> EnvironmentFault:
        shown = self.url.render_as_string(hide_password=True)
        where = "free space or rights for the workspace's cache" if self.is_sqlite else "start the server, or unset SWEEP_INDEX"
        words = "the index cannot be opened" if isinstance(error, OperationalError) else "the index's database refuses"
        return EnvironmentFault(f"{words}: {str(error.orig).strip().splitlines()[0]}", found=shown, next=where)

    def close(self) -> None:
        """Let go of all connections."""
        self._look_away()
        self.engine.dispose()
