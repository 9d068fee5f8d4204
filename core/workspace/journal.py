"""The journal: the append-only file in which an attempt writes all that happens to it.

One writer per file, one JSON object a line::

    {"v": 1, "n": 17, "t": 1790000000.25, "kind": "metrics", "group": "train", "step": 40, "values": {"loss": 0.41}}

``n`` counts the lines from 1; a line is known by (trial, attempt, n). An unfinished last line (the writer was killed) is
ignored by readers, and cut off by whoever appends next: only the parent that has reaped the writer does that. Claims, ends
and checkpoints are synced to disk; metric lines are only flushed.

=============  ======================================================================
kind           fields
=============  ======================================================================
started        attempt, resumed {attempt, step} or null, fingerprints, device, threads, ranks, layout
progress       step, total, values {loss, ...}
metrics        group (train, validation), step, values {name: number}
checkpoint     step, folder, seconds that it took
score          done, total (of a scoring)
ended          state, cause, message
=============  ======================================================================
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Kind = Literal["started", "progress", "metrics", "checkpoint", "score", "ended"]
MEASURED = ("step_seconds", "memory_gib")
"""Training metrics by which the rest of a sweep is sized."""
SYNCED = ("started", "checkpoint", "ended")


def read_lines(path: Path, offset: int = 0) -> tuple[list[dict[str, Any]], int]:
    """All finished lines after byte ``offset``, and the offset behind the last finished one. A missing file has none."""
    try:
        with open(path, "rb") as handle:
            handle.seek(offset)
            data = handle.read()
    except FileNotFoundError:
        return [], offset
    end = data.rfind(b"\n") + 1
    lines = []
    for raw in data[:end].splitlines():
        try:
            value = json.loads(raw)
        except ValueError:
            continue
        if isinstance(value, dict) and "kind" in value:
            lines.append(value)
    return lines, offset + end


def _finite(value: Any) -> Any:
    """JSON has no NaN: a value that is not finite is written as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


class JournalWriter:
    """Appends lines to a journal. Opening one that exists continues its count and cuts an unfinished last line."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        lines, end = read_lines(path)
        self.path = path
        self._clock = clock
        self._n = lines[-1]["n"] if lines else 0
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        if os.fstat(self._handle).st_size > end:
            os.ftruncate(self._handle, end)

    def write(self, kind: Kind, **fields: Any) -> dict[str, Any]:
        """Append one line and return it.

        Raises:
            OSError: the disk is full or gone; what fitted is an unfinished line, which readers ignore.
        """
        self._n += 1
        line = {"v": 1, "n": self._n, "t": round(self._clock(), 3), "kind": kind, **_finite(fields)}
        data = (json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n").encode()
        while data:
            data = data[os.write(self._handle, data) :]
        if kind in SYNCED:
            os.fsync(self._handle)
        return line

    def close(self) -> None:
        """Close the file; the journal can be opened again."""
        os.close(self._handle)


@dataclass
class Summary:
    """What a state is derived from, folded line by line."""

    started: dict[str, Any] | None = None
    progress: dict[str, Any] | None = None
    ended: dict[str, Any] | None = None
    steps: int = 0
    checkpoint: int = 0
    saving: float = 0.0
    last: float | None = None
    validation: dict[str, Any] | None = None
    score: dict[str, Any] | None = None
    measured: dict[str, float] | None = None
    first: float | None = None

    def fold(self, line: dict[str, Any]) -> None:
        """Take one line into account."""
        kind = line["kind"]
        self.last = line["t"]
        if kind in ("started", "progress", "score", "ended"):
            setattr(self, kind, line)
        if kind in ("progress", "metrics") and self.first is None:
            self.first = line["t"]
        if kind == "metrics":
            if line["group"] == "validation":
                self.validation = line
            elif all(line["values"].get(name) is not None for name in MEASURED):
                self.measured = {name: float(line["values"][name]) for name in MEASURED}
            self.steps = max(self.steps, line["step"])
        if kind == "progress":
            self.steps = max(self.steps, line["step"])
        if kind == "checkpoint":
            self.checkpoint = max(self.checkpoint, line["step"])
            self.saving = max(self.saving, line.get("seconds", 0.0))


class JournalCache:
    """Summaries of journals, read on from where the last call stopped: a watcher pays only for what is new."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[int, Summary]] = {}

    def summary(self, path: Path) -> Summary:
        """The summary of a journal as it stands now (an empty one where there is no file)."""
        offset, summary = self._known.get(path, (0, Summary()))
        try:
            size = path.stat().st_size
        except FileNotFoundError:
            return summary
        if size < offset:
            offset, summary = 0, Summary()
        if size > offset:
            lines, offset = read_lines(path, offset)
            for line in lines:
                summary.fold(line)
            self._known[path] = (offset, summary)
        return summary
