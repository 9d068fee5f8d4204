"""What a wrong definition is told: the file and line, what was found, what is allowed, the nearest name."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from core.definition import SweepDefinition, expand, find, load
from core.errors import DefinitionError, UsageError

Load = Callable[..., SweepDefinition]

TRIAL = """\
version: 1
name: study
trial:
  backbone: qwen2.5-vl-7b
  head:
    layers: 2
  data:
    sources:
      pairs:
        cap: 10
  loss:
    bradley_terry:
      weight: 1
  train: {epochs: 1}
validation:
  items: 10
"""


def refusal(load_text: Load, text: str, *overrides: str) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        load_text(text, *overrides, whole=True)
    return caught.value


@pytest.mark.parametrize(
    ("right", "wrong", "line", "close"),
    [
        ("trial:", "trail:", 3, "trial"),
        ("  head:", "  haed:", 5, "head"),
        ("    layers: 2", "    layer: 2", 6, "layers"),
        ("  backbone: qwen2.5-vl-7b", "  backbone: qwen2.5-vl-7bb", 4, "qwen2.5-vl-7b"),
        ("    layers: 2", "    activation: sillu", 6, "silu"),
        ("        cap: 10", "        capp: 10", 10, "cap"),
        ("        cap: 10", "        type: fiel", 10, "file"),
        ("    bradley_terry:", "    bradley_tery:", 12, "bradley_terry"),
        ("      weight: 1", "      weigth: 1", 13, "weight"),
        ("  items: 10", "  itmes: 10", 16, "items"),
        ("validation:\n  items: 10", "evaluate:\n  - vl_rewardbnch", 15, "vl_rewardbench"),
        ("validation:\n  items: 10", "evaluate:\n  - {name: vl_rewardbench, frame: 8}", 16, "frames"),
        ("validation:\n  items: 10", "grid:\n  optim.lrr: [1]", 16, "optim.lr"),
        ("validation:\n  items: 10", "grid:\n  optin.lr: [1]", 16, "optim"),
        ("validation:\n  items: 10", "cases:\n  - head.layers: 1\n    head.activation: tanhh", 17, "tanh"),
        ("validation:\n  items: 10", "exclude:\n  - {head.layers: 1, head.activtion: tanh}", 16, "head.activation"),
        ("validation:\n  items: 10", "exclude:\n  - {head.activation: tanhh}", 16, "tanh"),
        ("validation:\n  items: 10", "resources:\n  when:\n    - match: {head.layer: 1}", 17, "head.layers"),
        ("validation:\n  items: 10", "objective:\n  mode: maxx", 16, "max"),
        ("validation:\n  items: 10", "objective:\n  metric: validaton/accuracy", 16, "validation"),
        ("validation:\n  items: 10", "reported:\n  - source: x\n    metrcs: [a]\n    rows: []", 17, "metrics"),
        ("validation:\n  items: 10", "sample: {cuont: 3}", 15, "count"),
    ],
)
def test_a_misspelt_name_is_answered_with_line_and_nearest(load_text: Load, right: str, wrong: str, line: int, close: str) -> None:
    assert right in TRIAL
    error = refusal(load_text, TRIAL.replace(right, wrong))
    assert str(error.place).endswith(f"study.yaml:{line}")
    assert error.nearest == close
    assert error.allowed
    assert error.found is not None


@pytest.mark.parametrize("key", ["search", "ensembles"])
def test_keys_of_later_versions_are_unknown_keys(load_text: Load, key: str) -> None:
    assert key in refusal(load_text, TRIAL + f"{key}: {{}}\n").message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("grid: {optim.lr: []}", "without values"),
        ("grid: {train.freeze: []}", "without values"),
        ("grid: {'optim.lr, train.batch': []}", "list of rows"),
        ("grid: {'optim.lr, train.batch': [[1e-5, 8], [3e-6]]}", "row 2: 1 values"),
        ("grid: {'optim.lr, train.batch': [[1e-5, 8], 3e-6]}", "row 2"),
        ("grid: {'optim.lr, optim.lr': [[1, 2]]}", "twice"),
        ("grid: {train.freeze: [vision, merger]}", "list of lists"),
        ("grid: {optim.lr: [1e-5], 'optim.lr, train.batch': [[1, 2]]}", "two axes"),
        ("grid: {backbone: [qwen2.5-vl-3b], backbone.name: [qwen2.5-vl-7b]}", "two axes"),
        ("grid: {optim.lr: [1e-5]}\ncases: [{optim.lr: 3e-6}]", "two axes"),
        ("grid: {train.steps: [1], train.epochs: [1]}", "two budgets"),
        ("grid: {seed: [1, 2]}", "seeds"),
        ("grid: {rehearsal.steps: [1, 2]}", "no axis"),
        ("grid: {trial.optim.lr: [1, 2]}", "start inside `trial`"),
        ("grid: {optim.lr: {logspace: [1e-6, 1e-4]}}", "count"),
        ("grid: {optim.lr: {logspace: [0, 1e-4, 3]}}", "above 0"),
        ("grid: {optim.lr: {range: [1, 5, -1]}}", "leads away"),
        ("grid: {optim.lr: {rnage: [1, 5]}}", "did you mean: range"),
        ("grid: {data.sources: [{label: a, value: {x: {}}}, {label: a, value: {y: {}}}]}", "one label for two values"),
        ("grid: {resources.when.0.gpus: 1}", "holds nothing by name"),
        ("grid: {optim.lr.x: 1}", "holds nothing by name"),
        ("grid: {optim.lr: [-1]}", "greater than 0"),
        ("grid: {optim.lr: [nan]}", "finite"),
        ("grid: {optim.warmup: ['-0.0']}", "zero without a sign"),
        ("grid: {head.layers: [9]}", "less than or equal to 5"),
        ("grid: {head.layers: [2.5]}", "integer"),
        ("grid: {loss.bradley_terry.weight: [0]}", "no entry with a weight above 0"),
        ("grid: {data.sources.pairs.weight: [0]}", "no entry with a weight above 0"),
        ("grid: {data.held_out: [5]}", "only validation.items"),
        ("checkpoint: {select: best}\ngrid: {train.select: [last]}", "only checkpoint.select"),
        ("checkpoint: {every: 20}", "20min"),
        ("resources: {time: soon}", "20min"),
        ("resources: {memory: lots}", "64G"),
        ("resources: {gpus: -1}", "greater than or equal to 0"),
        ("seeds: 0", "1"),
        ("seeds: [1, 1]", "twice"),
        ("seeds: []", "at least one seed"),
        ("sample: {count: 0}", "greater than or equal to 1"),
        ("exclude: [{}]", "every cell"),
        ("evaluate: [vl_rewardbench, vl_rewardbench]", "twice"),
        ("evaluate: vl_rewardbench", "list"),
        ("objective: {metric: vl_rewardbench/overall}", "no benchmark in `evaluate`"),
        ("objective: {metric: accuracy}", "no benchmark in `evaluate`"),
        ("code: [absent.py]", "absent.py"),
        ("cases: {a: 1}", "a list"),
        ("grid: [1]", "a mapping"),
    ],
)
def test_bad_clauses_are_refused_with_a_place(load_text: Load, text: str, says: str) -> None:
    error = refusal(load_text, TRIAL + text)
    assert says in str(error)
    assert "study.yaml:" in str(error.place)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version: 2\nname: x\n", "allowed:  1"),
        ("name: x\n", "version is missing"),
        ("version: 1\n", "name is missing"),
        ("version: 1\nname: a/b\n", "name"),
        ("version: 1\nname: x\n", "is missing"),
        ("- 1\n", "mapping"),
        ("", "mapping"),
        ("version: 1\nname: x\ntrial: {seed: 3}\n", "seeds"),
        ("version: 1\nname: x\ntrial: {rehearsal: {steps: 3}}\n", "rehearsal"),
        ("version: 1\nname: x\ntrial: {optim.lr: 3}\n", "nested, not dotted"),
        (TRIAL.replace("epochs: 1", "epochs: 1, steps: 5"), "two budgets"),
        (TRIAL.replace("epochs: 1", "batch: 1"), "exactly one of epochs, steps, pairs, tokens"),
        (TRIAL.replace("  backbone: qwen2.5-vl-7b\n", ""), "backbone is missing"),
        (TRIAL + "name: again\n", "twice"),
    ],
)
def test_a_wrong_whole_is_refused(load_text: Load, text: str, says: str) -> None:
    assert says in str(refusal(load_text, text))


def test_a_cycle_of_bases_shows_the_cycle(tmp_path: Path) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"version: 1\nname: {name}\nbase: {base}\n")
    with pytest.raises(DefinitionError, match="cycle") as caught:
        load(tmp_path / "a.yaml")
    assert " -> ".join(str(tmp_path / f"{name}.yaml") for name in "abca") in str(caught.value.found)
    assert str(caught.value.place) == f"{tmp_path / 'c.yaml'}:3"


def test_an_error_in_a_base_points_into_the_base(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text(TRIAL.replace("layers: 2", "layers: 7"))
    path = tmp_path / "study.yaml"
    path.write_text("version: 1\nname: top\nbase: below\n")
    with pytest.raises(DefinitionError) as caught:
        load(path)
    assert str(caught.value.place) == f"{tmp_path / 'below.yaml'}:6"


def test_a_base_that_is_not_there_names_what_is(tmp_path: Path) -> None:
    (tmp_path / "below.yaml").write_text(TRIAL)
    path = tmp_path / "study.yaml"
    path.write_text("version: 1\nname: top\nbase: bellow\n")
    with pytest.raises(DefinitionError, match="no such base") as caught:
        load(path)
    assert caught.value.nearest == "below"
    assert str(caught.value.place) == f"{path}:3"


def test_a_definition_that_is_not_there_names_what_was_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "head_ablation.yaml").write_text(TRIAL)
    monkeypatch.chdir(tmp_path)
    assert find("head_ablation") == find("head_ablation.yaml") == find("sweeps/head_ablation.yaml")
    with pytest.raises(UsageError) as caught:
        find("head_ablatoin", [tmp_path / "shipped"])
    assert caught.value.nearest == "head_ablation"
    assert str(tmp_path / "sweeps") in str(caught.value.allowed)
    assert str(tmp_path / "shipped") in str(caught.value.allowed)


@pytest.mark.parametrize(
    "grid",
    [
        "{optim.lr: {linspace: [1e-6, 1e-3, 1000000000]}}",
        "{train.batch: {range: [1, 1000]}, head.width: {range: [1, 1000]}, data.held_out: {range: [1, 1000]}}",
    ],
)
def test_a_thousand_million_cells_are_refused_with_the_count_before_any_is_made(load_text: Load, grid: str) -> None:
    tracemalloc.start()
    started = time.perf_counter()
    with pytest.raises(DefinitionError) as caught:
        load_text(f"grid: {grid}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1,000,000,000 cells" in str(caught.value.found)
    assert peak < 20e6
    assert time.perf_counter() - started < 20


def test_the_limit_counts_all_cases_together(load_text: Load) -> None:
    axis = "head.width: {range: [1, 1000]}, optim.lr: {linspace: [1e-6, 1e-5, 3000]}"
    with pytest.raises(DefinitionError, match="too many cells"):
        load_text(f"cases:\n  - {{{axis}}}\n  - {{{axis}}}\n")


def test_a_value_that_no_check_at_load_reached_is_still_refused_with_its_place(load_text: Load) -> None:
    definition = load_text("grid: {train.batch: {range: [2000, -5]}}")
    with pytest.raises(DefinitionError, match=r"train\.batch is wrong") as caught:
        _ = expand(definition).counts
    assert str(caught.value.place).endswith("study.yaml:4")


def test_a_tag_in_a_definition_never_runs(load_text: Load, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    error = refusal(load_text, TRIAL + f"description: !!python/object/apply:pathlib.Path.touch ['{marker}']\n")
    assert "tag" in error.message
    assert not marker.exists()
