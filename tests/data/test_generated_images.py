"""Generated preferences: the answer can only be read off the picture."""

import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from core.data.generated import COLOURS, generate_pairs


def texts(example):
    return example.prompt, example.responses[0].text, example.responses[1].text


@pytest.fixture(scope="module")
def pairs():
    return generate_pairs(200, 3, split="train")


def test_every_preference_has_its_opposite_over_the_same_text(pairs):
    preferences = Counter(texts(example) for example in pairs)
    for (question, chosen, rejected), count in preferences.items():
        assert preferences[(question, rejected, chosen)] == count


def test_any_rule_on_text_alone_is_right_in_exactly_half_of_the_pairs(pairs):
    for rule in (len, hash, lambda text: text[::-1], lambda text: sum(map(ord, text))):
        right = sum(rule(example.responses[0].text) > rule(example.responses[1].text) for example in pairs)
        assert right == len(pairs) / 2


def test_the_length_of_answers_is_never_a_tie():
    assert len({len(colour) for colour in COLOURS}) == len(COLOURS)


def test_the_picture_shows_the_chosen_colour(pairs):
    for example in pairs:
        pixels = np.asarray(Image.open(io.BytesIO(example.media[0].data)), dtype=float).reshape(-1, 3)
        near = {name: (np.abs(pixels - value).max(1) < 40).mean() for name, value in COLOURS.items()}
        assert max(near, key=near.get) in example.responses[0].text


def test_the_same_seed_gives_the_same_pairs_and_a_larger_count_keeps_them(pairs):
    assert generate_pairs(50, 3, split="train") == pairs[:50]


def test_splits_and_seeds_share_no_picture(pairs):
    def pictures(examples):
        return {example.media[0].data for example in examples}

    assert len(pictures(pairs)) == 200
    assert not pictures(pairs) & pictures(generate_pairs(200, 3, split="benchmark"))
    assert not pictures(pairs) & pictures(generate_pairs(200, 4, split="train"))


def test_shuffled_labels_turn_about_half_of_the_pairs(pairs):
    shuffled = generate_pairs(200, 3, split="train", labels="shuffled")
    turned = [texts(a) != texts(b) for a, b in zip(pairs, shuffled, strict=True)]
    assert 60 < sum(turned) < 140
    assert all(example.label.ranks == (0, 1) for example in shuffled)


def test_blank_images_are_all_the_same_picture():
    assert len({example.media[0].data for example in generate_pairs(40, 0, split="train", images="blank")}) == 1


def test_groups_cycle_couple_by_couple_and_prefix_the_ids():
    made = generate_pairs(8, 0, split="benchmark", groups=("general", "reasoning"))
    assert [example.id.split("-")[0] for example in made] == ["general"] * 2 + ["reasoning"] * 2 + ["general"] * 2 + ["reasoning"] * 2
    assert len({example.id for example in made}) == 8
