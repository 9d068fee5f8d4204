"""Failures that are alike pause the rest of their family, and nothing else."""

from __future__ import annotations

from typing import Any

from core.control.alike import Entry, stopped
from core.control.decide import Limits, Pause, SweepState, TrialStatus, decide
from core.control.derive import AttemptView, UnitStatus
from core.control.policy import Policy
from core.definition.failures import FailuresConfig
from core.definition.plan import PlannedTrial, Shape

POLICY = Policy()


def failed(number: int, cell: dict[str, Any], signature: str = "a", seconds: float = 400.0) -> Entry:
    last = AttemptView(
        1, "failed", evidence="x", cause="user_bug", message="KeyError: 'a'", signature=signature, started={"t": 0.0}, last=seconds
    )
    return f"{number:032x}", cell, UnitStatus("failed", 1, cause="user_bug", last=last)


def waits(number: int, cell: dict[str, Any]) -> Entry:
    return f"{number:032x}", cell, UnitStatus("pending", claimable=True)


def test_three_identical_tracebacks_pause_what_agrees_on_their_common_coordinates() -> None:
    bad = [failed(n, {"act": "silu", "layers": n}) for n in (1, 2, 3)]
    rest = [waits(4, {"act": "silu", "layers": 4}), waits(5, {"act": "tanh", "layers": 1})]
    assert stopped([*bad[:2], *rest], POLICY) == []
    (group,) = stopped([*bad, *rest], POLICY)
    assert group.trials == [f"{4:032x}"]
    assert "3 trials with act=silu" in group.reason and "KeyError" in group.reason


def test_tracebacks_that_share_nothing_pause_the_sweep_and_other_tracebacks_do_not_add_up() -> None:
    bad = [failed(n, {"lr": n}) for n in (1, 2, 3)]
    (group,) = stopped([*bad, waits(4, {"lr": 4}), waits(5, {"lr": 5})], POLICY)
    assert len(group.trials) == 2
    other = [*bad[:2], failed(3, {"lr": 3}, signature="b")]
    assert stopped([*other, waits(4, {"lr": 4})], POLICY) == []


def test_a_member_that_works_is_proof_that_the_family_can() -> None:
    bad = [failed(n, {"lr": n}) for n in (1, 2, 3)]
    good = (f"{9:032x}", {"lr": 9}, UnitStatus("completed"))
    saved = (f"{9:032x}", {"lr": 9}, UnitStatus("running", 1, last=AttemptView(1, "running", checkpoint=5)))
    assert stopped([*bad, waits(4, {"lr": 4}), good], POLICY) == []
    assert stopped([*bad, waits(4, {"lr": 4}), saved], POLICY) == []


def test_many_quick_failures_pause_everything_whatever_their_tracebacks() -> None:
    bad = [failed(n, {"lr": n}, signature=str(n), seconds=5.0) for n in range(10)]
    (group,) = stopped([*bad, waits(20, {"lr": 20})], POLICY)
    assert "10 trials failed within 60 s" in group.reason
    slow = [failed(n, {"lr": n}, signature=str(n)) for n in range(10)]
    assert stopped([*slow, waits(20, {"lr": 20})], POLICY) == []
    assert stopped([*bad, waits(20, {"lr": 20})], Policy(config=FailuresConfig(quick=0))) == []


def test_the_decision_pauses_before_it_submits_and_not_under_hold() -> None:
    trials = [
        TrialStatus(PlannedTrial(id=id, cell=cell, seed=0, config={}, shape=Shape()), status)
        for id, cell, status in [*(failed(n, {"lr": n}) for n in (1, 2, 3)), waits(4, {"lr": 4})]
    ]
    (action,) = decide(SweepState(trials, {}, []), Limits(4), 0.0)
    assert isinstance(action, Pause) and list(action.trials) == [f"{4:032x}"]
    assert not [a for a in decide(SweepState(trials, {}, [], held=True), Limits(4), 0.0) if isinstance(a, Pause)]
