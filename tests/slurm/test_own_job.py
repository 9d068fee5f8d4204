"""What a worker learns of its own job; the lines are those of SLURM 22.05."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from core.run.leaving import Word
from slurm.allocation import OwnJob, read
from slurm.polling import Reply

LINE = (
    "JobId=12 ArrayJobId=10 ArrayTaskId=2 JobName=rs-s-0001 JobState={state} Reason=None Requeue=0 Restarts=0 RunTime=00:00:03 "
    "TimeLimit={limit} TimeMin=00:02:00 SubmitTime=2026-11-29T23:12:52 StartTime=2026-11-29T23:12:52 EndTime=2026-11-29T23:14:52 "
    "Deadline=N/A PreemptEligibleTime=2026-11-29T23:12:52 PreemptTime={preempt} SuspendTime=None Partition=low NodeList=node1\n"
)


def line(state: str, preempt: str = "None", limit: str = "00:02:00") -> str:
    return LINE.format(state=state, preempt=preempt, limit=limit)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (line("RUNNING"), Word(limit=120.0)),
        (line("RUNNING", limit="1-00:00:00"), Word(limit=86_400.0)),
        (line("RUNNING", limit="UNLIMITED"), Word()),
        (line("RUNNING", "2026-11-29T23:14:00"), Word(preempted=True, limit=120.0)),
        (line("COMPLETING"), Word(ending=True, limit=120.0)),
        (line("COMPLETING", "2026-11-29T23:14:15"), Word(True, True, 120.0)),
        (line("PREEMPTED"), Word(True, True, 120.0)),
        ("", None),
        ("slurm_load_jobs error: Invalid job id specified", None),
    ],
)
def test_what_a_job_line_means(text: str, word: Word | None) -> None:
    assert read(text) == word


def test_all_processes_of_a_worker_ask_once_about_its_end(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []
    said = [line("RUNNING"), line("COMPLETING")]

    def ask(command: Sequence[str]) -> Reply:
        asked.append(command)
        return Reply(0, said[min(len(asked), 2) - 1], "")

    processes = [OwnJob(tmp_path, "10_2", ask, {}) for _ in range(3)]
    assert processes[0]() == Word(limit=120.0), "that it runs may change"
    assert {process() for process in processes} == {Word(ending=True, limit=120.0)}
    assert len(asked) == 2 and asked[0][-1] == "10_2"
    again = OwnJob(tmp_path, "10_2", ask, {"SLURM_RESTART_COUNT": "1"})
    assert again() is not None and len(asked) == 3, "an incarnation that SLURM has restarted is another"


def test_where_nobody_answers_nothing_is_known(tmp_path: Path) -> None:
    job = OwnJob(tmp_path, "10_2", lambda command: Reply(-1, "", "no scontrol in this container"), {})
    assert job() is None and job.limit() is None


def test_newer_slurm_says_the_limit_in_the_environment(tmp_path: Path) -> None:
    def ask(command: Sequence[str]) -> Reply:
        raise AssertionError("there is no need to ask")

    assert OwnJob(tmp_path, "10_2", ask, {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "4600"}).limit() == 3600.0
    assert OwnJob(tmp_path, "10_2", lambda command: Reply(0, line("RUNNING"), ""), {}).limit() == 120.0
