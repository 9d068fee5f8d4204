"""Links to the MLflow runs of a sweep's trials, from the index alone (mlflow is not imported)."""

from __future__ import annotations

from core.store import Index
from core.workspace.layout import Workspace
from dashboards.mlflow.place import store_of


def links(workspace: Workspace, index: Index, sweep_id: str) -> dict[str, str]:
    """{trial: address} of the runs that were sent. Those of the workspace's own store open while `sweep ui` runs."""
    store = store_of(workspace)
    return {trial: store.link(run) for trial, run in index.tracker_runs(sweep_id).items()}
