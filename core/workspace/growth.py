"""Trials that a sweep gains after its launch: the suggestions of a search, further seeds.

``sweeps/<id>/growth/000001.json``, ``000002.json``, ...: a log, each record whole or not there, numbered by exclusive creation.
Whoever adds a record says how many it has read; where another one was faster, nothing is added and the decision is made anew on
the longer log. So two passes at the same moment add one record, and a pass that is killed has added its record or has not.

A record belongs to a *family*: the digest of what makes its trials part of a definition. A revision says its family
(``revision.json``), and its plan is ``plan.jsonl`` and after it the trials of the family's records. An edit that leaves the family
as it was keeps them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.definition.plan import PlannedTrial
from core.workspace.files import create_exclusive, fault, read_json
from core.workspace.layout import Sweep
from core.workspace.requests import user


@dataclass(frozen=True)
class Growth:
    """One record.

    Attributes:
        number: from 1.
        kind: what asked for the trials (``suggestion``, ``replicate``, ``seed``), or what is to be remembered.
        why: one sentence for `sweep explain`.
        trials: what the plan gains; may be empty.
        facts: whatever the writer of this kind needs again.
    """

    number: int
    kind: str
    why: str = ""
    trials: tuple[PlannedTrial, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


class GrowthLog:
    """The records of one family of a sweep; each file is read once.

    Args:
        sweep: the sweep.
        family: whose records; ``None`` reads nothing and adds nothing.
    """

    def __init__(self, sweep: Sweep, family: str | None) -> None:
        self.folder = sweep.folder / "growth"
        self.family = family
        self.records: list[Growth] = []
        self._last = 0

    def refresh(self) -> list[Growth]:
        """Read on; returns the family's records that are new."""
        if self.family is None:
            return []
        new = []
        for path in self._files()[self._last :]:
            value = read_json(path)
            self._last = int(path.stem)
            if value["family"] == self.family:
                trials = tuple(PlannedTrial.from_json(json.dumps(trial)) for trial in value["trials"])
                new.append(Growth(self._last, value["kind"], value["why"], trials, value["facts"]))
        self.records += new
        return new

    def _files(self) -> list[Path]:
        try:
            names = os.listdir(self.folder)
        except FileNotFoundError:
            return []
        return [self.folder / name for name in sorted(names) if name.endswith(".json") and name[:-5].isdigit()]

    def append(self, kind: str, *, why: str, trials: Sequence[PlannedTrial] = (), facts: Mapping[str, Any] | None = None) -> bool:
        """Add a record after those that have been read; ``False`` where another one has been added meanwhile.

        Raises:
            EnvironmentFault: the workspace cannot be written.
        """
        if self.family is None:
            raise ValueError("a revision without a family cannot grow")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise fault(error, self.folder) from error
        record = {
            "v": 1, "t": round(time.time(), 3), "by": user(), "family": self.family, "kind": kind, "why": why,
            "trials": [json.loads(trial.to_json()) for trial in trials], "facts": dict(facts or {}),
        }  # fmt: skip
        added = create_exclusive(self.folder / f"{self._last + 1:06d}.json", json.dumps(record, ensure_ascii=False))
        if added:
            self.refresh()
        return added
