"""SLURM in this process, with nodes that are names and a clock that tests wind forward: a week of nights in a second.

:meth:`FakeSlurm.ask` stands where :func:`slurm.polling.run` stands: it takes the words of sbatch, squeue, sacct, scontrol, sinfo and
scancel and answers as 22.05 does. What a task does is a *program*: a generator that yields the seconds until it wants to be called
again, and ends when the process would. It is called at once when a signal arrives (``Task.signals``), and is simply dropped when SLURM
kills it, as a process is.

    slurm = FakeSlurm(tmp_path, monkeypatch, program=my_worker)
    SlurmSubmitter(..., ask=slurm.ask, clock=slurm.clock).submit(...)
    slurm.advance(3600)

Held to the real one by tests/slurm_cluster: a deadline cuts the time limit when the job starts and ends a job that no longer fits, an
array above ``MaxArraySize`` is refused, a warning comes ``--signal`` seconds before the limit.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from slurm.polling import Reply

DOWN = Reply(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
OVER = frozenset({"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "PREEMPTED", "TIMEOUT"})
Program = Callable[["Task"], Iterator[float]]


@dataclass
class Task:
    """One array task; times are seconds of the fake's clock."""

    array: int
    index: int
    options: Mapping[str, str]
    command: str
    submitted: float
    user: str
    state: str = "PENDING"
    reason: str = "None"
    restart: int = 0
    node: str | None = None
    began: float | None = None
    ended: float | None = None
    limit: float = 0.0
    signals: list[str] = field(default_factory=list)
    program: Iterator[float] | None = None
    wakes: float = math.inf
    warned: bool = False

    @property
    def id(self) -> str:
        return f"{self.array}_{self.index}"

    @property
    def name(self) -> str:
        return self.options["job-name"]

    @property
    def gpus(self) -> int:
        return int(self.options.get("gres", "gpu:0").rpartition(":")[2])

    @property
    def deadline(self) -> float:
        return float(self.options.get("deadline", "inf"))

    @property
    def time_min(self) -> float:
        return 60.0 * float(self.options.get("time-min", self.options["time"]))

    @property
    def lead(self) -> float:
        return float(self.options.get("signal", "USR2@0").rpartition("@")[2])


