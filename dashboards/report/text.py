"""The report in a terminal: cells as rows, metrics as columns, the reported number and the difference beside each value.

The table is laid out here and not by a table library because a benchmark's name stands above all of its metrics. Where the
columns do not fit side by side, they continue in a second block under the same rows; nothing is dropped.

A line is a list of pieces, each a text with its style: a table has thousands of cells, and rich's own texts cost more than all the rest of
it. They are made only where colours are written.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.control import strip_control_codes
from rich.style import Style
from rich.text import Text

from core.analysis.report import Report, Row, Value
from dashboards.report.claims import claim_lines
from dashboards.report.claims import legend as claims_legend
from dashboards.report.numbers import axis_value, difference, digits, half_width, legend, mark, replicates, short_names, title
from dashboards.report.sanity import legend as sanity_legend
from dashboards.report.sanity import sanity_lines
from dashboards.report.sections import sections, text_lines

GAP = "  "
NOTHING = "–"
BEST = Style(bold=True, color="green")
QUIET = Style(dim=True)
WARNING = Style(color="yellow")
HEAD = Style(bold=True)
NONE = Style()
SILENT_FLAGS = ("reused", "partial")
"""Flags that the reader of a table need not act on, or that a note explains."""

Piece = tuple[str, Style]
Line = list[Piece]


@dataclass(frozen=True)
class _Column:
    """One metric: its two names and the widths of value, interval, reported number and difference (0 where no row has one)."""

    metric: str
    benchmark: str
    heads: tuple[str, ...]
    digits: int
    value: int
    interval: int
    reported: int
    difference: int
    width: int


@dataclass(frozen=True)
class _Labels:
    """The left part of every block: what names a row."""

    heads: list[str]
    widths: list[int]
    rows: list[list[str]]

    @property
    def width(self) -> int:
        return sum(self.widths) + len(GAP) * (len(self.widths) - 1)


def render_text(report: Report, *, width: int = 100, colour: bool = False) -> str:
    """The table as text.

    Args:
        report: what to show.
        width: columns of the terminal.
        colour: whether colours and links to the runs may be written.
    """
    labels = _labels(report, width)
    columns = [_column(report, metric) for metric in report.columns]
    lines = [[(title(report), HEAD)]]
    if report.rehearsal:
        lines[0] += [(GAP, NONE), (" REHEARSAL ", Style(reverse=True, bold=True))]
    lines.append([])
    for number, block in enumerate(_blocks(columns, width - labels.width)):
        if number:
            lines.append([])
        lines += _block(report, labels, block, width, reasons=number == 0)
    lines.append([])
    for note in (legend(report), *report.notes):
        lines += _lines(textwrap.wrap(note, width, break_long_words=False, break_on_hyphens=False), QUIET)
    for section in sections(report):
        lines += [[], [(_plain(section.title), HEAD)], *_lines(map(_plain, text_lines(section, width)))]
        lines += _lines(textwrap.wrap(_plain(section.note), width), QUIET)
    if report.sanity:
        lines += [[], [("Sanity", HEAD)], *_lines(map(_plain, sanity_lines(report.sanity, width)))]
        lines += _lines(textwrap.wrap(sanity_legend(report.sanity), width), QUIET)
    if report.claims:
        lines += [[], *_lines(claim_lines(report.claims, width)), [(claims_legend(len(report.claims)), QUIET)]]
    return _written(lines, width, colour)


def _lines(texts: Iterable[str], style: Style = NONE) -> list[Line]:
    return [[(text, style)] for text in texts]


def _written(lines: Sequence[Line], width: int, colour: bool) -> str:
    if not colour:
        return "".join([strip_control_codes("".join([text for text, _ in line])).rstrip() + "\n" for line in lines])
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        highlight=False,
        emoji=False,
        markup=False,
    )
    for line in lines:
        text = Text.assemble(*line)
        text.rstrip()
        console.print(text, soft_wrap=True)
    return out.getvalue()


def _labels(report: Report, width: int) -> _Labels:
    """Axes and, where it says something, the number of replicates; rows without a cell have their name instead."""
    counted = any(row.replicated and (row.asked != 1 or row.n != 1) for row in report.rows)
    heads = short_names(report.axes) or ["cell"]
    rows = []
    for row in report.rows:
        if row.cell is None or not report.axes:
            cells = [row.name] + [""] * (len(heads) - 1)
        else:
            cells = [axis_value(row.cell[axis]) if axis in row.cell else "" for axis in report.axes]
        rows.append([_plain(cell) for cell in cells])
    limit = max(12, width // (2 * len(heads)))
    widths = []
    for index, head in enumerate(heads):
        cells = [row[index] for row, source in zip(rows, report.rows, strict=True) if source.kind == "cell"]
        widths.append(min(limit, max(map(cell_len, [head, *cells]))))
    names = [cell_len(row[0]) for row, source in zip(rows, report.rows, strict=True) if source.kind != "cell"]
    spare = sum(widths) + len(GAP) * (len(widths) - 1)
    widths[-1] += max(0, min(width // 3, max(names, default=0)) - spare)
    if counted:
        heads, widths = [*heads, "n"], [*widths, 4]
        rows = [[*cells, replicates(row.n, row.asked) if row.replicated else ""] for cells, row in zip(rows, report.rows, strict=True)]
    return _Labels(heads, widths, rows)


def _plain(text: str) -> str:
    """One line without control characters: a label must not move the cursor."""
    return text if text.isprintable() else "".join(character if character.isprintable() else " " for character in text)


def _column(report: Report, metric: str) -> _Column:
    benchmark, _, short = metric.partition("/")
    decimals = digits(report, metric)
    values = [row.metrics[metric] for row in report.rows if metric in row.metrics]
    own = max([len(f"{value.mean:.{decimals}f}") for value in values if value.mean is not None], default=3) + 1
    interval = max([len(half_width(value, decimals)) for value in values], default=0)
    reported = max([len(f"({value.reported:.{decimals}f})") for value in values if value.reported is not None], default=0)
    apart = max([len(difference(value, decimals)) for value in values if value.difference is not None], default=0)
    needed = own + (1 + interval if interval else 0) + (1 + reported if reported else 0) + (1 + apart if apart else 0)
    heads = (short,) if len(short) <= max(needed, 12) or "/" not in short else tuple(short.split("/", 1))
    return _Column(metric, benchmark, heads, decimals, own, interval, reported, apart, max(needed, *map(len, heads)))


def _blocks(columns: Sequence[_Column], room: int) -> list[list[_Column]]:
    """Columns in blocks that fit; a benchmark is not torn apart where it fits into one block."""
    groups: list[list[_Column]] = []
    for column in columns:
        if groups and groups[-1][-1].benchmark == column.benchmark and _total([*groups[-1], column]) <= room:
            groups[-1].append(column)
        else:
            groups.append([column])
    blocks: list[list[_Column]] = []
    for group in groups:
        if blocks and _total(blocks[-1] + group) <= room:
            blocks[-1] = blocks[-1] + group
        else:
            blocks.append(group)
    return blocks or [[]]


def _total(columns: Sequence[_Column]) -> int:
    """Width of columns with their gaps, where the benchmark's name may need more than its metrics."""
    total = 0
    for span in _spans(columns):
        total += max(sum(column.width + len(GAP) for column in span), cell_len(span[0].benchmark) + len(GAP))
    return total


