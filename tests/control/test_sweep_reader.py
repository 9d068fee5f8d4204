"""A sweep is read again and again: what is finished costs nothing, and what waits for its canaries is seen to."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.control.decide import Limits, decide
from core.control.ports import Submit
from core.control.read import Reader
from core.control.tick import SweepReader, hold_back
from core.definition.plan import PlannedTrial, Shape
from core.workspace.claim import claim
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import Revision, choose_canaries, register
from core.workspace.requests import asked, drop

PLAN = [PlannedTrial(f"{n:032x}", {"head.layers": 1 + n % 2, "optim.lr": n}, 0, {}, Shape()) for n in range(6)]


@pytest.fixture
def revision(workspace: Path) -> Revision:
    place = Workspace.open(workspace, create=True)
    meta = {"digest": "d", "rehearsal": False, "name": "s", "failures": {"same_bug": 2}}
    return register(place, place.sweep("s"), meta=meta, definition="", code=[], trials=PLAN)[0]


def reader(revision: Revision) -> SweepReader:
    return SweepReader(Workspace.open(revision.folder.parents[3]), revision)


def begin(trial: Trial, *steps: int) -> JournalWriter:
    attempt = claim(trial, 1, "w", {})
    assert attempt is not None
    journal = JournalWriter(attempt.journal)
    journal.write("started", attempt=1, resumed=None)
    for step in steps:
        journal.write("progress", step=step, total=9, values={})
    return journal


def test_a_trial_with_a_result_is_not_read_again_and_an_open_one_is(revision: Revision, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = reader(revision)
    done = sweep.workspace.trial(PLAN[0].id)
    publish_folder(done.result, done.folder / ".result", lambda at: (at / "x").touch(), {"attempt": 1})
    assert sweep.trial(PLAN[0]).train.state == "completed"
    drop(sweep.workspace.trial(PLAN[1].id), "checkpoint")
    read: list[str] = []
    monkeypatch.setattr(Reader, "attempts", lambda self, unit, wish=None: read.append(unit.folder.name) or [])
    assert sweep.state().counts() == {"completed": 1, "pending": 5}
    assert PLAN[0].id not in read and PLAN[1].id in read


def test_trials_wait_for_the_canary_that_shares_their_value_and_a_worker_is_sent_for_it_alone(revision: Revision) -> None:
    choose_canaries(revision.sweep, [PLAN[0].id, PLAN[1].id])
    sweep = reader(revision)
    state = sweep.state()
    assert state.counts() == {"pending": 2, "blocked": 4}
    assert decide(state, Limits(8), 0.0) == [Submit(Shape(), 2)]
    first = begin(sweep.workspace.trial(PLAN[0].id), 1, 3)
    assert sweep.state().counts() == {"running": 1, "pending": 1, "blocked": 4}, "it trains, and has not saved"
    for _ in range(2):
        sweep.ask_canaries()
    assert asked(sweep.workspace.trial(PLAN[0].id)).checkpoints == 1 and asked(sweep.workspace.trial(PLAN[1].id)).count == 0
    first.write("checkpoint", step=3, folder="step-00000003", seconds=0.1)
    states = [trial.train.state for trial in sweep.state().trials]
    assert states == ["running", "pending", "pending", "blocked", "pending", "blocked"], "one layer has been seen to work"
    begin(sweep.workspace.trial(PLAN[1].id), 1, 3).write("checkpoint", step=3, folder="step-00000003", seconds=0.1)
    assert sweep.state().counts() == {"running": 2, "pending": 4}
    choose_canaries(revision.sweep, [])
    assert reader(revision).canaries.passed


def test_after_two_identical_bugs_a_worker_claims_nothing_more_of_their_family(revision: Revision) -> None:
    sweep = reader(revision)
    for planned in PLAN[:2]:
        journal = begin(sweep.workspace.trial(planned.id))
        journal.write("ended", state="failed", cause="user_bug", message="KeyError: 'a'", signature="abc")
    hold_back(sweep)
    assert sweep.state().counts() == {"failed": 2, "held": 4}
    assert "identical traceback" in str(asked(sweep.workspace.trial(PLAN[5].id)).why)
