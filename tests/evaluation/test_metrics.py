from __future__ import annotations

import pytest

from core.data.examples import PreferenceExample, PreferenceLabel, Response
from core.data.streams import generator
from core.evaluation.benchmarks.mm_rlhf import MMRLHFRewardBench
from core.evaluation.metrics import Grouping, accuracy, accuracy_plus, grouped_accuracy, macro, pairs
from core.evaluation.score_table import ScoreMetadata, from_examples

ABOUT = ScoreMetadata("vl_rewardbench", "r", "hash", "test")
FIRST_LETTER = Grouping("letter", ("a", "b", "c"), lambda example: example.id[0])


def test_accuracy_is_strict_and_in_percent(table_of):
    scored = pairs(table_of([("a", 2.0, 1.0), ("b", 1.0, 2.0), ("c", 1.0, 1.0), ("d", 3.0, -3.0)]))
    assert accuracy(scored) == 50.0


@pytest.mark.parametrize(("ties", "expected"), [("wrong", 50.0), ("half", 75.0), ("right", 100.0), ("drop", 100.0)])
def test_each_tie_policy_says_what_two_equal_scores_are_worth(table_of, ties, expected):
    assert accuracy(pairs(table_of([("a", 2.0, 1.0), ("b", 1.0, 1.0)])), ties=ties) == expected


@pytest.mark.parametrize(("unparsed", "expected"), [("wrong", 50.0), ("half", 75.0), ("drop", 100.0)])
def test_each_unparsed_policy_says_what_a_missing_score_is_worth(table_of, unparsed, expected):
    assert accuracy(pairs(table_of([("a", 2.0, 1.0), ("b", None, 1.0)])), unparsed=unparsed) == expected


def test_a_missing_score_is_never_a_tie(table_of):
    assert accuracy(pairs(table_of([("a", None, None)])), ties="right", unparsed="wrong") == 0.0


def test_nothing_left_to_average_is_no_number(table_of):
    scored = pairs(table_of([("a", 1.0, 1.0)]))
    assert accuracy(scored, ties="drop") is None
    assert accuracy_plus(scored, ties="drop") is None
    assert accuracy([]) is None


def test_an_empty_group_is_null_and_so_is_a_macro_over_it(table_of):
    groups = grouped_accuracy(pairs(table_of([("a1", 2.0, 1.0), ("a2", 0.0, 1.0), ("b1", 2.0, 1.0)])), FIRST_LETTER)
    assert groups == {"a": 50.0, "b": 100.0, "c": None}
    assert macro(groups) is None
    assert macro({"a": 50.0, "b": 100.0}) == 75.0
    assert macro({}) is None


def test_macro_weighs_groups_and_not_examples(table_of):
    rows = [("a", 1.0, 0.0)] * 1 + [("b", 0.0, 1.0)] * 9 + [("c", 1.0, 0.0)] * 2
    scored = pairs(table_of(rows))
    assert macro(grouped_accuracy(scored, FIRST_LETTER)) == pytest.approx(200 / 3)
    assert accuracy(scored) == 25.0


def test_acc_plus_counts_an_id_only_if_every_pair_is_right(table_of):
    scored = pairs(table_of([("x", 2.0, 1.0), ("x", 3.0, 1.0), ("y", 2.0, 1.0), ("y", 1.0, 2.0), ("z", 1.0, 1.0)]))
    assert accuracy_plus(scored) == pytest.approx(100 / 3)
    assert accuracy_plus(scored, ties="half") == pytest.approx(50.0)
    assert accuracy_plus(scored, ties="drop") == 50.0


def test_of_several_responses_every_ordered_pair_counts_and_equal_ranks_do_not():
    example = PreferenceExample("i", "q", tuple(map(Response, ("best", "tied", "tied too", "unknown"))), PreferenceLabel((0, 1, 1, None)))
    scored = pairs(from_examples([example], [[2.0, 3.0, 1.0, 9.0]], ABOUT))
    assert [(pair.better, pair.worse) for pair in scored] == [(2.0, 3.0), (2.0, 1.0)]


def test_a_random_scorer_gets_what_the_documentation_says():
    """50 in every group, and for Acc+ the mean over ids of 2 ** -pairs."""
    draw = generator(0, "test", "random scorer")
    sizes = [2, 3, 4, 5, 6] * 400
    examples, scores = [], []
    for number, size in enumerate(sizes):
        for index in range(size):
            response = (Response("good"), Response("bad"))
            media = {"media": f"{('mcq', 'long')[number % 2]}/{number}.png"}
            examples.append(PreferenceExample(f"id{number}", f"q{index}", response, PreferenceLabel((0, 1)), extra=media))
            scores.append(draw.random(2).tolist())
    values = MMRLHFRewardBench().metrics(from_examples(examples, scores, ABOUT))
    assert values["acc"] == pytest.approx(50, abs=2)
    assert values["mcq"] == pytest.approx(50, abs=3)
    assert values["long"] == pytest.approx(50, abs=3)
    assert values["acc_plus"] == pytest.approx(100 * sum(2.0**-size for size in sizes) / len(sizes), abs=2)
