"""Canaries cover what can fail by itself, and hold back exactly the trials that share it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.control.canary import LARGE, STEPS, Canaries, choose, features, measured, trial_seconds, wanted
from core.control.derive import AttemptView, UnitStatus
from core.definition.plan import PlannedTrial, Shape


def trial(number: int, gpus: int = 1, **cell: Any) -> PlannedTrial:
    return PlannedTrial(f"{number:032x}", {k.replace("__", "."): v for k, v in cell.items()}, number, {}, Shape(gpus=gpus))


GRID = [
    trial(n, backbone__name=backbone, optim__lr=lr, head__layers=layers)
    for n, (backbone, lr, layers) in enumerate((b, lr, h) for b in ("a", "b") for lr in (1, 2, 3) for h in (1, 2, 3, 4))
]
PENDING = UnitStatus("pending", claimable=True)
TRAINS = UnitStatus("running", 1, last=AttemptView(1, "running", steps=STEPS))
WORKS = UnitStatus("running", 1, last=AttemptView(1, "running", steps=STEPS, checkpoint=STEPS))
FAILED = UnitStatus("failed", 1, cause="user_bug", last=AttemptView(1, "failed", evidence="x"))


def test_every_shape_and_every_telling_value_is_covered_and_a_learning_rate_is_not() -> None:
    chosen = choose(GRID)
    assert frozenset().union(*map(features, chosen)) == frozenset().union(*map(features, GRID))
    assert len(chosen) == 4, "four heads, and the two backbones among them"
    assert not any("lr" in feature for planned in GRID for feature in features(planned))


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abc"), st.booleans()), min_size=1, max_size=40))
def test_whatever_the_grid_the_canaries_cover_it_and_each_adds_something(points: list[tuple[int, str, bool]]) -> None:
    plan = [trial(n, gpus=1 + gpus, head__layers=layers, loss__x=on) for n, (gpus, layers, on) in enumerate(points)]
    chosen = choose(plan)
    assert frozenset().union(*map(features, chosen)) == frozenset().union(*map(features, plan))
    seen: set[str] = set()
    for planned in chosen:
        assert features(planned) - seen
        seen |= features(planned)


def test_a_small_launch_and_one_of_nothing_but_canaries_have_none() -> None:
    assert wanted(GRID) and not wanted(GRID[: LARGE - 1])
    assert not wanted([trial(n, head__layers=n) for n in range(LARGE)])


def statuses(canaries: Canaries, **given: UnitStatus) -> dict[str, UnitStatus]:
    return {planned.id: given.get(f"c{number}", PENDING) for number, planned in enumerate(canaries.trials)}


def test_a_trial_waits_for_those_that_share_its_values_and_no_others() -> None:
    canaries = Canaries(GRID, {planned.id for planned in wanted(GRID)})
    first = canaries.trials[0]
    same = next(p for p in GRID if p.id not in canaries.ids and features(p) == features(first))
    other = next(p for p in GRID if p.id not in canaries.ids and not features(p) <= features(first))
    assert "canary" in str(canaries.blocks(same, statuses(canaries)))
    assert canaries.blocks(first, statuses(canaries)) is None
    assert canaries.blocks(same, statuses(canaries, c0=WORKS)) is None
    assert canaries.blocks(other, statuses(canaries, c0=WORKS)) is not None


def test_a_canary_that_trains_must_save_before_it_lets_the_others_go() -> None:
    canaries = Canaries(GRID, {planned.id for planned in wanted(GRID)})
    first = canaries.trials[0]
    same = next(p for p in GRID if p.id not in canaries.ids and features(p) == features(first))
    found = statuses(canaries, c0=TRAINS, c1=WORKS, c2=FAILED)
    assert canaries.blocks(same, found) is not None
    assert canaries.to_save(found) == [(first, 1)]
    assert canaries.to_save(statuses(canaries, c0=WORKS)) == []
    written = [replace(planned, config={"task": "annotate"}) for planned in GRID]
    assert Canaries(written, canaries.ids).blocks(same, found) is None, "what is written makes no checkpoint"


def test_a_canary_that_failed_goes_on_holding_back_its_own_and_is_named() -> None:
    canaries = Canaries(GRID, {planned.id for planned in wanted(GRID)})
    broken = canaries.trials[3]
    own = next(p for p in GRID if p.id not in canaries.ids and p.cell["head.layers"] == broken.cell["head.layers"])
    found = statuses(canaries, c0=WORKS, c1=WORKS, c2=WORKS, c3=FAILED)
    assert "failed" in str(canaries.blocks(own, found)) and broken.id[:10] in str(canaries.blocks(own, found))
    spared = [p for p in GRID if p.id not in canaries.ids and canaries.blocks(p, found) is None]
    assert {p.cell["head.layers"] for p in spared} == {p.cell["head.layers"] for p in canaries.trials[:3]}


def test_once_all_have_passed_nothing_is_asked_again() -> None:
    canaries = Canaries(GRID, {planned.id for planned in wanted(GRID)})
    canaries.see({planned.id: WORKS for planned in canaries.trials})
    assert canaries.passed
    assert canaries.blocks(GRID[-1], statuses(canaries)) is None


def test_pace_and_memory_are_those_that_trials_measured() -> None:
    def seen(step: float, memory: float) -> UnitStatus:
        return UnitStatus("running", 1, last=AttemptView(1, "running", measured={"step_seconds": step, "memory_gib": memory}))

    found = measured([seen(1.0, 10.0), seen(3.0, 30.0), seen(2.0, 20.0), PENDING])
    assert found is not None
    assert (found.step_seconds, found.memory_gib, found.trials) == (2.0, 30.0, 3)
    assert measured([PENDING]) is None


def test_how_long_a_trial_takes_is_told_by_its_own_pace_since_it_resumed() -> None:
    def at(step: int, seconds: float, resumed: int = 0) -> UnitStatus:
        started = {"t": 100.0, "resumed": {"attempt": 1, "step": resumed} if resumed else None}
        return UnitStatus(
            "running", 1, last=AttemptView(1, "running", started=started, last=100.0 + seconds, progress={"step": step, "total": 50})
        )

    assert trial_seconds([at(10, 20.0)]) == 100.0
    assert trial_seconds([at(30, 20.0, resumed=20), at(10, 10.0)]) == 100.0, "the longest"
    assert trial_seconds([at(1, 20.0), PENDING]) is None
