"""The jobs that a launch would ask a cluster for, shape by shape."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from core.definition.plan import Shape
from slurm import sizes
from slurm.profile import Cluster
from sweeps.planning import Plan, will_run


@dataclass(frozen=True)
class Jobs:
    """``workers`` jobs for the ``trials`` of a shape, ``slots`` of them side by side in each.

    ``gpus``, ``cpus`` and ``memory`` (GiB, ``None`` where the cluster decides) are those of one job.
    """

    shape: Shape
    trials: int
    workers: int
    slots: int
    gpus: int
    cpus: int
    memory: float | None

    def as_json(self) -> dict[str, Any]:
        """The documented shape."""
        return asdict(self) | {"shape": self.shape.key}

    def words(self) -> str:
        """One line."""
        size = ", ".join(
            [
                *([f"{self.gpus} GPUs"] if self.gpus else []),
                f"{self.cpus} cores",
                *([f"{self.memory:g} GiB"] if self.memory else []),
                *([f"{self.shape.nodes} nodes"] if self.shape.nodes > 1 else []),
            ]
        )
        return f"{self.workers} x ({size}) for {self.trials} trials of {self.shape.key}, {self.slots} at a time in each"


def jobs_on(plan: Plan, cluster: Cluster) -> list[Jobs]:
    """What the trials that would run ask of a cluster at first.

    Raises:
        EnvironmentFault: a node of the profile has less than a trial needs.
    """
    found = []
    profile = cluster.profile
    for shape, trials in Counter(planned.shape for planned, action in plan.trials if will_run(planned, action)).items():
        sizes.require(profile, shape, cluster.name)
        slots, given = sizes.slots(profile, shape), sizes.allotted(profile, shape)
        workers = min(math.ceil(trials / slots), profile.limits.workers)
        found.append(Jobs(shape, trials, workers, slots, given.gpus, given.cpus, given.memory))
    return found
