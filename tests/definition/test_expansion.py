"""Properties of the expansion: counts, order, sampling, streaming, and its answer to `why`."""

from __future__ import annotations

import hashlib
import itertools
import json
import tracemalloc
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.definition import Expansion, SweepDefinition, expand, load, trial_id, why
from core.definition.reading import write_text
from core.definition.trial import TrialConfig
from core.errors import UsageError

Load = Callable[..., SweepDefinition]

VALUES = {
    "head.layers": ["1", "2", "3"],
    "head.activation": ["none", "tanh", "silu"],
    "optim.lr": ["1e-5", "3e-6", "1e-6"],
    "train.batch": ["8", "16"],
    "data.held_out": ["5", "6", "7"],
    "backbone": ["qwen2.5-vl-3b", "qwen2.5-vl-7b"],
    "loss.bradley_terry.weight": ["0.5", "1", "2"],
}
NO_MERGE = [path for path in VALUES if not path.startswith("head")]

grids = st.dictionaries(st.sampled_from(sorted(VALUES)), st.none(), max_size=4).flatmap(
    lambda chosen: st.fixed_dictionaries(
        {path: st.lists(st.sampled_from(VALUES[path]), min_size=1, max_size=3, unique=True) for path in chosen}
    )
)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def study(folder: Path, **keys: Any) -> SweepDefinition:
    trial = {"backbone": "qwen2.5-vl-7b", "data": {"sources": {"pairs": {}}}, "train": {"epochs": "1"}}
    path = folder / "study.yaml"
    path.write_text(write_text({"version": "1", "name": "study", "trial": trial, **keys}))
    return load(path)


@quick
@given(grids)
def test_cells_are_the_product_less_what_is_merged(tmp_path: Path, grid: dict[str, list[str]]) -> None:
    counts = expand(study(tmp_path, grid=grid)).counts
    assert counts["cells"] + counts["merged"] == prod(len(values) for values in grid.values())
    if not {"head.layers", "head.activation"} <= set(grid):
        assert counts["merged"] == 0


@quick
@given(grids, st.data())
def test_cells_are_the_product_less_what_is_excluded(tmp_path: Path, grid: dict[str, list[str]], data: st.DataObject) -> None:
    grid = {path: values for path, values in grid.items() if path in NO_MERGE}
    rule = {path: data.draw(st.sampled_from(values)) for path, values in grid.items() if data.draw(st.booleans())}
    counts = expand(study(tmp_path, grid=grid, **({"exclude": [rule]} if rule else {}))).counts
    total = prod(len(values) for values in grid.values())
    dropped = prod(len(values) for path, values in grid.items() if path not in rule) if rule else 0
    assert (counts["cells"], counts["excluded"]) == (total - dropped, dropped)


