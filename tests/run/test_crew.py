"""Several processes of one attempt: whose word counts at the end, and that none outlives another."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.run.crew import Crew, Forks, Step, lead
from core.run.ending import say, verdict
from core.run.leaving import Allocation
from core.workspace.journal import read_lines
from core.workspace.layout import Attempt

DONE = {"state": "completed"}
LOST = {"state": "failed", "cause": "comm_timeout", "message": "rank 0 lost another rank"}
WRONG = {"state": "failed", "cause": "data_error", "message": "row 7"}
LEFT = {"state": "preempted", "ask": "preempted", "message": "preempted at step 4"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ({0: DONE, 1: DONE}, DONE),
        ({0: LEFT, 1: LEFT}, LEFT),
        ({0: LOST, 1: WRONG}, WRONG | {"message": "rank 1: row 7"}),
        ({0: WRONG, 1: LOST}, WRONG),
        ({0: LOST}, None),
        ({1: DONE}, None),
        ({}, None),
    ],
)
def test_the_word_of_a_rank_that_failed_by_itself_counts(words: dict[int, dict[str, Any]], expected: dict[str, Any] | None) -> None:
    assert verdict(words) == expected


def led(folder: Path, start: Callable[[Attempt], Crew], allocation: Allocation | None = None) -> dict[str, Any]:
    """The last line of an attempt with this crew."""
    attempt = Attempt(folder / "0001")
    attempt.folder.mkdir()
    line = lead(attempt, 2, lambda: start(attempt), allocation or Allocation())
    assert read_lines(attempt.journal)[0][-1] == line
    return line


def test_a_rank_that_dies_takes_the_others_with_it(tmp_path: Path) -> None:
    def perform(rank: int) -> int:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        (tmp_path / "pid").write_text(str(os.getpid()))
        while True:
            time.sleep(0.05)

    line = led(tmp_path, lambda attempt: Forks(2, perform, lambda rank: attempt.rank_output(rank)))
    assert (line["state"], line["cause"], line["message"]) == ("failed", "killed", "rank 1: it received SIGKILL")
    if (tmp_path / "pid").exists():
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_a_rank_that_fails_by_itself_is_named(tmp_path: Path) -> None:
    def perform(rank: int, folder: Path) -> int:
        say(folder, rank, WRONG if rank == 1 else LOST)
        print("printed by", rank)
        return 1

    line = led(tmp_path, lambda attempt: Forks(2, lambda rank: perform(rank, attempt.folder), lambda rank: attempt.rank_output(rank)))
    assert line["cause"] in ("data_error", "comm_timeout")
    assert (tmp_path / "0001" / "output-1.log").read_text() in ("", "printed by 1\n")


def test_told_to_leave_before_there_is_anything_to_save(tmp_path: Path) -> None:
    def start(attempt: Attempt) -> Crew:
        def perform(rank: int) -> int:
            if rank == 0:
                os.kill(os.getppid(), signal.SIGUSR2)
            while True:
                time.sleep(0.05)

        return Forks(2, perform, lambda rank: None)

    time_limit = Allocation(warned=0.0, began=time.time())
    line = led(tmp_path, start, time_limit)
    assert (line["state"], line["ask"]) == ("time_limit", "time_limit")


def test_a_step_of_the_scheduler_is_led_like_forks(tmp_path: Path) -> None:
    script = "import json, sys\nfor rank in (0, 1): open(f'{sys.argv[1]}/rank-{rank}.json', 'w').write(json.dumps({'state': 'completed'}))"
    line = led(tmp_path, lambda attempt: Step([sys.executable, "-c", script, str(attempt.folder)], attempt.output))
    assert line["state"] == "completed"
    assert json.loads((tmp_path / "0001" / "rank-1.json").read_text()) == DONE


def test_a_step_that_says_nothing_is_a_crash_with_its_code(tmp_path: Path) -> None:
    line = led(tmp_path, lambda attempt: Step([sys.executable, "-c", "import sys; print('oh'); sys.exit(7)"], attempt.output))
    assert (line["cause"], line["message"]) == ("crashed", "the process left with code 7 and said nothing")
    assert (tmp_path / "0001" / "output.log").read_text() == "oh\n"
