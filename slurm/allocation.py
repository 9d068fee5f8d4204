"""What SLURM says of the job that this process runs in, asked from within.

Two things are not in the orders. How long the job lasts: SLURM may shorten it when it starts (``--time-min``, ``--deadline``). And what an
order to leave (SIGTERM) means: where the cluster does not send jobs a warning before it preempts them, the same signal comes
with a preemption, with ``scancel`` and at the time limit, and only the job's state tells them apart (seen on 22.05: in the grace time of a
preemption the job is RUNNING and has a ``PreemptTime``; cancelled it is COMPLETING and has none).
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from core.run.leaving import Word
from core.workspace.files import write_atomic
from slurm.allowances import minutes
from slurm.polling import Run, run

THERE = frozenset({"CONFIGURING", "PENDING", "RUNNING", "SIGNALING", "STOPPED", "SUSPENDED"})
ANSWER = "told.json"
"""In the job's folder: that the job ends, and why. All processes of a worker hear an order to leave at once, and one of them asks."""


class OwnJob:
    """Asks about the job of this process; ``None`` where nobody answers, as in a container without SLURM's commands.

    Args:
        folder: of the worker.
        job_id: as SLURM names it, of an array ``12_3``.
        ask: runs a command.
        environment: of the process.
    """

    def __init__(self, folder: Path, job_id: str, ask: Run = run, environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._job_id = job_id
        self._ask = ask
        self._environment = environment

    def limit(self) -> float | None:
        """Seconds that the job lasts, as it was started; what SLURM has put into its environment saves the question."""
        began, ends = (self._environment.get(f"SLURM_JOB_{name}_TIME", "") for name in ("START", "END"))
        if began.isdigit() and ends.isdigit() and int(ends) > int(began):
            return float(int(ends) - int(began))
        word = self._look()
        return None if word is None else word.limit

    def __call__(self) -> Word | None:
        """What becomes of the job now."""
        handle = None
        with suppress(OSError):  # a file system without locks: each asks for itself
            handle = os.open(self._folder / f".{ANSWER}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            known = self._known()
            word = known or self._look()
            if known is None and word is not None and (word.preempted or word.ending):
                with suppress(OSError):
                    write_atomic(self._folder / ANSWER, json.dumps({"job_id": self._incarnation, **asdict(word)}))
            return word
        finally:
            if handle is not None:
                os.close(handle)

    @property
    def _incarnation(self) -> str:
        return f"{self._job_id}@{self._environment.get('SLURM_RESTART_COUNT', '0')}"

    def _known(self) -> Word | None:
        with suppress(OSError, ValueError, KeyError, TypeError):
            value = json.loads((self._folder / ANSWER).read_text(encoding="utf-8"))
            return Word(**value) if value.pop("job_id") == self._incarnation else None
        return None

    def _look(self) -> Word | None:
        reply = self._ask(("scontrol", "--oneliner", "show", "job", self._job_id))
        return read(reply.out) if reply.code == 0 else None


def read(text: str) -> Word | None:
    """The line of ``scontrol --oneliner show job ID``."""
    words = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", text.strip().partition("\n")[0]))
    if "JobState" not in words:
        return None
    limit = minutes(words.get("TimeLimit", ""))
    preempted = words["JobState"] == "PREEMPTED" or words.get("PreemptTime", "None") not in ("None", "N/A", "Unknown")
    return Word(preempted, words["JobState"] not in THERE, None if limit is None else 60.0 * limit)
