"""Trials side by side in one worker: whatever befalls one leaves the others alone, and what is free is taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.definition.plan import PlannedTrial, Shape
from core.run import child, worker
from core.run.attempt import Place, Work
from core.run.leaving import Allocation, AskScheduler, Word
from core.run.orders import Orders
from core.run.packing import Allotted
from core.run.passing import Start
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter, read_lines
from core.workspace.layout import Attempt, Scoring, Trial, Workspace
from core.workspace.registration import register

TWO = Shape(gpus=2)


def plan(count: int, score: Shape | None = None) -> list[PlannedTrial]:
    evaluate = ({"benchmark": {"name": "generated_images"}, "revision": "1"},) if score else ()
    return [PlannedTrial(f"{n:032x}", {"seed": n}, 0, {}, TWO, score or TWO, evaluate) for n in range(1, count + 1)]


def until_told(workspace: Workspace, work: Work, attempt: Attempt, place: Place) -> int:
    """A trial that ends when a file says so, or when it is told to leave; a scoring ends at once."""
    journal = JournalWriter(attempt.journal)
    told: list[int] = []
    signal.signal(signal.SIGUSR2, lambda number, frame: told.append(number))
    visible = os.environ["CUDA_VISIBLE_DEVICES"]
    journal.write("started", attempt=attempt.number, resumed=None, visible=visible, kind_of_work=work.kind)
    if isinstance(scoring := work.unit(workspace), Scoring):
        scoring.summary.write_text("{}")
    else:
        while not told and not (workspace.root / f"end-{attempt.folder.parents[1].name}").exists():
            time.sleep(0.02)
        if told:
            journal.write("ended", state=place.allocation.why(told[0]), ask="time_limit")
            return 0
        publish_folder(attempt.folder.parents[1] / "result", attempt.folder / ".result", lambda made: (made / "metrics.json").touch(), {})
    journal.write("ended", state="completed")
    return 0


@contextmanager
def working(
    workspace: Workspace,
    trials: list[PlannedTrial],
    start_pass: Start | None = None,
    pause: float = 60.0,
    scheduler: AskScheduler | None = None,
    **more: Any,
) -> Iterator[int]:
    """A worker with four GPUs, in a process of its own: room for two trials; yields its pid."""
    meta = {"digest": "s", "name": "s", "project": "s", "rehearsal": False}
    register(workspace, workspace.sweep("s"), meta=meta, definition="", code=[], trials=trials)
    folder = workspace.jobs / "rs-s-0001"
    folder.mkdir(parents=True)
    orders = Orders("rs-s-0001", folder, "s", TWO, 2, "cpu", 0.5, slots=2, allotted=Allotted(4, 4, None))
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.environ["CUDA_VISIBLE_DEVICES"] = "GPU-a,GPU-b,GPU-c,GPU-d"
            worker.problems_here = lambda needs: []
            worker.LOOK_SECONDS = 0.1
            worker.TICK_SECONDS = pause
            child.perform = until_told  # type: ignore[assignment]
            worker.Worker(workspace, replace(orders, **more), start_pass, scheduler).run()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    try:
        yield pid
    finally:
        deadline = time.monotonic() + 30
        while not os.waitpid(pid, os.WNOHANG)[0]:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)


def wait_for(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def lines(trial: Trial, attempt: int) -> list[dict[str, Any]]:
    file = trial.folder / "attempts" / f"{attempt:04d}" / "journal.jsonl"
    return read_lines(file)[0] if file.exists() else []


def left(workspace: Workspace) -> dict[str, Any]:
    return dict(json.loads((workspace.jobs / "rs-s-0001" / "left.json").read_text()))


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "runs", create=True)


def test_a_killed_child_is_followed_by_the_next_attempt_while_its_neighbour_goes_on(place: Workspace) -> None:
    first, second, third = (place.trial(planned.id) for planned in plan(3))
    with working(place, plan(3)):
        wait_for(lambda: lines(second, 1) and lines(third, 1))  # from an offset of its own
        assert sorted(lines(trial, 1)[0]["visible"] for trial in (second, third)) == ["GPU-a,GPU-b", "GPU-c,GPU-d"]
        assert not lines(first, 1), "there is room for two"
        os.kill(next(a for a in second.attempts()).owner()["pid"], signal.SIGKILL)
        # what the dead one leaves is taken up at once, with its GPUs
        wait_for(lambda: any(lines(trial, number) for trial, number in ((first, 1), (second, 2))))
        assert [line["kind"] for line in lines(third, 1)] == ["started"]
        for trial in (first, second, third):
            (place.root / f"end-{trial.folder.name}").touch()
    ended = lines(second, 1)[-1]
    assert (ended["state"], ended["cause"]) == ("failed", "killed")
    assert [len(trial.attempts()) for trial in (first, second, third)] == [1, 2, 1]
    assert left(place) == left(place) | {"reason": "nothing left to claim", "done": 4}


def test_a_scoring_that_asks_for_less_runs_in_what_is_left_free(place: Workspace) -> None:
    trials = plan(2, score=Shape(gpus=1))
    first, second = (place.trial(planned.id) for planned in trials)
    (place.root / f"end-{first.folder.name}").touch()
    with working(place, trials):
        (scored,) = wait_for(lambda: list(first.folder.glob("scores/*/attempts/0001/journal.jsonl")))
        assert [line["kind"] for line in lines(second, 1)] == ["started"], "beside a trial that goes on"
        (place.root / f"end-{second.folder.name}").touch()
    assert len(read_lines(scored)[0][0]["visible"].split(",")) == 1
    assert left(place)["done"] == 6, "two trials, a scoring of each, and two baselines"


def test_at_the_end_of_a_night_each_leaves_at_its_own_moment_and_nothing_is_taken_up(place: Workspace) -> None:
    trials = plan(3)
    grid = place.nights / "g"
    grid.mkdir(parents=True)
    (grid / "grid.json").touch()
    now = time.time()
    night = Allocation(leave=now + 3, claim=now + 2.5, leaves=(now + 4.5, now + 3), grid=grid)
    with working(place, trials, allocation=night):
        pass
    ends = sorted(lines(place.trial(planned.id), 1)[-1]["t"] for planned in trials if lines(place.trial(planned.id), 1))
    assert len(ends) == 2 and ends[0] >= now + 3 and ends[1] >= now + 4.5
    assert left(place)["reason"] == "its night ends"
    states = {lines(place.trial(planned.id), 1)[-1].get("state") for planned in trials if lines(place.trial(planned.id), 1)}
    assert states == {"time_limit"}


def test_a_warning_reaches_all_of_them(place: Workspace) -> None:
    trials = plan(2)
    with working(place, trials, allocation=Allocation(warned=1e9, began=time.time())) as pid:
        wait_for(lambda: all(lines(place.trial(planned.id), 1) for planned in trials))
        os.kill(pid, signal.SIGUSR2)
    assert [lines(place.trial(planned.id), 1)[-1]["state"] for planned in trials] == ["preempted", "preempted"]
    assert left(place)["reason"] == "signal SIGUSR2"


def test_shortly_before_the_time_limit_nothing_further_is_taken_up(place: Workspace) -> None:
    """What it takes up first it takes up in any case: else a job that comes late would be followed by others that come late."""
    trials = plan(3)
    for trial in trials:
        (place.root / f"end-{trial.id}").touch()
    near = Allocation(warned=3450.0, began=time.time() - 3300, job_id="7_0", limit=3600.0)
    with working(place, trials, allocation=near):
        pass
    assert left(place) | {"reason": "", "t": 0} == {"reason": "", "done": 2, "t": 0} and "time limit is near" in left(place)["reason"]
    had = [attempt.owner()["left"] for trial in trials for attempt in place.trial(trial.id).attempts()]
    assert len(had) == 2 and all(200 < seconds <= 300 for seconds in had), "what each had is written down"


def test_a_short_worker_that_scores_first_trains_all_the_same(place: Workspace) -> None:
    """It would be followed by others that score a baseline, find their limit near, and leave."""
    (trial,) = plan(1, score=TWO)
    (place.root / f"end-{trial.id}").touch()
    short = Allocation(warned=3450.0, began=time.time(), job_id="7_0", limit=3600.0, useful=3500.0)
    with working(place, [trial], slots=1, allocation=short):
        pass
    assert lines(place.trial(trial.id), 1)[-1]["state"] == "completed" and "time limit is near" in left(place)["reason"]


def passing(workspace: Workspace) -> Start:
    """A pass that takes a while, and writes down whether the worker had left when it began."""
    folder = workspace.jobs / "rs-s-0001"
    code = "import os, sys, time; left = os.path.exists('left.json'); time.sleep(0.3); print(left, file=open('pass', 'a'))"
    return lambda: subprocess.Popen([sys.executable, "-c", code], cwd=folder)


def test_a_worker_that_is_warned_makes_a_last_pass_and_waits_for_it(place: Workspace) -> None:
    """It may be the last one: a pass in the background would end with it, and the sweep would stop for good."""
    trials = plan(1)
    given = Allocation(warned=60.0, began=time.time(), job_id="7_0", limit=3600.0)
    with working(place, trials, passing(place), allocation=given) as pid:
        wait_for(lambda: lines(place.trial(trials[0].id), 1))
        os.kill(pid, signal.SIGUSR2)
    assert (place.jobs / "rs-s-0001" / "pass").read_text().split() == ["True"], "it had left, and it waited"


def test_passes_are_made_while_trials_run(place: Workspace) -> None:
    """A canary has shown enough after a few steps, and only a pass starts those that wait for it."""
    (trial,) = plan(1)
    with working(place, [trial], passing(place), pause=0.2) as pid:
        wait_for((place.jobs / "rs-s-0001" / "pass").exists)
        assert len(place.trial(trial.id).attempts()) == 1 and not place.trial(trial.id).result.exists()
        os.kill(pid, signal.SIGUSR2)


def test_a_worker_outside_of_the_step_leaves_where_only_the_ranks_were_told_to(place: Workspace) -> None:
    """SLURM without a warning before a preemption signals the steps alone; a second attempt would begin in the grace time."""
    (trial,) = plan(1)
    given = Allocation(warned=60.0, began=time.time(), job_id="7_0", limit=3600.0)
    with working(place, [trial], passing(place), allocation=given, step=("srun",)):
        wait_for(lambda: lines(place.trial(trial.id), 1))
        os.kill(place.trial(trial.id).attempts()[0].owner()["pid"], signal.SIGUSR2)
    assert left(place)["reason"] == "its ranks were told to leave (preempted)" and len(place.trial(trial.id).attempts()) == 1
    assert (place.jobs / "rs-s-0001" / "pass").read_text().split() == ["True"]


@pytest.mark.parametrize("word", [Word(ending=True), Word(preempted=True), None], ids=["cancelled", "preempted", "silent"])
def test_only_a_worker_that_somebody_cancels_sends_no_other(place: Workspace, word: Word | None) -> None:
    (trial,) = plan(1)
    given = Allocation(warned=60.0, began=time.time(), job_id="7_0", limit=3600.0)
    with working(place, [trial], passing(place), scheduler=lambda: word, allocation=given) as pid:
        wait_for(lambda: lines(place.trial(trial.id), 1))
        os.kill(pid, signal.SIGTERM)
    assert len(place.trial(trial.id).attempts()) == 1
    state = lines(place.trial(trial.id), 1)[-1]["state"]
    assert state == ("preempted" if word is not None and word.preempted else "interrupted")
    assert (place.jobs / "rs-s-0001" / "pass").exists() == (word != Word(ending=True))


def test_there_is_no_last_pass_where_nothing_is_left_to_do(place: Workspace) -> None:
    (trial,) = plan(1)
    (place.root / f"end-{trial.id}").touch()
    with working(place, [trial], passing(place)):
        pass
    assert left(place)["reason"] == "nothing left to claim" and not (place.jobs / "rs-s-0001" / "pass").exists()


def test_a_worker_that_somebody_ends_on_his_own_machine_is_not_replaced(place: Workspace) -> None:
    (trial,) = plan(1)
    with working(place, [trial], passing(place)) as pid:
        wait_for(lambda: lines(place.trial(trial.id), 1))
        os.kill(pid, signal.SIGTERM)
    assert left(place)["reason"] == "signal SIGTERM" and not (place.jobs / "rs-s-0001" / "pass").exists()
