"""What earlier looks at a sweep saw that nothing changes any more: the next command need not read it again.

A watcher remembers finished trials and workers that have left in its process; this file hands that on to the next process, so
that a look at ten thousand trials costs what has changed since the last one. It is a cache: one file for the newest revision of a
sweep in ``cache/seen/``, a JSON object a line, appended by whoever looked, to be removed at any moment.

What it says of a trial is believed while the files that it was read from still are those that they were: the metrics of the result
and the summary of each scoring, told by their :func:`core.workspace.files.mark` (such files are published by rename, in a folder
that comes and goes as a whole, and never written again). Likewise a worker: the file that says how it ended. No clock and no
folder's time is believed, and what differs, or lacks one of its files, is read as if nothing were known.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, fields
from typing import Any

from core.control.decide import TrialStatus
from core.control.derive import AttemptView, UnitStatus
from core.control.jobs import ENDS
from core.control.ports import Job, JobAnswer
from core.control.remedy import Remedy
from core.definition.plan import PlannedTrial, Shape
from core.workspace.files import mark
from core.workspace.layout import Workspace

ENOUGH = 100
"""So much that is new is written down; what is less is read again, which costs nearly nothing."""
SHAPE = "2 " + " ".join(item.name for kind in (UnitStatus, AttemptView, Remedy, Job, JobAnswer) for item in fields(kind))
"""Stands in the first line: what another version has written is not read."""
RESULT = "result/metrics.json"


class Memory:
    """What is remembered of one revision of a sweep; read at once, from the file.

    Args:
        workspace: the workspace.
        sweep: the sweep's id.
        revision: its number; another plan may give the same trial another place for its data.
    """

    def __init__(self, workspace: Workspace, sweep: str, revision: int) -> None:
        self._file = workspace.cache / "seen" / f"{sweep}@{revision}.jsonl"
        self._trials_root = f"{workspace.root}/trials/"
        self._jobs_root = f"{workspace.jobs}/"
        self._new: list[str] = []
        self._begin = True
        self._said: dict[str, Any] = {}
        self._workers: dict[str, tuple[str, Job, JobAnswer]] = {}
        with suppress(OSError, UnicodeDecodeError):
            self._read(self._file.read_text(encoding="utf-8"))

    def _read(self, text: str) -> None:
        # an unfinished last line is another's that is being written, or was cut off by a full disk
        first, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]
        if first != SHAPE:
            return
        self._begin = False
        records = _parsed(lines)
        self._said = {record["trial"]: record for record in records if "trial" in record}
        for record in records:
            if "job" in record:
                job, answer = record["job"], record["answer"]
                job = {**job, "shape": Shape(**job["shape"]), "details": {**job["details"], "folder": self._jobs_root + job["key"]}}
                answer = {**answer, "nodes": tuple(answer["nodes"])}
                self._workers[job["key"]] = (record["mark"], Job(**job), JobAnswer(**answer))
        # several processes may have written the same down; a file that mostly repeats itself is begun anew
        self._begin = len(records) > 1.5 * (len(self._said) + len(self._workers)) + ENOUGH

    # -- trials ---------------------------------------------------------------------------------------------------------------

    def trial(self, planned: PlannedTrial, keys: Sequence[str]) -> TrialStatus | None:
        """A trial that is finished with these scorings, if all that was read of it stands unchanged."""
        said = self._said.get(planned.id)
        if said is None:
            return None
        folder, units = self._folder(planned.id), said["scorings"]
        if mark(folder + RESULT) != said["mark"]:
            return None
        for key in keys:
            if key not in units or mark(f"{folder}scores/{key}/summary.json") != said["marks"][key]:
                return None
        scorings = {key: _unit(units[key]) for key in keys}
        return TrialStatus(planned, _unit(said["train"]), scorings, said["record"])

    def keep(self, status: TrialStatus) -> None:
        """Remember a finished trial."""
        id, folder = status.planned.id, self._folder(status.planned.id)
        result, marks = mark(folder + RESULT), {key: mark(f"{folder}scores/{key}/summary.json") for key in status.scorings}
        if result is not None and all(marks.values()):
            said = {"trial": id, "mark": result, "train": _fields(status.train), "record": status.record}
            self._add({**said, "marks": marks, "scorings": {key: _fields(unit) for key, unit in status.scorings.items()}})

    def _folder(self, id: str) -> str:
        return f"{self._trials_root}{id[:2]}/{id}/"

    # -- workers --------------------------------------------------------------------------------------------------------------

    def workers(self, names: Iterable[str]) -> dict[str, tuple[Job, JobAnswer]]:
        """Those of these workers that are known to have ended."""
        known = ((name, self._workers[name]) for name in names if name in self._workers)
        return {name: (job, answer) for name, (end, job, answer) in known if end == self._end(name)}

    def keep_worker(self, job: Job, answer: JobAnswer) -> None:
        """Remember a worker of which the files say that it has ended."""
        end = self._end(job.key)
        if answer.alive or end is None or self._workers.get(job.key, ("",))[0] == end:
            return
        self._workers[job.key] = (end, job, answer)
        record = vars(job) | {"shape": vars(job.shape), "details": {k: v for k, v in job.details.items() if k != "folder"}}
        self._add({"job": record, "mark": end, "answer": vars(answer)})

    def _end(self, name: str) -> str | None:
        found = [mark(f"{self._jobs_root}{name}/{file}") for file in ENDS]
        return " ".join(str(one) for one in found) if any(found) else None

    # -- the file -------------------------------------------------------------------------------------------------------------

    def _add(self, record: Mapping[str, Any]) -> None:
        with suppress(TypeError, ValueError):  # what JSON cannot say is read again
            self._new.append(json.dumps(record, ensure_ascii=False, separators=(",", ":")))

    def save(self) -> None:
        """Write down what is new, where it is enough to be worth it; who may not write here just looks."""
        if len(self._new) < ENOUGH:
            return
        text = "".join(f"{line}\n" for line in self._new)
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            if self._begin:
                temporary = self._file.with_name(f".{self._file.name}.{os.getpid()}")
                temporary.write_text(f"{SHAPE}\n{text}", encoding="utf-8")
                temporary.replace(self._file)
                for old in self._file.parent.glob(f"{self._file.name.partition('@')[0]}@*.jsonl"):
                    if old != self._file:
                        old.unlink(missing_ok=True)
            else:
                with open(self._file, "a", encoding="utf-8") as handle:
                    handle.write(text)
        self._begin = False
        self._new.clear()


def _parsed(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of lines; all at once, which is twice as quick, or one by one where two writers have torn one."""
    try:
        return list(json.loads("[" + ",".join(lines) + "]"))
    except ValueError:
        found = []
        for line in lines:
            with suppress(ValueError):
                found.append(json.loads(line))
        return [record for record in found if isinstance(record, dict)]


def _defaults(kind: type[Any]) -> dict[str, Any]:
    made = {item.name: item.default_factory() for item in fields(kind) if item.default_factory is not MISSING}
    return {item.name: item.default for item in fields(kind) if item.default is not MISSING} | made


UNIT, VIEW, REMEDY = _defaults(UnitStatus), _defaults(AttemptView), _defaults(Remedy)


def _fields(unit: UnitStatus) -> dict[str, Any]:
    """A status as JSON, without what is as by default."""
    said = _said(unit, UNIT)
    if unit.last is not None:
        said["last"] = _said(unit.last, VIEW)
    if "remedy" in said:
        said["remedy"] = _said(unit.remedy, REMEDY)
    return said


def _said(value: Any, defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: item for name, item in vars(value).items() if item != defaults.get(name, MISSING)}


def _unit(said: Mapping[str, Any]) -> UnitStatus:
    """The status that :func:`_fields` wrote."""
    more: dict[str, Any] = {}
    if "last" in said:
        more["last"] = AttemptView(**said["last"])
    if "remedy" in said:
        changes = said["remedy"]
        more["remedy"] = Remedy(**{**changes, "flags": tuple(changes.get("flags", ()))})
    return UnitStatus(**{**said, **more})
