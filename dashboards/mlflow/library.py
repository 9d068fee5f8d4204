"""What we use of mlflow, imported quietly: no telemetry, no notices about its tables, no long retries.

Only the tracker imports this module, so nothing else pays for mlflow. The environment variables are mlflow's own, documented
ones; a value that the user has set stays.
"""

from __future__ import annotations

import logging
import os
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away is asked again by the next pass
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

with warnings.catch_warnings():  # mlflow's models use what SQLAlchemy has deprecated
    warnings.simplefilter("ignore")
    from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

__all__ = [
    "Dataset",
    "DatasetInput",
    "InputTag",
    "Metric",
    "MlflowClient",
    "MlflowException",
    "Param",
    "Run",
    "RunTag",
    "ViewType",
    "make_store",
    "open_client",
]


def open_client(uri: str) -> MlflowClient:
    """A client of a tracking store; a SQLite store is made where it is missing (seconds).

    Raises:
        MlflowException: the store is out of date, or it is away.
    """
    make_store(uri)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MlflowClient(tracking_uri=uri)


def make_store(uri: str) -> None:
    """Make a SQLite store where it is missing; nothing for any other store.

    mlflow builds a new SQLite store by some sixty migrations, each committed by itself: a process killed between two of them
    leaves a file that nothing can open again. A new store is therefore built beside its place and linked there once it is whole.
    """
    parts = urlsplit(uri)
    path = Path(unquote(parts.path.removeprefix("/")))
    if parts.scheme != "sqlite" or path.exists():
        return
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-", ignore_cleanup_errors=True) as folder:
        warnings.simplefilter("ignore")
        new = Path(folder) / path.name
        MlflowClient(tracking_uri=f"sqlite:///{new}")
        with suppress(FileExistsError):  # another process was faster: its store is as good
            os.link(new, path)
