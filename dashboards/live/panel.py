"""The panel of a terminal: pure rendering of a sweep's progress at any width."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from core.control.states import TRIAL_STATES
from dashboards.live.progress import ScoringProgress, SweepProgress, TrialProgress, duration

STYLES = {
    "blocked": "dim", "pending": "dim", "running": "cyan", "unknown": "yellow", "completed": "green", "failed": "bold red",
    "cancelled": "magenta", "pruned": "magenta", "held": "yellow",
}  # fmt: skip


def panel(progress: SweepProgress, endings: Sequence[TrialProgress], *, width: int, height: int) -> RenderableType:
    """The whole panel.

    Args:
        progress: the sweep now.
        endings: trials that have ended since the view began, the newest last.
        width: of the terminal, in columns.
        height: of the terminal, in lines: what does not fit is counted, not shown.
    """
    rows = max(2, height - 14)
    parts: list[RenderableType] = []
    if progress.rehearsal:
        parts.append(Text("REHEARSAL: tiny random models, generated data; no number here is a result", style="bold yellow"))
    if progress.held:
        parts.append(Text("HELD: no trial is taken up while the workspace's HOLD file is there", style="bold yellow"))
    parts += [_bar(progress, width), _counts(progress)]
    running = [trial for trial in progress.trials if trial.state in ("running", "unknown")]
    if running:
        parts += [Text(), _running(running[:rows], width)]
        if len(running) > rows:
            parts.append(Text(f"and {len(running) - rows} more", style="dim"))
    if progress.scorings:
        parts += [Text(), *(_scoring(scoring) for scoring in progress.scorings[:4])]
        if len(progress.scorings) > 4:
            parts.append(Text(f"and {len(progress.scorings) - 4} more scorings", style="dim"))
    recent = endings[-min(5, max(2, rows - len(running))) :]
    if recent:
        parts += [Text(), *(_ending(trial) for trial in recent)]
    if progress.trouble:
        parts += [Text(), _line(("note: ", "yellow"), (progress.trouble, ""))]
    parts += [Text(), Text(f"Ctrl-C detaches; `sweep cancel {progress.sweep}` stops", style="dim")]
    title = Text(f"{progress.sweep}@{progress.revision}", style="bold")
    return Panel(Group(*parts), title=title, title_align="left", width=width)


def _line(*parts: tuple[str, str]) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for words, style in parts:
        text.append(words, style)
    return text


def _bar(progress: SweepProgress, width: int) -> RenderableType:
    done = sum(1 for trial in progress.cells if not trial.open)
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_row(
        ProgressBar(total=1.0, completed=progress.fraction, width=max(10, min(60, width - 36))),
        Text(f"{progress.fraction:4.0%}  {done}/{len(progress.cells)} trials ended"),
    )
    return grid


def _counts(progress: SweepProgress) -> Text:
    text = Text("trials  ")
    for number, (state, count) in enumerate(progress.counts().items()):
        text.append("  " if number else "").append(f"{count} {state}", STYLES[state])
    if progress.score_counts:
        text.append("\nscorings")
        for state in TRIAL_STATES:
            if progress.score_counts.get(state):
                text.append(f"  {progress.score_counts[state]} {state}", STYLES[state])
    text.append(f"\nworkers   {progress.workers}")
    return text


def _steps(trial: TrialProgress) -> str:
    return f"{trial.step}/{trial.total}" if trial.total else (str(trial.step) if trial.step else "starting")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


Column = tuple[str, int, Callable[[TrialProgress], str]]
COLUMNS: tuple[Column, ...] = (
    ("seed", 0, lambda t: str(t.seed)),
    ("step", 0, _steps),
    ("loss", 70, lambda t: _number(t.loss, ".3f")),
    ("accuracy", 80, lambda t: _number(t.accuracy, ".3f")),
    ("ETA", 60, lambda t: duration(t.eta) if t.eta is not None else ""),
    ("pairs/s", 95, lambda t: _number(t.pairs_per_second, ".3g")),
    ("worker", 120, lambda t: t.worker),
)
"""Heading, smallest width of the terminal at which it is shown, and the text."""


def _running(trials: Sequence[TrialProgress], width: int) -> Table:
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("running", ratio=1, no_wrap=True, overflow="ellipsis")
    shown = [column for column in COLUMNS if width >= column[1]]
    for heading, _, _ in shown:
        table.add_column(heading, justify="left" if heading == "worker" else "right", no_wrap=True)
    for trial in trials:
        cell = Text(trial.cell, style=STYLES[trial.state])
        if trial.attempt > 1:
            cell.append(f"  attempt {trial.attempt}", "dim")
        if trial.state == "unknown":
            cell.append("  no sign of life", "yellow")
        table.add_row(cell, *(Text(text(trial)) for _, _, text in shown))
    return table


def _scoring(scoring: ScoringProgress) -> Text:
    done = f"  {scoring.done}/{scoring.total}" if scoring.total else ""
    return _line(("scoring  ", "dim"), (f"{scoring.benchmark}{done}  ", ""), (scoring.scorer, "cyan"))


def _ending(trial: TrialProgress) -> Text:
    why = trial.cause or (trial.reason if trial.state != "completed" else "")
    accuracy = f"  accuracy {trial.accuracy:.3f}" if trial.state == "completed" and trial.accuracy is not None else ""
    return _line((f"{trial.state:<9}", STYLES[trial.state]), (f"  {trial.name}{accuracy}", ""), (f"  {why}" if why else "", "red"))
