"""What the next attempt does differently, read from the attempts alone."""

from __future__ import annotations

from typing import Any

from core.control.derive import AttemptView, derive
from core.control.policy import Policy
from core.control.remedy import LADDER, remedy
from core.definition.failures import FailuresConfig
from core.definition.trial import ExecutionConfig

POLICY = Policy()


def oom(number: int, micro: int, changed: dict[str, Any] | None = None, **more: Any) -> AttemptView:
    used = {"micro_batch": micro, "activation_checkpointing": bool((changed or {}).get("activation_checkpointing"))}
    started = {"t": 1.0, "execution": used, "changed": changed or {}}
    return AttemptView(number, "failed", evidence="its journal's last line", cause="cuda_oom", started=started, **more)


def ended(number: int, state: str, changed: dict[str, Any] | None = None, **more: Any) -> AttemptView:
    return AttemptView(number, state, evidence="x", started={"t": 1.0, "changed": changed or {}}, **more)  # type: ignore[arg-type]


def test_the_micro_batch_is_halved_down_to_one_and_then_activations_are_recomputed() -> None:
    attempts: list[AttemptView] = []
    size, changed, seen = 8, dict[str, Any](), []
    for number in range(1, 6):
        attempts.append(oom(number, size, changed))
        found = remedy(attempts, POLICY)
        if found.exhausted:
            break
        changed = dict(found.execution)
        size = changed.get("micro_batch", size)
        seen.append(changed)
    assert seen == [
        {"micro_batch": 4},
        {"micro_batch": 2},
        {"micro_batch": 1},
        {"micro_batch": 1, "activation_checkpointing": True},
    ]
    status = derive(attempts, published=False)
    assert (status.state, status.cause) == ("failed", "cuda_oom")
    assert "no setting is left that needs less memory" in status.reason


def test_a_scoring_without_memory_judges_fewer_examples_together_and_is_never_repeated_as_it_is() -> None:
    attempts: list[AttemptView] = []
    changed, words = dict[str, Any](), []
    while (status := derive(attempts, published=False)).state != "failed":
        words.append(status.remedy.words)
        changed = dict(status.remedy.execution)
        started = {"t": 1.0, "execution": {"scoring_batch": 16, **changed}, "changed": changed}
        attempts.append(AttemptView(len(attempts) + 1, "failed", evidence="x", cause="cuda_oom", started=started))
    assert words == ["", *(f"scoring_batch={size}" for size in (8, 4, 2, 1))]
    assert "no setting is left that needs less memory" in status.reason and status.remedy.flags == ("scoring_batch_halved",)
    without = AttemptView(1, "failed", evidence="x", cause="cuda_oom", started={"t": 1.0})
    assert derive([without], published=False).state == "failed", "nothing that can be changed is a reason not to repeat it"


def test_what_helped_is_kept_by_every_later_attempt_and_said() -> None:
    attempts = [oom(1, 8), ended(2, "preempted", {"micro_batch": 4}, checkpoint=10), ended(3, "lost", {"micro_batch": 4}, checkpoint=10)]
    found = remedy(attempts, POLICY)
    assert (found.execution, found.flags) == ({"micro_batch": 4}, ("micro_batch_halved",))
    assert derive(attempts, published=False).remedy == found
    # an attempt that was killed before it said `started` changes nothing
    assert remedy([*attempts, AttemptView(4, "lost", evidence="x")], POLICY).execution == {"micro_batch": 4}


def test_nothing_is_shrunk_where_the_definition_says_so_and_a_retry_starts_anew() -> None:
    never = Policy({"cuda_oom": 6}, FailuresConfig(shrink=False))
    assert remedy([oom(1, 8)], never).execution == {}
    assert derive([oom(1, 8)], published=False, policy=Policy.read({"failures": {"shrink": False}})).state == "failed"
    wanted = Policy.read({"failures": {"shrink": False, "retries": {"cuda_oom": 1}}})
    assert derive([oom(1, 8)], published=False, policy=wanted).claimable
    from core.workspace.requests import Asked

    assert derive([oom(1, 8)], published=False, asked=Asked(forgiven=1)).remedy.execution == {}


def test_a_time_limit_without_a_checkpoint_asks_for_more_time() -> None:
    first = AttemptView(1, "time_limit", evidence="x", owner={"limit": 3600.0})
    assert remedy([first], POLICY).time == 7200.0
    assert remedy([AttemptView(1, "time_limit", evidence="x", owner={"limit": 3600.0}, checkpoint=5)], POLICY).time is None
    assert remedy([first], Policy(config=FailuresConfig(longer=1))).time is None
    assert remedy([AttemptView(1, "time_limit", evidence="x")], POLICY).time is None, "a limit that nobody wrote down"


def met(number: int, left: float, **more: float) -> AttemptView:
    return AttemptView(number, "time_limit", evidence="x", owner={"limit": 14_400.0, "left": left, **more})


def test_an_attempt_that_began_shortly_before_the_limit_shows_nothing_by_meeting_it() -> None:
    late = [met(1, 300.0), met(2, 600.0)]
    assert remedy(late, POLICY).time is None
    assert derive(late, published=False).claimable, "and it is no attempt without progress"
    assert remedy([met(1, 14_000.0)], POLICY).time == 28_000.0
    assert derive([met(1, 14_000.0), met(2, 14_000.0)], published=False).cause == "no_progress"


def test_longer_is_never_less_than_usual_and_never_more_than_may_be() -> None:
    """The limit may have been that of a short night; SLURM lets what is above the partition's limit wait for ever."""
    night = AttemptView(1, "time_limit", evidence="x", owner={"limit": 1800.0, "left": 1790.0, "usual": 14_400.0})
    assert remedy([night], POLICY).time == 14_400.0
    assert remedy([met(1, 14_000.0, usual=14_400.0, most=21_600.0)], POLICY).time == 21_600.0


def test_every_rung_is_a_setting_of_an_execution() -> None:
    assert {rung.setting for rung in LADDER} <= set(ExecutionConfig.model_fields)