def _spans(columns: Sequence[_Column]) -> list[list[_Column]]:
    spans: list[list[_Column]] = []
    for column in columns:
        if spans and spans[-1][-1].benchmark == column.benchmark:
            spans[-1].append(column)
        else:
            spans.append([column])
    return spans


def _block(report: Report, labels: _Labels, columns: Sequence[_Column], width: int, *, reasons: bool) -> list[Line]:
    lines = _header(labels, columns)
    rule = min(width, labels.width + _total(columns))
    lines.append([("─" * rule, QUIET)])
    spans = [(span, " " * (_total(span) - sum(column.width + len(GAP) for column in span))) for span in _spans(columns)]
    previous = None
    for row, label in zip(report.rows, labels.rows, strict=True):
        if not reasons and row.kind != "cell" and not any(column.metric in row.metrics for column in columns):
            continue
        if previous is not None and row.kind != previous:
            lines.append([("┄" * rule, QUIET)])
        previous = row.kind
        line = [(_label(row, label, labels), NONE)]
        for span, rest in spans:
            for column in span:
                line.append((GAP, NONE))
                line += _value(row, column)
            line.append((rest, NONE))
        lines.append(line)
        if reasons:
            lines += _reasons(row, width)
    return lines


def _header(labels: _Labels, columns: Sequence[_Column]) -> list[Line]:
    """Benchmarks above their metrics; the names of the axes on the last line."""
    left = " " * labels.width
    first: Line = [(left, NONE)]
    height = max((len(column.heads) for column in columns), default=1)
    below: list[Line] = [[(left, NONE)] for _ in range(height - 1)]
    below.append([(GAP.join(_fit(head, size) for head, size in zip(labels.heads, labels.widths, strict=True)), HEAD)])
    for span in _spans(columns):
        room = _total(span) - len(GAP)
        first += [(GAP, NONE), (_fit(span[0].benchmark, room), HEAD)]
        for index, column in enumerate(span):
            heads = ("",) * (height - len(column.heads)) + column.heads
            size = column.width if index < len(span) - 1 else room - sum(other.width + len(GAP) for other in span[:-1])
            for line, head in zip(below, heads, strict=True):
                line += [(GAP, NONE), (_fit(head, size), NONE)]
    return [first, *below] if columns else below


