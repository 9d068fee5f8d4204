"""What a user sees of a search: plan, status, explain, report, and the commands of its own."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from farm import HEAD, Farm, register
from test_search_ticks import curve, search

from core.errors import DefinitionError, UsageError
from sweeps.cli.main import app


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert app(list(words), standalone_mode=False) in (0, None)
    return capsys.readouterr().out


def data(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    return json.loads(run(capsys, *words, "--json"))


TEXT = search("sampler: tpe, pruner: asha, replicate: 1", rest="seeds: 2\n").replace("n_cells: 8", "n_cells: 24")


@pytest.fixture
def farm(workspace: Path) -> Farm:
    return Farm(register(workspace, TEXT), curve).run()


def test_every_view_says_how_far_it_is_what_was_stopped_and_why(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    status = data(capsys, "status", "tuned")
    (study,) = status["search"]["studies"]
    assert study["asked"] == 24
    stopped = [item for item in study["suggestions"] if item["told"] == "pruned"]
    assert study["told"]["pruned"] == len(stopped) > 0
    assert all("of training its validation/accuracy" in item["reason"] for item in stopped)
    assert "search by tpe with asha: 24 of 24 cells suggested" in run(capsys, "status", "tuned")
    said = run(capsys, "explain", stopped[0]["trial"][:12])
    assert f"it is pruned: {stopped[0]['reason']}" in said
    assert f"suggested by tpe as number {stopped[0]['number']} of 24" in said
    report = data(capsys, "report", "tuned")
    assert any("24 of 24 cells suggested" in note for note in report["notes"])
    assert any("its first seed's value is optimistic" in note for note in report["notes"])
    rows = {json.dumps(row["cell"]): row for row in report["rows"] if row["kind"] == "cell"}
    assert len(rows) == 24
    best = next(item for item in study["suggestions"] if item["trial"] == study["best"][0])
    planned = next(trial.planned for trial in farm.reader.state().trials if trial.planned.id == best["trial"])
    assert rows[json.dumps(dict(planned.cell))]["n"] == 2, "the best has its replicate"
    plan = data(capsys, "plan", str(farm.place.root.parent / "tuned.yaml"), "--rehearse")
    assert (plan["search"]["asked"], plan["counts"]["cells"], plan["counts"]["trials"]) == (24, 24, len(status["trials"]))
    assert len(data(capsys, "list")) == 1


def test_show_lists_the_best_first_and_what_matters(farm: Farm, capsys: pytest.CaptureFixture[str]) -> None:
    found = data(capsys, "search", "show", "tuned")
    (study,) = found["studies"]
    finished = sorted((item["values"][0] for item in study["suggestions"] if item["values"]), reverse=True)
    text = run(capsys, "search", "show", "tuned")
    lines = [line.split() for line in text.splitlines() if " complete " in line]
    assert [f"{value:.4g}" for value in finished] == [line[5] for line in lines]
    if len(finished) >= 8:
        assert sum(study["importance"].values()) == pytest.approx(1)
        assert set(study["importance"]) == {"optim.lr", "head.activation"}


def test_importance_finds_what_matters(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    space = "{optim.lr: {low: 1e-8, high: 1e-4, log: true}, optim.weight_decay: {low: 0, high: 0.1}}"
    text = search("sampler: random", space=space).replace("n_cells: 8", "n_cells: 40")
    Farm(register(workspace, text), curve).run()
    shares = data(capsys, "search", "show", "tuned")["studies"][0]["importance"]
    assert next(iter(shares)) == "optim.lr"
    assert shares["optim.lr"] > 0.6


def test_plots_are_written_and_name_what_they_show(farm: Farm, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    written = run(capsys, "search", "plot", "tuned", "-o", str(tmp_path / "new" / "pictures")).split()
    assert [Path(name).name for name in written] == ["history.svg", "importance.svg", "parallel.svg", "slices.svg"]
    for name in written:
        assert ElementTree.parse(name).getroot().tag.endswith("svg")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_the_export_is_a_study_that_optuna_reads(farm: Farm, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import optuna

    file = tmp_path / "study.db"
    assert f"optuna-dashboard sqlite:///{file}" in run(capsys, "search", "export", "tuned", "-o", str(file))
    study = optuna.load_study(study_name="tuned-rehearsal", storage=f"sqlite:///{file}")
    (own,) = farm.search.studies
    assert [trial.user_attrs["trial"] for trial in study.trials] == [item.planned.id for item in own.suggestions]
    assert study.best_trial.user_attrs["trial"] == farm.search.best(own)[0].planned.id
    states = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "open": "RUNNING"}
    assert [trial.state.name for trial in study.trials] == [states[item.told] for item in own.suggestions]
    assert [len(trial.intermediate_values) for trial in study.trials] == [len(item.curve) for item in own.suggestions]
    with pytest.raises(UsageError, match="there already"):
        run(capsys, "search", "export", "tuned", "-o", str(file))


def test_cancel_and_pause_stop_the_asking_and_resume_goes_on(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    farm = Farm(register(workspace, TEXT), curve)
    farm.tick()
    run(capsys, "pause", "tuned", "--yes")
    assert farm.reader.state().counts() == {"held": 4}
    assert farm.search.halted
    run(capsys, "resume", "tuned", "--yes")
    assert not farm.search.halted
    run(capsys, "cancel", "tuned", "--yes")
    assert farm.search.halted
    assert "it asks for no more" in run(capsys, "search", "show", "tuned")
    assert register(workspace, TEXT).number == 1
    assert farm.reader.state().counts() == {"pending": 4}
    assert not farm.search.halted


def test_a_sweep_without_a_search_is_named_as_one(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    register(workspace, "grid: {head.layers: [1, 2]}\n", name="plain")
    with pytest.raises(UsageError, match="no search"):
        run(capsys, "search", "show", "plain")


def test_of_several_studies_one_is_named(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = search("sampler: random", space="{optim.lr: [1e-7, 1e-6]}", rest="grid: {head.activation: [none, silu]}\n")
    Farm(register(workspace, text), curve).run()
    with pytest.raises(UsageError, match="which of the searches") as caught:
        run(capsys, "search", "plot", "tuned", "-o", str(workspace / "x"))
    assert "head.activation=none, head.activation=silu" in str(caught.value)
    assert len(data(capsys, "search", "show", "tuned", "--study", "head.activation=silu")["studies"]) == 1


@pytest.mark.parametrize(
    ("objective", "close"),
    [("validation/acuracy", "validation/accuracy"), ("generated_images/acuracy", "generated_images/accuracy")],
)
def test_an_objective_that_no_trial_reports_is_refused_with_its_line(objective: str, close: str, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text(HEAD + f"evaluate: [generated_images]\nobjective:\n  metric: {objective}\n" + search("sampler: tpe"))
    with pytest.raises(DefinitionError, match="no trial reports") as caught:
        app(["plan", str(file), "--rehearse"], standalone_mode=False)
    assert str(caught.value.place) == f"{file}:6"
    assert caught.value.nearest == close


def test_the_validation_metrics_are_those_that_training_reports() -> None:
    import torch

    from core.training.config import VALIDATION_METRICS
    from core.training.losses import RewardBatch
    from core.training.trainer import summarise

    rewards, no = torch.tensor([1.0, 0.0]), torch.tensor([False, False])
    batch = RewardBatch(rewards, -rewards, rewards, rewards, no, rewards, rewards)
    assert {"loss", *summarise([batch])} == set(VALIDATION_METRICS)
