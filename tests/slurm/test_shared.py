"""All processes of a user together ask SLURM no more than one polite client would."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from core.control.ports import Submit
from core.definition.plan import Shape
from core.workspace.layout import Workspace
from slurm import dispatch
from slurm.polling import SQUEUE, Reply
from slurm.profile import Cluster, Profile
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


@pytest.mark.parametrize("budget", [12, 5, 1, 0.5])
def test_the_budget_holds_in_any_minute_whatever_is_asked(slurm: Slurm, tmp_path: Path, budget: float) -> None:
    times: list[float] = []
    random = Random(7)
    for _ in range(1500):
        before = len(slurm.asked)
        words = SQUEUE if random.random() < 0.5 else ("sacct", f"--jobs={random.randrange(9)}")
        process(slurm, tmp_path, budget).ask(words)
        times += [slurm.now] * (len(slurm.asked) - before)
        slurm.now += random.choice((0.0, 0.1, 1.0, 5.0))
    most = max(sum(1 for other in times if 0 <= t - other < 60.0) for t in times)
    assert most == max(1, int(budget))
    assert sum(command == SQUEUE for command in slurm.asked) >= len(times) / 4, "nobody keeps the queue from being asked for"


def test_what_cannot_wait_is_done_at_once_and_lets_the_questions_wait(slurm: Slurm, tmp_path: Path) -> None:
    shared = process(slurm, tmp_path)
    shared.ask(SQUEUE)
    for _ in range(11):
        assert process(slurm, tmp_path).act(("sbatch", "x")).code == 0
    slurm.reply = Reply(0, "another row", "")
    for _ in range(3):
        shared.ask(("sacct",))
    assert [command[0] for command in slurm.asked] == ["squeue", *["sbatch"] * 11, "sacct", "sacct"], "a quarter is always for questions"
    slurm.now += 30.0
    assert shared.ask(SQUEUE).out == "a row", "the last answer holds while the budget is used up"
    assert shared.act(("scontrol", "show", "hostnames", "node[1-4]")).code == 0
    slurm.now += 31.0
    assert shared.ask(SQUEUE).out == "another row"
    assert process(slurm, tmp_path).act(("scancel", "7")).out == "another row"
    for _ in range(20):
        shared.ask(("sacct",))
    assert [command[0] for command in slurm.asked[14:]] == ["scontrol", "squeue", "scancel", *["sacct"] * 10]


def test_submissions_and_what_they_must_know_are_counted(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the ordinary way: whoever makes a submitter without a word about it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name in ("sbatch", "scontrol", "squeue"):
        (binaries / name).write_text("#!/bin/sh\necho Submitted batch job 7\n", encoding="utf-8")
        (binaries / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(binaries), prepend=":")
    place = Workspace.open(workspace, create=True)
    submitter = dispatch.submitter(place, Cluster("c", Profile(kind="slurm")), "nowhere:main", 2)
    assert submitter.submit("s", 1, Submit(Shape(), 2))
    assert len(SharedCalls(12).noted.read_text().split()) == 3, "sbatch, and MaxArraySize and the partition's limit before it"
