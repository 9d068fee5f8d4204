"""Silence is never death: what is asked, how seldom, and what a missing answer means. SLURM's commands are played back."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from test_reading_slurm import squeue

from core.control.jobs import jobs_of
from core.control.ports import Job, JobAnswer
from core.control.read import Reader
from core.control.tick import SweepReader, tick
from core.definition.plan import PlannedTrial, Shape
from core.workspace import nodes, process
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import register
from slurm.polling import Reply, SlurmScheduler

NAME = "rs-s-0001-abc123"
DOWN = Reply(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
NO_ACCOUNTING = Reply(1, "", "Slurm accounting storage is disabled")
KNOWN = Reply(0, "JobId=12 ArrayJobId=12 ArrayTaskId=0 JobState=RUNNING\n", "")
PURGED = Reply(1, "", "slurm_load_jobs error: Invalid job id specified")


class Played:
    """SLURM's commands with answers that a test sets; counts what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Reply] = {"squeue": Reply(0, "", ""), "sacct": NO_ACCOUNTING, "scontrol": KNOWN}
        self.asked: list[str] = []
        self.now = 0.0

    def __call__(self, command: Sequence[str]) -> Reply:
        self.asked.append(command[0])
        return self.answers[command[0]]

    def clock(self) -> float:
        return self.now

    def rows(self, *rows: tuple[str, str, int]) -> None:
        self.answers["squeue"] = Reply(0, squeue(*[(i, state, restart, NAME, "None") for i, state, restart in rows]), "")


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace.open(workspace, create=True)


@pytest.fixture
def played() -> Played:
    return Played()


@pytest.fixture
def scheduler(played: Played) -> SlurmScheduler:
    return SlurmScheduler(6, ask=played, clock=played.clock)


def add_job(place: Workspace, number: int, *, submitted: bool = True, requeue: bool = False, **files: dict[str, Any]) -> Job:
    """A worker's folder as the submitter and the worker leave it."""
    key = f"rs-s-{number:04d}"
    folder = place.jobs / key
    folder.mkdir()
    elsewhere = {**process.identity(), "host": "login7"}
    record = {"sweep": "s", "revision": 1, "shape": {}, "submitter": elsewhere, "array": {"name": NAME, "task": number}, "requeue": requeue}
    (folder / "job.json").write_text(json.dumps(record))
    if submitted:
        (folder / "submitted.json").write_text(json.dumps({"job_id": f"12_{number}"}))
    for name, value in files.items():
        (folder / f"{name}.json").write_text(json.dumps(value))
    return next(job for job in jobs_of(place, "s") if job.key == key)


def attempt_of(place: Workspace, job: Job, restart: int = 0) -> Trial:
    """A trial whose first attempt runs in a job on another host."""
    trial = place.trial("ab" * 16)
    folder = trial.folder / "attempts" / "0001"
    folder.mkdir(parents=True)
    owner = {**process.identity(), "host": "node9", "job": job.key, "restart": restart}
    (folder / "owner.json").write_text(json.dumps(owner))
    return trial