@quick
@given(grids, st.randoms(use_true_random=False))
def test_the_order_of_keys_never_changes_an_id(tmp_path: Path, grid: dict[str, list[str]], random: Any) -> None:
    def shuffled(tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        items = list(tree.items())
        random.shuffle(items)
        return {key: shuffled(value) for key, value in items}

    trial = {
        "backbone": {"name": "qwen2.5-vl-7b", "frames": "8"},
        "data": {"sources": {"a": {"cap": "3", "weight": "2"}, "b": {}}},
        "train": {"epochs": "1"},
    }
    one = {trial.id for trial in expand(study(tmp_path, trial=trial, grid=grid)).trials()}
    two = {trial.id for trial in expand(study(tmp_path, trial=shuffled(trial), grid=shuffled(grid))).trials()}
    assert one == two


@quick
@given(grids, st.integers(1, 10), st.integers(0, 10), st.integers(0, 3))
def test_a_larger_sample_keeps_the_earlier_choice(tmp_path: Path, grid: dict[str, list[str]], count: int, more: int, seed: int) -> None:
    def sample(size: int) -> list[str]:
        return [cell.id for cell in expand(study(tmp_path, grid=grid, sample={"count": str(size), "seed": str(seed)})).cells()]

    small, large = sample(count), sample(count + more)
    everything = [cell.id for cell in expand(study(tmp_path, grid=grid)).cells()]
    assert set(small) <= set(large)
    assert len(small) == min(count, len(everything))
    assert large == [id for id in everything if id in set(large)]  # in the grid's order


@quick
@given(grids)
def test_the_streamed_id_is_the_id_of_the_configuration(tmp_path: Path, grid: dict[str, list[str]]) -> None:
    for trial in expand(study(tmp_path, grid=grid, seeds="2")).trials():
        assert trial_id(TrialConfig.model_validate(json.loads(trial.to_json())["config"])) == trial.id


def test_a_sample_is_the_cells_of_smallest_hash(tmp_path: Path) -> None:
    grid = {"optim.lr": {"linspace": ["1e-6", "1e-5", "40"]}}
    everything = [cell.id for cell in expand(study(tmp_path, grid=grid)).cells()]
    chosen = {cell.id for cell in expand(study(tmp_path, grid=grid, sample={"count": "7", "seed": "3"})).cells()}
    assert chosen == set(sorted(everything, key=lambda id: hashlib.sha256(f"3:{id}".encode()).hexdigest())[:7])


def test_another_sample_seed_makes_another_choice(tmp_path: Path) -> None:
    grid = {"optim.lr": {"linspace": ["1e-6", "1e-5", "40"]}}
    chosen = [[cell.id for cell in expand(study(tmp_path, grid=grid, sample={"count": "10", "seed": seed})).cells()] for seed in "01"]
    assert set(chosen[0]) != set(chosen[1])


def test_counts_after_streaming_the_trials_need_no_second_pass(load_text: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    expansion = expand(load_text("grid: {optim.lr: [1e-5, 3e-6]}\nseeds: 2"))
    assert sum(1 for _ in expansion.trials()) == 4
    monkeypatch.setattr(Expansion, "walk", lambda self: pytest.fail("a second pass"))
    assert expansion.counts == {"cells": 2, "trials": 4, "excluded": 0, "merged": 0}


def test_sections_that_do_not_vary_are_made_once_and_shared(load_text: Load) -> None:
    grid = "grid: {optim.lr: {linspace: [1e-6, 1e-5, 30]}, train.batch: {range: [1, 30]}}"
    trials = list(expand(load_text(grid)).trials())
    assert len({id(trial.config["backbone"]) for trial in trials}) == 1
    assert len({id(trial.config["optim"]) for trial in trials}) == 30


def test_many_cells_stream_in_little_memory(load_text: Load) -> None:
    def peak(text: str) -> float:
        definition = load_text(text)
        tracemalloc.start()
        for _ in itertools.islice(expand(definition).trials(), None):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size / 1e6

    small = peak("grid: {optim.lr: {linspace: [1e-6, 1e-5, 10]}, head.width: {range: [1, 10]}, train.batch: {range: [1, 10]}}")
    large = peak("grid: {optim.lr: {linspace: [1e-6, 1e-5, 30]}, head.width: {range: [1, 30]}, train.batch: {range: [1, 20]}}")
    assert large - small < 10  # MB; 17,000 more trials as objects would be above 100


# --------------------------------------------------------------------------------------------------------------------- why


WHY = """\
grid:
  optim.lr: [1e-5, 3e-6]
cases:
  - {head.layers: 1, head.activation: [none, tanh]}
  - {head.layers: 2}
exclude:
  - {head.layers: 2, optim.lr: 1e-5}
"""


def test_why_names_the_clause_that_made_a_cell(load_text: Load) -> None:
    text = "\n".join(why(load_text(WHY), {"head.layers": "2", "optim.lr": "3e-6"}))
    assert "made by case 2" in text
    assert "study.yaml:8" in text
    assert "optim.lr" in text
    assert "study.yaml:5" in text
    assert "kept as" in text


def test_why_finds_a_merged_cell_by_what_was_written(load_text: Load) -> None:
    lines = why(load_text(WHY), {"head.activation": "tanh"})
    assert len(lines) == 4
    assert "head.activation: tanh" in lines[0]
    assert "merged into" in lines[1]
    assert "head.activation: none" in lines[1]


def test_why_names_the_rule_that_dropped_a_cell(load_text: Load) -> None:
    text = "\n".join(why(load_text(WHY), {"head.layers": "2", "optim.lr": "1e-5"}))
    assert "dropped by exclude rule 1" in text
    assert "study.yaml:10" in text


def test_why_names_sample_and_the_command_line(load_text: Load) -> None:
    definition = load_text("grid: {optim.lr: [1e-5, 3e-6], head.layers: [1, 2]}\nsample: {count: 1}", "head.layers=2")
    text = "\n".join(why(definition, {}))
    assert "head.layers=2 drops the axis head.layers" in text
    assert "left out by sample" in text
    assert text.count("kept as") == 1


def test_why_says_why_nothing_matches(load_text: Load) -> None:
    text = "\n".join(why(load_text(WHY), {"optim.lr": "2e-6", "head.layers": "5", "train.epochs": "4", "head.width": "7"}))
    assert "no cell matches" in text
    assert "an axis with 1e-5, 3e-6" in text
    assert "fixed to 1 " in text
    assert "left at its default" in text


def test_why_refuses_a_path_that_does_not_exist(load_text: Load) -> None:
    with pytest.raises(UsageError) as caught:
        why(load_text(WHY), {"head.layerz": "1"})
    assert caught.value.nearest == "head.layers"


@quick
@given(grids, st.booleans())
def test_repeating_cells_are_the_same_whether_found_by_group_or_by_id(tmp_path: Path, grid: dict[str, list[str]], rich: bool) -> None:
    if rich:  # sections that share axes, values that mean the same, a section that another one reads
        grid = {
            **grid,
            "optim.eps": ["${optim.lr}", "1e-5"],
            "validation.items": ["5", "05"],
            "train.freeze": [["vision"], ["vision", "vision"]],
        }
        grid.pop("data.held_out", None)
    expansion = expand(study(tmp_path, grid=grid))
    by_group = [(visit.indices, visit.outcome) for visit in expansion.walk()]
    by_id = [(visit.indices, visit.outcome) for visit in expansion._walk_by_id()]
    assert by_group == by_id
