"""Preemption and the time limit are told apart by the allocation's own clock."""

from __future__ import annotations

import signal

import pytest

from core.run.leaving import Allocation

FOUR_HOURS = Allocation(warned=4 * 3600 - 150, began=1000.0)


def test_a_warning_long_before_the_limit_is_a_preemption() -> None:
    assert FOUR_HOURS.why(signal.SIGUSR2, now=1000.0 + 600) == "preempted"


def test_a_warning_near_the_limit_is_that_of_the_limit() -> None:
    assert FOUR_HOURS.why(signal.SIGUSR2, now=1000.0 + 4 * 3600 - 100) == "time_limit"


def test_an_order_to_leave_is_somebodys_wish() -> None:
    assert FOUR_HOURS.why(signal.SIGTERM, now=1000.0 + 600) == "stop"


def test_on_ones_own_machine_nothing_is_preempted() -> None:
    assert Allocation().why(signal.SIGUSR2) == "stop"


def test_the_beginning_is_the_batch_scripts_and_not_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_JOB_BEGAN", "1234")
    monkeypatch.setenv("SWEEP_JOB_ID", "12_3")
    monkeypatch.setenv("SWEEP_JOB_RESTART", "2")
    assert Allocation.read({"warned": 50.0}) == Allocation(50.0, 1234.0, "12_3", 2)
