"""The report as LaTeX: booktabs tables in a document that compiles as it is (pdflatex, with texlive's base and recommended packages)."""

from __future__ import annotations

from collections.abc import Sequence

from core.analysis.report import Report, Row, Value
from dashboards.report.claims import grounds
from dashboards.report.claims import legend as claims_legend
from dashboards.report.numbers import all_digits, axis_value, difference, half_width, legend, mark, replicates, short_names, title
from dashboards.report.sanity import sanity_table
from dashboards.report.sections import Section, sections

SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"{''}", "`": r"\`{}", "±": r"$\pm$", "–": "--", "—": "---",
    "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$", "≥": r"$\geq$", "≤": r"$\leq$",
}  # fmt: skip
"""What LaTeX would not print as it stands; what else is outside of ASCII is printed as its code point, which every engine can."""

HEAD = r"""\documentclass{article}
\usepackage[landscape,margin=1.5cm]{geometry}
\usepackage{booktabs}
\usepackage{longtable}
\setlength{\tabcolsep}{4pt}
\setlength{\parindent}{0pt}
\begin{document}
\small
"""


def escape(text: str) -> str:
    """Text that LaTeX prints as it is, whatever it holds: no command, no comment, no unprintable character."""
    return "".join(SPECIAL.get(character) or _plain(character) for character in " ".join(text.split()))


def _plain(character: str) -> str:
    if " " <= character <= "~":
        return character
    return f"[U+{ord(character):04X}]"


def breakable(text: str) -> str:
    """Escaped text that may break after a slash, an underscore or a dot."""
    out = escape(text)
    for sign in ("/", r"\_", "."):
        out = out.replace(sign, sign + r"\allowbreak{}")
    return out


def render_latex(report: Report) -> str:
    """A whole document: the table, notes, the parts of the ablation, sanity and claims; the best mean of a column in bold."""
    axes = short_names(report.axes) or ["cell"]
    lines = [HEAD + r"\section*{" + escape(title(report)) + "}"]
    if report.rehearsal:
        lines.append(r"\textbf{REHEARSAL}\par")
    chunks = [report.columns[start : start + 4] for start in range(0, len(report.columns), 4)] or [()]
    decimals = all_digits(report)
    for columns in chunks:
        heads = [*axes, "n", *columns]
        rows = [[*_label(report, row), _count(row), *(_value(row, metric, decimals[metric]) for metric in columns)] for row in report.rows]
        lines += _table(heads, rows, len(axes), _rules(report.rows))
    lines += [
        r"\begin{itemize}",
        *(rf"\item {breakable(note)}" for note in (legend(report), *_reasons(report), *report.notes)),
        r"\end{itemize}",
    ]
    for section in sections(report):
        lines += _section(section)
    if report.sanity:
        named, measured = sanity_table(report.sanity)
        lines += _section(Section("Sanity", named, tuple(measured)))
    if report.claims:
        lines += [r"\subsection*{Claims}", r"\begin{itemize}"]
        for one in report.claims:
            about = f"({breakable(one.claim.on)}: {breakable(grounds(one))})"
            lines.append(rf"\item \textbf{{{one.word}}}: {breakable(one.claim.say)} {about}")
        lines += [r"\end{itemize}", breakable(claims_legend(len(report.claims)))]
    return "\n".join([*lines, r"\end{document}"]) + "\n"


def _section(section: Section) -> list[str]:
    rows = [[breakable(row[0]), *map(escape, row[1:])] for row in section.rows]
    lines = [rf"\subsection*{{{escape(section.title)}}}", *_table(section.heads, rows, 1, set())]
    return [*lines, breakable(section.note) + r"\par"] if section.note else lines


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int, rules: set[int]) -> list[str]:
    """Escaped rows under heads; ``words`` columns on the left are text, the others numbers; a rule above the rows in ``rules``."""
    width = min(6.0, 9.0 / words)
    columns = rf"@{{}}*{{{words}}}{{p{{{width}cm}}}}" + "r" * (len(heads) - words) + "@{}"
    lines = [rf"\begin{{longtable}}{{{columns}}}", r"\toprule", " & ".join(map(_head, heads)) + r" \\", r"\midrule", r"\endhead"]
    for number, row in enumerate(rows):
        lines += [r"\midrule"] if number in rules else []
        lines.append(" & ".join(row) + r" \\")
    return [*lines, r"\bottomrule", r"\end{longtable}"]


def _head(text: str) -> str:
    """A metric on two lines: its benchmark above."""
    above, slash, below = text.partition("/")
    return rf"\shortstack{{{escape(above)}\\{escape(below)}}}" if slash else escape(text)


def _rules(rows: Sequence[Row]) -> set[int]:
    return {number for number in range(1, len(rows)) if rows[number].kind != rows[number - 1].kind}


def _label(report: Report, row: Row) -> list[str]:
    if row.cell is None or not report.axes:
        return [breakable(row.name)] + [""] * (max(1, len(report.axes)) - 1)
    return [breakable(axis_value(row.cell[axis])) if axis in row.cell else "" for axis in report.axes]


def _count(row: Row) -> str:
    return replicates(row.n, row.asked) if row.replicated else ""


def _value(row: Row, metric: str, decimals: int) -> str:
    value = row.metrics.get(metric, Value())
    parts = []
    if value.mean is not None:
        number = f"{value.mean:.{decimals}f}"
        sign = rf"\textsuperscript{{{escape(mark(value))}}}" if mark(value) == "^" else mark(value)
        parts.append(rf"\textbf{{{number}}}{sign}" if value.best else number)
    if value.ci is not None:
        parts.append(escape(half_width(value, decimals)))
    if value.reported is not None:
        parts.append(f"({value.reported:.{decimals}f})")
    if value.difference is not None:
        parts.append(escape(difference(value, decimals)).replace("-", "$-$"))
    return " ".join(parts)


def _reasons(report: Report) -> list[str]:
    return [f"{row.name}: {'; '.join([*row.missing, *row.flags])}" for row in report.rows if row.missing or row.flags]
