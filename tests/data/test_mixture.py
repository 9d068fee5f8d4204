"""Mixtures: the validation split, caps, weights and the order of the data."""

import json

import pytest

from core.data import check_data, load_data
from core.data.examples import Media, pair
from core.data.mixture import Ingredient, mix, split_key
from core.definition.trial import TrialConfig
from core.errors import DefinitionError


def rows(name, count):
    return [pair(str(index), f"{name} question {index}", "yes", "no", source=name) for index in range(count)]


def part(name, count, weight=1.0, cap=None):
    return Ingredient(name, rows(name, count), weight, cap, name)


def test_the_validation_split_ignores_seed_head_batch_cap_and_weight():
    def held_out(**change):
        base = {
            "backbone": "qwen2.5-vl-7b",
            "data": {"sources": {"generated_images": {"pairs": 60}}, "held_out": 10},
            "train": {"steps": 3},
        }
        return load_data(TrialConfig.model_validate({**base, **change})).held_out

    first = held_out()
    assert len(first) == 10
    assert held_out(seed=5, head={"layers": 5}, train={"steps": 9, "batch": 4}, execution={"micro_batch": 2}) == first
    assert [e.id for e in mix([part("a", 50), part("b", 50)], 20).held_out] == [
        e.id for e in mix([part("b", 50, weight=0.5), part("a", 50, cap=7)], 20).held_out
    ]


def test_nothing_is_both_trained_on_and_held_out():
    data = mix([part("a", 100), part("b", 30)], 25)
    held = {split_key(example) for example in data.held_out}
    assert len(data.held_out) == 25
    assert not held & {split_key(example) for example in data.train}


def test_the_same_pair_falls_on_the_same_side_whatever_its_id_source_or_direction():
    once = pair("1", "q", "yes", "no", source="a", media=[Media("image", data=b"x")])
    again = pair("2", "q", "no", "yes", source="b", media=[Media("image", data=b"x")])
    assert split_key(once) == split_key(again)
    assert split_key(once) != split_key(pair("1", "q", "yes", "no", media=[Media("image", data=b"y")]))


def test_a_group_is_never_split():
    examples = [pair(str(i), f"q{i}", "yes", "no", source="a") for i in range(90)]
    grouped = [example.__class__(**{**example.__dict__, "group": f"g{i // 3}"}) for i, example in enumerate(examples)]
    data = mix([Ingredient("a", grouped, 1.0, None, "a")], 30)
    assert len(data.held_out) == 30
    assert not {example.group for example in data.held_out} & {example.group for example in data.train}


def test_a_larger_cap_keeps_the_earlier_choice():
    small = {example.id for example in mix([part("a", 100, cap=10)], 0).train}
    large = {example.id for example in mix([part("a", 100, cap=30)], 0).train}
    assert len(small) == 10
    assert small < large


def test_weights_are_relative_to_the_largest_and_drawn_anew_each_epoch():
    data = mix([part("mm", 40, weight=2), part("text", 20, weight=1)], 0)
    assert data.epoch_size == 50
    order = data.order(0)
    epochs = [order.slice(epoch * 50, 50) for epoch in range(2)]
    for epoch in epochs:
        assert len(set(epoch)) == 50
        assert sum(index < 40 for index in epoch) == 40
    assert {i for i in epochs[0] if i >= 40} != {i for i in epochs[1] if i >= 40}


def test_the_order_is_one_row_whatever_the_slices():
    data = mix([part("a", 37)], 0)
    whole = data.order(3).slice(0, 120)
    order = data.order(3)
    assert [index for start in range(0, 120, 8) for index in order.slice(start, 8)] == whole
    assert data.order(3).slice(80, 40) == whole[80:]
    assert data.order(4).slice(0, 120) != whole
    assert sorted(whole[:37]) == list(range(37))


def test_too_few_pairs_are_refused(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text(json.dumps({"prompt": "q", "chosen": "a", "rejected": "b"}))
    config = {"backbone": "qwen2.5-vl-7b", "train": {"steps": 1}}
    for check in (check_data, load_data):
        with pytest.raises(DefinitionError, match=r"1000 pairs are to be held out.*hold only 1"):
            check(TrialConfig.model_validate({**config, "data": {"sources": {"d": {"path": str(path)}}}}))
        with pytest.raises(DefinitionError, match="no data source with a weight above 0"):
            check(TrialConfig.model_validate({**config, "data": {"sources": {"d": {"path": str(path), "weight": 0}}}}))


def test_choosing_the_best_weights_needs_a_validation_split():
    config = {
        "backbone": "qwen2.5-vl-7b",
        "data": {"sources": {"generated_images": {}}, "held_out": 0},
        "train": {"steps": 1, "select": "best"},
    }
    with pytest.raises(DefinitionError, match="need pairs held out"):
        check_data(TrialConfig.model_validate(config))
