"""Combining the ScoreTables of several members into the table of their ensemble (pure, no I/O).

The table has the benchmark's examples, the members' orders and one sample; texts are left out. Its key is a hash of the rule, of the
members' scoring keys and of the validation metrics that the rule rests on: the same ensemble has the same key wherever it is made.

Members must have scored the same examples of the same revision. A member that is asked about text (or about media) alone must have scored
all of those and sits out the others. A scorer that sees one response at a time gives the same score in whatever order responses are
shown, so it goes together with judges that compare them.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from core import registry
from core.definition.ensembling import EnsembleRuleConfig
from core.definition.identity import LENGTH, canonical_json, identity_part
from core.evaluation.ensembles.rules import Ballots, Floats
from core.evaluation.metrics import Condensed, condense
from core.evaluation.score_table import SCHEMA, ScoreMetadata, ScoreTable, comparable

On = Literal["all", "text", "media"]
"""The examples that a member is asked about: all, those without an image or a video, or those with one."""

Normalise = Literal["none", "zscore"]

LISTED = 5
"""Examples that a refusal names."""


class NotCombinable(ValueError):
    """Why the tables of some members make no ensemble, in a sentence; ``listed`` are the ids of the examples that it is about."""

    def __init__(self, reason: str, listed: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.listed = tuple(listed)


@dataclass(frozen=True)
class Member:
    """One member of an ensemble.

    Attributes:
        name: how a reader calls it.
        table: its scores.
        validation: its metrics on the validation pairs: ``accuracy`` (a fraction) and ``margin`` (in the unit of its scores).
        on: the examples that it is asked about.
    """

    name: str
    table: ScoreTable
    validation: Mapping[str, float] = field(default_factory=dict)
    on: On = "all"

    @property
    def key(self) -> str:
        """What tells it from the others: its scoring, or for a table without one its scorer."""
        return self.table.metadata.scoring_key or self.table.metadata.scorer


def combine(name: str, rule: EnsembleRuleConfig, members: Sequence[Member], normalise: Normalise = "none") -> ScoreTable:
    """The table of an ensemble.

    Args:
        name: of the ensemble, for the table's metadata.
        rule: a configuration of the kind ``ensemble_rule``.
        members: in any order.
        normalise: ``zscore`` takes each member's scores less their mean, by their (population) standard deviation over the table.

    Raises:
        NotCombinable: no members, different benchmarks, revisions or examples, scores that are not numbers, other orders of the
            responses, no spread to normalise by, or no validation metrics for a rule that rests on them.
    """
    if not members:
        raise NotCombinable("an ensemble has at least one member")
    members = sorted(members, key=lambda member: (member.key, member.on, sorted(member.validation.items())))
    _require_comparable(members)
    for member in members:
        _require_numbers(member)
    members = _require_examples(members)
    _require_validation(rule, members)
    ballots = [ballot for member in members for ballot in _ballots(member, rule)]
    frame = _Frame.of(ballots)
    scales = [_scale(ballot) if normalise == "zscore" else (0.0, 1.0) for ballot in ballots]
    scores = [
        _whole((frame.scores_of(ballot) - mean) / scale, frame.comparison) for ballot, (mean, scale) in zip(ballots, scales, strict=True)
    ]
    accuracy, margin = (
        np.array([ballot.member.validation.get(metric, np.nan) for ballot in ballots], dtype=np.float64)
        for metric in ("accuracy", "margin")
    )
    text_alone = np.array([ballot.member.on == "text" for ballot in ballots], dtype=bool)
    margin = margin / np.array([scale for _, scale in scales])
    made = Ballots(np.stack(scores), frame.comparison, accuracy, margin, text_alone, frame.text)
    decide = registry.get("ensemble_rule", rule.name).load()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of numpy, on rows that nobody joins: they stay NaN
        combined = np.asarray(decide(made, rule), dtype=np.float64)
    if np.isinf(combined).any():
        raise NotCombinable("a combined score is not finite")
    return frame.table(combined, _metadata(name, rule, members, normalise), members[0].table if len(members) == 1 else None)


def ensemble_key(rule: EnsembleRuleConfig, members: Sequence[Member], normalise: Normalise) -> str:
    """32 hex digits over the rule, the members' scorings and what of their validation the rule rests on."""
    about = sorted([member.key, member.on, *(float(member.validation[name]) for name in rule.validation)] for member in members)
    parts = ["ensemble", 1, identity_part(rule), normalise, about]
    return hashlib.sha256(canonical_json(parts)).hexdigest()[:LENGTH]


def _metadata(name: str, rule: EnsembleRuleConfig, members: Sequence[Member], normalise: Normalise) -> ScoreMetadata:
    widest = min(members, key=lambda member: member.table.metadata.skipped).table.metadata
    return replace(widest, scorer=f"ensemble:{name}", scoring_key=ensemble_key(rule, members, normalise))


