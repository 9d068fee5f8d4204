"""A new MLflow store in a SQLite file (no mlflow here: making its sixty-odd tables takes a process of its own).

mlflow builds a new SQLite store by migrations, each committed by itself: a process killed between two of them leaves a file that
nothing can open again, and whoever built one keeps 10 MB for the rest of its life. A store is therefore built by another process,
once for each version of mlflow in the user's cache; every workspace begins with a copy of it, linked to its place once it is whole.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import EnvironmentFault
from core.workspace.files import user_cache

BUILD = "import sys, warnings; warnings.simplefilter('ignore'); from mlflow import MlflowClient; MlflowClient(tracking_uri=sys.argv[1])"


def make_store(uri: str) -> None:
    """Make a SQLite store where it is missing (seconds for the first of a machine); nothing for any other store.

    Raises:
        EnvironmentFault: mlflow cannot build one.
        OSError: its folder cannot be written.
    """
    parts = urlsplit(uri)
    path = Path(unquote(parts.path.removeprefix("/")))
    if parts.scheme != "sqlite" or path.exists():
        return
    _publish(path, _copy_of_an_empty_one)


def _copy_of_an_empty_one(at: Path) -> None:
    empty = user_cache() / "mlflow" / f"empty-{version('mlflow')}.db"
    try:
        if not empty.exists():
            empty.parent.mkdir(parents=True, exist_ok=True)
            _publish(empty, _build)
        shutil.copyfile(empty, at)
    except OSError:  # no cache, or no room in it: it only saves time
        at.unlink(missing_ok=True)
        _build(at)


def _publish(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file beside its place and link it there once it is whole; another process that was faster made one as good."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-", ignore_cleanup_errors=True) as folder:
        new = Path(folder) / path.name
        make(new)
        with suppress(FileExistsError):
            os.link(new, path)


def _build(at: Path) -> None:
    # mlflow notes the working directory as the place of its default experiment, which no sweep uses
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    words = [sys.executable, "-c", BUILD, f"sqlite:///{at}"]
    ended = subprocess.run(words, cwd=Path.home(), env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ended.returncode != 0:
        raise EnvironmentFault(
            "mlflow cannot make a new store",
            found=(ended.stderr.strip().splitlines() or [f"exit code {ended.returncode}"])[-1],
            place=at,
            next="see that Python, mlflow and SQLAlchemy are the versions of constraints.txt",
        )
