"""Passes of the control loop that a worker's parent starts, so that a sweep goes on where nobody watches it.

A pass is a process of its own: the warm parent stays a safe thing to fork. While the worker works, one is made now and then, also
while its children run (a canary has shown enough long before it ends), unless somebody else has made one meanwhile: a sweep with
many workers needs one pass a minute, not one from each. The last one is made when the worker has left, and is waited for: a
scheduler kills whatever still runs in an allocation as its worker ends, and there may be no other worker to make another.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

LAST_PASS_SECONDS = 60.0
"""So long a worker that has left waits for its last pass; at its time limit the scheduler may end both before."""

Start = Callable[[], "subprocess.Popen[bytes]"]
"""Starts the process of a pass."""


class Passes:
    """Starts passes, one at a time.

    Args:
        start: starts one; ``None``: this worker makes none.
        mark: the file that every pass over the sweep touches (:func:`core.control.tick.tick`), by whomever.
        clock: seconds.
    """

    def __init__(self, start: Start | None, mark: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._start = start
        self._mark = mark
        self._clock = clock
        self._since = clock()
        self._seen = self._marked()
        self._running: subprocess.Popen[bytes] | None = None

    def make(self, pause: float) -> None:
        """Start one if the last, by whomever, is longer ago than ``pause`` seconds."""
        if self._running is not None and self._idle():
            self._running, self._seen = None, self._marked()  # its own mark is nobody else's
        if self._start is None or self._running is not None or self._clock() - self._since <= pause:
            return
        self._since = self._clock()
        marked, seen = self._marked(), self._seen
        self._seen = marked
        if marked == seen:  # whether the mark has moved, and not when: two hosts' clocks are never compared
            self._begin()

    def last(self, seconds: float = LAST_PASS_SECONDS) -> None:
        """Make one more and wait for it, at most so long; one that began before this worker had left does not count."""
        if self._start is None:
            return
        until = self._clock() + seconds
        self._wait(until)
        if self._idle():
            self._begin()
            self._wait(until)

    def _begin(self) -> None:
        if self._start is not None:
            with suppress(OSError):  # no memory for a process just now: that is no reason to end what runs
                self._running = self._start()

    def _wait(self, until: float) -> None:
        if self._running is not None:
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(max(0.0, until - self._clock()))

    def _idle(self) -> bool:
        return self._running is None or self._running.poll() is not None

    def _marked(self) -> int | None:
        try:
            return self._mark.stat().st_mtime_ns
        except OSError:
            return None
