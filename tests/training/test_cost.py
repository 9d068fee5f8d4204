"""What a plan says of time, GPU-hours and disk, by arithmetic and by what has run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from core.definition.identity import canonical
from core.definition.plan import Shape
from core.definition.trial import TrialConfig
from core.models.sizes import QWEN25_VL
from core.training.cost import PATCHES, UTILISATION, disk, gpu_seconds, operations
from core.workspace.files import publish_folder
from core.workspace.layout import Workspace
from sweeps import planning
from sweeps.cli.main import app

DEFINITION = """\
version: 1
name: costly
trial:
  backbone: qwen2.5-vl-7b
  data: {sources: {mine: {type: file, path: pairs.jsonl}}}
  train: {epochs: 1}
grid: {head.layers: [1, 2]}
validation: {items: 0}
resources: {gpus: 8, gpu_type: h100}
"""


def trial(**more: Any) -> TrialConfig:
    base = {"backbone": "qwen2.5-vl-7b", "data": {"sources": {"mine": {}}}, "train": {"epochs": 1}}
    return TrialConfig.model_validate({**base, **more})


def test_a_token_costs_six_operations_a_weight_where_all_is_trained_and_less_where_parts_are_frozen() -> None:
    size = QWEN25_VL["qwen2.5-vl-7b"]
    language, eye = size.language.parameters, size.vision.parameters if size.vision else 0.0
    text, image = operations(trial(train={"epochs": 1, "freeze": []}), size)
    assert text == pytest.approx(6 * language)
    assert image == pytest.approx(6 * (PATCHES * eye + size.merger))
    assert operations(trial(train={"epochs": 1, "freeze": ["vision"]}), size)[1] == pytest.approx(2 * PATCHES * eye + 4 * size.merger)
    # with everything but the head frozen there is nothing to go back through
    assert operations(trial(train={"epochs": 1, "freeze": ["vision", "merger", "language"]}), size)[0] == pytest.approx(2 * language)
    again = operations(trial(execution={"activation_checkpointing": True}), size)[0]
    assert again - operations(trial(), size)[0] == pytest.approx(2 * language)


def test_seconds_follow_from_operations_and_the_peak_of_the_gpus() -> None:
    config, shape = trial(), Shape(gpus=8, gpu_type="h100")
    text, image = operations(config, QWEN25_VL["qwen2.5-vl-7b"])
    assert gpu_seconds(config, shape, 1e9, 0) == pytest.approx(1e9 * text / (989e12 * UTILISATION))
    assert gpu_seconds(config, shape, 1e9, 1e8) == pytest.approx((1e9 * text + 1e8 * image) / (989e12 * UTILISATION))
    assert gpu_seconds(config, Shape(), 1e9, 0) is None


def test_a_checkpoint_has_the_moments_and_one_of_zero_2_a_master_copy() -> None:
    trained = QWEN25_VL["qwen2.5-vl-7b"].trained(("vision",))
    alone, divided = disk(trial(), Shape(gpus=1, gpu_type="b200")), disk(trial(), Shape(gpus=8))
    assert alone is not None and divided is not None
    assert (alone.checkpoint, divided.checkpoint, divided.result) == (12 * trained, 16 * trained, 4 * trained)
    adapters = disk(trial(train={"epochs": 1, "lora": {}}), Shape(gpus=1))
    assert adapters is not None and adapters.checkpoint < 0.02 * alone.checkpoint


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (1120, 840)).save(tmp_path / "a.png")
    row = {"image": "a.png", "prompt": "x" * 400, "chosen": "y" * 800, "rejected": "z" * 400}
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps({"id": str(n), **row}) + "\n" for n in range(200)))
    (tmp_path / "costly.yaml").write_text(DEFINITION)
    return tmp_path


def cost(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert app(["plan", "costly.yaml", "--json", *words], standalone_mode=False) == 0
    found = json.loads(capsys.readouterr().out)["cost"]
    assert isinstance(found, dict)
    return found


def test_without_a_trial_that_has_run_a_plan_estimates_by_the_first_rows_of_the_data(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = cost(capsys, "--workers", "2")
    (group,) = found["groups"]
    image = 1120 * 840 / 784
    tokens = 200 * (2 * (100 + image) + 200 + 100)
    expected = gpu_seconds(trial(), Shape(gpus=8, gpu_type="h100"), tokens, 200 * 2 * image)
    assert expected is not None
    assert (group["basis"], group["trials"]) == ("estimated", 2)
    assert group["seconds"] == pytest.approx(expected / 8, rel=1e-2)
    assert found["gpu_hours"] == pytest.approx(2 * expected / 3600, abs=1e-3)
    assert found["seconds"] == pytest.approx(expected / 8, rel=1e-2), "two at once"
    trained = QWEN25_VL["qwen2.5-vl-7b"].trained(("vision",))
    # each worker's last checkpoint beside the one that is being written, and two results
    assert found["disk_gib"] == pytest.approx((2 * 2 * 16 + 2 * 4) * trained / 2**30, rel=1e-3)


def test_what_such_trials_took_here_is_what_the_others_will_take(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = Workspace.open(place / "runs", create=True)
    plan = planning.make(planning.read("costly.yaml", [], False), workspace)
    planned = plan.trials[0][0]
    ended = workspace.trial(planned.id)
    (ended.folder / "attempts" / "0001").mkdir(parents=True)
    (ended.folder / "attempts" / "0001" / "owner.json").write_text(json.dumps({"job": "rs-costly-0001"}))
    (workspace.jobs / "rs-costly-0001").mkdir(parents=True)
    (workspace.jobs / "rs-costly-0001" / "job.json").write_text(json.dumps({"shape": vars(planned.shape)}))
    ended.config.write_text(json.dumps(canonical(TrialConfig.model_validate(dict(planned.config)))))
    record = {"attempt": 1, "seconds": 600.0, "metrics": {"train/pairs": 200}, "fingerprints": {"code": "other"}, "flags": []}
    publish_folder(ended.result, ended.folder / ".r", lambda folder: (folder / "metrics.json").write_text(json.dumps(record)), {})
    found = cost(capsys)
    (group,) = found["groups"]
    assert (group["basis"], group["based_on"], group["trials"], group["seconds"]) == ("measured", 1, 1, 600.0)
    # another budget in pairs is taken in proportion; another shape has another pace
    assert cost(capsys, "train.pairs=50")["groups"][0]["seconds"] == 150.0
    assert cost(capsys, "resources.gpus=4")["groups"][0]["basis"] == "estimated"
    assert app(["plan", "costly.yaml"], standalone_mode=False) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "1 x qwen2.5-vl-7b on 1n8g-h100: 10m00s of training each, 1.3 GPU-hours together (as 1 such trial took here)" in said
