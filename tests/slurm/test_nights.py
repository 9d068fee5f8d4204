"""Nights on a SLURM whose clock is wound forward: windows, budgets, dead hosts, changes of the clocks."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from fake_slurm import FakeSlurm
from toy_worker import Toy, plan_of, registered

from core.control.tick import SweepReader, tick
from core.definition.plan import Shape
from core.errors import IntegrityError, UsageError
from core.workspace import nights
from core.workspace.layout import Sweep, Workspace
from core.workspace.registration import Revision
from slurm.cluster import SlurmSubmitter
from slurm.polling import SlurmScheduler
from slurm.profile import Cluster, Profile, of_sweep
from sweeps import nightly

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3600.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@dataclass
class World:
    """A workspace with a sweep, a cluster, and a host that makes a pass every half hour while it is on."""

    place: Workspace
    slurm: FakeSlurm
    toy: Toy

    def grid(self, name: str = "weekly", sweep: str = "study", **more: Any) -> nights.Grid:
        given: dict[str, Any] = {"window": "20:00-07:00", "days": "mon-fri", "zone": "Europe/Berlin", "created": self.slurm.now, **more}
        grid = nights.Grid(name, sweep, **given)
        nights.add(self.place, grid)
        return grid

    def scheduler(self) -> SlurmScheduler:
        return SlurmScheduler(600, ask=self.slurm.ask, clock=self.slurm.clock)

    def reader(self, place: Workspace, revision: Revision) -> SweepReader:
        return SweepReader(place, revision, self.scheduler())

    def submitter(self, place: Workspace, sweep: Sweep) -> SlurmSubmitter:
        return SlurmSubmitter(place, of_sweep(sweep), "toy:main", ask=self.slurm.ask, clock=self.slurm.clock, wall=self.slurm.clock)

    def one_pass(self) -> list[nightly.Passed]:
        return nightly.one_pass(self.place, clock=self.slurm.clock, reader_of=self.reader, submitter_of=self.submitter, ask=self.slurm.ask)

    def until(self, text: str, *, on: bool = True) -> None:
        """Let time pass; ``on``: the launch host makes passes."""
        end = at(text)
        while self.slurm.now < end:
            if on:
                self.one_pass()
            self.slurm.advance(min(1800.0, end - self.slurm.now))

    def history(self, grid: nights.Grid) -> list[dict[str, Any]]:
        return list(nightly.history(self.place, grid, clock=self.slurm.clock, reader_of=self.reader, ask=self.slurm.ask))

    def states(self, sweep: str = "study") -> Counter[str]:
        revision = registered(self.place, [], sweep)
        return Counter(self.reader(self.place, revision).state().counts())

    def hours_outside(self) -> list[str]:
        """Tasks that ran when the clock on the wall was outside of 20:00-07:00."""
        return [task.id for task in self.slurm.tasks if task.began is not None and not _inside(task.began, task.ended or self.slurm.now)]


def _inside(began: float, ended: float) -> bool:
    opens = datetime.fromtimestamp(began, BERLIN)
    hours = opens.hour + opens.minute / 60
    closes = datetime.fromtimestamp(ended, BERLIN)
    return (hours >= 20 or hours < 7) and (closes.hour + closes.minute / 60 <= 7 or closes.hour >= 20)


@pytest.fixture
def world(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    place = Workspace.open(workspace, create=True)
    toy = Toy(place)
    slurm = FakeSlurm(tmp_path, monkeypatch, toy, start=at("2026-11-16 12:00"))  # a Monday
    toy.slurm = slurm
    made = World(place, slurm, toy)
    sweep(made, 12)
    return made


def sweep(world: World, trials: int, name: str = "study", shape: Shape | None = None, **profile: Any) -> Revision:
    revision = registered(world.place, plan_of(trials, shape), name)
    values = {"kind": "slurm", "time": "4h", "signal_lead": "3min", "limits": {"workers": 4}, **profile}
    Cluster("test", Profile.model_validate(values)).save(revision.sweep)
    return revision


def test_a_week_of_nights_runs_inside_its_windows_and_goes_on_from_night_to_night(world: World) -> None:
    grid = world.grid()
    world.until("2026-11-16 19:55")
    assert not world.slurm.tasks, "nothing starts by day"
    world.until("2026-11-17 08:00")
    assert world.slurm.tasks and not world.slurm.alive()
    assert world.states()["completed"] < 12
    first = [state for _, _, state in world.toy.ends]
    assert "time_limit" in first and "preempted" not in first and "failed" not in first
    world.until("2026-11-21 12:00")
    assert world.states() == Counter(completed=12)
    assert world.hours_outside() == []
    assert max(len(world.place.trial(p.id).attempts()) for p in plan_of(12)) > 1, "a trial was taken up again"
    rows = world.history(grid)
    assert [row["night"] for row in rows] == [f"2026-11-{day}" for day in range(16, 21)]
    assert {row["state"] for row in rows} == {"closed"}
    assert sum(row["completed"] for row in rows) == 12
    assert rows[0]["gpu_hours"] == pytest.approx(rows[0]["accounted_gpu_hours"], abs=0.01) and rows[0]["gpu_hours"] > 30
    assert not [name for name in world.slurm.asked if name == "scancel"]


def test_jobs_carry_deadline_time_min_nice_and_account(world: World) -> None:
    world.grid(account="proj", nice=250)
    world.until("2026-11-16 20:01")
    options = world.slurm.tasks[0].options
    closes = at("2026-11-17 07:00")
    assert float(options["deadline"]) == pytest.approx(closes, abs=1)
    assert (options["time"], options["nice"], options["account"]) == ("240", "250", "proj")
    assert int(options["time-min"]) == 13, "ten minutes where nothing was measured, and the lead of three"
    world.until("2026-11-17 06:00")
    # measured by now: two minutes to load, ten of the first step, half a minute to save, three of lead
    assert int(world.slurm.tasks[-1].options["time-min"]) == 16
    assert float(world.slurm.tasks[-1].options["deadline"]) == pytest.approx(closes, abs=1)


def test_the_window_ends_in_time_when_every_process_of_the_launch_host_is_dead(world: World) -> None:
    world.grid()
    world.until("2026-11-17 03:30")
    assert len(world.slurm.running()) == 4
    world.until("2026-11-17 12:00", on=False)
    assert not world.slurm.alive() and world.hours_outside() == []
    leaves = sorted(second for second, _, state in world.toy.ends if state == "time_limit" and second > at("2026-11-17 06:00"))
    assert len(leaves) == len(set(leaves)), "they do not all save at once"
    world.until("2026-11-18 07:00")
    assert world.states()["completed"] > 4, "the next night goes on"


def test_slurm_ends_workers_that_hear_nothing_at_the_end_of_the_window(world: World) -> None:
    world.toy.deaf = True
    sweep(world, 12, time="16h")
    world.grid()
    world.until("2026-11-16 20:30")
    world.until("2026-11-17 12:00", on=False)
    assert {task.state for task in world.slurm.tasks} == {"TIMEOUT"}
    assert all((task.ended or 0) <= at("2026-11-17 07:00") for task in world.slurm.tasks)


def test_jobs_that_never_started_are_gone_with_the_night(world: World) -> None:
    world.slurm.nodes = {"node1": 1}
    world.grid()
    world.until("2026-11-17 02:00")
    world.until("2026-11-17 07:00", on=False)
    assert not world.slurm.alive()
    assert Counter(task.state for task in world.slurm.tasks)["DEADLINE"] >= 1


def test_a_budget_is_never_exceeded_and_whole_nights_use_it_up(world: World) -> None:
    grid = world.grid(budget=10.0)
    world.until("2026-11-20 12:00")
    rows = world.history(grid)
    assert len(rows) == 4
    for row in rows:
        assert row["gpu_hours"] <= 10.0
    assert rows[0]["gpu_hours"] > 9.0, "what one worker leaves over goes to another"
    used = sum(((task.ended or 0) - (task.began or 0)) / HOUR for task in world.slurm.tasks if task.began)
    assert used <= 4 * 10.0


def test_a_worker_that_dies_without_a_word_counts_with_all_that_it_was_given(world: World) -> None:
    grid = world.grid(budget=16.0)
    world.until("2026-11-16 21:00")
    assert len(world.slurm.running()) == 4
    for node in world.slurm.nodes:
        world.slurm.fail_node(node)
    world.until("2026-11-17 08:00")
    (row,) = world.history(grid)
    assert row["gpu_hours"] == pytest.approx(16.0, abs=0.1)
    assert len(world.slurm.tasks) == 4, "the budget is given out, and nothing is started on a guess"


def test_a_budget_counts_all_gpus_of_a_job_that_holds_several_trials(world: World) -> None:
    sweep(world, 12, "packed", node={"gpus": 4, "cpus": 8})
    grid = world.grid(sweep="packed", budget=24.0)
    world.until("2026-11-16 20:01")
    world.one_pass()
    assert [task.gpus for task in world.slurm.tasks] == [4, 4], "one of four hours, and what the budget has left: two"
    assert [float(task.options["time"]) for task in world.slurm.tasks] == [240, 120]
    orders = json.loads((world.place.jobs / "rs-packed-0001" / "job.json").read_text())
    assert (orders["slots"], orders["threads"], len(set(orders["night"]["leaves"]))) == (4, 2, 4)
    world.until("2026-11-17 12:00")
    (row,) = world.history(grid)
    assert 0 < row["gpu_hours"] <= 24.0
    used = sum(task.gpus * ((task.ended or 0) - (task.began or 0)) / HOUR for task in world.slurm.tasks if task.began)
    assert used == pytest.approx(row["gpu_hours"], abs=0.1)


def test_limits_end_before_the_nodes_are_reserved(world: World) -> None:
    start = datetime.fromtimestamp(at("2026-11-17 02:00")).isoformat()
    world.slurm.reservations = [{"ReservationName": "maint", "StartTime": start, "Nodes": "node1,node2", "Flags": "MAINT", "Users": "adm"}]
    sweep(world, 12, time="12h")
    world.grid()
    world.until("2026-11-17 01:59")
    assert max((task.began or 0) + task.limit for task in world.slurm.tasks) <= at("2026-11-17 02:00")
    assert not world.slurm.alive()
    # one of a single node is left to SLURM
    world.slurm.reservations[0]["StartTime"] = datetime.fromtimestamp(at("2026-11-18 02:00")).isoformat()
    world.slurm.reservations[0]["Nodes"] = "node1"
    world.until("2026-11-18 01:59")
    assert max((task.began or 0) + task.limit for task in world.slurm.tasks) > at("2026-11-18 02:00")


def test_a_host_that_was_off_opens_the_night_late_and_one_that_stayed_off_missed_it(world: World) -> None:
    grid = world.grid()
    world.until("2026-11-16 23:00", on=False)
    world.until("2026-11-17 12:00")
    world.until("2026-11-18 12:00", on=False)
    world.until("2026-11-19 12:00")
    rows = world.history(grid)
    assert [row["state"] for row in rows] == ["closed", "missed", "closed"]
    assert rows[0]["opened"] == at("2026-11-16 23:00")
    assert "no pass was made" in rows[1]["why"]
    assert all((task.began or 0) >= at("2026-11-16 23:00") for task in world.slurm.tasks)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 10), ("2026-10-24", 12)])
def test_both_changes_of_the_clocks(world: World, day: str, hours: int) -> None:
    world.slurm.now = at(f"{day} 12:00")
    grid = world.grid(days="daily")
    world.until(datetime.fromtimestamp(world.slurm.now + 86400, BERLIN).strftime("%Y-%m-%d 12:00"))
    (row,) = world.history(grid)
    assert row["closes"] - row["opens"] == hours * HOUR
    assert world.slurm.tasks and world.hours_outside() == []


def test_overlapping_nights_of_one_sweep_have_a_budget_each(world: World) -> None:
    evening = world.grid("evening", window="18:00-23:00", days="daily", budget=3.0)
    night = world.grid("night", window="20:00-07:00", days="daily", budget=6.0)
    world.until("2026-11-17 12:00")
    (first,), (second,) = world.history(evening), world.history(night)
    assert 2.5 < first["gpu_hours"] <= 3.0 and 5.5 < second["gpu_hours"] <= 6.0
    ids = Counter(json.loads(path.read_text())["night"]["id"] for path in world.place.jobs.glob("*/job.json"))
    assert set(ids) == {"evening/2026-11-16", "night/2026-11-16"}


def test_two_sweeps_at_night_do_not_touch_each_other(world: World) -> None:
    other = sweep(world, 3, "other")
    first, second = world.grid(), world.grid("late", "other", window="23:00-05:00")
    world.until("2026-11-17 12:00")
    assert other.sweep.id == "other"
    ((one,), (two,)) = world.history(first), world.history(second)
    assert one["workers"] and one["opens"] == at("2026-11-16 20:00")
    assert two["opens"] == at("2026-11-16 23:00") and two["closes"] == at("2026-11-17 05:00")
    assert one["completed"] + two["completed"] == world.states()["completed"], "both plan three of the trials; each is trained once"


def test_pause_lets_running_trials_end_and_starts_nothing(world: World) -> None:
    grid = world.grid()
    world.until("2026-11-16 21:00")
    nights.pause(world.place, grid)
    started = len(world.slurm.tasks)
    world.until("2026-11-18 12:00")
    assert len(world.slurm.tasks) == started and not world.slurm.alive()
    assert [row["state"] for row in world.history(grid)] == ["closed", "skipped"]
    with pytest.raises(UsageError, match="paused"):
        nightly.run_now(world.place, grid, None, world.slurm.clock)
    nights.resume(world.place, grid)
    world.until("2026-11-18 21:00")
    assert len(world.slurm.tasks) > started


def test_a_night_opened_by_hand_has_its_own_end_and_budget(world: World) -> None:
    grid = world.grid(budget=100.0)
    night = nightly.run_now(world.place, grid, 2 * HOUR, world.slurm.clock)
    (passed,) = world.one_pass()
    assert len(passed.submitted) == 4 and night.id == "weekly/2026-11-16.1"
    world.until("2026-11-16 14:00", on=False)
    assert not world.slurm.alive()
    world.until("2026-11-16 15:00")
    (row,) = world.history(grid)
    assert row["state"] == "closed" and row["workers"] == 4
    assert nightly.run_now(world.place, grid, None, world.slurm.clock).night == "2026-11-16.2"


def test_a_removed_grid_lets_the_sweep_go_and_keeps_its_history(world: World) -> None:
    grid = world.grid()
    world.until("2026-11-17 12:00")
    kept = nights.remove(world.place, grid)
    assert (kept / "2026-11-16.closed.json").exists()
    assert world.one_pass() == []
    revision = registered(world.place, [])
    reader, submitter = world.reader(world.place, revision), world.submitter(world.place, revision.sweep)
    result = tick(reader, submitter, clock=world.slurm.clock)
    assert result.submitted and result.closed is None
    with pytest.raises(UsageError, match="no such nightly grid"):
        nights.named(world.place, "weekly")


def test_a_controller_that_is_gone_at_the_opening_is_asked_again(world: World) -> None:
    world.grid()
    world.until("2026-11-16 19:55")
    world.slurm.down = True
    world.until("2026-11-16 21:25")
    assert not world.slurm.tasks
    world.slurm.down = False
    world.until("2026-11-17 12:00")
    assert world.slurm.tasks and world.hours_outside() == []


def test_what_goes_wrong_with_one_sweep_keeps_no_other_from_its_night(world: World) -> None:
    sweep(world, 3, "bad", partition="lov")
    world.grid("bad", "bad")
    world.grid()
    world.slurm.advance(9 * HOUR)
    bad, good = world.one_pass()
    assert bad.trouble is not None and "invalid partition" in bad.trouble
    assert good.submitted


def test_a_second_grid_of_the_same_name_is_refused(world: World) -> None:
    grid = world.grid()
    with pytest.raises(UsageError, match="there is a nightly grid of this name"):
        nights.add(world.place, grid)
    with pytest.raises(UsageError, match="no name"):
        nights.add(world.place, nights.Grid("a/b", "study", "20:00-07:00", "daily", "UTC"))


def test_a_damaged_grid_keeps_no_other_from_its_night(world: World) -> None:
    world.grid()
    world.grid("broken", "other")
    (world.place.nights / "broken" / "grid.json").write_text("{")
    world.until("2026-11-16 20:30")
    broken, weekly = world.one_pass()
    assert (broken.grids, broken.sweep) == (["broken"], "") and "grid.json" in str(broken.trouble)
    assert (weekly.grids, weekly.trouble, weekly.closed) == (["weekly"], None, None)
    assert world.slurm.tasks, "its workers were started"
    with pytest.raises(IntegrityError, match=r"grid\.json"):
        nights.of_sweep(world.place, "other")  # it may run in the nights of that grid only
