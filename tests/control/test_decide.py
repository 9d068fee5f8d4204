"""The one decision: how many workers to start, when the sweep has ended, when to stop trying."""

from __future__ import annotations

from dataclasses import replace

from core.control.decide import Finish, Limits, StopDispatch, SweepState, TrialStatus, decide
from core.control.derive import UnitStatus
from core.control.ports import Grant, Job, JobAnswer, Room, Submit
from core.definition.plan import PlannedTrial, Shape

CPU = Shape()


def trial(state: str, number: int = 0, shape: Shape = CPU) -> TrialStatus:
    planned = PlannedTrial(id=f"{number:032x}", cell={}, seed=0, config={}, shape=shape)
    return TrialStatus(planned, UnitStatus(state, claimable=state == "pending"))  # type: ignore[arg-type]


def sweep(*trials: TrialStatus, jobs: list[tuple[Job, JobAnswer]] | None = None, held: bool = False) -> SweepState:
    return SweepState(trials, {}, jobs or [], held)


def job(number: int, *, alive: bool, started: bool = True) -> tuple[Job, JobAnswer]:
    return Job(f"rs-s-{number:04d}", "s", 1, CPU, started=started), JobAnswer(alive, None if alive else "lost", "no process")


def test_workers_that_run_trials_side_by_side_are_as_many_as_the_trials_fill() -> None:
    eight = {CPU: Room(slots=8, gpus=8)}
    trials = [trial("pending", i) for i in range(20)]
    assert decide(sweep(*trials), Limits(64, rooms=eight), 0.0) == [Submit(CPU, 3)]
    assert decide(sweep(*trials), Limits(2, rooms=eight), 0.0) == [Submit(CPU, 2)]
    one = replace(job(1, alive=True)[0], slots=8), JobAnswer(alive=True)
    assert decide(sweep(*trials, jobs=[one]), Limits(64, rooms=eight), 0.0) == [Submit(CPU, 2)], "one is there for eight of them"
    running = [trial("running", i) for i in range(8)]
    assert decide(sweep(*running, trial("pending", 9), jobs=[one]), Limits(64, rooms=eight), 0.0) == [Submit(CPU, 1)]
    assert decide(sweep(*running[:7], trial("pending", 9), jobs=[one]), Limits(64, rooms=eight), 0.0) == [], "it has room for it"


def test_a_night_counts_the_gpus_of_the_whole_allocation() -> None:
    trials = [trial("pending", i) for i in range(40)]
    limits = Limits(64, grant=Grant("n/1", closes=3600.0, useful=60.0), left=20 * 3600.0, rooms={CPU: Room(slots=8, gpus=8, seconds=7200)})
    first, second = decide(sweep(*trials), limits, 0.0)
    assert isinstance(first, Submit) and isinstance(second, Submit)
    assert (first.count, second.count) == (2, 1), "five would fill them; the budget has two and a half for an hour"
    assert second.grant is not None and second.grant.seconds == 1800


def test_workers_are_started_for_what_is_open_up_to_the_limit() -> None:
    assert decide(sweep(*[trial("pending", i) for i in range(9)]), Limits(4), 0.0) == [Submit(CPU, 4)]
    assert decide(sweep(trial("pending")), Limits(4), 0.0) == [Submit(CPU, 1)]


def test_workers_that_live_are_counted_before_others_are_started() -> None:
    busy = [trial("running", 1), trial("running", 2), *[trial("pending", i) for i in range(3, 9)]]
    assert decide(sweep(*busy, jobs=[job(1, alive=True), job(2, alive=True)]), Limits(2), 0.0) == []
    assert decide(sweep(*busy, jobs=[job(1, alive=True), job(2, alive=False)]), Limits(2), 0.0) == [Submit(CPU, 1)]


def test_a_second_pass_over_the_same_state_asks_for_nothing_more() -> None:
    trials = [trial("pending", i) for i in range(3)]
    (first,) = decide(sweep(*trials), Limits(3), 0.0)
    assert isinstance(first, Submit)
    jobs = [job(i, alive=True, started=False) for i in range(first.count)]
    assert decide(sweep(*trials, jobs=jobs), Limits(3), 0.0) == []


def test_the_end_is_reached_when_nothing_can_move() -> None:
    assert decide(sweep(trial("completed"), trial("failed", 1)), Limits(2), 0.0) == [Finish(complete=False)]
    assert decide(sweep(trial("completed")), Limits(2), 0.0) == [Finish(complete=True)]
    assert decide(sweep(trial("blocked"), trial("completed", 1)), Limits(2), 0.0) == [Finish(complete=False)]


def test_an_unknown_trial_is_waited_for() -> None:
    assert decide(sweep(trial("unknown")), Limits(2), 0.0) == []


def test_hold_starts_nothing_and_ends_nothing() -> None:
    assert decide(sweep(trial("held"), held=True), Limits(2), 0.0) == []


def test_an_installation_that_starts_no_worker_is_not_tried_for_ever() -> None:
    jobs = [job(i, alive=False, started=False) for i in range(3)]
    (action,) = decide(sweep(trial("pending"), jobs=jobs), Limits(2), 0.0)
    assert isinstance(action, StopDispatch)
    assert action.job == "rs-s-0002"
    started = [*jobs[:2], job(2, alive=False, started=True)]
    assert decide(sweep(trial("pending"), jobs=started), Limits(2), 0.0) == [Submit(CPU, 1)]


def test_workers_whose_time_limit_comes_while_they_warm_up_are_not_started_for_ever() -> None:
    short = {"reason": "signal SIGUSR2 while it warmed up: its time limit of 1 minutes is too short", "done": 0, "unfit": True}
    jobs = [(replace(job(i, alive=False, started=False)[0], left=short), JobAnswer(False, "lost", short["reason"])) for i in range(3)]
    (action,) = decide(sweep(trial("pending"), jobs=jobs), Limits(2), 0.0)
    assert isinstance(action, StopDispatch) and "too short" in action.reason
    told = [(replace(known, left={"reason": "signal SIGTERM while it warmed up", "unfit": False}), answer) for known, answer in jobs]
    assert decide(sweep(trial("pending"), jobs=told), Limits(2), 0.0) == [Submit(CPU, 1)], "preempted: no fault of the installation"


def test_what_slurm_removes_from_a_nights_queue_says_nothing_of_the_installation() -> None:
    late = [
        (replace(job(i, alive=False, started=False)[0], details={"night": {"id": "n/1"}}), JobAnswer(False, "time_limit")) for i in range(3)
    ]
    assert decide(sweep(trial("pending"), jobs=late), Limits(2), 0.0) == [Submit(CPU, 1)]
    by_day = [(replace(known, details={}), answer) for known, answer in late]
    assert isinstance(decide(sweep(trial("pending"), jobs=by_day), Limits(2), 0.0)[0], StopDispatch)


def test_a_fault_of_yesterday_is_tried_again() -> None:
    jobs = [(replace(job(i, alive=False, started=False)[0], details={"created": 1000.0}), JobAnswer(False, "lost")) for i in range(3)]
    assert isinstance(decide(sweep(trial("pending"), jobs=jobs), Limits(2), 1000.0 + 3600)[0], StopDispatch)
    assert decide(sweep(trial("pending"), jobs=jobs), Limits(2), 1000.0 + 7 * 3600) == [Submit(CPU, 1)]


def test_each_shape_gets_workers_of_its_own() -> None:
    big = Shape(gpus=8)
    actions = decide(sweep(trial("pending", 1), trial("pending", 2, big)), Limits(5), 0.0)
    assert actions == [Submit(CPU, 1), Submit(big, 1)]
