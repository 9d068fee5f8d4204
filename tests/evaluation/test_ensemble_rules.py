"""Ensembles as functions of ScoreTables: what each rule says, and what holds for all of them, also for one that a user adds."""

from __future__ import annotations

import random
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from core import registry
from core.data.examples import Media, PreferenceExample, pair
from core.definition.ensembling import EnsembleRuleConfig
from core.definition.trial import RehearsalConfig
from core.evaluation.credits import collect
from core.evaluation.ensembles.combine import LISTED, Member, NotCombinable, combine
from core.evaluation.metrics import accuracy, pairs
from core.evaluation.score_table import ScoreMetadata, ScoreTable, from_examples, from_judgements
from core.evaluation.scorer import score_baseline, summarise
from core.models.judgement import Judgement

ABOUT = ScoreMetadata("vl_rewardbench", "r", "hash", "test")
VALIDATION = {"accuracy": 0.8, "margin": 2.0}


def rule(name: str, **settings: object) -> EnsembleRuleConfig:
    config = registry.get("ensemble_rule", name).config.model_validate({"name": name, **settings})
    assert isinstance(config, EnsembleRuleConfig)
    return config


RULES = [
    *(rule(name) for name in ("mean", "accuracy_weighted", "confidence_weighted", "min", "mean_minus_std", "route", "vote")),
    rule("vote", ties="margin"),
    rule("vote", ties="accuracy"),
    rule("vote", of_samples=1),
]


def examples(rows: int, media: set[int] | None = None) -> list[PreferenceExample]:
    def shown(number: int) -> tuple[Media, ...]:
        return (Media("image", data=f"picture {number}".encode()),) if number in (media or set()) else ()

    return [pair(f"id-{n}", f"question {n}", f"good {n}", f"bad {n}", media=shown(n)) for n in range(rows)]


def member(name: str, rows: list[tuple[float | None, float | None] | None], on="all", media=None, **validation: float) -> Member:
    """Scores of the better and the worse response, row by row; ``None`` for a row that it did not score."""
    table = from_examples(
        examples(len(rows), media), [None if row is None else list(row) for row in rows], replace(ABOUT, scoring_key=name, scorer=name)
    )
    return Member(name, replace(table, metadata=replace(table.metadata, skipped=0)), validation or VALIDATION, on)


def judge(name: str, verdicts: list[list[tuple[float | None, float | None]]], samples: int = 1) -> Member:
    """A judge that compares: for each row a verdict for each order and sample, order by order."""
    judged = [
        [
            Judgement((0, 1), scores, ("a text", "a text"), compared=True, order=number // samples, sample=number % samples)
            for number, scores in enumerate(row)
        ]
        for row in verdicts
    ]
    return Member(name, from_judgements(examples(len(verdicts)), judged, replace(ABOUT, scoring_key=name, scorer=name)), VALIDATION)


def scores(table: ScoreTable) -> list[float | None]:
    found: list[float | None] = table.data.column("score").to_pylist()
    return found


def combined(name: str, *members: Member, normalise="none", **settings: object) -> list[float | None]:
    return scores(combine("e", rule(name, **settings), members, normalise))


# -- known values --------------------------------------------------------------------------------------------------------------


def test_the_golden_values_of_baserewards_and_rewardbenchs_rules():
    a, b = member("a", [(3.0, 1.0)], accuracy=0.8, margin=2.0), member("b", [(5.0, 1.0)], accuracy=0.7, margin=1.0)
    assert combined("mean", a, b)[0] == 4.0
    assert combined("min", a, b)[0] == 3.0
    assert combined("mean_minus_std", a, b)[0] == 3.0
    assert combined("accuracy_weighted", a, b)[0] == pytest.approx(0.8 / 1.5 * 3 + 0.7 / 1.5 * 5)  # weights .5333 and .4667
    assert combined("confidence_weighted", a, b)[0] == pytest.approx(2 / 3 * 3 + 1 / 3 * 5)  # weights .6667 and .3333


def test_z_scores_put_members_of_other_scales_on_one():
    a, b = member("a", [(1.0, 0.0), (0.0, 1.0)]), member("b", [(0.0, 300.0), (300.0, 0.0)])
    assert combined("mean", a, b) == [0.5, 150.0, 150.0, 0.5]
    assert combined("mean", a, b, normalise="zscore") == [0.0, 0.0, 0.0, 0.0]
    # a margin is in the unit of the scores that it weighs: 2 of a standard deviation of 0.5, 150 of one of 150
    weighed = (replace(a, validation={"margin": 2.0}), replace(b, validation={"margin": 150.0}))
    assert combined("confidence_weighted", *weighed, normalise="zscore")[0] == pytest.approx(4 / 5 * 1 + 1 / 5 * -1)


def test_a_majority_and_what_becomes_of_a_tie():
    a = member("a", [(1.0, 0.0), (1.0, 0.0), (0.0, 0.0)], accuracy=0.6)
    b = member("b", [(2.0, 0.0), (0.0, 3.0), (0.0, 0.0)], accuracy=0.9)
    c = member("c", [(0.0, 9.0), (0.0, 0.0), (0.0, 0.0)], accuracy=0.7)
    assert combined("vote", a, b, c) == [pytest.approx(2 / 3), pytest.approx(1 / 3), 0.5, 0.5, 0.5, 0.5]
    assert combined("vote", a, b, c, ties="margin")[2:] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.5, 0.5]
    assert combined("vote", a, b, c, ties="accuracy")[2:] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 0.5, 0.5]


