"""An attempt of several processes: started together, watched together, ended together.

The leader owns the attempt and computes nothing. It starts the ranks, passes on to rank 0 what it is told (the ranks agree among
themselves when to save and leave), ends all of them as soon as one has failed, and writes the journal's last line when none is
left: until then rank 0 is its one writer.

On this machine the ranks are forks of the leader. In an allocation of several nodes they are one step of the scheduler, which a command in
the worker's orders starts; what each of them must know lies in ``ranks.json``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.control import causes
from core.run.dying import die_with_parent
from core.run.ending import LOST_PEER, said, verdict
from core.run.leaving import Allocation, AskScheduler, end_without_word, settled
from core.run.oom import oom_kills
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt

POLL_SECONDS = 0.1
ORDERS = "ranks.json"
MEETING = "meeting.json"

Perform = Callable[[int], int]
"""Be the rank of this number; returns its exit code."""


class Crew(ABC):
    """The running ranks."""

    @abstractmethod
    def tell(self, number: int) -> None:
        """Pass a signal on to rank 0."""

    @abstractmethod
    def poll(self) -> list[tuple[int, int]]:
        """(rank, wait status) of those that have ended since the last call."""

    @abstractmethod
    def end(self) -> None:
        """Kill those that are left."""

    @property
    @abstractmethod
    def left(self) -> int:
        """How many have not ended."""


class Forks(Crew):
    """Ranks on this machine: each a fork that dies with the leader.

    Args:
        ranks: how many.
        perform: what a rank does.
        output: where rank N prints; ``None`` leaves it the leader's output.
    """

    def __init__(self, ranks: int, perform: Perform, output: Callable[[int], Path | None]) -> None:
        self._pids: dict[int, int] = {}
        for rank in range(ranks):
            self._pids[_fork(rank, perform, output(rank))] = rank
        self._first = next(iter(self._pids))

    def tell(self, number: int) -> None:
        """See :meth:`Crew.tell`."""
        if self._first in self._pids:
            os.kill(self._first, number)

    def poll(self) -> list[tuple[int, int]]:
        """See :meth:`Crew.poll`."""
        ended = []
        for pid, rank in list(self._pids.items()):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._pids[pid]
                ended.append((rank, status))
        return ended

    def end(self) -> None:
        """See :meth:`Crew.end`."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)

    @property
    def left(self) -> int:
        """See :attr:`Crew.left`."""
        return len(self._pids)


def _fork(rank: int, perform: Perform, output: Path | None) -> int:
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent(parent)
        os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the leader alone, which passes it on once
        if output is not None:
            handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            os.dup2(handle, 1)
            os.dup2(handle, 2)
            os.close(handle)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
            signal.signal(number, signal.SIG_DFL if rank == 0 else signal.SIG_IGN)
        code = perform(rank)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


class Step(Crew):
    """Ranks as one step of the scheduler, which ends all of them when one fails.

    Args:
        command: starts the ranks; each finds its orders in the folder that is the last word.
        output: where the command itself prints.
    """

    def __init__(self, command: Sequence[str], output: Path) -> None:
        with open(output, "ab") as handle:
            leader = os.getpid()
            # a step whose leader is gone would go on writing below an attempt that nobody watches
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, preexec_fn=lambda: die_with_parent(leader)
            )
        self._done = False

    def tell(self, number: int) -> None:
        """See :meth:`Crew.tell`; the scheduler passes it to all ranks, of which only rank 0 listens."""
        self._process.send_signal(number)

    def poll(self) -> list[tuple[int, int]]:
        """See :meth:`Crew.poll`; the step ends as one."""
        code = None if self._done else self._process.poll()
        if code is None:
            return []
        self._done = True
        number = -code if code < 0 else code - 128 if code > 128 else 0
        return [(0, number if number else code << 8)]

    def end(self) -> None:
        """See :meth:`Crew.end`."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    @property
    def left(self) -> int:
        """See :attr:`Crew.left`."""
        return 0 if self._done else 1


def lead(
    attempt: Attempt, ranks: int, start: Callable[[], Crew], allocation: Allocation, ask: AskScheduler | None = None
) -> dict[str, Any]:
    """Start the ranks, wait until none is left and write the last line of the journal; returns it."""
    told: list[int] = []
    killed_before = oom_kills()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)}
    started: list[Crew] = []

    def pass_on(number: int, frame: object) -> None:
        told.append(number)
        for running in started:
            running.tell(number)

    for number in before:
        signal.signal(number, pass_on)
    failed: list[tuple[int, int]] = []  # those that ended by themselves: whoever comes later was ended by us
    try:
        crew = start()
        started.append(crew)
        for early in list(told):  # while it started
            crew.tell(early)
        while crew.left:
            ended = [(rank, status) for rank, status in crew.poll() if status != 0]
            if ended and not failed:
                failed = ended
                crew.end()
            if crew.left:
                time.sleep(POLL_SECONDS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    words = said(attempt.folder, ranks)
    fields = verdict(words)
    if fields is None:
        silent = [item for item in failed if item[0] not in words]
        rank, status = (silent or failed or [(0, 0)])[0]
        lost = words.get(rank) if words.get(rank, {}).get("cause") == LOST_PEER else None
        fields = lost or end_without_word(status, told[0] if told else None, allocation, ask)
        if fields is None:
            tail = causes.tail_of(attempt.rank_output(rank))
            cause, message = causes.of_status(status, oom_kills() - killed_before, tail)
            fields = {"state": "failed", "cause": cause, "message": f"rank {rank}: {message}" if isinstance(crew, Forks) else message}
    journal = JournalWriter(attempt.journal)
    line = journal.write("ended", **settled(fields, ask))
    journal.close()
    return line
