"""The live view of `sweep launch` and `sweep watch`: a panel in a terminal, plain lines elsewhere.

Both are given the sweep's progress as often as the caller likes. The panel is drawn a few times a second at most; the plain lines
say each change once, and every half minute that all is well, so that a log file stays readable.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live

from dashboards.live.panel import panel
from dashboards.live.progress import SweepProgress, TrialProgress, words

REDRAW_SECONDS = 0.25
HEARTBEAT_SECONDS = 30.0
REMEMBERED = 20
"""Endings that a view remembers."""


class _Drawing(Protocol):
    def update(self, progress: SweepProgress, changed: list[tuple[TrialProgress | None, TrialProgress]]) -> None: ...
    def say(self, line: str) -> None: ...
    def close(self) -> None: ...


class LiveView:
    """Shows a sweep while it runs; a context manager.

    Args:
        console: where to; default: the standard output.
        clock: seconds, for the pace of drawing.
        wall: unix seconds, for the times in plain lines.
    """

    def __init__(
        self, console: Console | None = None, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time
    ) -> None:
        console = console or Console(file=sys.stdout, highlight=False, markup=False)
        lively = console.is_terminal and not console.is_dumb_terminal
        self._drawing: _Drawing = _PanelDrawing(console, clock) if lively else _PlainDrawing(console, clock, wall)
        self._known: dict[str, TrialProgress] = {}
        self._began = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def update(self, progress: SweepProgress) -> None:
        """Show the sweep as it is now."""
        changed = [(old, trial) for trial in progress.trials if _moved(old := self._known.get(trial.id), trial)] if self._began else []
        self._known = {trial.id: trial for trial in progress.trials}
        self._began = True
        self._drawing.update(progress, changed)

    def say(self, line: str) -> None:
        """Print a line that stays, above the panel."""
        self._drawing.say(line)

    def close(self) -> None:
        """Draw the last state and let the terminal go."""
        self._drawing.close()


def _moved(old: TrialProgress | None, new: TrialProgress) -> bool:
    return old is None or old.state != new.state or (old.attempt != new.attempt and new.state == "running")


class _PanelDrawing:
    """The panel of a terminal."""

    def __init__(self, console: Console, clock: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._endings: list[TrialProgress] = []
        self._drawn: float | None = None
        self._last: SweepProgress | None = None

    def update(self, progress: SweepProgress, changed: list[tuple[TrialProgress | None, TrialProgress]]) -> None:
        self._endings = [*self._endings, *(trial for _, trial in changed if not trial.open)][-REMEMBERED:]
        self._last = progress
        if self._drawn is None:
            self._live.start()
        if self._drawn is None or self._clock() - self._drawn >= REDRAW_SECONDS:
            self._draw()

    def _draw(self) -> None:
        if self._last is not None:
            width, height = self._console.size
            self._live.update(panel(self._last, self._endings, width=width, height=height), refresh=True)
            self._drawn = self._clock()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def close(self) -> None:
        self._draw()
        self._live.stop()


class _PlainDrawing:
    """One line for each change, and a heartbeat."""

    def __init__(self, console: Console, clock: Callable[[], float], wall: Callable[[], float]) -> None:
        self._console = console
        self._clock = clock
        self._wall = wall
        self._spoke: float | None = None
        self._trouble: str | None = None

    def update(self, progress: SweepProgress, changed: list[tuple[TrialProgress | None, TrialProgress]]) -> None:
        if self._spoke is None:
            rehearsal = " REHEARSAL" if progress.rehearsal else ""
            self.say(f"{progress.sweep}@{progress.revision}{rehearsal}: {len(progress.cells)} trials: {words(progress.counts())}")
        for old, trial in changed:
            line = _change(old, trial)
            if line:
                self.say(line)
        if progress.trouble and progress.trouble != self._trouble:
            self.say(f"note: {progress.trouble}")
        self._trouble = progress.trouble
        if self._spoke is not None and self._clock() - self._spoke >= HEARTBEAT_SECONDS:
            self.say(_heartbeat(progress))

    def say(self, line: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(self._wall()))
        self._console.print(f"{stamp} {line}", markup=False, highlight=False, soft_wrap=True)
        self._spoke = self._clock()

    def close(self) -> None:
        pass


def _change(old: TrialProgress | None, new: TrialProgress) -> str:
    name = f"{new.name} ({new.id[:10]})"
    if new.state == "running":
        again = f", attempt {new.attempt}" if new.attempt > 1 else ""
        return f"started   {name}{again}"
    if new.state == "completed":
        accuracy = f", accuracy {new.accuracy:.3f}" if new.accuracy is not None else ""
        return f"finished  {name}{accuracy}"
    if new.state == "failed":
        return f"failed    {name}: {': '.join(part for part in (new.cause, new.reason) if part)}; sweep explain {new.id[:10]}"
    if new.state == "pending" and old is not None and old.state in ("running", "unknown"):
        return f"again     {name}: {new.reason}"
    if new.state == "pending" and old is None:
        return ""
    return f"{new.state:<9} {name}" + (f": {new.reason}" if new.reason else "")


def _heartbeat(progress: SweepProgress) -> str:
    running = [trial for trial in progress.trials if trial.state == "running" and trial.total]
    steps = f"; {running[0].name} at step {running[0].step}/{running[0].total}" if running else ""
    scorings = f"; scorings: {words(progress.score_counts)}" if progress.score_counts else ""
    return f"{progress.fraction:.0%}, trials: {words(progress.counts())}{scorings}{steps}"
