"""Dispatch on this machine: submitit's local executor, with the worker that SLURM runs.

The files of a worker are those of :mod:`core.control.jobs`. Its job id is the pid of submitit's controller, whose identity stands
beside it. submitit starts that controller in the caller's process group, so a Ctrl-C in the terminal would kill every worker with
the watching ``launch``. The submission therefore runs in a short process of its own session (:mod:`slurm.submit_local`).

There is a worker for each trial that the machine holds. Where a profile says what of this machine one worker takes (``node``), there is
one, which runs them side by side and imports torch once for all of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.control.jobs import jobs_of, last_of
from core.control.ports import NOTHING_YET, Grant, Job, JobAnswer, Room, Shown, Submit
from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.run.packing import Allotted
from core.workspace import process, snapshot
from core.workspace.files import fault, write_atomic
from core.workspace.layout import Workspace
from slurm import sizes
from slurm.profile import HERE, Cluster


def gpu_names() -> list[str]:
    """Names of the GPUs that this process may use, as ``CUDA_VISIBLE_DEVICES`` takes them (no torch; none without a driver)."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/proc/driver/nvidia/gpus").glob("*"))]


def gpus_here() -> int:
    """How many GPUs this process may use."""
    return len(gpu_names())


def cores_here() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def default_workers(shape: Shape) -> int:
    """Workers of a shape that this machine holds at once: by GPUs where the shape asks for some, else by cores."""
    if shape.gpus:
        return gpus_here() // shape.gpus
    return max(1, cores_here() // (shape.cpus or shape.processes))


LEAD_SECONDS = 30.0
"""How long before its night's end a worker of this machine saves and leaves."""


class LocalScheduler:
    """Answers for workers of this machine from their processes."""

    trouble: str | None = None

    def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobAnswer]:
        """A worker is alive while its own process or submitit's controller of it is."""
        return {job.key: self._answer(job.details) for job in jobs}

    def _answer(self, details: Mapping[str, Any]) -> JobAnswer:
        known = [details[name] for name in ("worker", "controller") if details.get(name)] or [details["submitter"]]
        ends = [process.evidence_of_end(owner) for owner in known]
        if any(end is None for end in ends):
            return JobAnswer(alive=True)
        return JobAnswer(alive=False, ended="lost", evidence=str(ends[0]))


