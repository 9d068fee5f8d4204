from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.cells import cell_len

from core.analysis import BaselineOutcome, ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome, build_report
from core.errors import UsageError
from dashboards.report import FORMATS, render
from dashboards.report.numbers import short_names, signed
from dashboards.report.text import render_text

TABLE_2 = [
    (1, "none", 71.2, 70.3, 87.1, 71.1),
    (2, "none", 71.7, 71.0, 90.0, 71.7),
    (2, "tanh", 74.8, 73.7, 90.1, 76.1),
    (2, "silu", 76.5, 75.6, 92.9, 80.4),
    (3, "silu", 71.4, 70.8, 90.6, 76.1),
    (4, "silu", 69.1, 68.6, 88.2, 73.9),
    (5, "silu", 73.5, 72.7, 88.8, 73.9),
]
METRICS = ("vl_rewardbench/overall", "vl_rewardbench/macro/r1_script", "mm_rlhf_rewardbench/acc", "mm_rlhf_rewardbench/acc_plus")


def scorings(values, rehearsal=False):
    vl, mm = ("rehearsal-128",) * 2 if rehearsal else ("1250-rows", "170-pairs")
    return (
        ScoringOutcome("vl_rewardbench", vl, 1250, 0, {"overall": values[0], "macro/r1_script": values[1]}),
        ScoringOutcome("mm_rlhf_rewardbench", mm, 170, 0, {"acc": values[2], "acc_plus": values[3]}),
    )


def head_ablation(rehearsal=False, failed=None, seeds=1):
    trials, reported = [], []
    for number, (layers, activation, *values) in enumerate(TABLE_2):
        cell = {"head.layers": layers, "head.activation": activation}
        reported.append(ReportedRow("a paper, Table 2", {m: ReportedValue(v) for m, v in zip(METRICS, values, strict=True)}, cell=cell))
        for seed in range(seeds):
            kept = {
                "metrics": {"validation/accuracy": 0.9 + number / 100},
                "scorings": scorings([value + 1 for value in values], rehearsal),
            }
            bad = number == failed and seed == 0
            state = {"state": "failed", "cause": "cuda_oom"} if bad else {"state": "completed", **kept}
            trials.append(TrialOutcome(f"t{number}-{seed}", cell, seed, run_url=f"http://localhost:5000/#/runs/{number}{seed}", **state))
    return build_report(
        "head_ablation",
        trials,
        rehearsal=rehearsal,
        baselines=[BaselineOutcome("length", scorings([42.64, 43.51, 71.76, 47.83], rehearsal))],
        reported=[*reported, ReportedRow("a paper, Table 9", {METRICS[0]: ReportedValue(65.8)}, model="GPT-4o")],
        published={"vl_rewardbench": "1250-rows", "mm_rlhf_rewardbench": "170-pairs"},
    )


