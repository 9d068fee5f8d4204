"""Multimodal RewardBench, RewardBench and RM-Bench: files in the exact public format, each metric by hand, random scorers."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core import registry
from core.data.streams import generator
from core.definition.trial import RehearsalConfig
from core.errors import DefinitionError, EnvironmentFault
from core.evaluation.benchmarks import get, load, unreadable
from core.evaluation.benchmarks.rewardbench import MATH_ROWS, PRIOR, SECTIONS
from core.evaluation.credits import collect
from core.evaluation.score_table import from_examples
from core.evaluation.scorer import score_baseline, summarise

MMRB = "multimodal_rewardbench"


def item(id, category, better="Output1", **more):
    """A row of ``all_data.json``; the longer output is the better one where ``better`` is Output1."""
    row = {"ID": id, "Meta": {"Category": category}, "Text": f"Question {id}?", "Image": f"images/{id}.jpg"}
    return {**row, "Output1": "a long answer", "Output2": "short", "Better": better, **more}


def written(path, rows):
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def refusal(name, path):
    with pytest.raises(DefinitionError) as error:
        load({"name": name, "data": str(path)})
    return str(error.value)


def test_multimodal_rewardbench_has_seven_columns_and_two_overalls(tmp_path):
    rows = [
        item("nocaps_1", "open_generation/correctness_task"),
        item("nocaps_2", "open_generation/correctness_task", "Output2"),
        item("visitbench_1", "open_generation/preference_task"),
        item("mmmu-s_1", "knowledge"),
        item("mathvista_1", "reasoning"),
        item("EMMA-Coding_1", "reasoning", "Output2"),
        item("image2struct_1", "reasoning", "Output2"),
        item("image2struct_2", "reasoning", "Output2"),
        item("pairs_1", "safety"),
        item("MMBench_1", "vqa"),
    ]
    path = written(tmp_path / "all_data.json", rows)
    loaded = load({"name": MMRB, "data": str(path)})
    assert loaded.examples[1].responses[0].text == "short"
    assert loaded.examples[0].media[0].path == tmp_path / "images/nocaps_1.jpg"
    found = summarise(score_baseline("length", {"name": MMRB, "data": str(path)}))["metrics"]
    assert found["overall/micro"] == 60.0
    assert found["overall/macro"] == pytest.approx((50 + 100 + 100 + 100 + 0 + 100 + 100) / 7)
    assert {name: found[name] for name in ("correctness", "math", "coding", "bias")} == {
        "correctness": 50.0,
        "math": 100.0,
        "coding": 0.0,
        "bias": 100.0,
    }
    assert found["toxicity"] is None


def test_hateful_memes_count_in_micro_and_never_in_macro(tmp_path):
    rows = [item(name, category) for name, category in (("nocaps_1", "open_generation/correctness_task"), ("pairs_1", "safety"))]
    path = written(tmp_path / "a.json", [*rows, item("hateful_memes_7", "safety", "Output2")])
    found = summarise(score_baseline("length", {"name": MMRB, "data": str(path)}))["metrics"]
    assert (found["overall/micro"], found["bias"], found["toxicity"]) == (pytest.approx(200 / 3), 100.0, 0.0)
    assert found["overall/macro"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"Better": "Output3"}, "`Better` is one of Output1, Output2; found 'Output3'; did you mean: Output"),
        ({"Meta": {"Category": "knowlege"}}, "did you mean: knowledge"),
        ({"Text": ""}, "0_download_data.py fills them in"),
        ({"Image": None}, "`Image` is missing"),
        ({"ID": None}, "`ID` is a text"),
        ({"Output2": "a long answer"}, "chosen and rejected are equal"),
    ],
)
def test_a_wrong_row_of_multimodal_rewardbench_is_named(tmp_path, change, said):
    rows = [item("pairs_1", "safety"), item("mmmu-s_2", "knowledge", **change)]
    message = refusal(MMRB, written(tmp_path / "a.json", rows))
    assert "row 2 is refused" in message and said in message


def subset_rows(name, right, wrong):
    """Rows of a subset of RewardBench: the longer answer is chosen in the first ``right`` of them."""
    rows = [("a longer answer", "short")] * right + [("short", "a longer answer")] * wrong
    return [
        {"prompt": f"{name} {n}?", "chosen": c, "chosen_model": "m", "rejected": r, "rejected_model": "m", "subset": name, "id": n}
        for n, (c, r) in enumerate(rows)
    ]


def full_rewardbench():
    """A file with the published sizes: the longer answer is right in half of math-prm and in all of the rest but ``donotanswer``."""
    rows = []
    for section in SECTIONS.values():
        for name, size in section.items():
            size = MATH_ROWS if name == "math-prm" else size
            right = {"math-prm": 200, "donotanswer": 0}.get(name, size)
            rows += subset_rows(name, right, size - right)
    return rows


def test_rewardbench_weighs_subsets_as_published(tmp_path):
    pq.write_table(pa.Table.from_pylist(full_rewardbench()), tmp_path / "filtered-00000-of-00001.parquet")
    config = {"name": "rewardbench", "data": str(tmp_path / "filtered-00000-of-00001.parquet")}
    summary = summarise(score_baseline("length", config))
    found = summary["metrics"]
    assert (summary["revision"], summary["n"]) == ("2985-rows", 2985)
    assert (found["chat"], found["chat_hard"]) == (100.0, 100.0)
    assert found["safety"] == pytest.approx(100 * (740 - 136) / 740)
    assert found["reasoning"] == pytest.approx(100 * (984 * 200 / 447 + 984) / 1968)
    assert found["overall/without_prior"] == pytest.approx((200 + found["safety"] + found["reasoning"]) / 4)
    assert found["overall/with_prior"] is found["prior"] is None


def prior_folder(folder):
    for number, name in enumerate(PRIOR):
        turns = [{"role": "user", "content": f"{name}?"}, {"role": "assistant", "content": "yes"}, {"role": "user", "content": "and?"}]
        rows = [{"prompt": turns, "chosen": "a longer answer", "rejected": "short", "subset": "helpful-base"}]
        rows += [{"prompt": "one turn", "chosen": "short", "rejected": "a longer answer"}] * (number % 2)
        written(folder / f"{name}.json", rows)
    return folder


def test_prior_sets_enter_with_half_weight(tmp_path):
    path = written(tmp_path / "filtered.json", full_rewardbench())
    config = {"name": "rewardbench", "data": str(path), "prior": str(prior_folder(tmp_path))}
    summary = summarise(score_baseline("length", config))
    found = summary["metrics"]
    assert summary["revision"] == "2985-rows+prior"
    assert found["prior"] == pytest.approx((100 + 50 + 100 + 50) / 4)
    assert found["overall/with_prior"] == pytest.approx((4 * found["overall/without_prior"] + 37.5) / 4.5)
    example = load(config).examples[2985]
    assert ([turn.role for turn in example.history], example.prompt, example.category) == (["user", "assistant"], "and?", PRIOR[0])


def test_half_of_the_prior_sets_are_refused(tmp_path):
    path = written(tmp_path / "filtered.json", subset_rows("math-prm", 1, 0))
    prior_folder(tmp_path)
    (tmp_path / "shp.json").unlink()
    with pytest.raises(EnvironmentFault, match="without shp"):
        load({"name": "rewardbench", "data": str(path), "prior": str(tmp_path)})


def test_prior_sets_are_found_beside_the_rows_in_the_data_folder(tmp_path, monkeypatch):
    written(tmp_path / "rewardbench.json", subset_rows("math-prm", 1, 0))
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path))
    assert len(load({"name": "rewardbench"}).examples) == 1
    (tmp_path / "preference-test-sets").mkdir()
    prior_folder(tmp_path / "preference-test-sets")
    assert len(load({"name": "rewardbench"}).examples) == 1 + 6


def rm_row(id, name, **more):
    chosen = ["right", "right and longer", "## right, longer and with markdown"]
    rejected = ["wrong", "wrong and longer", "## wrong, longer and with markdown"]
    return {"id": id, "prompt": f"{id}?", "chosen": chosen, "rejected": rejected, "domain": name, **more}


def scored(loaded, score):
    return from_examples(loaded.examples, [[score(r.text) for r in e.responses] for e in loaded.examples], loaded.metadata("test"))


def test_rm_bench_is_the_published_matrix(tmp_path):
    rows = [rm_row(f"{domain}-{n}", domain) for domain in ("chat", "code", "math", "safety-refuse", "safety-response") for n in range(2)]
    loaded = load({"name": "rm_bench", "data": str(written(tmp_path / "total_dataset.json", rows))})
    draw = generator(0, "test")
    values = [[float(value) for value in draw.integers(0, 4, 6)] for _ in rows]  # ties occur
    found = summarise(from_examples(loaded.examples, values, loaded.metadata("test")))["metrics"]
    expected = {}
    for domain in ("chat", "code", "math", "safety"):
        mine = [value for row, value in zip(rows, values, strict=True) if row["domain"].startswith(domain)]
        matrix = np.mean([[[c > r for r in value[3:]] for c in value[:3]] for value in mine], axis=0)
        expected[f"{domain}/hard"] = 100 * matrix[np.triu_indices(3, 1)].mean()
        expected[f"{domain}/normal"] = 100 * np.diag(matrix).mean()
        expected[f"{domain}/easy"] = 100 * matrix[np.tril_indices(3, -1)].mean()
        expected[domain] = sum(expected[f"{domain}/{level}"] for level in ("easy", "normal", "hard")) / 3
    expected["overall"] = sum(expected[domain] for domain in ("chat", "code", "math", "safety")) / 4
    for level in ("easy", "normal", "hard"):
        expected[level] = sum(expected[f"{domain}/{level}"] for domain in ("chat", "code", "math", "safety")) / 4
    assert found == pytest.approx(expected)


def test_length_gives_away_the_levels_of_rm_bench():
    found = summarise(score_baseline("length", {"name": "rm_bench"}, RehearsalConfig()))["metrics"]
    assert (found["easy"], found["normal"], found["hard"], found["overall"]) == (100.0, 50.0, 0.0, 50.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"chosen": ["one", "two"]}, "`chosen` is a list of 3 texts"),
        ({"rejected": "one"}, "`rejected` is a list of 3 texts"),
        ({"domain": "maths"}, "did you mean: math"),
        ({"rejected": ["right", "b", "c"]}, "a chosen and a rejected response are equal"),
        ({"prompt": None}, "`prompt` is a text"),
    ],
)
def test_a_wrong_row_of_rm_bench_is_named(tmp_path, change, said):
    message = refusal("rm_bench", written(tmp_path / "a.json", [rm_row("1", "chat"), rm_row("2", "math", **change)]))
    assert "row 2 is refused" in message and said in message


LINEAR = [name for name in registry.names("benchmark") if not name.startswith("generated")]


@pytest.mark.parametrize("name", LINEAR)
def test_a_random_scorer_is_expected_to_get_50_in_every_accuracy(name):
    """A scorer and its mirror image are equally likely, and their metrics add up to 100: so the expectation is 50, exactly."""
    loaded = load({"name": name}, RehearsalConfig(items=64))
    draws = generator(1, "test", name).random((len(loaded.examples), 6))
    values = [[float(value) for value in row[: len(e.responses)]] for row, e in zip(draws, loaded.examples, strict=True)]
    one = summarise(from_examples(loaded.examples, values, loaded.metadata("test")))["metrics"]
    other = summarise(from_examples(loaded.examples, [[-v for v in row] for row in values], loaded.metadata("test")))["metrics"]
    assert one.keys() == set(get(name).metric_names)
    for metric in one.keys() - {"acc_plus"}:
        assert one[metric] + other[metric] == pytest.approx(100.0), metric


@pytest.mark.parametrize("name", LINEAR)
def test_a_constant_scorer_ties_everywhere_and_gets_nothing(name):
    assert set(summarise(score_baseline("constant", {"name": name}, RehearsalConfig(items=64)))["metrics"].values()) == {0.0}


@pytest.mark.parametrize("name", LINEAR)
def test_an_unparsed_score_is_wrong_everywhere(name):
    loaded = load({"name": name}, RehearsalConfig(items=64))
    table = from_examples(loaded.examples, [[None] * len(e.responses) for e in loaded.examples], loaded.metadata("test"))
    assert set(summarise(table)["metrics"].values()) == {0.0}


@pytest.mark.parametrize("name", LINEAR)
def test_the_credits_of_the_units_average_to_the_metrics(name):
    loaded = load({"name": name}, RehearsalConfig(items=64))
    table = score_baseline("random", {"name": name}, RehearsalConfig(items=64))
    metrics = summarise(table)["metrics"]
    [found] = collect([("x", table)])
    assert found.layout.units.keys() or name == "rewardbench"
    for metric in found.layout.units:
        values, groups, _ = found.unit_credits(metric)
        means = [values[0][groups == number].mean() for number in range(int(groups.max()) + 1)]
        assert sum(means) / len(means) == pytest.approx(metrics[metric]), metric
    assert len(loaded.examples) == 64


def test_the_units_of_a_whole_rewardbench_average_to_its_sections(tmp_path):
    config = {"name": "rewardbench", "data": str(written(tmp_path / "a.json", full_rewardbench()))}
    table = score_baseline("random", config)
    [found] = collect([("x", table)])
    metrics = summarise(table)["metrics"]
    assert set(found.layout.units) == set(SECTIONS)
    for metric in SECTIONS:
        values, groups, _ = found.unit_credits(metric)
        means = [values[0][groups == number].mean() for number in range(int(groups.max()) + 1)]
        assert sum(means) / len(means) == pytest.approx(metrics[metric])


def test_a_backbone_that_reads_text_alone_has_no_multimodal_benchmark():
    assert [name for name in LINEAR if unreadable("qwen3-8b", name)] == [
        "mm_rlhf_rewardbench",
        "multimodal_rewardbench",
        "vl_rewardbench",
    ]
    assert unreadable("qwen3-8b", "mm_rlhf_rewardbench") == "qwen3-8b reads no image and no video"
    assert not any(unreadable("qwen2.5-vl-7b", name) for name in LINEAR)


def test_the_revision_of_a_file_of_another_size_is_its_hash(tmp_path):
    for name, rows in ((MMRB, [item("pairs_1", "safety")]), ("rm_bench", [rm_row("1", "chat")])):
        loaded = load({"name": name, "data": str(written(tmp_path / f"{name}.json", rows))})
        assert loaded.revision == f"sha:{loaded.data_hash[:12]}"
