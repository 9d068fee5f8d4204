"""The README's picture: drawn from a real report, and it names neither a machine nor a person."""

from __future__ import annotations

import getpass
import re
import xml.etree.ElementTree as ElementTree

from docs_pages import ROOT

from core.analysis import ReportedRow, ReportedValue, ScoringOutcome, TrialOutcome, build_report
from docs.make_picture import PICTURE, draw


def texts(picture: str) -> list[str]:
    """The words of a picture, in order."""
    nodes = ElementTree.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")
    return [text for node in nodes if (text := "".join(node.itertext()).replace("\xa0", " ")) != "\n"]


def test_the_picture_shows_the_rehearsal_of_every_cell_and_says_that_it_is_one() -> None:
    words = texts(PICTURE.read_text(encoding="utf-8"))
    assert "REHEARSAL" in words
    assert any("These numbers say nothing about the models named here" in line for line in words)
    assert [word for word in words if word in ("tanh", "none", "silu")] == ["none", "none", "tanh", "silu", "silu", "silu", "silu"]
    assert {"length", "random"} <= set(words)


def test_the_picture_names_no_machine_no_person_and_no_address() -> None:
    text = PICTURE.read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[^\s\"'<)]+", text)) - {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
    assert not addresses
    assert not [line for line in texts(text) if "/" in line.replace(" / ", "") and re.search(r"(^|\s)/\w", line)]
    assert getpass.getuser() not in texts(text)


def test_the_readme_shows_the_picture_that_exists() -> None:
    assert f"]({PICTURE.relative_to(ROOT)})" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_drawing_has_no_links_and_every_text_begins_at_its_own_place() -> None:
    scored = ScoringOutcome("vl_rewardbench", "1250-rows", 1250, 0, {"overall": 76.5})
    trial = TrialOutcome(
        "ab", {"head.layers": 2}, 0, "completed", run_url="http://node7/run", scorings=(scored,), evaluate=("vl_rewardbench",)
    )
    row = ReportedRow("a paper", {"vl_rewardbench/overall": ReportedValue(76.5)}, {"head.layers": 2})
    picture = draw(build_report("study", [trial], rehearsal=False, reported=[row]))
    assert "node7" not in picture
    assert "76.5" in texts(picture) or "76.5*" in texts(picture)
    assert not [line for line in texts(picture) if line != line.strip() or "  " in line]
