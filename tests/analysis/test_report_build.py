from __future__ import annotations

import json

import pytest

from core.analysis import (
    BaselineOutcome,
    ReportedRow,
    ReportedValue,
    ScoringOutcome,
    TrialOutcome,
    build_report,
    choose,
    to_json,
)
from core.analysis.best import all_by_seed, by_seed
from core.errors import UsageError

VL = "vl_rewardbench/overall"
PUBLISHED = {"vl_rewardbench": "1250-rows"}


def scoring(overall, revision="1250-rows", n=1250, skipped=0, **more):
    return ScoringOutcome("vl_rewardbench", revision, n, skipped, {"overall": overall, **more})


def trial(layers, overall=None, seed=0, state="completed", revision="1250-rows", skipped=0, **more):
    scorings = () if overall is None else (scoring(overall, revision, 1250 - skipped, skipped),)
    return TrialOutcome(f"{layers}-{seed}", {"head.layers": layers}, seed, state, scorings=scorings, **more)


def printed(layers, value, **more):
    return ReportedRow("a paper", {VL: ReportedValue(value, **more)}, cell={"head.layers": layers})


def build(trials, **more):
    return build_report("s", trials, **{"rehearsal": False, "published": PUBLISHED, **more})


def value(report, row=0, metric=VL):
    return report.rows[row].metrics[metric]


def test_replicates_are_joined_by_seed_into_their_mean():
    report = build([trial(1, 72.0, seed=1), trial(2, 60.0), trial(1, 70.0, seed=0)])
    assert [row.name for row in report.rows] == ["head.layers=1", "head.layers=2"]
    assert value(report).mean == 71.0
    assert value(report).values == (70.0, 72.0)
    assert (report.rows[0].n, report.rows[0].asked) == (2, 2)


def test_each_value_has_the_page_of_its_run():
    report = build([trial(1, 70.0, run_url="u0"), trial(1, 71.0, seed=1, run_url=None), trial(1, 72.0, seed=2, run_url="u2")])
    assert value(report).urls == ("u0", None, "u2")


def test_the_difference_is_ours_less_the_reported_one():
    report = build([trial(1, 70.0)], reported=[printed(1, 71.2)])
    assert value(report).reported == 71.2
    assert value(report).difference == pytest.approx(-1.2)


@pytest.mark.parametrize(
    ("trials", "reported", "more"),
    [
        ([trial(1, 70.0, revision="rehearsal-128")], printed(1, 71.2), {"rehearsal": True, "published": {}}),
        ([trial(1, 70.0)], printed(1, 71.2), {"rehearsal": True}),
        ([trial(1, 70.0)], printed(1, 71.2, comparable=False), {}),
        ([trial(1, 70.0, revision="1247-rows")], printed(1, 71.2), {}),
        ([trial(1, 70.0)], printed(1, 71.2, revision="1247-rows"), {}),
        ([trial(1, 70.0, skipped=5)], printed(1, 71.2), {}),
        ([trial(1)], printed(1, 71.2), {}),
    ],
    ids=["rehearsal", "rehearsal of real data", "marked", "our revision", "their revision", "partial", "no value"],
)
def test_what_is_not_comparable_is_shown_but_never_subtracted(trials, reported, more):
    report = build(trials, reported=[reported], **more)
    assert value(report).reported == 71.2
    assert value(report).difference is None


def test_a_value_with_its_own_revision_is_compared_on_that_one():
    report = build([trial(1, 70.0, revision="1247-rows")], reported=[printed(1, 71.2, revision="1247-rows")])
    assert value(report).difference == pytest.approx(-1.2)


def test_the_best_cells_of_a_column_are_marked_ties_included_baselines_excluded():
    report = build([trial(1, 70.0), trial(2, 72.0), trial(3, 72.0)], baselines=[BaselineOutcome("length", (scoring(99.0),))])
    assert [row.metrics[VL].best for row in report.rows] == [False, True, True, False]


def test_a_loss_is_best_where_it_is_lowest_and_a_speed_nowhere():
    cells = [trial(n, metrics={"validation/loss": loss, "train/lr": loss}) for n, loss in ((1, 0.3), (2, 0.5))]
    report = build(cells)
    assert [value(report, row, "validation/loss").best for row in (0, 1)] == [True, False]
    assert [value(report, row, "train/lr").best for row in (0, 1)] == [False, False]


