"""Dispatch through SLURM: arrays of workers, submitted through submitit.

An array has as many tasks as workers are wanted, split below ``MaxArraySize``; each task has a job folder of its own, as a worker on
this machine has (:mod:`slurm.local`), and the first task's folder holds ``array.json`` (the folders by index) and submitit's files.

Submitting survives a crash at any point. The folders, with the array's name inside, are written before sbatch is called, and the name
is unique; so an array that was submitted and not recorded is found by its name (:mod:`slurm.polling`), and one that never was
is in no queue. A task needs nothing that is written after sbatch.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from submitit.core.utils import FailedJobError
from submitit.slurm.slurm import SlurmExecutor

from core.control.jobs import ENDS, jobs_of, last_of, names_of
from core.control.ports import NOTHING_YET, Grant, Job, Room, Shown, Submit
from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.workspace import nodes, process, snapshot
from core.workspace.files import fault, write_atomic
from core.workspace.layout import Workspace
from slurm import partitions, sbatch, sizes
from slurm.polling import Reply, Run, SlurmScheduler, is_slurm
from slurm.profile import Cluster, Profile
from slurm.reservations import next_begin
from slurm.shared import counted

IDLE_SECONDS = 60.0
RETRY_SECONDS = 30.0
DEFAULT_ARRAY_SIZE = 1001
SHORTEST_SECONDS = 900.0
START_SECONDS = 300.0
"""Allowed for a worker's imports and the scorings of its trials."""
MARGIN = 1.5
"""Nodes differ; a worker that meets its limit all the same costs a checkpoint and a wait."""
CHECKPOINTS_AHEAD = 3.0
"""A worker is warned so many times its sweep's longest checkpoint before the time limit."""
RESERVATION_SECONDS = 300.0
"""How long an answer about reservations holds."""
RESERVED_WITHIN_SECONDS = 7 * 86400.0
NEVER = 10**6
"""submitit's own count of time limits must never decide."""

QUEUE_IS_FULL = re.compile(r"SubmitJob|MaxSubmit|SubmitLimit", re.IGNORECASE)
OTHER_LIMIT = re.compile(r"\b(QOS|Assoc)(Max|Min|Grp)\w+")
SOME_LIMIT = re.compile(r"job submit limit", re.IGNORECASE)
"""What sbatch says of every limit of accounting, after a line with the limit's own name."""
NO_ANSWER = re.compile(r"unable to contact|connection re|timed out|communication|temporarily", re.IGNORECASE)
FOREIGN = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SUBMITIT_", "CUDA_VISIBLE_DEVICES", "SWEEP_JOB_")
"""Variables of a job from within which another one is submitted."""


class _Array(SlurmExecutor):  # type: ignore[misc]  # submitit is not typed for mypy here
    """submitit's executor with our batch script: an array whose tasks need no pickle."""

    def __init__(self, folder: Path, script: Callable[[str], str], ask: Run) -> None:
        super().__init__(folder, max_num_timeout=NEVER)
        self._script = script
        self._ask = ask

    def start(self, command: str) -> str:
        """Submit; returns the array's job id.

        Raises:
            FailedJobError: SLURM refuses, or does not answer; with what it says.
        """
        file = self.folder / "submission_file.sh"
        file.write_text(self._script(command), encoding="utf-8")
        reply = self._ask(self._make_submission_command(file))
        if reply.code != 0:
            raise FailedJobError(reply.err or f"sbatch ended with {reply.code}")
        return str(self._get_job_id_from_submission_command(reply.out))

    def _make_submission_command(self, submission_file_path: Path) -> list[str]:
        foreign = [name for name in os.environ if name.startswith(FOREIGN) and name != "SLURM_CONF"]
        return ["env", *(word for name in foreign for word in ("-u", name)), "sbatch", str(submission_file_path)]


@dataclass(frozen=True)
class _Night:
    """A night's grant at the moment of a submission, so that the record and the script say the same."""

    grant: Grant
    now: float

    def cut(self, profile: Profile, shape: Shape) -> sbatch.Cut | None:
        return sbatch.cut(profile, shape, self.grant, self.now)


