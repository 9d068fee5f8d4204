"""The daily digest and the summary of a finished sweep: what has ended, what failed and why, what is best, what it cost.

Facts in, Markdown or HTML out (pure). Where it goes, a file, a webhook or a mail command, is said in :mod:`sweeps.digest`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any


@dataclass(frozen=True)
class Best:
    """The best cell of a column, and how sure that is in words."""

    metric: str
    cells: Sequence[str]
    words: str


@dataclass(frozen=True)
class SweepNews:
    """What is new of a sweep.

    Attributes:
        sweep: its id.
        rehearsal: whether its numbers say nothing about the models named.
        counts: trials by state now.
        ended: trials that ended in the time that the digest is about, by state.
        failed: of the trials that are failed now: by cause their number, and what helps.
        hours: of attempts in that time, and the GPU-hours.
        complete: whether nothing of it is left to do.
        best: of each column of its table; empty where nothing is scored.
        table: the ablation table as Markdown, for a sweep that is complete; else ``None``.
    """

    sweep: str
    rehearsal: bool
    counts: Mapping[str, int]
    ended: Mapping[str, int]
    failed: Mapping[str, tuple[int, str]]
    hours: tuple[float, float]
    complete: bool
    best: Sequence[Best] = field(default_factory=list)
    table: str | None = None


@dataclass(frozen=True)
class Digest:
    """All of it: since when (unix seconds), made when, of which workspace, and whether anything was asked about that did not move."""

    since: float
    made: float
    news: Sequence[SweepNews]
    quiet: Sequence[str] = ()

    @property
    def subject(self) -> str:
        """One line for a mail or a message."""
        failed = sum(number for one in self.news for number, _ in one.failed.values())
        done = [one.sweep for one in self.news if one.complete]
        parts = [f"{', '.join(done)} complete"] if done else []
        parts += [f"{sum(sum(one.ended.values()) for one in self.news)} trials ended"]
        parts += [f"{failed} failed"] if failed else []
        return "RewardSweep: " + ", ".join(parts)


def clock(seconds: float) -> str:
    """Date and time in the zone of whoever makes it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def counted(counts: Mapping[str, int]) -> str:
    """``3 completed, 1 failed``."""
    return ", ".join(f"{number} {name}" for name, number in counts.items() if number) or "none"


def _plain(text: str) -> str:
    """A name in Markdown: what would be taken for markup is not."""
    return "".join(f"\\{letter}" if letter in "\\`*_[]<>|#" else letter for letter in text)


def markdown(digest: Digest) -> str:
    """The digest as Markdown that ends in a newline."""
    lines = [f"# {_plain(digest.subject)}", "", f"From {clock(digest.since)} to {clock(digest.made)}."]
    for one in digest.news:
        lines += ["", f"## {_plain(one.sweep)}" + (" (complete)" if one.complete else ""), ""]
        lines += ["**Rehearsal**: no number here is a result.", ""] if one.rehearsal else []
        lines += [f"- now: {counted(one.counts)}", f"- ended in this time: {counted(one.ended)}"]
        lines += [f"- attempts in this time: {one.hours[0]:.2f} hours, {one.hours[1]:.2f} GPU-hours"]
        lines += [f"- failed, {_plain(cause)}: {number}. {_plain(advice)}" for cause, (number, advice) in one.failed.items()]
        lines += [f"- {_plain(best.metric)}: {_plain(', '.join(best.cells))} {_plain(best.words)}" for best in one.best]
        lines += ["", one.table.rstrip()] if one.table else []
    if digest.quiet:
        lines += ["", f"Nothing new: {_plain(', '.join(digest.quiet))}."]
    return "\n".join(lines) + "\n"


STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1c1f23;background:#fff}"
    "table{border-collapse:collapse}td,th{border-bottom:1px solid #d5dae0;padding:3px 9px;text-align:left}"
    "@media(prefers-color-scheme:dark){body{color:#e8e8e8;background:#15181d}td,th{border-color:#343a43}}"
)


def html(digest: Digest) -> str:
    """The digest as one HTML page without scripts, that asks nothing of another host."""
    parts = [
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(digest.subject)}</title>',
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(digest.subject)}</h1>\n<p>From {clock(digest.since)} to {clock(digest.made)}.</p>",
    ]
    for one in digest.news:
        parts.append(f"<h2>{escape(one.sweep)}{' (complete)' if one.complete else ''}</h2>")
        parts += ["<p><strong>Rehearsal</strong>: no number here is a result.</p>"] if one.rehearsal else []
        rows = [
            ("now", counted(one.counts)), ("ended in this time", counted(one.ended)),
            ("attempts in this time", f"{one.hours[0]:.2f} hours, {one.hours[1]:.2f} GPU-hours"),
            *((f"failed, {cause}", f"{number}. {advice}") for cause, (number, advice) in one.failed.items()),
            *((best.metric, f"{', '.join(best.cells)} {best.words}") for best in one.best),
        ]  # fmt: skip
        parts.append("<table>" + "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows) + "</table>")
        parts += [f"<pre>{escape(one.table)}</pre>"] if one.table else []
    if digest.quiet:
        parts.append(f"<p>Nothing new: {escape(', '.join(digest.quiet))}.</p>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def as_json(digest: Digest) -> dict[str, Any]:
    """The stable JSON of a digest."""
    return {
        "schema": 1,
        "since": digest.since,
        "made": digest.made,
        "subject": digest.subject,
        "sweeps": [
            {
                "sweep": one.sweep, "rehearsal": one.rehearsal, "complete": one.complete, "counts": dict(one.counts),
                "ended": dict(one.ended),
                "failed": [{"cause": cause, "trials": number, "next": advice} for cause, (number, advice) in one.failed.items()],
                "hours": one.hours[0], "gpu_hours": one.hours[1],
                "best": [{"metric": best.metric, "cells": list(best.cells), "says": best.words} for best in one.best],
            }
            for one in digest.news
        ],
        "quiet": list(digest.quiet),
    }  # fmt: skip
