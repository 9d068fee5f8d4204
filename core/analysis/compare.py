"""Two cells against each other, metric by metric: the difference, how sure it is, and what could have been seen (pure, no I/O).

What is not comparable is refused with the reason, and nothing is computed: a rehearsal with a real run, different revisions of a
benchmark, different examples, different groupings. What is too little is said as well. Everything else follows from what there
is: see :mod:`core.analysis.paired`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from core.analysis.best import by_seed
from core.analysis.intervals import Interval, Sample, TooFew, bootstrap, t_interval
from core.analysis.multiplicity import holm
from core.analysis.outcomes import TrialOutcome
from core.analysis.paired import CROSSED, Crossed, Evidence, McNemar, Over, crossed, discordant, example_test, is_binary, mcnemar, paired_t
from core.analysis.power import effect_size, minimum_detectable, more_seeds
from core.analysis.report import LEVEL, direction
from core.analysis.sequential import Rule, confidence, overall, stricter
from core.evaluation.credits import Credits, other_groupings
from core.evaluation.score_table import comparable

LISTED = 10
"""Examples that a refusal names."""


@dataclass(frozen=True)
class Side:
    """What is compared: the replicates of one cell.

    Attributes:
        name: how the user called it.
        rehearsal: whether its trials are a rehearsal's.
        trials: its replicates.
        rule: what has added some of them, if a rule has.
    """

    name: str
    rehearsal: bool
    trials: Sequence[TrialOutcome]
    rule: Rule | None = None


@dataclass(frozen=True)
class Part:
    """One way to look at the difference; ``ci`` is a 95 % interval."""

    over: Over
    n: int
    ci: Interval
    evidence: Evidence
    dof: float | None = None


@dataclass(frozen=True)
class Comparison:
    """One metric of two cells.

    Attributes:
        a: name of the first.
        b: name of the second.
        metric: full name.
        refused: why the two are not comparable; nothing else is set then.
        listed: the examples that the refusal is about.
        means: of both, over the seeds that are compared.
        difference: the first less the second.
        seeds: the seeds that both have, or that are compared.
        parts: the ways to look at it that there was enough for.
        decisive: the one that the verdict rests on.
        mcnemar: of one model each on independent examples.
        effect: standardised difference, and what its spread is over.
        detectable: the smallest difference that such a comparison finds in 80 % of all cases.
        more: seeds that are missing for 80 % power, if the true difference is what was found; ``None`` where that is not known or no
            number would do.
        adjusted: the p value after Holm over all comparisons made together.
        notes: what was too little, and what a reader should know.
    """

    a: str
    b: str
    metric: str
    refused: str | None = None
    listed: tuple[str, ...] = ()
    means: tuple[float, float] | None = None
    difference: float | None = None
    seeds: tuple[int, ...] = ()
    parts: tuple[Part, ...] = ()
    decisive: Part | None = None
    mcnemar: McNemar | None = None
    effect: tuple[float, Over] | None = None
    detectable: float | None = None
    more: int | None = None
    adjusted: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def better(self) -> Literal["a", "b"] | None:
        """Which one is better beyond chance, at 5 % after Holm."""
        way = direction(self.metric)
        if self.adjusted is None or self.adjusted > LEVEL or not self.difference or way is None:
            return None
        return "a" if (self.difference > 0) == (way == "max") else "b"


@dataclass
class _Draft:
    """A comparison in the making."""

    a: Side
    b: Side
    metric: str
    values: tuple[Mapping[int, float], Mapping[int, float]]
    pairs: list[tuple[TrialOutcome, TrialOutcome]]
    parts: dict[str, Part] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    crossed: Crossed | None = None
    mcnemar: McNemar | None = None
    effect: tuple[float, Over] | None = None
    rule: Rule | None = None
    error: tuple[float, float] | None = None
    """Standard error and degrees of freedom that the minimum detectable difference follows from."""


def compare(a: Side, b: Side, metrics: Sequence[str], credits: Sequence[Credits] = ()) -> list[Comparison]:
    """Compare two cells on several metrics, Holm over them.

    Args:
        a: the first.
        b: the second.
        metrics: full names, each of which one of the two has.
        credits: of all their tables, by trial id.
    """
    return adjust([_compare(a, b, metric, credits) for metric in metrics])


def adjust(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The same with p values adjusted by Holm over all that have one."""
    tested = [index for index, one in enumerate(comparisons) if one.decisive is not None]
    adjusted = holm([one.decisive.evidence.p for one in comparisons if one.decisive is not None])
    found = dict(zip(tested, adjusted, strict=True))
    return [replace(one, adjusted=found.get(index)) for index, one in enumerate(comparisons)]


def values_of(side: Side, metric: str) -> dict[int, float]:
    """The metric of each replicate that has it, by seed."""
    return {seed: value for seed, (_, value) in by_seed(side.trials, metric).items()}


