"""What every registered backbone must do, shown on its tiny twin and on a folder in the hub's layout that is made from it.

A backbone of one's own is held to the same: register it before the names are collected.
"""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from core import registry
from core.data.examples import Media, PreferenceExample, PreferenceLabel, Response, Turn, pair
from core.data.generated import draw_picture, generate_pairs
from core.data.streams import generator
from core.definition.trial import TrialConfig
from core.errors import EnvironmentFault, TrialFailed
from core.models.reward_model import build, load_reward_model

NAMES = registry.names("backbone")
FAMILIES = {registry.get("backbone", name).implementation: name for name in NAMES}
"""One member of each family: what does not depend on the member is tested once."""

TEXTS = [
    pair("t1", "Why is the sky blue?", "Scattering.", "Because it reflects the sea, as everybody knows."),
    pair("t2", "2+2?", "4", "5"),
]


def config(name, **change):
    base = {"backbone": name, "data": {"sources": {"generated_images": {}}}, "train": {"steps": 1}, "rehearsal": {}}
    return TrialConfig.model_validate({**base, **change}).effective()


def reads_images(name):
    return "image" in registry.get("backbone", name).config.READS


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return build(config(request.param)).eval()


@pytest.fixture(scope="module", params=sorted(FAMILIES.values()))
def member(request):
    return build(config(request.param)).eval()


def name_of(model):
    return model.config.backbone.name


def examples(model):
    return [*generate_pairs(4, 1, split="benchmark"), *TEXTS] if reads_images(name_of(model)) else TEXTS


def video(folder, frames=3):
    for number in range(frames):
        Image.effect_noise((56, 56), 60).convert("RGB").save(folder / f"{number}.png")
    return replace(pair("v", "What happens?", "It moves.", "Nothing."), media=(Media("video", path=folder),))


def test_an_example_becomes_ids_types_and_positions_of_one_length(model):
    for example in examples(model):
        encoded = model.encode(example, (0, 1))
        assert encoded.prompt.dtype == encoded.types.dtype == encoded.positions.dtype == np.int64
        assert encoded.types.shape == encoded.prompt.shape
        assert encoded.positions.shape == (3, len(encoded.prompt))
        assert len(encoded.responses) == 2
        assert all(answer[-1] == model.backbone.chat.control["im_end"] for answer in encoded.responses)
        assert (encoded.types.sum() > 0) == bool(example.media)


def test_there_are_as_many_places_as_features_and_every_row_sees_its_own_image(model):
    if not reads_images(name_of(model)):
        pytest.skip("reads text alone")
    shown, other = generate_pairs(2, 1, split="benchmark")
    swapped = replace(shown, media=other.media)
    right, wrong, again = (model.score([example])[0] for example in (shown, swapped, shown))
    assert right == again
    assert not np.allclose(right, wrong, atol=1e-6)
    two = replace(shown, media=(*shown.media, *other.media))
    assert np.isfinite(model.score([shown, two, other])).all()
    assert np.allclose(model.score([two, other, shown])[2], right, atol=1e-5)


def test_images_of_any_size_stay_within_the_budget(member):
    if not reads_images(name_of(member)):
        pytest.skip("reads text alone")
    for size in ((40, 90), (300, 200), (64, 64)):
        image = Image.new("RGB", size, (200, 30, 30))
        media = Media("image", data=encode(image))
        encoded = member.encode(replace(TEXTS[0], media=(media,)), (0, 1))
        batch = member.collate([encoded])
        assert torch.isfinite(member(batch).rewards).all()
        assert (encoded.types > 0).sum() <= 40


def encode(image):
    import io

    out = io.BytesIO()
    image.save(out, format="PNG")
    return out.getvalue()


def test_a_video_is_read_frame_by_frame(member, tmp_path):
    if not reads_images(name_of(member)):
        pytest.skip("reads text alone")
    example = video(tmp_path)
    limits = replace(member.limits, max_pixels=56 * 56)
    encoded = member.encode(example, (0, 1), limits)
    assert (encoded.types > 0).sum() >= 2
    still = generate_pairs(1, 1, split="benchmark")
    both = member.collate([encoded, *(member.encode(one, (0, 1)) for one in still)])
    with torch.no_grad():
        together = member(both).rewards
        alone = member(member.collate([encoded])).rewards
    assert torch.allclose(together[:2], alone, atol=1e-5)


def test_rewards_do_not_depend_on_padding_or_on_the_batch(model):
    rows = examples(model)
    single = [model.score([example])[0] for example in rows]
    for size in (2, len(rows)):
        assert np.allclose(model.score(rows, batch=size), single, atol=1e-5)
    assert np.allclose(model.score(rows[::-1], batch=3)[::-1], single, atol=1e-5)


