"""Driving a sweep from a terminal: tick, mirror to the index and MLflow, show, until nothing is left.

The loop may be left at any moment (Ctrl-C, kill -9, a closed laptop): workers go on by themselves, and the next ``launch``,
``watch`` or ``tick`` picks up the rest.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.control.decide import Finish, StopDispatch, SweepState
from core.control.ports import Submitter, Tracker
from core.control.tick import SweepReader, TickResult, tick
from core.errors import SweepError
from core.store import Changes, Index, StateRow
from core.workspace.layout import Workspace

TICK_SECONDS = 1.0
LONGEST_REST_SECONDS = 120.0
TICK_REST, MIRROR_REST = 200.0, 400.0
"""After a pass it rests so many times as long as the pass kept the processor: half a per cent of a core, and a quarter for the mirror."""
MIRROR_SECONDS = 3.0
LATE = 0.1
"""The loop never rests longer than so much of its time so far: a launch of a minute notices its end within seconds."""
SOON_SECONDS = 2.0


def rest(shortest: float, used: float, times: float) -> float:
    """Seconds until the next pass, after one that kept the processor for ``used`` seconds."""
    return min(LONGEST_REST_SECONDS, max(shortest, times * used))


class Mirror:
    """Copies what is new to the index and to MLflow, in a thread of its own so that the view stays live.

    Args:
        workspace: the workspace.
        reader: for the plan.
        open_tracker: makes the tracker (imports mlflow), called in the thread.
    """

    def __init__(self, workspace: Workspace, reader: SweepReader, open_tracker: Callable[[], Tracker]) -> None:
        self.trouble: str | None = None
        self._workspace = workspace
        self._reader = reader
        self._open = open_tracker
        self._stop = threading.Event()
        self._state: SweepState | None = None
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def see(self, state: SweepState) -> None:
        """Hand over the newest state."""
        self._state = state

    def finish(self) -> None:
        """One last full pass, then let go."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        index: Index | None = None
        tracker: Tracker | None = None
        last, wait = False, MIRROR_SECONDS
        while not last:
            last = self._stop.wait(wait)
            began = time.thread_time() if tracker is not None else None
            # what is mirrored can be mirrored later: nothing here may stop the sweep
            try:
                index = index or Index.open(self._workspace)
                mirror_once(self._workspace, self._reader, self._state, index)
                tracker = tracker or self._open()
                self.trouble = tracker.sync(self._workspace, self._reader.revision.sweep.id, self._reader.cells).trouble
            except SweepError as error:
                self.trouble = error.message + (f": {error.found}" if error.found else "")
            except Exception as error:
                self.trouble = f"{type(error).__name__}: {error}"
            if began is not None:  # the first pass imports MLflow and makes its store, once
                wait = rest(MIRROR_SECONDS, time.thread_time() - began, MIRROR_REST)
        for open_thing in (tracker, index):
            if open_thing is not None:
                open_thing.close()


def mirror_once(workspace: Workspace, reader: SweepReader, state: SweepState | None, index: Index) -> Changes:
    """Bring the index up to the files, and the derived states into it."""
    changes = index.sync(workspace, [reader.revision.sweep.id])
    if state is not None:
        index.record_states(state_rows(state))
    return changes


def state_rows(state: SweepState) -> list[StateRow]:
    """The derived states as the index stores them."""
    return [
        StateRow(
            trial=trial.planned.id, state=trial.train.state, cause=trial.train.cause, flags=(), attempts=trial.train.attempts,
            reason=trial.train.reason,
        )
        for trial in state.trials
    ]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a watch ended: by the sweep's end, or because no worker takes up work."""

    state: SweepState
    complete: bool
    stopped: StopDispatch | None = None


def drive(
    reader: SweepReader,
    submitter: Submitter | None,
    workers: int | None,
    *,
    mirror: Mirror | None,
    show: Callable[[SweepState], None],
) -> Outcome:
    """Tick until nothing is left to do.

    Args:
        reader: of the sweep.
        submitter: starts workers; ``None`` only watches.
        workers: at most so many at once.
        mirror: copies to index and MLflow.
        show: called with each state.
    """
    start = time.monotonic()
    while True:
        began = time.thread_time()
        result = tick(reader, submitter, workers)
        if mirror is not None:
            mirror.see(result.state)
        show(result.state)
        outcome = _ended(result)
        if outcome is not None:
            return outcome
        # a pass over a large sweep is dear: it is made less often, so that watching stays cheap
        longest = max(SOON_SECONDS, LATE * (time.monotonic() - start))
        time.sleep(min(longest, rest(TICK_SECONDS, time.thread_time() - began, TICK_REST)))


def _ended(result: TickResult) -> Outcome | None:
    for action in result.actions:
        if isinstance(action, Finish):
            return Outcome(result.state, action.complete)
    if result.stopped is not None:
        return Outcome(result.state, False, result.stopped)
    return None
