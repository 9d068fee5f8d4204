"""The report in the formats that people and programs read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, get_args

from core.analysis.report import Report, choose, to_json
from core.errors import UsageError, nearest
from dashboards.report.delimited import render_csv
from dashboards.report.latex import render_latex
from dashboards.report.markdown import render_markdown
from dashboards.report.text import render_text

if TYPE_CHECKING:
    from dashboards.report.page import Extras

Format = Literal["text", "markdown", "latex", "csv", "json", "html"]
FORMATS: tuple[str, ...] = get_args(Format)


WIDTH = 120
"""Columns of text that goes to no terminal."""


def render(
    report: Report,
    format: str = "text",
    *,
    metrics: Sequence[str] | None = None,
    width: int | None = None,
    terminal: bool = False,
    extras: Extras | None = None,
) -> str:
    """The report as text that ends in a newline.

    Args:
        report: what to show.
        format: one of :data:`FORMATS`.
        metrics: patterns of the metrics to show (``vl_rewardbench/*``), in this order; ``None`` or empty takes the report's own columns.
        width: columns of ``text``; ``None`` takes the terminal's, or :data:`WIDTH`.
        extras: what ``html`` shows besides.
        terminal: whether ``text`` goes to standard output: then it has colours and links where that is a terminal.

    Raises:
        UsageError: the format is unknown, or a pattern matches no metric.
    """
    if format not in FORMATS:
        raise UsageError("unknown format of the report", found=format, allowed=FORMATS, nearest=nearest(format, FORMATS))
    if metrics:
        report = choose(report, metrics)
    if format == "markdown":
        return render_markdown(report)
    if format == "latex":
        return render_latex(report)
    if format == "html":
        from dashboards.report.page import render_html  # draws plots: matplotlib

        return render_html(report, extras)
    if format == "csv":
        return render_csv(report)
    if format == "json":
        return json.dumps(to_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if width is None:
        width = shutil.get_terminal_size((WIDTH, 24)).columns if terminal else WIDTH
    return render_text(report, width=width, colour=terminal and sys.stdout.isatty())
