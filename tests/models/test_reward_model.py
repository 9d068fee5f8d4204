"""Heads, score position, freezing, publishing, and the real loading path."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2_5_VLForConditionalGeneration

from core.data.examples import pair
from core.data.generated import generate_pairs
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, EnvironmentFault, IntegrityError
from core.models.config import MLPHeadConfig
from core.models.heads import MLPHead
from core.models.locate import available
from core.models.reward_model import build, load_reward_model

TEXTS = [
    pair("t1", "Why is the sky blue?", "Scattering.", "Because it reflects the sea, as everybody knows."),
    pair("t2", "2+2?", "4", "5"),
]


@pytest.fixture(scope="module")
def examples():
    return [*generate_pairs(6, 1, split="benchmark"), *TEXTS]


def test_a_head_has_the_layers_that_it_was_asked_for():
    for layers in range(1, 6):
        head = MLPHead(8, MLPHeadConfig(layers=layers, activation="silu" if layers > 1 else "none", width=12))
        assert sum(isinstance(layer, torch.nn.Linear) for layer in head.layers) == layers
        assert head(torch.zeros(3, 8, dtype=torch.bfloat16)).shape == (3,)
        assert head(torch.zeros(3, 8, dtype=torch.bfloat16)).dtype == torch.float32


def test_two_layers_without_activation_are_linear_and_with_one_are_not():
    torch.manual_seed(0)
    x, y = torch.randn(2, 1, 8)
    for activation, linear in (("none", True), ("tanh", False), ("silu", False), ("relu", False), ("gelu", False)):
        head = MLPHead(8, MLPHeadConfig(layers=2, activation=activation))
        gap = head(x + y) + head(torch.zeros(1, 8)) - head(x) - head(y)
        assert (abs(gap.item()) < 1e-6) == linear


def test_a_zero_initialised_head_scores_zero(make_config, examples):
    model = build(make_config(head={"init": "zero"}))
    assert {score for row in model.score(examples) for score in row} == {0.0}


def test_a_batch_of_different_lengths_gives_the_scores_of_single_examples(twin, examples):
    single = [twin.score([example])[0] for example in examples]
    assert np.allclose(twin.score(examples, batch=8), single, atol=1e-5)
    assert np.allclose(twin.score(examples, batch=3), single, atol=1e-5)


def test_the_score_is_read_at_the_last_response_token_and_nowhere_else(twin, examples):
    batch = twin.collate([twin.encode(example, (0, 1)) for example in examples])
    with torch.no_grad():
        rewards = twin(batch).rewards
        hidden = twin.backbone(batch)
    ends = batch.mask.sum(1)
    assert torch.equal(batch.response_end, ends)
    assert (batch.ids[torch.arange(len(ends)), ends - 1] == twin.backbone.chat.control["im_end"]).all()
    right = twin.head(hidden[torch.arange(len(ends)), ends - 1])
    assert torch.allclose(rewards, right, atol=1e-6)
    for wrong in (hidden[:, -1], hidden[torch.arange(len(ends)), ends - 2]):  # the padding, the token before
        assert not torch.allclose(rewards, twin.head(wrong), atol=1e-4)


def test_padding_on_the_left_would_have_been_seen(twin, examples):
    """The control of the padding side: with the same positions but left padding, causal rows read other tokens."""
    batch = twin.collate([twin.encode(example, (0, 1)) for example in TEXTS])
    shift = [int(batch.ids.shape[1] - end) for end in batch.response_end]
    moved = {
        name: torch.stack([torch.roll(row, by, -1) for row, by in zip(getattr(batch, name), shift, strict=True)])
        for name in ("ids", "types", "mask")
    }
    with torch.no_grad():
        left = twin(replace(batch, **moved)).rewards
        right = twin(batch).rewards
    assert not torch.allclose(left, right, atol=1e-4)


def test_mean_pooling_averages_the_response_tokens(make_config, twin, examples):
    model = build(make_config(head={"pooling": "mean"})).eval()
    batch = model.collate([model.encode(examples[0], (0, 1))])
    with torch.no_grad():
        hidden = model.backbone(batch)
        start, end = int(batch.response_start[1]), int(batch.response_end[1])
        assert torch.allclose(model(batch).rewards[1], model.head(hidden[1, start:end].mean(0, keepdim=True))[0], atol=1e-6)
    assert not np.allclose(model.score(examples), twin.score(examples), atol=1e-4)


def test_scoring_turns_dropout_off_and_leaves_the_mode_as_it_was(make_config, examples):
    model = build(make_config(head={"dropout": 0.5})).train()
    assert model.score(examples) == model.score(examples)
    assert model.training


def test_another_head_has_the_same_backbone_and_another_seed_has_not(make_config, twin):
    wider = build(make_config(head={"layers": 5, "width": 7}))
    other = build(make_config(seed=1))
    ours = twin.backbone.state_dict()
    assert all(torch.equal(value, ours[name]) for name, value in wider.backbone.state_dict().items())
    assert not torch.equal(other.backbone.model.language_model.embed_tokens.weight, ours["model.language_model.embed_tokens.weight"])


def test_building_leaves_the_global_generator_alone(make_config):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(make_config())
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("freeze", [[], ["vision"], ["vision", "merger"], ["vision", "merger", "language"], ["language"]])
def test_exactly_the_named_parts_are_frozen(make_config, freeze):
    model = build(make_config(train={"steps": 1, "freeze": freeze}))
    parts = {name: [value.requires_grad for value in model.backbone.part(name)] for name in ("vision", "merger", "language")}
    assert {name: all(grads) and any(grads) for name, grads in parts.items()} == {name: name not in freeze for name in parts}
    assert sum(map(len, parts.values())) == len(list(model.backbone.parameters()))
    assert all(value.requires_grad for value in model.head.parameters())


def test_a_published_folder_scores_as_the_model_did(twin, examples, tmp_path):
    twin.save(tmp_path)
    loaded = load_reward_model(tmp_path)
    assert loaded.score(examples) == twin.score(examples)
    assert not loaded.training


@pytest.mark.parametrize("damage", ["weights", "config", "format", "missing"])
def test_a_damaged_folder_is_refused(twin, tmp_path, damage):
    twin.save(tmp_path)
    about = tmp_path / "reward_model.json"
    if damage == "weights":
        (tmp_path / "model.safetensors").write_bytes((tmp_path / "model.safetensors").read_bytes()[:1000])
    elif damage == "config":
        about.write_text("{")
    elif damage == "format":
        about.write_text(json.dumps({**json.loads(about.read_text()), "format": 99}))
    else:
        weights = load_file(tmp_path / "model.safetensors")
        weights.pop("head.layers.0.weight")
        save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(IntegrityError):
        load_reward_model(tmp_path)


@pytest.fixture(scope="module")
def hub_folder(twin, tmp_path_factory):
    """A complete model folder as the hub has it: language-model head included, tokenizer and preprocessor beside it."""
    folder = tmp_path_factory.mktemp("hub") / "model"
    full = Qwen2_5_VLForConditionalGeneration(twin.backbone.model.config)
    full.model.load_state_dict(twin.backbone.model.state_dict())
    full.save_pretrained(folder)
    twin.backbone.save(folder)
    return folder


def real_config(folder, **change):
    base = {
        "backbone": {"name": "qwen2.5-vl-3b", "path": str(folder), "max_pixels": 112 * 112},
        "data": {"sources": {"generated_images": {}}},
        "train": {"steps": 1, "dtype": "fp32"},
    }
    return TrialConfig.model_validate({**base, **change})


def test_a_real_folder_loads_into_the_same_model(twin, hub_folder, examples):
    """The folder's weights are named as in the published checkpoints: ``visual.*``, ``model.layers.*``, ``lm_head.weight``."""
    [file] = hub_folder.glob("*.safetensors")
    assert {name.split(".")[0] for name in load_file(file)} == {"visual", "model", "lm_head"}
    available(real_config(hub_folder))
    model = build(real_config(hub_folder)).eval()
    model.head.load_state_dict(twin.head.state_dict())
    assert np.allclose(model.score(examples), twin.score(examples), atol=1e-6)


