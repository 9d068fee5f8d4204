"""Verdicts on claims, in words, for a terminal and below the table of a report."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from core.analysis.report import is_percent
from core.analysis.verdicts import Verdict
from dashboards.report.numbers import FRACTION_DIGITS

MARKS = {"supported": "+", "contradicted": "x", "undecided": "?"}


def claim_lines(verdicts: Sequence[Verdict], width: int) -> list[str]:
    """Two or three lines a claim: the verdict with what was claimed, then what it rests on."""
    lines = []
    for one in verdicts:
        lines += _wrapped(f"{MARKS[one.word]} {one.word}: {one.claim.say}", width, "  ")
        lines += _wrapped(f"    {one.claim.on}: {grounds(one)}", width, "    ")
    return lines


def grounds(one: Verdict) -> str:
    """What a verdict rests on: the difference, its p value after Holm, and why."""
    step = one.decisive
    if step is None or step.estimate is None or one.adjusted is None:
        return one.reason
    decimals = 2 if is_percent(one.claim.on) else FRACTION_DIGITS + 1
    p = "p < 0.0001" if one.adjusted < 0.0001 else f"p = {one.adjusted:.4f}"
    margin = f", margin {one.claim.within:g}" if one.claim.within else ""
    return (
        f"{step.estimate.difference:+.{decimals}f} ± {step.estimate.se:.{decimals}f} (standard error{margin}), {p} after Holm; {one.reason}"
    )


def legend(count: int) -> str:
    """What the verdicts are."""
    return f"Claims at 5 % after Holm over {count}; a difference is given with more being better."


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    flat = "".join(character if character.isprintable() else " " for character in text)
    return textwrap.wrap(flat, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
