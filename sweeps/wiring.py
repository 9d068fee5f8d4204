"""Joins the floors: which workspace, which scheduler, which submitter, which tracker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from core.control.ports import Submitter, Tracker
from core.control.tick import SweepReader
from core.workspace.launched import last_launch
from core.workspace.layout import Sweep, Workspace
from core.workspace.registration import Revision
from slurm import dispatch
from slurm.profile import Cluster, find, of_sweep

WORKER = "sweeps.worker_main:main"
SHIPPED = Path(__file__).resolve().parent


def workspace_root(given: Path | None) -> Path:
    """``--workspace``, else ``$SWEEP_WORKSPACE``, else ``./runs``."""
    return given or Path(os.environ.get("SWEEP_WORKSPACE") or "runs")


def search_path() -> Sequence[Path]:
    """Where a definition is looked for by name: ``./sweeps``, then among the shipped ones."""
    return (Path("sweeps"), SHIPPED)


def cluster(name: str | None, sweep: Sweep) -> Cluster:
    """The cluster of this name, or the one that the sweep was last launched on (this machine where it never was)."""
    return find(name) if name is not None else of_sweep(sweep)


def submitter(workspace: Workspace, sweep: Sweep, workers: int | None = None, cluster: Cluster | None = None) -> Submitter:
    """What starts workers of a sweep: where it was launched last, and as many as that launch asked for, unless told otherwise."""
    return dispatch.submitter(workspace, cluster or of_sweep(sweep), WORKER, workers or last_launch(sweep).workers)


def reader(workspace: Workspace, revision: Revision) -> SweepReader:
    """A reader of a sweep that asks the scheduler."""
    return SweepReader(workspace, revision, dispatch.AnyScheduler(of_sweep(revision.sweep)))


def tracker(workspace: Workspace, project: str, rehearsal: bool) -> Tracker:
    """The MLflow tracker of a project (imports mlflow)."""
    from dashboards.mlflow.tracker import MLflowTracker

    return MLflowTracker(workspace, project, rehearsal)
