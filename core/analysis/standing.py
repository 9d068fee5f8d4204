"""Where each cell stands under a rule that adds seeds: does it get another one, and why? (pure, no I/O)

The same intervals and tests that the report shows decide here, at the nominal confidence of :class:`core.analysis.sequential.Rule`.

- ``halfwidth``: each cell for itself, as soon as all its seeds have ended.
- ``decided``: once no seed of any cell is open, the cell with the best mean is tested against every other one on their common seeds. Those
  that are told apart from it get nothing more; the best cell and the others do, of two with different numbers of seeds the one with fewer.

A seed that has failed is not waited for: the rule goes on with the seeds that ended well, of which it takes two. What a user has
cancelled or pruned is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.analysis.best import by_seed, evidence
from core.analysis.books import Books
from core.analysis.intervals import TooFew, t_interval
from core.analysis.outcomes import TrialOutcome
from core.analysis.report import LEVEL, direction
from core.analysis.sequential import Rule, Standing, Word
from core.evaluation.credits import Credits

STOPPED = ("cancelled", "pruned")


@dataclass(frozen=True)
class _Cell:
    """A cell with what the rule needs of it."""

    name: str
    trials: Sequence[TrialOutcome]
    values: Mapping[int, float]
    halfwidth: float | None
    open: int
    stopped: int

    def standing(self, word: Word, why: str) -> Standing:
        return Standing(self.name, word, why, len(self.values), len(self.trials), self.halfwidth)

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.values.values())))


def standings(
    rule: Rule, cells: Mapping[str, Sequence[TrialOutcome]], open: Collection[str], credits: Sequence[Credits] = ()
) -> list[Standing]:
    """The standing of each cell, in order.

    Args:
        rule: of the definition.
        cells: the trials of each cell, by its name.
        open: ids of the trials that may still get a value of the rule's metric by themselves.
        credits: of their score tables, for ``decided``; without them the tests are over seeds alone.
    """
    found = [_cell(rule, name, trials, open) for name, trials in cells.items()]
    if rule.halfwidth is not None:
        return [_narrow_enough(rule, cell) for cell in found]
    return _best_decided(rule, found, credits)


def _cell(rule: Rule, name: str, trials: Sequence[TrialOutcome], open: Collection[str]) -> _Cell:
    values = {seed: value for seed, (_, value) in by_seed(trials, rule.metric).items()}
    try:
        low, high = t_interval(list(values.values()), rule.confidence)
        half: float | None = (high - low) / 2
    except TooFew:
        half = None
    waiting = sum(trial.id in open for trial in trials)
    return _Cell(name, trials, values, half, waiting, sum(trial.state in STOPPED for trial in trials))


def _barred(cell: _Cell) -> Standing | None:
    """The standing of a cell that the rule does not judge now."""
    if cell.open:
        return cell.standing("open", f"{cell.open} of {len(cell.trials)} seeds have no value yet")
    if cell.stopped:
        return cell.standing("left", f"{cell.stopped} of its {len(cell.trials)} seeds were cancelled or pruned, so it is left alone")
    if len(cell.values) < 2:
        return cell.standing("left", f"{len(cell.values)} of {len(cell.trials)} seeds have a value, and a spread takes two")
    return None


def _narrow_enough(rule: Rule, cell: _Cell) -> Standing:
    barred = _barred(cell)
    if barred is not None:
        return barred
    n, goal = len(cell.values), f"± {rule.halfwidth:g}"
    if cell.halfwidth is None:
        why = f"all {n} seeds give exactly the same {rule.metric}, so their spread is not known"
    else:
        why = f"{rule.metric} over {n} seeds is known to ± {cell.halfwidth:.3g}"
        if rule.halfwidth is not None and cell.halfwidth <= rule.halfwidth:
            return cell.standing("reached", f"{why}, and {goal} was asked for")
    return _goes_on(rule, cell, f"{why}, and {goal} is asked for")


def _goes_on(rule: Rule, cell: _Cell, why: str) -> Standing:
    if len(cell.trials) < rule.max:
        return cell.standing("more", why)
    return cell.standing("max", f"{why}; it has all {rule.max} seeds")


def _best_decided(rule: Rule, cells: Sequence[_Cell], credits: Sequence[Credits]) -> list[Standing]:
    barred = {cell.name: standing for cell in cells if (standing := _barred(cell)) is not None}
    in_contest = [cell for cell in cells if len(cell.values) > 1]
    if any(standing.word == "open" for standing in barred.values()):
        return [barred.get(cell.name) or cell.standing("open", "the seeds of other cells have not ended yet") for cell in cells]
    if len(in_contest) < 2:
        return [barred.get(cell.name) or cell.standing("reached", "there is no other cell to tell it from") for cell in cells]
    leader = (max if direction(rule.metric) == "max" else min)(in_contest, key=lambda cell: cell.mean)
    books = Books(credits)
    p = {cell.name: _p(rule, leader, cell, books) for cell in in_contest if cell is not leader}
    close = [cell for cell in in_contest if cell is not leader and p[cell.name] > LEVEL]
    fewer = {cell.name for cell in close if len(cell.trials) <= len(leader.trials)}
    out = []
    for cell in cells:
        if cell.name in barred:
            out.append(barred[cell.name])
        elif cell is leader and not close:
            out.append(cell.standing("reached", f"it is better than every other cell on {rule.metric}"))
        elif cell is leader:
            why = f"it is the best on {rule.metric} so far, and not told apart from {_names(close)}"
            behind = any(len(cell.trials) <= len(rival.trials) for rival in close)
            out.append(_goes_on(rule, cell, why) if behind else cell.standing("open", f"{why}, which have fewer seeds"))
        elif cell not in close:
            out.append(cell.standing("reached", f"{leader.name} is better on {rule.metric} (p = {p[cell.name]:.2g} at every look)"))
        else:
            why = f"it is not told apart from {leader.name}, the best on {rule.metric} so far (p = {p[cell.name]:.2g} at every look)"
            out.append(_goes_on(rule, cell, why) if cell.name in fewer else cell.standing("open", f"{why}, which has fewer seeds"))
    return _nobody_waits(rule, out)


def _nobody_waits(rule: Rule, found: list[Standing]) -> list[Standing]:
    """Cells that wait for one with fewer seeds wait for nothing where that one gets none."""
    if any(one.word == "more" for one in found):
        return found
    return [Standing(one.cell, "max", one.why, one.seeds, one.planned, one.halfwidth) if one.word == "open" else one for one in found]


def _names(cells: Sequence[_Cell]) -> str:
    more = f" and {len(cells) - 2} more" if len(cells) > 2 else ""
    return (" and " if len(cells) == 2 else ", ").join(cell.name for cell in cells[:2]) + more


def _p(rule: Rule, leader: _Cell, rival: _Cell, books: Books) -> float:
    """The p value of the difference as it counts after the rule; 1 where there is too little to test."""
    try:
        return evidence(by_seed(leader.trials, rule.metric), by_seed(rival.trials, rule.metric), rule.metric, books, rule).p
    except TooFew:
        return 1.0
