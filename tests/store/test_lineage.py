"""Which metrics of a trial count after kills, resumes and fresh starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import IntegrityError
from core.workspace.layout import Workspace
from core.workspace.lineage import BEFORE_ALL, MetricFeed, Resumed, Segment, lineage, metric_lines, segments
from tests.written import Writer, trial_id


@pytest.fixture
def trial(tmp_path: Path):
    return Workspace.open(tmp_path / "runs", create=True).trial(trial_id(1))


def test_a_chain_of_resumes_cuts_each_attempt_where_the_next_one_took_over() -> None:
    assert segments({1: None, 2: Resumed(1, 20), 3: Resumed(2, 40)}) == [
        Segment(1, BEFORE_ALL, 20),
        Segment(2, 20, 40),
        Segment(3, 40, None),
    ]


def test_an_attempt_outside_of_the_chain_does_not_count() -> None:
    assert segments({1: None, 2: Resumed(1, 20), 3: Resumed(1, 20)}) == [Segment(1, BEFORE_ALL, 20), Segment(3, 20, None)]


def test_a_fresh_start_hides_all_that_was_before() -> None:
    assert segments({1: None, 2: Resumed(1, 20), 3: None}) == [Segment(3, BEFORE_ALL, None)]
    assert segments({}) == []


def test_a_resume_further_back_cuts_the_older_attempt_too() -> None:
    assert segments({1: None, 2: Resumed(1, 20), 3: Resumed(2, 10)})[0] == Segment(1, BEFORE_ALL, 10)


def test_a_resume_from_a_later_attempt_is_refused() -> None:
    with pytest.raises(IntegrityError):
        segments({1: Resumed(2, 5), 2: Resumed(1, 5)})


def test_each_step_counts_once_in_order_whatever_died(trial) -> None:
    Writer(trial, 1).steps(1, 25)
    Writer(trial, 2, resumed=(1, 20)).steps(21, 30)
    Writer(trial, 3, start=False)
    Writer(trial, 4, resumed=(2, 28))
    assert [s.attempt for s in lineage(trial)] == [1, 2, 4]
    lines = list(metric_lines(trial))
    train = [(line.step, line.attempt) for line in lines if line.group == "train"]
    assert train == [(step, 1 if step <= 20 else 2) for step in range(1, 29)]
    assert [line.step for line in lines if line.group == "validation"] == [10, 20]
    assert [line.step for line in lines] == sorted(line.step for line in lines)


def test_a_value_that_was_not_finite_is_left_out(trial) -> None:
    Writer(trial, 1).metrics(1, loss=0.5, margin=float("nan"))
    assert [dict(line.values) for line in metric_lines(trial)] == [{"loss": 0.5}]


def test_a_feed_gives_only_what_is_new_until_another_attempt_starts(trial) -> None:
    writer = Writer(trial, 1).steps(1, 3)
    feed = MetricFeed(trial)
    assert [line.step for line in feed.read()] == [1, 2, 3]
    assert feed.read() == []
    writer.steps(4, 5)
    assert [line.step for line in feed.read()] == [4, 5]
    Writer(trial, 2, resumed=(1, 4)).steps(5, 6)
    assert [(line.step, line.attempt) for line in feed.read()] == [(1, 1), (2, 1), (3, 1), (4, 1), (5, 2), (6, 2)]