def test_a_model_folder_that_lacks_weights_is_refused(hub_folder, tmp_path):
    import shutil

    folder = tmp_path / "torn"
    shutil.copytree(hub_folder, folder)
    [file] = folder.glob("*.safetensors")
    weights = load_file(file)
    del weights["model.layers.0.self_attn.q_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(EnvironmentFault, match="1 weights are missing"):
        build(real_config(folder))


@pytest.mark.parametrize("freeze", [["vision"], []])
def test_a_published_model_holds_only_what_was_trained(hub_folder, examples, tmp_path, freeze):
    config = real_config(hub_folder, train={"steps": 1, "dtype": "fp32", "freeze": freeze})
    model = build(config).eval()
    with torch.no_grad():
        for _, value in model.trained():
            value.add_(0.01)
    model.save(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert any("visual.blocks" in name for name in stored) == (not freeze)
    assert np.allclose(load_reward_model(tmp_path).score(examples), model.score(examples), atol=1e-6)


def test_missing_weights_name_what_was_searched_and_rehearse(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    config = TrialConfig.model_validate({"backbone": "qwen2.5-vl-7b", "data": {"sources": {}}, "train": {"steps": 1}})
    with pytest.raises(EnvironmentFault) as error:
        available(config)
    for part in (str(tmp_path / "qwen2.5-vl-7b"), "Qwen/Qwen2.5-VL-7B-Instruct", "--rehearse"):
        assert part in str(error.value)
    (tmp_path / "qwen2.5-vl-7b").mkdir()
    (tmp_path / "qwen2.5-vl-7b" / "config.json").write_text("{}")
    with pytest.raises(EnvironmentFault, match=r"incomplete.*\n.*without model\.safetensors, tokenizer_config\.json"):
        available(config)
    index = tmp_path / "qwen2.5-vl-7b" / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}))
    (index.parent / "model-00001-of-00002.safetensors").touch()
    with pytest.raises(EnvironmentFault, match=r"without model-00002-of-00002\.safetensors"):
        available(config)


def test_asking_for_weights_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, core.models.locate, core.data; assert not {'torch', 'transformers', 'mlflow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_prompt_template_is_used_kept_and_checked(make_config, twin, examples, tmp_path):
    file = tmp_path / "template.txt"
    file.write_text("Judge this.\n{prompt}")
    model = build(make_config(prompt={"file": str(file)})).eval()
    assert not np.allclose(model.score(examples), twin.score(examples), atol=1e-4)
    (tmp_path / "out").mkdir()
    model.save(tmp_path / "out")
    scores = model.score(examples)
    file.unlink()
    assert load_reward_model(tmp_path / "out").score(examples) == scores
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        build(make_config(prompt={"file": str(file)}))
    file.write_text("no place")
    with pytest.raises(DefinitionError, match=r"no place for \{prompt\}"):
        build(make_config(prompt={"file": str(file)}))
    file.write_text("{prompt}!")
    with pytest.raises(IntegrityError, match="has changed"):
        build(make_config(prompt={"file": str(file), "sha": "0" * 64}))