def test_the_reward_is_read_at_the_last_token_of_the_response(member):
    batch = member.collate([member.encode(example, (0, 1)) for example in examples(member)])
    ends = batch.mask.sum(1)
    assert torch.equal(batch.response_end, ends)
    with torch.no_grad():
        hidden = member.backbone(batch)
        rewards = member(batch).rewards
    assert hidden.shape == (*batch.ids.shape, member.backbone.hidden_size)
    assert torch.allclose(rewards, member.head(hidden[torch.arange(len(ends)), ends - 1]), atol=1e-6)


def test_no_token_sees_what_comes_after_it(member):
    """Two responses with the same beginning have the same hidden states up to where they part."""
    first, second = (
        member.encode(pair("1", "q?", text, "x"), (0,)) for text in ("Same. Then this.", "Same. Or that, and much more of it.")
    )
    batch = member.collate([first, second])
    start = int(batch.response_start[0])
    same = next(i for i in range(start, batch.ids.shape[1]) if batch.ids[0, i] != batch.ids[1, i])
    assert same > start
    with torch.no_grad():
        hidden = member.backbone(batch)
    assert torch.allclose(hidden[0, :same], hidden[1, :same], atol=1e-5)
    assert not torch.allclose(hidden[0, same], hidden[1, same], atol=1e-3)


def test_attention_implementations_agree(member):
    eager = build(config(name_of(member), execution={"attention": "eager"})).eval()
    assert np.allclose(eager.score(examples(member)), member.score(examples(member)), atol=1e-4)


@pytest.mark.parametrize("freeze", [[], ["vision"], ["vision", "merger", "language"]])
def test_exactly_the_named_parts_are_frozen_and_gradients_reach_the_others(member, freeze):
    model = build(config(name_of(member), train={"steps": 1, "freeze": freeze})).train()
    parts = {name: model.backbone.part(name) for name in ("vision", "merger", "language")}
    assert sum(map(len, parts.values())) == len(list(model.backbone.parameters()))
    model(model.collate([model.encode(example, (0, 1)) for example in examples(model)])).rewards.square().sum().backward()
    for name, parameters in parts.items():
        reached = [value.grad is not None and bool(value.grad.abs().sum() > 0) for value in parameters]
        assert any(reached) == (name not in freeze and bool(parameters)), name
    assert all(value.grad is not None for value in model.head.parameters())


def test_activation_checkpointing_changes_no_gradient(member):
    def gradient(checkpointing):
        model = build(config(name_of(member), execution={"activation_checkpointing": checkpointing})).train()
        model(model.collate([model.encode(example, (0, 1)) for example in examples(model)])).rewards.sum().backward()
        return {name: value.grad for name, value in model.trained() if value.grad is not None}

    plain, recomputed = gradient(False), gradient(True)
    assert plain.keys() == recomputed.keys()
    assert all(torch.allclose(plain[name], recomputed[name], atol=1e-4) for name in plain)


def test_a_published_folder_scores_as_the_model_did(model, tmp_path):
    model.save(tmp_path)
    assert load_reward_model(tmp_path).score(examples(model)) == model.score(examples(model))


def hub_folder(model, folder):
    """A complete model folder as the hub has it: language-model head included, tokenizer and preprocessor beside it."""
    inner = model.backbone.model
    name = type(inner).__name__.removesuffix("Model")
    kind = getattr(transformers, f"{name}ForConditionalGeneration", None) or getattr(transformers, f"{name}ForCausalLM")
    full = kind(inner.config)
    full.model.load_state_dict(inner.state_dict())
    full.save_pretrained(folder)
    model.backbone.save(folder)


def test_a_real_folder_loads_into_the_same_model(member, tmp_path):
    hub_folder(member, tmp_path)
    backbone = {"name": name_of(member), "path": str(tmp_path)} | ({"max_pixels": 112 * 112} if reads_images(name_of(member)) else {})
    real = build(config(name_of(member), backbone=backbone, train={"steps": 1, "dtype": "fp32"}, rehearsal=None)).eval()
    real.head.load_state_dict(member.head.state_dict())
    assert np.allclose(real.score(examples(member)), member.score(examples(member)), atol=1e-6)


def test_a_checkpoint_of_another_architecture_is_refused_by_name(member, tmp_path):
    member.backbone.save(tmp_path)
    about = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(about | {"model_type": "bert"}))
    with pytest.raises(EnvironmentFault, match=r"another architecture than [\w.-]+\n.*model_type bert in .*config\.json"):
        type(member.backbone).from_folder(tmp_path, attention="sdpa")


def test_a_tokenizer_without_the_control_tokens_is_refused(member, tmp_path):
    member.backbone.save(tmp_path)
    about = json.loads((tmp_path / "tokenizer.json").read_text())
    token = type(member.backbone).dialect.control["im_start"]
    about["added_tokens"] = [entry for entry in about["added_tokens"] if entry["content"] != token]
    (tmp_path / "tokenizer.json").write_text(json.dumps(about))
    with pytest.raises(EnvironmentFault, match="the tokenizer lacks"):
        type(member.backbone).from_folder(tmp_path, attention="sdpa", weights=False)


