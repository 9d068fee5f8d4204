"""Queued workers with nothing left to do are withdrawn, and a worker is warned early enough for its checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task

from core.control.decide import Finish, Limits, SweepState, TrialStatus, Withdraw, decide
from core.control.derive import UnitStatus
from core.control.jobs import jobs_of
from core.control.ports import Job, JobAnswer, Shown, Submit
from core.definition.plan import PlannedTrial, Shape
from core.workspace.layout import Workspace
from slurm.cluster import RETRY_SECONDS, SlurmSubmitter, sized
from slurm.polling import SlurmScheduler
from slurm.profile import Cluster, Profile

CPU = Shape()
BIG = Shape(gpus=8)


def works(task: Task) -> Iterator[float]:
    yield 600.0


def trial(state: str, shape: Shape = CPU) -> TrialStatus:
    planned = PlannedTrial(id="0" * 32, cell={}, seed=0, config={}, shape=shape)
    return TrialStatus(planned, UnitStatus(state, claimable=state == "pending"))  # type: ignore[arg-type]


def job(number: int, shape: Shape, *, started: bool = False, silent: bool = False) -> tuple[Job, JobAnswer]:
    return Job(f"rs-s-{number:04d}", "s", 1, shape, started=started), JobAnswer(alive=True, silent=silent)


def withdrawn(*trials: TrialStatus, jobs: list[tuple[Job, JobAnswer]]) -> list[str]:
    actions = decide(SweepState(trials, {}, jobs), Limits(4), 0.0)
    return [job.key for action in actions if isinstance(action, Withdraw) for job in action.jobs]


def test_only_workers_that_wait_for_nothing_are_withdrawn() -> None:
    jobs = [job(1, CPU), job(2, BIG), job(3, BIG, started=True), job(4, BIG, silent=True)]
    assert withdrawn(trial("pending"), trial("completed", BIG), jobs=jobs) == ["rs-s-0002"]
    assert withdrawn(trial("running", BIG), trial("pending"), jobs=jobs) == [], "it may be needed if the one that runs is preempted"
    assert withdrawn(trial("completed"), jobs=jobs) == ["rs-s-0001", "rs-s-0002"]


def test_the_end_of_a_sweep_withdraws_before_it_says_so() -> None:
    first, second = decide(SweepState([trial("completed")], {}, [job(1, CPU)]), Limits(4), 0.0)
    assert isinstance(first, Withdraw) and second == Finish(complete=True)
    assert decide(SweepState([trial("pending")], {}, []), Limits(4), 0.0) == [Submit(CPU, 1)]


def test_a_withdrawn_worker_leaves_the_queue_and_is_asked_for_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    slurm = FakeSlurm(tmp_path, monkeypatch, works, nodes={"node1": 1})
    place = Workspace.open(workspace, create=True)
    submitter = SlurmSubmitter(place, Cluster("test", Profile(kind="slurm")), "nowhere:main", ask=slurm.ask, clock=slurm.clock)
    submitter.submit("s", 1, Submit(CPU, 3))
    slurm.advance(10)
    scheduler = SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)
    waiting = [found for found in jobs_of(place, "s") if next(t for t in slurm.tasks if t.id == found.job_id).state == "PENDING"]
    submitter.withdraw(waiting)
    submitter.withdraw(waiting)
    assert slurm.asked.count("scancel") == 1
    assert [task.state for task in slurm.tasks] == ["RUNNING", "CANCELLED", "CANCELLED"]
    answers = scheduler.poll(jobs_of(place, "s"))
    assert [answers[found.key].ended for found in jobs_of(place, "s")] == [None, "interrupted", "interrupted"]
    slurm.advance(RETRY_SECONDS)
    submitter.withdraw(waiting)
    assert slurm.asked.count("scancel") == 2


def test_a_worker_is_warned_three_checkpoints_ahead_and_never_in_the_first_half() -> None:
    profile = Profile.model_validate({"kind": "slurm", "time": "1h"})
    assert sized(profile, Shown(saving=10.0), CPU).signal_lead == 90.0
    assert sized(profile, Shown(saving=100.0), CPU).signal_lead == 300.0
    assert sized(profile, Shown(saving=5000.0), CPU).signal_lead == 1800.0


def test_a_worker_asks_for_the_time_that_its_trials_need_where_that_is_left_to_us() -> None:
    profile = Profile.model_validate({"kind": "slurm", "time": "4h"})
    assert sized(profile, Shown(), CPU).time == 4 * 3600
    assert sized(profile, Shown(trial=600.0, each=4), CPU).time == 1.5 * 600 * 4 + 90 + 300
    assert sized(profile, Shown(trial=10.0), CPU).time == 900, "not shorter than starting it is worth"
    assert sized(profile, Shown(trial=36000.0), CPU).time == 4 * 3600, "a longer trial goes on in the next worker"
    assert sized(profile, Shown(trial=600.0), Shape(time=7200.0)).time == 4 * 3600, "the definition says the time"