def rows_of(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


@pytest.mark.parametrize("width", [80, 100, 140])
@pytest.mark.parametrize("rehearsal", [False, True])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_dropped(width, rehearsal):
    text = render(head_ablation(rehearsal, failed=5), width=width)
    assert max(cell_len(line) for line in text.splitlines()) <= width
    for metric in ("vl_rewardbench", "mm_rlhf_rewardbench", "validation", "overall", "r1_script", "acc_plus", "accuracy"):
        assert metric in text
    for layers, activation, *values in TABLE_2:
        lines = " ".join(rows_of(text, f"{layers:<6}  {activation}"))
        for value in values:
            assert f"({value})" in lines
            assert layers == 4 or f"{value + 1:.1f}" in lines


def test_a_wide_terminal_has_one_table_with_difference_and_best():
    text = render(head_ablation(), width=140)
    (line,) = rows_of(text, "2       silu")
    expected = "77.5^ (76.5) +1.0  76.6^ (75.6) +1.0  93.9^ (92.9) +1.0  81.4^ (80.4) +1.0  0.930"
    assert line.split()[2:] == expected.split()
    assert rows_of(text, "length")[0].split() == ["length", "42.6", "43.5", "71.8", "47.8"]
    assert rows_of(text, "GPT-4o")[0].split() == ["GPT-4o", "(65.8)"]


def test_benchmarks_stand_above_their_metrics():
    lines = render(head_ablation(), width=140).splitlines()
    head = next(line for line in lines if "vl_rewardbench" in line)
    below = lines[lines.index(head) + 1]
    assert head.index("vl_rewardbench") == below.index("overall")
    assert head.index("mm_rlhf_rewardbench") == re.search(r"\bacc\b", below).start()


def test_a_rehearsal_says_so_in_title_and_footer_and_subtracts_nothing():
    text = render(head_ablation(rehearsal=True), width=140)
    assert "REHEARSAL" in text.splitlines()[0]
    assert "A rehearsal: tiny models on generated data." in text
    assert "(76.5)" in text
    assert "+1.0" not in text
    for format in FORMATS:
        assert "rehears" in render(head_ablation(rehearsal=True), format).lower()


def test_a_missing_cell_is_a_row_with_its_reason_below():
    lines = render(head_ablation(failed=5), width=140).splitlines()
    row = next(index for index, line in enumerate(lines) if line.startswith("4       silu"))
    assert "(69.1)" in lines[row]
    assert lines[row].count("–") == 5
    assert lines[row + 1] == "  └ failed (cuda_oom)"


def test_the_number_of_replicates_shows_where_it_is_not_one():
    assert "n" not in render(head_ablation(), width=140).splitlines()[3].split()
    text = render(head_ablation(failed=5, seeds=3), width=140)
    assert "3 replicates each" in text.splitlines()[0]
    assert rows_of(text, "4       silu")[0].split()[2] == "2/3"
    assert "  └ seed 0: failed (cuda_oom)" in text


def test_values_link_to_their_runs_in_a_terminal_and_nowhere_else():
    coloured = render_text(head_ablation(), width=140, colour=True)
    assert "http://localhost:5000/#/runs/30" in coloured
    assert "\x1b" not in render(head_ablation(), width=140)
    plain = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", coloured)
    assert plain == render(head_ablation(), width=140)


def test_a_label_cannot_move_the_cursor_and_wide_characters_keep_the_columns():
    trials = [
        TrialOutcome("a", {"data": "混合\x1b[2J\nx"}, 0, "completed", scorings=scorings([1.0] * 4)),
        TrialOutcome("b", {"data": "plain"}, 0, "completed", scorings=scorings([2.0] * 4)),
    ]
    lines = render(build_report("s", trials, rehearsal=False), width=140).splitlines()
    assert "\x1b" not in "".join(lines)
    wide, plain = (next(line for line in lines if line.startswith(start)) for start in ("混合", "plain"))
    assert cell_len(wide[: wide.index("1.0")]) == cell_len(plain[: plain.index("2.0")])


def test_long_labels_end_in_an_ellipsis_and_long_tables_keep_every_row():
    trials = [
        TrialOutcome(str(n), {"data.sources": f"{'x' * 200}{n}", "seed_of": n}, 0, "completed", scorings=scorings([float(n)] * 4))
        for n in range(60)
    ]
    text = render(build_report("s", trials, rehearsal=False), width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert sum("…" in line for line in text.splitlines()) >= 60


def test_a_sweep_without_any_result_still_has_its_rows():
    trials = [TrialOutcome("t", {"head.layers": n}, 0, "pending") for n in (1, 2)]
    for format in FORMATS:
        text = render(build_report("s", trials, rehearsal=False), format)
        assert text.count("pending") == 2
    assert "base" in render(build_report("s", [TrialOutcome("t", {}, 0, "pending")], rehearsal=False))
    assert render(build_report("s", [], rehearsal=False)).startswith("s: 0 cells")


def test_metrics_can_be_chosen():
    lines = render(head_ablation(), metrics=["validation/*"], width=80).splitlines()
    assert not any("vl_rewardbench" in line for line in lines[:6])
    assert list(json.loads(render(head_ablation(), "json", metrics=["*/acc"]))["rows"][0]["metrics"]) == ["mm_rlhf_rewardbench/acc"]
    with pytest.raises(UsageError, match="no metric"):
        render(head_ablation(), metrics=["nothing"])


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(UsageError) as error:
        render(head_ablation(), "markdwn")
    assert "did you mean: markdown" in str(error.value)


def test_markdown_links_values_and_marks_the_best():
    text = render(head_ablation(failed=5), "markdown")
    line = next(line for line in text.splitlines() if line.startswith("| 2 | silu |"))
    assert "**[77.5](http://localhost:5000/#/runs/30)**^ (76.5) +1.0" in line
    assert "failed (cuda\\_oom)" in next(line for line in text.splitlines() if line.startswith("| 4 | silu |"))
    several = render(head_ablation(seeds=2), "markdown")
    assert "**77.5**^ [1](http://localhost:5000/#/runs/30) [2](http://localhost:5000/#/runs/31) (76.5) +1.0" in several


EVIL = "a|b\nc*d_[x](javascript:y)<script>"


def evil(name=EVIL):
    trials = [TrialOutcome("t", {"data|sources": name}, 0, "failed", reason=name, scorings=scorings([1.0] * 4), run_url="u|)x y")]
    return build_report("s", trials, rehearsal=False)


def test_markdown_cells_cannot_break_the_table_or_become_markup():
    lines = [line for line in render(evil(), "markdown").splitlines() if line.startswith("|")]
    assert len(lines) == 3
    cells = [re.split(r"(?<!\\)\|", line) for line in lines]
    assert len({len(row) for row in cells}) == 1
    assert "\\[x\\](javascript:y)\\<script\\>" in lines[2]
    assert "(u%7C%29x%20y)" in lines[2]


def test_csv_comes_back_cell_by_cell():
    rows = list(csv.DictReader(io.StringIO(render(head_ablation(failed=5), "csv"))))
    assert [row["kind"] for row in rows] == ["cell"] * 7 + ["baseline", "reported"]
    best = rows[3]
    assert (best["head.layers"], best["head.activation"], best["rehearsal"]) == ("2", "silu", "false")
    assert float(best["vl_rewardbench/overall"]) == 77.5
    assert float(best["vl_rewardbench/overall difference"]) == pytest.approx(1.0)
    assert rows[5]["missing"] == "failed (cuda_oom)"
    assert rows[5]["vl_rewardbench/overall"] == ""
    assert next(csv.DictReader(io.StringIO(render(evil(), "csv"))))["data|sources"] == EVIL


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-A1", "@SUM(A1)", "\t=1"])
def test_csv_texts_are_no_formulas_and_negative_numbers_stay_numbers(text):
    (row,) = csv.DictReader(io.StringIO(render(evil(text), "csv")))
    assert row["data|sources"] == "'" + text
    trials = [TrialOutcome("t", {"x": -0.5}, 0, "completed", scorings=scorings([-1.5] * 4))]
    (row,) = csv.DictReader(io.StringIO(render(build_report("s", trials, rehearsal=False), "csv")))
    assert (row["x"], row["vl_rewardbench/overall"]) == ("-0.5", "-1.5")


def test_a_difference_that_rounds_to_nothing_has_no_sign():
    assert [signed(value, 1) for value in (0.26, -0.26, 0.04, -0.04)] == ["+0.3", "-0.3", "0.0", "0.0"]


def test_axes_are_named_by_as_little_as_tells_them_apart():
    assert short_names(["head.layers", "optim.lr"]) == ["layers", "lr"]
    assert short_names(["data.sources.a.weight", "data.sources.b.weight"]) == ["a.weight", "b.weight"]
    assert short_names(["backbone", "head.backbone"]) == ["backbone", "head.backbone"]


def test_numbers_have_the_digits_that_the_paper_printed():
    cell = TrialOutcome("t", {"a": 1}, 0, "completed", scorings=scorings([82.1634, 1.0, 1.0, 1.0]))
    report = build_report("s", [cell], rehearsal=False, reported=[ReportedRow("p", {METRICS[0]: ReportedValue(82.16)}, cell={"a": 1})])
    assert "82.16  (82.16)" in render(report, width=140)
