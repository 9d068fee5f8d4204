"""Submission and the life of a worker's job, on a SLURM whose clock is wound forward."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task
from toy_worker import plan_of, registered

from core.control.jobs import jobs_of, names_of
from core.control.ports import Submit
from core.control.tick import SweepReader, tick
from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.workspace.launched import note_launch
from core.workspace.layout import Workspace
from slurm.cluster import RETRY_SECONDS, SlurmSubmitter
from slurm.local import LocalSubmitter
from slurm.polling import Reply, SlurmScheduler
from slurm.profile import Cluster, Profile
from sweeps import wiring
from sweeps.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]


def works(task: Task) -> Iterator[float]:
    """Half an hour of work, left at the warning."""
    yield 1800.0
    if task.signals:
        return


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    return FakeSlurm(tmp_path, monkeypatch, works, array_size=3)


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace.open(workspace, create=True)


def submitter(place: Workspace, slurm: FakeSlurm, **profile: object) -> SlurmSubmitter:
    cluster = Cluster("test", Profile.model_validate({"kind": "slurm", **profile}))
    return SlurmSubmitter(place, cluster, "nowhere:main", ask=slurm.ask, clock=slurm.clock, wall=slurm.clock)


def refused(place: Workspace, slurm: FakeSlurm, words: str) -> SlurmSubmitter:
    """A submitter whose every sbatch is refused with these words."""
    reply = Reply(1, "", words)
    return SlurmSubmitter(
        place, Cluster("test", Profile(kind="slurm")), "nowhere:main", clock=slurm.clock,
        ask=lambda command: reply if "sbatch" in command else slurm.ask(command),
    )  # fmt: skip


def states(place: Workspace, scheduler: SlurmScheduler) -> list[tuple[bool, str | None]]:
    jobs = jobs_of(place, "s")
    answers = scheduler.poll(jobs)
    return [(answers[job.key].alive, answers[job.key].ended) for job in jobs]


def test_workers_above_the_array_size_are_several_arrays(place: Workspace, slurm: FakeSlurm) -> None:
    assert len(submitter(place, slurm).submit("s", 1, Submit(Shape(gpus=1), 5))) == 5
    assert [task.id for task in slurm.tasks] == ["10_0", "10_1", "10_2", "11_0", "11_1"]
    assert [job.job_id for job in jobs_of(place, "s")] == [task.id for task in slurm.tasks]
    assert all(task.name.startswith("rs-s-000") and task.gpus == 1 for task in slurm.tasks)


def test_a_full_queue_takes_what_fits_and_the_rest_later(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.submit_limit = 3
    given = submitter(place, slurm)
    assert len(given.submit("s", 1, Submit(Shape(), 5))) == 3
    assert given.trouble is not None and "queue is full" in given.trouble
    asked = len(slurm.asked)
    assert given.submit("s", 1, Submit(Shape(), 2)) == [], "it waits before it asks again"
    assert len(slurm.asked) == asked
    slurm.advance(3600)
    assert len(given.submit("s", 1, Submit(Shape(), 2))) == 2


def test_a_controller_that_does_not_answer_leaves_the_folders_for_a_poll(place: Workspace, slurm: FakeSlurm) -> None:
    given = submitter(place, slurm)
    given.array_size()
    slurm.down = True
    assert given.submit("s", 1, Submit(Shape(), 2)) == []
    assert len(jobs_of(place, "s")) == 2
    scheduler = SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)
    assert [answer.alive for answer in scheduler.poll(jobs_of(place, "s")).values()] == [True, True], "silence"
    slurm.down = False
    slurm.advance(RETRY_SECONDS)
    assert scheduler.poll(jobs_of(place, "s")) == {}, "the queue has no array of this name: it never arrived"
    assert len(given.submit("s", 1, Submit(Shape(), 2))) == 2


def test_what_slurm_refuses_as_such_is_an_error_and_leaves_nothing(
    place: Workspace, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = refused(place, slurm, "sbatch: error: invalid partition specified: lov")
    with pytest.raises(EnvironmentFault, match="SLURM refuses the workers") as caught:
        given.submit("s", 1, Submit(Shape(), 1))
    assert caught.value.found == "invalid partition specified: lov"
    assert jobs_of(place, "s") == []


@pytest.mark.parametrize("limit", ["QOSMaxWallDurationPerJobLimit", "QOSMaxGRESPerUser", "AssocMaxWallDurationPerJobLimit"])
def test_a_job_that_no_limit_will_ever_allow_is_an_error_and_no_full_queue(place: Workspace, slurm: FakeSlurm, limit: str) -> None:
    # the words of a real SLURM 22.05
    text = "Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
    given = refused(place, slurm, f"sbatch: error: {limit}\nsbatch: error: {text}")
    with pytest.raises(EnvironmentFault, match="SLURM refuses the workers") as caught:
        given.submit("s", 1, Submit(Shape(), 5))
    assert limit in (caught.value.found or "")


def test_a_queue_that_was_full_is_tried_with_one(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.submit_limit = 1
    given = submitter(place, slurm)
    assert len(given.submit("s", 1, Submit(Shape(), 64))) == 1
    for _ in range(3):
        before = slurm.asked.count("sbatch")
        slurm.advance(RETRY_SECONDS)
        slurm.tasks[0].state = "RUNNING"
        assert given.submit("s", 1, Submit(Shape(), 63)) == []
        assert slurm.asked.count("sbatch") == before + 1, "not six halves of it"


def test_of_two_passes_over_the_same_state_one_starts_workers(place: Workspace, slurm: FakeSlurm) -> None:
    one, other = submitter(place, slurm), submitter(place, slurm)
    assert len(one.submit("s", 1, Submit(Shape(), 4), after=0)) == 4
    assert other.submit("s", 1, Submit(Shape(), 4), after=0) == [], "it decided before it could know of those"
    assert len(other.submit("s", 1, Submit(Shape(), 2), after=4)) == 2
    assert len(slurm.tasks) == 6


def test_on_this_machine_too_one_of_two_passes_starts_workers(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalSubmitter, "_start", lambda self, folder: None)
    one, other = LocalSubmitter(place, "nowhere:main", 4), LocalSubmitter(place, "nowhere:main", 4)
    assert len(one.submit("s", 1, Submit(Shape(), 2), after=0)) == 2
    assert other.submit("s", 1, Submit(Shape(), 2), after=0) == []
    assert len(other.submit("s", 1, Submit(Shape(), 1), after=2)) == 1


def test_workers_that_died_without_a_word_do_not_fill_the_queue_for_ever(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.nodes = {"node1": 8}
    given = submitter(place, slurm, limits={"submitted": 4}, time="1h")
    assert len(given.submit("other", 1, Submit(Shape(), 4))) == 4
    assert given.submit("s", 1, Submit(Shape(), 2)) == []
    assert given.trouble == "4 workers of this workspace wait or run, limits.submitted is 4"
    slurm.advance(7200)
    assert not any((place.jobs / name / "ended.json").exists() for name in names_of(place)), "nobody has asked for them"
    assert len(given.submit("s", 1, Submit(Shape(), 2))) == 2


def test_the_life_of_a_job_from_waiting_to_its_end(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.nodes = {"node1": 1}
    submitter(place, slurm, time="1h").submit("s", 1, Submit(Shape(gpus=1), 2))
    scheduler = SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)
    slurm.advance(60)
    assert [task.state for task in slurm.tasks] == ["RUNNING", "PENDING"]
    assert states(place, scheduler) == [(True, None), (True, None)]
    slurm.advance(1800)
    assert states(place, scheduler) == [(False, "lost"), (True, None)], "an end without a word"
    slurm.preempt(slurm.tasks[1])
    slurm.advance(60)
    assert [task.state for task in slurm.tasks] == ["COMPLETED", "COMPLETED"], "the program left at the warning"


def test_a_worker_is_warned_before_its_limit_and_killed_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Workspace) -> None:
    seen: list[float] = []

    def deaf(task: Task) -> Iterator[float]:
        while True:
            yield 1e9
            seen.append(slurm.now - (task.began or 0))

    slurm = FakeSlurm(tmp_path, monkeypatch, deaf)
    submitter(place, slurm, time="10min", signal_lead="2min").submit("s", 1, Submit(Shape(), 1))
    slurm.advance(3600)
    assert seen == [480.0]
    assert slurm.tasks[0].state == "TIMEOUT" and (slurm.tasks[0].ended or 0) - (slurm.tasks[0].began or 0) == 600
    assert states(place, SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)) == [(False, "time_limit")]


def test_no_worker_asks_for_more_than_its_partition_allows(place: Workspace, slurm: FakeSlurm) -> None:
    """SLURM takes such a job and lets it wait for ever (PartitionTimeLimit)."""
    slurm.partition["MaxTime"] = "06:00:00"
    given = submitter(place, slurm)
    assert given.room(Shape(time=86_400.0)).seconds == 6 * 3600
    given.submit("s", 1, Submit(Shape(time=86_400.0), 1))
    given.submit("s", 1, Submit(Shape(), 1))
    submitter(place, slurm, max_time="2h").submit("s", 1, Submit(Shape(time=86_400.0), 1))
    assert [task.options["time"] for task in slurm.tasks] == ["360", "240", "120"]
    record = json.loads((place.jobs / "rs-s-0001" / "job.json").read_text())
    assert (record["limit"], record["usual"], record["most"]) == (21_600.0, 21_600.0, 21_600.0)


def test_jobs_of_a_node_that_dies_come_back_only_where_the_profile_says_so(place: Workspace, slurm: FakeSlurm) -> None:
    submitter(place, slurm, sbatch={"requeue": "true"}).submit("s", 1, Submit(Shape(gpus=1), 1))
    submitter(place, slurm).submit("t", 1, Submit(Shape(gpus=1), 1))
    slurm.advance(10)
    slurm.fail_node("node1")
    assert [task.state for task in slurm.tasks] == ["PENDING", "NODE_FAIL"]
    slurm.advance(10)
    assert (slurm.tasks[0].state, slurm.tasks[0].restart) == ("RUNNING", 1)
    assert json.loads((place.jobs / "rs-s-0001" / "job.json").read_text())["requeue"] is True


def test_timers_and_workers_that_pass_by_give_up_on_an_installation_that_starts_nothing(place: Workspace, slurm: FakeSlurm) -> None:
    revision = registered(place, plan_of(4, Shape()))
    given: list[int] = []
    reason = None
    while reason is None and len(given) < 6:
        # each pass is a process of its own
        reader = SweepReader(place, revision, SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock))
        result = tick(reader, submitter(place, slurm, limits={"workers": 2}), clock=slurm.clock)
        reason = result.stopped.reason if result.stopped is not None else None
        given.append(len(result.submitted))
        slurm.advance(1900)  # SLURM starts them, and they end without a word
    assert given == [2, 2, 0] and reason is not None and "3 workers in a row" in reason
    note_launch(revision.sweep, None)
    slurm.advance(60)
    reader = SweepReader(place, revision, SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock))
    assert tick(reader, submitter(place, slurm), clock=slurm.clock).submitted, "a launch after the mend begins anew"


def test_a_launch_with_two_workers_stays_one_with_two(place: Workspace, slurm: FakeSlurm) -> None:
    revision = registered(place, plan_of(1, Shape()))
    Cluster("test", Profile(kind="slurm")).save(revision.sweep)
    note_launch(revision.sweep, 2)
    shape = Shape()
    assert wiring.submitter(place, revision.sweep).capacity(shape) == 2, "for whoever makes the pass"
    assert wiring.submitter(place, revision.sweep, 3).capacity(shape) == 3
    note_launch(revision.sweep, None)
    assert wiring.submitter(place, revision.sweep).capacity(shape) == 64


def test_a_worker_that_is_warned_of_its_limit_while_it_warms_up_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "rs-s-0001"
    folder.mkdir()
    (folder / "array.json").write_text(json.dumps({"tasks": [folder.name]}))
    left_behind = "if __name__ == '__main__':\n    pathlib.Path('pass').write_text(sys.argv[1])\n    sys.exit()\n"
    warms_up = "pathlib.Path('warming').touch()\ntime.sleep(60)\n"
    (tmp_path / "slow_start.py").write_text(f"import pathlib, sys, time\n{left_behind}{warms_up}")
    orders = {"entry": "slow_start:main", "array": {"name": "rs-s-0001-a", "task": 0}, "gpus": [], "limit": 120.0}
    for warned, unfit in ((30.0, True), (3600.0, False)):
        (folder / "job.json").write_text(json.dumps({**orders, "warned": warned}))
        environment = {
            **os.environ, "SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "7", "SWEEP_JOB_BEGAN": str(int(time.time()) - 60),
            "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)]),
        }  # fmt: skip
        worker = subprocess.Popen([sys.executable, "-m", "slurm.start_array", str(folder)], env=environment, cwd=tmp_path)
        end = time.monotonic() + 60
        while not (tmp_path / "warming").exists():
            assert worker.poll() is None and time.monotonic() < end
            time.sleep(0.01)
        worker.send_signal(signal.SIGUSR2)
        assert worker.wait(60) == 0
        left = json.loads((folder / "left.json").read_text())
        assert left["unfit"] is unfit and ("its time limit of 2 minutes is too short" in left["reason"]) is unfit
        assert (tmp_path / "pass").read_text() == str(folder), "it may have been the last: a pass sends the next"
        (tmp_path / "warming").unlink()
        (tmp_path / "pass").unlink()


def test_tasks_that_were_forgotten_while_their_array_lives_are_known_to_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Workspace
) -> None:
    """Without accounting, and with nobody there to poll before SLURM forgot them (said by 22.05: ``Job 10_0 not found``)."""

    def lasting(task: Task) -> Iterator[float]:
        yield 1e6

    slurm = FakeSlurm(tmp_path, monkeypatch, lasting, nodes={"node1": 8}, accounting=False)
    submitter(place, slurm, time="12h").submit("s", 1, Submit(Shape(gpus=1), 8))
    slurm.advance(60)
    for task in slurm.tasks[:5]:
        slurm._end(task, "NODE_FAIL")
    slurm.advance(3600)
    scheduler = SlurmScheduler(6, ask=slurm.ask, clock=slurm.clock)
    jobs = jobs_of(place, "s")
    before = len(slurm.asked)
    answers = scheduler.poll(jobs)
    assert [answers[job.key].ended for job in jobs] == [*["lost"] * 3, None, None, None, None, None]
    assert all(answers[job.key].alive for job in jobs[3:])
    assert slurm.asked[before:].count("scontrol") == 4, "the array, and so many of its tasks as one pass may ask about"
    slurm.advance(60)
    assert [scheduler.poll(jobs)[job.key].alive for job in jobs] == [*[False] * 5, *[True] * 3]
    assert "purged" in scheduler.poll(jobs)[jobs[4].key].evidence


def test_a_tick_over_all_sweeps_goes_on_past_one_that_slurm_refuses(
    place: Workspace, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        registered(place, plan_of(1, Shape()), name)
    monkeypatch.setattr(wiring, "reader", lambda at, revision: SweepReader(at, revision, SlurmScheduler(60, slurm.ask, slurm.clock)))
    monkeypatch.setattr(
        wiring, "submitter", lambda at, sweep, *more: submitter(place, slurm, partition="gone" if sweep.id == "b" else "gpu")
    )
    assert app(["tick", "--files-only", "--json"], standalone_mode=False) == 3
    rows = json.loads(capsys.readouterr().out)
    assert [(row["sweep"], len(row["submitted"])) for row in rows] == [("a", 1), ("b", 0), ("c", 1)]
    assert [row["error"] is None for row in rows] == [True, False, True] and "invalid partition" in rows[1]["error"]
    assert app(["tick", "--files-only"], standalone_mode=False) == 3
    assert "error: b: SLURM refuses the workers" in capsys.readouterr().err
    with pytest.raises(EnvironmentFault, match="refuses"):
        app(["tick", "b", "--files-only"], standalone_mode=False)
