"""A scoring that runs hears requests as training does, and uses the batch that the last failure left it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.control.derive import UnitStatus
from core.control.read import Reader
from core.control.remedy import Remedy
from core.definition.identity import canonical, trial_id
from core.definition.plan import PlannedTrial
from core.definition.trial import TrialConfig
from core.run.attempt import Place, Work, perform, take
from core.workspace.journal import read_lines
from core.workspace.layout import Workspace
from core.workspace.requests import Request, asked, drop

CONFIG = TrialConfig.model_validate(
    {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}, "rehearsal": {"steps": 4}}
)


@pytest.mark.parametrize(
    ("request_", "ask", "after"), [("cancel", "cancel", "cancelled"), ("pause", "pause", "held"), (None, "pause", "held")]
)
def test_a_scoring_leaves_after_its_batch(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, request_: Request | None, ask: str, after: str
) -> None:
    place = Workspace.open(workspace, create=True)
    planned = PlannedTrial(trial_id(CONFIG), {}, 0, canonical(CONFIG))
    trial, batches = place.trial(planned.id), list[int]()

    def score(weights: Path, config: TrialConfig, benchmark: Any, *, batch: int, on_progress: Any, **more: Any) -> None:
        batches.append(batch)
        on_progress(batch, 100)
        drop(trial, request_) if request_ is not None else (place.root / "HOLD").touch()
        on_progress(2 * batch, 100)
        raise AssertionError("it goes on")

    monkeypatch.setattr("core.evaluation.scorer.score_trial", score)
    status = UnitStatus("pending", claimable=True, remedy=Remedy({"scoring_batch": 4}))
    work = Work("score", status, planned, key="k", evaluate={"benchmark": {"name": "generated_images"}, "revision": "r"})
    attempt = take(place, work, Place("w"))
    assert attempt is not None
    assert perform(place, work, attempt, Place("w")) == 1
    lines = read_lines(attempt.journal)[0]
    assert (lines[-1]["state"], lines[-1]["ask"]) == ("interrupted", ask)
    assert batches == [4] and (lines[0]["execution"], lines[0]["changed"]) == ({"scoring_batch": 4}, {"scoring_batch": 4})
    assert Reader(place).scoring(trial.scoring("k"), held=place.held, wish=asked(trial).of_scoring("k")).state == after