class FakeSlurm:
    """A cluster.

    Args:
        folder: gets a ``bin`` with the names of SLURM's commands, for whoever looks whether they are there.
        monkeypatch: puts it on the path.
        program: what a task runs.
        nodes: GPUs (or, for jobs without, slots) by node.
        start: unix seconds at the beginning.
        array_size: MaxArraySize.
        accounting: whether sacct answers.
    """

    def __init__(
        self,
        folder: Path,
        monkeypatch: pytest.MonkeyPatch,
        program: Program,
        nodes: Mapping[str, int] | None = None,
        start: float = 1_790_000_000.0,
        array_size: int = 1001,
        accounting: bool = True,
    ) -> None:
        self.now = start
        self.nodes = dict(nodes or {"node1": 4, "node2": 4})
        self.tasks: list[Task] = []
        self.asked: list[str] = []
        self.reservations: list[dict[str, str]] = []
        self.partition = {"PartitionName": "gpu", "Default": "YES", "AllocNodes": "ALL", "MaxTime": "UNLIMITED"}
        self.down = False
        self.accounting = accounting
        self.array_size = array_size
        self.submit_limit: int | None = None
        self.user = "ada"
        self._program = program
        self._next_id = 10
        binaries = folder / "bin"
        binaries.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "srun", "scancel", "sacct"):
            (binaries / name).touch(mode=0o755)
        monkeypatch.setenv("PATH", str(binaries), prepend=":")

    def clock(self) -> float:
        """Seconds now."""
        return self.now

    def alive(self) -> list[Task]:
        """Tasks that wait or run."""
        return [task for task in self.tasks if task.state not in OVER]

    def running(self) -> list[Task]:
        """Tasks that run."""
        return [task for task in self.tasks if task.state == "RUNNING"]

    def advance(self, seconds: float) -> None:
        """Let time pass; everything that falls due happens in its order."""
        until = self.now + seconds
        while True:
            self._schedule()
            due = min((self._due(task) for task in self.alive()), default=math.inf)
            if due > until:
                self.now = until
                return
            self.now = max(self.now, due)
            for task in self.alive():
                if self._due(task) <= self.now:
                    self._happen(task)

    def signal(self, task: Task, name: str) -> None:
        """Send a signal: the program is called at once."""
        task.signals.append(name)
        self._step(task)

    def fail_node(self, node: str) -> None:
        """A node dies with all that runs on it."""
        for task in self.running():
            if task.node == node:
                self._end(task, "NODE_FAIL")
                if "requeue" in task.options:
                    task.state, task.restart, task.node, task.ended = "PENDING", task.restart + 1, None, None

    def preempt(self, task: Task) -> None:
        """The warning, and then the kill."""
        self.signal(task, "USR2")
        if task.state == "RUNNING":
            self._end(task, "PREEMPTED")

    def _due(self, task: Task) -> float:
        if task.state == "PENDING":  # the moment from which it no longer fits before its deadline
            return task.deadline - task.time_min + 1
        assert task.began is not None
        end = task.began + task.limit
        return min(task.wakes, end, math.inf if task.warned else max(task.began, end - task.lead))

    def _happen(self, task: Task) -> None:
        if task.state == "PENDING":
            self._end(task, "DEADLINE")
            return
        assert task.began is not None
        end = task.began + task.limit
        if self.now >= end:
            self._end(task, "TIMEOUT")
        elif not task.warned and self.now >= end - task.lead:
            task.warned = True
            self.signal(task, "USR2")
        else:
            self._step(task)

    def _step(self, task: Task) -> None:
        if task.program is None or task.state != "RUNNING":
            return
        try:
            task.wakes = self.now + next(task.program)
        except StopIteration:
            self._end(task, "COMPLETED")

    def _end(self, task: Task, state: str) -> None:
        task.state, task.ended, task.wakes, task.program = state, self.now, math.inf, None

    def _schedule(self) -> None:
        """Start what fits, lowest ``--nice`` first."""
        for task in sorted(self.alive(), key=lambda task: (float(task.options.get("nice", 0)), task.array, task.index)):
            if task.state != "PENDING" or self.now > task.deadline - task.time_min:
                continue
            used = {node: sum(max(1, t.gpus) for t in self.running() if t.node == node) for node in self.nodes}
            free = [node for node, room in self.nodes.items() if room - used[node] >= max(1, task.gpus)]
            if not free:
                task.reason = "Resources"
                continue
            task.state, task.reason, task.node, task.began, task.warned = "RUNNING", "None", free[0], self.now, False
            task.limit = 60.0 * float(task.options["time"])
            if task.deadline < math.inf:
                task.limit = min(task.limit, 60.0 * math.floor((task.deadline - self.now) / 60))
            task.program = self._program(task)
            self._step(task)

    # what is asked

    def ask(self, command: Sequence[str]) -> Reply:
        """Answer one of SLURM's commands."""
        words = list(command)
        while words[0] == "env" or words[0] == "-u":
            words = words[1:] if words[0] == "env" else words[2:]
        self.asked.append(words[0])
        if self.down:
            return DOWN
        answers = {
            "sbatch": self._sbatch, "squeue": self._squeue, "sacct": self._sacct, "scontrol": self._scontrol, "sinfo": self._sinfo,
            "scancel": self._scancel,
        }  # fmt: skip
        return answers[words[0]](words[1:])

    def _sbatch(self, words: Sequence[str]) -> Reply:
        text = Path(words[-1]).read_text(encoding="utf-8")
        options = {}
        for line in re.findall(r"^#SBATCH --(.*)$", text, flags=re.MULTILINE):
            key, _, value = line.partition("=")
            options[key] = shlex.split(value)[0] if value else ""
        indices = range(int(options.get("array", "0-0").partition("%")[0].rpartition("-")[2]) + 1)
        if options.get("partition", "gpu") != "gpu":
            return Reply(1, "", f"sbatch: error: invalid partition specified: {options['partition']}")
        if len(indices) > self.array_size:
            return Reply(1, "", "sbatch: error: Batch job submission failed: Invalid job array specification")
        if self.submit_limit is not None and len(self.alive()) + len(indices) > self.submit_limit:
            return Reply(1, "", "sbatch: error: QOSMaxSubmitJobPerUserLimit")
        if "deadline" in options:
            options["deadline"] = str(self.now + float(options["deadline"].removeprefix("now+")))
            if "time-min" in options and self.now + 60 * float(options["time-min"]) > float(options["deadline"]):
                return Reply(1, "", "sbatch: error: Batch job submission failed: Invalid time-min specification")
        array, self._next_id = self._next_id, self._next_id + 1
        last = text.strip().splitlines()[-1]
        self.tasks += [Task(array, index, options, last, self.now, self.user) for index in indices]
        return Reply(0, f"Submitted batch job {array}\n", "")

    def _squeue(self, words: Sequence[str]) -> Reply:
        wanted = next(word.partition("=")[2] for word in words if word.startswith("--Format="))
        fields = [(name, int(width)) for name, _, width in (field.partition(":") for field in wanted.split(","))]
        shown = [task for task in self.tasks if task.state not in OVER or self.now - (task.ended or 0) < 300]
        if "--me" in words:
            shown = [task for task in shown if task.user == self.user]
        return Reply(0, "".join("".join(f"{self._field(task, name)!s:<{width}}" for name, width in fields) + "\n" for task in shown), "")

    def _field(self, task: Task, name: str) -> object:
        values: dict[str, object] = {
            "JobArrayID": task.id, "JobID": task.array, "State": task.state, "RestartCnt": task.restart, "Name": task.name,
            "Reason": task.reason, "UserName": task.user, "User": task.user, "Account": task.options.get("account", "(null)"),
            "JobName": task.name, "ElapsedRaw": round((task.ended or self.now) - task.began) if task.began is not None else 0,
            "AllocTRES": f"billing=1,cpu=1,gres/gpu={task.gpus},node=1" if task.began is not None else "",
            "NodeList": task.node or "",
        }  # fmt: skip
        return values[name]

    def _sacct(self, words: Sequence[str]) -> Reply:
        if not self.accounting:
            return Reply(1, "", "Slurm accounting storage is disabled")
        options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
        jobs = set(options["jobs"].split(",")) if "jobs" in options else None
        rows = [task for task in self.tasks if jobs is None or str(task.array) in jobs]
        names = ["JobArrayID" if name == "JobID" else name for name in options["format"].split(",")]
        return Reply(0, "".join("|".join(str(self._field(task, name)) for name in names) + "\n" for task in rows), "")

    def _scontrol(self, words: Sequence[str]) -> Reply:
        what = [word for word in words if not word.startswith("--")]
        if what[:2] == ["show", "config"]:
            return Reply(0, f"MaxArraySize            = {self.array_size}\n", "")
        if what[0] == "ping":
            return Reply(0, "Slurmctld(primary) at fake is UP\n", "")
        if what[:2] == ["show", "reservation"]:
            lines = [" ".join(f"{key}={value}" for key, value in reservation.items()) for reservation in self.reservations]
            return Reply(0, "\n".join(lines) + "\n" if lines else "No reservations in the system\n", "")
        if what[:2] == ["show", "partition"]:
            words = {**self.partition, "Nodes": ",".join(self.nodes)}
            return Reply(0, " ".join(f"{key}={value}" for key, value in words.items()) + "\n", "")
        if what[:2] == ["show", "hostnames"]:
            return Reply(0, "\n".join(what[2].split(",")) + "\n", "")
        if what[:2] == ["show", "job"]:
            array, _, index = what[2].partition("_")
            known = [t for t in self.tasks if str(t.array) == array and (t.state not in OVER or self.now - (t.ended or 0) < 300)]
            if not known:
                return Reply(1, "", "slurm_load_jobs error: Invalid job id specified")
            asked = [task for task in known if index in ("", str(task.index))]
            lines = "".join(f"JobId={t.array} ArrayJobId={t.array} ArrayTaskId={t.index} JobState={t.state}\n" for t in asked)
            return Reply(0, lines, "") if asked else Reply(1, f"Job {what[2]} not found\n", "")
        raise AssertionError(f"this SLURM of the tests knows no scontrol {' '.join(words)}")

    def _sinfo(self, words: Sequence[str]) -> Reply:
        return Reply(0, "\n".join(self.nodes) + "\n", "")

    def _scancel(self, words: Sequence[str]) -> Reply:
        for task in self.alive():
            if str(task.array) in words or task.id in words or f"--name={task.name}" in words:
                self._end(task, "CANCELLED")
        return Reply(0, "", "")
