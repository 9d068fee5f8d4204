"""Ensembles as rows of a report: which tables are put together, what the row says, and whether it is worth it (pure, no I/O).

Members are put together seed by seed: the replicate of seed s is made of the members' replicates of seed s, so an ensemble has as many
replicates as there are seeds in common, and its values, intervals and tests are those of a cell with that many.

An ensemble takes no part in what is the best *cell*: it would only hide which one that is. Its own question is whether it is better than
each of its members. So it is tested against every one of them on the same seeds and examples, the largest p value counts, and Holm
corrects over the ensembles and columns that are shown (:func:`core.analysis.report.adjust`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np

from core.analysis.best import beats_all, over_examples
from core.analysis.books import Books
from core.analysis.intervals import Progress, TooFew
from core.analysis.outcomes import ScoringOutcome, TrialOutcome
from core.analysis.report import Row, Value, direction
from core.analysis.sanity import Sanity
from core.definition.claims import ENSEMBLE
from core.definition.ensembling import EnsembleRuleConfig
from core.errors import IntegrityError
from core.evaluation.credits import Credits
from core.evaluation.ensembles.combine import Member, NotCombinable, On, combine
from core.evaluation.score_table import ScoreTable
from core.evaluation.scorer import summarise

ReadTable = Callable[[str, str], ScoreTable]
"""The ScoreTable of a trial (its id) and a scoring (its key)."""


@dataclass(frozen=True)
class Part:
    """A member as far as it has come.

    Attributes:
        name: the cell, with its sweep before it where that is another.
        trials: its replicates.
        on: the examples that it is asked about.
    """

    name: str
    trials: Sequence[TrialOutcome]
    on: On = "all"

    def of_seed(self, seed: int) -> TrialOutcome:
        """The replicate of a seed that it has."""
        return next(trial for trial in self.trials if trial.seed == seed)


@dataclass(frozen=True)
class Wanted:
    """One row that is asked for.

    Attributes:
        name: ``NAME/RULE``.
        rule: how the members are put together.
        normalise: whether their scores become z-scores first.
        members: in any order.
        problem: why it has no members, or not those that are meant.
        flags: what is said beside the row.
    """

    name: str
    rule: EnsembleRuleConfig
    normalise: Literal["none", "zscore"]
    members: tuple[Part, ...]
    problem: str | None = None
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class EnsembleOutcome:
    """One row as far as it has come.

    Attributes:
        name: ``NAME/RULE``.
        members: its members.
        trials: one for each seed that the members have in common; where it could not be put together, its ``reason`` says why.
        tables: the tables that were made, by id of the trial and key of the scoring.
    """

    name: str
    members: tuple[Part, ...]
    trials: tuple[TrialOutcome, ...]
    tables: Mapping[tuple[str, str], ScoreTable]


def assemble(wanted: Wanted, read: ReadTable) -> EnsembleOutcome:
    """Put the members of one row together, seed by seed and benchmark by benchmark."""
    seeds = sorted(set.intersection(*({trial.seed for trial in part.trials} for part in wanted.members))) if wanted.members else []
    problem = wanted.problem or (None if wanted.members else "members") or (None if seeds else "members with a seed in common")
    if problem is not None:
        return EnsembleOutcome(wanted.name, wanted.members, (_waiting(wanted, seeds[0] if seeds else 0, f"for {problem}"),), {})
    tables: dict[tuple[str, str], ScoreTable] = {}
    trials = []
    for seed in seeds:
        lacking = [(part, trial) for part in wanted.members if (trial := part.of_seed(seed)).state != "completed"]
        if lacking:
            trials.append(_waiting(wanted, seed, "for " + ", ".join(f"{part.name} ({_state(trial)})" for part, trial in lacking)))
        else:
            trials.append(_combined(wanted, seed, read, tables))
    return EnsembleOutcome(wanted.name, wanted.members, tuple(trials), tables)


def _state(trial: TrialOutcome) -> str:
    return trial.state + (f": {trial.cause}" if trial.cause else "") + (f", {trial.reason}" if trial.reason and not trial.cause else "")


def _id(wanted: Wanted, seed: int) -> str:
    return f"ensemble:{wanted.name}:{seed}"


def _waiting(wanted: Wanted, seed: int, reason: str) -> TrialOutcome:
    return TrialOutcome(_id(wanted, seed), {ENSEMBLE: wanted.name}, seed, "waiting", flags=wanted.flags, reason=reason)


def _combined(wanted: Wanted, seed: int, read: ReadTable, tables: dict[tuple[str, str], ScoreTable]) -> TrialOutcome:
    """The replicate of one seed, all of whose members have a result."""
    members = [(part, part.of_seed(seed)) for part in wanted.members]
    benchmarks = list(dict.fromkeys(name for _, trial in members for name in trial.evaluate))
    scorings: list[ScoringOutcome] = []
    reasons: dict[str, str] = {}
    for benchmark in benchmarks:
        try:
            table = _table(wanted, members, benchmark, read)
        except NotCombinable as why:
            reasons[benchmark] = str(why)
            continue
        key = str(table.metadata.scoring_key)
        tables[_id(wanted, seed), key] = table
        scorings.append(replace(ScoringOutcome.from_summary(summarise(table)), key=key))
    return TrialOutcome(
        _id(wanted, seed), {ENSEMBLE: wanted.name}, seed, "completed", flags=wanted.flags, reason=_joined(reasons),
        scorings=tuple(scorings), evaluate=tuple(benchmarks),
    )  # fmt: skip


def _joined(reasons: Mapping[str, str]) -> str | None:
    """Why some benchmarks have no table, each reason once; benchmarks are named where there are several reasons."""
    found: dict[str, list[str]] = {}
    for benchmark, reason in reasons.items():
        found.setdefault(reason, []).append(benchmark)
    said = [reason if len(found) == 1 else f"{', '.join(benchmarks)}: {reason}" for reason, benchmarks in found.items()]
    return "; ".join(said) or None


def _table(wanted: Wanted, members: Sequence[tuple[Part, TrialOutcome]], benchmark: str, read: ReadTable) -> ScoreTable:
    """The ensemble's table on one benchmark; a member for text that cannot read the benchmark sits out.

    Raises:
        NotCombinable: a member has not been scored on it, its table is damaged, or they cannot be combined.
    """
    joined = []
    for part, trial in members:
        if benchmark in trial.unreadable and part.on == "text":
            continue
        scoring = next((one for one in trial.scorings if one.benchmark == benchmark and one.key is not None), None)
        if scoring is None or scoring.key is None:
            raise NotCombinable(
                f"{part.name} is not scored on it" + (f" ({trial.unreadable[benchmark]})" if benchmark in trial.unreadable else "")
            )
        try:
            table = read(trial.id, scoring.key)
        except IntegrityError as error:
            raise NotCombinable(f"{part.name}: {error.message}: {error.place}") from None
        known = {name: trial.metrics.get(f"validation/{name}") for name in ("accuracy", "margin")}
        joined.append(Member(part.name, table, {name: value for name, value in known.items() if value is not None}, part.on))
    return combine(wanted.name, wanted.rule, joined, wanted.normalise)


def finished(row: Row, outcome: EnsembleOutcome) -> Row:
    """The row of a cell, made of an ensemble's replicates, as that of the ensemble."""
    asked = 0 if all(trial.state == "waiting" and not outcome.members for trial in outcome.trials) else row.asked
    return replace(row, kind="ensemble", cell=None, asked=asked, members=tuple(part.name for part in outcome.members))


