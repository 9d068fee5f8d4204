"""The rehearsal learns from pictures, and only from pictures: mean over the seven heads of the paper's Table 2, with two controls."""

import pytest
import torch
from run_trial import FolderContext

from core.definition.trial import TrialConfig
from core.training.trainer import train

HEADS = [(1, "none"), (2, "none"), (2, "tanh"), (2, "silu"), (3, "silu"), (4, "silu"), (5, "silu")]

pytestmark = pytest.mark.training


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def accuracy(folder, layers, activation, seed, sources):
    config = TrialConfig.model_validate(
        {
            "backbone": "qwen2.5-vl-7b",
            "head": {"layers": layers, "activation": activation},
            "data": {"sources": sources},
            "train": {"epochs": 1, "freeze": ["vision"]},
            "seed": seed,
            "execution": {"validate_every": 1.0, "micro_batch": 16},
            "rehearsal": {},
        }
    )
    return train(config, FolderContext(folder / f"{layers}-{activation}-{seed}"))["validation/accuracy"]


def over_heads(folder, seed, sources, heads=HEADS):
    return [accuracy(folder, layers, activation, seed, sources) for layers, activation in heads]


def test_every_head_learns_from_the_pictures(tmp_path):
    found = over_heads(tmp_path, 0, {"r1_reward": {}})
    assert sum(found) / len(found) >= 0.9, found
    assert min(found) >= 0.65, found


@pytest.mark.parametrize("seed", [1, 2])
def test_other_seeds_learn_too(tmp_path, seed):
    found = over_heads(tmp_path, seed, {"r1_reward": {}}, heads=[(2, "silu")])
    assert min(found) >= 0.8, found


def test_with_shuffled_labels_nothing_is_learnt(tmp_path):
    found = over_heads(tmp_path, 0, {"generated_images": {"labels": "shuffled"}}, heads=[(1, "none"), (2, "silu")])
    assert 0.4 <= sum(found) / len(found) <= 0.6, found


def test_with_blank_images_it_stays_at_chance(tmp_path):
    found = over_heads(tmp_path, 0, {"generated_images": {"images": "blank"}}, heads=[(1, "none"), (2, "silu")])
    assert found == [0.5] * len(found)
