"""What a worker learns of its own job; the lines are those of SLURM 22.05."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from toy_worker import plan_of, registered

from core.run.leaving import Word
from core.workspace.files import publish_folder
from core.workspace.layout import Workspace
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


@pytest.mark.parametrize("preempted", [True, False])
def test_a_worker_that_had_not_warmed_up_leaves_a_pass_behind_unless_it_was_cancelled(tmp_path: Path, preempted: bool) -> None:
    place = Workspace.open(tmp_path / "runs", create=True)
    (planned,) = plan_of(1)
    revision = registered(place, [planned])
    trial = place.trial(planned.id)
    trial.folder.mkdir(parents=True)
    publish_folder(trial.result, trial.folder / ".result", lambda made: (made / "metrics.json").write_text("{}"), {})
    folder = place.jobs / "rs-study-0001"
    folder.mkdir()
    orders = {"v": 1, "sweep": "study", "revision": 1, "shape": {}, "slots": 1, "allotted": {"gpus": 0, "cpus": 1, "memory": None}}
    orders |= {
        "threads": 1,
        "idle": 1.0,
        "workspace": str(place.root),
        "warned": 13_000.0,
        "limit": 14_400.0,
        "array": {"name": "x", "task": 0},
    }
    (folder / "job.json").write_text(json.dumps(orders))
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text(f"#!/bin/sh\ncat <<'END'\n{line('COMPLETING', '2026-11-29T23:14:15' if preempted else 'None')}END\n")
    scontrol.chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
        "SWEEP_JOB_ID": "7_0",
        "SWEEP_JOB_BEGAN": str(time.time()),
    }
    subprocess.run([sys.executable, "-m", "sweeps.worker_main", str(folder)], env=environment, check=True, capture_output=True)
    assert (revision.sweep.folder / "passed").exists() is preempted