class SlurmSubmitter:
    """Starts workers as tasks of SLURM arrays.

    Args:
        workspace: on a file system that the nodes share.
        cluster: the profile.
        entry: the function that a worker's task calls with its folder, as ``"module:function"``.
        workers: at most so many at once; default: the profile's limit, which it cannot exceed.
        idle: seconds without claimable work after which a worker leaves.
        ask: runs a command of SLURM.
        look: the same for questions that can wait, within the budget of calls.
        clock: seconds.
        wall: unix seconds.
    """

    def __init__(
        self,
        workspace: Workspace,
        cluster: Cluster,
        entry: str,
        workers: int | None = None,
        idle: float = IDLE_SECONDS,
        ask: Run = counted,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        look: Run | None = None,
    ) -> None:
        self.workspace = workspace
        self.cluster = cluster
        self.entry = entry
        self.workers = min(workers or cluster.profile.limits.workers, cluster.profile.limits.workers)
        self.idle = idle
        self.trouble: str | None = None
        self._ask = ask
        self._look = look or ask
        self._clock = clock
        self._wall = wall
        self._wait_until = float("-inf")
        self._full = False
        self._withdrawn = float("-inf")
        self._profile = cluster.profile
        self._partitions: list[partitions.Partition] = []
        self._partitions_asked = float("-inf")
        self._shown = NOTHING_YET
        self._array_size: int | None = None
        self._reserved: tuple[float, float | None] = (float("-inf"), None)

    def capacity(self, shape: Shape) -> int:
        """How many workers of this shape may be queued or running at once.

        Raises:
            EnvironmentFault: a node of the profile has less than a trial needs.
        """
        sizes.require(self.cluster.profile, shape, self.cluster.name)
        return self.workers

    def room(self, shape: Shape) -> Room:
        """What a worker of this shape is given."""
        profile = self._bounded()
        return Room(max(1, sizes.slots(profile, shape)), sizes.allotted(profile, shape).gpus, sbatch.time_limit(profile, shape))

    def submit(self, sweep: str, revision: int, wanted: Submit, shown: Shown = NOTHING_YET, after: int | None = None) -> list[str]:
        """Submit up to as many workers as are wanted; fewer where the queue is full or SLURM does not answer (the next pass goes on).

        They are warned three times the longest checkpoint before the time limit, where that is more than the profile says, and once more
        for each further trial that saves at the same moment. Where the
        definition leaves the time to us (``resources.time: auto``), and a trial has shown how long it takes, they ask for what their
        trials need and no more: a short job is backfilled.

        In a night none where too little time is left before the night ends or the nodes are reserved. None where the sweep has a worker
        with a number above ``after``: another pass has acted on the same state.

        Raises:
            EnvironmentFault: SLURM refuses the job as such: its partition, account, options.
        """
        shape, grant = wanted.shape, wanted.grant
        sizes.require(self.cluster.profile, shape, self.cluster.name)
        keys: list[str] = []
        profile = self._bounded()
        self._profile, self._shown = sized(profile, shown, shape), shown
        if self._clock() >= self._wait_until:
            self.trouble = None
        count = self._room(min(wanted.count, self.workers))
        after = last_of(self.workspace, sweep) if after is None else after
        while count > 0 and self._clock() >= self._wait_until:
            now = self._wall()
            night = None if grant is None else self._night(shape, grant, now)
            if night is not None and night.cut(self._profile, shape) is None:
                self.trouble = f"too little time is left for a worker before {night.grant.night} ends or the nodes are reserved"
                break
            # a queue that was full a moment ago is tried with one
            size = 1 if self._full else min(count, self.array_size())
            done = self._array(sweep, revision, shape, size, after, night)
            if done is None:
                break
            self._full = False
            keys += done
            count -= len(done)
            after += len(done)
        return keys

    def _bounded(self) -> Profile:
        """The profile with the longest time limit that a worker may have: its own, or that of its partition, which is asked once."""
        if self.cluster.profile.max_time is not None:
            return self.cluster.profile
        if not self._partitions and self._clock() >= self._partitions_asked + RETRY_SECONDS:
            self._partitions, self._partitions_asked = partitions.of(self.cluster.profile, self._ask), self._clock()
        return self.cluster.profile.model_copy(update={"max_time": partitions.longest(self._partitions)})

    def withdraw(self, jobs: Sequence[Job]) -> None:
        """Cancel array tasks that still wait; asked again only after a while, because a poll shows the effect late."""
        ids = [job.job_id for job in jobs if job.job_id is not None and is_slurm(job)]
        if ids and self._clock() >= self._withdrawn + RETRY_SECONDS:
            self._withdrawn = self._clock()
            self._ask(("scancel", "--state=PENDING", *ids))

    def _night(self, shape: Shape, grant: Grant, now: float) -> _Night:
        # sized by what trials have shown or not, a worker never gets more than what was set aside for it
        most = min(sbatch.time_limit(self._bounded(), shape), grant.seconds if grant.seconds is not None else math.inf)
        return _Night(replace(grant, closes=self._closes(grant.closes, now), seconds=most), now)

    def _closes(self, closes: float, now: float) -> float:
        """When workers must be gone: at the end of the night, or before the nodes are reserved for others."""
        asked, begin = self._reserved
        if now - asked > RESERVATION_SECONDS:
            begin = next_begin(self.cluster.profile, self._ask, now, now + RESERVED_WITHIN_SECONDS)
            self._reserved = (now, begin)
        return closes if begin is None else min(closes, begin)

    def array_size(self) -> int:
        """Tasks of one array: the profile's limit, and the controller's ``MaxArraySize``."""
        if self._array_size is None:
            found = max_array_size(self._ask(("scontrol", "show", "config"))) or DEFAULT_ARRAY_SIZE
            self._array_size = min(found, self.cluster.profile.limits.array_size or found)
        return self._array_size

    def _room(self, count: int) -> int:
        """How many of these may be queued beside those of the workspace that SLURM has, so that ``limits.submitted`` holds."""
        limit = self.cluster.profile.limits.submitted
        if limit is None:
            return count
        names = [name for name in names_of(self.workspace) if not any((self.workspace.jobs / name / file).exists() for file in ENDS)]
        if len(names) + count <= limit:
            return count
        # a worker that was killed left no word, and nobody may have asked for it since
        open_jobs = [job for job in jobs_of(self.workspace, names=names) if is_slurm(job)]
        answers = SlurmScheduler(ask=self._look, clock=self._clock).poll(open_jobs)
        room = limit - sum(1 for job in open_jobs if job.key in answers and answers[job.key].alive)
        if room <= 0:
            self.trouble = f"{limit - room} workers of this workspace wait or run, limits.submitted is {limit}"
        return min(count, room)

    def _array(self, sweep: str, revision: int, shape: Shape, count: int, after: int, night: _Night | None) -> list[str] | None:
        """One array of ``count`` tasks, of fewer where the queue is nearly full; ``None`` where none can be submitted now."""
        try:
            folders = self._reserve(sweep, revision, shape, count, after, night)
            if not folders:
                return None
            refusal = self._sbatch(shape, folders, night)
        except OSError as error:
            raise fault(error, self.workspace.jobs) from error
        if refusal is None:
            return [folder.name for folder in folders]
        if NO_ANSWER.search(refusal):
            # it may have arrived all the same: the folders stay, and a poll finds the array by its name or not at all
            for folder in folders:
                write_atomic(folder / "submitted.json", json.dumps({"unanswered": refusal}, indent=1))
            self._pause(f"SLURM does not answer: {refusal}")
            return None
        for folder in folders:
            shutil.rmtree(folder)
        if not _queue_is_full(refusal):
            raise EnvironmentFault("SLURM refuses the workers", found=refusal, next=f"sweep doctor --cluster {self.cluster.name}")
        if count > 1:
            return self._array(sweep, revision, shape, count // 2, after, night)
        self._full = True
        self._pause(f"the queue is full: {refusal}")
        return None

    def _pause(self, why: str) -> None:
        self.trouble = why
        self._wait_until = self._clock() + RETRY_SECONDS

    def _reserve(self, sweep: str, revision: int, shape: Shape, count: int, after: int, night: _Night | None) -> list[Path]:
        """Make the job folders of the next numbers; who submits for the same state at the same time finds the first one taken."""
        folders: list[Path] = []
        while len(folders) < count:
            folder = self.workspace.jobs / f"rs-{sweep}-{after + len(folders) + 1:04d}"
            try:
                folder.mkdir(mode=0o700)
            except FileExistsError:
                break
            folders.append(folder)
        name = f"{folders[0].name}-{uuid.uuid4().hex[:6]}" if folders else ""
        profile = self._profile
        cut = night.cut(profile, shape) if night else None
        for task, folder in enumerate(folders):
            record: dict[str, Any] = {
                "v": 1, "sweep": sweep, "revision": revision, "entry": self.entry, "shape": asdict(shape), "gpus": [],
                "slots": sizes.slots(profile, shape), "allotted": asdict(sizes.allotted(profile, shape)),
                "threads": sizes.cpus(profile, shape), "workspace": str(self.workspace.root), "idle": self.idle,
                "submitter": process.identity(), "created": round(self._wall(), 3), "cluster": self.cluster.name,
                "array": {"name": name, "task": task}, "requeue": sbatch.requeues(profile),
                "warned": sbatch.warned_from(profile, shape, cut), "mounts": list(profile.mounts), "free": profile.free,
                "limit": 60.0 * cut.minutes if cut else sbatch.time_limit(profile, shape), "useful": self._shown.useful,
                "usual": sbatch.time_limit(self._bounded(), shape), "most": self._bounded().max_time,
                "step": sbatch.step(profile, shape, sys.executable, self.workspace.root),
                "check": sbatch.check(profile, shape, sys.executable, self.workspace.root),
            }  # fmt: skip
            if night is not None and cut is not None:
                numbered = int(folder.name.rsplit("-", 1)[1])
                record["night"] = night.grant.orders(numbered, 60.0 * cut.minutes, profile.signal_lead, sizes.slots(profile, shape))
            write_atomic(folder / "job.json", json.dumps(record, indent=1), sync=True)
            if task:
                os.symlink(f"../{folders[0].name}/submitit", folder / "submitit")
        if folders:
            write_atomic(folders[0] / "array.json", json.dumps({"name": name, "tasks": [folder.name for folder in folders]}, indent=1))
        return folders

    def _sbatch(self, shape: Shape, folders: Sequence[Path], night: _Night | None) -> str | None:
        """Submit the array of these folders and write down its id; returns what SLURM says where it refuses."""
        profile, first = self._profile, folders[0]
        array = json.loads((first / "array.json").read_text(encoding="utf-8"))
        without = sorted(nodes.excluded(self.workspace))
        cut = night.cut(profile, shape) if night else None
        values = sbatch.parameters(profile, shape, array["name"], self.workspace.root, self._environment(), without, cut)
        log = first / "submitit"
        log.mkdir()
        try:
            executor = _Array(log, lambda command: sbatch.text(values, command, log, len(folders)), self._ask)
            job_id = executor.start(sbatch.command(profile, shape, sys.executable, first))
        except FailedJobError as error:  # a RuntimeError itself, so it comes first
            return _last_words(error)
        except RuntimeError as error:
            for folder in folders:
                shutil.rmtree(folder)
            raise EnvironmentFault("this machine has no SLURM", found=str(error), next="launch from a login node") from error
        for task, folder in enumerate(folders):
            write_atomic(folder / "submitted.json", json.dumps({"job_id": f"{job_id}_{task}"}, indent=1))
        return None

    def _environment(self) -> dict[str, str]:
        found = {"PYTHONSAFEPATH": "1", "PYTORCH_NVML_BASED_CUDA_CHECK": "1", "TOKENIZERS_PARALLELISM": "false"}
        code = snapshot.take(self.workspace)
        if code is not None:
            found["PYTHONPATH"] = os.pathsep.join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
        return found


def sized(profile: Profile, shown: Shown, shape: Shape) -> Profile:
    """The profile with the time that the trials need, at most its own, and a warning early enough, in the first half of no job."""
    if shape.time is None and shown.trial is not None:
        needed = max(SHORTEST_SECONDS, MARGIN * shown.trial * shown.each + profile.signal_lead + START_SECONDS)
        profile = profile.model_copy(update={"time": min(profile.time, needed)})
    # trials that run side by side save at the same moment, on one file system
    lead = min((CHECKPOINTS_AHEAD + sizes.slots(profile, shape) - 1) * shown.saving, sbatch.time_limit(profile, shape) / 2)
    return profile.model_copy(update={"signal_lead": lead}) if lead > profile.signal_lead else profile


def _queue_is_full(refusal: str) -> bool:
    """Whether the same workers may be taken later; a job that is longer or larger than a limit allows is refused for ever."""
    return bool(QUEUE_IS_FULL.search(refusal) or (SOME_LIMIT.search(refusal) and not OTHER_LIMIT.search(refusal)))


def _last_words(error: Exception) -> str:
    """What sbatch printed, without submitit's words around it."""
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return "; ".join(line.partition("error:")[2].strip() for line in lines) or str(error).strip().splitlines()[-1]


def max_array_size(config: Reply) -> int | None:
    """``MaxArraySize`` from ``scontrol show config``."""
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", config.out, flags=re.MULTILINE)
    return int(found.group(1)) if found and config.code == 0 else None
