"""The live view: what a terminal of any width shows, and what a log file gets."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from dashboards.live import LiveView, ScoringProgress, SweepProgress, TrialProgress
from dashboards.live.panel import panel
from dashboards.live.progress import duration

RUNNING = TrialProgress(
    "b" * 32, "head.layers=2 head.activation=silu optim.lr=3e-06", 0, "running", attempt=2, step=31, total=60, loss=0.31234,
    accuracy=0.8125, pairs_per_second=12.34, eta=75.2, worker="rs-head-0001",
)  # fmt: skip
DONE = TrialProgress("a" * 32, "head.activation=[none]", 0, "completed", attempt=1, step=60, total=60, accuracy=0.95)
FAILED = TrialProgress("e" * 32, "head.layers=5", 1, "failed", attempt=3, cause="nan_loss", reason="attempt 3 failed: nan_loss, 3 times")
WAITING = TrialProgress("f" * 32, "head.layers=4", 0, "pending")
SWEEP = SweepProgress(
    "head_ablation", 2, False, [DONE, RUNNING, FAILED, WAITING],
    scorings=[ScoringProgress("head.activation=[none] seed=0", "vl_rewardbench", 400, 1250)], score_counts={"running": 1, "pending": 3},
    workers=2,
)  # fmt: skip


def drawn(progress: SweepProgress, width: int, height: int = 40, endings: tuple[TrialProgress, ...] = ()) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(panel(progress, endings, width=width, height=height))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 100, 160])
def test_the_panel_fits_any_width_and_names_what_matters(width: int) -> None:
    text = drawn(SWEEP, width, endings=(DONE, FAILED))
    assert all(cell_len(line) == width for line in text.splitlines())
    for part in ("head_ablation@2", "2/4 trials ended", "31/60", "1m15s", "400/1250", "nan_loss", "sweep cancel head_ablation"):
        assert part in text
    assert "head.activation=[none]" in text  # brackets are text, not markup
    assert ("0.812" in text) == (width >= 100)
    assert ("12.3" in text) == (width >= 100)
    assert ("rs-head-0001" in text) == (width >= 160)


def test_states_stand_in_a_fixed_order() -> None:
    text = drawn(SWEEP, 100)
    assert "1 pending  1 running  1 completed  1 failed" in text


def test_a_rehearsal_and_a_hold_say_so() -> None:
    assert "REHEARSAL" not in drawn(SWEEP, 100)
    assert "REHEARSAL" in drawn(replace(SWEEP, rehearsal=True), 100)
    assert "HELD" in drawn(replace(SWEEP, held=True), 100)


def test_what_does_not_fit_is_counted() -> None:
    many = [replace(RUNNING, id=f"{n:032d}", cell=f"cell-{n}") for n in range(50)]
    text = drawn(replace(SWEEP, trials=many, scorings=()), 100, height=24)
    assert "and 40 more" in text
    assert len(text.splitlines()) <= 24


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def plain(clock: Clock) -> tuple[LiveView, io.StringIO]:
    file = io.StringIO()
    return LiveView(Console(file=file, width=60, force_terminal=False), clock=clock, wall=lambda: 0.0), file


def with_states(**states: str) -> SweepProgress:
    trials = [replace(WAITING, id=name * 32, cell=f"cell={name}", state=state, attempt=1) for name, state in states.items()]
    return SweepProgress("s", 1, True, trials)


def test_a_log_gets_one_line_for_each_change() -> None:
    view, file = plain(Clock())
    with view:
        view.update(with_states(a="pending", b="pending"))
        for _ in range(3):
            view.update(with_states(a="running", b="pending"))
        progress = with_states(a="completed", b="running")
        view.update(replace(progress, trials=[replace(progress.trials[0], accuracy=0.9), progress.trials[1]]))
        progress = with_states(a="completed", b="failed")
        failed = replace(progress.trials[1], cause="host_oom", reason="attempt 1 failed: host_oom")
        view.update(replace(progress, trials=[progress.trials[0], failed]))
    lines = [line.split(" ", 1)[1] for line in file.getvalue().splitlines()]
    assert lines == [
        "s@1 REHEARSAL: 2 trials: 2 pending",
        "started   cell=a seed=0 (aaaaaaaaaa)",
        "finished  cell=a seed=0 (aaaaaaaaaa), accuracy 0.900",
        "started   cell=b seed=0 (bbbbbbbbbb)",
        "failed    cell=b seed=0 (bbbbbbbbbb): host_oom: attempt 1 failed: host_oom; sweep explain bbbbbbbbbb",
    ]
    assert "\x1b" not in file.getvalue()


def test_a_retried_trial_is_told_from_a_finished_one() -> None:
    view, file = plain(Clock())
    view.update(with_states(a="running"))
    waiting = with_states(a="pending")
    view.update(replace(waiting, trials=[replace(waiting.trials[0], reason="attempt 1 ended: lost")]))
    again = with_states(a="running")
    view.update(replace(again, trials=[replace(again.trials[0], attempt=2)]))
    assert "again     cell=a seed=0 (aaaaaaaaaa): attempt 1 ended: lost" in file.getvalue()
    assert "started   cell=a seed=0 (aaaaaaaaaa), attempt 2" in file.getvalue()


def test_a_quiet_log_gets_a_heartbeat_every_half_minute() -> None:
    clock = Clock()
    view, file = plain(clock)
    for _ in range(65):
        view.update(replace(SWEEP, trials=[RUNNING, WAITING]))
        clock.now += 1
    beats = [line for line in file.getvalue().splitlines() if "at step 31/60" in line]
    assert len(beats) == 2
    assert "26%, trials: 1 pending, 1 running; scorings: 1 running, 3 pending" in beats[0]


def test_trouble_beside_the_sweep_is_said_once_until_it_is_over() -> None:
    view, file = plain(Clock())
    for trouble in (None, "away", "away", None, "away"):
        view.update(replace(SWEEP, trouble=trouble))
    assert file.getvalue().count("note: away") == 2


def test_a_terminal_is_redrawn_a_few_times_a_second_at_most_and_ends_with_the_last_state() -> None:
    clock = Clock()
    file = io.StringIO()
    with LiveView(Console(file=file, width=100, height=40, force_terminal=True, color_system=None), clock=clock) as view:
        for step in range(100):
            view.update(replace(SWEEP, trials=[replace(RUNNING, step=step, total=99)]))
            clock.now += 0.01
        view.say("a line that stays")
        view.update(replace(SWEEP, trials=[replace(RUNNING, state="completed")]))
    text = file.getvalue()
    assert text.count("head_ablation@2") <= 8
    assert "a line that stays" in text
    assert text.rstrip().rfind("1/1 trials ended") > text.rfind("a line that stays")
    assert "\x1b[?25h" in text  # the cursor is back


def test_durations_read_well() -> None:
    assert [duration(s) for s in (4.4, 190, 7500, 273600)] == ["4s", "3m10s", "2h05m", "3d04h"]
