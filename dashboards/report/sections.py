"""The parts of an ablation as plain tables of text, the same for every format that people read."""

from __future__ import annotations

from dataclasses import dataclass

from core.analysis.effects import Ablation, Level
from core.analysis.report import Report, is_percent
from dashboards.report.numbers import FRACTION_DIGITS, axis_value, short_names, signed


@dataclass(frozen=True)
class Section:
    """A titled table: heads, rows of text (the first column is words, the others numbers), and a sentence below."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def sections(report: Report) -> list[Section]:
    """One-factor tables, full-factor tables, effects, importance and cost, as far as there are any."""
    found = report.ablation
    if found is None:
        return []
    decimals = 2 if is_percent(found.metric) else FRACTION_DIGITS
    names = dict(zip(report.axes, short_names(report.axes), strict=True))
    return [*_factors(found, names, decimals), *_cross(found, names, decimals), *_importance(found, names), *_cost(found, decimals)]


def _factors(found: Ablation, names: dict[str, str], decimals: int) -> list[Section]:
    out = []
    for factor in found.factors:
        rows = tuple(_level(level, index == 0, decimals) for index, level in enumerate(factor.levels))
        heads = (names[factor.axis], found.metric, "less base", "95 % interval", "p (Holm)")
        out.append(Section(f"{names[factor.axis]} alone, from the base cell {found.base}", heads, rows))
    if out and found.notes:
        out[-1] = Section(out[-1].title, out[-1].heads, out[-1].rows, " ".join(found.notes))
    return out


def _level(level: Level, base: bool, decimals: int) -> tuple[str, ...]:
    name = axis_value(level.value) + (" (base)" if base else "")
    mean = f"{level.mean:.{decimals}f}"
    if level.difference is None or level.ci is None:
        return (name, mean, "", "", "")
    interval = f"[{level.ci[0]:+.{decimals}f}, {level.ci[1]:+.{decimals}f}]"
    return (name, mean, signed(level.difference, decimals), interval, "" if level.adjusted is None else p_value(level.adjusted))


def _cross(found: Ablation, names: dict[str, str], decimals: int) -> list[Section]:
    out = []
    if found.means:
        rows = [(names[one.axis], axis_value(level.value), f"{level.mean:.{decimals}f}") for one in found.means for level in one.levels]
        out.append(Section("Means over all other axes", ("axis", "value", found.metric), tuple(rows)))
    if found.effects:
        effects = [
            (" x ".join(names[axis] for axis in one.axes), f"{100 * one.share:.1f}", "" if one.p is None else p_value(one.p))
            for one in found.effects
        ]
        note = "Share of the spread between cells; p by the F test against the spread within cells, where there are replicates."
        out.append(Section("Main effects and interactions", ("effect", "share, %", "p"), tuple(effects), note))
    return out


def _importance(found: Ablation, names: dict[str, str]) -> list[Section]:
    rows = tuple((names[axis], f"{100 * share:.1f}") for axis, share in found.importance)
    return [Section(f"Importance of each axis ({found.method})", ("axis", "share, %"), rows)] if rows else []


def _cost(found: Ablation, decimals: int) -> list[Section]:
    known = [cost for cost in found.costs if cost.hours is not None or cost.tokens is not None or cost.example_seconds is not None]
    rows = tuple(
        (
            cost.cell + (" (front)" if cost.front else ""), f"{cost.quality:.{decimals}f}", _number(cost.hours, ".3g"),
            _number(cost.tokens, ",.0f"), _number(cost.example_seconds, ".3g"),
        )
        for cost in known
    )  # fmt: skip
    heads = ("cell", found.metric, "GPU-hours", "tokens", "s / example")
    note = "GPU-hours: wall-clock hours of all attempts times GPUs (one where there is none); (front): no other cell is better and cheaper."
    return [Section("Cost beside quality", heads, rows, note)] if rows else []


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else f"{value:{form}}"


def p_value(p: float) -> str:
    """``0.0123``, ``<0.0001``."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def text_lines(section: Section, width: int) -> list[str]:
    """A section in columns; the first column is shortened where the line is too long."""
    rows = [section.heads, *section.rows]
    widths = [max(len(row[index]) for row in rows) for index in range(len(section.heads))]
    widths[0] = max(8, min(widths[0], width - sum(widths[1:]) - 2 * (len(widths) - 1)))
    return [
        "  ".join(
            (text if len(text) <= size else text[: size - 1] + "…").ljust(size) if index == 0 else text.rjust(size)
            for index, (text, size) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
