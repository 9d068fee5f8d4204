"""What the dashboard's cluster page is told: the queue in the scheduler's words, nights with budgets, and what is held."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm
from test_nights import World, at, sweep
from toy_worker import Toy

from core.workspace import holds, nights
from core.workspace.layout import Workspace
from sweeps.cluster_state import ClusterWatch


@pytest.fixture
def busy(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Two GPUs for four workers, and a nightly grid with a budget."""
    place = Workspace.open(workspace, create=True)
    toy = Toy(place)
    toy.slurm = FakeSlurm(tmp_path, monkeypatch, toy, nodes={"node1": 2}, start=at("2026-11-16 12:00"))
    made = World(place, toy.slurm, toy)
    sweep(made, 12)
    return made


def watch(world: World) -> ClusterWatch:
    return ClusterWatch(world.place, lambda _: world.scheduler(), world.slurm.clock)


def test_workers_stand_as_the_scheduler_says_and_it_is_asked_once(busy: World) -> None:
    busy.grid()
    busy.until("2026-11-16 21:00")
    found = watch(busy)
    before = busy.slurm.asked.count("squeue")
    state = found.look()
    assert busy.slurm.asked.count("squeue") == before + 1
    assert Counter(worker.state for worker in state.workers) == Counter(working=2, queued=2)
    (waits, _) = [worker for worker in state.workers if worker.state == "queued"]
    assert "PENDING" in waits.says and waits.job in waits.says
    assert waits.night == "weekly/2026-11-16"
    assert state.trouble == []
    busy.slurm.down = True
    busy.slurm.advance(60)
    silent = found.look()
    assert "does not answer" in silent.trouble[0]
    assert {worker.state for worker in silent.workers} == {"working", "unknown"}, "silence is not death"


def test_nights_show_what_was_granted_used_and_left_and_how_the_last_one_went(busy: World) -> None:
    grid = busy.grid(budget=10.0)
    (facts,) = watch(busy).look().grids
    assert facts.open is None and facts.last is None
    assert facts.next_opens == at("2026-11-16 20:00")
    busy.until("2026-11-17 02:00")
    (facts,) = watch(busy).look().grids
    assert facts.open is not None and facts.open.closes == at("2026-11-17 07:00")
    assert facts.open.left is not None
    assert facts.open.granted + facts.open.left == pytest.approx(10.0)
    assert 0 <= facts.open.used <= facts.open.granted
    busy.until("2026-11-17 08:00")
    (facts,) = watch(busy).look().grids
    (row,) = busy.history(grid)
    assert facts.last is not None
    assert (facts.last.used, facts.last.completed, facts.last.attempts) == (row["gpu_hours"], row["completed"], row["attempts"])
    busy.until("2026-11-18 08:00", on=False)
    (facts,) = watch(busy).look().grids
    assert facts.last is not None and (facts.last.name, facts.last.state) == ("2026-11-17", "missed")


def test_every_hold_is_named_and_a_grid_that_cannot_be_read_is_said(busy: World, tmp_path: Path) -> None:
    busy.grid()
    busy.grid("broken")
    (nights.Grid("broken", "", "", "", "").folder(busy.place) / "grid.json").write_text("{")
    site = tmp_path / "site"
    site.mkdir()
    holds.remember(busy.place.sweep("study"), site, None)
    holds.set_hold(site / "HOLD.account-proj", "maintenance")
    holds.set_hold(busy.place.root / "HOLD", "lunch")
    state = watch(busy).look()
    assert [whom for whom, _ in state.holds] == ["this workspace", "the sweeps of account proj"]
    assert "lunch" in state.holds[0][1] and "maintenance" in state.holds[1][1]
    assert [(grid.name, "grid.json" in (grid.corrupt or "")) for grid in state.grids] == [("broken", True), ("weekly", False)]
