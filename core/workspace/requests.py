"""Requests: files that others drop into a trial's folder, in an order without clocks.

``requests/0001.json``: numbered by exclusive creation, so two writers on two hosts never disagree about the order.
Each records the newest attempts that its writer saw, of the training and of each scoring: a ``retry`` forgives the failures up
to them, a ``force`` declares them dead.
"""

from __future__ import annotations

import getpass
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from core.workspace.files import create_exclusive, fault, read_json
from core.workspace.layout import Scoring, Trial

Request = Literal["cancel", "pause", "resume", "retry", "force", "prune", "checkpoint"]
Stop = Literal["cancel", "prune", "pause"]


@dataclass(frozen=True)
class Asked:
    """The requests of a trial, replayed in order.

    Attributes:
        stop: ``cancel``, ``prune`` or ``pause`` where the last word is to stop, else ``None``.
        forgiven: failures up to this attempt no longer count.
        dead: attempts that a user declared dead.
        why: the last word's reason, where its writer gave one.
        causes: of the failures for which a pause waits, where it was not a user who paused.
        scorings: the same two for each scoring, by key.
        checkpoints: how many checkpoints have been asked for so far.
        count: how many requests there are.
    """

    stop: Stop | None = None
    forgiven: int = 0
    dead: frozenset[int] = field(default_factory=frozenset)
    checkpoints: int = 0
    count: int = 0
    scorings: Mapping[str, tuple[int, frozenset[int]]] = field(default_factory=dict)
    why: str | None = None
    causes: tuple[str, ...] = ()

    def of_scoring(self, key: str) -> Asked:
        """What the requests mean for one scoring of the trial."""
        forgiven, dead = self.scorings.get(key, (0, frozenset()))
        return Asked(self.stop, forgiven, dead, why=self.why, causes=self.causes)


def user() -> str:
    """The name of the user, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def drop(trial: Trial, kind: Request, why: str | None = None, causes: Sequence[str] = ()) -> None:
    """Ask something of a trial, with a reason (and the causes of failures behind it) where there is one, under the next free number."""
    try:
        trial.requests.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise fault(error, trial.requests) from error
    attempts = trial.attempts()
    seen = attempts[-1].number if attempts else 0
    scorings = {folder.name: len(Scoring(folder).attempts()) for folder in sorted((trial.folder / "scores").glob("*"))}
    record: dict[str, Any] = {"v": 1, "kind": kind, "by": user(), "t": round(time.time(), 3), "attempt": seen, "scorings": scorings}
    if why is not None:
        record["why"] = why
    if causes:
        record["causes"] = list(causes)
    text = json.dumps(record)
    number = len(_names(trial))
    while True:
        number += 1
        if create_exclusive(trial.requests / f"{number:04d}.json", text):
            return


def _names(trial: Trial) -> list[str]:
    try:
        return sorted(name for name in os.listdir(trial.requests) if name[:-5].isdigit() and name.endswith(".json"))
    except FileNotFoundError:
        return []


def asked(trial: Trial) -> Asked:
    """Replay the requests of a trial."""
    stop: Stop | None = None
    why: str | None = None
    causes: tuple[str, ...] = ()
    forgiven, checkpoints = 0, 0
    dead: set[int] = set()
    scorings: dict[str, tuple[int, frozenset[int]]] = {}
    names = _names(trial)
    for name in names:
        value = read_json(trial.requests / name)
        kind = cast(Request, value["kind"])
        if kind in ("cancel", "prune") or (kind == "pause" and stop is None):
            stop, why, causes = kind, value.get("why"), tuple(value.get("causes", ()))
        if kind == "resume" and stop == "pause":
            stop = None
        if kind in ("retry", "force"):
            stop = None
            forgiven = max(forgiven, value["attempt"])
            for key, number in value["scorings"].items():
                gone = scorings.get(key, (0, frozenset()))[1] | ({number} if kind == "force" else frozenset())
                scorings[key] = (number, gone)
        if kind == "force":
            dead.add(value["attempt"])
        if kind == "checkpoint":
            checkpoints += 1
    return Asked(stop, forgiven, frozenset(dead), checkpoints, len(names), scorings, why, causes)
