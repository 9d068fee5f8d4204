"""States follow from evidence, in the order of its strength."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.control.derive import AttemptView, derive
from core.control.policy import RETRIES
from core.control.states import ATTEMPT_STATES, TRANSITIONS, TRIAL_STATES, diagram
from core.errors import CAUSES
from core.workspace.requests import Asked


def attempt(number: int, state: str, **more: Any) -> AttemptView:
    evidence = None if state in ("running", "unknown") else "its journal's last line"
    return AttemptView(number, state, evidence=evidence, **more)  # type: ignore[arg-type]


def test_a_result_outranks_everything() -> None:
    status = derive([attempt(1, "failed", cause="user_bug")], published=True, asked=Asked(stop="cancel"), held=True)
    assert status.state == "completed"
    assert not status.claimable


def test_a_fresh_trial_is_pending_and_hold_keeps_it() -> None:
    assert derive([], published=False).claimable
    held = derive([], published=False, held=True)
    assert (held.state, held.claimable) == ("held", False)


@pytest.mark.parametrize("cause", ["user_bug", "nan_loss", "data_error"])
def test_what_would_fail_again_is_not_retried(cause: str) -> None:
    status = derive([attempt(1, "failed", cause=cause)], published=False)
    assert (status.state, status.cause, status.claimable) == ("failed", cause, False)


def test_a_killed_attempt_is_followed_by_others_up_to_its_policy() -> None:
    views = []
    for number in range(1, RETRIES["killed"] + 2):
        assert derive(views, published=False).claimable
        views.append(attempt(number, "failed", cause="killed"))
    assert derive(views, published=False).state == "failed"


def test_a_newer_checkpoint_starts_the_count_of_failures_again() -> None:
    twice = [attempt(1, "failed", cause="crashed"), attempt(2, "failed", cause="crashed")]
    assert derive(twice, published=False).state == "failed"
    progressed = [attempt(1, "failed", cause="crashed", checkpoint=10), attempt(2, "failed", cause="crashed", checkpoint=20)]
    assert derive(progressed, published=False).claimable


def test_a_pause_holds_and_a_failure_outranks_it() -> None:
    paused = Asked(stop="pause", why="3 trials failed alike")
    status = derive([attempt(1, "interrupted")], published=False, asked=paused)
    assert (status.state, status.claimable, status.reason) == ("held", False, "paused: 3 trials failed alike")
    assert derive([attempt(1, "failed", cause="user_bug")], published=False, asked=paused).state == "failed"
    assert derive([attempt(1, "running")], published=False, asked=paused).state == "running"


def test_a_retry_forgives_what_it_has_seen_and_nothing_later() -> None:
    views = [attempt(1, "failed", cause="user_bug")]
    assert derive(views, published=False, asked=Asked(forgiven=1)).claimable
    views.append(attempt(2, "failed", cause="user_bug"))
    assert derive(views, published=False, asked=Asked(forgiven=1)).state == "failed"


def test_silence_is_unknown_and_not_claimable() -> None:
    status = derive([attempt(1, "unknown")], published=False)
    assert (status.state, status.claimable, status.evidence) == ("unknown", False, None)


def test_attempts_that_save_nothing_end_the_trial_and_progress_starts_the_count_again() -> None:
    lost = [attempt(1, "lost")]
    assert derive(lost, published=False).claimable
    assert derive([*lost, attempt(2, "lost")], published=False).cause == "no_progress"
    assert derive([*lost, attempt(2, "lost", checkpoint=40)], published=False).claimable


def test_a_preemption_neither_counts_nor_lets_the_count_begin_again() -> None:
    views = [attempt(1, "time_limit"), attempt(2, "preempted")]
    assert derive(views, published=False).claimable
    status = derive([*views, attempt(3, "time_limit")], published=False)
    assert (status.state, status.cause) == ("failed", "no_progress")
    assert derive([attempt(1, "time_limit"), attempt(2, "preempted", checkpoint=5), attempt(3, "time_limit")], published=False).claimable


def test_a_preempted_attempt_is_not_a_failed_one() -> None:
    views = [attempt(n, "preempted") for n in range(1, 9)]
    assert derive(views, published=False).claimable


def test_a_cancel_waits_for_the_attempt_to_leave() -> None:
    assert derive([attempt(1, "running")], published=False, asked=Asked(stop="cancel")).state == "running"
    assert derive([attempt(1, "interrupted")], published=False, asked=Asked(stop="cancel")).state == "cancelled"


def test_an_attempt_that_says_completed_without_a_result_is_not_believed() -> None:
    assert derive([attempt(1, "completed")], published=False).state == "failed"


views = st.lists(
    st.builds(
        lambda state, cause, checkpoint: (state, cause if state == "failed" else None, checkpoint),
        st.sampled_from(ATTEMPT_STATES),
        st.sampled_from(CAUSES),
        st.integers(0, 50),
    ),
    max_size=6,
)


@given(views, st.booleans(), st.sampled_from([None, "cancel", "prune", "pause"]), st.booleans(), st.integers(0, 6))
def test_a_claimable_trial_always_has_evidence_for_its_last_attempt(
    history: Any, published: bool, stop: Any, held: bool, forgiven: int
) -> None:
    attempts = [attempt(i, s, cause=c, checkpoint=p) for i, (s, c, p) in enumerate(history, 1)]
    status = derive(attempts, published=published, asked=Asked(stop=stop, forgiven=forgiven), held=held)
    assert status.state in TRIAL_STATES
    assert status.attempts == len(attempts)
    if status.claimable:
        assert status.state == "pending"
        assert not attempts or status.evidence
        assert not published
        assert stop is None


def test_the_table_of_transitions_names_only_states_and_reaches_them_all() -> None:
    reached = {t.after for t in TRANSITIONS} | {"pending", "blocked"}
    assert reached == set(TRIAL_STATES)
    assert all(t.before != "completed" for t in TRANSITIONS)
    assert diagram().startswith("stateDiagram-v2")
