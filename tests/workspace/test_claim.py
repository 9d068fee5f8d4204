"""Exactly one owner per attempt, and no attempt n+1 without evidence that attempt n has ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.workspace import process
from core.workspace.claim import checkpoints, claim, newest_valid_checkpoint
from core.workspace.files import publish_folder, read_json
from core.workspace.layout import Trial


def _racer(folder: str, name: str, barrier: object, results: object) -> None:
    barrier.wait()  # type: ignore[attr-defined]
    won = claim(Trial(Path(folder)), 1, name, {})
    results.put((name, won is not None))  # type: ignore[attr-defined]


def test_of_many_claimers_one_wins_with_its_identity_inside(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(8), context.Queue()
    racers = [context.Process(target=_racer, args=(str(tmp_path / "t"), f"w{i}", barrier, results)) for i in range(8)]
    for racer in racers:
        racer.start()
    outcome = dict(results.get(timeout=20) for _ in racers)
    for racer in racers:
        racer.join()
    winners = [name for name, won in outcome.items() if won]
    assert len(winners) == 1
    (attempt,) = Trial(tmp_path / "t").attempts()
    assert attempt.owner()["worker"] == winners[0]
    assert not [name for name in os.listdir(tmp_path / "t" / "attempts") if name.startswith(".")]


def test_a_later_attempt_needs_evidence(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "t")
    assert claim(trial, 1, "a", {}) is not None
    with pytest.raises(ValueError, match="needs evidence that attempt 1 has ended"):
        claim(trial, 2, "b", {})
    second = claim(trial, 2, "b", {"job": "j7"}, "no process 1 on host, same boot")
    assert second is not None
    assert second.owner()["evidence"] == "no process 1 on host, same boot"
    assert second.owner()["job"] == "j7"


def test_a_living_process_is_not_proved_dead_and_a_killed_one_is(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    owner = process.identity(child.pid)
    assert process.evidence_of_end(owner) is None
    child.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while process.evidence_of_end(owner) is None and time.monotonic() < deadline:
        time.sleep(0.02)  # a zombie counts as ended: nobody has reaped it yet
    assert process.evidence_of_end(owner) == f"no process {child.pid} on {owner['host']}, same boot"
    child.wait()


def test_a_pid_that_came_round_again_is_another_process() -> None:
    owner = process.identity() | {"start": 1}
    assert "is another process now" in str(process.evidence_of_end(owner))


def test_another_host_proves_nothing_and_another_boot_only_with_the_machine_id(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = process.identity()
    assert process.evidence_of_end(owner | {"host": "elsewhere", "pid": 1}) is None
    here = {"host": owner["host"], "boot": "b2", "machine": "m1"}
    monkeypatch.setattr(process, "host", lambda: here)
    assert process.evidence_of_end(owner | {"boot": "b1", "machine": ""}) is None
    assert "has booted since" in str(process.evidence_of_end(owner | {"boot": "b1", "machine": "m1"}))


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path) -> None:
    trial = Trial(tmp_path / "t")
    for number in (1, 2):
        attempt = claim(trial, number, f"w{number}", {}, "evidence")
        assert attempt is not None
        for step in (10, 20):
            target = attempt.checkpoints / f"step-{step:08d}"
            publish_folder(target, attempt.checkpoints / ".s", lambda f, s=step: (f / "state").write_text(str(s)) and None, {"step": step})
    assert [(a, s) for a, s, _ in checkpoints(trial)] == [(2, 20), (2, 10), (1, 20), (1, 10)]
    newest = trial.attempts()[1].checkpoints
    (newest / "step-00000020" / "state").write_text("99")  # same size, another digest
    assert newest_valid_checkpoint(trial) == (2, 10, newest / "step-00000010")
    (newest / "step-00000010" / "manifest.json").write_text("{")
    found = newest_valid_checkpoint(trial)
    assert found is not None
    assert found[:2] == (1, 20)


def test_a_result_is_published_once(tmp_path: Path) -> None:
    target = tmp_path / "result"
    assert publish_folder(target, tmp_path / ".a", lambda f: (f / "w").write_text("first") and None, {})
    assert not publish_folder(target, tmp_path / ".b", lambda f: (f / "w").write_text("second") and None, {})
    assert (target / "w").read_text() == "first"
    assert set(read_json(target / "manifest.json")["files"]) == {"w"}
    assert not (tmp_path / ".b").exists()
