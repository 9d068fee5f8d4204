"""Comparisons of two cells, in words and numbers for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from core.analysis.compare import Comparison, Part
from core.analysis.report import is_percent
from dashboards.report.numbers import FRACTION_DIGITS

INDENT = "  "


def render_comparisons(comparisons: Sequence[Comparison], *, only: tuple[Sequence[str], Sequence[str]] = ((), ())) -> str:
    """A paragraph for each metric, under the names of what is compared; ends in a newline.

    Args:
        comparisons: adjusted together.
        only: cells that one of two sweeps has alone.
    """
    lines: list[str] = []
    for (a, b), group in groupby(comparisons, key=lambda one: (one.a, one.b)):
        lines += [*([""] if lines else []), f"A  {a}", f"B  {b}"]
        for one in group:
            lines += ["", *_metric(one)]
    tested = sum(one.adjusted is not None for one in comparisons)
    if tested > 1:
        lines += ["", f"p values are after Holm over {tested} comparisons; intervals are 95 %, each for itself."]
    for name, cells in zip("AB", only, strict=True):
        lines += [f"only in {name}: {cell}" for cell in cells]
    return "\n".join(lines) + "\n"


def _metric(one: Comparison) -> list[str]:
    if one.refused is not None or one.difference is None or one.means is None:
        listed = [f"{INDENT}{INDENT}{example}" for example in one.listed]
        return [f"{one.metric}: not comparable", f"{INDENT}{one.refused}", *listed, *(f"{INDENT}{note}" for note in one.notes)]
    decimals = 2 if is_percent(one.metric) else FRACTION_DIGITS + 1
    lines = [f"{one.metric}: {verdict(one)}"]
    a, b = one.means
    seeds = f"seed{'s' if len(one.seeds) > 1 else ''} {', '.join(map(str, one.seeds))}"
    lines.append(f"{INDENT}A {a:.{decimals}f}, B {b:.{decimals}f}, A - B = {one.difference:+.{decimals}f}  ({seeds})")
    lines += [f"{INDENT}{_part(part, decimals)}" for part in one.parts]
    if one.mcnemar is not None:
        table = one.mcnemar
        lines.append(
            f"{INDENT}only A is right on {table.only_a} examples, only B on {table.only_b}: "
            f"McNemar exact {_p(table.exact)}, mid-{_p(table.mid_p)}"
        )
    if one.effect is not None:
        lines.append(f"{INDENT}effect size {one.effect[0]:+.2f} standard deviations over {one.effect[1]}")
    if one.detectable is not None:
        lines.append(f"{INDENT}smallest difference found in 80 % of such comparisons: {one.detectable:.{decimals}f}")
    if one.more:
        lines.append(f"{INDENT}needs {one.more} more seed{'s' if one.more > 1 else ''} for 80 % power, if the difference is what was found")
    return [*lines, *(f"{INDENT}{note}" for note in one.notes)]


def verdict(one: Comparison) -> str:
    """What the comparison says, in a few words."""
    if one.adjusted is None or one.decisive is None:
        return "too little to test"
    about = f"{_p(one.adjusted)}, {one.decisive.evidence.test}"
    if one.better is None:
        return f"no difference shown ({about})"
    scope = "; these trained models, not other seeds" if one.decisive.over == "examples" else ""
    return f"{one.better.upper()} is better ({about}{scope})"


def _part(part: Part, decimals: int) -> str:
    low, high = part.ci
    interval = f"[{low:+.{decimals}f}, {high:+.{decimals}f}]"
    return f"over {part.over:18} n = {part.n:<5} {interval}  {_p(part.evidence.p)}  {part.evidence.test}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"
