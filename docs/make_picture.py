"""Draws the picture of the README, ``docs/pictures/head_ablation.svg``: the real table of a rehearsal of ``head_ablation.yaml``.

    python docs/make_picture.py                        # rehearses in a folder of its own (minutes), then draws
    python docs/make_picture.py --workspace RUNS       # draws the rehearsal that lies there

The text is the table that ``sweep report head_ablation`` prints first in a terminal of 120 columns. Links to runs are left out, and
so are the addresses of web fonts: the picture names no machine and asks nothing of one. Each run of words gets a place of its own,
because some viewers drop blanks at the beginning of a text.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from html import escape, unescape
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from core.analysis import Report

DEFINITION = "head_ablation"
PICTURE = Path(__file__).resolve().parent / "pictures" / f"{DEFINITION}.svg"
WIDTH = 120
FONTS = re.compile(r"@font-face \{.*?\}\s*", flags=re.DOTALL)
TEXT = re.compile(r'(<text class="[^"]*") x="([\d.]+)" (y="[\d.]+") textLength="([\d.]+)"([^>]*)>([^<]*)</text>')
WORDS = re.compile("[^\xa0]+(?:\xa0[^\xa0]+)*")
"""Words with single blanks between them; rich writes every blank as one that does not break."""


def rehearse(workspace: Path) -> None:
    """Rehearse the definition in a workspace, as a user does."""
    command = [sys.executable, "-m", "sweeps.cli.main", "launch", DEFINITION, "--rehearse", "--workspace", str(workspace)]
    subprocess.run(command, check=True, cwd=PICTURE.parents[2])


def read(workspace: Path) -> Report:
    """The report of the rehearsal."""
    from core.workspace.layout import Workspace
    from core.workspace.registration import resolve
    from sweeps.reporting import gather

    place = Workspace.open(workspace)
    return gather(place, resolve(place, f"{DEFINITION}-rehearsal"))


def table_of(report: Report) -> Report:
    """The report's table alone, without the addresses of its runs."""
    rows = [replace(row, metrics={name: replace(value, urls=()) for name, value in row.metrics.items()}) for row in report.rows]
    return replace(report, rows=tuple(rows), ablation=None, sanity=(), claims=())


def draw(report: Report) -> str:
    """The report's table as SVG."""
    from dashboards.report.text import render_text

    text = Text.from_ansi(render_text(table_of(report), width=WIDTH, colour=True).rstrip("\n"))
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(Text(f"$ sweep report {DEFINITION}\n", style="dim"), text, sep="\n", soft_wrap=True)
    return TEXT.sub(_placed, FONTS.sub("", console.export_svg(title=DEFINITION, unique_id=DEFINITION)))


def _placed(found: re.Match[str]) -> str:
    """A text of the picture, cut at runs of blanks into texts that each say where they begin."""
    head, x, y, length, tail, content = found.groups()
    text = unescape(content)
    step = float(length) / len(text)
    return "".join(
        f'{head} x="{float(x) + words.start() * step:g}" {y} textLength="{len(words[0]) * step:g}"{tail}>{escape(words[0])}</text>'
        for words in WORDS.finditer(text)
    )


def main() -> None:
    """Draw the picture."""
    parser = argparse.ArgumentParser(description="Draw the README's picture from a rehearsal.")
    parser.add_argument("--workspace", type=Path, help="a workspace that holds the rehearsal; default: make one")
    given = parser.parse_args().workspace
    with tempfile.TemporaryDirectory(prefix="picture-") as folder:
        workspace = given or Path(folder) / "runs"
        if given is None:
            rehearse(workspace)
        picture = draw(read(workspace))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture, encoding="utf-8")
    print(f"wrote {PICTURE.name}")


if __name__ == "__main__":
    sys.path.insert(0, str(PICTURE.parents[2]))
    main()
