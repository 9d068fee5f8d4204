"""From files to rows: what is read of the workspace for the index (pure but for reading)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import IntegrityError
from core.workspace.files import MANIFEST, mark, read_json
from core.workspace.journal import read_lines
from core.workspace.layout import Attempt, Scoring, Trial
from core.workspace.lineage import Resumed, metric_line, resumed_of, segments


@dataclass(frozen=True)
class Seen:
    """What a look at a trial's folder shows without reading a file: enough to say whether something is new.

    Attributes:
        attempts: size of each attempt's journal, by number.
        result: mark of the published result, ``None`` where there is none.
        scorings: mark of each finished scoring, by key.
    """

    attempts: Mapping[int, int] = field(default_factory=dict)
    result: str | None = None
    scorings: Mapping[str, str] = field(default_factory=dict)


def look(trial: Trial) -> Seen:
    """Look at a trial's folder: one listing or stat for each thing that may change."""
    sizes = {attempt.number: _size(attempt.journal) for attempt in trial.attempts()}
    if not sizes:
        return Seen()
    return Seen(sizes, mark(trial.result / MANIFEST), finished(trial.folder / "scores"))


def finished(folder: Path) -> dict[str, str]:
    """The finished scorings in a ``scores`` folder: mark of the summary, by key."""
    try:
        keys = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    marks = {key: mark(Scoring(folder / key).summary) for key in sorted(keys)}
    return {key: value for key, value in marks.items() if value is not None}


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def attempt_row(trial: Trial, attempt: Attempt) -> dict[str, Any]:
    """The row of an attempt of which no line has been read yet."""
    try:
        owner = attempt.owner()
    except (OSError, IntegrityError):  # the folder's owner is shown by `explain`; the index goes on without it
        owner = {}
    return {
        "trial": trial.id, "number": attempt.number, "host": owner.get("host"), "job": owner.get("job"), "started": None,
        "resumed_attempt": None, "resumed_step": None, "ended": None, "state": None, "cause": None, "message": None,
        "steps": 0, "checkpoint": 0, "offset": 0, "size": 0,
    }  # fmt: skip


def read_on(attempt: Attempt, row: dict[str, Any], size: int) -> list[dict[str, Any]]:
    """Read what is new in an attempt's journal, fold it into its row, and return the new lines.

    ``size`` is the file's size at the look before: had it grown since, the next look would differ from it again.
    """
    lines, row["offset"] = read_lines(attempt.journal, row["offset"])
    row["size"] = size
    for line in lines:
        kind = line["kind"]
        if kind == "started" and row["started"] is None:
            source = resumed_of(line)
            row["started"] = line["t"]
            row["resumed_attempt"], row["resumed_step"] = (source.attempt, source.step) if source else (None, None)
        elif kind in ("metrics", "progress"):
            row["steps"] = max(row["steps"], line["step"])
        elif kind == "checkpoint":
            row["checkpoint"] = max(row["checkpoint"], line["step"])
        elif kind == "ended":
            row |= {"ended": line["t"], "state": line.get("state"), "cause": line.get("cause"), "message": _text(line.get("message"))}
    return lines


def _text(value: str | None) -> str | None:
    """PostgreSQL takes no NUL in a text."""
    return value.replace("\0", "") if value else value


def metric_rows(trial: str, attempts: Iterable[Mapping[str, Any]], lines: Mapping[int, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The rows of those lines that count, given every attempt's row."""
    starts = {
        row["number"]: Resumed(row["resumed_attempt"], row["resumed_step"]) if row["resumed_attempt"] is not None else None
        for row in attempts
        if row["started"] is not None
    }
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for segment in segments(starts):
        for raw in lines.get(segment.attempt, []):
            if raw["kind"] != "metrics" or not segment.holds(raw["step"]):
                continue
            line = metric_line(segment.attempt, raw)
            rows.setdefault(
                (line.group, line.step),
                {"trial": trial, "group": line.group, "step": line.step, "t": line.t, "attempt": line.attempt, "values": dict(line.values)},
            )
    return list(rows.values())


def scoring_rows(kind: str, owner: str, scoring: Scoring, mark: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The row of a finished scoring and those of its metrics.

    Raises:
        IntegrityError: the summary does not parse or lacks a field.
    """
    value = read_json(scoring.summary)
    key = scoring.folder.name
    try:
        row = {
            "kind": kind, "owner": owner, "key": key, "benchmark": value["benchmark"], "revision": value["revision"], "n": value["n"],
            "partial": value["partial"], "mark": mark,
        }  # fmt: skip
        metrics = [{"kind": kind, "owner": owner, "key": key, "name": name, "value": v} for name, v in value["metrics"].items()]
    except (KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"not the summary of a scoring: {error!r}", place=scoring.summary) from error
    return row, metrics
