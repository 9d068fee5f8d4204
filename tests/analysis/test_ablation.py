"""One-factor tables, main effects, interactions, importance, cost and the Pareto front of grids whose effects are planted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from core.analysis import TrialOutcome, build_report
from core.analysis.ablation import ablate
from core.analysis.effects import to_json
from core.definition.plan import cell_name

ACC = "validation/accuracy"


def trial(cell, value, seed=0, metric=ACC, **more):
    name = "-".join(map(str, cell.values()))
    return TrialOutcome(f"{name}-{seed}", cell, seed, "completed", metrics={metric: float(value), "train/tokens": 1e6}, **more)


def ablated(trials, metric=ACC):
    report = build_report("s", trials, rehearsal=False, objective=metric)
    cells = {}
    for one in trials:
        cells.setdefault(cell_name(one.cell), []).append(one)
    return ablate(metric, report.rows, cells, rehearsal=False)


def cross(effect, seeds=3, noise=0.002):
    """A 2 x 3 cross with ``effect(a, b)`` and the same noise by seed everywhere but for a little."""
    rng = np.random.default_rng(0)
    cells = [(a, b, seed) for a in (0, 1) for b in (0, 1, 2) for seed in range(seeds)]
    return [trial({"head.a": a, "head.b": b}, effect(a, b) + rng.normal(0, noise), seed) for a, b, seed in cells]


def test_the_base_cell_is_the_one_that_the_others_vary_one_thing_of():
    table = [(1, "none", 0.6), (2, "none", 0.62), (2, "tanh", 0.63), (2, "silu", 0.7), (3, "silu", 0.65), (4, "silu", 0.66)]
    found = ablated([trial({"layers": n, "activation": a}, v + s / 1e3 + n * s * s / 1e5, s) for n, a, v in table for s in range(3)])
    assert found.base == "layers=2 activation=silu"
    layers, activation = found.factors
    assert [level.value for level in layers.levels] == [2, 3, 4]
    assert [level.value for level in activation.levels] == ["silu", "none", "tanh"]
    assert layers.levels[0].difference is None
    assert layers.levels[1].difference == pytest.approx(-0.05, abs=1e-3)
    low, high = layers.levels[1].ci
    assert low < -0.05 < high < 0
    assert layers.levels[1].adjusted >= layers.levels[1].p
    assert not found.means
    assert "The cells are no complete cross of their axes: no main effects and interactions." in found.notes


def test_one_seed_without_scores_has_differences_of_nothing_and_says_why():
    found = ablated([trial({"a": n}, 0.5 + n / 10) for n in range(3)])
    assert all(level.difference is None for factor in found.factors for level in factor.levels)
    assert found.notes == ("Not tested against the base cell: n = 1, and no scores by example.",)


def test_additive_effects_leave_no_interaction_and_planted_ones_show():
    found = ablated(cross(lambda a, b: 0.5 + 0.1 * a + 0.02 * b))
    shares = {effect.axes: effect for effect in found.effects}
    assert sum(effect.share for effect in found.effects) == pytest.approx(1.0)
    assert shares["head.a",].share > 0.8
    assert shares["head.a",].p < 1e-6
    assert shares["head.a", "head.b"].share < 0.01
    assert [round(level.mean, 2) for level in found.means[0].levels] == [0.52, 0.62]
    turned = {effect.axes: effect for effect in ablated(cross(lambda a, b: 0.5 + 0.1 * (a == (b > 0)))).effects}
    assert turned["head.a", "head.b"].share > 0.8
    assert turned["head.a", "head.b"].p < 1e-6


def test_a_cross_of_one_seed_has_shares_and_no_test():
    found = ablated(cross(lambda a, b: 0.5 + 0.1 * a, seeds=1))
    assert found.effects
    assert {effect.p for effect in found.effects} == {None}


@pytest.mark.parametrize("values", [3, 520], ids=["fANOVA", "PED-ANOVA"])
def test_the_axis_that_matters_is_the_important_one(values):
    found = (
        ablated(cross(lambda a, b: 0.5 + 0.2 * a))
        if values == 3
        else ablated([trial({"head.a": a, "head.b": b}, 0.5 + 0.2 * a + 1e-5 * (b % 7)) for a in (0, 1) for b in range(values // 2 + 1)])
    )
    assert found.method == ("fANOVA" if values == 3 else "PED-ANOVA")
    assert found.importance[0][0] == "head.a"
    assert sum(share for _, share in found.importance) == pytest.approx(1.0)
    assert found.importance[0][1] > 0.5


def test_equal_cells_have_no_importance():
    assert ablated([trial({"a": n}, 0.5) for n in range(5)]).importance == ()


def test_the_pareto_front_is_what_nothing_beats_in_both():
    cells = [(0.9, 4.0), (0.8, 1.0), (0.7, 2.0), (0.95, 8.0), (0.6, None), (0.8, 1.5)]
    found = ablated([trial({"a": n}, quality, hours=hours, example_seconds=0.1) for n, (quality, hours) in enumerate(cells)])
    assert [cost.front for cost in found.costs] == [True, True, False, True, False, False]
    assert found.costs[0].tokens == 1e6
    lower = ablated([trial({"a": n}, 1 - q, hours=h, metric="validation/loss") for n, (q, h) in enumerate(cells)], "validation/loss")
    assert [cost.front for cost in lower.costs] == [True, True, False, True, False, False]


def test_a_study_without_cells_or_axes_has_nothing_and_its_json_is_sound():
    assert ablated([trial({}, 0.5)]).base is None
    json.dumps(to_json(ablated(cross(lambda a, b: a + b))), allow_nan=False)
    assert to_json(build_report("s", [], rehearsal=False).ablation) is None


def test_a_single_axis_has_all_of_the_importance():
    found = ablated([trial({"a": n}, 0.5 + n * n / 100) for n in range(6)])
    assert found.importance == (("a", 1.0),)