def test_a_single_cell_is_not_the_best():
    assert not value(build([trial(1, 70.0), trial(2)])).best


@pytest.mark.parametrize("other", [{"revision": "1247-rows"}, {"skipped": 5}])
def test_a_column_over_different_data_has_no_best(other):
    report = build([trial(1, 70.0), trial(2, 72.0, **other)])
    assert not any(row.metrics[VL].best for row in report.rows)
    assert any("No best cell is marked on vl_rewardbench" in note for note in report.notes)


def test_replicates_on_different_data_have_no_mean():
    report = build([trial(1, 70.0), trial(1, 72.0, seed=1, revision="1247-rows")], reported=[printed(1, 71.2)])
    assert value(report).mean is None
    assert value(report).difference is None
    assert report.rows[0].missing == ("no mean on vl_rewardbench: the replicates were scored on different data",)


def test_missing_cells_are_rows_with_the_reason():
    trials = [
        trial(1, state="failed", cause="cuda_oom"),
        trial(2, state="blocked", reason="waits for rm"),
        trial(3, evaluate=("vl_rewardbench",)),
        trial(5, 70.0, evaluate=("vl_rewardbench",)),
        trial(4, 70.0, seed=0),
        *(trial(4, seed=seed, state="failed", cause="nan_loss") for seed in (1, 2)),
    ]
    report = build(trials)
    assert [row.missing for row in report.rows] == [
        ("failed (cuda_oom)",),
        ("blocked: waits for rm",),
        ("not scored on vl_rewardbench",),
        (),
        ("seeds 1, 2: failed (nan_loss)",),
    ]
    assert [row.n for row in report.rows] == [0, 0, 0, 1, 1]


def test_a_benchmark_that_a_backbone_cannot_read_is_not_applicable_and_nothing_is_missing():
    report = build([trial(1, 70.0), trial(2, evaluate=(), unreadable={"vl_rewardbench": "qwen3-8b reads no image"})])
    assert report.rows[1].missing == ("n/a on vl_rewardbench: qwen3-8b reads no image",)


def test_partial_results_say_how_many_examples_are_absent():
    report = build([trial(1, 70.0, skipped=5)])
    assert report.rows[0].flags == ("partial",)
    assert "Partial on vl_rewardbench: 1245 of 1250 examples, the media of 5 are absent." in report.notes


def test_an_empty_group_stays_empty():
    report = build([TrialOutcome("t", {"a": 1}, 0, "completed", scorings=(scoring(70.0, **{"macro/official": None}),))])
    assert value(report, metric="vl_rewardbench/macro/official").mean is None
    assert value(report, metric="vl_rewardbench/macro/official").values == ()


def test_what_several_tables_print_of_an_outside_model_stands_in_one_row():
    rows = [
        ReportedRow("Table 1", {VL: ReportedValue(65.8)}, model="GPT-4o"),
        ReportedRow("Table 2", {"mm/acc": ReportedValue(58.2)}, model="GPT-4o"),
        ReportedRow("another paper", {VL: ReportedValue(62.4)}, model="GPT-4o"),
    ]
    first, second = build([trial(1, 70.0)], reported=rows).rows[1:]
    assert {name: found.reported for name, found in first.metrics.items()} == {VL: 65.8, "mm/acc": 58.2}
    assert {name: found.reported for name, found in second.metrics.items()} == {VL: 62.4}


def test_outside_models_are_rows_of_their_own():
    row = ReportedRow("a paper", {VL: ReportedValue(65.8), "mm/acc": ReportedValue(None)}, model="GPT-4o")
    report = build([trial(1, 70.0)], reported=[row])
    assert (report.rows[1].kind, report.rows[1].name, report.rows[1].cell) == ("reported", "GPT-4o", None)
    assert report.rows[1].metrics[VL].reported == 65.8
    assert "mm/acc" not in report.rows[1].metrics


