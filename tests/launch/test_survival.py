"""Whatever is killed, whenever: nothing is trained twice, nothing is lost, and the numbers are those of an undisturbed run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests_launch import SHORT, Study, short, wait_for

pytestmark = pytest.mark.launch

STEPS = "rehearsal.steps=100"
"""Long enough to be hit in the middle."""


def journal_lines(study: Study) -> list[dict[str, Any]]:
    lines = []
    for path in study.workspace.glob("trials/*/*/attempts/*/journal.jsonl"):
        lines += [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
    return lines


def processes_of(study: Study) -> list[psutil.Process]:
    """Every process that works in the study's workspace, children of workers included."""
    found = []
    for process in psutil.process_iter():
        try:
            words = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        if str(study.workspace) in words:
            found += [process, *process.children(recursive=True)]
    return list({process.pid: process for process in found}.values())


def children_training(study: Study) -> list[int]:
    """Pids of the forked children that own a running attempt."""
    pids = []
    for path in study.workspace.glob("trials/*/*/attempts/*/owner.json"):
        pid = json.loads(path.read_text())["pid"]
        ended = '"kind":"ended"' in ((path.parent / "journal.jsonl").read_text() if (path.parent / "journal.jsonl").exists() else "")
        if not ended and psutil.pid_exists(pid):
            pids.append(pid)
    return pids


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    study = Study(tmp_path_factory.mktemp("undisturbed"))
    study.write()
    study.launch(STEPS, "--workers", "1")
    return study.final()


def test_kill_9_of_everything_then_the_same_launch_ends_with_the_same_numbers(
    study: Study, undisturbed: dict[str, dict[str, float]], mlflow_points: Callable[[Study], Any]
) -> None:
    launch = study.start("launch", "small.yaml", "--rehearse", *short(STEPS), STEPS)
    # once a checkpoint is there and steps beyond it have been written, kill all of it: launcher, controllers, workers, children
    wait_for(lambda: any(line["kind"] == "metrics" and line.get("step", 0) >= 40 for line in journal_lines(study)))
    for process in [psutil.Process(launch.pid), *processes_of(study)]:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    launch.communicate()
    wait_for(lambda: not processes_of(study))
    before = {trial["id"]: trial for trial in study.trials()}
    assert any(trial["state"] == "pending" and trial["attempts"] == 1 for trial in before.values()), before

    study.launch(STEPS, "--workers", "1")
    after = {trial["id"]: trial for trial in study.trials()}
    assert {trial["state"] for trial in after.values()} == {"completed"}
    assert any(trial["attempts"] == 2 for trial in after.values())
    assert any(line["kind"] == "started" and line["resumed"] for line in journal_lines(study))
    assert study.final() == undisturbed
    for trial, series in mlflow_points(study).items():
        assert [step for step, _ in series["train/loss"]] == list(range(1, 101)), trial
        assert len(series["validation/accuracy"]) == len({step for step, _ in series["validation/accuracy"]})


def test_a_killed_child_takes_its_attempt_and_neither_the_worker_nor_its_neighbour(
    study: Study, undisturbed: dict[str, dict[str, float]]
) -> None:
    (study.folder / "clusters.yaml").write_text("box: {kind: local, node: {cpus: 2}}\n", encoding="utf-8")
    launch = study.start("launch", "small.yaml", "--rehearse", "--cluster", "box", *short(STEPS), STEPS)
    # both train at once, in one worker, and one of them has saved
    wait_for(lambda: any(line["kind"] == "checkpoint" for line in journal_lines(study)) and len(children_training(study)) == 2)
    victim, neighbour = children_training(study)
    os.kill(victim, signal.SIGKILL)
    assert neighbour in children_training(study)
    output, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, output
    ended = [line for line in journal_lines(study) if line["kind"] == "ended"]
    assert [line["cause"] for line in ended if line["state"] == "failed"] in (["killed"], ["host_oom"])
    assert len(list((study.workspace / "jobs").glob("rs-*"))) == 1, "the worker went on"
    assert sorted(trial["attempts"] for trial in study.trials()) == [1, 2]
    assert study.final() == undisturbed