def _compare(a: Side, b: Side, metric: str, credits: Sequence[Credits]) -> Comparison:
    values = values_of(a, metric), values_of(b, metric)
    refused, listed = refusal(a, b, metric, values, credits)
    if refused is not None:
        return Comparison(a.name, b.name, metric, refused, listed)
    draft = _Draft(a, b, metric, values, _paired(a, b, values), rule=stricter(a.rule, b.rule))
    _pairing_notes(draft)
    if not draft.pairs:
        return Comparison(a.name, b.name, metric, "no seed in common: the replicates cannot be paired", notes=tuple(draft.notes))
    difference = _by_example(draft, credits)
    by_seed = [values[0][left.seed] - values[1][right.seed] for left, right in draft.pairs]
    _over_seeds(draft, by_seed)
    if difference is not None:
        _over_both(draft, difference)
    more = _more(draft, by_seed)
    decisive = draft.parts.get("seeds and examples") or draft.parts.get("seeds") or draft.parts.get("examples")
    means = tuple(float(np.mean([values[side][pair[side].seed] for pair in draft.pairs])) for side in (0, 1))
    return Comparison(
        a.name,
        b.name,
        metric,
        means=(means[0], means[1]),
        difference=float(np.mean(by_seed)),
        seeds=tuple(left.seed for left, _ in draft.pairs),
        parts=tuple(draft.parts.values()),
        decisive=decisive,
        mcnemar=draft.mcnemar,
        effect=draft.effect,
        detectable=None if draft.error is None else minimum_detectable(*draft.error),
        more=more,
        notes=tuple(draft.notes),
    )


def refusal(
    a: Side, b: Side, metric: str, values: tuple[Mapping[int, float], Mapping[int, float]], credits: Sequence[Credits]
) -> tuple[str | None, tuple[str, ...]]:
    """Why the two are not comparable on the metric, and the examples that it is about."""
    if a.rehearsal != b.rehearsal:
        return f"a rehearsal with a real run: {(a if a.rehearsal else b).name} is the rehearsal", ()
    for side, found in zip((a, b), values, strict=True):
        if not found:
            return f"{side.name} has no value", ()
    benchmark = metric.split("/", 1)[0]
    data = [
        {
            (scoring.revision, scoring.n, scoring.skipped)
            for trial in side.trials
            for scoring in trial.scorings
            if scoring.benchmark == benchmark
        }
        for side in (a, b)
    ]
    if len(data[0] | data[1]) > 1:
        revisions = [sorted({revision for revision, _, _ in found}) for found in data]
        if revisions[0] != revisions[1]:
            return f"different benchmark revisions: {' and '.join(revisions[0])}, and {' and '.join(revisions[1])}", ()
    return _different_examples(a, b, benchmark, credits)


def _different_examples(a: Side, b: Side, benchmark: str, credits: Sequence[Credits]) -> tuple[str | None, tuple[str, ...]]:
    ids = [{trial.id for trial in side.trials} for side in (a, b)]
    mine = [one for one in credits if one.about.benchmark == benchmark and any(owner in ids[0] | ids[1] for owner in one.owners)]
    first = next((one for one in mine if any(owner in ids[0] for owner in one.owners)), None)
    other = next((one for one in mine if one is not first), None)
    if first is None or other is None:
        return None, ()
    left, right = ({*zip(one.layout.keys, one.layout.ids, strict=True)} for one in (first, other))
    apart = sorted({id for _, id in left ^ right})
    if apart:
        more = f" and {len(apart) - LISTED} more" if len(apart) > LISTED else ""
        return f"different examples: {len(left)} and {len(right)} pairs, of which {len(left ^ right)} are not in both{more}", tuple(
            apart[:LISTED]
        )
    groupings = other_groupings(first.layout, other.layout)
    if groupings:
        return f"different groupings of the same examples: {', '.join(groupings)}", ()
    return comparable(first.about, other.about) or "different data", ()


def _paired(a: Side, b: Side, values: tuple[Mapping[int, float], Mapping[int, float]]) -> list[tuple[TrialOutcome, TrialOutcome]]:
    """Replicates of the same seed; one trial on each side is a pair whatever its seed."""
    left, right = ({trial.seed: trial for trial in side.trials if trial.seed in found} for side, found in zip((a, b), values, strict=True))
    if len(left) == len(right) == 1:
        return [(*left.values(), *right.values())]  # type: ignore[list-item]  # one of each
    return [(left[seed], right[seed]) for seed in sorted(left.keys() & right.keys())]


def _pairing_notes(draft: _Draft) -> None:
    draft.notes += [f"seed {left.seed} of A against seed {right.seed} of B" for left, right in draft.pairs if left.seed != right.seed]
    for side, found, place in ((draft.a, draft.values[0], 0), (draft.b, draft.values[1], 1)):
        unused = sorted(set(found) - {pair[place].seed for pair in draft.pairs})
        if unused and draft.pairs:
            draft.notes.append(
                f"left out of {side.name}: seed{'s' if len(unused) > 1 else ''} {', '.join(map(str, unused))}, without a partner"
            )


