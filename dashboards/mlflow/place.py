"""Where the MLflow store lies, who may write to it, and how a run is linked (no mlflow here: the report imports it too).

``$MLFLOW_TRACKING_URI`` names a server or a store. Without it the store is ``<workspace>/mlflow/mlflow.db`` with artifacts beside
it: it lasts as long as the workspace. SQLite and files are written from one host only, so a marker beside such a store names
the host that owns it and every other host is refused. One process at a time sends for a workspace, under a lock in ``leases``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import EnvironmentFault
from core.workspace import process
from core.workspace.files import create_exclusive, fault, read_json
from core.workspace.layout import Workspace

VARIABLE = "MLFLOW_TRACKING_URI"
LOCAL_UI = "http://127.0.0.1:5000"
"""Where `sweep ui` serves a local store by default."""


@dataclass(frozen=True)
class Store:
    """A tracking store.

    Attributes:
        uri: as mlflow takes it.
        folder: the folder of a store in local files, ``None`` for a server or database.
        own: whether it is the workspace's own.
    """

    uri: str
    folder: Path | None = None
    own: bool = False

    @property
    def artifacts(self) -> str | None:
        """Where artifacts of new experiments go; ``None`` leaves it to the server."""
        return (self.folder / "artifacts").as_uri() if self.folder is not None else None

    @property
    def ui(self) -> str:
        """The web address that shows it."""
        return self.uri.rstrip("/") if self.uri.startswith(("http://", "https://")) else LOCAL_UI

    def link(self, run: str) -> str:
        """The page of a run, given as ``experiment/run``."""
        experiment, _, id = run.partition("/")
        return f"{self.ui}/#/experiments/{experiment}/runs/{id}"


def store_of(workspace: Workspace) -> Store:
    """The store that the workspace's trials are sent to."""
    uri = os.environ.get(VARIABLE)
    if not uri:
        folder = workspace.root / "mlflow"
        return Store(f"sqlite:///{folder / 'mlflow.db'}", folder, own=True)
    parts = urlsplit(uri)
    if parts.scheme == "sqlite":
        return Store(uri, Path(unquote(parts.path.removeprefix("/"))).absolute().parent)
    if parts.scheme in ("", "file"):
        return Store(uri, Path(unquote(parts.path)).absolute())
    return Store(uri)


def own_store(store: Store) -> None:
    """Make the folder of a local store and mark it as this host's.

    Raises:
        EnvironmentFault: another host owns it, or it cannot be written.
    """
    if store.folder is None:
        return
    here = process.host()
    marker = store.folder / "HOST"
    try:
        store.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(error, store.folder) from error
    if marker.exists() or not create_exclusive(marker, json.dumps({"host": here["host"], "machine": here["machine"]})):
        owner = read_json(marker)
        same = owner.get("host") == here["host"] or (here["machine"] and owner.get("machine") == here["machine"])
        if not same:
            raise EnvironmentFault(
                "this MLflow store is written from one host only, and another one owns it",
                found=f"{store.uri}, owned by {owner.get('host')}; this is {here['host']}",
                place=marker,
                next=f"set {VARIABLE} to an MLflow server that both reach; if {owner.get('host')} is gone for good, remove {marker.name}",
            )


class SendingLock:
    """One process at a time sends for a workspace (``flock``: it goes with its process, however that ends)."""

    def __init__(self, workspace: Workspace, patience: float = 60.0) -> None:
        self._path = workspace.leases / "tracker.lock"
        self._patience = patience
        self._me = uuid.uuid4().hex

    @contextmanager
    def held(self) -> Iterator[bool]:
        """Hold the lock; yields whether nobody else has held it since this object did.

        Raises:
            TimeoutError: another process still sends after ``patience`` seconds.
            EnvironmentFault: the file system has no locks, or the file cannot be written.
        """
        try:
            self._path.parent.mkdir(exist_ok=True)
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise fault(error, self._path) from error
        try:
            self._wait(handle)
            unchanged = os.pread(handle, 64, 0).decode() == self._me
            os.pwrite(handle, self._me.encode(), 0)
            yield unchanged
        finally:
            os.close(handle)

    def _wait(self, handle: int) -> None:
        end = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EINTR):
                    raise EnvironmentFault(
                        "the workspace's file system has no locks", found=f"{self._path}: {error.strerror}",
                        next="mount it with locks (flock), or choose another workspace",
                    ) from error  # fmt: skip
                if time.monotonic() > end:
                    raise TimeoutError("another process is sending to MLflow") from None
            time.sleep(0.1)
