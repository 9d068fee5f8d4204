"""Preemption and the time limit are told apart by the allocation's own clock."""

from __future__ import annotations

import signal

import pytest

from core.run.leaving import Allocation, Word, end_without_word, settled

FOUR_HOURS = Allocation(warned=4 * 3600 - 150, began=1000.0)


def test_a_warning_long_before_the_limit_is_a_preemption() -> None:
    assert FOUR_HOURS.why(signal.SIGUSR2, now=1000.0 + 600) == "preempted"


def test_a_warning_near_the_limit_is_that_of_the_limit() -> None:
    assert FOUR_HOURS.why(signal.SIGUSR2, now=1000.0 + 4 * 3600 - 100) == "time_limit"


def test_nothing_is_taken_up_that_could_not_save_before_the_limit() -> None:
    shown = Allocation(warned=4 * 3600 - 150, began=1000.0, limit=4 * 3600, useful=1200.0)
    assert shown.late(1000.0 + 4 * 3600 - 150 - 1201) is None
    assert shown.late(1000.0 + 4 * 3600 - 150 - 1200) == "its time limit is near"
    unknown = Allocation(warned=3600 - 150, began=0.0, limit=3600)
    assert unknown.late(3600 - 150 - 361) is None and unknown.late(3600 - 150 - 360), "a tenth where nothing was measured"
    assert Allocation().late(1e9) is None, "no limit"


def test_an_order_to_leave_is_somebodys_wish() -> None:
    assert FOUR_HOURS.why(signal.SIGTERM, now=1000.0 + 600) == "stop"


def test_a_limit_that_the_scheduler_has_cut_moves_the_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--time-min`` lets it, and then the warning comes at what looked like the time of a preemption."""
    monkeypatch.setenv("SWEEP_JOB_BEGAN", "1000")
    orders = Allocation.read({"warned": 4 * 3600.0 - 150, "limit": 4 * 3600.0})
    at = 1000.0 + 3600 - 90
    assert orders.why(signal.SIGUSR2, at) == "preempted"
    given = orders.lasting(3600.0)
    assert given.why(signal.SIGUSR2, at) == "time_limit" and given.limit == 3600.0
    assert given.why(signal.SIGUSR2, at - 120) == "preempted"
    assert given.late(at) and not orders.late(at)
    assert orders.lasting(None) == orders and orders.lasting(5 * 3600.0) == orders


def test_an_order_to_leave_is_what_the_scheduler_says_it_is() -> None:
    stopped = {"state": "interrupted", "ask": "stop", "message": "stop at step 4"}
    assert settled(stopped, lambda: Word(preempted=True))["state"] == "preempted"
    for word in (Word(ending=True), Word(), None):
        assert settled(stopped, lambda word=word: word) == stopped  # type: ignore[misc]
    assert settled(stopped, None) == stopped
    paused = {"state": "interrupted", "ask": "pause"}
    assert settled(paused, lambda: Word(preempted=True)) == paused, "somebody's own wish"


def test_ranks_that_slurm_alone_has_told_to_leave_have_not_failed() -> None:
    assert end_without_word(signal.SIGTERM, None, FOUR_HOURS) is None
    assert end_without_word(signal.SIGTERM, None, FOUR_HOURS, lambda: Word()) is None, "somebody killed one of them"
    fields = end_without_word(signal.SIGTERM, None, FOUR_HOURS, lambda: Word(preempted=True))
    assert fields is not None and fields["state"] == "preempted"


def test_on_ones_own_machine_nothing_is_preempted() -> None:
    assert Allocation().why(signal.SIGUSR2) == "stop"


def test_the_beginning_is_the_batch_scripts_and_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_JOB_BEGAN", "1234")
    monkeypatch.setenv("SWEEP_JOB_ID", "12_3")
    monkeypatch.setenv("SWEEP_JOB_RESTART", "2")
    assert Allocation.read({"warned": 50.0}) == Allocation(50.0, 1234.0, "12_3", 2)
