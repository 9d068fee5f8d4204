"""Paradigms that write: what stands in the prompt, what is learnt from it, and what is written at scoring."""

import re
from dataclasses import replace

import pytest
import torch

from core.data.examples import PreferenceExample, PreferenceLabel, Response, pair
from core.data.generated import generate_pairs
from core.definition.identity import canonical_form, trial_id
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, TrialFailed
from core.models.judgement import Sampling
from core.models.judges import comparisons, preferred_slot
from core.models.reward_model import build, load_reward_model
from core.models.writing import likelihood, on_the_left, write

BACKBONES = ["qwen2.5-vl-7b", "qwen2-vl-7b", "qwen3-vl-8b", "internvl3-8b", "internvl2-8b", "qwen2.5-7b", "qwen3-8b"]


def judge(make_config, **change):
    return build(make_config(**{"paradigm": "generative", "head": "none", "loss": {}, **change})).eval()


def texts(model, batch):
    tokenizer = model.backbone.tokenizer
    return [tokenizer.decode(row[: int(mask.sum())]) for row, mask in zip(batch.ids, batch.mask, strict=True)]


@pytest.fixture(scope="module")
def model(make_config):
    return judge(make_config)


@pytest.fixture(scope="module")
def some():
    return generate_pairs(8, 0, split="train")


def test_both_responses_and_the_answer_stand_in_one_row(model, some):
    batch = model.collate([model.encode_pair(example) for example in some])
    for example, text in zip(some, texts(model, batch), strict=True):
        shown = re.search(r"Response 1: (.*?)\n\nResponse 2: (.*?)\n\nWhich", text, re.S)
        assert shown and {shown[1], shown[2]} == {example.responses[0].text, example.responses[1].text}
        number = text.removesuffix("<|im_end|>")[-1]
        assert shown[int(number)] == example.responses[example.best()].text
        assert number == str(preferred_slot(example) + 1)


def test_the_preferred_slot_is_balanced_by_hash_and_follows_the_content():
    examples = generate_pairs(2000, 0, split="train")
    slots = [preferred_slot(example) for example in examples]
    assert abs(sum(slots) - 1000) < 4 * 500**0.5
    turned = replace(examples[0], responses=examples[0].responses[::-1], label=PreferenceLabel((1, 0)))
    assert preferred_slot(turned) == slots[0]


def test_a_tie_teaches_nothing(model, some):
    tie = replace(some[0], label=PreferenceLabel((0, 0)))
    assert model(model.collate([model.encode_pair(tie)])).own.tolist() == [0.0]


