"""Registering a definition as launched: ``sweeps/<id>/revisions/<n>/``, prepared aside and renamed into the next free number.

An unchanged definition is not a new revision; an edited one is. Two launches at the same moment end up with one revision if
they say the same, with two in order if they do not.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.definition.plan import PlannedTrial
from core.errors import UsageError, nearest
from core.workspace.files import fault, read_json, rename_onto, sync_folder, write_atomic
from core.workspace.growth import GrowthLog
from core.workspace.layout import Sweep, Workspace
from core.workspace.requests import user

REHEARSAL = "-rehearsal"


@dataclass(frozen=True)
class Revision:
    """One definition as launched."""

    sweep: Sweep
    number: int
    meta: dict[str, Any]

    @property
    def folder(self) -> Path:
        """``revisions/<n>``."""
        return self.sweep.revision(self.number)

    @property
    def rehearsal(self) -> bool:
        """Whether it is a rehearsal."""
        return bool(self.meta["rehearsal"])

    @property
    def family(self) -> str | None:
        """What the trials that it gains after its launch belong to; ``None`` where it gains none."""
        return self.meta.get("family")

    def planned(self) -> Iterator[PlannedTrial]:
        """The trials planned at launch, in order."""
        with open(self.folder / "plan.jsonl", encoding="utf-8") as handle:
            for line in handle:
                yield PlannedTrial.from_json(line)

    def plan(self) -> Iterator[PlannedTrial]:
        """All trials in order: those planned at launch, then those gained since."""
        log = GrowthLog(self.sweep, self.family)
        log.refresh()
        seen: set[str] = set()
        for trial in self.planned():
            if log.records:
                seen.add(trial.id)
            yield trial
        for trial in (trial for record in log.records for trial in record.trials):
            if trial.id not in seen:
                seen.add(trial.id)
                yield trial

    def code(self) -> list[Path]:
        """The user's component files as they were at launch."""
        return [self.folder / "code" / name for name in self.meta.get("code", [])]


def sweep_id(name: str, rehearsal: bool) -> str:
    """The id of a sweep: its name, with a suffix for its rehearsal.

    Raises:
        UsageError: the name itself ends in the suffix.
    """
    if name.endswith(REHEARSAL):
        raise UsageError(f"a sweep's name may not end in {REHEARSAL}", found=name)
    return name + (REHEARSAL if rehearsal else "")


def choose_canaries(sweep: Sweep, ids: Sequence[str]) -> None:
    """Write down which trials go before the others; none lifts an earlier choice."""
    try:
        write_atomic(sweep.folder / "canary.json", json.dumps({"v": 1, "trials": list(ids)}, indent=1), sync=True)
    except OSError as error:
        raise fault(error, sweep.folder) from error


def canaries_of(sweep: Sweep) -> list[str]:
    """The trials that go before the others."""
    file = sweep.folder / "canary.json"
    return list(read_json(file)["trials"]) if file.exists() else []


def newest(sweep: Sweep) -> Revision | None:
    """The newest revision of a sweep."""
    numbers = sweep.revisions()
    return revision(sweep, numbers[-1]) if numbers else None


def revision(sweep: Sweep, number: int) -> Revision:
    """A revision by number."""
    return Revision(sweep, number, read_json(sweep.revision(number) / "revision.json"))


def register(
    workspace: Workspace, sweep: Sweep, *, meta: dict[str, Any], definition: str, code: Sequence[Path], trials: Iterable[PlannedTrial]
) -> tuple[Revision, bool]:
    """Register a definition and its plan; returns the revision and whether it is new.

    ``meta["digest"]`` decides what is the same: where the newest revision has it, that one is returned.
    """
    digest = meta["digest"]
    last = newest(sweep)
    if last is not None and last.meta["digest"] == digest:
        return last, False
    folder = sweep.folder / "revisions"
    staging = folder / f".{uuid.uuid4().hex[:12]}"
    try:
        staging.mkdir(parents=True)
        write_atomic(staging / "definition.yaml", definition)
        count = 0
        with open(staging / "plan.jsonl", "w", encoding="utf-8") as handle:
            for trial in trials:
                handle.write(trial.to_json() + "\n")
                count += 1
        (staging / "code").mkdir()
        for file in code:
            shutil.copyfile(file, staging / "code" / file.name)
        while True:
            numbers = sweep.revisions()
            last = newest(sweep)
            if last is not None and last.meta["digest"] == digest:
                return last, False
            number = (numbers[-1] if numbers else 0) + 1
            record = {
                "v": 1, "sweep": sweep.id, "number": number, "created": round(time.time(), 3), "by": user(),
                "code": [file.name for file in code], "trials": count, **meta,
            }  # fmt: skip
            write_atomic(staging / "revision.json", json.dumps(record, indent=1), sync=True)
            if rename_onto(staging, sweep.revision(number)):
                sync_folder(sweep.folder)
                return Revision(sweep, number, record), True
    except OSError as error:
        raise fault(error, staging) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def resolve(workspace: Workspace, name: str) -> Revision:
    """The revision that a user means: an id, a name (its newest real launch, else its newest rehearsal), or either with ``@N``.

    Raises:
        UsageError: there is no such sweep or revision; it names the nearest.
    """
    base, _, number = name.partition("@")
    known = {sweep.id: sweep for sweep in workspace.sweeps()}
    sweep = known.get(base) or known.get(base + REHEARSAL)
    if sweep is None:
        raise UsageError(
            "no such sweep in this workspace", found=base, allowed=sorted(known) or "none has been launched yet",
            nearest=nearest(base, [*known, *(id.removesuffix(REHEARSAL) for id in known)]), next="sweep list",
        )  # fmt: skip
    numbers = sweep.revisions()
    if not number:
        return revision(sweep, numbers[-1])
    if not number.isdigit() or int(number) not in numbers:
        raise UsageError("no such revision", found=name, allowed=[f"{sweep.id}@{n}" for n in numbers])
    return revision(sweep, int(number))


def event(sweep: Sweep, writer: str, kind: str, **fields: Any) -> None:
    """Append to the sweep's events, in the writer's own file."""
    try:
        sweep.events.mkdir(parents=True, exist_ok=True)
        line = json.dumps({"v": 1, "t": round(time.time(), 3), "kind": kind, "by": user(), **fields}, ensure_ascii=False)
        with open(sweep.events / f"{writer}.jsonl", "a", encoding="utf-8") as handle:
            handle.write(line + "\n")
    except OSError as error:
        raise fault(error, sweep.events) from error
