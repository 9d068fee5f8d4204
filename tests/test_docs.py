"""The documentation keeps its promises: links lead somewhere, and what is printed from the code is what the code prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from core.control.states import diagram

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def anchors(page: Path) -> set[str]:
    """The anchors that a reader's browser knows for the headings of a page (GitHub's rule)."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = re.sub(r"<!--.*?-->|```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    dead = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            dead.append(target)
    assert not dead


def test_the_diagram_of_the_states_is_the_table_in_the_code() -> None:
    page = (ROOT / "docs" / "design" / "states.md").read_text(encoding="utf-8")
    drawn = re.search(r"```mermaid\n(.*?)\n```", page, flags=re.DOTALL)
    assert drawn is not None
    assert drawn.group(1) == diagram(), "python -m core.control.states prints the diagram"
