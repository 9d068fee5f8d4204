"""Mixtures by name, text ratios, repeated pairs, and questions that a benchmark asks too."""

from __future__ import annotations

import json

import pytest

from core.data import check_data, data_fingerprint, load_data
from core.data.curation import Overlaps, pair_key, repeated
from core.data.examples import Media, pair
from core.data.mixture import Ingredient, Recipe, mix
from core.definition.identity import trial_id
from core.definition.mixtures import named, names
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, EnvironmentFault

PICTURE = [Media("image", data=b"x")]


def config(data, **more):
    return TrialConfig.model_validate({"backbone": "qwen2.5-vl-7b", "data": {"held_out": 0, **data}, "train": {"steps": 1}, **more})


def part(name, count, media=(), weight=1.0, cap=None):
    rows = [pair(str(n), f"{name} {n}?", "yes", "no", source=name, media=media) for n in range(count)]
    return Ingredient(name, rows, weight, cap, name)


def test_a_named_mixture_is_what_it_stands_for():
    by_name = config({"mixture": "basereward_multimodal"})
    by_hand = config({"sources": named("basereward_multimodal")["sources"]})
    assert trial_id(by_name) == trial_id(by_hand)
    assert set(by_name.data.sources) == {"mmpr", "r1_reward", "rlaif_v"}
    changed = config({"mixture": "basereward_multimodal", "sources": {"mmpr": {"weight": 0}, "rlaif_v": {"cap": 5}, "shp": {}}})
    assert set(changed.data.canonical().sources) == {"r1_reward", "rlaif_v", "shp"}
    assert changed.data.sources["rlaif_v"].cap == 5
    with pytest.raises(DefinitionError, match="did you mean: basereward_text"):
        config({"mixture": "basereward_texts"})


@pytest.mark.parametrize("name", names())
def test_every_named_mixture_is_valid(name):
    assert config({"mixture": name}).data.sources


def test_a_mixture_that_does_nothing_is_none_and_settings_are_identity():
    plain = config({"sources": {"shp": {}}})
    assert trial_id(config({"sources": {"shp": {}}, "mixture": {}})) == trial_id(plain)
    others = [{"text_ratio": 0.5}, {"dedup": "within"}, {"dedup": "across"}, {"decontaminate": ["vl_rewardbench"]}]
    assert len({trial_id(plain), *(trial_id(config({"sources": {"shp": {}}, "mixture": other})) for other in others)}) == 5
    with pytest.raises(DefinitionError, match="did you mean: vl_rewardbench"):
        config({"sources": {"shp": {}}, "mixture": {"decontaminate": ["vl_rewardbnch"]}})


@pytest.mark.parametrize(
    ("ratio", "expected"), [(0.5, (100, 50)), (1.0, (100, 100)), (2.0, (100, 200)), (8.0, (50, 400)), (0.01, (100, 1))]
)
def test_an_epoch_has_the_ratio_and_repeats_no_pair(ratio, expected):
    data = mix([part("mm", 100, PICTURE), part("long", 300), part("short", 100)], 0, Recipe(text_ratio=ratio))
    used = {portion.source: portion.per_epoch for portion in data.portions}
    assert (used["mm"], used["long"] + used["short"]) == expected
    assert used["long"] == pytest.approx(3 * used["short"], abs=2)
    epoch = data.order(0).slice(0, data.epoch_size)
    assert len(set(epoch)) == len(epoch)


def test_weights_stay_within_their_kind_under_a_ratio():
    data = mix([part("mm", 100, PICTURE), part("a", 100), part("b", 100, weight=0.5)], 0, Recipe(text_ratio=0.6))
    assert {portion.source: portion.per_epoch for portion in data.portions} == {"mm": 100, "a": 40, "b": 20}


def test_a_ratio_of_one_kind_is_refused():
    with pytest.raises(DefinitionError, match="no multimodal pairs in a"):
        mix([part("a", 10)], 0, Recipe(text_ratio=1.0))