def rate(
    rows: Sequence[Row], outcomes: Sequence[EnsembleOutcome], credits: Sequence[Credits], progress: Progress | None = None
) -> tuple[list[Row], dict[str, str]]:
    """Intervals over examples of the rows of single replicates, and the test of each row against its members.

    Returns:
        the rows, and by metric what was too few.
    """
    rows, notes = over_examples(rows, {one.name: one.trials for one in outcomes}, credits, progress)
    books = Books(credits)
    tested = [_tested(row, outcome, books) for row, outcome in zip(rows, outcomes, strict=True)]
    return tested, notes


def _tested(row: Row, outcome: EnsembleOutcome, books: Books) -> Row:
    """The row with a test of each metric on which it is better than every member."""
    sides = {part.name: part.trials for part in outcome.members} | {row.name: outcome.trials}

    def with_test(metric: str, value: Value) -> Value:
        rivals = [(part.name, mean) for part in outcome.members if (mean := _mean(part.trials, metric)) is not None]
        sign = -1 if direction(metric) == "min" else 1
        if value.mean is None or not rivals or any(sign * (value.mean - mean) <= 0 for _, mean in rivals):
            return value
        try:
            return replace(value, tested=beats_all(row.name, [name for name, _ in rivals], metric, sides, books))
        except TooFew:
            return value

    return replace(row, metrics={metric: with_test(metric, value) for metric, value in row.metrics.items()})


def _mean(trials: Sequence[TrialOutcome], metric: str) -> float | None:
    benchmark, _, short = metric.partition("/")
    found = [one.metrics.get(short) for trial in trials for one in trial.scorings if one.benchmark == benchmark]
    values = [value for value in found if value is not None]
    return float(np.mean(values)) if values else None


def with_disagreement(sanity: Sequence[Sanity], outcomes: Sequence[EnsembleOutcome], credits: Sequence[Credits]) -> list[Sanity]:
    """How much the members differ, beside each benchmark of each ensemble.

    ``disagreement`` is the share of the benchmark's pairs that two members do not get the same credit for, the mean over all pairs of
    members and over seeds (the disagreement measure of Kuncheva and Whitaker, Machine Learning 51, 2003); ``any_right`` the share that at
    least one member gets right, which no rule that picks between them can exceed. Both are fractions, ``None`` for fewer than two members
    with a table.
    """
    named = {one.name: one for one in outcomes}
    out = []
    for one in sanity:
        found = _apart(named[one.cell], one.benchmark, credits) if one.cell in named else None
        out.append(one if found is None else replace(one, disagreement=found[0], any_right=found[1]))
    return out


def _apart(outcome: EnsembleOutcome, benchmark: str, credits: Sequence[Credits]) -> tuple[float, float] | None:
    """Disagreement and share that any member gets right."""
    apart, right = [], []
    for trial in outcome.trials:
        book = next((one for one in credits if one.about.benchmark == benchmark and trial.id in one), None)
        if book is None:
            continue
        owners = [member.id for part in outcome.members for member in part.trials if member.seed == trial.seed and member.id in book]
        if len(owners) < 2:
            continue
        values = book.values[[book.owners.index(owner) for owner in owners]].astype(np.float64)
        apart.append(float(np.mean([np.abs(a - b).mean() for a, b in combinations(values, 2)])))
        right.append(float(values.max(axis=0).mean()))
    return (float(np.mean(apart)), float(np.mean(right))) if apart else None