def _by_example(draft: _Draft, credits: Sequence[Credits]) -> Sample | None:
    """Differences for each pair of replicates and each unit, with what follows from them for these trained models."""
    benchmark, _, short = draft.metric.partition("/")
    owners = [[left.id for left, _ in draft.pairs], [right.id for _, right in draft.pairs]]
    book = next(
        (one for one in credits if one.about.benchmark == benchmark and all(owner in one for side in owners for owner in side)), None
    )
    if book is None or short not in book.layout.units:
        return None
    a, b = (Sample(*book.unit_credits(short, side)) for side in owners)
    difference = a.minus(b)
    try:
        whole = difference.mean()
        low, high = (float(bound) for bound in bootstrap(whole)[0])
        draft.parts["examples"] = Part("examples", whole.clusters, (low, high), example_test(whole))
        rest = whole.residuals()[0]
        count = len(rest)
        draft.error = (float((count / (count - 1) * (rest**2).sum()) ** 0.5), float(count - 1))
    except TooFew as few:
        draft.notes.append(str(few))
    if len(draft.pairs) == 1 and is_binary(a) and is_binary(b):
        draft.mcnemar = mcnemar(*discordant(a.values[0], b.values[0]))
    if int(difference.group.max()) == 0:  # over groups of different sizes there is no one spread
        _effect(draft, difference.mean().values[0], "examples")
    return difference


def _over_seeds(draft: _Draft, by_seed: Sequence[float]) -> None:
    n = len(by_seed)
    try:
        _, test = paired_t(by_seed)
        ci = t_interval(by_seed, confidence(draft.rule))
        draft.parts["seeds"] = Part("seeds", n, ci, replace(test, p=overall(draft.rule, test.p)), float(n - 1))
    except TooFew as few:
        draft.notes.append(str(few))
        return
    if "examples" not in draft.parts:
        draft.error = (float(np.std(by_seed, ddof=1)) / n**0.5, float(n - 1))
        _effect(draft, by_seed, "seeds")


def _over_both(draft: _Draft, difference: Sample) -> None:
    try:
        found = crossed(difference, confidence(draft.rule))
    except TooFew:
        return  # said by the part that it is made of
    draft.crossed = found
    draft.parts["seeds and examples"] = Part(
        "seeds and examples", len(draft.pairs), found.ci, Evidence(CROSSED, overall(draft.rule, found.p)), found.dof
    )
    draft.error = (found.se, found.dof)


def _effect(draft: _Draft, differences: Any, over: Over) -> None:
    try:
        draft.effect = (effect_size(differences), over)
    except ValueError:  # too few, or no spread: there is no unit to measure in
        draft.effect = None


def _more(draft: _Draft, by_seed: Sequence[float]) -> int | None:
    """Seeds that are missing; not known from one seed."""
    n, difference = len(by_seed), float(np.mean(by_seed))
    if draft.crossed is not None:
        found = more_seeds(difference, draft.crossed.seed_variance, draft.crossed.example_variance, n)
        if found is None and difference:
            draft.notes.append(
                f"no number of seeds finds a difference of {abs(difference):.2g} in 80 % of such comparisons: it takes more examples"
            )
        return found
    return more_seeds(difference, float(np.var(by_seed, ddof=1)), 0.0, n) if "seeds" in draft.parts else None


def to_json(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The stable JSON of comparisons."""
    return [_json(one) for one in comparisons]


def _json(one: Comparison) -> dict[str, Any]:
    parts = {
        part.over.replace(" and ", "_and_"): {
            "n": part.n,
            "ci": list(part.ci),
            "test": part.evidence.test,
            "p": part.evidence.p,
            "dof": part.dof,
        }
        for part in one.parts
    }
    table = one.mcnemar
    return {
        "a": one.a,
        "b": one.b,
        "metric": one.metric,
        "refused": one.refused,
        "examples_listed": list(one.listed),
        "mean_a": None if one.means is None else one.means[0],
        "mean_b": None if one.means is None else one.means[1],
        "difference": one.difference,
        "ci": None if one.decisive is None else list(one.decisive.ci),
        "over": None if one.decisive is None else one.decisive.over,
        "test": None if one.decisive is None else one.decisive.evidence.test,
        "p": None if one.decisive is None else one.decisive.evidence.p,
        "p_holm": one.adjusted,
        "better": one.better,
        "seeds": list(one.seeds),
        "parts": parts,
        "mcnemar": None if table is None else {"only_a": table.only_a, "only_b": table.only_b, "exact": table.exact, "mid_p": table.mid_p},
        "effect": None if one.effect is None else {"value": one.effect[0], "over": one.effect[1]},
        "minimum_detectable": one.detectable,
        "more_seeds": one.more,
        "notes": list(one.notes),
    }