def _label(row: Row, label: Sequence[str], labels: _Labels) -> str:
    if row.cell is not None:
        return GAP.join([_fit(text, size) for text, size in zip(label, labels.widths, strict=True)])
    last = len(label) > 1 and row.replicated and labels.heads[-1] == "n"
    room = labels.width - (labels.widths[-1] + len(GAP) if last else 0)
    return _fit(label[0], room) + (GAP + _fit(label[-1], labels.widths[-1]) if last else "")


def _value(row: Row, column: _Column) -> Line:
    """``76.5* ±1.2 (76.5) +0.0`` in the widths of the column."""
    value = row.metrics.get(column.metric, Value())
    if value.mean is not None:
        number = f"{value.mean:.{column.digits}f}"
        link = next(filter(None, value.urls), None)
        style = BEST if value.best else NONE
        line = [
            (" " * (column.value - 1 - len(number)), NONE),
            (number, style if link is None else style + Style(link=link)),
            (mark(value) or " ", BEST),
        ]
    else:
        line = [((NOTHING if row.replicated else "").rjust(column.value - 1) + " ", QUIET)]
    if column.interval:
        line.append((" " + half_width(value, column.digits).rjust(column.interval), QUIET))
    if column.reported:
        printed = f"({value.reported:.{column.digits}f})" if value.reported is not None else ""
        line.append((" " + printed.rjust(column.reported), QUIET))
    if column.difference:
        printed = difference(value, column.digits) if value.difference is not None else ""
        line.append((" " + printed.rjust(column.difference), NONE))
    line.append((" " * (column.width - sum([len(text) for text, _ in line])), NONE))
    return line


def _reasons(row: Row, width: int) -> list[Line]:
    """Why values of a row are missing, and flags that need attention, on lines of their own below the row."""
    flags = [flag for flag in row.flags if flag not in SILENT_FLAGS]
    said = [*row.missing, *([", ".join(flags)] if flags else [])]
    lines = []
    for reason in said:
        wrapped = textwrap.wrap(_plain(reason), max(20, width - 4), break_on_hyphens=False)
        lines += [[(("  └ " if index == 0 else "    ") + part, WARNING)] for index, part in enumerate(wrapped)]
    return lines


def _fit(text: str, size: int) -> str:
    """Exactly ``size`` cells wide; what is longer ends in an ellipsis."""
    room = size - cell_len(text)
    return text + " " * room if room >= 0 else set_cell_size(text, max(0, size - 1)) + "…"