def test_the_same_pair_is_known_by_its_words_and_media_whichever_is_better():
    one = pair("1", "<image>\nWhat  is it?", "A cat.", "A dog.", media=PICTURE)
    assert pair_key(one) == pair_key(pair("2", "what is it? ", "a dog.", "A CAT.", media=PICTURE))
    assert pair_key(one) != pair_key(pair("1", "What is it?", "A cat.", "A dog.", media=[Media("image", data=b"y")]))
    assert pair_key(one) != pair_key(pair("1", "What is it?", "A cat.", "A cow.", media=PICTURE))


def test_repeated_pairs_are_found_within_or_across_sources():
    same = pair("1", "q", "yes", "no")
    sources = {"b": [same, pair("2", "Q", "no", "yes")], "a": [same, pair("3", "other", "yes", "no")]}
    assert repeated(sources, "none") == {"a": set(), "b": set()}
    assert repeated(sources, "within") == {"a": set(), "b": {1}}
    assert repeated(sources, "across") == {"a": set(), "b": {0, 1}}
    assert repeated(dict(reversed(sources.items())), "across") == repeated(sources, "across")


def test_a_question_of_a_benchmark_is_known():
    bench = {"vl": [pair("1", "<image>\nDescribe it.", "A cat.", "A dog.", media=PICTURE)], "text": [pair("1", "Why is it so?", "a", "b")]}
    overlaps = Overlaps(bench)
    other = [Media("image", data=b"z")]
    assert overlaps.of(pair("9", "describe it.", "A cow.", "a  dog.", media=other)) == "vl"
    assert overlaps.of(pair("9", "Describe it.", "A cow.", "A horse.", media=other)) is None  # many pictures share a question
    assert overlaps.of(pair("9", "why is it so?", "x", "y")) == "text"
    assert overlaps.of(pair("9", "Why is it so?", "x", "y", media=other)) is None


def test_what_is_left_out_is_counted_and_neither_trained_nor_held_out():
    rows = [pair(str(n), f"q{n}", "yes", "no", source="a") for n in range(10)]
    parts = [Ingredient("a", [*rows, rows[0]], 1.0, None, "a")]
    data = mix(parts, 3, Recipe(dedup="within", overlaps=Overlaps({"bench": [rows[4], rows[5]]})))
    assert data.counts["a"] == {"rows": 11, "train": 5, "per_epoch": 5, "held_out": 3, "ties": 0, "repeated": 1, "overlap/bench": 2}
    assert not {"q4", "q5"} & {example.prompt for example in (*data.train, *data.held_out)}


@pytest.fixture
def data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    rows = [{"prompt": f"q{n}", "chosen": "yes", "rejected": "no"} for n in range(4)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_trial_leaves_out_what_a_benchmark_on_this_machine_asks(data_folder):
    asked = config({"sources": {"mine": {}}, "mixture": {"decontaminate": ["vl_rewardbench"]}})
    with pytest.raises(EnvironmentFault, match="the data of the benchmark vl_rewardbench are not on this machine"):
        check_data(asked)
    row = {"id": "RLAIF-V-1", "prompt": "q2", "chosen": "yes", "rejected": "never", "image": "a.png"}
    (data_folder / "vl_rewardbench.jsonl").write_text(json.dumps(row) + "\n")
    check_data(asked)
    data = load_data(asked)
    assert [example.prompt for example in data.train] == ["q0", "q1", "q3"]
    assert data.counts["mine"]["overlap/vl_rewardbench"] == 1
    assert data.fingerprint == data_fingerprint(asked) != data_fingerprint(config({"sources": {"mine": {}}}))


def test_a_rehearsal_keeps_the_ratio_and_leaves_nothing_out():
    rehearsed = config(
        {"sources": {"rlaif_v": {}, "shp": {}}, "mixture": {"text_ratio": 0.5, "dedup": "across", "decontaminate": ["rm_bench"]}},
        rehearsal={"pairs": 40, "items": 8},
    )
    counts = load_data(rehearsed).counts
    assert sum(count["rows"] for count in counts.values()) == 80
    assert counts["shp"]["per_epoch"] == round(counts["rlaif_v"]["per_epoch"] / 2)
