"""What a definition means: layers and their order, axes, cases, interpolation, canonical form, resources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.definition import Expansion, SweepDefinition, expand, load
from core.definition.plan import Shape
from core.errors import DefinitionError

Cells = Callable[..., list[dict[str, object]]]
Expand = Callable[..., Expansion]
Load = Callable[..., SweepDefinition]


def config(expansion: Expansion) -> Any:
    (cell,) = expansion.cells()
    return dict(cell.config)


def counts(expansion: Expansion) -> tuple[int, int, int]:
    found = expansion.counts
    return found["cells"], found["merged"], found["excluded"]


def test_the_fields_type_decides_what_a_scalar_is(expand_text: Expand) -> None:
    got = config(
        expand_text(
            "version: 1\nname: no\n"
            "trial:\n"
            "  backbone: {name: qwen2.5-vl-3b, revision: 12:30}\n"
            "  head: {activation: none, layers: 02}\n"
            "  data: {sources: {'010': {cap: 1e6, fields: {prompt: no}}}}\n"
            "  optim: {lr: 1e-5, betas: [.9, 95e-2]}\n"
            "  train: {steps: '7'}\n"
            "  execution: {activation_checkpointing: no, threads: ~}\n",
            whole=True,
        )
    )
    assert got["backbone"]["revision"] == "12:30"
    assert (got["head"]["activation"], got["head"]["layers"]) == ("none", 2)
    source = got["data"]["sources"]["010"]
    assert (source["cap"], source["fields"]) == (1_000_000, {"prompt": "no"})
    assert (got["optim"]["lr"], got["optim"]["betas"]) == (1e-5, [0.9, 0.95])
    assert got["train"]["steps"] == 7
    assert got["execution"]["activation_checkpointing"] is False
    assert got["execution"]["threads"] is None


def test_a_grid_is_a_product_with_its_last_axis_fastest(cells_of: Cells) -> None:
    assert cells_of("grid: {optim.lr: [1e-5, 3e-6], train.batch: [64, 128]}") == [
        {"optim.lr": 1e-5, "train.batch": 64},
        {"optim.lr": 1e-5, "train.batch": 128},
        {"optim.lr": 3e-6, "train.batch": 64},
        {"optim.lr": 3e-6, "train.batch": 128},
    ]


def test_each_case_is_a_small_grid_combined_with_the_grid(cells_of: Cells) -> None:
    text = "grid: {optim.lr: 1e-5}\ncases:\n  - {head.layers: 2, head.activation: [none, tanh]}\n  - {train.batch: 64}\n"
    assert cells_of(text) == [
        {"optim.lr": 1e-5, "head.layers": 2, "head.activation": "none"},
        {"optim.lr": 1e-5, "head.layers": 2, "head.activation": "tanh"},
        {"optim.lr": 1e-5, "train.batch": 64},
    ]


def test_without_axes_there_is_one_cell(cells_of: Cells) -> None:
    assert cells_of("") == [{}]
    assert cells_of("grid: {}\ncases: []") == [{}]


@pytest.mark.parametrize(
    ("generator", "values"),
    [
        ("{range: [1, 4]}", [1, 2, 3, 4]),
        ("{range: [4, 1, -1.5]}", [4, 2.5, 1]),
        ("{linspace: [0.1, 0.4, 4]}", [0.1, 0.2, 0.3, 0.4]),
        ("{logspace: [1e-6, 1e-4, 3]}", [1e-6, 1e-5, 1e-4]),
        ("{logspace: [1, 2, 3]}", [1, 1.41421356237, 2]),
        ("{linspace: [5, 9, 1]}", [5]),
    ],
)
def test_generators_include_both_ends_and_have_12_digits(cells_of: Cells, generator: str, values: list[float]) -> None:
    assert [cell["optim.lr"] for cell in cells_of(f"grid: {{optim.lr: {generator}}}")] == values


def test_a_generator_makes_whole_numbers_for_whole_number_fields(cells_of: Cells) -> None:
    found = cells_of("grid: {train.tokens: {logspace: [1e6, 1e8, 3]}}")
    assert [cell["train.tokens"] for cell in found] == [1_000_000, 10_000_000, 100_000_000]


def test_joined_paths_move_together(expand_text: Expand) -> None:
    expansion = expand_text('grid: {"backbone, resources.gpus": [[qwen2.5-vl-3b, 4], [qwen2.5-vl-7b, 8]]}')
    assert [(cell.cell["backbone"], cell.shape.gpus) for cell in expansion.cells()] == [("qwen2.5-vl-3b", 4), ("qwen2.5-vl-7b", 8)]


def test_a_mapping_is_assigned_and_its_label_shown(expand_text: Expand) -> None:
    text = """
    grid:
      data.sources:
        - {label: one, value: {text: {}}}
        - {label: two, value: {text: {weight: 0.5}, images: {type: generated_images}}}
    """
    cells = list(expand_text(text).cells())
    assert [cell.cell["data.sources"] for cell in cells] == ["one", "two"]
    assert [list(cell.config["data"]["sources"]) for cell in cells] == [["text"], ["text", "images"]]  # `pairs` of the base is gone


def test_a_shorthand_keeps_the_other_keys_of_its_section(expand_text: Expand) -> None:
    text = "version: 1\nname: x\ntrial: {backbone: {name: qwen2.5-vl-3b, frames: 8}, data: {sources: {a: {}}}, train: {epochs: 1}}\n"
    cells = list(expand_text(text + "grid: {backbone: [qwen2.5-vl-3b, qwen2.5-vl-7b]}", whole=True).cells())
    assert [(cell.config["backbone"]["name"], cell.config["backbone"]["frames"]) for cell in cells] == [
        ("qwen2.5-vl-3b", 8),
        ("qwen2.5-vl-7b", 8),
    ]


def test_a_path_that_is_a_list_takes_a_list_of_lists(cells_of: Cells) -> None:
    assert cells_of("grid: {train.freeze: [[vision], [merger, vision], []]}") == [
        {"train.freeze": ["vision"]},
        {"train.freeze": ["merger", "vision"]},
        {"train.freeze": []},
    ]


def test_values_that_mean_the_same_merge_and_are_counted(expand_text: Expand) -> None:
    assert counts(expand_text("grid: {optim.lr: [1e-5, 0.00001, 3e-6]}")) == (2, 1, 0)
    assert counts(expand_text("grid: {train.freeze: [[vision, merger], [merger, vision, vision]]}")) == (1, 1, 0)
    assert counts(expand_text("grid: {data.sources.extra.weight: [0, 0.0]}")) == (1, 1, 0)


def test_a_one_layer_head_has_no_activation_width_or_dropout(expand_text: Expand) -> None:
    expansion = expand_text("grid: {head.layers: 1, head.activation: [tanh, silu], head.width: [null, 64], head.dropout: [0, 0.1]}")
    assert counts(expansion) == (1, 7, 0)
    (cell,) = expansion.cells()
    assert cell.cell == {"head.layers": 1, "head.activation": "none", "head.width": None, "head.dropout": 0.0}


def test_weight_0_is_the_same_as_absent(expand_text: Expand) -> None:
    plain = config(expand_text(""))
    expansion = expand_text("grid: {data.sources.extra.weight: [0, 1]}")
    without, with_extra = expansion.cells()
    assert without.config["data"] == plain["data"]
    assert without.cell == {"data.sources.extra.weight": 0.0}
    assert set(with_extra.config["data"]["sources"]) == {"pairs", "extra"}


def test_the_default_loss_stays_beside_a_term_that_is_added(expand_text: Expand, load_text: Load, tmp_path: Path) -> None:
    (tmp_path / "extra_terms.py").write_text(
        "from core.definition.fields import identity\nfrom core.definition.trial import LossTermConfig\n"
        "from core.registry import register\n"
        "class PenaltyConfig(LossTermConfig):\n    power: float = identity(2.0, doc='exponent')\n"
        "register('loss', 'penalty_for_test', PenaltyConfig, 'extra_terms:penalty')\n"
    )
    cells = list(expand_text("code: [extra_terms.py]\ngrid: {loss.penalty_for_test.weight: [0, 0.01]}").cells())
    assert [list(cell.config["loss"]) for cell in cells] == [["bradley_terry"], ["bradley_terry", "penalty_for_test"]]
    assert load_text("code: extra_terms.py").code == (tmp_path / "extra_terms.py",)


def test_exclude_sees_canonical_values_labels_and_lists(expand_text: Expand) -> None:
    grid = "grid: {head.layers: [1, 2, 3], head.activation: [tanh, silu]}\n"
    assert counts(expand_text(grid + "exclude: [{head.activation: none}]")) == (4, 1, 1)
    assert counts(expand_text(grid + "exclude: [{head.layers: [2, 3], head.activation: tanh}]")) == (3, 1, 2)
    assert counts(expand_text(grid + "exclude: [{backbone: qwen2.5-vl-7b}]")) == (0, 1, 5)
    labelled = "grid: {data.sources: [{label: a, value: {x: {}}}, {label: b, value: {y: {}}}]}\nexclude: [{data.sources: b}]"
    assert counts(expand_text(labelled)) == (1, 0, 1)


def test_an_exclude_that_matches_nothing_is_a_warning_with_its_line(load_text: Load) -> None:
    definition = load_text("grid: {head.layers: [1, 2]}\nexclude:\n  - {head.layers: 3}\n")
    expansion = expand(definition)
    assert expansion.counts["cells"] == 2
    (warning,) = expansion.warnings
    assert "study.yaml:6" in warning
    assert "matches no cell" in warning
    assert definition.warnings == [warning]


def test_seeds_are_replicates_of_a_cell(expand_text: Expand) -> None:
    trials = list(expand_text("grid: {head.layers: [1, 2]}\nseeds: [5, 0]").trials())
    assert [(trial.cell["head.layers"], trial.seed, trial.config["seed"]) for trial in trials] == [
        (1, 5, 5),
        (1, 0, 0),
        (2, 5, 5),
        (2, 0, 0),
    ]
    assert len({trial.id for trial in trials}) == 4
    assert expand_text("seeds: 3").counts["trials"] == 3


def test_validation_and_checkpoint_set_fields_of_the_trial(expand_text: Expand) -> None:
    got = config(expand_text("validation: {items: 50, every: 0.25}\ncheckpoint: {every: 1h30min, keep: 2, after: resume, select: best}"))
    assert got["data"]["held_out"] == 50
    train, execution = got["train"], got["execution"]
    assert (train["select"], train["validate_every"]) == ("best", 0.25)
    assert (execution["validate_every"], execution["checkpoint_every"]) == (0.25, 5400.0)
    assert (execution["checkpoint_keep"], execution["checkpoint_after"]) == (2, "resume")
    steps = config(expand_text("checkpoint: {every: 50steps}"))["execution"]
    assert steps["checkpoint_steps"] == 50


def test_the_cadence_of_validation_is_identity_only_where_it_decides(expand_text: Expand) -> None:
    plain = expand_text("validation: {every: 0.2}")
    assert next(plain.trials()).id == next(expand_text("validation: {every: 0.3}").trials()).id
    assert counts(expand_text("grid: {validation.items: [10, 20]}")) == (2, 0, 0)
    assert counts(expand_text("checkpoint: {select: best}\ngrid: {validation.every: [0.2, 0.3]}")) == (2, 0, 0)


def test_durations() -> None:
    from core.definition.scalars import parse_duration

    wanted = {"90s": 90, "20min": 1200, "4h": 14400, "1h30min": 5400, "2d": 172800, "1-00:00:00": 86400, "12:30:00": 45000, "1.5h": 5400}
    assert {text: parse_duration(text) for text in wanted} == wanted


def test_resources_follow_the_last_rule_that_matches(expand_text: Expand) -> None:
    text = """
    grid: {backbone: [qwen2.5-vl-3b, qwen2.5-vl-7b, qwen2.5-vl-32b]}
    resources:
      gpus: 8
      gpu_type: h100
      time: 4h
      memory: 512G
      when:
        - {match: {backbone: [qwen2.5-vl-7b, qwen2.5-vl-32b]}, nodes: 2}
        - {match: {backbone: qwen2.5-vl-32b}, nodes: 4, time: 1-00:00:00}
      score: {gpus: 2}
    """
    cells = list(expand_text(text).cells())
    assert [cell.shape for cell in cells] == [
        Shape(1, 8, "h100", None, 512.0, 14400.0),
        Shape(2, 8, "h100", None, 512.0, 14400.0),
        Shape(4, 8, "h100", None, 512.0, 86400.0),
    ]
    assert cells[0].score_shape == Shape(1, 2, "h100")


def test_a_trial_asks_for_one_gpu_unless_told_and_a_rehearsal_for_none(expand_text: Expand) -> None:
    (cell,) = expand_text("").cells()
    assert (cell.shape, cell.score_shape) == (Shape(gpus=1), Shape(gpus=1))
    (cpu,) = expand_text("resources: {gpus: 0}").cells()
    assert cpu.score_shape.gpus == 0
    (rehearsed,) = expand_text("resources: {gpus: 8}", rehearsal=True).cells()
    assert (rehearsed.shape, rehearsed.score_shape) == (Shape(), Shape())


def test_a_case_sets_its_own_benchmarks(expand_text: Expand) -> None:
    text = """
    evaluate: [vl_rewardbench]
    cases:
      - {head.layers: 1}
      - {head.layers: 2, evaluate: [mm_rlhf_rewardbench, {name: generated_images, items: 8}]}
    """
    one, two = expand_text(text).cells()
    assert [entry["name"] for entry in one.evaluate] == ["vl_rewardbench"]
    assert [(entry["name"], entry.get("items")) for entry in two.evaluate] == [("mm_rlhf_rewardbench", None), ("generated_images", 8)]
    assert two.cell == {"head.layers": 2}


def test_cells_that_differ_only_in_what_is_not_identity_are_an_error(expand_text: Expand) -> None:
    with pytest.raises(DefinitionError) as caught:
        _ = expand_text("grid: {head.layers: 1, head.activation: [none, silu], resources.gpus: [4, 8]}").counts
    text = str(caught.value)
    assert "resources.gpus" in text
    assert "resources.gpus: 4" in text
    assert "resources.gpus: 8" in text
    with pytest.raises(DefinitionError, match="differ only"):
        _ = expand_text("cases: [{evaluate: [vl_rewardbench]}, {evaluate: [mm_rlhf_rewardbench]}]").counts
    with pytest.raises(DefinitionError, match="differ only"):
        _ = expand_text("grid: {execution.micro_batch: [1, 2]}").counts


# ---------------------------------------------------------------------------------------------------------- interpolation


def test_interpolation_sees_the_cell_and_defaults(expand_text: Expand) -> None:
    text = "grid: {head.width: [16, 32], train.batch: '${head.width}', data.held_out: '${train.batch}'}"
    assert [cell.config["data"]["held_out"] for cell in expand_text(text).cells()] == [16, 32]
    (cell,) = expand_text("grid: {optim.eps: '${optim.lr}'}").cells()
    assert cell.config["optim"]["eps"] == 3e-6
    (cell,) = expand_text("grid: {data.held_out: '${head.layers}${checkpoint.keep}'}").cells()
    assert cell.config["data"]["held_out"] == 21


def test_top_level_keys_interpolate_and_are_seen(expand_text: Expand) -> None:
    cells = list(
        expand_text("grid: {train.batch: [2, 4]}\nresources: {gpus: '${train.batch}'}\nvalidation: {items: '${train.batch}0'}").cells()
    )
    assert [(cell.shape.gpus, cell.config["data"]["held_out"]) for cell in cells] == [(2, 20), (4, 40)]
    (cell,) = expand_text("grid: {backbone.revision: 'of-${name}'}").cells()
    assert cell.config["backbone"]["revision"] == "of-study"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("grid: {optim.eps: '${optim.lrr}'}", "optim.lrr"),
        ("validation: {items: '${validation.items}'}", "Recursive"),
        ("grid: {optim.eps: '${optim.lr'}", "optim"),
        ("grid: {train.batch: '${seed}'}", "seed"),
    ],
)
def test_an_interpolation_that_does_not_resolve_has_a_place(load_text: Load, text: str, found: str) -> None:
    with pytest.raises(DefinitionError, match=found) as caught:
        load_text(text)
    assert str(caught.value.place).endswith("study.yaml:4")


def test_the_environment_is_refused_in_identity_and_welcome_in_places(
    load_text: Load, expand_text: Expand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEIGHTS", "/weights")
    monkeypatch.setenv("BATCH", "4")
    (cell,) = expand_text("grid: {backbone.path: '${oc.env:WEIGHTS}/3b', execution.micro_batch: '${oc.env:BATCH}'}").cells()
    assert (cell.config["backbone"]["path"], cell.config["execution"]["micro_batch"]) == ("/weights/3b", 4)
    (cell,) = expand_text("evaluate: [{name: vl_rewardbench, data: '${oc.env:WEIGHTS}/x.jsonl'}]").cells()
    assert cell.evaluate[0]["data"] == "/weights/x.jsonl"
    with pytest.raises(DefinitionError, match="frames is part of an identity"):
        load_text("evaluate: [{name: vl_rewardbench, frames: '${oc.env:BATCH}'}]")
    for text in (
        "grid: {train.batch: '${oc.env:BATCH}'}",
        "grid: {execution.micro_batch: '${oc.env:BATCH}', train.batch: '${execution.micro_batch}'}",
    ):
        with pytest.raises(DefinitionError, match=r"train\.batch .* may not come from the environment"):
            load_text(text)


# -------------------------------------------------------------------------------------------------------------------- base


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"version: 1\nname: {path.stem}\n{text}")
    return path


BELOW = """
project: below
description: the base
trial: {backbone: qwen2.5-vl-7b, data: {sources: {a: {path: a.jsonl}}}, train: {epochs: 1, batch: 64}, optim: {lr: 1e-5}}
grid: {head.layers: [1, 2]}
seeds: 4
sample: {count: 1}
evaluate: [vl_rewardbench]
objective: {metric: vl_rewardbench/overall}
resources: {gpus: 8, time: 4h}
"""


def test_a_base_hands_down_trial_and_the_named_keys_and_nothing_else(tmp_path: Path) -> None:
    below = write(tmp_path, "deep/below.yaml", BELOW)
    path = write(tmp_path, "study.yaml", "base: deep/below.yaml\ntrial: {train: {steps: 10}}\nresources: {gpus: 4}\n")
    definition = load(path)
    assert definition.files == (path, below)
    assert (definition.project, definition.description, definition.seeds, definition.sample) == ("study", None, (0,), None)
    assert definition.objective.metric == "vl_rewardbench/overall"
    (cell,) = expand(definition).cells()
    assert (cell.shape.gpus, cell.shape.time) == (4, 14400.0)
    assert cell.config["train"]["batch"] == 64
    assert (cell.config["train"]["steps"], cell.config["train"]["epochs"]) == (10, None)  # one budget replaces another
    assert cell.config["data"]["sources"]["a"]["path"] == str(tmp_path / "deep" / "a.jsonl")  # relative to the file that says it
    assert [entry["name"] for entry in cell.evaluate] == ["vl_rewardbench"]


def test_an_axis_budget_replaces_the_fixed_one(cells_of: Cells) -> None:
    assert cells_of("grid: {train.steps: [5, 6]}") == [{"train.steps": 5}, {"train.steps": 6}]


def test_a_base_is_found_by_name_beside_the_file_then_in_sweeps_then_among_the_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, "study.yaml", "base: below\n")
    shipped = write(tmp_path, "shipped/below.yaml", BELOW)
    assert load(path, search=[tmp_path / "shipped"]).files[1] == shipped
    local = write(tmp_path, "project/sweeps/below.yaml", BELOW)
    monkeypatch.chdir(tmp_path / "project")
    assert load(path, search=[tmp_path / "shipped"]).files[1] == local
    beside = write(tmp_path, "below.yaml", BELOW)
    assert load(path, search=[tmp_path / "shipped"]).files[1] == beside


def test_another_component_drops_the_keys_that_it_does_not_have(tmp_path: Path) -> None:
    (tmp_path / "pooled_head.py").write_text(
        "from core.definition.fields import identity\nfrom core.definition.trial import HeadConfig\nfrom core.registry import register\n"
        "class PooledConfig(HeadConfig):\n    layers: int = identity(1, doc='layers')\n"
        "register('head', 'pooled_for_test', PooledConfig, 'pooled_head:Pooled')\n"
    )
    write(tmp_path, "below.yaml", BELOW.replace("optim:", "head: {layers: 3, activation: tanh}, optim:"))
    definition = load(write(tmp_path, "study.yaml", "base: below\ncode: [pooled_head.py]\ntrial: {head: {name: pooled_for_test}}\n"))
    (cell,) = expand(definition).cells()
    assert cell.config["head"] == {"name": "pooled_for_test", "layers": 3}
    assert any("head.activation is dropped" in notice for notice in definition.notices)


def test_the_archived_text_gives_the_same_trials_anywhere(tmp_path: Path) -> None:
    write(tmp_path, "deep/below.yaml", BELOW)
    (tmp_path / "prompt.txt").write_text("Q: {prompt}")
    (tmp_path / "archived_terms.py").write_text("")
    text = (
        "base: deep/below.yaml\ncode: [archived_terms.py]\ntrial: {prompt: {file: prompt.txt}}\n"
        'grid: {"optim.lr, train.batch": [[1e-5, 8], [3e-6, 16]], head.width: [null, 64], data.held_out: {range: [10, 30, 10]}}\n'
        "exclude: [{head.width: 64, data.held_out: 10}]\nsample: {count: 5}\nseeds: [3, 1]\n"
    )
    definition = load(write(tmp_path, "study.yaml", text), ["optim.warmup=[0,0.1]"])
    archived = tmp_path / "elsewhere" / "definition.yaml"
    archived.parent.mkdir()
    archived.write_text(definition.text())
    again = load(archived)
    assert [trial.to_json() for trial in expand(again).trials()] == [trial.to_json() for trial in expand(definition).trials()]
    assert again.text() == definition.text()
    assert again.digest() == definition.digest()
    assert expand(definition).counts["trials"] == 10


def test_a_prompt_file_is_part_of_the_identity_by_its_content(tmp_path: Path, load_text: Load) -> None:
    text = "grid: {prompt.file: [a.txt, null]}"
    (tmp_path / "a.txt").write_text("one {prompt}")
    before = load_text(text)
    (tmp_path / "a.txt").write_text("two {prompt}")
    after = load_text(text)
    assert before.digest() != after.digest()
    old, new = ([trial.id for trial in expand(definition).trials()] for definition in (before, after))
    assert old[0] != new[0]
    assert old[1] == new[1]


def test_an_archived_definition_notices_that_its_prompt_has_changed(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one {prompt}")
    path = write(tmp_path, "study.yaml", BELOW.replace("optim:", "prompt: {file: p.txt}, optim:"))
    archived = tmp_path / "definition.yaml"
    archived.write_text(load(path).text())
    (tmp_path / "p.txt").write_text("two {prompt}")
    with pytest.raises(DefinitionError, match="not the one that this definition was made with"):
        load(archived)


def test_distinct_cells_stay_distinct_in_a_rehearsal_and_never_meet_real_ones(expand_text: Expand) -> None:
    text = "grid: {optim.lr: [1e-5, 3e-6], train.batch: [64, 128], train.steps: [10, 20]}"
    real = {trial.id for trial in expand_text(text).trials()}
    rehearsed = list(expand_text(text, rehearsal=True).trials())
    assert len({trial.id for trial in rehearsed}) == 8
    assert not real & {trial.id for trial in rehearsed}
    assert rehearsed[0].config["rehearsal"]["steps"] >= 1
    assert rehearsed[0].config["train"]["batch"] == 64


def test_the_digest_tells_a_rehearsal_from_the_real_thing(load_text: Load) -> None:
    assert load_text("").digest() != load_text("", rehearsal=True).digest()
    assert load_text("").digest() == load_text("# a comment\n").digest()
