from __future__ import annotations

import pytest

from core.data.generated import generate_pairs
from core.definition.trial import RehearsalConfig, TrialConfig
from core.errors import DefinitionError, EnvironmentFault, TrialFailed
from core.evaluation import baselines
from core.evaluation.score_table import ScoreTable
from core.evaluation.scorer import score_baseline, score_trial, summarise

MM = "mm_rlhf_rewardbench"


def pairs_with_media(folder, jsonl, present):
    """Six generated pairs as a file of MM-RLHF-RewardBench; pictures of the first ``present`` lie beside it."""
    rows = []
    for index, example in enumerate(generate_pairs(6, 0, split="files")):
        name = f"mcq/{index}.png"
        if index < present:
            (folder / "mcq").mkdir(exist_ok=True)
            (folder / name).write_bytes(example.media[0].data)
        chosen, rejected = (response.text for response in example.responses)
        rows.append({"id": f"id{index // 2}", "prompt": example.prompt, "chosen": chosen, "rejected": rejected, "image": name})
    return {"name": MM, "data": str(jsonl(folder / "bench.jsonl", rows))}


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    """An untrained twin, saved with the configuration of a rehearsal, and the same without one."""
    from core.models.reward_model import build

    config = TrialConfig.model_validate(
        {
            "backbone": "qwen2.5-vl-3b",
            "data": {"sources": {"generated_images": {}}},
            "train": {"epochs": 1},
            "rehearsal": {"items": 12},
        }
    )
    folder = tmp_path_factory.mktemp("weights")
    build(config.effective()).save(folder)
    return folder, config


def test_baselines_are_what_their_names_say():
    examples = generate_pairs(4, 0, split="test")
    texts = [[response.text for response in example.responses] for example in examples]
    assert baselines.length(examples) == [[float(len(text)) for text in pair] for pair in texts]
    assert baselines.constant(examples) == [[0.0, 0.0]] * 4


def test_the_random_baseline_is_reproducible_and_belongs_to_the_example():
    from dataclasses import replace

    examples = generate_pairs(6, 0, split="test")
    scores = baselines.random(examples)
    assert scores == baselines.random(examples)
    assert baselines.random(examples[::-1]) == scores[::-1]
    turned = replace(examples[0], responses=examples[0].responses[::-1])
    assert baselines.random([turned])[0] == scores[0][::-1]
    assert len({value for pair in scores for value in pair}) == 12


def test_an_unknown_baseline_names_the_nearest():
    with pytest.raises(DefinitionError, match="unknown baseline") as error:
        score_baseline("lenght", {"name": "generated_images"})
    assert "did you mean: length" in str(error.value)


def test_a_trial_is_scored_and_says_how_far_it_is(twin, tmp_path):
    weights, config = twin
    said = []
    table = score_trial(
        weights, config, {"name": "vl_rewardbench"}, key="k", scorer="trial:t", on_progress=lambda done, total: said.append((done, total))
    )
    assert said[-1] == (12, 12)
    assert (table.metadata.scorer, table.metadata.scoring_key, table.metadata.rehearsal) == ("trial:t", "k", True)
    assert table.metadata.revision == "rehearsal-12"
    assert all(count > 0 for count in table.data.column("tokens").to_pylist())
    table.write(tmp_path / "table.parquet")
    found = summarise(ScoreTable.read(tmp_path / "table.parquet"))
    assert found == summarise(table)
    assert set(found) == {"benchmark", "revision", "rehearsal", "n", "partial", "judging", "metrics"}
    again = score_trial(weights, config, {"name": "vl_rewardbench"}, key="k", scorer="trial:t")
    assert again.data.equals(table.data)
    said.clear()
    fewer = score_trial(weights, config, {"name": "vl_rewardbench"}, batch=5, on_progress=lambda done, total: said.append((done, total)))
    assert said == [(5, 12), (10, 12), (12, 12)]
    assert fewer.data.column("score").to_pylist() == pytest.approx(table.data.column("score").to_pylist(), abs=1e-5), "rounding alone"


def test_examples_without_media_are_skipped_and_counted_but_baselines_score_every_row(twin, tmp_path, jsonl):
    weights, config = twin
    benchmark = pairs_with_media(tmp_path, jsonl, present=4)
    table = score_trial(weights, config.model_copy(update={"rehearsal": None}), benchmark)
    found = summarise(table)
    assert found["n"] == 4
    assert found["partial"] == {"scored": 4, "skipped": 2}
    assert set(table.data.column("id").to_pylist()) == {"id0", "id1"}
    assert None not in table.data.column("media_sha").to_pylist()
    baseline = summarise(score_baseline("length", benchmark))
    assert (baseline["n"], baseline["partial"]) == (6, None)


def test_a_benchmark_without_any_media_is_refused_before_the_model_is_loaded(tmp_path, jsonl, twin):
    benchmark = pairs_with_media(tmp_path, jsonl, present=0)
    with pytest.raises(EnvironmentFault, match="no example") as error:
        score_trial(tmp_path / "no weights", twin[1].model_copy(update={"rehearsal": None}), benchmark)
    assert str(tmp_path / "mcq/0.png") in str(error.value)


def test_a_reward_that_is_not_finite_fails_with_its_cause(twin, tmp_path):
    """A diverged model must not lose every comparison in silence."""
    import shutil

    import torch
    from safetensors.torch import load_file, save_file

    weights, config = twin
    broken = tmp_path / "weights"
    shutil.copytree(weights, broken)
    state = load_file(str(broken / "model.safetensors"))
    for name in state:
        if name.startswith("head."):
            state[name] = torch.full_like(state[name], float("nan"))
    save_file(state, str(broken / "model.safetensors"))
    with pytest.raises(TrialFailed, match="a score is nan") as error:
        score_trial(broken, config, {"name": "generated_images"})
    assert error.value.cause == "nan_loss"


def test_the_size_of_a_rehearsed_benchmark_follows_the_rehearsal():
    assert summarise(score_baseline("length", {"name": MM}, RehearsalConfig(items=30)))["n"] == 30
