"""Seeds that are added by a rule: what is found after all its looks is as often wrong as it says, and not more often.

Every simulation has 1,000 studies and a fixed seed. The rule is the real one: who gets a seed is asked of :func:`standings`, intervals and
stars are those of the report.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtr

from core.analysis import TrialOutcome, build_report, to_json
from core.analysis.intervals import t_interval
from core.analysis.report import LEVEL
from core.analysis.sequential import Rule, confidence, one_sided
from core.analysis.standing import standings
from core.evaluation.credits import Credits, PairLayout
from core.evaluation.metrics import Units
from core.evaluation.score_table import ScoreMetadata

STUDIES = 1000
FALSE = 0.05 + 2 * (0.05 * 0.95 / STUDIES) ** 0.5
ACCURACY, ON_EXAMPLES = "validation/accuracy", "b/acc"
NARROW = Rule(3, 8, ACCURACY, halfwidth=1.0)
DECIDED = Rule(3, 8, ACCURACY)


def trial(cell, seed, value, metric=ACCURACY, state="completed"):
    return TrialOutcome(f"{cell}-{seed}", {"cell": cell}, seed, state, metrics={metric: None if value is None else float(value)})


def cells_of(values, counts, metric=ACCURACY):
    """The first ``counts[cell]`` seeds of each cell of ``values`` ([cells, seeds])."""
    return {f"c{cell}": [trial(cell, seed, values[cell, seed], metric) for seed in range(n)] for cell, n in enumerate(counts)}


def followed(rule, values, credits=()):
    """Add seeds as the rule says until it adds none; returns the cells and their standings."""
    counts = [rule.start] * len(values)
    while True:
        cells = cells_of(values, counts, rule.metric)
        found = standings(rule, cells, (), credits)
        more = [index for index, one in enumerate(found) if one.word == "more"]
        if not more:
            return cells, found
        for index in more:
            counts[index] = min(rule.max, counts[index] + rule.step)


def report(rule, cells, found, credits=()):
    trials = [trial for replicates in cells.values() for trial in replicates]
    return build_report("s", trials, rehearsal=False, rule=rule, standings=found, credits=credits)


def starred(rule, cells, found):
    rows = report(rule, cells, found).rows
    return [row.name for row in rows if row.metrics[rule.metric].beyond_chance]


# -- what the intervals and tests are worth ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("spread", "step"), [(0.5, 1), (1.2, 1), (1.5, 1), (3.0, 1), (1.2, 2)])
def test_the_interval_at_the_stop_of_a_half_width_covers(spread, step):
    rule = replace(NARROW, step=step)
    values = 70 + np.random.default_rng(0).normal(0, spread, (STUDIES, rule.max))  # each cell is a study of its own
    cells, found = followed(rule, values)
    intervals = np.array([row.metrics[ACCURACY].ci for row in report(rule, cells, found).rows])
    assert {one.word for one in found} <= {"reached", "max"}
    assert 0.93 <= ((intervals[:, 0] <= 70) & (intervals[:, 1] >= 70)).mean() <= 0.98
    if spread == 1.2:
        naive = np.array([t_interval([trial.metrics[ACCURACY] for trial in replicates]) for replicates in cells.values()])
        assert ((naive[:, 0] <= 70) & (naive[:, 1] >= 70)).mean() < 0.94, "an interval that forgets the looks promises too much"


def test_what_reached_its_half_width_has_it_in_the_report():
    values = 70 + np.random.default_rng(1).normal(0, 1.0, (40, NARROW.max))
    cells, found = followed(NARROW, values)
    for row, one in zip(report(NARROW, cells, found).rows, found, strict=True):
        low, high = row.metrics[ACCURACY].ci
        assert (high - low) / 2 == pytest.approx(one.halfwidth)
        assert (one.word == "reached") == (one.halfwidth <= 1.0)
        assert one.word == "reached" or row.n == NARROW.max
    assert {row.n for row in report(NARROW, cells, found).rows} > {4, 8}, "some cells needed few seeds, some all"


@pytest.mark.parametrize("looks", [(3, 8, 1), (2, 10, 2), (5, 6, 1)])
def test_at_any_look_a_test_of_nothing_is_under_the_level_in_five_percent_of_studies(looks):
    start, most, step = looks
    rule = Rule(start, most, ACCURACY, step=step)
    values = np.random.default_rng(9).normal(0, 1, (20 * STUDIES, most))
    t = np.stack([np.abs(values[:, :n].mean(1)) / (values[:, :n].std(1, ddof=1) / n**0.5) for n in rule.looks])
    p = 2 * stdtr(np.array(rule.looks)[:, None] - 1, -t)
    assert ((p <= 1 - rule.confidence).any(axis=0)).mean() == pytest.approx(0.05, abs=0.004)


@pytest.mark.parametrize(("cells", "studies"), [(2, STUDIES), (4, STUDIES // 4)])
def test_a_best_cell_among_equal_ones_is_rarely_decided(cells, studies):
    rng = np.random.default_rng(20)
    false = 0
    for _ in range(studies):
        shared = rng.normal(0, 1, (1, DECIDED.max))  # cells are paired by seed
        seen, found = followed(DECIDED, 70 + shared + rng.normal(0, 1, (cells, DECIDED.max)))
        decided = all(one.word == "reached" for one in found)
        false += decided
        if decided:
            assert len(starred(DECIDED, seen, found)) == 1, "what the rule has decided stands in the table"
    assert false / studies <= FALSE


def test_testing_at_five_percent_at_every_look_decides_too_often():
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(STUDIES):
        values = rng.normal(0, 1, DECIDED.max)
        wrong += any(not low <= 0 <= high for low, high in (t_interval(values[:n]) for n in DECIDED.looks))
    assert wrong / STUDIES > 0.1


def test_stars_after_a_half_width_rule_are_rarely_false():
    rng = np.random.default_rng(3)
    false = sum(bool(starred(NARROW, *followed(NARROW, 70 + rng.normal(0, 1.2, (3, NARROW.max))))) for _ in range(STUDIES))
    assert false / STUDIES <= FALSE


def test_a_best_cell_over_seeds_and_examples_is_rarely_decided_among_equal_ones():
    rng = np.random.default_rng(4)
    rule, studies, units = replace(DECIDED, metric=ON_EXAMPLES), 300, 40
    pairs = np.arange(units)
    layout = PairLayout((), (), pairs, pairs, pairs, {"acc": Units(pairs, np.zeros(units, int))}, np.ones((units, 2), int), ())
    owners = tuple(f"{cell}-{seed}" for cell in (0, 1) for seed in range(rule.max))
    false = 0
    for _ in range(studies):
        easy = rng.normal(1, 1, units)
        skill = rng.normal(0, 0.3, (2 * rule.max, 1)) + np.repeat(rng.normal(0, 0.3, (2, units)), rule.max, axis=0)
        right = ((easy + skill + rng.normal(0, 1, (2 * rule.max, units))) > 0).astype(np.float32)
        book = Credits(ScoreMetadata("b", "r", "h", "s"), owners, layout, right, right)
        _, found = followed(rule, 100 * right.mean(axis=1).reshape(2, rule.max), [book])
        false += all(one.word == "reached" for one in found)
    assert false / studies <= 0.05 + 2 * (0.05 * 0.95 / studies) ** 0.5


def test_a_cell_that_is_better_is_found_with_few_seeds_and_those_that_are_worse_get_none():
    rng = np.random.default_rng(5)
    values = np.array([[80.0], [79.0], [60.0]]) + rng.normal(0, 0.7, (3, DECIDED.max))
    cells, found = followed(DECIDED, values)
    assert len(cells["c2"]) < len(cells["c0"]), "the cell that is far behind is told apart early"
    assert found[2].word == "reached" and "cell=0 is better" not in found[2].why


# -- the level of a look -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [NARROW, DECIDED, Rule(2, 20, ACCURACY, 0.5, 3)])
def test_the_level_lies_between_that_of_one_look_and_bonferroni(rule):
    level = 1 - rule.confidence
    assert 0.05 / len(rule.looks) <= level < 0.05
    assert rule.overall(level) == pytest.approx(0.05)
    counted = [rule.overall(p) for p in (0.0, 1e-12, 1e-5, 0.001, level, 0.05, 0.3, 1.0)]
    assert counted == sorted(counted) and counted[0] == 0.0 and counted[-1] == 1.0
    assert all(p <= rule.overall(p) <= len(rule.looks) * p * (1 + 1e-9) for p in (1e-12, 1e-5, 0.001, 0.01))


def test_fewer_looks_make_narrower_intervals():
    assert Rule(3, 9, ACCURACY, step=3).looks == (3, 6, 9)
    assert Rule(3, 8, ACCURACY, step=3).looks == (3, 6, 8)
    assert Rule(3, 9, ACCURACY, step=3).confidence < Rule(3, 9, ACCURACY).confidence


def test_without_a_rule_nothing_is_corrected():
    assert (confidence(None), confidence(None, 0.9), one_sided(None, 0.3)) == (0.95, 0.9, 0.3)
    assert confidence(DECIDED, 0.9) < DECIDED.confidence
    assert one_sided(DECIDED, 0.025) == pytest.approx(DECIDED.overall(0.05) / 2)


# -- who gets a seed ---------------------------------------------------------------------------------------------------------------------


def one(rule, trials, open=()):
    (found,) = standings(rule, {"c": trials}, open)
    return found


def test_a_cell_with_open_seeds_waits_and_the_others_do_not():
    values = np.array([[70.0, 74.0, 66.0], [70.0, 70.1, 69.9]])
    found = standings(NARROW, cells_of(values, [3, 3]), {"0-1"})
    assert [standing.word for standing in found] == ["open", "reached"]
    assert "± " in found[1].why and "asked for" in found[1].why


def test_a_failed_seed_is_not_waited_for():
    trials = [trial(0, 0, 70.0), trial(0, 1, None, state="failed"), trial(0, 2, 74.0)]
    assert one(NARROW, trials).word == "more"
    alone = one(NARROW, [trial(0, 0, 70.0), *(trial(0, seed, None, state="failed") for seed in (1, 2))])
    assert (alone.word, alone.seeds, alone.planned) == ("left", 1, 3)


@pytest.mark.parametrize("state", ["cancelled", "pruned"])
def test_what_a_user_has_stopped_is_left_alone(state):
    assert one(NARROW, [trial(0, 0, 70.0), trial(0, 1, 74.0), trial(0, 2, None, state=state)]).word == "left"


def test_seeds_without_any_spread_prove_nothing():
    same = one(NARROW, [trial(0, seed, 100.0) for seed in range(3)])
    assert same.word == "more" and "exactly the same" in same.why
    assert one(NARROW, [trial(0, seed, 100.0) for seed in range(8)]).word == "max"


def test_of_two_cells_the_one_with_fewer_seeds_is_added_to():
    rule = Rule(3, 6, ACCURACY)
    values = np.array([[70.0, 71.0, 70.5, 70.2, 70.4, 70.6], [70.1, 70.8, 70.6, 0, 0, 0]])
    assert [found.word for found in standings(rule, cells_of(values, [5, 3]), ())] == ["open", "more"]
    assert [found.word for found in standings(rule, cells_of(values, [3, 3]), ())] == ["more", "more"]


def test_a_loss_is_best_where_it_is_least():
    rule = Rule(3, 6, "validation/loss")
    values = np.array([[0.1, 0.11, 0.12], [0.9, 0.92, 0.91]])
    found = standings(rule, cells_of(values, [3, 3], "validation/loss"), ())
    assert [standing.word for standing in found] == ["reached", "reached"]
    assert found[0].why.startswith("it is better")


def test_the_report_says_which_rule_ended_each_cell():
    values = np.array([[70.0, 70.1, 69.9] + [70.0] * 5, [70.0, 78.0, 62.0] * 2 + [75.0, 61.0]])
    cells, found = followed(NARROW, values)
    made = report(NARROW, cells, found)
    text = " ".join(made.notes)
    assert "3 to 8 each" in text and "Not answered with all seeds that a cell may have, 1 of 2 cells (c1: " in text
    told = to_json(made)["seeds"]
    assert [cell["word"] for cell in told["cells"]] == ["reached", "max"]
    assert told["looks"] == [3, 4, 5, 6, 7, 8] and 0.97 < told["confidence"] < 0.98
    assert made.rows[1].metrics[ACCURACY].ci == t_interval(made.rows[1].metrics[ACCURACY].values, NARROW.confidence)
    assert LEVEL == 0.05
