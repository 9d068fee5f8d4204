"""Reads the project's pages: their blocks of code, and what stands in the comment before each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
GUIDES = ROOT / "docs" / "guides"
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_BLOCK = re.compile(r"(?:^<!-- (?P<note>[^\n]*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", flags=re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; ``note`` is the comment right before it."""

    page: Path
    line: int
    language: str
    note: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path, language: str | None = None) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found = [
        Block(page, text.count("\n", 0, match.start("text")), match["language"], match["note"] or "", match["text"])
        for match in _BLOCK.finditer(text)
    ]
    return [block for block in found if language in (None, block.language)]


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head; cells without their back quotes."""
    text = page.read_text(encoding="utf-8")
    start = re.search(rf"^#+ {re.escape(heading)}$", text, flags=re.MULTILINE)
    assert start is not None, f"{page.name} has no heading {heading!r}"
    lines = text[start.end() :].splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("|---")) - 1
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))])
    return rows


def names(cell: str) -> list[str]:
    """What stands in back quotes in a cell of a table."""
    return re.findall(r"`([^`]+)`", cell)
