"""What `cancel`, `pause`, `resume` and `retry` take: cells by value, causes, and trials that are trained and still to be scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.control.tick import SweepReader, hold_back
from core.definition import load
from core.definition.plan import PlannedTrial, Shape
from core.errors import UsageError
from core.workspace.claim import claim
from core.workspace.files import publish_folder
from core.workspace.journal import JournalWriter
from core.workspace.layout import Trial, Workspace
from core.workspace.registration import newest, register
from core.workspace.requests import asked
from sweeps.cli.main import app
from sweeps.launching import prepare

RECORD = '{"metrics": {}, "flags": [], "fingerprints": {"code": "older"}}'
ENTRY = {"benchmark": {"name": "generated_images"}, "revision": "r1"}


@pytest.fixture
def place(workspace: Path) -> Workspace:
    return Workspace.open(workspace, create=True)


def registered(place: Workspace, cells: list[dict[str, Any]], evaluate: tuple[dict[str, Any], ...] = ()) -> SweepReader:
    plan = [PlannedTrial(f"{n:032x}", cell, 0, {}, Shape(), evaluate=evaluate) for n, cell in enumerate(cells, 1)]
    meta = {"digest": "d", "name": "study", "rehearsal": False, "failures": {"same_bug": 2}}
    return SweepReader(place, register(place, place.sweep("study"), meta=meta, definition="", code=[], trials=plan)[0])


def trained(trial: Trial) -> None:
    publish_folder(trial.result, trial.folder / ".result", lambda at: (at / "metrics.json").write_text(RECORD, encoding="utf-8"), {})


def failed(trial: Trial, cause: str, signature: str | None = None) -> None:
    attempt = claim(trial, 1, trial.id, {})
    assert attempt is not None
    journal = JournalWriter(attempt.journal)
    journal.write("started", attempt=1, resumed=None)
    journal.write("ended", state="failed", cause=cause, message="m", **({"signature": signature} if signature else {}))
    journal.close()


def run(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """The trials that a command took, as their last digits."""
    assert app([*words, "--json"], standalone_mode=False) == 0
    (ids,) = json.loads(capsys.readouterr().out).values()
    return [str(id).lstrip("0") for id in ids]


def scorings(reader: SweepReader) -> list[str]:
    return [unit.state for trial in reader.state().trials for unit in trial.scorings.values()]


def test_scorings_of_trained_trials_are_cancelled_paused_and_taken_up_again(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    reader = registered(place, [{"head.layers": 1}, {"head.layers": 2}], (ENTRY,))
    for planned in reader.plan:
        trained(place.trial(planned.id))
    assert scorings(reader) == ["pending", "pending"]
    assert run(capsys, "pause", "study") == ["1", "2"]
    assert scorings(reader) == ["held", "held"]
    assert run(capsys, "resume", "study") == ["1", "2"]
    assert run(capsys, "cancel", "study", "--cell", "head.layers=2") == ["2"]
    assert scorings(reader) == ["pending", "cancelled"]
    assert not any(unit.claimable for trial in reader.state().trials[1:] for unit in trial.scorings.values())
    assert run(capsys, "cancel", "study") == ["1"], "what is cancelled already is left alone"
    assert run(capsys, "retry", "study") == ["1", "2"]
    assert scorings(reader) == ["pending", "pending"]


def test_a_trial_that_failed_has_no_scoring_to_cancel(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    reader = registered(place, [{"head.layers": 1}], (ENTRY,))
    failed(place.trial(reader.plan[0].id), "user_bug")
    assert run(capsys, "cancel", "study") == []


def test_a_new_launch_takes_up_cancelled_scorings(tmp_path: Path, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(
        "version: 1\nname: study\ntrial: {backbone: qwen2.5-vl-3b, data: {sources: {generated_images: {}}}, train: {epochs: 1}}\n"
        "evaluate: [generated_images]\n",
        encoding="utf-8",
    )
    given: dict[str, Any] = {"source": str(file), "overrides": [], "stale": "keep", "prune": False}
    place, _ = prepare(load(file, rehearsal=True), workspace, **given)
    revision = newest(place.sweep("study-rehearsal"))
    assert revision is not None
    reader = SweepReader(place, revision)
    trained(place.trial(reader.plan[0].id))
    run(capsys, "cancel", "study-rehearsal")
    assert scorings(reader) == ["cancelled"]
    _, again = prepare(load(file, rehearsal=True), workspace, **given)
    assert again.revived == 1
    assert scorings(reader) == ["pending"]


CELLS: list[dict[str, Any]] = [
    {"optim.lr": 3e-6, "train.freeze": ["vision"], "execution.activation_checkpointing": True, "data.sources.a.cap": None},
    {"optim.lr": 1e-5, "train.freeze": [], "execution.activation_checkpointing": False, "data.sources.a.cap": 1},
]


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("optim.lr=3e-6", "1"),
        ("optim.lr=0.00001", "2"),
        ("optim.lr=1e-05", "2"),
        ("train.freeze=[vision]", "1"),
        ("train.freeze=[]", "2"),
        ("execution.activation_checkpointing=true", "1"),
        ("execution.activation_checkpointing=False", "2"),
        ("data.sources.a.cap=null", "1"),
        ("data.sources.a.cap=1", "2"),
    ],
)
def test_a_cell_is_named_by_a_value_as_a_grid_would_take_it(
    place: Workspace, capsys: pytest.CaptureFixture[str], cell: str, found: str
) -> None:
    registered(place, CELLS)
    assert run(capsys, "pause", "study", "--cell", cell) == [found]


@pytest.mark.parametrize(
    ("cells", "found", "allowed", "close"),
    [
        (("optim.rl=1",), "optim.rl", "optim.lr", "optim.lr"),
        (("optim.lr=3e-7",), "optim.lr=3e-7", "optim.lr=3e-06", "3e-06"),
        (("data.sources.a.cap=true",), "data.sources.a.cap=true", "data.sources.a.cap=null", None),
        (("optim.lr",), "optim.lr", "optim.lr", "optim.lr"),
        (("optim.lr=3e-6", "train.freeze=[]"), "optim.lr=3e-6 train.freeze=[]", None, None),
    ],
)
def test_a_cell_that_is_not_there_is_an_error_and_no_empty_selection(
    place: Workspace, cells: tuple[str, ...], found: str, allowed: str | None, close: str | None
) -> None:
    registered(place, CELLS)
    with pytest.raises(UsageError) as error:
        app(["cancel", "study", *(word for cell in cells for word in ("--cell", cell))], standalone_mode=False)
    assert error.value.found == found
    assert allowed is None or allowed in (error.value.allowed or ())
    assert error.value.allowed and error.value.next and (close is None or error.value.nearest == close)


def test_a_retry_by_cause_lifts_what_is_held_for_that_cause_alone(place: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    reader = registered(place, [{"head.name": name, "optim.lr": n} for name in ("mlp", "linear") for n in range(3)])
    for planned, cause in zip(reader.plan, ("user_bug", "user_bug", "", "data_error", "data_error", ""), strict=True):
        if cause:
            failed(place.trial(planned.id), cause, cause)
    hold_back(reader)
    held = [place.trial(planned.id) for planned in (reader.plan[2], reader.plan[5])]
    assert [asked(trial).causes for trial in held] == [("user_bug",), ("data_error",)]
    assert run(capsys, "retry", "study", "--cause", "data_error") == ["4", "5", "6"]
    assert asked(held[0]).stop == "pause" and asked(held[1]).stop is None