def test_one_question_answers_for_all_and_holds_until_the_next_is_due(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    jobs = [add_job(place, n) for n in range(3)]
    played.rows(("12_0", "RUNNING", 0), ("12_1", "PENDING", 0), ("12_2", "CANCELLED", 0))
    for second in range(10):
        played.now = float(second)
        answers = scheduler.poll(jobs)
    assert played.asked == ["squeue"]
    assert [answers[job.key].alive for job in jobs] == [True, True, False]
    played.now = 10.0
    scheduler.poll(jobs)
    assert played.asked == ["squeue", "squeue"]


def test_an_end_is_written_down_and_never_asked_for_again(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0)
    played.rows(("12_0", "TIMEOUT", 0))
    scheduler.poll([job])
    another = Played()
    answer = SlurmScheduler(6, ask=another, clock=another.clock).poll([job])[job.key]
    assert (answer.ended, another.asked) == ("time_limit", [])
    assert "TIMEOUT" in answer.evidence


def test_a_worker_on_a_node_reads_the_evidence_that_others_wrote_down(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0)
    trial = attempt_of(place, job)
    assert Reader(place).trial(trial).state == "unknown"
    played.rows(("12_0", "PREEMPTED", 0))
    scheduler.poll([job])
    status = Reader(place).trial(trial)
    assert status.claimable
    assert status.evidence == "SLURM says PREEMPTED for job 12_0"


def test_a_controller_that_does_not_answer_leaves_everything_as_it_may_be(
    place: Workspace, played: Played, scheduler: SlurmScheduler
) -> None:
    job = add_job(place, 0)
    trial = attempt_of(place, job)
    played.answers["squeue"] = DOWN
    answers = scheduler.poll([job])
    assert answers[job.key].alive, "nobody is started in its place"
    assert "Unable to contact" in answers[job.key].evidence
    assert Reader(place, answers).trial(trial).state == "unknown"
    asked = 0
    for second in range(600):
        played.now = float(second)
        scheduler.poll([job])
        asked = len(played.asked)
    assert asked <= 8, "it is asked less and less"


def test_an_empty_answer_is_not_believed_while_the_controller_knows_the_job(
    place: Workspace, played: Played, scheduler: SlurmScheduler
) -> None:
    job = add_job(place, 0)
    answers = scheduler.poll([job])
    assert played.asked == ["squeue", "sacct", "scontrol"]
    assert answers[job.key].alive and answers[job.key].silent


def test_a_job_that_accounting_calls_running_is_not_dead(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0)
    played.answers["sacct"] = Reply(0, "12_0|RUNNING\n", "")
    assert scheduler.poll([job])[job.key].silent


def test_accounting_says_how_a_forgotten_job_ended(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    jobs = [add_job(place, n) for n in range(2)]
    played.answers["sacct"] = Reply(0, "12_0|CANCELLED by 0\n12_1|COMPLETED\n", "")
    answers = scheduler.poll(jobs)
    assert [answers[job.key].ended for job in jobs] == ["interrupted", "lost"]
    assert played.asked == ["squeue", "sacct"], "one call for both"


def test_purged_is_evidence_where_a_reachable_controller_once_knew_the_job(
    place: Workspace, played: Played, scheduler: SlurmScheduler
) -> None:
    known = add_job(place, 0)
    never = add_job(place, 1, submitted=False)
    played.answers["scontrol"] = PURGED
    answers = scheduler.poll([known, never])
    assert answers[known.key].ended == "lost" and "purged" in answers[known.key].evidence
    assert never.key not in answers, "what was never submitted is neither alive nor dead"
    played.answers["scontrol"] = Reply(1, "", "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")


def test_an_id_that_cannot_be_asked_about_proves_nothing(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0)
    played.answers["scontrol"] = DOWN
    assert scheduler.poll([job])[job.key].silent


def test_a_job_whose_id_was_not_recorded_is_found_by_its_name(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 4, submitted=False)
    played.rows(("77_4", "PENDING", 0))
    answer = scheduler.poll([job])[job.key]
    assert answer.alive and "77_4" in answer.evidence


def test_the_id_that_a_worker_wrote_is_as_good_as_the_submitters(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 4, submitted=False, worker={**process.identity(), "host": "node9", "job_id": "78_4", "restart": 0})
    played.answers["scontrol"] = PURGED
    assert scheduler.poll([job])[job.key].ended == "lost"


def test_what_was_submitted_after_the_last_question_is_there(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    first = add_job(place, 0)
    played.rows(("12_0", "RUNNING", 0))
    scheduler.poll([first])
    second = add_job(place, 1)
    assert scheduler.poll([first, second])[second.key].alive
    assert played.asked == ["squeue"]


def test_a_restart_ends_the_attempt_of_the_incarnation_before(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0, requeue=True)
    trial = attempt_of(place, job, restart=0)
    played.rows(("12_0", "NODE_FAIL", 0))
    assert Reader(place, scheduler.poll([job])).trial(trial).state == "unknown"
    played.now = 60.0
    played.rows(("12_0", "PENDING", 1))
    status = Reader(place, scheduler.poll([job])).trial(trial)
    assert status.claimable and "restarted" in (status.evidence or "")


def test_a_worker_that_left_by_itself_is_not_asked_about(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    job = add_job(place, 0, left={"reason": "nothing left to claim", "done": 2})
    assert not scheduler.poll([job])[job.key].alive
    assert played.asked == []


def test_of_a_job_of_several_nodes_those_are_named_that_are_down(place: Workspace, played: Played, scheduler: SlurmScheduler) -> None:
    here = {**process.identity(), "host": "node1", "node": "node1", "nodes": "node[1-2]", "restart": 0}
    many = [replace(add_job(place, n, worker=here), shape=Shape(nodes=2, gpus=2)) for n in range(2)]
    one = add_job(place, 2, worker=here)
    played.answers["sinfo"] = Reply(0, "node1|mixed\nnode2|down*\nnode2|down*\n", "")
    played.rows(*((f"12_{n}", "NODE_FAIL", 0) for n in range(3)))
    answers = scheduler.poll([*many, one])
    assert [list(answers[job.key].nodes) for job in (*many, one)] == [["node2"], ["node2"], ["node1"]]
    assert played.asked.count("sinfo") == 2, "once a job, however often it is looked at"
    played.now += 60
    assert list(scheduler.poll([*many, one])[many[0].key].nodes) == ["node2"]
    lost = replace(add_job(place, 3, worker=here), shape=Shape(nodes=2, gpus=2))
    played.answers["sinfo"] = Reply(0, "node1|idle\nnode2|idle\n", "")
    played.rows(("12_3", "NODE_FAIL", 0))
    played.now += 60
    assert list(scheduler.poll([lost])[lost.key].nodes) == [], "nobody can tell which"


def test_an_exclusion_that_a_user_takes_away_stays_away_although_a_launch_watches(place: Workspace) -> None:
    class Says:
        trouble = None
        answers: ClassVar[dict[str, JobAnswer]] = {}

        def poll(self, jobs: Sequence[Job]) -> Mapping[str, JobAnswer]:
            return self.answers

    trials = [PlannedTrial("a" * 32, {}, 0, {}, Shape())]
    revision = register(
        place, place.sweep("s"), meta={"digest": "s", "name": "s", "rehearsal": False}, definition="", code=[], trials=trials
    )[0]
    reader, says = SweepReader(place, revision, Says()), Says()
    reader.scheduler = says
    says.answers = {f"rs-s-{n:04d}": JobAnswer(alive=True) for n in range(2)}
    jobs = [add_job(place, n) for n in range(2)]
    tick(reader, None)
    says.answers = {job.key: JobAnswer(False, "failed", "NODE_FAIL", cause="node_failure", nodes=["node7"]) for job in jobs}
    tick(reader, None)
    assert list(nodes.excluded(place)) == ["node7"]
    (place.nodes / "node7.json").unlink()
    again = SweepReader(place, revision, says)
    for one in (reader, again):
        tick(one, None)
    assert nodes.excluded(place) == {}, "also for a timer, whose passes are processes of their own"
