"""Losses against known values, and the learning rate as a function of progress."""

import math

import pytest
import torch

from core import registry
from core.data.examples import PreferenceLabel, pair
from core.definition.trial import OptimConfig, TrainConfig
from core.training.config import BradleyTerryConfig, LengthNormalisationConfig, ZeroCoefficientConfig
from core.training.losses import RewardBatch, bradley_terry, length_normalisation, total_loss, zero_coefficient
from core.training.schedule import Budget, lr_factor


def batch(rewards, examples=None):
    rewards = torch.tensor(rewards, requires_grad=True)
    examples = examples or [pair(str(index), "q", "a", "b") for index in range(len(rewards) // 2)]
    return RewardBatch.of(rewards, torch.ones(len(rewards)), examples)


def test_bradley_terry_has_its_known_values():
    loss = bradley_terry(batch([1.2, 0.3, 0.3, 1.2, 0.0, 0.0]), BradleyTerryConfig())
    assert [round(value, 6) for value in loss.tolist()] == [0.341154, 1.241154, round(math.log(2), 6)]


def test_bradley_terry_is_computed_in_fp32_whatever_comes_in():
    rewards = torch.tensor([5.03125, 5.0], dtype=torch.bfloat16)
    loss = bradley_terry(RewardBatch.of(rewards, torch.ones(2), [pair("1", "q", "a", "b")]), BradleyTerryConfig())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(math.log1p(math.exp(-0.03125)), abs=1e-6)


def test_a_large_gap_stays_finite():
    assert bradley_terry(batch([-500.0, 500.0]), BradleyTerryConfig()).item() == 1000.0


def test_a_tie_teaches_nothing():
    tie = pair("1", "q", "a", "b")
    tie = tie.__class__(**{**tie.__dict__, "label": PreferenceLabel((0, 0))})
    rewards = batch([1.0, 3.0, 1.0, 3.0], [tie, pair("2", "q", "a", "b")])
    loss = bradley_terry(rewards, BradleyTerryConfig())
    assert loss[0] == 0
    assert loss[1] > 2


def test_a_batch_carries_margin_and_strength_and_nan_where_unknown():
    graded = pair("1", "q", "a", "b", margin=0.5)
    rewards = batch([1.0, 2.0, 3.0, 4.0], [graded, pair("2", "q", "a", "b")])
    assert rewards.margin[0] == 0.5
    assert rewards.margin.isnan().tolist() == [False, True]
    assert rewards.strength.isnan().all()
    assert rewards.chosen.tolist() == [1.0, 3.0]


def test_terms_are_weighted_and_summed():
    one = total_loss(batch([1.2, 0.3]), {"bradley_terry": BradleyTerryConfig()})
    half = total_loss(batch([1.2, 0.3]), {"bradley_terry": BradleyTerryConfig(weight=0.5)})
    none = total_loss(batch([1.2, 0.3]), {"bradley_terry": BradleyTerryConfig(weight=0.0)})
    assert (one / half).item() == pytest.approx(2)
    assert none.item() == 0


def test_a_loss_of_another_shape_is_refused(monkeypatch):
    monkeypatch.setattr(registry.Component, "load", lambda self: lambda rewards, config: rewards.chosen.mean())
    with pytest.raises(ValueError, match=r"must return \[pairs\] = \[2\]"):
        total_loss(batch([1.0, 0.0, 1.0, 0.0]), {"bradley_terry": BradleyTerryConfig()})


@pytest.mark.parametrize(
    ("schedule", "at", "factor"),
    [
        ("cosine", 0.05, 0.5),
        ("cosine", 0.1, 1.0),
        ("cosine", 0.55, 0.5),
        ("cosine", 1.0, 0.0),
        ("linear", 0.55, 0.5),
        ("linear", 1.0, 0.0),
        ("constant", 1.0, 1.0),
        ("constant", 0.05, 0.5),
    ],
)
def test_the_learning_rate_warms_up_and_falls(schedule, at, factor):
    assert lr_factor(at, OptimConfig(schedule=schedule, warmup=0.1)) == pytest.approx(factor, abs=1e-9)


def test_without_warm_up_it_begins_at_the_top():
    assert lr_factor(0.0, OptimConfig(warmup=0.0)) == 1.0


@pytest.mark.parametrize(
    ("budget", "sizes"),
    [({"steps": 3}, [4, 4, 4]), ({"pairs": 10}, [4, 4, 2]), ({"epochs": 0.5}, [4, 4, 2]), ({"epochs": 1.5}, [4] * 7 + [2])],
)
def test_every_budget_ends_at_its_pair(budget, sizes):
    plan = Budget.of(TrainConfig(batch=4, **budget), epoch_size=20)
    found, pairs = [], 0
    while plan.progress(pairs, 0) < 1:
        found.append(plan.next_batch(pairs))
        pairs += found[-1]
    assert found == sizes
    assert plan.total_steps(0, 0.0) == len(sizes)


def test_a_budget_in_tokens_moves_by_tokens():
    plan = Budget.of(TrainConfig(batch=4, tokens=1000), epoch_size=20)
    assert plan.next_batch(400) == 4
    assert plan.progress(400, 250) == 0.25
    assert plan.progress(8, 1200) == 1.0
    assert plan.total_steps(5, 0.25) == 20


GOLDEN = RewardBatch.of(torch.tensor([1.2, 0.3]), torch.tensor([9, 99]), [pair("1", "q", "a", "b")])
"""Rewards and lengths of the golden values."""


def test_the_zero_coefficient_term_has_its_known_values():
    config = ZeroCoefficientConfig(weight=0.01)
    assert config.weight * zero_coefficient(GOLDEN, config).item() == pytest.approx(0.0225)
    assert total_loss(GOLDEN, {"bradley_terry": BradleyTerryConfig(), "zero_coefficient": config}).item() == pytest.approx(
        0.363654, abs=1e-6
    )
    assert zero_coefficient(batch([7.0, -7.0]), config).item() == 0


def test_length_normalisation_has_its_known_values():
    config = LengthNormalisationConfig()
    normal = length_normalisation(GOLDEN, config)
    assert [normal.chosen.item(), normal.rejected.item()] == pytest.approx([0.521153, 0.065144], abs=1e-6)
    assert total_loss(GOLDEN, {"bradley_terry": BradleyTerryConfig(), "length_normalisation": config}).item() == pytest.approx(
        0.490913, abs=1e-6
    )


def test_an_empty_response_is_normalised_as_one_token():
    empty = RewardBatch.of(torch.tensor([1.2, 0.3]), torch.tensor([0, 1]), [pair("1", "q", "a", "b")])
    normal = length_normalisation(empty, LengthNormalisationConfig())
    assert [normal.chosen.item(), normal.rejected.item()] == pytest.approx([1.2 / math.log(2), 0.3 / math.log(2)])


def test_a_transform_comes_before_every_term_whatever_the_order_of_writing():
    terms = {"zero_coefficient": ZeroCoefficientConfig(weight=1), "length_normalisation": LengthNormalisationConfig()}
    expected = (0.521153 + 0.065144) ** 2
    for order in (terms, dict(reversed(terms.items()))):
        assert total_loss(GOLDEN, order).item() == pytest.approx(expected, abs=1e-5)
    assert GOLDEN.chosen.item() == pytest.approx(1.2)