def test_a_backbone_that_reads_text_alone_refuses_media_with_the_row(member):
    if reads_images(name_of(member)):
        pytest.skip("reads images")
    picture = Media("image", data=draw_picture("red", generator(0)))
    with pytest.raises(TrialFailed, match=r"file\.jsonl:7: Qwen[\d.]+ reads text alone, and the example has an image") as error:
        member.encode(replace(TEXTS[0], media=(picture,), origin="file.jsonl:7"), (0, 1))
    assert error.value.cause == "data_error"


def test_control_tokens_in_a_text_stay_text(member):
    control = type(member.backbone).dialect.control
    example = pair("1", " ".join(control.values()), chosen="".join(control.values()), rejected="x")
    encoded = member.encode(example, (0, 1))
    assert encoded.types.sum() == 0
    assert (encoded.responses[0] == member.backbone.chat.control["im_end"]).sum() == 1


def test_too_long_a_prompt_loses_text_from_the_left_and_a_response_is_never_cut(member):
    short = replace(member.limits, max_length=128)
    encoded = member.encode(pair("1", "x" * 400 + " the end?", "A cat.", "A dog."), (0, 1), short)
    assert len(encoded.prompt) + max(map(len, encoded.responses)) == 128
    assert "the end?<|im_end|>\n<|im_start|>assistant\n" in member.backbone.tokenizer.decode(encoded.prompt)
    with pytest.raises(TrialFailed, match="a response has 901 tokens"):
        member.encode(pair("1", "q", "y" * 900, "x"), (0, 1), replace(member.limits, max_length=512))


def test_earlier_turns_and_any_number_of_responses_are_scored(member):
    answers = tuple(Response(text) for text in ("a", "bb", "ccc"))
    history = (Turn("user", "Hi"), Turn("assistant", "Hello"))
    [scores] = member.score([PreferenceExample("1", "q", answers, PreferenceLabel((0, 1, 2)), history=history)])
    assert len(set(scores)) == 3


def test_members_of_a_family_have_twins_of_their_own():
    for family in sorted(set(FAMILIES) - {"core.models.qwen_text:Qwen25", "core.models.qwen_text:Qwen3"}):
        members = [name for name in NAMES if registry.get("backbone", name).implementation == family]
        assert len({build(config(name)).backbone.hidden_size for name in members}) == len(members)


def test_the_hubs_original_internvl_is_refused_with_the_repository_that_fits(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat"}))
    with pytest.raises(EnvironmentFault) as error:
        build(config("internvl3-8b", backbone={"name": "internvl3-8b", "path": str(tmp_path)}, rehearsal=None))
    assert "another architecture than InternVL" in str(error.value)
    assert "-hf" in str(error.value)


def test_a_member_that_the_hub_lacks_asks_for_a_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("SWEEP_MODELS", str(tmp_path))
    with pytest.raises(EnvironmentFault) as error:
        build(config("internvl2-8b", rehearsal=None))
    assert str(tmp_path / "internvl2-8b") in str(error.value)
    assert "set `backbone.path`" in str(error.value)
    assert "hf download" not in str(error.value)


def test_a_batch_without_media_can_make_the_calls_of_one_with_media(member):
    """Ranks that divide a model must make the same calls: a blank picture is computed, counts for nothing, and reaches all weights."""
    if not reads_images(name_of(member)):
        pytest.skip("reads text alone")
    model = build(config(name_of(member), train={"steps": 1, "freeze": []}))
    encoded = [model.encode(example, (0, 1)) for example in TEXTS[:2]]
    for media in ({"image"}, {"video"}, {"image", "video"}):
        model.zero_grad()
        towers = model.backbone.towers(media)
        with_blank = model(model.collate(encoded, towers)).rewards
        assert torch.equal(with_blank, model(model.collate(encoded)).rewards)
        with_blank.sum().backward()
        seeing = [*model.backbone.part("vision"), *model.backbone.part("merger")]
        shown = model.collate([model.encode(example, (0, 1)) for example in examples(model)])
        reached = [value.grad is not None for value in seeing]
        assert all(value.grad.abs().sum() == 0 for value in seeing if value.grad is not None)
        model.zero_grad()
        model(shown).rewards.sum().backward()
        assert reached == [value.grad is not None for value in seeing]


@pytest.mark.parametrize("name", NAMES)
def test_what_a_launch_looks_for_in_a_checkpoint_is_what_the_model_reads(name):
    component = registry.get("backbone", name)
    assert component.config.MODEL_TYPE in (None, component.load().model_class.config_class.model_type)
