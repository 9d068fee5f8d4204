"""The verdict on each claim of a study: supported, contradicted, or undecided (pure, no I/O).

A claim is a list of pairs of cells, each with a sentence about its difference ``d`` (the first less the second, so that more is better)
and a margin ``m`` in the unit of the metric:

=================  ==================================  =====================================
kind               the sentence of a pair              what contradicts it
=================  ==================================  =====================================
better, best       ``d > 0``                           ``d < 0``
monotone           ``d > -m`` (m is 0 unless given)    ``d < -m``
no_effect          ``-m < d < m``                      ``|d| > m``
=================  ==================================  =====================================

The claim is *supported* where every pair's sentence is shown (the largest p value counts, an intersection-union test: Berger,
Technometrics 24, 1982), and *contradicted* where the opposite of one is shown (the smallest p value counts, times the number of pairs:
Bonferroni). Each of the two is at 5 %, and only one of them can be an error, because a claim is either true or not. Holm then corrects
over all claims of the list.

The sentence ``d > 0`` is shown by the two-sided test that `sweep compare` uses. With a margin a t test stands on the same standard
error; ``no_effect`` is shown by two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15, 1987).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.special import stdtr

from core.analysis.books import Books
from core.analysis.compare import Side, refusal, values_of
from core.analysis.difference import estimate
from core.analysis.intervals import TooFew
from core.analysis.multiplicity import holm
from core.analysis.outcomes import TrialOutcome
from core.analysis.power import more_seeds
from core.analysis.report import LEVEL, direction
from core.analysis.sequential import Rule, one_sided
from core.analysis.verdicts import Claim, Estimate, Step, Verdict
from core.definition.plan import cell_name
from core.evaluation.credits import Credits


def judge(
    claims: Sequence[Claim],
    trials: Sequence[TrialOutcome],
    *,
    rehearsal: bool,
    credits: Sequence[Credits] = (),
    rule: Rule | None = None,
) -> list[Verdict]:
    """The verdicts, in order.

    Args:
        claims: the whole list: it is the family that Holm corrects over.
        trials: of the study.
        rehearsal: whether they are a rehearsal's.
        credits: of their score tables; without them tests are over seeds alone.
        rule: what has added seeds, if a rule has.
    """
    if not claims:
        return []
    cells: dict[str, list[TrialOutcome]] = {}
    for trial in trials:
        cells.setdefault(cell_name(trial.cell), []).append(trial)
    sides = {name: Side(name, rehearsal, found, rule) for name, found in cells.items()}
    books = Books(credits)
    tried = [[_step(claim, a, b, sides, books, credits) for a, b in claim.pairs] for claim in claims]
    tested = [index for index, steps in enumerate(tried) if any(step.estimate is not None for step in steps)]
    raw = {index: _p(tried[index]) for index in tested}
    adjusted = dict(zip(tested, holm([min(raw[index]) for index in tested]), strict=True))
    return [
        _verdict(claim, steps, raw.get(index), adjusted.get(index)) for index, (claim, steps) in enumerate(zip(claims, tried, strict=True))
    ]


def _p(steps: Sequence[Step]) -> tuple[float, float]:
    """P values of the claim and of its opposite; a pair without an estimate shows nothing."""
    return max(step.shown for step in steps), min(1.0, len(steps) * min(step.refuted for step in steps))


def _verdict(claim: Claim, steps: Sequence[Step], raw: tuple[float, float] | None, adjusted: float | None) -> Verdict:
    if raw is None or adjusted is None:
        reasons = dict.fromkeys(step.reason for step in steps if step.reason)
        return Verdict(claim, "undecided", claim.problem or "; ".join(filter(None, reasons)), steps=tuple(steps))
    shown, refuted = raw
    known = Verdict(claim, "undecided", "", min(raw), adjusted, steps=tuple(steps))
    weakest = max(steps, key=lambda step: step.shown)
    worst = min(steps, key=lambda step: step.refuted)
    if adjusted <= LEVEL and shown < refuted:
        return replace(known, word="supported", reason=_sentence(weakest, len(steps)), decisive=weakest)
    if adjusted <= LEVEL:
        return replace(known, word="contradicted", reason=_sentence(worst, len(steps)), decisive=worst)
    open_steps = [step for step in steps if step.shown > LEVEL]
    untested = next((step for step in steps if step.estimate is None), None)
    if untested is not None:
        return replace(known, reason=f"{untested.a} and {untested.b}: {untested.reason}", decisive=weakest)
    needs = [step.more for step in open_steps]
    wanted = max([need for need in needs if need is not None], default=None)
    more = wanted if wanted and None not in needs else None
    return replace(known, reason=_needs(more, open_steps, weakest), decisive=weakest, more=more)


def _needs(more: int | None, steps: Sequence[Step], weakest: Step) -> str:
    if more is not None:
        return f"needs {more} more seed{'s' if more > 1 else ''}"
    if any(step.estimate is not None and step.estimate.seed_variance is None for step in steps):
        return "needs more seeds; how many is not known from one"
    if steps:
        return f"no number of seeds would show it: {weakest.a} and {weakest.b} are too alike, or go the other way"
    return "each pair is shown, and not beyond chance after Holm over all claims"


def _sentence(step: Step, pairs: int) -> str:
    assert step.estimate is not None
    scope = "; these trained models, not other seeds" if step.estimate.over == "examples" else ""
    which = f"the least clear of {pairs} pairs, " if pairs > 1 else ""
    return f"{which}{step.a} less {step.b}, {step.estimate.test}{scope}"


def _step(claim: Claim, a: str, b: str, sides: Mapping[str, Side], books: Books, credits: Sequence[Credits]) -> Step:
    way = direction(claim.on)
    missing = [name for name in (a, b) if name not in sides]
    if way is None or missing:
        return Step(a, b, reason=f"{claim.on} has no better way" if way is None else f"no such cell: {missing[0]}")
    left, right = sides[a], sides[b]
    values = values_of(left, claim.on), values_of(right, claim.on)
    refused, _ = refusal(left, right, claim.on, values, credits)
    if refused is not None:
        return Step(a, b, reason=refused)
    try:
        found = estimate(left, right, claim.on, books)
    except TooFew as few:
        return Step(a, b, reason=str(few))
    margin = claim.within or 0.0

    def beyond(margin: float, sign: int) -> float:
        return one_sided(left.rule if found.seeds > 1 else None, _beyond(found, margin, sign))

    if claim.kind == "no_effect":
        shown = max(beyond(-margin, 1), beyond(margin, -1))
        refuted = min(1.0, 2 * min(beyond(margin, 1), beyond(-margin, -1)))
        away = margin - abs(found.difference)
    elif margin:
        shown, refuted = min(1.0, 2 * beyond(-margin, 1)), min(1.0, 2 * beyond(-margin, -1))
        away = found.difference + margin
    else:
        shown = found.p if found.difference > 0 else 1.0
        refuted = found.p if found.difference < 0 else 1.0
        away = found.difference
    more = _more(found, away, 0.9 if claim.kind == "no_effect" else 0.95) if shown > LEVEL else 0
    return Step(a, b, found, shown, refuted, more)


def _more(found: Estimate, away: float, confidence: float) -> int | None:
    """Seeds that are missing, where the pair stands on the right side of its margin by ``away``; not known from one seed."""
    if found.seed_variance is None or found.rest is None or away <= 0:
        return None
    needed = more_seeds(away, found.seed_variance, found.rest, found.seeds, confidence=confidence)
    return None if needed is None else max(1, needed)  # asked where the pair is not shown yet: one more, however close it is


def _beyond(found: Estimate, margin: float, sign: int) -> float:
    """One-sided p value of ``d > margin`` (sign 1) or ``d < margin`` (sign -1)."""
    away = sign * (found.difference - margin)
    if found.se == 0:
        return 0.0 if away > 0 else 1.0
    return float(stdtr(found.dof, -away / found.se))
