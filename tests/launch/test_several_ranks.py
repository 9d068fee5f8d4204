"""A trial of two processes on this machine: they live and die together, and end with the numbers of one process."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from tests_launch import DEFINITION, Study, wait_for

pytestmark = [pytest.mark.launch, pytest.mark.training]

ONE_CELL = DEFINITION.replace("grid:\n  head.layers: [1, 2]\n", "")
WORDS = ("rehearsal.steps=40", "execution.threads=1")


def journal(study: Study, attempt: int) -> list[dict[str, Any]]:
    files = sorted(study.workspace.glob(f"trials/*/*/attempts/{attempt:04d}/journal.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines() if line.endswith("}")]


def ranks_of(study: Study) -> list[int]:
    """The processes of the running attempt, rank by rank: the children of its owner."""
    (owner,) = study.workspace.glob("trials/*/*/attempts/0001/owner.json")
    pid = json.loads(owner.read_text())["pid"]
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ranks_die_together_and_their_successors_go_on(tmp_path: Path) -> None:
    study, alone = Study(tmp_path / "two"), Study(tmp_path / "one")
    for made in (study, alone):
        made.folder.mkdir()
        made.write(ONE_CELL)
    alone.launch(*WORDS)
    more = (*WORDS, "execution.ranks=2", "execution.zero=3")
    launch = study.start("launch", "small.yaml", "--rehearse", "rehearsal.pairs=96", "rehearsal.items=16", "rehearsal.batch=8", *more)
    wait_for(lambda: any(line["kind"] == "checkpoint" for line in journal(study, 1)))
    first, second = ranks_of(study)
    os.kill(second, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{first}").exists())
    output, _ = launch.communicate(timeout=200)
    assert launch.returncode == 0, output
    ended = journal(study, 1)[-1]
    assert (ended["kind"], ended["cause"], ended["message"]) == ("ended", "killed", "rank 1: it received SIGKILL")
    started = journal(study, 2)[0]
    assert started["ranks"] == 2 and started["layout"] == "ZeRO-3" and started["resumed"]["attempt"] == 1
    (trial,) = study.trials()
    assert (trial["state"], trial["attempts"]) == ("completed", 2)
    (ours,), (theirs,) = study.final().values(), alone.final().values()
    assert ours == pytest.approx(theirs, abs=1e-3)
    assert "rank" in study.run("logs", trial["id"][:10], "--rank", "2", code=2)
    study.run("logs", trial["id"][:10], "--rank", "1")
    assert not list(study.workspace.glob("trials/*/*/attempts/*/checkpoints/*")), "the resume state is gone with the result"
