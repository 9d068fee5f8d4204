"""Whatever SLURM answers, `sweep explain` says what it was read as, and what to do; the words are those of a real 22.05."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_polling import NAME
from test_reading_slurm import squeue
from toy_worker import plan_of, registered

from core.definition.plan import Shape
from core.workspace import holds, process
from core.workspace.claim import claim
from core.workspace.journal import JournalWriter
from core.workspace.layout import Workspace
from sweeps.cli.main import app

TRIAL = plan_of(1)[0].id
GONE = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


@pytest.fixture
def place(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A sweep of one trial and one worker of it, job 12_0; SLURM's commands say what the files of a folder say."""
    place = Workspace.open(workspace, create=True)
    registered(place, plan_of(1))
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("squeue", "sacct", "scontrol"):
        script = f"#!/bin/sh\ncat {tmp_path}/{name}.out 2>/dev/null\ncat {tmp_path}/{name}.err >&2 2>/dev/null || exit 0\nexit 1\n"
        (binaries / name).write_text(script, encoding="utf-8")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sacct.err").write_text("Slurm accounting storage is disabled", encoding="utf-8")
    (tmp_path / "scontrol.out").write_text("JobId=12", encoding="utf-8")
    return place


def worker(place: Workspace, *, begun: bool, requeue: bool = False) -> None:
    folder = place.jobs / "rs-study-0001"
    folder.mkdir()
    elsewhere = {**process.identity(), "host": "node9", "boot": "b"}
    orders = {
        "sweep": "study", "revision": 1, "shape": vars(Shape()), "submitter": elsewhere, "array": {"name": NAME, "task": 0},
        "requeue": requeue,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps(orders), encoding="utf-8")
    (folder / "submitted.json").write_text(json.dumps({"job_id": "12_0"}), encoding="utf-8")
    if begun:
        attempt = claim(place.trial(TRIAL), 1, "w", {**elsewhere, "job": folder.name, "restart": 0})
        assert attempt is not None
        JournalWriter(attempt.journal).write("started", attempt=1, resumed=None)


@pytest.mark.parametrize(
    ("row", "requeue", "state", "said", "way_out"),
    [
        (None, False, "unknown", GONE, "--force"),
        (("NODE_FAIL", 0, "None"), True, "unknown", "SLURM says NODE_FAIL for job 12_0", "--force"),
        ((), False, "unknown", "SLURM says nothing for job 12_0", "--force"),
        (("PENDING", 1, "BeginTime"), True, "pending", "the scheduler has restarted the job since", "starts workers"),
        (("COMPLETED", 0, "None"), False, "pending", "SLURM says COMPLETED for job 12_0", "starts workers"),
        (("DEADLINE", 0, "None"), False, "pending", "SLURM says DEADLINE for job 12_0", "starts workers"),
        (("PENDING", 1, "launch failed requeued held"), True, "pending", "`scontrol release 12_0` frees it", "starts workers"),
        (("RUNNING", 0, "None"), False, "running", "SLURM says RUNNING for job 12_0", ""),
    ],
    ids=[
        "silence",
        "NODE_FAIL before its requeue",
        "empty answer",
        "stale incarnation",
        "COMPLETED",
        "DEADLINE",
        "requeued held",
        "running",
    ],
)
def test_an_attempt_is_explained_by_what_slurm_says_of_its_job(
    place: Workspace,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    row: tuple[str, int, str] | tuple[()] | None,
    requeue: bool,
    state: str,
    said: str,
    way_out: str,
) -> None:
    worker(place, begun=True, requeue=requeue)
    if row is None:
        (tmp_path / "squeue.err").write_text(GONE, encoding="utf-8")
    else:
        found = squeue(("12_0", row[0], row[1], NAME, row[2])) if row else ""
        (tmp_path / "squeue.out").write_text(found, encoding="utf-8")
    assert app(["explain", TRIAL], standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert f"it is {state}" in shown and said in shown and way_out in shown
    assert app(["status", "study"], standalone_mode=False) == 0
    assert f"1 {state}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("ReqNodeNotAvail, Reserved for maintenance", "often for maintenance"),
        ("AssocGrpGRESMinutes", "GPU-minutes are used up"),
        ("JobHeldUser", "scontrol release"),
    ],
)
def test_a_trial_that_waits_is_explained_by_what_its_workers_wait_for(
    place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], reason: str, said: str
) -> None:
    worker(place, begun=False)
    (tmp_path / "squeue.out").write_text(squeue(("12_0", "PENDING", 0, NAME, reason)), encoding="utf-8")
    for words in (["explain", TRIAL], ["status", "study"]):
        assert app(words, standalone_mode=False) == 0
        shown = capsys.readouterr().out
        assert reason in shown and said in shown


def test_a_hold_of_the_site_is_named_with_its_reason(place: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site"
    site.mkdir()
    holds.remember(place.sweep("study"), site, None)
    holds.set_hold(site / "HOLD", "the cooling is off")
    assert app(["explain", TRIAL], standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert "it is held" in shown and str(site / "HOLD") in shown and "the cooling is off" in shown
