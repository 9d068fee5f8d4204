"""``sweep report --quick`` of a sweep that has ended takes the index alone, and says the same as the files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.workspace.layout import Workspace
from core.workspace.requests import drop
from sweeps import finished
from sweeps.reporting import finished_study, gather, study
from tests.search.farm import Farm, register

FIXED = "grid: {head.layers: [1, 2]}\nseeds: 2\n"


def curve(config):
    return [{"accuracy": 0.7 + config["head"]["layers"] / 10 + config["seed"] / 100, "loss": 0.5}]


@pytest.fixture
def ended(workspace: Path) -> Farm:
    return Farm(register(workspace, FIXED), curve).run()


def test_what_has_ended_is_read_without_a_look_at_its_folders(ended: Farm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert finished_study(ended.place, ended.revision) is None, "the index has not been brought up to the files yet"
    whole = study(ended.place, ended.revision)
    monkeypatch.setattr(Workspace, "trial", None)  # whoever asks for a folder fails
    quick = finished_study(ended.place, ended.revision)
    assert quick is not None
    bare = [replace(trial, flags=(), reason=None, example_seconds=None, unreadable={}) for trial in whole.trials]
    assert [replace(trial, flags=()) for trial in quick.trials] == bare
    report = gather(ended.place, ended.revision, examples=False)
    assert report.notes[0] == finished.NOTE
    assert [row.metrics["validation/accuracy"].mean for row in report.rows] == pytest.approx([0.805, 0.905])


def test_what_may_still_change_is_asked_of_the_files(ended: Farm) -> None:
    gather(ended.place, ended.revision)
    assert finished_study(ended.place, ended.revision) is not None
    wider = register(ended.place.root, FIXED.replace("[1, 2]", "[1, 2, 3]"))
    assert finished_study(ended.place, wider) is None, "another revision has been launched"
    gather(ended.place, wider)
    assert finished_study(ended.place, wider) is None, "a trial has not run"
    for trial in wider.plan():
        drop(ended.place.trial(trial.id), "cancel")
    assert finished_study(ended.place, wider) is None
    gather(ended.place, wider)
    found = finished_study(ended.place, wider)
    assert found is not None
    assert [trial.state for trial in found.trials] == ["completed"] * 4 + ["cancelled"] * 2
