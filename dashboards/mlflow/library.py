"""What we use of mlflow, imported quietly: no telemetry, no notices about its tables, no long retries.

Only the tracker imports this module, so nothing else pays for mlflow. The environment variables are mlflow's own, documented
ones; a value that the user has set stays.
"""

from __future__ import annotations

import logging
import os
import warnings

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")  # a server that is away is asked again by the next pass
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

with warnings.catch_warnings():  # mlflow's models use what SQLAlchemy has deprecated
    warnings.simplefilter("ignore")
    from mlflow.entities import Metric, Param, Run, RunTag, ViewType
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

logging.getLogger("mlflow").setLevel(logging.WARNING)
logging.getLogger("alembic").setLevel(logging.WARNING)

__all__ = ["Metric", "MlflowClient", "MlflowException", "Param", "Run", "RunTag", "ViewType", "open_client"]


def open_client(uri: str) -> MlflowClient:
    """A client of a tracking store; a SQLite store is made where it is missing (seconds)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MlflowClient(tracking_uri=uri)
