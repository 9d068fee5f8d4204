"""What a plan says of memory: by backbone, shape and layout, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.definition.plan import Shape
from core.definition.trial import TrialConfig
from core.training.layout import Layout
from core.training.memory import activations, estimate
from sweeps.cli.main import app

SHIPPED = Path(__file__).parents[2] / "sweeps"


def trial(**train: object) -> TrialConfig:
    return TrialConfig.model_validate({"backbone": "qwen2.5-vl-7b", "data": {"sources": {"mine": {}}}, "train": {"epochs": 1, **train}})


def test_a_plan_says_what_a_gpu_holds_and_has_room_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(SHIPPED / "ablation_base.yaml"), "--workspace", str(tmp_path / "runs")]
    assert app([*words, "--json"], standalone_mode=False) == 0
    (found,) = json.loads(capsys.readouterr().out)["memory"]
    assert (found["backbone"], found["shape"], found["ranks"], found["layout"], found["trials"]) == (
        "qwen2.5-vl-7b",
        "1n8g",
        8,
        "ZeRO-2",
        1,
    )
    # 7.08 billion trained and 0.63 frozen parameters: 4 P + (4 + 12) T / 8 bytes
    assert found["states_gib"] == pytest.approx(42.1, abs=0.3)
    assert 1000 < found["room_tokens"] < 20000
    assert app([*words, "resources.gpus=1"], standalone_mode=False) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "memory of one GPU, qwen2.5-vl-7b on 1n1g (ZeRO-2, optimizer offloaded)" in shown


def test_adapters_and_recomputed_activations_need_less() -> None:
    shape = Shape(gpus=1)
    whole, adapters = estimate(trial(), shape), estimate(trial(lora={}), shape)
    assert whole is not None and adapters is not None
    assert whole.layout == Layout(2, "optimizer") and adapters.layout == Layout(), "adapters fit on one GPU as they are"
    from core.models.sizes import QWEN25_VL

    tower = QWEN25_VL["qwen2.5-vl-7b"].language
    assert activations(tower, 16, True) < 0.1 * activations(tower, 16, False)


def test_a_rehearsal_and_a_backbone_of_unknown_size_have_no_estimate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(SHIPPED / "ablation_base.yaml"), "--workspace", str(tmp_path / "runs"), "--rehearse", "--json"]
    assert app(words, standalone_mode=False) == 0
    assert json.loads(capsys.readouterr().out)["memory"] == []