def test_a_killed_worker_is_replaced_by_the_watching_launch(study: Study, undisturbed: dict[str, dict[str, float]]) -> None:
    words = (*short(STEPS), STEPS, "--workers", "1")
    launch = study.start("launch", "small.yaml", "--rehearse", *words)
    wait_for(lambda: any(line["kind"] == "checkpoint" for line in journal_lines(study)))
    worker = json.loads(next((study.workspace / "jobs").glob("rs-*/worker.json")).read_text())["pid"]
    (child,) = children_training(study)
    os.kill(worker, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(child), 20)  # the child dies with its parent
    output, _ = launch.communicate(timeout=240)
    assert launch.returncode == 0, output
    assert len(list((study.workspace / "jobs").glob("rs-*"))) == 2
    assert study.final() == undisturbed
    explained = study.run("explain", next(t["id"][:10] for t in study.trials() if t["attempts"] == 2))
    assert "same boot" in explained


def test_ctrl_c_detaches_and_the_workers_go_on_and_cancel_stops_them(study: Study) -> None:
    words = (*short("rehearsal.steps=4000"), "rehearsal.steps=4000", "head.layers=1", "--workers", "1")
    launch = study.start("launch", "small.yaml", "--rehearse", *words, start_new_session=True)
    wait_for(lambda: any(line["kind"] == "metrics" for line in journal_lines(study)))
    os.killpg(launch.pid, signal.SIGINT)  # what a terminal sends
    output, _ = launch.communicate(timeout=30)
    assert launch.returncode == 0, output
    assert "detached from small-rehearsal" in output
    seen = len(journal_lines(study))
    wait_for(lambda: len(journal_lines(study)) > seen + 5)

    output = study.run("cancel", "small", "--yes")
    assert "cancel: 1 trials" in output
    wait_for(lambda: {t["state"] for t in study.trials()} == {"cancelled"}, 40)
    (ended,) = [line for line in journal_lines(study) if line["kind"] == "ended"]
    assert (ended["state"], ended["ask"]) == ("interrupted", "cancel")
    assert study.run("watch", "small")  # nothing left to wait for: it ends at once, with the table
    # launched again, a cancelled trial goes on from its checkpoint
    launch = study.start("launch", "small.yaml", "--rehearse", *words)
    wait_for(lambda: any(line["kind"] == "started" and line["resumed"] for line in journal_lines(study)))
    os.kill(launch.pid, signal.SIGINT)
    launch.communicate(timeout=30)
    study.run("cancel", "small", "--yes")
    wait_for(lambda: not processes_of(study), 40)


def test_two_launches_at_once_train_nothing_twice(study: Study) -> None:
    words = SHORT
    launches = [study.start("launch", "small.yaml", "--rehearse", *words) for _ in range(2)]
    outputs = [launch.communicate(timeout=240)[0] for launch in launches]
    assert [launch.returncode for launch in launches] == [0, 0], outputs
    assert study.json("list")[0]["revision"] == 1
    assert [trial["attempts"] for trial in study.trials()] == [1, 1]
    assert len(list((study.workspace / "jobs").glob("rs-*"))) <= 4


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_a_cause_and_the_next_launch_recovers(study: Study, tmp_path: Path) -> None:
    place = tmp_path / "small-disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(place)], capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        words = (*SHORT, "head.layers=1", "--workers", "1")
        filler = place / "filler"
        filler.write_bytes(b"x" * (5 * 2**20))
        output = study.start("launch", "small.yaml", "--rehearse", *words, "--workspace", str(place / "runs")).communicate(timeout=240)[0]
        assert "Traceback" not in output
        assert "disk is full" in output or "disk_quota" in output, output
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=200m", str(place)], check=True)
        study.run("retry", "small", "--yes", "--workspace", str(place / "runs"))
        study.run("launch", "small.yaml", "--rehearse", *words, "--workspace", str(place / "runs"))
        status = study.json("status", "small", "--workspace", str(place / "runs"))
        assert [trial["state"] for trial in status["trials"]] == ["completed"]
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)
