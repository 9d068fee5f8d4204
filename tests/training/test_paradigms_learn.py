"""Every paradigm learns from the pictures in a rehearsal, and stays at chance on shuffled labels."""

import pytest
import torch
from run_trial import FolderContext

from core.definition.trial import TrialConfig
from core.evaluation.scorer import score_trial, summarise
from core.training.trainer import train

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def trained(folder, paradigm, source, **rehearsal):
    config = TrialConfig.model_validate(
        {
            "paradigm": paradigm,
            "backbone": "qwen2.5-vl-7b",
            "head": "none",
            "loss": {},
            "data": {"sources": {"generated_images": source}},
            "train": {"epochs": 1, "freeze": ["vision"]},
            "execution": {"validate_every": 1.0, "micro_batch": 16},
            "rehearsal": rehearsal,
        }
    )
    return config, train(config, FolderContext(folder))


def test_a_generative_judge_learns_and_says_so_in_both_orders(tmp_path):
    config, metrics = trained(tmp_path, "generative", {})
    assert metrics["validation/accuracy"] >= 0.7
    table = score_trial(tmp_path / "result" / "weights", config, {"name": "vl_rewardbench"})
    found = summarise(table)
    assert found["metrics"]["overall"] >= 70
    assert found["judging"]["orders"] == 2 and found["judging"]["texts"] == 2 * found["n"]
    assert found["judging"]["unparsed"] == 0


def test_a_generative_judge_learns_nothing_from_shuffled_labels(tmp_path):
    _, metrics = trained(tmp_path, "generative", {"labels": "shuffled"}, steps=20)
    assert 0.35 <= metrics["validation/accuracy"] <= 0.65
    assert metrics["train/loss"] < 1.0, "it has learnt to write a number"


def test_zero_shot_is_a_trial_of_no_steps(tmp_path):
    config, _ = trained(tmp_path, "generative", {}, items=32, steps=1)
    untrained = config.model_copy(update={"train": config.train.model_copy(update={"epochs": None, "steps": 0})})
    context = FolderContext(tmp_path / "untrained")
    found = train(untrained, context)
    assert found["train/steps"] == 0 and "validation/accuracy" in found
    table = score_trial(tmp_path / "untrained" / "result" / "weights", untrained, {"name": "vl_rewardbench"})
    assert summarise(table)["judging"]["texts"] == 64
