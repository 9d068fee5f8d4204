"""LaTeX that compiles and HTML that stands alone, whatever the names are."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from core.analysis import BaselineOutcome, ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome, build_report
from core.analysis.verdicts import Claim
from dashboards.plots import Curve
from dashboards.report import render
from dashboards.report.latex import escape
from dashboards.report.page import Extras

HOSTILE = r"""\end{document} %$#_{}~^&\\<script>alert(1)</script> "q" 'é漢💥 `|"""
VL = "vl_rewardbench/overall"


def trial(value, cell, seed):
    scoring = ScoringOutcome("vl_rewardbench", "1250-rows", 1250, 0, {"overall": value})
    return TrialOutcome(f"{cell}-{seed}", {"head.layers": cell, "head.activation": "silu"}, seed, "completed", ("stale",), run_url="https://x/?a=1&b=2",
                        metrics={"validation/accuracy": value / 100}, scorings=(scoring,), hours=float(seed + 1))  # fmt: skip


@pytest.fixture
def report():
    trials = [trial(70 + number + seed / 3, cell, seed) for number, cell in enumerate((1, 2, HOSTILE, 4)) for seed in range(3)]
    trials.append(TrialOutcome("f", {"head.layers": 9, "head.activation": HOSTILE}, 0, "failed", cause=HOSTILE))
    reported = [
        ReportedRow(HOSTILE, {VL: ReportedValue(70.2, note=HOSTILE)}, cell={"head.layers": 1, "head.activation": "silu"}),
        ReportedRow("a paper", {VL: ReportedValue(65.8)}, model=HOSTILE),
    ]
    baseline = BaselineOutcome("length", (ScoringOutcome("vl_rewardbench", "1250-rows", 1250, 0, {"overall": 42.6}),))
    claim = Claim(HOSTILE, "better", VL, (("head.layers=2 head.activation=silu", "head.layers=1 head.activation=silu"),))
    return build_report(HOSTILE, trials, rehearsal=True, baselines=[baseline], reported=reported, claims=[claim], objective=VL)


def test_nothing_of_a_name_reaches_latex_as_a_command():
    written = escape(HOSTILE)
    assert r"\end{document}" not in written
    assert written.isascii()
    assert not re.search(r"(?<!\\)[%$#_&^~]", re.sub(r"\\text\w+\{\}", "", written))


def test_latex_is_a_whole_document_with_the_parts_of_the_report(report):
    text = render(report, "latex")
    assert text.count(r"\begin{document}") == text.count(r"\end{document}") == 1
    assert text.count(r"\toprule") == text.count(r"\bottomrule") >= 3
    assert r"\textbf{73.3}" in text
    assert "Importance of each axis" in text
    assert r"\textbf{supported}" in text or r"\textbf{undecided}" in text
    opened, closed = (re.findall(rf"\\{word}\{{(\w+\*?)\}}", text) for word in ("begin", "end"))
    assert sorted(opened) == sorted(closed)


def test_latex_compiles_as_it_is(report, tmp_path):
    if shutil.which("pdflatex") is None:
        reason = "LaTeX is not installed (apt-get install texlive-latex-recommended)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    (tmp_path / "report.tex").write_text(render(report, "latex"), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "report.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, errors="replace", check=False)
    assert made.returncode == 0, made.stdout[-3000:]
    assert (tmp_path / "report.pdf").stat().st_size > 10_000


class Page(HTMLParser):
    """What stands in a page: tags in order, links and pictures, whether all is closed."""

    VOID = ("meta", "img", "wbr", "br", "link")

    def __init__(self, text):
        super().__init__()
        self.seen, self.open, self.places, self.pictures, self.words = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        self.places += [value for name, value in attrs if name in ("src", "href")]
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_the_page_stands_alone_and_is_built_for_everybody(report):
    curve = Curve("layers=1", [0, 1, 2], [0.5, 0.6, 0.7], [0.4, 0.5, 0.6], [0.6, 0.7, 0.8])
    text = render(report, "html", extras=Extras([curve], commands=["sweep launch study.yaml", "sweep report study --format html"]))
    page = Page(text)
    assert page.open == []
    tags = [tag for tag, _ in page.seen]
    assert not {"script", "link", "iframe", "object"} & set(tags)
    assert all(place.startswith(("data:image/svg+xml;base64,", "https://x/?a=1&b=2")) for place in page.places)
    assert dict(page.seen)["html"] == {"lang": "en"}
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert tags.count("table") == tags.count("caption") >= 3
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.seen if tag == "th")
    assert len(page.pictures) >= 3
    assert all(picture["alt"] for picture in page.pictures)
    shown = " ".join("".join(page.words).split())
    for words in (
        " ".join(HOSTILE.split()),
        "REHEARSAL",
        "Importance of each axis",
        "Claims",
        "sweep launch study.yaml",
        "Learning curves",
    ):
        assert words in shown


def test_ten_thousand_rows_take_every_format_a_time_that_grows_with_the_rows():
    """The number of looks at a row's values is counted, not the seconds."""
    looks = 0

    class Counted(dict):
        def __contains__(self, key):
            nonlocal looks
            looks += 1
            return super().__contains__(key)

    made = build_report("s", [trial(50 + cell % 50, cell, 0) for cell in range(300)], rehearsal=False)
    made = replace(made, rows=tuple(replace(row, metrics=Counted(row.metrics)) for row in made.rows))
    for format in ("text", "markdown", "latex", "csv", "json", "html"):
        looks = 0
        text = render(made, format)
        assert text.count("silu") >= 300 or format == "csv"
        assert looks < 300 * 20, format


def test_an_empty_study_has_a_document_too():
    nothing = build_report("s", [], rehearsal=False)
    assert r"\end{document}" in render(nothing, "latex")
    assert "</html>" in render(nothing, "html")


def test_an_interval_that_covers_the_reported_value_is_marked(report):
    trials = [trial(70 + seed, 1, seed) for seed in range(3)]
    cell = {"head.layers": 1, "head.activation": "silu"}
    rows = [ReportedRow("p", {VL: ReportedValue(value)}, cell=cell) for value in (72.0, 90.0)]
    covered, missed = (build_report("s", trials, rehearsal=False, reported=[row]) for row in rows)
    assert [one.rows[0].metrics[VL].covers_reported for one in (covered, missed)] == [True, False]
    assert "-1.0~" in render(covered)
    assert "~" not in render(missed)
    assert report.rows[0].metrics[VL].covers_reported is None