def test_votes_of_the_samples_of_one_judge():
    verdicts = [[(1.0, 0.0), (0.0, 1.0), (0.0, 1.0)], [(1.0, 0.0), (None, None), (1.0, 0.0)]]
    alone = judge("j", verdicts, samples=3)
    assert combined("vote", alone, of_samples=1) == [1.0, 0.0, 1.0, 0.0]
    assert combined("vote", alone, of_samples=3) == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0, 0.0]
    with pytest.raises(NotCombinable, match="5 samples are to vote, and j has 3 of each"):
        combine("e", rule("vote", of_samples=5), [alone])


def test_more_than_two_responses_are_voted_on_pair_by_pair():
    table = score_baseline("length", {"name": "rm_bench"}, RehearsalConfig(items=18))
    made = combine("e", rule("vote"), [Member("a", table), Member("b", table)])
    assert summarise(made)["metrics"] == summarise(table)["metrics"]


def test_a_judge_that_compares_and_a_scorer_of_single_responses_go_together():
    first = judge("j", [[(1.0, 0.0), (0.0, 1.0)]])  # the first slot, whatever stands there
    second = member("s", [(4.0, 0.0)])
    table = combine("e", rule("mean"), [first, second])
    assert scores(table) == [2.5, 0.0, 2.0, 0.5]  # both orders
    assert accuracy(pairs(table)) == 100.0


# -- who joins -----------------------------------------------------------------------------------------------------------------


def test_a_member_that_could_not_be_parsed_sits_out_the_whole_comparison():
    a, b = member("a", [(1.0, 0.0), (1.0, 0.0)]), member("b", [(None, 8.0), (0.0, 8.0)])
    assert combined("mean", a, b) == [1.0, 0.0, 0.5, 4.0]
    both = member("a", [(None, 0.0)]), member("b", [(1.0, None)])
    assert combined("mean", *both) == [None, None]


def test_a_member_for_text_joins_on_text_alone():
    media = {1}
    mm, text = member("mm", [(0.0, 1.0), (1.0, 0.0)], media=media), member("llm", [(4.0, 0.0), None], on="text", media=media)
    assert combined("mean", mm, text) == [2.0, 0.5, 1.0, 0.0]
    assert combined("route", mm, text) == [4.0, 0.0, 1.0, 0.0]
    assert combined("vote", mm, text) == [0.5, 0.5, 1.0, 0.0]
    # what a member for text has said about pictures does not count
    also = member("llm", [(4.0, 0.0), (0.0, 99.0)], on="text", media=media)
    assert combined("mean", mm, also) == [2.0, 0.5, 1.0, 0.0]
    only_media = member("mm", [None, (1.0, 0.0)], on="media", media=media)
    assert combined("mean", only_media, text) == [4.0, 0.0, 1.0, 0.0]


# -- what is refused -------------------------------------------------------------------------------------------------------------


