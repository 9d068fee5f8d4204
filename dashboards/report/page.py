"""The report as one HTML page that needs nothing but itself: tables, plots, learning curves, and the commands that made it.

No script, no font, no picture from elsewhere; plots are SVG inside of the page. Every table has a caption and header cells, every plot a
text in its place, and the colours have the contrast that WCAG 2.1 AA asks for, on paper and on a screen.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from core.analysis.report import Report, Row, Value, is_percent
from dashboards.plots import Curve, Estimate, Look, Share, curves, importance, intervals
from dashboards.report.claims import grounds
from dashboards.report.claims import legend as claims_legend
from dashboards.report.numbers import all_digits, axis_value, difference, half_width, legend, mark, replicates, short_names, title
from dashboards.report.sanity import legend as sanity_legend
from dashboards.report.sanity import sanity_table
from dashboards.report.sections import sections

PLOTTED = 40
"""Rows of an interval plot; more would not be read."""

STYLE = """
:root{color-scheme:light}
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:75rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.7rem;margin:0 0 .5rem}h2{font-size:1.25rem;margin:2rem 0 .5rem;border-bottom:2px solid #1b1b1b}
.scroll{overflow-x:auto}table{border-collapse:collapse;margin:.5rem 0 1rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:#444;padding-bottom:.3rem}
th,td{padding:.2rem .6rem;text-align:right;border-bottom:1px solid #ccc;white-space:nowrap}
th{border-bottom:2px solid #555;vertical-align:bottom}th.word,td.word,tbody th{text-align:left}
tbody th{font-weight:normal;border-bottom:1px solid #ccc}
tr.other{color:#444}td.best{font-weight:bold}small{color:#444}.warn{color:#8a3c00}
.rehearsal{background:#1b1b1b;color:#fff;padding:.15rem .6rem}.supported{color:#00613f}.contradicted{color:#a11212}.undecided{color:#444}
pre{background:#f2f2f2;padding:.8rem;overflow-x:auto;white-space:pre-wrap}figure{margin:1rem 0}figure img{max-width:100%;height:auto}
a{color:#003f7d}
@media print{body{font-size:10pt;max-width:none;padding:0}h2,caption{break-after:avoid}tr,figure,pre{break-inside:avoid}
.scroll{overflow:visible}
th,td{white-space:normal;padding:.1rem .3rem;font-size:8pt}a{color:inherit}}
"""


@dataclass(frozen=True)
class Extras:
    """What a page shows besides the report.

    Attributes:
        curves: learning curves.
        curve_metric: what they are of.
        commands: that made the study and this page.
    """

    curves: Sequence[Curve] = ()
    curve_metric: str = "validation/accuracy"
    commands: Sequence[str] = ()


def render_html(report: Report, extras: Extras | None = None) -> str:
    """The page as text."""
    extras = extras or Extras()
    banner = ' <span class="rehearsal">REHEARSAL</span>' if report.rehearsal else ""
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title(report))}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>",
        f"<h1>{escape(title(report))}{banner}</h1>",
        "<h2>Results</h2>",
        _results(report),
        _list([legend(report), *report.notes]),
        *_intervals(report),
        *(_section_of(part.title, part.heads, part.rows, part.note) for part in sections(report)),
        "<h2>Importance</h2>\n" + picture if (picture := _importance(report)) else "",
        _curves(extras),
    ]
    if report.sanity:
        heads, rows = sanity_table(report.sanity)
        parts.append(_section_of("Sanity", heads, rows, sanity_legend(report.sanity), words=2))
    if report.claims:
        claims = [
            f'<li><strong class="{one.word}">{one.word}</strong>: {escape(one.claim.say)} '
            f"<small>({escape(one.claim.on)}: {escape(grounds(one))})</small></li>"
            for one in report.claims
        ]
        parts += ["<h2>Claims</h2>", "<ul>", *claims, "</ul>", f"<p>{escape(claims_legend(len(report.claims)))}</p>"]
    if extras.commands:
        parts += ["<h2>Commands</h2>", f'<pre tabindex="0">{escape(chr(10).join(extras.commands))}</pre>']
    return "\n".join([part for part in parts if part] + ["</main>\n</body>\n</html>"]) + "\n"


def _results(report: Report) -> str:
    axes = short_names(report.axes) or ["cell"]
    heads = [*axes, "n", *report.columns]
    lines = [_opened(f"Cells by {', '.join(axes)}", heads, len(axes))]
    decimals = all_digits(report)
    for row in report.rows:
        kind = "" if row.kind == "cell" else ' class="other"'
        label = _label(report, row)
        cells = [f'<th scope="row">{escape(label[0])}</th>', *(f'<td class="word">{escape(text)}</td>' for text in label[1:])]
        cells.append(f"<td>{replicates(row.n, row.asked) if row.replicated else ''}</td>")
        cells += [_value(row, metric, decimals[metric]) for metric in report.columns]
        lines.append(f"<tr{kind}>{''.join(cells)}</tr>")
        said = [*row.missing, *row.flags]
        if said:
            lines.append(f'<tr><td class="word warn" colspan="{len(heads)}">{escape("; ".join(said))}</td></tr>')
    return "\n".join([*lines, "</tbody>\n</table></div>"])


def _opened(caption: str, heads: Sequence[str], words: int) -> str:
    cells = "".join(f'<th scope="col"{_word(index < words)}>{escape(head).replace("/", "/<wbr>")}</th>' for index, head in enumerate(heads))
    return f'<div class="scroll" tabindex="0"><table>\n<caption>{escape(caption)}</caption>\n<thead><tr>{cells}</tr></thead>\n<tbody>'


def _word(yes: bool) -> str:
    return ' class="word"' if yes else ""


def _label(report: Report, row: Row) -> list[str]:
    if row.cell is None or not report.axes:
        return [row.name] + [""] * (max(1, len(report.axes)) - 1)
    return [axis_value(row.cell[axis]) if axis in row.cell else "" for axis in report.axes]


def _value(row: Row, metric: str, decimals: int) -> str:
    value = row.metrics.get(metric, Value())
    parts = []
    if value.mean is not None:
        number = f"{value.mean:.{decimals}f}"
        url = next((url for url in value.urls if url and url.startswith(("http://", "https://"))), None)
        parts.append((f'<a href="{escape(url)}">{number}</a>' if url else number) + escape(mark(value)))
    if value.ci is not None:
        parts.append(f"<small>{escape(half_width(value, decimals))}</small>")
    if value.reported is not None:
        parts.append(f"({value.reported:.{decimals}f})")
    if value.difference is not None:
        parts.append(escape(difference(value, decimals)))
    opened = '<td class="best">' if value.best else "<td>"
    return f"{opened}{' '.join(parts)}</td>"


def _section_of(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], note: str, *, words: int = 1) -> str:
    lines = [f"<h2>{escape(name)}</h2>", _opened(name, heads, words)]
    for row in rows:
        cells = [
            f"<td{' class=' + chr(34) + 'word' + chr(34) if index + 1 < words else ''}>{escape(text)}</td>"
            for index, text in enumerate(row[1:])
        ]
        lines.append(f'<tr><th scope="row">{escape(row[0])}</th>{"".join(cells)}</tr>')
    lines.append("</tbody>\n</table></div>")
    return "\n".join([*lines, f"<p>{escape(note)}</p>"] if note else lines)


def _intervals(report: Report) -> list[str]:
    """One interval plot for each column of a benchmark."""
    out = []
    for metric in report.columns:
        found = [
            Estimate(row.name, value.mean, value.ci, value.reported, value.best, row.kind == "baseline")
            for row in report.rows
            if (value := row.metrics.get(metric)) is not None and (value.mean is not None or value.reported is not None)
        ]
        if any(one.mean is not None for one in found):
            label = f"{metric}, {'percent' if is_percent(metric) else 'fraction'}"
            cut = f", the first {PLOTTED} of {len(found)} rows" if len(found) > PLOTTED else ""
            picture = intervals(found[:PLOTTED], Look(), label=label, note="95 % intervals" + cut)
            out.append(_figure(picture, f"Means and 95 % intervals of {metric}; the numbers stand in the table of results"))
    return ["<h2>Intervals</h2>", *out] if out else []


def _importance(report: Report) -> str:
    if report.ablation is None or not report.ablation.importance:
        return ""
    bars = [Share(axis, share) for axis, share in report.ablation.importance]
    label = f"share of the spread of {report.ablation.metric} between cells, percent"
    return _figure(importance(bars, Look(), label=label, note=report.ablation.method), "Importance of each axis, as in the table above")


def _curves(extras: Extras) -> str:
    if not extras.curves:
        return ""
    picture = curves(
        extras.curves, Look(), x_label="step", y_label=extras.curve_metric, note="mean over seeds; band: lowest to highest seed"
    )
    return "<h2>Learning curves</h2>\n" + _figure(picture, f"{extras.curve_metric} by step, a line for each cell")


def _figure(svg: bytes, words: str) -> str:
    """The picture as data, so that names inside of one SVG never meet those of another."""
    return f'<figure><img alt="{escape(words)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"></figure>'


def _list(lines: Sequence[str]) -> str:
    return "\n".join(["<ul>", *(f"<li>{escape(line)}</li>" for line in lines), "</ul>"])