def _require_comparable(members: Sequence[Member]) -> None:
    first = members[0]
    for other in members[1:]:
        a, b = (replace(member.table.metadata, skipped=0) for member in (first, other))  # examples are compared one by one
        why = comparable(a, b)
        if why is not None:
            raise NotCombinable(f"{first.name} and {other.name}: {why}")


def _require_numbers(member: Member) -> None:
    """A score that was not parsed is null; one that is no number has no place in a mean."""
    scores = member.table.data.column("score")
    wrong = pc.fill_null(pc.invert(pc.is_finite(scores)), False)
    if pc.any(wrong).as_py():
        ids = member.table.data.filter(wrong).column("id").unique().to_pylist()
        raise NotCombinable(f"{member.name} has scores that are no numbers, on {_listed(ids)}", ids[:LISTED])


def _require_examples(members: Sequence[Member]) -> list[Member]:
    """Every member has scored all the examples of its kind that any of them has; returns those that are asked about any."""
    scored: list[dict[str, str]] = []
    text: dict[str, bool] = {}
    for member in members:
        columns = (member.table.data.column(name).to_pylist() for name in ("example", "id", "media_sha"))
        known: dict[str, str] = {}
        for example, id, media in zip(*columns, strict=True):
            known[example] = id
            text[example] = media is None
        scored.append({example: id for example, id in known.items() if _is_asked(member, text[example])})
    everything = {example: id for known in scored for example, id in known.items()}
    if not everything:
        raise NotCombinable("its members are asked about no example of this benchmark")
    for member, known in zip(members, scored, strict=True):
        lacking = [id for example, id in everything.items() if example not in known and _is_asked(member, text[example])]
        if lacking:
            raise NotCombinable(
                f"its members were scored on different examples: {member.name} has no score of {len(lacking)} of {len(everything)}, "
                f"{_listed(sorted(lacking))}",
                sorted(lacking)[:LISTED],
            )
    return [member for member, known in zip(members, scored, strict=True) if known]


def _is_asked(member: Member, text: bool) -> bool:
    return member.on == "all" or (member.on == "text") == text


def _require_validation(rule: EnsembleRuleConfig, members: Sequence[Member]) -> None:
    for metric in rule.validation:
        for member in members:
            value = member.validation.get(metric)
            if value is None or not np.isfinite(value):
                raise NotCombinable(
                    f"the rule {rule.label} weighs by validation/{metric}, which {member.name} has not: train it with `validation.items` "
                    "above 0, or take the rule mean"
                )
            if value < 0:
                raise NotCombinable(
                    f"the rule {rule.label} weighs by validation/{metric}, which is {value:.3g} for {member.name}: a weight is not "
                    "below 0; leave it out, or take the rule mean"
                )
        if not sum(member.validation[metric] for member in members):
            raise NotCombinable(f"the rule {rule.label} weighs by validation/{metric}, which is 0 for all members: take the rule mean")


@dataclass(frozen=True)
class _Ballot:
    """The scores of a member, or of one of its samples; ``single`` where it saw one response at a time."""

    member: Member
    shown: Condensed
    single: bool


def _ballots(member: Member, rule: EnsembleRuleConfig) -> list[_Ballot]:
    """One ballot with all samples of the member put together, or one for each of its first samples."""
    table = member.table
    if member.on != "all":
        alone = pc.is_null if member.on == "text" else pc.is_valid
        table = replace(table, data=table.data.filter(alone(table.data.column("media_sha"))))
    tables = [table]
    if rule.samples is not None:
        numbers = table.data.column("sample")
        there = int(pc.max(numbers).as_py() or 0) + 1
        if there < rule.samples:
            raise NotCombinable(
                f"{rule.samples} samples are to vote, and {member.name} has {there} of each: set `votes` of the benchmark in `evaluate`"
            )
        tables = [replace(table, data=_as_sample_0(table.data.filter(pc.equal(numbers, number)))) for number in range(rule.samples)]
    single = table.data.column("comparison").null_count == table.data.num_rows
    try:
        shown = [condense(one) for one in tables]
    except ValueError as error:
        raise NotCombinable(f"{member.name}: {error}") from None
    return [_Ballot(member, _by_pairs(one) if rule.PAIRS else one, single) for one in shown]


def _as_sample_0(data: pa.Table) -> pa.Table:
    place = data.column_names.index("sample")
    return data.set_column(place, SCHEMA.field("sample"), pa.array(np.zeros(data.num_rows, dtype=np.int32)))


def _by_pairs(shown: Condensed) -> Condensed:
    """Every two responses that are ranked against each other as a comparison of their own (``0,1``, ``0,2``, ``1,2``)."""
    columns = [shown.data.column(name).to_pylist() for name in ("example", "comparison", "response")]
    groups: dict[tuple[str, str | None], list[int]] = {}
    for row, (example, comparison, _) in enumerate(zip(*columns, strict=True)):
        groups.setdefault((example, comparison), []).append(row)
    found = [pair for rows in groups.values() for pair in combinations(sorted(rows, key=lambda row: columns[2][row]), 2)]
    names = [f"{columns[2][a]},{columns[2][b]}" for a, b in found for _ in (0, 1)]
    rows = np.array([row for pair in found for row in pair], dtype=np.int64)
    place = shown.data.column_names.index("comparison")
    data = shown.data.take(pa.array(rows)).set_column(place, SCHEMA.field("comparison"), pa.array(names, type=pa.string()))
    return Condensed(data, shown.scores[:, rows])