def test_what_makes_no_ensemble_is_refused_with_the_reason():
    a = member("a", [(1.0, 0.0)] * 9)
    with pytest.raises(NotCombinable, match="at least one member"):
        combine("e", rule("mean"), [])
    shorter = member("b", [(1.0, 0.0), *[None] * 8])
    with pytest.raises(
        NotCombinable, match="different examples: b has no score of 8 of 9, id-1, id-2, id-3, id-4, id-5 and 3 more"
    ) as refused:
        combine("e", rule("mean"), [a, shorter])
    assert len(refused.value.listed) == LISTED
    nan = replace(
        a, name="n", table=ScoreTable(a.table.data.set_column(7, "score", [[float("nan")] * 18]), replace(ABOUT, scoring_key="n"))
    )
    with pytest.raises(NotCombinable, match="n has scores that are no numbers, on id-0, id-1"):
        combine("e", rule("mean"), [a, nan])
    other = replace(a, name="o", table=replace(a.table, metadata=replace(a.table.metadata, revision="newer", scoring_key="o")))
    with pytest.raises(NotCombinable, match="a and o: different revision"):
        combine("e", rule("mean"), [a, other])
    with pytest.raises(NotCombinable, match="z-score"):
        combine("e", rule("mean"), [a, member("c", [(1.0, 1.0)] * 9)], "zscore")
    for name, metric in (("accuracy_weighted", "accuracy"), ("confidence_weighted", "margin")):
        with pytest.raises(NotCombinable, match=f"validation/{metric}, which d has not: train it with `validation.items`"):
            combine("e", rule(name), [a, member("d", [(1.0, 0.0)] * 9, loss=1.0)])
        with pytest.raises(NotCombinable, match=f"validation/{metric}, which is -1 for d"):
            combine("e", rule(name), [a, member("d", [(1.0, 0.0)] * 9, **{metric: -1.0})])
    with pytest.raises(NotCombinable, match="different numbers of orders"):
        combine("e", rule("mean"), [judge("j", [[(1.0, 0.0), (1.0, 0.0)]]), judge("k", [[(1.0, 0.0)]])])


# -- what holds for every rule -----------------------------------------------------------------------------------------------------


def drawn(name: str, seed: int, benchmark: str = "vl_rewardbench") -> Member:
    """A scorer that knows something, on a generated stand-in of a real benchmark; one response in twenty is not parsed."""
    table = score_baseline("random", {"name": benchmark}, RehearsalConfig(items=60))
    draw = random.Random(seed)
    labels = table.data.column("label").to_pylist()
    found = [None if draw.random() < 0.05 else draw.gauss(-label, 1.0) for label in labels]
    data = table.data.set_column(table.data.column_names.index("score"), table.data.schema.field("score"), [found])
    return Member(name, ScoreTable(data, replace(table.metadata, scoring_key=name)), {"accuracy": 0.5 + seed / 100, "margin": 1.0 + seed})


def conforms(config: EnsembleRuleConfig, tmp_path: Path) -> None:
    """What every rule keeps to."""
    members = [drawn(name, seed) for seed, name in enumerate("abc")]
    alone = combine("e", config, members[:1])
    assert summarise(alone)["metrics"] == summarise(members[0].table)["metrics"], "one member decides as it does by itself"
    table = combine("e", config, members)
    for order in ([2, 0, 1], [1, 2, 0]):
        again = combine("e", config, [members[index] for index in order])
        assert again.data.equals(table.data) and again.metadata == table.metadata, "the order of the members does not matter"
    table.write(tmp_path / "table.parquet")
    assert ScoreTable.read(tmp_path / "table.parquet").data.equals(table.data), "the table is a ScoreTable like any other"
    (book,) = collect([*((one.key, one.table) for one in members), ("e", table)])
    assert "e" in book, "it can be compared with its members, pair by pair"
    three = summarise(table)["metrics"]["overall"]
    assert three > sum(summarise(one.table)["metrics"]["overall"] for one in members) / 3, "three heads are better than one"
    unlike = combine("e", config, members[:2]).metadata.scoring_key
    assert len({table.metadata.scoring_key, alone.metadata.scoring_key, unlike}) == 3, "other members are another ensemble"
    assert combine("other name", config, members).metadata.scoring_key == table.metadata.scoring_key


@pytest.mark.parametrize("config", RULES, ids=lambda config: config.label)
def test_every_rule_conforms(config, tmp_path):
    conforms(config, tmp_path)


def test_every_shipped_rule_is_tested_here():
    assert {config.name for config in RULES} == set(registry.names("ensemble_rule"))


def test_a_rule_in_a_users_file_conforms_too(tmp_path, monkeypatch):
    file = tmp_path / "my_rules.py"
    file.write_text(
        textwrap.dedent(
            """
            from typing import Literal

            import numpy as np

            from core.definition.fields import identity
            from core.definition.ensembling import EnsembleRuleConfig
            from core.registry import register


            class MedianConfig(EnsembleRuleConfig):
                name: Literal["median"] = identity("median", doc="the median of the members' scores")


            def median(ballots, config):
                return np.nanmedian(ballots.scores, axis=0)


            register("ensemble_rule", "median", MedianConfig, "my_rules:median")
            """
        )
    )
    monkeypatch.setattr(registry, "_components", dict(registry._components))
    registry.load_code([file])
    conforms(rule("median"), tmp_path)


def test_names_of_rows_tell_settings_apart():
    assert [config.label for config in RULES] == [
        "mean", "accuracy_weighted", "confidence_weighted", "min", "mean_minus_std", "route",
        "vote", "vote[ties=margin]", "vote[ties=accuracy]", "vote@1",
    ]  # fmt: skip
