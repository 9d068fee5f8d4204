"""Which scheduler answers for a worker, and which submitter starts the next: by the worker's own record, and by the sweep's cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.control.ports import Job, JobAnswer, Submitter
from core.workspace.layout import Workspace
from slurm.local import LocalScheduler, LocalSubmitter
from slurm.polling import SlurmScheduler, is_slurm
from slurm.profile import Cluster
from slurm.shared import SharedCalls


class AnyScheduler:
    """A sweep may have been launched here first and on a cluster later: each worker is asked about where it was started."""

    def __init__(self, cluster: Cluster) -> None:
        self._local = LocalScheduler()
        calls = cluster.profile.limits.calls_per_minute
        self._slurm = SlurmScheduler(calls, SharedCalls(calls).ask)

    @property
    def trouble(self) -> str | None:
        """Why SLURM's answers are old, where they are."""
        return self._slurm.trouble

    def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobAnswer]:
        """The answer for each job; SLURM is asked only where a job is its own."""
        return {
            **self._local.poll([job for job in jobs if not is_slurm(job)]),
            **self._slurm.poll([job for job in jobs if is_slurm(job)]),
        }


def submitter(workspace: Workspace, cluster: Cluster, entry: str, workers: int | None) -> Submitter:
    """What starts workers on a cluster, or on this machine."""
    if cluster.profile.kind == "slurm":
        from slurm.cluster import SlurmSubmitter  # submitit: half as dear as all else that a look at a sweep imports

        return SlurmSubmitter(workspace, cluster, entry, workers, look=SharedCalls(cluster.profile.limits.calls_per_minute).ask)
    return LocalSubmitter(workspace, entry, workers, cluster)