def test_default_columns_are_the_reported_headlines_and_the_validation_accuracy():
    full = {"macro/official": 1.0, "macro/r1_script": 1.0, "official/general": 1.0}
    cell = TrialOutcome(
        "t",
        {"a": 1},
        0,
        "completed",
        metrics={"train/loss": 0.1, "validation/accuracy": 0.9, "validation/loss": 0.2},
        scorings=(scoring(70.0, **full), ScoringOutcome("mm", "r", 1, 0, {"acc": 1.0, "acc_plus": 1.0, "mcq": 1.0})),
    )
    values = {VL: ReportedValue(1.0), "vl_rewardbench/macro/r1_script": ReportedValue(1.0)}
    report = build([cell], reported=[ReportedRow("p", values, cell={"a": 1})])
    assert report.columns == (VL, "vl_rewardbench/macro/r1_script", "mm/acc", "mm/acc_plus", "validation/accuracy")
    shown = {VL, "vl_rewardbench/macro/official", "vl_rewardbench/macro/r1_script"}
    order = ["vl_rewardbench/macro/r1_script", VL, "vl_rewardbench/macro/official"]
    assert set(build([cell]).columns) == {*shown, "mm/acc", "mm/acc_plus", "validation/accuracy"}
    assert [metric for metric in build([cell], order=order).columns if metric in shown] == order


def test_which_result_comes_first_changes_no_order_of_columns():
    vl = ScoringOutcome("vl_rewardbench", "r", 9, 0, {"overall": 1.0})
    mm = ScoringOutcome("mm", "r", 9, 0, {"acc": 1.0})
    made = [
        build([TrialOutcome(str(n), {"a": n}, 0, "completed", scorings=s) for n, s in enumerate(found)], order=[VL, "mm/acc"])
        for found in ([(mm,), (vl, mm)], [(vl,), (mm, vl)])
    ]
    assert made[0].columns == made[1].columns == (VL, "mm/acc")


def test_metrics_are_chosen_by_pattern_in_the_order_of_the_patterns():
    report = build([trial(1, 70.0, metrics={"validation/accuracy": 0.9, "validation/loss": 0.2})])
    assert choose(report, ["validation/*", VL]).columns == ("validation/accuracy", "validation/loss", VL)
    with pytest.raises(UsageError) as error:
        choose(report, ["vl_rewardbench/overal"])
    assert "did you mean: vl_rewardbench/overall" in str(error.value)


def test_the_json_has_the_documented_shape():
    report = build(
        [trial(1, 70.0), trial(1, 72.0, seed=1), trial(2)],
        reported=[printed(1, 71.2)],
        baselines=[BaselineOutcome("length", (scoring(42.64),))],
    )
    found = json.loads(json.dumps(to_json(report), allow_nan=False))
    assert (found["sweep"], found["rehearsal"]) == ("s", False)
    cell, empty, length = found["rows"]
    assert (cell["kind"], cell["name"], cell["cell"], cell["n"]) == ("cell", "head.layers=1", {"head.layers": 1}, 2)
    entry = cell["metrics"][VL]
    assert (entry["mean"], entry["values"], entry["reported"]) == (71.0, [70.0, 72.0], 71.2)
    assert (empty["metrics"][VL]["mean"], empty["metrics"][VL]["values"], empty["metrics"][VL]["reported"]) == (None, [], None)
    assert (length["kind"], length["name"], length["cell"], length["metrics"][VL]["mean"]) == ("baseline", "length", None, 42.64)


def test_a_rehearsal_says_so_below_the_table():
    assert build([trial(1, 70.0)], rehearsal=True).notes[0].startswith("A rehearsal:")


def test_a_study_that_selects_on_a_benchmark_says_so():
    assert any("Selected on the benchmark" in note for note in build([trial(1, 70.0)], objective=VL).notes)
    assert not any("Selected" in note for note in build([trial(1, 70.0)], objective="validation/accuracy").notes)


def test_a_summary_becomes_an_outcome():
    summary = {"benchmark": "b", "revision": "r", "n": 4, "partial": {"scored": 4, "skipped": 2}, "metrics": {"acc": 50.0}}
    assert ScoringOutcome.from_summary(summary) == ScoringOutcome("b", "r", 4, 2, {"acc": 50.0})
    assert ScoringOutcome.from_summary({**summary, "partial": None}).skipped == 0


def test_the_replicates_of_all_metrics_are_those_of_each_metric_asked_for_alone():
    more = {"metrics": {"validation/accuracy": 0.7, "validation/loss": float("nan"), "train/loss": None}}
    trials = [trial(1, 70.0, seed=0, **more), trial(1, None, seed=2), trial(1, 72.0, seed=1)]
    found = all_by_seed(trials)
    assert found.keys() == {VL, "validation/accuracy"}
    assert all(found[metric] == by_seed(trials, metric) for metric in found)
    assert not by_seed(trials, "validation/loss")
    assert found[VL] == {0: ("1-0", 70.0), 1: ("1-1", 72.0)}
