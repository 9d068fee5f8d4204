"""All processes of a user together ask SLURM no more than one polite client would."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from slurm.polling import SQUEUE, Reply
from slurm.shared import SPENT, SharedCalls


class Slurm:
    """Counts what it is asked, with a clock that is wound by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked: list[Sequence[str]] = []
        self.reply = Reply(0, "a row", "")

    def ask(self, command: Sequence[str]) -> Reply:
        self.asked.append(command)
        return self.reply

    def clock(self) -> float:
        return self.now


@pytest.fixture
def slurm() -> Slurm:
    return Slurm()


def process(slurm: Slurm, home: Path, budget: float = 12) -> SharedCalls:
    return SharedCalls(budget, slurm.ask, slurm.clock, home)


def test_what_one_process_asked_the_others_read(slurm: Slurm, tmp_path: Path) -> None:
    replies = {process(slurm, tmp_path).ask(SQUEUE) for _ in range(20)}
    assert replies == {Reply(0, "a row", "")}
    assert len(slurm.asked) == 1
    slurm.now += 10.0
    process(slurm, tmp_path).ask(SQUEUE)
    assert len(slurm.asked) == 2, "12 calls a minute, half of them for the queue: one in 10 s"


def test_processes_at_the_same_moment_ask_once(slurm: Slurm, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: process(slurm, tmp_path).ask(SQUEUE), range(16)))
    assert len(slurm.asked) == 1


def test_other_questions_stop_at_the_budget_and_go_on_a_minute_later(slurm: Slurm, tmp_path: Path) -> None:
    words = ("scontrol", "show", "job", "7")
    replies = [process(slurm, tmp_path, 4).ask(words) for _ in range(6)]
    assert replies[3].code == 0 and replies[4:] == [SPENT, SPENT]
    slurm.now += 60.0
    assert process(slurm, tmp_path, 4).ask(words).code == 0


def test_a_controller_in_trouble_is_left_alone_longer_each_time_by_all(slurm: Slurm, tmp_path: Path) -> None:
    slurm.reply = Reply(1, "", "Unable to contact slurm controller")
    for _ in range(600):
        assert process(slurm, tmp_path).ask(SQUEUE).code == 1
        slurm.now += 1.0
    assert len(slurm.asked) == 5, "after 0, 20, 60, 140 and 300 s"
    slurm.now += 1.0
    slurm.reply = Reply(0, "a row", "")
    assert process(slurm, tmp_path).ask(SQUEUE).code == 0


def test_a_clock_that_is_wrong_and_a_file_that_is_torn_only_cost_a_call(slurm: Slurm, tmp_path: Path) -> None:
    shared = process(slurm, tmp_path)
    shared.ask(SQUEUE)
    slurm.now -= 3600.0
    shared.ask(SQUEUE)
    shared.file.write_text('{"squeue": ', encoding="utf-8")
    shared.ask(SQUEUE)
    assert len(slurm.asked) == 3


def test_without_a_place_to_meet_each_asks_for_itself(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nowhere = process(slurm, tmp_path / "file" / "below")
    assert [nowhere.ask(SQUEUE).code for _ in range(3)] == [0, 0, 0]
    assert len(slurm.asked) == 3
