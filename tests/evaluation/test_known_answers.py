"""The public files, end to end: loader, length baseline, metrics. The answers were counted independently of this code."""

from __future__ import annotations

import json
import random

import pytest

from core.evaluation.benchmarks import get, load
from core.evaluation.metrics import grouped_accuracy, pairs
from core.evaluation.score_table import comparable
from core.evaluation.scorer import score_baseline, summarise

VL = "vl_rewardbench"
MM = "mm_rlhf_rewardbench"


def percent(right: int, total: int) -> float:
    return 100 * right / total


def test_length_on_vl_rewardbench(shared_data):
    found = summarise(score_baseline("length", {"name": VL, "data": str(shared_data / "vl_rewardbench.jsonl")}))
    assert (found["benchmark"], found["revision"], found["n"], found["partial"]) == (VL, "1250-rows", 1250, None)
    metrics = found["metrics"]
    assert metrics["overall"] == percent(533, 1250) == 42.64
    assert metrics["official/general"] == percent(68, 183)
    assert metrics["official/hallucination"] == percent(302, 749)
    assert metrics["official/reasoning"] == percent(163, 318)
    assert metrics["r1_script/general"] == percent(199, 484)
    assert metrics["r1_script/hallucination"] == percent(171, 448)
    assert metrics["r1_script/reasoning"] == percent(163, 318)
    assert metrics["macro/official"] == pytest.approx((percent(68, 183) + percent(302, 749) + percent(163, 318)) / 3)
    assert metrics["macro/r1_script"] == pytest.approx((percent(199, 484) + percent(171, 448) + percent(163, 318)) / 3)


def test_length_on_mm_rlhf_rewardbench(shared_data):
    found = summarise(score_baseline("length", {"name": MM, "data": str(shared_data / "mm_rlhf_rewardbench.jsonl")}))
    assert (found["revision"], found["n"], found["partial"]) == ("170-pairs", 170, None)
    assert found["metrics"]["acc"] == percent(122, 170)
    assert found["metrics"]["acc_plus"] == percent(22, 46)
    assert list(found["metrics"]) == ["acc", "acc_plus", "mcq", "long", "short", "safety", "video"]


def test_category_and_group_sizes_are_the_published_ones(shared_data):
    def sizes(name, grouping):
        scored = pairs(score_baseline("length", {"name": name, "data": str(shared_data / f"{name}.jsonl")}))
        rule = get(name).groupings[grouping]
        return [sum(rule.of(pair.example) == group for pair in scored) for group in rule.groups]

    assert sizes(VL, "official") == [183, 749, 318]
    assert sizes(VL, "r1_script") == [484, 448, 318]
    assert sizes(MM, "category") == [42, 37, 34, 32, 25]


def test_the_expected_acc_plus_of_a_random_scorer_is_as_documented(shared_data):
    examples = load({"name": MM, "data": str(shared_data / "mm_rlhf_rewardbench.jsonl")}).examples
    ids = [example.id for example in examples]
    assert 100 * sum(2.0 ** -ids.count(id) for id in set(ids)) / len(set(ids)) == pytest.approx(11.24, abs=0.005)


def test_files_are_found_by_name_in_the_data_folder(shared_data, monkeypatch):
    monkeypatch.setenv("SWEEP_DATA", str(shared_data))
    assert load({"name": VL}).revision == "1250-rows"
    assert load({"name": MM}).revision == "170-pairs"


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def hub_row(row, turned):
    responses, ranking = [row["chosen"], row["rejected"]], [0, 1]
    if turned:
        responses, ranking = responses[::-1], [1, 0]
    query = "<image>\n" + row["prompt"]
    return {"id": row["id"], "query": query, "response": responses, "human_ranking": ranking, "image": row["image"]}


def test_the_revision_is_recognised_by_content_in_any_order_and_either_format(shared_data, tmp_path, jsonl):
    rows = read(shared_data / "vl_rewardbench.jsonl")
    random.Random(0).shuffle(rows)
    shuffled = load({"name": VL, "data": str(jsonl(tmp_path / "shuffled.jsonl", rows))})
    hub = load({"name": VL, "data": str(jsonl(tmp_path / "hub.jsonl", [hub_row(row, i % 2) for i, row in enumerate(rows)]))})
    assert shuffled.revision == hub.revision == "1250-rows"
    assert shuffled.data_hash == hub.data_hash
    found = summarise(score_baseline("length", {"name": VL, "data": str(tmp_path / "hub.jsonl")}))["metrics"]
    assert found["overall"] == 42.64
    assert found["official/general"] == percent(68, 183)


def test_other_files_are_revisions_of_their_own(shared_data, tmp_path, jsonl):
    rows = read(shared_data / "vl_rewardbench.jsonl")
    smaller = load({"name": VL, "data": str(jsonl(tmp_path / "a.jsonl", rows[3:]))})
    hub = load({"name": VL, "data": str(jsonl(tmp_path / "b.jsonl", [hub_row(row, False) for row in rows[3:]]))})
    turned = [{**rows[0], "chosen": rows[0]["rejected"], "rejected": rows[0]["chosen"]}, *rows[1:]]
    flipped = load({"name": VL, "data": str(jsonl(tmp_path / "c.jsonl", turned))})
    assert hub.revision == "1247-rows"
    assert smaller.revision == f"sha:{smaller.data_hash[:12]}"
    assert flipped.revision.startswith("sha:")
    whole = load({"name": VL, "data": str(shared_data / "vl_rewardbench.jsonl")}).metadata("x")
    assert comparable(whole, hub.metadata("x")) == "different revision: 1250-rows and 1247-rows"
    assert comparable(whole, flipped.metadata("x")) is not None


def test_a_subset_without_reasoning_has_no_reasoning_and_no_macro(shared_data, tmp_path, jsonl):
    rows = [row for row in read(shared_data / "vl_rewardbench.jsonl") if not row["id"].startswith(("mathverse", "mmmu"))]
    found = summarise(score_baseline("length", {"name": VL, "data": str(jsonl(tmp_path / "a.jsonl", rows))}))["metrics"]
    assert found["official/reasoning"] is None
    assert found["macro/official"] is None
    assert found["official/general"] == percent(68, 183)


def test_grouped_metrics_do_not_depend_on_the_order_of_rows(shared_data, tmp_path, jsonl):
    rows = read(shared_data / "mm_rlhf_rewardbench.jsonl")
    path = jsonl(tmp_path / "a.jsonl", rows[::-1])
    rule = get(MM).groupings["category"]
    one = grouped_accuracy(pairs(score_baseline("random", {"name": MM, "data": str(path)})), rule)
    other = grouped_accuracy(pairs(score_baseline("random", {"name": MM, "data": str(shared_data / "mm_rlhf_rewardbench.jsonl")})), rule)
    assert one == other
