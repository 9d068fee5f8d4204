"""Encoding: the same ids, patches and positions as transformers' own processor, and nothing that silently goes wrong."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from core.data.examples import Media, PreferenceExample, PreferenceLabel, Response, Turn, pair
from core.data.generated import blank, generate_pairs
from core.errors import TrialFailed
from core.models.backbone import Limits
from core.models.patching import Patcher
from core.models.reward_model import build

LIMITS = Limits(max_length=512)


def question(text="What is it?", chosen="A cat.", rejected="A small dog.", media=(), **more):
    return replace(pair("1", text, chosen, rejected, media=media), origin="file.jsonl:7", **more)


def picture(width=56, height=56, colour=(200, 30, 30)):
    import io

    out = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(out, format="PNG")
    return Media("image", data=out.getvalue())


def rendered(twin, example, limits=LIMITS, template=None):
    encoded = twin.backbone.encode(example, range(len(example.responses)), limits, template)
    return twin.backbone.tokenizer.decode(encoded.prompt), encoded


def test_ids_equal_the_tokenised_chat_template(twin):
    tokenizer = twin.backbone.tokenizer
    text, encoded = rendered(twin, question(media=[picture(84, 56)]))
    written = (
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|vision_start|>"
        + "<|image_pad|>" * 6
        + "<|vision_end|>What is it?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert text == written
    assert encoded.prompt.tolist() == tokenizer(written)["input_ids"]
    assert encoded.responses[0].tolist() == tokenizer("A cat.<|im_end|>")["input_ids"]
    assert encoded.types.tolist() == [int(token == "<|image_pad|>") for token in tokenizer.convert_ids_to_tokens(encoded.prompt.tolist())]


def test_patches_equal_the_image_processor(twin):
    processor = twin.backbone.processor
    example = generate_pairs(1, 0, split="train")[0]
    _, encoded = rendered(twin, example)
    from core.data.media import load_image

    expected = processor(images=[load_image(example.media[0])], return_tensors="np")
    assert np.array_equal(encoded.media[0].pixels, expected["pixel_values"])
    assert encoded.media[0].grid == tuple(expected["image_grid_thw"][0])


@pytest.mark.parametrize("patch", [14, 16])
@pytest.mark.parametrize("size", [(56, 56), (130, 61), (29, 400), (1024, 700), (640, 480), (20, 20)])
def test_patches_looked_up_in_a_table_equal_the_processor_to_the_bit(size, patch):
    limits = {"shortest_edge": 56 * 56, "longest_edge": 400 * 400}
    processor = Qwen2VLImageProcessorPil(patch_size=patch, temporal_patch_size=2, merge_size=2, size=limits, image_std=[0.5, 0.26, 0.3])
    image = Image.effect_noise(size, 90).convert("RGB")
    pixels, grid = Patcher(processor).cut(image, limits)
    expected = processor(images=[image], size=limits, return_tensors="np")
    assert pixels.dtype == np.float32 and np.array_equal(pixels, expected["pixel_values"])
    assert grid == tuple(expected["image_grid_thw"][0])


def test_a_processor_with_other_steps_does_the_work_itself():
    processor = Qwen2VLImageProcessorPil(do_normalize=False)
    pixels, _ = Patcher(processor).cut(
        Image.effect_noise((84, 56), 90).convert("RGB"), {"shortest_edge": 56 * 56, "longest_edge": 400 * 400}
    )
    assert pixels.min() >= 0 and pixels.max() <= 1, "as it is configured: not normalised"


@pytest.mark.parametrize("name", ["qwen2.5-vl-7b", "qwen2-vl-7b", "qwen3-vl-8b"])
def test_positions_of_images_are_those_of_transformers(name, make_config):
    backbone = build(make_config(backbone=name)).eval().backbone
    several = question("First <image> then <image>, then text, <image>", media=[picture(84, 56), picture(56, 112), picture(168, 56)])
    encoded = backbone.encode(several, (0,), LIMITS, None)
    expected, _ = backbone.model.get_rope_index(
        torch.from_numpy(encoded.prompt)[None],
        torch.from_numpy(encoded.types)[None],
        image_grid_thw=torch.tensor([item.grid for item in encoded.media]),
    )
    assert np.array_equal(encoded.positions, expected[:, 0].numpy())


@pytest.mark.parametrize("text", ["", "user\n", "It is <|im_end|> and <|image_pad|> \u00e9\u4f60 \n\n x", "word " * 40])
def test_ids_of_a_text_are_those_of_the_tokenizer(twin, text):
    chat = twin.backbone.chat
    expected = twin.backbone.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    assert chat.text(text) == expected
    chat.text(text).append(0)
    assert chat.text(text) == expected, "what is remembered is not handed out to be changed"


def test_positions_equal_what_transformers_computes_for_whole_rows(twin):
    examples = [question(media=[picture(84, 56), picture()]), question("Why <image> so?", media=[picture(56, 84)]), question("No image.")]
    batch = twin.collate([twin.encode(example, (0, 1)) for example in examples])
    grids = torch.cat([batch.image_grid[list(batch.image_use)]])
    positions, _ = twin.backbone.model.get_rope_index(batch.ids, batch.types, image_grid_thw=grids, attention_mask=batch.mask)
    inside = batch.mask.bool()
    assert torch.equal(batch.positions[:, inside], positions[:, inside])


def test_the_forward_pass_equals_transformers_with_every_image_given_twice(twin):
    examples = generate_pairs(3, 1, split="train")
    batch = twin.collate([twin.encode(example, (0, 1)) for example in examples])
    assert batch.image_grid.shape[0] == 3
    use = list(batch.image_use)
    patches = batch.images.view(3, -1, batch.images.shape[-1])[use].flatten(0, 1)
    with torch.no_grad():
        ours = twin.backbone(batch)
        theirs = twin.backbone.model(
            input_ids=batch.ids,
            attention_mask=batch.mask,
            mm_token_type_ids=batch.types,
            pixel_values=patches,
            image_grid_thw=batch.image_grid[use],
        ).last_hidden_state
    inside = batch.mask.bool()
    assert torch.allclose(ours[inside], theirs[inside], atol=1e-5)


def test_eager_attention_gives_the_same_rewards(twin, make_config):
    from core.models.reward_model import build

    eager = build(make_config(execution={"attention": "eager"})).eval()
    eager.load_state_dict(twin.state_dict())
    examples = [*generate_pairs(3, 1, split="train"), question("A text without a picture, and a longer one.")]
    assert np.allclose(eager.score(examples), twin.score(examples), atol=1e-5)


def test_media_stand_where_they_are_written(twin):
    text, encoded = rendered(twin, question("First <image>\nthen <image> now?", media=[picture(), picture(84, 56)]))
    assert "user\nFirst <|vision_start|>" in text
    assert "<|vision_end|>then <|vision_start|>" in text
    assert "<|vision_end|> now?" in text
    assert [item.grid for item in encoded.media] == [(1, 4, 4), (1, 4, 6)]


def test_control_tokens_in_a_text_stay_text(twin):
    example = question("Ignore <|im_end|> and <|image_pad|>.", chosen="<|image_pad|><|im_end|>")
    _, encoded = rendered(twin, example)
    assert encoded.types.sum() == 0
    assert (encoded.responses[0] == twin.backbone.chat.control["im_end"]).sum() == 1


def test_a_placeholder_without_media_stays_text(twin):
    text, encoded = rendered(twin, question("What does <image> mean in HTML?"))
    assert "What does <image> mean" in text
    assert encoded.types.sum() == 0


def test_earlier_turns_and_the_template_are_rendered(twin):
    history = (Turn("system", "Be short."), Turn("user", "Hi"), Turn("assistant", "Hello"))
    text, _ = rendered(twin, question(history=history), template="Rate this: {prompt} Carefully.")
    assert text == (
        "<|im_start|>system\nBe short.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\nRate this: What is it? Carefully.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_too_long_a_prompt_loses_text_from_the_left_and_keeps_its_image(twin):
    example = question("x" * 400 + " the end?", media=[picture()])
    whole, _ = rendered(twin, example)
    limits = Limits(max_length=128)
    text, encoded = rendered(twin, example, limits)
    assert len(encoded.prompt) + max(map(len, encoded.responses)) == 128
    assert text.endswith("the end?<|im_end|>\n<|im_start|>assistant\n")
    assert text.count("<|image_pad|>") == whole.count("<|image_pad|>") == 4


def test_a_response_that_does_not_fit_is_refused_with_its_row(twin):
    with pytest.raises(TrialFailed, match=r"file\.jsonl:7: does not fit into max_length 512: a response has 901 tokens") as error:
        rendered(twin, question(chosen="y" * 900))
    assert error.value.cause == "data_error"


def test_an_unreadable_image_is_refused_with_its_row(twin, tmp_path):
    (tmp_path / "a.png").write_bytes(blank()[:60])
    for media in (Media("image", path=tmp_path / "a.png"), Media("image", path=tmp_path / "gone.png"), picture(2000, 1)):
        with pytest.raises(TrialFailed, match=r"file\.jsonl:7: ") as error:
            rendered(twin, question(media=[media]))
        assert error.value.cause == "data_error"


def test_a_video_of_one_repeated_frame_has_the_patches_of_the_image(twin, tmp_path):
    image = Image.effect_noise((56, 56), 60).convert("RGB")
    for number in range(4):
        image.save(tmp_path / f"{number}.png")
    encoded = twin.backbone.encode(question(media=[Media("video", path=tmp_path)]), (0,), Limits(512, max_pixels=56 * 56), None)
    still = twin.backbone.encode(question(media=[Media("image", path=tmp_path / "0.png")]), (0,), LIMITS, None)
    assert encoded.media[0].grid == (2, 4, 4)
    assert np.array_equal(encoded.media[0].pixels[:16], still.media[0].pixels)
    assert np.array_equal(encoded.media[0].pixels[16:], still.media[0].pixels)
    assert (encoded.types == 2).sum() == 8
    batch = twin.collate([encoded])
    assert torch.isfinite(twin(batch).rewards).all()


def test_two_frames_fill_the_two_slots_of_a_patch(twin, tmp_path):
    for number, value in enumerate((0, 255)):
        Image.new("RGB", (56, 56), (value,) * 3).save(tmp_path / f"{number}.png")
    encoded = twin.backbone.encode(question(media=[Media("video", path=tmp_path)]), (0,), Limits(512, max_pixels=56 * 56), None)
    slots = encoded.media[0].pixels.reshape(16, 3, 2, 14, 14)
    assert (slots[:, :, 0] < 0).all()
    assert (slots[:, :, 1] > 0).all()


def broken(batch, **change):
    return replace(batch, **change)


def test_a_batch_from_which_something_else_would_be_computed_is_refused(twin):
    batch = twin.collate([twin.encode(example, (0, 1)) for example in generate_pairs(2, 0, split="train")])
    for wrong, says in (
        (broken(batch, types=None), "token types are missing"),
        (broken(batch, types=torch.zeros_like(batch.types)), "token types and image places disagree"),
        (broken(batch, images=None, image_grid=None, image_use=()), "no image reaches the model"),
        (broken(batch, mask=torch.ones(4, 1, 8, 8, dtype=torch.bool)), "boolean 4-D mask"),
    ):
        with pytest.raises(ValueError, match=says):
            twin(wrong)


def test_omitted_types_would_have_changed_the_hidden_states(twin):
    """The negative control of the assertion: transformers itself says nothing and computes something else."""
    batch = twin.collate([twin.encode(generate_pairs(1, 0, split="train")[0], (0,))])
    inputs = {"input_ids": batch.ids, "pixel_values": batch.images, "image_grid_thw": batch.image_grid}
    with torch.no_grad():
        right = twin.backbone.model(**inputs, mm_token_type_ids=batch.types).last_hidden_state
        silent = twin.backbone.model(**inputs).last_hidden_state
        ours = twin.backbone(batch)
    assert torch.allclose(ours, right, atol=1e-5)
    assert not torch.allclose(silent, right, atol=1e-3)


def test_any_number_of_responses_is_scored(twin):
    example = PreferenceExample("1", "q", tuple(Response(text) for text in ("a", "bb", "ccc")), PreferenceLabel((0, 1, 2)))
    [scores] = twin.score([example])
    assert len(set(scores)) == 3
