"""What we use of mlflow, imported quietly: no telemetry, no notices about its tables, no long retries.

Only the tracker imports this module, so nothing else pays for mlflow. The environment variables are mlflow's own, documented
ones; a value that the user has set stays. mlflow is imported as where only ``mlflow-skinny`` is installed, without the libraries
that its clients of runs do not use: a watched sweep would hold 80 MB of them for days, on a login node.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from dashboards.mlflow.making import make_store

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away is asked again by the next pass
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

NOT_NEEDED = ("numpy", "pandas", "pyarrow", "pygments", "scipy")
"""mlflow imports them where they are installed, and does without where they are not: it reads and writes runs all the same."""


class _Absent(MetaPathFinder):
    """Finds none of the libraries that are not needed, for the thread that imports mlflow; any other thread finds them."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Nothing is ever found here.

        Raises:
            ModuleNotFoundError: it is one of those libraries.
        """
        if fullname.partition(".")[0] in NOT_NEEDED and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)
        return None


@contextmanager
def _lightly() -> Iterator[None]:
    """Import mlflow without what it does not need here, and quietly: its models use what SQLAlchemy has deprecated."""
    finder = _Absent()
    sys.meta_path.insert(0, finder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.meta_path.remove(finder)


with _lightly():
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
    "open_client",
]


def open_client(uri: str) -> MlflowClient:
    """A client of a tracking store; a SQLite store is made where it is missing.

    Raises:
        MlflowException: the store is out of date, or it is away.
        EnvironmentFault: a missing store cannot be made.
    """
    make_store(uri)
    with _lightly():
        return MlflowClient(tracking_uri=uri)
