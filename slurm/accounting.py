"""What accounting has recorded about our jobs, by the prefix of their names; for whoever may read it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from slurm.polling import Run

PREFIX = "rs-"
FIELDS = ("JobID", "JobName", "User", "Account", "State", "ElapsedRaw", "AllocTRES")
_NAME = re.compile(r"rs-(.+)-\d{4,}-[0-9a-f]{6}")
_GPUS = re.compile(r"gres/gpu=(\d+)")


@dataclass(frozen=True)
class Record:
    """One task of an array, as accounting knows it; ``seconds`` of its allocation."""

    job_id: str
    name: str
    user: str
    account: str
    state: str
    seconds: float
    gpus: int

    @property
    def sweep(self) -> str:
        """The sweep's id, which stands in the job's name; "" where it does not (a keeper)."""
        found = _NAME.fullmatch(self.name)
        return found[1] if found else ""

    @property
    def gpu_hours(self) -> float:
        """GPUs times hours of the allocation."""
        return self.gpus * self.seconds / 3600


def records(ask: Run, *, jobs: Iterable[str] = (), since: str | None = None, everyone: bool = False) -> list[Record] | None:
    """Our jobs in accounting; ``None`` where nobody answers.

    Args:
        ask: runs a command of SLURM.
        jobs: ids of arrays; default: all since ``since``.
        since: as sacct takes it, such as ``now-7days``.
        everyone: all users' jobs, where the caller may see them.
    """
    words = ["sacct", "--noheader", "--parsable2", "--allocations", "--duplicates", f"--format={','.join(FIELDS)}"]
    words += [f"--jobs={','.join(jobs)}"] if jobs else [f"--starttime={since or 'now-7days'}"]
    words += ["--allusers"] if everyone else []
    reply = ask(tuple(words))
    return read(reply.out) if reply.code == 0 else None


def read(text: str) -> list[Record]:
    """The lines of sacct; those of other jobs, and what is no line, are passed over."""
    found = []
    for line in text.splitlines():
        parts = line.split("|")
        if len(parts) == len(FIELDS) and parts[1].startswith(PREFIX) and parts[5].isdigit():
            gpus = _GPUS.search(parts[6])
            state = parts[4].split()[0] if parts[4] else ""
            found.append(Record(parts[0], parts[1], parts[2], parts[3], state, float(parts[5]), int(gpus[1]) if gpus else 0))
    return found
