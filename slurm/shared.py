"""One voice for all sweeps of a user: what one process has just asked SLURM, the others read.

Every process that looks after a sweep (a watching launch, the passes that workers start, ``sweep status`` in a shell) asks the same
question: ``squeue`` for all jobs of the user. The answer is kept in a file of the user's cache, with the times of the last minute's
calls. A process takes the kept answer while it is young, and asks only where the budget of calls a minute is not used up. A question that
failed is kept too, twice as long each time, so that a controller in trouble is left alone by all at once.

The file is guarded by a lock, so two processes never ask at the same moment. Where the file system has no locks, or the file cannot be
written, each process asks for itself, within its own pace.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.workspace.files import user_cache, write_atomic
from slurm.polling import LONGEST_WAIT, SQUEUE, Reply, Run, run

MINUTE = 60.0
QUEUE_SHARE = 0.5
"""Part of the budget that squeue may use; the rest is for questions about single jobs."""
SPENT = Reply(-1, "", "the budget of calls a minute is used up (limits.calls_per_minute)")


class SharedCalls:
    """Asks SLURM in the name of all processes of this user.

    Args:
        calls_per_minute: of all of them together.
        ask: runs a command.
        clock: unix seconds, comparable between hosts to a few seconds.
        home: the folder where they meet.
    """

    def __init__(self, calls_per_minute: float, ask: Run = run, clock: Callable[[], float] = time.time, home: Path | None = None) -> None:
        self.budget = calls_per_minute
        self._interval = MINUTE / (calls_per_minute * QUEUE_SHARE)
        self._run = ask
        self._clock = clock
        self._home = home or user_cache()

    @property
    def file(self) -> Path:
        """One for each cluster that the user's shells know."""
        which = "\n".join(os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CLUSTERS"))
        return self._home / f"squeue-{hashlib.sha256(which.encode()).hexdigest()[:12]}.json"

    def ask(self, command: Sequence[str]) -> Reply:
        """The answer to a command: for the question that all ask a young one that is known, else a new one within the budget."""
        with self._locked() as shared:
            if not shared:
                return self._run(command)
            known = self._read()
            now = self._clock()
            # a time ahead of ours is of a host whose clock is wrong: not young
            calls = [float(t) for t in known.get("calls", []) if 0 <= now - float(t) < MINUTE]
            if tuple(command) == SQUEUE:
                kept = known.get("squeue")
                if kept is not None and 0 <= now - float(kept["t"]) < self._young(int(kept["failures"])):
                    return Reply(int(kept["code"]), str(kept["out"]), str(kept["err"]))
                reply = self._run(command)
                failures = 0 if reply.code == 0 else int(kept["failures"] if kept else 0) + 1
                known["squeue"] = {"t": now, "code": reply.code, "out": reply.out, "err": reply.err, "failures": failures}
            elif len(calls) >= self.budget:
                return SPENT
            else:
                reply = self._run(command)
            known["calls"] = [*calls, now]
            with suppress(OSError):
                write_atomic(self.file, json.dumps(known))
            return reply

    def _young(self, failures: int) -> float:
        return float(min(LONGEST_WAIT, self._interval * 2**failures))

    def _read(self) -> dict[str, Any]:
        try:
            value = json.loads(self.file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return value if isinstance(value, dict) else {}

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the processes share; the lock waits for the one that asks."""
        handle = None
        try:
            self._home.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            if handle is not None:
                os.close(handle)
            yield False
            return
        try:
            yield True
        finally:
            os.close(handle)
