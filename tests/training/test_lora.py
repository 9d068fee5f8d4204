"""Adapters: trained alone beside the language model, resumed exactly, and merged when a published model is loaded."""

import numpy as np
import pytest
import torch
from run_trial import FolderContext
from safetensors.torch import load_file

from core.data.generated import generate_pairs
from core.definition.identity import trial_id
from core.definition.trial import TrialConfig
from core.errors import DefinitionError
from core.models.reward_model import build, load_reward_model
from core.training.context import Interrupted
from core.training.trainer import Trainer

pytestmark = pytest.mark.training

LORA = {"rank": 4, "alpha": 8, "dropout": 0.2}


def config(**train):
    return TrialConfig.model_validate(
        {
            "backbone": "qwen2.5-vl-3b",
            "data": {"sources": {"mine": {}}},
            "train": {"steps": 1, **train},
            "execution": {"validate_every": 0.5, "micro_batch": 8},
            "rehearsal": {"steps": 6, "batch": 8, "pairs": 48, "items": 8},
        }
    )


def test_adapters_are_trained_published_and_merged_when_loaded(tmp_path):
    trial = config(lora=LORA).effective()
    before = {name: value.clone() for name, value in build(trial).state_dict().items()}
    trainer = Trainer(trial, FolderContext(tmp_path / "run"))
    trainer.run()
    changed = {name for name, value in trainer.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed, "something was trained"
    assert all("lora_" in name or ".visual.merger." in name or name.startswith("head.") for name in changed)
    assert any("lora_B" in name for name in changed)
    published = load_file(tmp_path / "run" / "result" / "weights" / "model.safetensors")
    assert any("lora_A" in name for name in published)
    loaded = load_reward_model(tmp_path / "run" / "result" / "weights")
    assert not any("lora" in name or "base_layer" in name for name in loaded.state_dict()), "a plain model"
    pairs = generate_pairs(4, 1, split="benchmark")
    assert np.allclose(loaded.score(pairs), trainer.model.eval().score(pairs), atol=1e-5)
    with torch.no_grad():
        for name, value in trainer.model.named_parameters():
            if "lora_B" in name:
                value.zero_()
    assert not np.allclose(loaded.score(pairs), trainer.model.score(pairs), atol=1e-5), "the adapters make a difference"


def test_a_resumed_run_with_adapters_equals_an_undisturbed_one_to_the_bit(tmp_path):
    trial = config(lora=LORA).effective()
    Trainer(trial, FolderContext(tmp_path / "straight")).run()
    with pytest.raises(Interrupted):
        Trainer(trial, FolderContext(tmp_path / "first", stop_at=3)).run()
    Trainer(trial, FolderContext(tmp_path / "second", resume=tmp_path / "first" / "checkpoint-3")).run()
    whole, resumed = (load_file(tmp_path / name / "result" / "weights" / "model.safetensors") for name in ("straight", "second"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())


def test_only_a_pretrained_backbones_adapters_are_published():
    model = build(config(lora=LORA))
    model.config = model.config.model_copy(update={"rehearsal": None})
    names = model.published_names()
    assert any("lora_A" in name for name in names)
    assert not any("language_model" in name and "lora_" not in name for name in names)


def test_adapters_are_part_of_the_identity_and_their_absence_is_not():
    plain = trial_id(config())
    assert trial_id(config(lora=None)) == plain != trial_id(config(lora={}))
    assert trial_id(config(lora={})) == trial_id(config(lora={}, freeze=["vision", "language"])), "adapters freeze the language model"
    turned = {"targets": ["v_proj", "q_proj"]}
    assert trial_id(config(lora=turned)) == trial_id(config(lora={"targets": ["q_proj", "v_proj"]})) != trial_id(config(lora={}))


def test_a_layer_that_is_not_there_is_named():
    with pytest.raises(DefinitionError) as refused:
        build(config(lora={"targets": ["w_proj"]}))
    assert "w_proj" in str(refused.value) and "q_proj" in str(refused.value)
