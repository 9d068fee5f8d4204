"""An attempt that was thought dead and lives makes way for the one that has taken its place."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from core.control.derive import UnitStatus
from core.definition.identity import canonical, trial_id
from core.definition.plan import PlannedTrial
from core.definition.trial import TrialConfig
from core.run.attempt import Place, Work, perform, take
from core.run.context import AttemptContext
from core.training.context import Seat
from core.workspace.claim import claim
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter, read_lines
from core.workspace.layout import Trial, Workspace

CONFIG = TrialConfig.model_validate(
    {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}, "rehearsal": {"steps": 4}}
)


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace.open(workspace, create=True)


def test_it_is_asked_to_leave_once_the_next_attempt_is_there(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.run.context.POLL_SECONDS", 0.0)
    trial = Trial(place.trial("a" * 32).folder)
    attempt = claim(trial, 1, "one", {})
    assert attempt is not None
    context = AttemptContext(
        place,
        trial,
        attempt,
        JournalWriter(attempt.journal),
        resume=None,
        device="cpu",
        threads=1,
        keep=1,
        after="weights",
        fingerprints={},
        seat=Seat(),
    )
    assert context.asked() is None
    assert claim(trial, 2, "two", {}, "SLURM says NODE_FAIL") is not None
    assert context.asked() == "stop"


def test_a_checkpoint_that_goes_while_it_is_read_is_no_bug(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = PlannedTrial(trial_id(CONFIG), {}, 0, canonical(CONFIG))
    trial = place.trial(planned.id)
    first = claim(trial, 1, "one", {})
    assert first is not None
    saved = first.checkpoints / "step-00000004"
    publish_folder(saved, first.checkpoints / ".s", lambda at: (at / "state").write_bytes(b"x") and None, {"attempt": 1, "step": 4})

    def train(config: TrialConfig, context: Any) -> None:
        assert context.resume == saved
        shutil.rmtree(saved)  # as the attempt that lives does when it has saved again
        (saved / "state").read_bytes()

    monkeypatch.setattr("core.training.trainer.train", train)
    work = Work("train", UnitStatus("pending", 1, claimable=True, evidence="SLURM says NODE_FAIL"), planned)
    attempt = take(place, work, Place("two"))
    assert attempt is not None
    assert perform(place, work, attempt, Place("two")) == 1
    last = read_lines(attempt.journal)[0][-1]
    assert (last["state"], last["ask"]) == ("interrupted", "stop")
    assert "attempt 1 lives" in last["message"]
