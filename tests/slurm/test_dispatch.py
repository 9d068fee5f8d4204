"""Submission and the life of a worker's job, on a SLURM whose clock is wound forward."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_slurm import FakeSlurm, Task

from core.control.jobs import jobs_of
from core.definition.plan import Shape
from core.errors import EnvironmentFault
from core.workspace.layout import Workspace
from slurm.cluster import RETRY_SECONDS, SlurmSubmitter
from slurm.polling import Reply, SlurmScheduler
from slurm.profile import Cluster, Profile


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
    return SlurmSubmitter(place, cluster, "nowhere:main", ask=slurm.ask, clock=slurm.clock)


def states(place: Workspace, scheduler: SlurmScheduler) -> list[tuple[bool, str | None]]:
    jobs = jobs_of(place, "s")
    answers = scheduler.poll(jobs)
    return [(answers[job.key].alive, answers[job.key].ended) for job in jobs]


def test_workers_above_the_array_size_are_several_arrays(place: Workspace, slurm: FakeSlurm) -> None:
    assert len(submitter(place, slurm).submit("s", 1, Shape(gpus=1), 5)) == 5
    assert [task.id for task in slurm.tasks] == ["10_0", "10_1", "10_2", "11_0", "11_1"]
    assert [job.job_id for job in jobs_of(place, "s")] == [task.id for task in slurm.tasks]
    assert all(task.name.startswith("rs-s-000") and task.gpus == 1 for task in slurm.tasks)


def test_a_full_queue_takes_what_fits_and_the_rest_later(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.submit_limit = 3
    given = submitter(place, slurm)
    assert len(given.submit("s", 1, Shape(), 5)) == 3
    assert given.trouble is not None and "queue is full" in given.trouble
    asked = len(slurm.asked)
    assert given.submit("s", 1, Shape(), 2) == [], "it waits before it asks again"
    assert len(slurm.asked) == asked
    slurm.advance(3600)
    assert len(given.submit("s", 1, Shape(), 2)) == 2


def test_a_controller_that_does_not_answer_leaves_the_folders_for_a_poll(place: Workspace, slurm: FakeSlurm) -> None:
    given = submitter(place, slurm)
    given.array_size()
    slurm.down = True
    assert given.submit("s", 1, Shape(), 2) == []
    assert len(jobs_of(place, "s")) == 2
    scheduler = SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)
    assert [answer.alive for answer in scheduler.poll(jobs_of(place, "s")).values()] == [True, True], "silence"
    slurm.down = False
    slurm.advance(RETRY_SECONDS)
    assert scheduler.poll(jobs_of(place, "s")) == {}, "the queue has no array of this name: it never arrived"
    assert len(given.submit("s", 1, Shape(), 2)) == 2


def test_what_slurm_refuses_as_such_is_an_error_and_leaves_nothing(
    place: Workspace, slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Reply(1, "", "sbatch: error: invalid partition specified: lov")
    given = SlurmSubmitter(
        place, Cluster("test", Profile(kind="slurm")), "nowhere:main", clock=slurm.clock,
        ask=lambda words: refusal if "sbatch" in words else slurm.ask(words),
    )  # fmt: skip
    with pytest.raises(EnvironmentFault, match="SLURM refuses the workers") as caught:
        given.submit("s", 1, Shape(), 1)
    assert caught.value.found == "invalid partition specified: lov"
    assert jobs_of(place, "s") == []


def test_the_life_of_a_job_from_waiting_to_its_end(place: Workspace, slurm: FakeSlurm) -> None:
    slurm.nodes = {"node1": 1}
    submitter(place, slurm, time="1h").submit("s", 1, Shape(gpus=1), 2)
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
    submitter(place, slurm, time="10min", signal_lead="2min").submit("s", 1, Shape(), 1)
    slurm.advance(3600)
    assert seen == [480.0]
    assert slurm.tasks[0].state == "TIMEOUT" and (slurm.tasks[0].ended or 0) - (slurm.tasks[0].began or 0) == 600
    assert states(place, SlurmScheduler(60, ask=slurm.ask, clock=slurm.clock)) == [(False, "time_limit")]


def test_jobs_of_a_node_that_dies_come_back_only_where_the_profile_says_so(place: Workspace, slurm: FakeSlurm) -> None:
    submitter(place, slurm, sbatch={"requeue": "true"}).submit("s", 1, Shape(gpus=1), 1)
    submitter(place, slurm).submit("t", 1, Shape(gpus=1), 1)
    slurm.advance(10)
    slurm.fail_node("node1")
    assert [task.state for task in slurm.tasks] == ["PENDING", "NODE_FAIL"]
    slurm.advance(10)
    assert (slurm.tasks[0].state, slurm.tasks[0].restart) == ("RUNNING", 1)
    assert json.loads((place.jobs / "rs-s-0001" / "job.json").read_text())["requeue"] is True
