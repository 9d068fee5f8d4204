"""The paradigm critic, and reasoning before an answer: what is read, what is learnt, and what is written at scoring."""

from dataclasses import replace

import pytest
import torch

from core.data import truth
from core.data.annotations import Annotation, annotated
from core.data.generated import COLOURS, generate_pairs
from core.errors import TrialFailed
from core.models.judgement import Sampling
from core.models.judges import preferred_slot
from core.models.reward_model import build, load_reward_model
from core.models.writing import likelihood


@pytest.fixture(scope="module")
def some():
    return [
        replace(example, responses=tuple(replace(part, critique=f"About {part.text}") for part in example.responses))
        for example in generate_pairs(4, 0, split="train")
    ]


@pytest.fixture(scope="module")
def critic(make_config):
    config = make_config(paradigm={"name": "critic", "critique_weight": 0.5, "max_new_tokens": 6})
    return build(config).eval()


@pytest.fixture(scope="module")
def thinker(make_config):
    return build(make_config(paradigm={"name": "generative_cot", "max_new_tokens": 8}, head="none", loss={})).eval()


def texts(model, batch):
    return [model.backbone.tokenizer.decode(row[: int(mask.sum())]) for row, mask in zip(batch.ids, batch.mask, strict=True)]


def test_a_critique_is_the_second_turn_behind_its_response(critic, some):
    batch = critic.collate([critic.encode_pair(some[0])])
    good, bad = texts(critic, batch)
    for text, response in ((good, some[0].responses[0]), (bad, some[0].responses[1])):
        first, _, second = text.partition(f"{response.text}<|im_end|>")
        assert "Judge your answer" not in first
        assert second.endswith(f"assistant\nAbout {response.text}<|im_end|>") and "Judge your answer" in second
    ids = critic.backbone.chat.response(f"About {some[0].responses[0].text}")
    assert int(batch.written[0]) == len(ids)


def test_the_loss_is_the_weighted_likelihood_of_both_critiques(critic, some):
    batch = critic.collate([critic.encode_pair(example) for example in some])
    each = likelihood(critic.backbone(batch), batch, critic.paradigm.language).view(-1, 2)
    readout = critic(batch)
    assert torch.allclose(readout.own, 0.5 * each.sum(1), atol=1e-6)
    assert readout.rewards.shape == (8,)


def test_a_response_without_a_critique_is_named(critic):
    with pytest.raises(TrialFailed, match="response 1 has no critique") as failure:
        critic.encode_pair(generate_pairs(1, 0, split="train")[0])
    assert failure.value.cause == "data_error"


def test_scoring_writes_its_own_critiques(critic, some, tmp_path):
    bare = generate_pairs(4, 0, split="train")
    verdicts = critic.judge(bare)
    assert verdicts == critic.judge(some), "the critiques that the data bring are not read"
    for (verdict,) in verdicts:
        assert verdict.responses == (0, 1) and not verdict.compared
        assert all(isinstance(text, str) for text in verdict.texts) and None not in verdict.scores
    votes = critic.judge(bare[:1], sampling=Sampling(votes=3, temperature=2.0))[0]
    assert [verdict.sample for verdict in votes] == [0, 1, 2]
    critic.save(tmp_path)
    assert load_reward_model(tmp_path).judge(bare) == verdicts


def test_reasoning_stands_before_the_answer(thinker):
    example = generate_pairs(1, 0, split="train")[0]
    told = annotated(example, {example.digest(): Annotation(example.digest(), {"": "It looks red."}, 1)})
    batch = thinker.collate([thinker.encode_pair(told)])
    [text] = texts(thinker, batch)
    assert text.endswith(f"<think>It looks red.</think><answer>{preferred_slot(example) + 1}</answer><|im_end|>")
    assert float(thinker(batch).own[0].detach()) > 0
    assert thinker(thinker.collate([thinker.encode_pair(example)])).own.tolist() == [0.0], "without reasoning it teaches nothing"


ANSWERS = [
    ("<think>a</think><answer>1</answer>", 0),
    ("<answer>1</answer> no: <answer> 2 </answer>", 1),
    ("<think>response 1", None),
    ("1", None),
]


@pytest.mark.parametrize(("text", "slot"), ANSWERS)
def test_the_last_answer_counts(thinker, text, slot):
    assert thinker.paradigm.parse(text) == slot


def test_annotations_leave_what_the_data_bring_where_there_are_none(some):
    assert annotated(some[0], {}) == some[0]
    one = Annotation(some[0].digest(), {some[0].responses[0].text: "New."}, 2)
    assert [part.critique for part in annotated(some[0], {one.example: one}).responses] == ["New.", some[0].responses[1].critique]


def test_the_truth_about_generated_pictures_knows_their_colours():
    assert set(truth.COLOURS) == set(COLOURS)