def _scale(ballot: _Ballot) -> tuple[float, float]:
    """Mean and population standard deviation of all parsed scores of a ballot."""
    known = ballot.shown.scores[np.isfinite(ballot.shown.scores)]
    scale = float(known.std()) if known.size else 0.0
    if scale == 0:
        name = ballot.member.name
        raise NotCombinable(f"{name} gives every response the same score: it has no z-score; leave it out, or `normalise: none`")
    return float(known.mean()), scale


def _whole(scores: Floats, comparison: np.ndarray[Any, Any]) -> Floats:
    """The scores without those of comparisons that have any missing: a member joins a comparison whole or not at all."""
    groups = int(comparison.max()) + 1 if comparison.size else 0
    out = scores.copy()
    for order in range(len(out)):
        lacking = np.bincount(comparison[np.isnan(out[order])], minlength=groups) > 0
        out[order, lacking[comparison]] = np.nan
    return out


@dataclass(frozen=True)
class _Frame:
    """The rows of the ensemble's table, before it has scores.

    Attributes:
        data: one row per example, comparison and response, with the columns of a ScoreTable.
        comparison: [rows] the number of the comparison, from 0.
        orders: how many orders of the responses there are.
        text: [rows] whether the example has no media.
    """

    data: pa.Table
    comparison: np.ndarray[Any, Any]
    orders: int
    text: np.ndarray[Any, Any]

    @classmethod
    def of(cls, ballots: Sequence[_Ballot]) -> _Frame:
        """The rows that the members have: those of judges that compare first, for a scorer of single responses fits any comparison."""
        orders = {len(ballot.shown.scores) for ballot in ballots if not ballot.single or len(ballot.shown.scores) > 1} or {1}
        if len(orders) > 1:
            raise NotCombinable(f"its members were shown the responses in different numbers of orders: {sorted(orders)}")
        parts: list[pa.Table] = []
        seen: dict[str, int] = {}
        for index, ballot in enumerate(sorted(ballots, key=lambda ballot: ballot.single)):
            data = ballot.shown.data
            fresh = [row for row, example in enumerate(data.column("example").to_pylist()) if seen.setdefault(example, index) == index]
            parts.append(data.take(pa.array(fresh, type=pa.int64())))
        data = pa.concat_tables(parts)
        numbers: dict[tuple[str, str | None], int] = {}
        labels = zip(data.column("example").to_pylist(), data.column("comparison").to_pylist(), strict=True)
        comparison = np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)
        text = np.array([media is None for media in data.column("media_sha").to_pylist()], dtype=bool)
        return cls(data, comparison, orders.pop(), text)

    def scores_of(self, ballot: _Ballot) -> Floats:
        """[orders, rows] the scores of a ballot in these rows; NaN where it has none."""
        keys = [
            [table.column(name).to_pylist() for name in ("example", "comparison", "response")] for table in (ballot.shown.data, self.data)
        ]
        if ballot.single and ballot.shown.data.column("comparison").null_count:
            keys[1][1] = [None] * self.data.num_rows  # its score is the same in any comparison
        places = {key: row for row, key in enumerate(zip(*keys[0], strict=True))}
        rows = np.array([places.get(key, -1) for key in zip(*keys[1], strict=True)], dtype=np.int64)
        scores = np.broadcast_to(ballot.shown.scores, (self.orders, ballot.shown.scores.shape[1]))
        return np.where(rows >= 0, scores[:, np.maximum(rows, 0)], np.nan)

    def table(self, scores: Floats, metadata: ScoreMetadata, alone: ScoreTable | None) -> ScoreTable:
        """The ScoreTable with these scores; token counts stay only where there is one member (``alone``): tokenizers differ."""
        rows = self.data.num_rows
        parts = []
        for order in range(self.orders):
            parsed = np.isfinite(scores[order])
            columns = {
                "order": pa.array(np.full(rows, order, dtype=np.int32)),
                "sample": pa.array(np.zeros(rows, dtype=np.int32)),
                "score": pa.array(scores[order], mask=~parsed),
                "text": pa.nulls(rows, pa.string()),
            }
            if alone is None:
                columns["tokens"] = pa.nulls(rows, pa.int64())
            parts.append(pa.table([columns.get(name, self.data.column(name)) for name in SCHEMA.names], schema=SCHEMA))
        return ScoreTable(pa.concat_tables(parts).combine_chunks(), metadata)


def _listed(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - LISTED} more" if len(ids) > LISTED else ""
    return ", ".join(ids[:LISTED]) + more