class LocalSubmitter:
    """Starts workers on this machine.

    Args:
        workspace: the workspace that they work in.
        entry: the function that a job calls with its folder, as ``"module:function"``.
        workers: at most so many at once; default: by GPUs and cores.
        cluster: the profile of this machine.
        idle: seconds without claimable work after which a worker leaves.
    """

    def __init__(self, workspace: Workspace, entry: str, workers: int | None = None, cluster: Cluster = HERE, idle: float = 3.0) -> None:
        self.workspace = workspace
        self.cluster = cluster
        self.entry = entry
        self.workers = workers
        self.idle = idle
        self.trouble: str | None = None

    def capacity(self, shape: Shape) -> int:
        """How many workers of this shape this machine holds at once.

        Raises:
            EnvironmentFault: the shape asks for more GPUs than there are, or than the profile gives to a worker.
        """
        node = self.cluster.profile.node
        if node is not None:
            sizes.require(self.cluster.profile, shape, self.cluster.name)
            if shape.gpus and node.gpus > gpus_here():
                raise EnvironmentFault(
                    f"this machine has {gpus_here()} GPUs, `node` of the profile {self.cluster.name} names {node.gpus}",
                    next="correct `node.gpus` in clusters.yaml",
                )
            return 1
        fit = default_workers(shape)
        if fit < 1:
            raise EnvironmentFault(
                f"this machine has {gpus_here()} GPUs, a trial asks for {shape.gpus}",
                next="add --rehearse for a dress rehearsal on this machine, or set resources.gpus",
            )
        return min(self.workers, fit) if self.workers and shape.gpus else self.workers or fit

    def room(self, shape: Shape) -> Room:
        """What a worker of this shape is given; this machine ends none."""
        return Room(max(1, sizes.slots(self.cluster.profile, shape)), self._allotted(shape).gpus)

    def _allotted(self, shape: Shape) -> Allotted:
        if self.cluster.profile.node is not None:
            return sizes.allotted(self.cluster.profile, shape)
        return Allotted(shape.gpus, shape.cpus or max(1, cores_here() // self.capacity(shape)))

    def submit(self, sweep: str, revision: int, wanted: Submit, shown: Shown = NOTHING_YET, after: int | None = None) -> list[str]:
        """Start up to as many workers as are wanted; the exclusive making of a job's folder keeps two submitters apart."""
        keys: list[str] = []
        last = last_of(self.workspace, sweep) if after is None else after
        try:
            for number in range(last + 1, last + wanted.count + 1):
                folder = self._reserve(sweep, revision, wanted.shape, wanted.grant, number)
                if folder is None:
                    break
                self._start(folder)
                keys.append(folder.name)
        except OSError as error:
            raise fault(error, self.workspace.jobs) from error
        return keys

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """There is no queue on one's own machine: workers begin at once and leave by themselves."""

    def _reserve(self, sweep: str, revision: int, shape: Shape, grant: Grant | None, number: int) -> Path | None:
        everyone = jobs_of(self.workspace)
        answers = LocalScheduler().poll(everyone)
        taken = {gpu for job in everyone if answers[job.key].alive and job.left is None for gpu in job.details.get("gpus", [])}
        allotted, slots = self._allotted(shape), self.room(shape).slots
        free = [gpu for gpu in gpu_names() if gpu not in taken]
        if len(free) < allotted.gpus:
            self.trouble = f"{allotted.gpus} GPUs are wanted, {len(free)} are free: workers of other sweeps have the rest"
            return None
        self.trouble = None
        folder = self.workspace.jobs / f"rs-{sweep}-{number:04d}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            return None
        record: dict[str, Any] = {
            "v": 1,
            "sweep": sweep,
            "revision": revision,
            "entry": self.entry,
            "shape": asdict(shape),
            "gpus": free[: allotted.gpus],
            "slots": slots,
            "allotted": asdict(allotted),
            "threads": shape.cpus or max(1, allotted.cpus // slots),
            "workspace": str(self.workspace.root),
            "idle": self.idle,
            "submitter": process.identity(),
            "created": round(time.time(), 3),
        }
        if grant is not None:
            now = time.time()
            closes = min(grant.closes, now + (grant.seconds or grant.closes - now))
            record["night"] = replace(grant, closes=closes).orders(number, closes - now, min(LEAD_SECONDS, (closes - now) / 10), slots)
        write_atomic(folder / "job.json", json.dumps(record, indent=1), sync=True)
        return folder

    def _start(self, folder: Path) -> None:
        code = snapshot.take(self.workspace)
        environment = dict(os.environ)
        environment.update(PYTHONSAFEPATH="1", PYTORCH_NVML_BASED_CUDA_CHECK="1", TOKENIZERS_PARALLELISM="false")
        if code is not None:
            environment["PYTHONPATH"] = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
        # a file, not a pipe: submitit's controller inherits it and would keep a pipe open as long as it lives
        log = folder / "submit.log"
        with open(log, "w", encoding="utf-8") as handle:
            ended = subprocess.run(
                [sys.executable, "-m", "slurm.submit_local", str(folder)],
                env=environment, cwd=self.workspace.root, start_new_session=True, stdin=subprocess.DEVNULL,
                stdout=handle, stderr=handle, check=False,
            )  # fmt: skip
        if ended.returncode != 0:
            found = log.read_text(encoding="utf-8").strip()[-2000:]
            raise EnvironmentFault("a worker could not be started", found=found, place=log, next="sweep doctor")
