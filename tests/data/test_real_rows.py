"""A rehearsal with real rows: the real readers run, what is not here is generated, and a wrong row shows on the laptop."""

from __future__ import annotations

import json

import pytest

from core.data import load_data
from core.definition.identity import trial_id
from core.definition.trial import RehearsalConfig, TrialConfig
from core.errors import DefinitionError, UsageError
from core.evaluation.benchmarks import load
from core.evaluation.scorer import score_baseline, summarise
from sweeps.planning import make, read, real_rows

SHP = {"post_id": "p", "history": "q", "human_ref_A": "yes", "human_ref_B": "no", "labels": 1}
DEFINITION = """\
version: 1
name: real
trial:
  backbone: qwen2.5-vl-3b
  data: {sources: {shp: {}, rlaif_v: {}, pictures: {path: pictures.jsonl}}}
  train: {steps: 1}
evaluate: [rm_bench, rewardbench]
resources: {gpus: 0}
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "shp/a").mkdir(parents=True)
    rows = [{**SHP, "history": f"q{n}", "post_id": f"p{n}"} for n in range(20)]
    (tmp_path / "shp/a/train.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "pictures.jsonl").write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b", "image": "lost.png"}) + "\n")
    row = {"id": "1", "prompt": "p", "chosen": ["a", "b", "c"], "rejected": ["d", "e", "f"], "domain": "chat"}
    (tmp_path / "rm_bench.json").write_text(json.dumps([{**row, "id": str(n)} for n in range(12)]))
    (tmp_path / "real.yaml").write_text(DEFINITION)
    return tmp_path


def config(**rehearsal):
    return TrialConfig.model_validate(
        {"backbone": "qwen2.5-vl-3b", "data": {"sources": {"shp": {}}}, "train": {"steps": 1}, "rehearsal": rehearsal}
    )


def test_real_rows_go_through_the_real_reader_and_are_part_of_the_identity(folder):
    data = load_data(config(real_data=8))
    assert [example.prompt for example in (*data.train, *data.held_out) if example.prompt in ("q0", "q7")] and len(data.held_out) == 2
    assert data.counts["shp"]["rows"] == 8
    assert len({trial_id(config()), trial_id(config(real_data=8)), trial_id(config(real_data=9))}) == 3
    assert data.fingerprint != load_data(config(real_data=9)).fingerprint


def test_a_plan_says_what_is_real_and_what_is_generated(folder):
    definition = read(str(folder / "real.yaml"), [], True, 8)
    plan = make(definition, None)
    assert plan.missing == ()
    assert real_rows(definition, [planned for planned, _ in plan.trials]) == [
        "real rows of shp (8), rm_bench (8)",
        "generated, for they are not on this machine: pictures, rlaif_v, rewardbench",
    ]
    with pytest.raises(UsageError, match="--real-data is for a rehearsal"):
        read(str(folder / "real.yaml"), [], False, 8)


def test_a_wrong_row_refuses_the_plan_with_file_and_row(folder):
    with (folder / "shp/a/train.json").open("a") as file:
        file.write(json.dumps({**SHP, "labels": 7}) + "\n")
    make(read(str(folder / "real.yaml"), [], True, 8), None)  # the wrong row comes later
    with pytest.raises(DefinitionError, match=r"train\.json:21: source 'shp': row 21 is refused"):
        make(read(str(folder / "real.yaml"), [], True, 64), None)


def test_a_benchmark_gives_its_first_rows_under_a_rehearsals_name(folder):
    loaded = load({"name": "rm_bench"}, RehearsalConfig(real_data=5))
    assert (loaded.revision, len(loaded.examples), loaded.rehearsal) == ("rehearsal-real-5", 5, True)
    assert load({"name": "rewardbench"}, RehearsalConfig(real_data=5)).revision == "rehearsal-128"
    found = summarise(score_baseline("length", {"name": "rm_bench"}, RehearsalConfig(real_data=5)))
    assert found["metrics"]["chat/normal"] == 0.0 and found["metrics"]["overall"] is None


def test_budgets_leave_room_for_real_answers(folder):
    assert config().effective().train.max_length == 512
    assert config(real_data=64).effective().train.max_length == 16384
    assert config(real_data=64).effective().data.held_out == 16
