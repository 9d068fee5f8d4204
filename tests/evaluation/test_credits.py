from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from core.analysis.intervals import Sample
from core.definition.trial import RehearsalConfig
from core.evaluation.credits import clusters, collect, other_groupings, pair_layout
from core.evaluation.score_table import ScoreTable
from core.evaluation.scorer import score_baseline, summarise

REHEARSAL = RehearsalConfig(items=90)


def value(book, metric, owner):
    return float(Sample(*book.unit_credits(metric, [owner])).estimates()[0])


@pytest.mark.parametrize("benchmark", ["vl_rewardbench", "mm_rlhf_rewardbench", "generated_images"])
@pytest.mark.parametrize("baseline", ["length", "random", "constant"])
def test_credits_add_up_to_every_metric_of_the_benchmark(benchmark, baseline):
    table = score_baseline(baseline, {"name": benchmark}, REHEARSAL)
    (book,) = collect([("t", table)])
    metrics = summarise(table)["metrics"]
    assert set(book.layout.units) == {name for name, number in metrics.items() if number is not None}
    for metric in book.layout.units:
        assert value(book, metric, "t") == pytest.approx(metrics[metric]), metric


def test_credits_add_up_on_the_real_benchmarks(shared_data):
    for benchmark in ("vl_rewardbench", "mm_rlhf_rewardbench"):
        table = score_baseline("length", {"name": benchmark, "data": str(shared_data / f"{benchmark}.jsonl")})
        (book,) = collect([("t", table)])
        for metric, number in summarise(table)["metrics"].items():
            assert value(book, metric, "t") == pytest.approx(number), metric
        units = book.unit_credits("overall" if benchmark.startswith("vl") else "acc")
        assert len(set(units[2].tolist())) == {"vl_rewardbench": 1225, "mm_rlhf_rewardbench": 46}[benchmark]


def test_the_order_of_rows_does_not_matter():
    table = score_baseline("random", {"name": "vl_rewardbench"}, REHEARSAL)
    order = np.random.default_rng(0).permutation(table.data.num_rows)
    shuffled = ScoreTable(table.data.take(pa.array(order)), table.metadata)
    (book,) = collect([("a", table), ("b", shuffled)])
    assert (book.values[0] == book.values[1]).all()


def test_examples_that_share_an_id_or_an_image_are_one_cluster():
    ids = ["a", "a", "b", "c", "d"]
    images = ["1", "2", "2", "3", None]
    assert clusters(ids, images).tolist() == [0, 0, 0, 1, 2]
    assert clusters(["a", "b"], [None, None]).tolist() == [0, 1]


def test_ties_and_unparsed_scores_are_wrong(table_of):
    (book,) = collect([("t", table_of([("a", 1.0, 0.0), ("b", 1.0, 1.0), ("c", None, 0.0), ("d", 1.0, None)]))])
    assert sorted(book.values[0].tolist()) == [0, 0, 0, 1]


def test_tables_over_other_examples_are_kept_apart(table_of):
    a, b = table_of([("a", 1.0, 0.0), ("b", 1.0, 0.0)]), table_of([("a", 1.0, 0.0)])
    rehearsed = replace(a, metadata=replace(a.metadata, rehearsal=True))
    books = collect([("a", a), ("b", b), ("again", a), ("r", rehearsed)])
    assert [book.owners for book in books] == [("a", "again"), ("b",), ("r",)]


def test_another_grouping_of_the_same_examples_is_noticed(table_of):
    about = {"name": "mm_rlhf_rewardbench"}
    table = score_baseline("length", about, REHEARSAL)
    extra = table.data.column("extra").to_pylist()
    moved = [json.dumps({"media": json.loads(text)["media"].replace("mcq/", "long/")}) for text in extra]
    column = table.data.schema.get_field_index("extra")
    other = ScoreTable(table.data.set_column(column, table.data.schema.field(column), [moved]), table.metadata)
    assert "long" in other_groupings(pair_layout(table), pair_layout(other))
    assert len(collect([("a", table), ("b", other)])) == 2


def test_a_table_without_a_pair_has_no_units(table_of):
    table = table_of([("a", 1.0, 0.0)])
    column = table.data.schema.get_field_index("label")
    unknown = table.data.set_column(column, table.data.schema.field(column), [pa.array([None, None], pa.int32())])
    (book,) = collect([("t", ScoreTable(unknown, table.metadata))])
    assert book.layout.units == {}
