"""A sweep whose trials need a stage: run once, released by the driver, counted nowhere; what cannot run yet is named."""

import json

import pytest
from typer.testing import CliRunner

from sweeps.cli.main import app

pytestmark = [pytest.mark.launch, pytest.mark.training]

STUDY = """\
version: 1
name: needing
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {generated_images: {}}}
  train: {epochs: 1}
  execution: {threads: 1}
  rehearsal: {steps: 2, pairs: 24, items: 8}
needs:
  critiques: {trial: {task: annotate, paradigm: {name: critic, max_new_tokens: 4}, annotate: {tries: 1}}}
cases:
  - {paradigm: critic, paradigm.max_new_tokens: 4, paradigm.critiques: '${needs.critiques}', optim.lr: [1e-5, 3e-6]}
  - {paradigm: generative_cot, paradigm.reinforce: stable_reinforce}
evaluate: [generated_images]
"""


def call(*words):
    found = CliRunner().invoke(app, list(words))
    return found.exit_code, found.output


def test_a_stage_runs_once_and_blocked_trials_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "needing.yaml").write_text(STUDY)
    code, said = call("launch", "needing.yaml", "--rehearse")
    assert code == 0, said
    assert "blocked" in said and "reinforcement learning" in said
    status = json.loads(call("status", "needing", "--json")[1])
    assert status["counts"] == {"completed": 2, "blocked": 1} and status["stages"] == {"completed": 1}
    [stage] = [trial for trial in status["trials"] if trial.get("stage") == "critiques"]
    assert stage["attempts"] == 1
    plan = json.loads(call("plan", "needing.yaml", "--rehearse", "--json")[1])
    assert plan["counts"]["cells"] == 3 and plan["counts"]["reused"] == 2 and plan["counts"]["blocked"] == 1
    assert [shown["action"] for shown in plan["stages"]] == ["reused"]
    report = json.loads(call("report", "needing", "--json")[1])
    assert len([row for row in report["rows"] if row["kind"] == "cell"]) == 3
    [listed] = json.loads(call("list", "--json")[1])
    assert listed["trials"] == 3, "a stage is no trial of the sweep"
    [waiting] = [trial["id"] for trial in status["trials"] if trial["state"] == "blocked"]
    assert "reinforcement learning" in call("explain", waiting)[1]
