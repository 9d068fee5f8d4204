"""The last launch of a sweep: what a pass that is made elsewhere goes by (by a worker, a timer, ``sweep tick``).

``sweeps/<id>/launched.json`` says when it was and how many workers it asked for. Workers that ended before it say nothing about whether
workers start now.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from core.workspace.files import read_json, write_atomic
from core.workspace.layout import Sweep


@dataclass(frozen=True)
class Launch:
    """``at``: unix seconds, 0 where there was none; ``workers``: at most so many at once, ``None``: as many as the place holds."""

    at: float = 0.0
    workers: int | None = None


def last_launch(sweep: Sweep) -> Launch:
    """The last launch of a sweep.

    Raises:
        IntegrityError: the file is damaged.
    """
    file = sweep.folder / "launched.json"
    if not file.exists():
        return Launch()
    record = read_json(file)
    return Launch(float(record["t"]), record["workers"])


def note_launch(sweep: Sweep, workers: int | None) -> None:
    """Say that the sweep is launched now."""
    write_atomic(sweep.folder / "launched.json", json.dumps({"v": 1, "t": round(time.time(), 3), "workers": workers}), sync=True)
