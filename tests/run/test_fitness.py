"""A node is asked before the first claim whether it can do the work, in a child and never in the warm parent."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from core.run import fitness
from core.run.fitness import Needs, check, problems_by, problems_here
from core.workspace import nodes
from core.workspace.layout import Workspace


def test_a_fit_node_has_no_problems_and_keeps_no_file(tmp_path: Path) -> None:
    assert problems_here(Needs(0, tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    found = list(check(Needs(2, tmp_path, (str(tmp_path / "data"),), free=1e9)))
    assert found[0] == f"{tmp_path / 'data'} is not there or is empty"
    assert "GiB free, the profile asks for" in found[1]
    assert found[2] == "0 GPUs are visible, the job has 2"
    assert "No such file" in next(iter(check(Needs(0, tmp_path / "gone"))))


def test_a_check_that_hangs_or_breaks_off_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitness, "PATIENCE_SECONDS", 0.3)

    def hang(needs: Needs) -> list[str]:
        while True:
            pass

    monkeypatch.setattr(fitness, "check", hang)
    (problem,) = problems_here(Needs(0, tmp_path))
    assert "did not come back" in problem
    monkeypatch.setattr(fitness, "check", lambda needs: os.kill(os.getpid(), 9))
    (problem,) = problems_here(Needs(0, tmp_path))
    assert "ended by signal" in problem


def test_every_node_of_an_allocation_is_asked_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURMD_NODENAME", "node1")
    fit, unfit = '{"node": "node1", "problems": []}', '{"node": "node2", "problems": ["0 GPUs are visible, the job has 4"]}'
    said = f"print('srun: a word'); print('{fit}'); print('{unfit}')"
    assert problems_by([sys.executable, "-c", said], tmp_path) == {"node2": ["0 GPUs are visible, the job has 4"]}
    assert problems_by([sys.executable, "-c", f"print('{fit}')"], tmp_path) == {}
    broken = problems_by([sys.executable, "-c", f"import sys; print('{fit}'); sys.exit('FATAL: no image')"], tmp_path)
    assert broken == {"node1": ["the check ended with code 1: FATAL: no image"]}
    assert "cannot be started" in problems_by(["/no/such/srun"], tmp_path)["node1"][0]


def test_an_exclusion_ends_and_is_not_renewed_by_the_same_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace.open(tmp_path / "runs", create=True)
    assert nodes.excluded(workspace) == {}
    monkeypatch.setattr("time.time", lambda: 1000.0)
    nodes.exclude(workspace, "node7", 3600, "a GPU is gone", "rs-a-0001")
    assert nodes.excluded(workspace) == {"node7": "a GPU is gone"}
    nodes.exclude(workspace, "node7", 7200, "again", "rs-a-0001")
    assert nodes.excluded(workspace, now=4601.0) == {}
    nodes.exclude(workspace, "node7", 7200, "another worker says so", "rs-a-0002")
    assert nodes.excluded(workspace, now=4601.0) == {"node7": "another worker says so"}
    for job in ("rs-a-0001", "rs-a-0002"):
        nodes.exclude(workspace, "node7", 99999, "said by turns, again and again", job)
    assert nodes.excluded(workspace, now=4601.0) == {"node7": "another worker says so"}