def test_the_loss_is_the_negative_log_likelihood_of_the_text(model, some):
    batch = model.collate([model.encode_pair(example) for example in some[:3]])
    hidden = model.backbone(batch)
    expected = []
    for row in range(3):
        end, count = int(batch.response_end[row]), int(batch.written[row])
        logs = torch.log_softmax(hidden[row].float() @ model.paradigm.language.weight.T, -1)
        expected.append(-torch.stack([logs[place - 1, batch.ids[row, place]] for place in range(end - count, end)]).mean())
    assert torch.allclose(likelihood(hidden, batch, model.paradigm.language), torch.stack(expected), atol=1e-5)
    readout = model(batch)
    assert readout.rewards.shape == (6,) and torch.allclose(readout.own, torch.stack(expected), atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
def test_writing_with_a_cache_is_writing_without_one(make_config, name):
    """Every token is the likeliest one of a full forward pass over all tokens before it, whatever else is in the batch."""
    text = name in ("qwen2.5-7b", "qwen3-8b")
    model = judge(make_config, backbone=name, data={"sources": {"generated_text" if text else "generated_images": {}}})
    examples = generate_pairs(3, 0, split="train", images="told" if text else "shown")
    examples[1] = replace(examples[1], prompt=examples[1].prompt + " Say it in one short sentence.")
    prompts = [model.paradigm.question(model, example, (0, 1), model.limits) for example in examples]
    found = write(model, model.paradigm.language, prompts, 5, [None] * 3, 1.0)
    for prompt, ids in zip(prompts, found, strict=True):
        so_far: list[int] = []
        for id in [*ids, model.backbone.chat.control["im_end"]][:5]:
            batch = model.collate([replace(prompt, responses=(torch.tensor(so_far, dtype=torch.int64).numpy(),))])
            with torch.no_grad():
                logits = model.paradigm.language(model.backbone(batch)[0, -1])
            best = logits.topk(2)
            assert int(best.indices[0]) == id or float(best.values[0] - best.values[1]) < 1e-3
            so_far.append(id)


def test_votes_differ_and_other_rows_do_not_change_them(model, some):
    sampling = Sampling(votes=4, temperature=2.0, seed=3)
    with torch.no_grad():
        together = model.judge(some[:3], sampling=sampling)
        alone = model.judge(some[1:2], sampling=sampling)
    assert [verdict.texts for verdict in together[1]] == [verdict.texts for verdict in alone[0]]
    assert len({verdict.texts for verdict in alone[0]}) > 1
    assert [(verdict.order, verdict.sample) for verdict in alone[0]] == [(order, sample) for order in (0, 1) for sample in range(4)]


def test_padding_on_the_left_keeps_every_token(model, some):
    batch = model.collate([model.encode_pair(example) for example in some])
    left = on_the_left(batch)
    for row in range(len(batch.ids)):
        count = int(batch.mask[row].sum())
        assert torch.equal(left.ids[row, -count:], batch.ids[row, :count])
        assert torch.equal(left.positions[:, row, -count:], batch.positions[:, row, :count])
        assert int(left.mask[row].sum()) == count


@pytest.mark.parametrize(("text", "slot"), [("1", 0), (" 2.\n", 1), ("3", None), ("1 or 2", None), ("Response 1", None), ("", None)])
def test_only_a_number_alone_is_a_verdict(model, text, slot):
    assert model.paradigm.parse(text) == slot


@pytest.mark.parametrize(
    ("order", "text", "scores"), [(0, "1", (1.0, 0.0)), (1, "1", (0.0, 1.0)), (1, "2", (1.0, 0.0)), (0, "?", (None, None))]
)
def test_a_verdict_names_the_response_that_stood_in_the_slot(model, order, text, scores):
    assert model.paradigm.verdict(text, (0, 1), order, 0).scores == scores


def test_every_pair_of_different_ranks_is_compared():
    ranks = (0, 1, 1, None)
    example = PreferenceExample("i", "q", tuple(map(Response, "abcd")), PreferenceLabel(ranks))
    assert comparisons(example) == [(0, 1), (0, 2)]
    assert len(comparisons(replace(example, label=PreferenceLabel((None,) * 4)))) == 6


def test_responses_that_do_not_fit_are_refused_not_cut(make_config):
    model = judge(make_config, train={"steps": 1, "max_length": 200})
    with pytest.raises(TrialFailed, match="does not fit into max_length"):
        model.encode_pair(pair("1", "q", "word " * 200, "b"))


def test_an_image_place_in_a_response_is_text(model, some):
    tricky = replace(some[0], responses=(Response("<image> red"), Response("blue")))
    batch = model.collate([model.encode_pair(tricky)])
    assert "<image> red" in texts(model, batch)[0]


def test_a_judge_is_published_and_read_back(model, some, tmp_path):
    model.save(tmp_path)
    assert load_reward_model(tmp_path).judge(some) == model.judge(some)


BASE = {"backbone": "qwen2.5-vl-7b", "data": {"sources": {"generated_images": {}}}, "train": {"epochs": 1}}


def test_head_and_loss_have_no_effect_without_a_reward_head():
    one = TrialConfig.model_validate({**BASE, "paradigm": "generative", "head": {"layers": 5}})
    other = TrialConfig.model_validate({**BASE, "paradigm": "generative", "loss": {"bradley_terry": {"weight": 2.0}}})
    assert trial_id(one) == trial_id(other)
    assert canonical_form(one).head.name == "none" and canonical_form(one).loss == {}


def test_the_shipped_prompt_is_part_of_the_identity():
    config = canonical_form(TrialConfig.model_validate({**BASE, "paradigm": "generative"}))
    assert config.prompt.sha is not None and config.prompt.file is None
    assert canonical_form(TrialConfig.model_validate(BASE)).prompt.sha is None


def test_a_scalar_reward_needs_a_head():
    with pytest.raises(DefinitionError, match="reads its reward from a head"):
        trial_id(TrialConfig.model_validate({**BASE, "head": "none"}))


def test_a_template_without_a_place_for_a_response_is_refused(tmp_path, make_config):
    (tmp_path / "p.txt").write_text("{prompt} {response_1}")
    with pytest.raises(DefinitionError, match="response_2"):
        judge(make_config, prompt={"file": str(tmp_path / "p.txt")})
