"""Judges that write: orders, votes, ties and what cannot be parsed, from the ScoreTable to metrics and statistics."""

import numpy as np
import pytest

from core.data.examples import pair
from core.data.streams import generator
from core.evaluation.credits import collect, same_layout
from core.evaluation.metrics import Judging, accuracy, accuracy_plus, judging, pairs
from core.evaluation.score_table import ScoreMetadata, ScoreTable, from_examples, from_judgements
from core.models.judgement import Judgement

ABOUT = ScoreMetadata("vl_rewardbench", "r", "hash", "test")


def examples(count):
    return [pair(f"wildvision-{number}", f"question {number}", "good", "bad") for number in range(count)]


def table(answers):
    """A judge's table: per example the slots (1, 2, or None for unparsed) that it named, [order][sample]."""
    judged = []
    for orders in answers:
        verdicts = []
        for order, votes in enumerate(orders):
            for sample, slot in enumerate(votes):
                winner = None if slot is None else (slot - 1 + order) % 2
                scores = (None, None) if winner is None else (float(winner == 0), float(winner == 1))
                verdicts.append(Judgement((0, 1), scores, (str(slot),) * 2, compared=True, order=order, sample=sample))
        judged.append(verdicts)
    return from_judgements(examples(len(answers)), judged, ABOUT)


def test_each_order_counts_half():
    right, wrong, first_slot = [[1], [2]], [[2], [1]], [[1], [1]]
    assert accuracy(pairs(table([right]))) == 100.0
    assert accuracy(pairs(table([wrong]))) == 0.0
    assert accuracy(pairs(table([first_slot]))) == 50.0


def test_a_judge_that_always_names_the_same_slot_is_at_chance_and_never_consistent():
    judged = table([[[1], [1]]] * 7)
    assert accuracy(pairs(judged)) == 50.0
    assert judging(judged) == Judging(orders=2, samples=1, texts=14, unparsed=0, consistent=0.0)


def test_votes_decide_by_majority_and_unparsed_ones_do_not_vote():
    assert accuracy(pairs(table([[[1, 1, 2], [2, None, None]]]))) == 100.0
    assert accuracy(pairs(table([[[1, 2, None], [2, 2, 2]]])), ties="wrong") == 50.0
    assert accuracy(pairs(table([[[1, 2, None], [2, 2, 2]]])), ties="half") == 75.0


def test_an_order_of_which_nothing_can_be_parsed_follows_the_policy():
    judged = pairs(table([[[None, None], [2, 2]], [[1, 1], [2, 2]]]))
    assert accuracy(judged, unparsed="wrong") == 75.0
    assert accuracy(judged, unparsed="half") == 87.5
    assert accuracy(judged, unparsed="drop") == 100.0


def test_acc_plus_takes_the_worst_pair_of_an_id():
    judged = table([[[1], [2]], [[1], [1]]])
    same_id = ScoreTable(judged.data.set_column(1, judged.data.schema.field("id"), [["x"] * judged.data.num_rows]), judged.metadata)
    assert accuracy_plus(pairs(same_id)) == 50.0


def test_a_judge_and_a_scalar_reward_are_compared_pair_by_pair():
    judged = table([[[1], [2]], [[1], [1]], [[2], [1]]])
    scalar = from_examples(examples(3), [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], ABOUT)
    (book,) = collect([("scalar", scalar), ("judge", judged)])
    values, _, _ = book.unit_credits("overall")
    by_key = {key[0]: column for key, column in zip(book.layout.keys, values.T, strict=True)}
    rows = dict(zip(judged.data.column("example").to_pylist(), judged.data.column("id").to_pylist(), strict=True))
    found = {rows[key]: column.tolist() for key, column in by_key.items()}
    assert found == {"wildvision-0": [100.0, 100.0], "wildvision-1": [0.0, 50.0], "wildvision-2": [100.0, 0.0]}
    assert np.mean(values[1]) == accuracy(pairs(judged))


def test_the_order_of_the_rows_does_not_matter():
    judged = table([[[1, 2], [2, 2]], [[1, 1], [1, None]]])
    turned = ScoreTable(judged.data.take(list(range(judged.data.num_rows))[::-1]), judged.metadata)
    assert accuracy(pairs(judged)) == accuracy(pairs(turned))
    (one,), (other,) = collect([("a", judged)]), collect([("a", turned)])
    assert same_layout(one.layout, other.layout) and np.array_equal(one.values, other.values)


def test_a_random_judge_is_expected_to_get_half():
    draw = generator(0, "test", "random judge")
    answers = [[[int(draw.integers(1, 3))] for _ in range(2)] for _ in range(4000)]
    assert abs((accuracy(pairs(table(answers))) or 0) - 50.0) < 4 * 100 * (0.125 / 4000) ** 0.5


def test_orders_that_only_some_examples_have_are_refused():
    judged = table([[[1], [2]], [[1], [2]]])
    partial = ScoreTable(judged.data.slice(0, judged.data.num_rows - 2), judged.metadata)
    with pytest.raises(ValueError, match="orders"):
        pairs(partial)
