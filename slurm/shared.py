"""One voice for all sweeps of a user: what one process has just asked SLURM, the others read.

Every process that looks after a sweep (a watching launch, the passes that workers start, ``sweep status`` in a shell) asks the same
question: ``squeue`` for all jobs of the user. The answer is kept in a file of the user's cache, with the times of the last minute's
calls. A process takes the kept answer while it is young, or while the budget of calls a minute is used up, and asks else. A question that
failed is kept too, twice as long each time, so that a controller in trouble is left alone by all at once.

What cannot wait (sbatch, scancel, what a submission must know, a user's own question) is carried out at once and noted beside, without
the lock; it counts against the budget of the questions, but for a quarter of that, which is always theirs.

The file is guarded by a lock, so two processes never ask at the same moment. Where the file system has no locks, or the file cannot be
written, each process asks for itself, within its own pace.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core.workspace.files import user_cache, write_atomic
from slurm.polling import LONGEST_WAIT, SQUEUE, Reply, Run, run

MINUTE = 60.0
QUEUE_SHARE = 0.5
"""Part of the budget that squeue may use; the rest is for questions about single jobs."""
QUESTIONS_SHARE = 0.25
"""Part of the budget that questions have however much is submitted: a queue that stays full is tried again and again."""
NOTED_BYTES = 1 << 16
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
        self._most = max(1, math.floor(calls_per_minute))
        self._span = MINUTE if calls_per_minute >= 1 else MINUTE / calls_per_minute
        self._run = ask
        self._clock = clock
        self._home = home or user_cache()

    @property
    def file(self) -> Path:
        """One for each cluster that the user's shells know."""
        which = "\n".join(os.environ.get(name, "") for name in ("SLURM_CONF", "SLURM_CLUSTERS"))
        return self._home / f"squeue-{hashlib.sha256(which.encode()).hexdigest()[:12]}.json"

    @property
    def noted(self) -> Path:
        """Where calls that do not wait are noted, a line each."""
        return self.file.with_suffix(".noted")

    def act(self, command: Sequence[str]) -> Reply:
        """Carry out a command at once; it counts as a call."""
        if tuple(command[:3]) != ("scontrol", "show", "hostnames"):  # which asks nobody
            with suppress(OSError):
                self._home.mkdir(parents=True, exist_ok=True)
                with open(self.noted, "a", encoding="ascii") as handle:
                    handle.write(f"{self._clock():.3f}\n")
        return self._run(command)

    def ask(self, command: Sequence[str]) -> Reply:
        """The answer to a command: for the question that all ask a young one that is known, else a new one within the budget."""
        with self._locked() as shared:
            if not shared:
                return self._run(command)
            known = self._read()
            now = self._clock()
            calls = self._within(known.get("calls", []), now)
            spent = len(calls) + min(self._acts(now), self._most - max(1, round(self._most * QUESTIONS_SHARE))) >= self._most
            if tuple(command) == SQUEUE:
                kept = known.get("squeue")
                # a time ahead of ours is of a host whose clock is wrong: not young
                young = kept is not None and 0 <= now - float(kept["t"]) < self._young(int(kept["failures"]))
                if kept is not None and (young or spent):
                    return Reply(int(kept["code"]), str(kept["out"]), str(kept["err"]))
                if spent:
                    return SPENT
                reply = self._run(command)
                failures = 0 if reply.code == 0 else int(kept["failures"] if kept else 0) + 1
                known["squeue"] = {"t": now, "code": reply.code, "out": reply.out, "err": reply.err, "failures": failures}
            elif spent:
                return SPENT
            else:
                reply = self._run(command)
            known["calls"] = [*calls, now]
            with suppress(OSError):
                write_atomic(self.file, json.dumps(known))
            return reply

    def _within(self, times: Iterable[object], now: float) -> list[float]:
        """The calls of the last minute, also by clocks that are a little ahead of ours; those of one that is wrong are none."""
        return [t for t in map(float, map(str, times)) if -MINUTE < now - t < self._span]

    def _acts(self, now: float) -> int:
        try:
            text = self.noted.read_text(encoding="ascii", errors="replace")
            young = self._within([line for line in text.split() if line.replace(".", "", 1).isdigit()], now)
            if len(text) > NOTED_BYTES:
                write_atomic(self.noted, "".join(f"{t:.3f}\n" for t in young))
            return len(young)
        except OSError:
            return 0

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


def counted(command: Sequence[str]) -> Reply:
    """Run one of SLURM's commands at once, and let it count as a call of this user."""
    return SharedCalls(1).act(command)
