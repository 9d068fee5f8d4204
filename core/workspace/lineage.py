"""Which journal lines of a trial count.

A trial may have several attempts, and an attempt that resumes repeats steps that the one before had made after its last
checkpoint. An attempt's ``started`` line says where it came from: ``resumed: {"attempt": j, "step": s}`` hides what attempt
j wrote after step s; ``null``, a fresh start, hides all earlier attempts. So the newest started attempt is the end of a chain,
and each (group, step) counts exactly once. An attempt that has not written ``started`` contributes nothing and hides nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import IntegrityError
from core.workspace.journal import read_lines
from core.workspace.layout import Trial

BEFORE_ALL = -1
"""``after_step`` of a fresh start: step 0 counts too."""


@dataclass(frozen=True)
class Resumed:
    """Where an attempt came from: the checkpoint of ``attempt`` after ``step``."""

    attempt: int
    step: int


@dataclass(frozen=True)
class Segment:
    """The lines of one attempt that count: ``after_step < step <= upto_step`` (``None``: no end)."""

    attempt: int
    after_step: int
    upto_step: int | None

    def holds(self, step: int) -> bool:
        """Whether a line of this attempt at ``step`` counts."""
        return step > self.after_step and (self.upto_step is None or step <= self.upto_step)


@dataclass(frozen=True)
class MetricLine:
    """One metrics line that counts; ``t`` in unix seconds, values without those that were not finite."""

    attempt: int
    t: float
    group: str
    step: int
    values: Mapping[str, float]


def resumed_of(started: Mapping[str, Any]) -> Resumed | None:
    """What a ``started`` line says about where its attempt came from."""
    value = started.get("resumed")
    return Resumed(int(value["attempt"]), int(value["step"])) if value else None


def segments(starts: Mapping[int, Resumed | None]) -> list[Segment]:
    """The segments that count, the oldest first, from what each started attempt resumed from.

    Raises:
        IntegrityError: an attempt says that it resumed from itself or a later one.
    """
    chain: list[Segment] = []
    attempt = max(starts, default=None)
    upto: int | None = None
    while attempt is not None:
        source = starts.get(attempt)
        if source is not None and source.attempt >= attempt:
            raise IntegrityError("an attempt cannot resume from itself or a later one", found=f"attempt {attempt} from {source.attempt}")
        chain.append(Segment(attempt, source.step if source else BEFORE_ALL, upto))
        if source is None:
            break
        attempt, upto = source.attempt, source.step if upto is None else min(upto, source.step)
    return chain[::-1]


def metric_line(attempt: int, line: Mapping[str, Any]) -> MetricLine:
    """A journal line of kind ``metrics``, typed."""
    values = {name: float(value) for name, value in line["values"].items() if value is not None}
    return MetricLine(attempt, float(line["t"]), line["group"], int(line["step"]), values)


def lineage(trial: Trial) -> list[Segment]:
    """The segments of a trial that count, the oldest first; empty where no attempt has started."""
    feed = MetricFeed(trial)
    feed.read()
    return segments(feed.starts)


def metric_lines(trial: Trial) -> Iterator[MetricLine]:
    """All metrics of a trial that count, ordered by step, each (group, step) once."""
    seen: set[tuple[str, int]] = set()
    for line in MetricFeed(trial).read():
        if (line.group, line.step) not in seen:
            seen.add((line.group, line.step))
            yield line


class MetricFeed:
    """Reads the metrics of a trial that count, again and again, at the price of what is new.

    Where another attempt has started, everything is read anew: a reader that has taken a (group, step) before passes over it.

    Attributes:
        started: the ``started`` line of each attempt that has one.
        last: the newest time stamp that was read, unix seconds.
    """

    def __init__(self, trial: Trial) -> None:
        self.started: dict[int, dict[str, Any]] = {}
        self.last: float | None = None
        self._trial = trial
        self._offsets: dict[int, int] = {}

    @property
    def starts(self) -> dict[int, Resumed | None]:
        """Where each started attempt came from."""
        return {number: resumed_of(line) for number, line in self.started.items()}

    def read(self) -> list[MetricLine]:
        """The lines that are new since the last call and count, ordered by step.

        Raises:
            IntegrityError: an attempt says that it resumed from itself or a later one.
        """
        before = set(self.started)
        lines = self._read_on()
        if before and before != set(self.started):
            self._offsets.clear()
            lines = self._read_on()
        found = []
        for segment in segments(self.starts):
            own = (metric_line(segment.attempt, line) for line in lines.get(segment.attempt, []) if line["kind"] == "metrics")
            found += sorted((line for line in own if segment.holds(line.step)), key=lambda line: line.step)
        return found

    def _read_on(self) -> dict[int, list[dict[str, Any]]]:
        new = {}
        for attempt in self._trial.attempts():
            number = attempt.number
            new[number], self._offsets[number] = read_lines(attempt.journal, self._offsets.get(number, 0))
            for line in new[number]:
                if line["kind"] == "started":
                    self.started.setdefault(number, line)
                self.last = max(self.last or 0.0, line["t"])
        return new
