"""Who is stopped: a pure function of the curves."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.control.search.pruning import at, rungs, verdicts
from core.control.search.study import Study, Suggestion, Told
from core.definition.plan import PlannedTrial
from core.definition.searching import PrunerConfig


def item(number: int, *values: float, told: Told = "open", every: int = 10) -> Suggestion:
    planned = PlannedTrial(f"{number:032x}", {}, 0, {})
    curve = tuple((every * (n + 1), value) for n, value in enumerate(values))
    return Suggestion(number, planned, {}, told, (values[-1],) if told == "complete" else None, curve)


def stopped(config: PrunerConfig, *items: Suggestion, mode: str = "max") -> set[int]:
    return {verdict.suggestion.number for verdict in verdicts(config, mode, "validation/accuracy", Study("base", items))}


ASHA = PrunerConfig(kind="asha")


def test_the_rungs_are_shares_of_training() -> None:
    assert rungs(ASHA) == pytest.approx([10, 30, 90])
    assert rungs(PrunerConfig(kind="hyperband", first=0.05, reduction=4), 1) == pytest.approx([20, 80])
    assert at([(5, 0.1), (12, 0.2), (31, 0.3)], 10) == 0.2
    assert at([(5, 0.1)], 10) is None


def test_of_three_at_a_rung_the_best_goes_on() -> None:
    assert stopped(ASHA, item(1, 0.6), item(2, 0.5), item(3, 0.7)) == {1, 2}
    assert stopped(ASHA, item(1, 0.6), item(2, 0.5), item(3, 0.7), mode="min") == {1, 3}
    assert stopped(ASHA, item(1, 0.6)) == set(), "alone, it goes on"
    six = [item(n, 0.1 * n) for n in range(1, 7)]
    assert stopped(ASHA, *six) == {1, 2, 3, 4}
    assert stopped(ASHA, item(1, 0.6), item(2, 0.6)) == set(), "equal ones are not told apart"


def test_a_trial_is_judged_at_its_highest_rung_against_all_that_came_so_far() -> None:
    ahead = item(1, 0.5, 0.5, 0.5, 0.5)  # at 40 %: behind at the first rung, alone at the second
    assert stopped(ASHA, ahead, item(2, 0.9)) == set()
    assert stopped(ASHA, ahead, item(2, 0.9, 0.9, 0.9)) == {1}
    assert stopped(ASHA, ahead, item(2, 0.9, 0.9, 0.9, told="pruned")) == {1}, "what was stopped still counts"


def test_a_diverged_trial_is_stopped_at_once_and_beats_nobody() -> None:
    assert stopped(ASHA, item(1, math.nan), item(2, 0.5)) == {1}
    assert stopped(PrunerConfig(kind="median"), item(1, 0.5, math.nan)) == {1}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30), st.integers(2, 5))
def test_the_best_is_never_stopped_and_one_of_reduction_goes_on(values: list[float], reduction: int) -> None:
    config = PrunerConfig(kind="asha", reduction=reduction)
    gone = stopped(config, *[item(n, value) for n, value in enumerate(values, 1)])
    assert values.index(max(values)) + 1 not in gone
    if len(set(values)) == len(values):
        assert len(values) - len(gone) == max(1, len(values) // reduction)


def test_hyperband_spreads_over_brackets_that_begin_later_and_judges_within_each() -> None:
    config = PrunerConfig(kind="hyperband")
    early = [item(n, 0.01 * n) for n in range(1, 41)]
    gone = stopped(config, *early)
    asha = stopped(ASHA, *early)
    assert 0 < len(gone) < len(asha), "some brackets do not judge at the first rung"
    late = [item(n, *[0.01 * n] * 9) for n in range(1, 41)]
    assert len(late) - len(stopped(config, *late)) >= 3, "each bracket keeps its best"


def test_the_median_rule_waits_for_finished_trials() -> None:
    config = PrunerConfig(kind="median", startup=3, first=0.1)
    done = [item(n, 0.5, 0.1 * n, told="complete") for n in range(4, 7)]
    bad, good = item(1, 0.2, 0.2), item(2, 0.9, 0.9)
    assert stopped(config, *done[:2], bad, good) == set()
    assert stopped(config, *done, bad, good) == {1}
    assert stopped(PrunerConfig(kind="median", startup=3, first=0.5), *done, bad) == set(), "too early to judge"


def test_the_wilcoxon_rule_compares_validation_by_validation_with_the_best() -> None:
    chance = random.Random(0)
    best = item(1, *[0.8 + 0.01 * chance.random() for _ in range(10)], told="complete")
    config = PrunerConfig(kind="wilcoxon", p=0.05)
    assert stopped(config, best, item(2, *[0.5 + 0.01 * chance.random() for _ in range(8)])) == {2}
    assert stopped(config, best, item(3, *[0.8 + 0.02 * chance.random() for _ in range(8)])) == set()
    assert stopped(config, best, item(4, 0.5)) == set(), "one pair proves nothing"
    assert stopped(config, best, item(5, *[0.5] * 12, every=7)) == set(), "no validation in common"


def test_a_verdict_says_why() -> None:
    (verdict,) = verdicts(ASHA, "max", "validation/accuracy", Study("base", [item(1, 0.6), item(2, 0.7), item(3, 0.9, told="complete")]))[
        :1
    ]
    assert verdict.why == "at 10 % of training its validation/accuracy 0.6 is number 3 of 3, 1 goes on (asha)"
