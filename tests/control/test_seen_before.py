"""What one process has seen of finished trials and workers, the next one need not read; and it believes nothing that has changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest

from core.control import memory
from core.control.decide import SweepState
from core.control.ports import Job, JobAnswer
from core.control.read import Reader
from core.control.tick import SweepReader
from core.definition.plan import PlannedTrial, Shape
from core.workspace.claim import claim
from core.workspace.files import publish_folder, write_atomic
from core.workspace.journal import JournalWriter
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, register

CONFIG = {"data": {"sources": {}}, "rehearsal": None}
BENCHMARK = {"benchmark": {"name": "generated_images"}, "revision": "r1"}
PLAN = [PlannedTrial(f"{n:032x}", {"optim.lr": n}, 0, CONFIG, Shape(memory=4.0), evaluate=(BENCHMARK,)) for n in range(4)]


class Silent:
    """A scheduler that says of every worker that it has ended, and remembers of which it was asked."""

    trouble = None

    def __init__(self) -> None:
        self.asked: list[str] = []

    def poll(self, jobs: Sequence[Job]) -> dict[str, JobAnswer]:
        self.asked += [job.key for job in jobs]
        return {job.key: JobAnswer(False, "lost", "its worker has left", cause=None) for job in jobs}


@pytest.fixture
def revision(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Revision:
    monkeypatch.setattr(memory, "ENOUGH", 1)
    place = Workspace.open(workspace, create=True)
    meta = {"digest": "d", "rehearsal": False, "name": "s"}
    revision, _ = register(place, place.sweep("s"), meta=meta, definition="", code=[], trials=PLAN)
    for planned in PLAN[:2]:
        finish(place, SweepReader(place, revision), planned)
    return revision


def finish(place: Workspace, reader: SweepReader, planned: PlannedTrial) -> None:
    trial = place.trial(planned.id)
    attempt = claim(trial, 1, f"w-{planned.id}", {"job": "rs-s-0001"})
    assert attempt is not None
    journal = JournalWriter(attempt.journal)
    journal.write("started", attempt=1, resumed=None, changed={"micro_batch": 2})
    journal.write("progress", step=9, total=9, values={"loss": 0.25})
    journal.write("ended", state="completed")
    record = {"v": 1, "metrics": {}, "fingerprints": {"code": "c", "data": "d"}, "flags": ["micro_batch_halved"]}
    publish_folder(trial.result, attempt.folder / ".result", lambda at: write_atomic(at / "metrics.json", json.dumps(record)), {})
    scoring = trial.scoring(reader.keys(planned)[0])
    scoring.folder.mkdir(parents=True)
    write_atomic(scoring.summary, "{}")


def look(revision: Revision, scheduler: Silent | None = None) -> SweepState:
    """The state as a new process sees it."""
    return reader_of(revision, scheduler).state()


def reader_of(revision: Revision, scheduler: Silent | None = None) -> SweepReader:
    return SweepReader(Workspace.open(revision.folder.parents[3]), revision, scheduler)


def test_the_next_process_sees_the_same_without_reading_a_finished_trial(revision: Revision, monkeypatch: pytest.MonkeyPatch) -> None:
    first = look(revision)
    assert first.counts() == {"completed": 2, "pending": 2} and first.trials[0].train.remedy.flags == ("micro_batch_halved",)
    read: list[str] = []
    monkeypatch.setattr(Reader, "_attempt", lambda self, attempt, wish: read.append(str(attempt)))
    assert look(revision) == first
    assert not read


@pytest.mark.parametrize("file", ["result/metrics.json", "scores/{key}/summary.json"])
@pytest.mark.parametrize("what", ["gone", "another"])
def test_a_trial_of_which_one_file_is_gone_or_another_is_read_anew(revision: Revision, file: str, what: str) -> None:
    look(revision)
    key, other = (reader_of(revision).keys(planned)[0] for planned in PLAN[:2])
    path = revision.folder.parents[3] / "trials" / "00" / PLAN[0].id / file.format(key=key)
    if what == "gone":
        path.unlink()
    else:
        write_atomic(path, path.read_text() + " ")
    known = memory.Memory(Workspace.open(revision.folder.parents[3]), "s", 1)
    assert known.trial(PLAN[0], [key]) is None and known.trial(PLAN[1], [other]) is not None
    state = look(revision).trials[0]
    if what == "gone" and "summary" in file:
        assert next(iter(state.scorings.values())).state == "pending"


def test_a_worker_that_has_left_is_asked_about_once_and_again_after_it_was_requeued(revision: Revision) -> None:
    place = Workspace.open(revision.folder.parents[3])
    folder = place.jobs / "rs-s-0001"
    folder.mkdir()
    shape = {item.name: getattr(Shape(), item.name) for item in fields(Shape)}
    write_atomic(folder / "job.json", json.dumps({"sweep": "s", "revision": 1, "shape": shape}))
    write_atomic(folder / "left.json", json.dumps({"reason": "nothing left to claim", "done": 2}))
    scheduler = Silent()
    first = look(revision, scheduler)
    assert scheduler.asked == ["rs-s-0001"]
    assert look(revision, scheduler) == first and len(scheduler.asked) == 1
    (folder / "left.json").unlink()
    look(revision, scheduler)
    assert len(scheduler.asked) == 2


def test_torn_lines_another_version_and_a_place_that_cannot_be_written_cost_nothing_but_time(
    revision: Revision, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = look(revision)
    file = revision.folder.parents[3] / "cache" / "seen" / "s@1.jsonl"
    whole = file.read_text()
    lines = whole.splitlines(keepends=True)
    assert len(lines) == 3
    file.write_text(lines[0] + lines[1][:40] + lines[2] + '{"trial": "half')
    assert look(revision) == first
    file.write_text("0 of an older version\n" + "".join(lines[1:]))
    assert look(revision) == first
    assert file.read_text().splitlines()[0] == memory.SHAPE, "begun anew"
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("no folder")
    assert look(revision) == first
