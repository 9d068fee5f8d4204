"""States are read from files, and no clock has a say in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.control.read import Reader
from core.workspace import process
from core.workspace.claim import claim
from core.workspace.journal import JournalWriter
from core.workspace.layout import Attempt, Trial, Workspace
from core.workspace.requests import drop


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Workspace.open(tmp_path / "runs", create=True).trial("ab" * 16)


def attempt(trial: Trial, number: int = 1, clock: float = 1000.0, **owner: object) -> tuple[Attempt, JournalWriter]:
    made = claim(trial, number, f"w{number}", owner, "evidence" if number > 1 else None)
    assert made is not None
    journal = JournalWriter(made.journal, clock=lambda: clock)
    journal.write("started", attempt=number, resumed=None)
    return made, journal


def reader(trial: Trial) -> Reader:
    return Reader(Workspace.open(trial.folder.parent.parent.parent))


@pytest.mark.parametrize("clock", [0.0, 4e9, 1000.0])
def test_a_wrong_clock_changes_no_state(trial: Trial, clock: float) -> None:
    _, journal = attempt(trial, clock=clock)
    assert reader(trial).trial(trial).state == "running"
    journal.write("ended", state="interrupted", ask="stop")
    status = reader(trial).trial(trial)
    assert (status.state, status.claimable, status.evidence) == ("pending", True, "its journal's last line")
    attempt(trial, 2, clock=clock - 500 if clock else 0.0)  # a host whose clock is behind
    assert reader(trial).trial(trial).state == "running"


def test_an_owner_on_another_host_is_unknown_until_there_is_proof(trial: Trial) -> None:
    attempt(trial, host="elsewhere")
    assert reader(trial).trial(trial).state == "unknown"
    drop(trial, "force")
    status = reader(trial).trial(trial)
    assert (status.state, status.evidence) == ("pending", "declared dead by a user")


def test_an_owner_that_is_gone_is_lost_with_the_pid_as_evidence(trial: Trial) -> None:
    attempt(trial, pid=2**22 + 1, start=1)
    status = reader(trial).trial(trial)
    assert status.claimable
    assert status.last is not None
    assert status.last.state == "lost"
    assert status.evidence == f"no process {2**22 + 1} on {process.host()['host']}, same boot"


def test_a_torn_owner_file_is_unknown_and_breaks_nothing(trial: Trial) -> None:
    made, _ = attempt(trial)
    (made.folder / "owner.json").write_text("{")
    assert reader(trial).trial(trial).state == "unknown"


def test_a_reader_that_looks_again_sees_what_a_fresh_one_sees(trial: Trial) -> None:
    old = reader(trial)
    _, journal = attempt(trial)
    assert old.trial(trial).state == "running"
    journal.write("metrics", group="train", step=3, values={"loss": 0.5})
    journal.write("ended", state="failed", cause="user_bug", message="a bug")
    assert old.trial(trial) == reader(trial).trial(trial)
    assert old.trial(trial).cause == "user_bug"
