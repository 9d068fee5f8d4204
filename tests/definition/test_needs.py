"""`needs`: stages, trials of other sweeps, models; references in identities, and what is refused."""

from pathlib import Path

import pytest

from core.definition import expand, load
from core.definition.plan import PlannedTrial
from core.errors import DefinitionError

BASE = """\
version: 1
name: study
seeds: 2
trial: {backbone: qwen2.5-vl-7b, data: {sources: {pairs: {type: file}}}, train: {epochs: 1}}
"""
STAGE = """\
needs:
  critiques: {trial: {task: annotate, paradigm: critic, annotate: {model: gpt-4o, endpoint: "https://example.org/v1"}}}
cases:
  - {paradigm: naive}
  - {paradigm: critic, paradigm.critiques: "${needs.critiques}", optim.lr: [1e-5, 1e-6]}
"""


def study(folder: Path, text: str, *overrides: str) -> list[PlannedTrial]:
    (folder / "study.yaml").write_text(BASE + text)
    expansion = expand(load(folder / "study.yaml", overrides))
    return [*expansion.stages(), *expansion.trials()]


def test_a_stage_is_one_trial_that_no_cell_counts(tmp_path: Path) -> None:
    stage, *trials = study(tmp_path, STAGE)
    assert stage.stage == "critiques" and stage.config["task"] == "annotate" and stage.evaluate == ()
    assert len(trials) == 6 and [trial.stage for trial in trials] == [None] * 6
    needing = [trial for trial in trials if trial.config["paradigm"]["name"] == "critic"]
    assert [trial.needed_trials for trial in needing] == [[stage.id]] * 4
    assert [trial.needs for trial in trials if trial not in needing] == [{}] * 2


def test_another_writer_makes_other_trials_of_those_that_need_it_alone(tmp_path: Path) -> None:
    before, after = ({t.id for t in study(tmp_path, text)} for text in (STAGE, STAGE.replace("gpt-4o", "gpt-5")))
    assert len(before & after) == 2
    elsewhere = {t.id for t in study(tmp_path, STAGE.replace("example.org", "example.com"))}
    assert elsewhere == before, "where the model is reached is no part of what it writes"


def test_a_stage_that_nobody_needs_is_not_run(tmp_path: Path) -> None:
    assert [t.stage for t in study(tmp_path, STAGE.replace('paradigm.critiques: "${needs.critiques}", ', ""))] == [None] * 6


def test_a_plan_line_is_read_back(tmp_path: Path) -> None:
    for planned in study(tmp_path, STAGE):
        assert PlannedTrial.from_json(planned.to_json()) == planned


def test_a_trial_of_another_sweep_is_named_by_its_cell_and_the_same_seed(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(BASE.replace("study", "other") + "grid: {optim.lr: [1e-5, 1e-6]}\n")
    other = {(t.config["optim"]["lr"], t.seed): t.id for t in expand(load(tmp_path / "other.yaml")).trials()}
    need = "needs: {rm: {sweep: other.yaml, where: {optim.lr: 1e-6}}}\n"
    trials = study(tmp_path, need + 'grid: {paradigm.critiques: ["${needs.rm}"], paradigm: [critic]}\n')
    assert [t.needed_trials for t in trials] == [[other[(1e-6, 0)]], [other[(1e-6, 1)]]]
    fixed = study(tmp_path, need.replace("}}}", "}, seed: 1}}") + 'grid: {paradigm.critiques: ["${needs.rm}"], paradigm: [critic]}\n')
    assert {id for t in fixed for id in t.needed_trials} == {other[(1e-6, 1)]}


def test_a_model_in_a_folder_is_known_by_what_lies_in_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    text = 'needs: {m: {model: ./model}}\ngrid: {paradigm.critiques: ["${needs.m}"], paradigm: [critic]}\n'
    first = study(tmp_path, text)
    assert list(first[0].needs.values()) == [f"model:{tmp_path / 'model'}"] and first[0].needed_trials == []
    (tmp_path / "model" / "config.json").write_text("{1}")
    assert study(tmp_path, text)[0].id != first[0].id


WRONG = {
    "needs: {a: {sweep: nowhere}}\n": "not there",
    "needs: {a: {model: ./nowhere}}\n": "not there",
    "needs: {a: {}}\n": "exactly one of",
    "needs: {a: {sweep: other.yaml}}\n": "names 2",
    "needs: {a: {sweep: other.yaml, where: {optim.lr: 1e-5}, seed: 7}}\n": "seed",
    "needs: {a: {sweep: study.yaml}}\n": "cycle",
    'grid: {paradigm.critiques: ["${needs.b}"], paradigm: [critic]}\n': "needs",
    "needs: {a: {trial: {task: annotate, paradigm: critic, optim: {lrr: 1}}}}\n": "lrr",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.yaml").write_text(BASE.replace("study", "other") + "grid: {optim.lr: [1e-5, 1e-6]}\n")
    with pytest.raises(DefinitionError, match=WRONG[text]):
        study(tmp_path, text)


def test_what_this_version_cannot_do_is_blocked_with_the_reason(tmp_path: Path) -> None:
    trials = study(tmp_path, "cases: [{paradigm: generative_cot}, {paradigm: generative_cot, paradigm.reinforce: stable_reinforce}]\n")
    assert [t.waits is None for t in trials] == [True, True, False, False]
    assert "reinforcement learning" in str(trials[-1].waits)


def test_a_definition_with_needs_means_the_same_read_again(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(BASE + STAGE)
    definition = load(tmp_path / "study.yaml")
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "study.yaml").write_text(definition.text())
    again = load(tmp_path / "again" / "study.yaml")
    assert [t.id for t in expand(again).trials()] == [t.id for t in expand(definition).trials()]
