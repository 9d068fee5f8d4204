"""The report as a GitHub-flavoured Markdown table."""

from __future__ import annotations

import re

from core.analysis.report import Report, Row, Value
from dashboards.report.claims import grounds
from dashboards.report.claims import legend as claims_legend
from dashboards.report.numbers import all_digits, axis_value, difference, half_width, legend, mark, replicates, short_names, title
from dashboards.report.sanity import legend as sanity_legend
from dashboards.report.sanity import sanity_table
from dashboards.report.sections import sections

SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def escape(text: str) -> str:
    """Text that stays text in a cell: Markdown's own characters escaped, line breaks turned into spaces."""
    return SPECIAL.sub(r"\\\1", " ".join(text.split()))


def render_markdown(report: Report) -> str:
    """Title, table and notes; the best mean of a column in bold, each value linked to its runs."""
    reasons = any(row.missing or row.flags for row in report.rows)
    axes = short_names(report.axes) or ["cell"]
    heads = [*map(escape, axes), "n", *map(escape, report.columns), *(["note"] if reasons else [])]
    align = ["---"] * len(axes) + ["---:"] * (1 + len(report.columns)) + (["---"] if reasons else [])
    lines = [f"## {escape(title(report))}", ""]
    if report.rehearsal:
        lines += ["**REHEARSAL**", ""]
    lines += [_table_line(heads), _table_line(align)]
    decimals = all_digits(report)
    for row in report.rows:
        cells = [*_label(report, row), replicates(row.n, row.asked) if row.replicated else ""]
        cells += [_value(row.metrics.get(metric, Value()), decimals[metric]) for metric in report.columns]
        if reasons:
            cells.append(escape("; ".join([*row.missing, *row.flags])))
        lines.append(_table_line(cells))
    notes = [f"- {escape(note)}" for note in (legend(report), *report.notes)]
    return "\n".join([*lines, "", *notes, *_sections(report), *_sanity(report), *_claims(report)]) + "\n"


def _sections(report: Report) -> list[str]:
    lines = []
    for section in sections(report):
        lines += ["", f"### {escape(section.title)}", "", _table_line([escape(head) for head in section.heads])]
        lines += [_table_line(["---", *["---:"] * (len(section.heads) - 1)])]
        lines += [_table_line([escape(text) for text in row]) for row in section.rows]
        lines += ["", escape(section.note)] if section.note else []
    return lines


def _sanity(report: Report) -> list[str]:
    if not report.sanity:
        return []
    heads, rows = sanity_table(report.sanity)
    lines = [_table_line([*heads]), _table_line(["---", "---", *["---:"] * (len(heads) - 2)])]
    lines += [_table_line([*map(escape, row)]) for row in rows]
    return ["", "### Sanity", "", *lines, "", sanity_legend(report.sanity)]


def _claims(report: Report) -> list[str]:
    """A list of verdicts under a heading of its own."""
    if not report.claims:
        return []
    lines = [f"- **{one.word}**: {escape(one.claim.say)} ({escape(one.claim.on)}: {escape(grounds(one))})" for one in report.claims]
    return ["", "### Claims", "", *lines, "", escape(claims_legend(len(report.claims)))]


def _table_line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _label(report: Report, row: Row) -> list[str]:
    width = max(1, len(report.axes))
    if row.cell is None or not report.axes:
        return [escape(row.name)] + [""] * (width - 1)
    return [escape(axis_value(row.cell[axis])) if axis in row.cell else "" for axis in report.axes]


def _value(value: Value, decimals: int) -> str:
    """``**[76.5](run)**\\* ±1.2 (76.5) +0.0``; several replicates have a link each."""
    parts = []
    if value.mean is not None:
        number = f"{value.mean:.{decimals}f}"
        if len(value.urls) == 1 and value.urls[0]:
            number = f"[{number}]({_target(value.urls[0])})"
        parts.append(f"**{number}**{escape(mark(value))}" if value.best else number)
        if len(value.urls) > 1:
            parts += [f"[{index}]({_target(url)})" for index, url in enumerate(value.urls, start=1) if url]
    if value.ci is not None:
        parts.append(half_width(value, decimals))
    if value.reported is not None:
        parts.append(f"({value.reported:.{decimals}f})")
    if value.difference is not None:
        parts.append(difference(value, decimals))
    return " ".join(parts)


def _target(url: str) -> str:
    """A link's target that cannot end the link or the cell."""
    return url.replace(" ", "%20").replace("(", "%28").replace(")", "%29").replace("|", "%7C").replace("\n", "")
