"""The log of trials that a sweep gains after its launch: one record at a time, whoever writes, and never half of one."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from core.control.decide import Grow
from core.control.tick import SweepReader
from core.definition.identity import with_seed
from core.definition.plan import PlannedTrial
from core.store import Index
from core.workspace.growth import GrowthLog
from core.workspace.layout import Workspace
from core.workspace.registration import Revision, register
from tests.written import launch, planned


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs", create=True)


def grown(place: Workspace, *trials: PlannedTrial, family: str | None = "f", digest: str = "d") -> Revision:
    launch(place, "s", trials)
    meta = {"digest": digest, "name": "s", "project": "p", "rehearsal": True, **({"family": family} if family else {})}
    return register(place, place.sweep("s"), meta=meta, definition="", code=(), trials=trials)[0]


def logs(revision: Revision) -> tuple[GrowthLog, GrowthLog]:
    found = GrowthLog(revision.sweep, revision.family), GrowthLog(revision.sweep, revision.family)
    for log in found:
        log.refresh()
    return found


def test_of_two_passes_that_have_read_the_same_one_adds(place: Workspace) -> None:
    one, other = logs(grown(place))
    assert one.append("suggestion", why="first", trials=[planned(1)])
    assert not other.append("suggestion", why="second", trials=[planned(2)])
    assert [record.why for record in other.refresh()] == ["first"]
    assert other.append("suggestion", why="second", trials=[planned(2)])
    assert [record.number for record in other.records] == [1, 2]


def _add(root: Path, start: object) -> None:
    revision = Revision(Workspace.open(root).sweep("s"), 2, {"family": "f", "rehearsal": True})
    start.wait()  # type: ignore[attr-defined]
    added = 0
    while added < 10:
        log = GrowthLog(revision.sweep, "f")
        count = len(log.refresh())
        added += log.append("suggestion", why=str(count), trials=[planned(count)])


def test_many_writers_lose_nothing_and_repeat_nothing(place: Workspace) -> None:
    revision = grown(place)
    context = multiprocessing.get_context("fork")
    start = context.Barrier(3)
    writers = [context.Process(target=_add, args=(place.root, start)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    log, _ = logs(revision)
    assert [record.why for record in log.records] == [str(n) for n in range(30)]
    assert [trial.id for trial in revision.plan()] == [planned(n).id for n in range(30)]


def test_a_plan_is_what_was_launched_and_what_was_gained_each_trial_once(place: Workspace) -> None:
    revision = grown(place, planned(1), planned(2))
    log, _ = logs(revision)
    log.append("seed", why="", trials=[planned(2), planned(3)])
    assert [trial.id for trial in revision.plan()] == [planned(n).id for n in (1, 2, 3)]
    reader = SweepReader(place, revision)
    log.append("seed", why="", trials=[planned(4)])
    assert [trial.planned.id for trial in reader.state().trials] == [planned(n).id for n in (1, 2, 3, 4)]


def test_an_edit_keeps_what_its_family_has_gained_and_no_other_family(place: Workspace) -> None:
    first = grown(place, planned(1))
    GrowthLog(first.sweep, "f").append("seed", why="", trials=[planned(2)])
    again = grown(place, planned(1), planned(3), digest="e")
    assert [trial.id for trial in again.plan()] == [planned(n).id for n in (1, 3, 2)]
    another = grown(place, planned(1), family="g", digest="h")
    assert [trial.id for trial in another.plan()] == [planned(1).id]


def test_the_index_takes_what_was_gained_without_a_new_revision(place: Workspace) -> None:
    revision = grown(place, planned(1))
    with Index.open(place) as index:
        index.sync(place)
        GrowthLog(revision.sweep, "f").append("seed", why="", trials=[planned(2)])
        index.sync(place)
        assert {row.id for row in index.trials("s")} == {planned(1).id, planned(2).id}
        assert not index.sync(place).sweeps


def test_a_revision_without_a_family_gains_nothing(place: Workspace) -> None:
    revision = grown(place, planned(1), family=None)
    with pytest.raises(ValueError, match="cannot grow"):
        GrowthLog(revision.sweep, revision.family).append("seed", why="", trials=[planned(2)])
    assert Grow("seed", "", ()).trials == ()


def test_another_seed_is_the_same_cell_under_its_own_id(tmp_path: Path) -> None:
    from core.definition import expand, load

    file = tmp_path / "s.yaml"
    file.write_text(
        "version: 1\nname: s\ntrial: {backbone: qwen2.5-vl-3b, data: {sources: {generated: {}}}, train: {steps: 2}}\nseeds: 2\n"
    )
    first, second = expand(load(file)).trials()
    assert with_seed(first, 1) == second
    assert with_seed(second, 0).id == first.id
