"""The ablation itself: what each axis does to one metric, which axis matters, and what quality costs (pure, no I/O).

- **One factor at a time**: the cells that differ from the *base cell* in one axis alone, each less the base cell, with its 95 % interval
  and p values after Holm over the axis. The base cell is the one with the most such neighbours (of several the first): in a paper's
  ablation the chosen point, in a full cross the first cell.
- **Full factor**, where the cells are a complete cross of their axes: the mean of each value over all others, and the analysis of variance
  of the cells' means into main effects and two-way interactions, as shares of the sum of squares. With replicates each has the p value of
  its F test against the spread within cells (Fisher, Statistical Methods for Research Workers, 1925, chapter 7).
- **Importance** of each axis: fANOVA on a random forest (Hutter, Hoos and Leyton-Brown, ICML 2014), or for more than :data:`LARGE` cells
  or :data:`MANY_VALUES` values PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023), both by Optuna. It needs no complete cross.
- **Cost**: worker-hours times GPUs, tokens, seconds per scored example; a cell is on the *Pareto front* where no other is both better and
  cheaper.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.special import fdtrc, stdtrit

from core.analysis.books import Books
from core.analysis.compare import Side, refusal, values_of
from core.analysis.difference import estimate
from core.analysis.effects import Ablation, Cost, Effect, Level, OneFactor
from core.analysis.intervals import TooFew
from core.analysis.multiplicity import holm
from core.analysis.outcomes import TrialOutcome
from core.analysis.report import Row, direction
from core.analysis.sequential import Rule, confidence
from core.evaluation.credits import Credits

LARGE = 200
"""Beyond so many cells the random forest of fANOVA takes too long."""

MANY_VALUES = 32
"""Beyond so many values of all axes together it does, too: its trees have a column for each value."""

MOST = 1000
"""Cells that effects and importance are computed for at most: every cell is compared with every other."""

FEWEST = 4
"""Cells with a value that importance takes at least."""


def ablate(
    metric: str,
    rows: Sequence[Row],
    cells: Mapping[str, Sequence[TrialOutcome]],
    *,
    rehearsal: bool,
    credits: Sequence[Credits] = (),
    rule: Rule | None = None,
) -> Ablation:
    """The ablation of one metric.

    Args:
        metric: full name.
        rows: of the table; those of kind ``cell`` with a mean count.
        cells: the replicates of each row, by its name.
        rehearsal: whether they are a rehearsal's.
        credits: of their score tables.
        rule: what has added seeds, if a rule has.
    """
    known = [row for row in rows if row.kind == "cell" and row.metrics.get(metric) is not None and row.metrics[metric].mean is not None]
    axes = list(dict.fromkeys(path for row in known for path in row.cell or ()))
    axes = [axis for axis in axes if len({_key(row, axis) for row in known}) > 1]
    costs = _costs(metric, known, cells)
    if len(known) < 2 or not axes:
        return Ablation(metric, costs=costs)
    if len(known) > MOST:
        note = f"No effects and no importance: {len(known)} cells, and they are computed for up to {MOST}."
        return Ablation(metric, costs=costs, notes=(note,))
    neighbours = _neighbours(known, axes)
    base = known[neighbours.index(max(neighbours))]
    notes: list[str] = []
    factors = _one_factor(metric, base, known, axes, cells, rehearsal, credits, notes, rule)
    means, effects = _full_factor(metric, known, axes)
    if not effects and len(axes) > 1:
        notes.append("The cells are no complete cross of their axes: no main effects and interactions.")
    shares, method = _importance(metric, known, axes)
    return Ablation(metric, base.name, factors, means, effects, shares, method, costs, tuple(notes))


def _key(row: Row, axis: str) -> str:
    return repr((row.cell or {}).get(axis))


def _neighbours(rows: Sequence[Row], axes: Sequence[str]) -> list[int]:
    """Of each row, how many others differ from it in one axis alone."""
    keys = [tuple(_key(row, axis) for axis in axes) for row in rows]
    same = Counter(keys)
    around = [Counter((*key[:place], *key[place + 1 :]) for key in keys) for place in range(len(axes))]
    return [sum(found[*key[:place], *key[place + 1 :]] - same[key] for place, found in enumerate(around)) for key in keys]


def _apart(one: Row, other: Row, axes: Sequence[str]) -> str | None:
    """The one axis in which two cells differ; ``None`` where it is none or several."""
    found = [axis for axis in axes if _key(one, axis) != _key(other, axis)]
    return found[0] if len(found) == 1 else None


def _mean(row: Row, metric: str) -> float:
    mean = row.metrics[metric].mean
    assert mean is not None
    return mean


def _one_factor(
    metric: str, base: Row, rows: Sequence[Row], axes: Sequence[str], cells: Mapping[str, Sequence[TrialOutcome]], rehearsal: bool,
    credits: Sequence[Credits], notes: list[str], rule: Rule | None,
) -> tuple[OneFactor, ...]:  # fmt: skip
    sides = {row.name: Side(row.name, rehearsal, cells[row.name], rule) for row in rows}
    books = Books(credits)
    out = []
    for axis in axes:
        levels = [Level((base.cell or {}).get(axis), base.name, _mean(base, metric))]
        for row in rows:
            if _apart(base, row, axes) == axis:
                levels.append(_level(metric, axis, row, sides[row.name], sides[base.name], books, credits, notes))
        tested = [index for index, level in enumerate(levels) if level.p is not None]
        adjusted = holm([p for level in levels if (p := level.p) is not None])
        for index, p in zip(tested, adjusted, strict=True):
            levels[index] = levels[index].with_adjusted(p)
        if len(levels) > 1:
            out.append(OneFactor(axis, tuple(levels)))
    return tuple(out)


def _level(metric: str, axis: str, row: Row, side: Side, base: Side, books: Books, credits: Sequence[Credits], notes: list[str]) -> Level:
    value, mean = (row.cell or {}).get(axis), _mean(row, metric)
    reason, _ = refusal(side, base, metric, (values_of(side, metric), values_of(base, metric)), credits)
    if reason is None:
        try:
            found = estimate(side, base, metric, books)
        except TooFew as few:
            reason = str(few)
        else:
            sign = -1 if direction(metric) == "min" else 1
            level = confidence(side.rule if found.seeds > 1 else None)
            half = float(stdtrit(found.dof, 0.5 + level / 2)) * found.se
            middle = sign * found.difference
            return Level(value, row.name, mean, middle, (middle - half, middle + half), found.p, None, found.over)
    sentence = f"Not tested against the base cell: {reason}."
    if sentence not in notes:
        notes.append(sentence)
    return Level(value, row.name, mean, None)


def _full_factor(metric: str, rows: Sequence[Row], axes: Sequence[str]) -> tuple[tuple[OneFactor, ...], tuple[Effect, ...]]:
    """Means of each value and the analysis of variance; empty where the cells are no complete cross of two axes or more."""
    values = [list(dict.fromkeys(_key(row, axis) for row in rows)) for axis in axes]
    shape = [len(found) for found in values]
    if len(axes) < 2 or math.prod(shape) != len(rows):
        return (), ()
    table = np.full(shape, np.nan)
    for row in rows:
        table[tuple(found.index(_key(row, axis)) for found, axis in zip(values, axes, strict=True))] = _mean(row, metric)
    if np.isnan(table).any():
        return (), ()
    original = {(axis, _key(row, axis)): (row.cell or {}).get(axis) for row in rows for axis in axes}
    grand = float(table.mean())
    total = float(((table - grand) ** 2).sum())
    fitted: dict[tuple[int, ...], Any] = {}
    counts = [len(row.metrics[metric].values) for row in rows]
    within = sum(float(np.var(row.metrics[metric].values, ddof=1)) * (n - 1) for row, n in zip(rows, counts, strict=True) if n > 1)
    dof_within = sum(n - 1 for n in counts)
    same = len(set(counts)) == 1 and dof_within > 0 and within > 0
    effects = []
    for size in (1, 2):
        for part in combinations(range(len(axes)), size):
            others = tuple(axis for axis in range(len(axes)) if axis not in part)
            effect = table.mean(axis=others, keepdims=True) - grand
            for smaller in (one for one in fitted if set(one) < set(part)):
                effect = effect - fitted[smaller]
            fitted[part] = effect
            squares = float((np.broadcast_to(effect, table.shape) ** 2).sum())
            dof = math.prod(shape[axis] - 1 for axis in part)
            p = None
            if same and not (size == 2 and len(axes) == 2 and dof == 0):
                ratio = counts[0] * squares / dof / (within / dof_within)
                p = float(fdtrc(dof, dof_within, ratio))
            effects.append(Effect(tuple(axes[axis] for axis in part), squares / total if total else 0.0, p))
    means = tuple(
        OneFactor(
            axis,
            tuple(
                Level(original[axis, key], "", float(np.take(table, index, axis=number).mean())) for index, key in enumerate(values[number])
            ),
        )
        for number, axis in enumerate(axes)
    )
    return means, tuple(effects)


def _importance(metric: str, rows: Sequence[Row], axes: Sequence[str]) -> tuple[tuple[tuple[str, float], ...], str]:
    """Shares by axis, the largest first, and the method; empty for too few cells, or where all are alike."""
    means = [_mean(row, metric) for row in rows]
    if len(rows) < FEWEST or min(means) == max(means):
        return (), ""
    choices = {axis: tuple(dict.fromkeys(_key(row, axis) for row in rows)) for axis in axes}
    small = len(rows) <= LARGE and sum(map(len, choices.values())) <= MANY_VALUES
    method = "fANOVA" if small else "PED-ANOVA"
    if len(axes) == 1:  # what there is to explain, it explains: no method says anything else
        return ((axes[0], 1.0),), method
    import optuna
    from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction="minimize" if direction(metric) == "min" else "maximize")
        distributions: dict[str, Any] = {axis: optuna.distributions.CategoricalDistribution(found) for axis, found in choices.items()}
        for row, mean in zip(rows, means, strict=True):
            parameters = {axis: _key(row, axis) for axis in axes}
            study.add_trial(optuna.trial.create_trial(params=parameters, distributions=distributions, value=mean))
        evaluator: BaseImportanceEvaluator = FanovaImportanceEvaluator(seed=0) if small else PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(level)
    return tuple((axis, float(share)) for axis, share in sorted(found.items(), key=lambda item: -item[1])), method


def _costs(metric: str, rows: Sequence[Row], cells: Mapping[str, Sequence[TrialOutcome]]) -> tuple[Cost, ...]:
    """Means over the replicates, with the Pareto front of quality over hours."""
    sign = -1 if direction(metric) == "min" else 1
    found = []
    for row in rows:
        trials = cells[row.name]
        hours = _average([trial.hours for trial in trials])
        tokens = _average([trial.metrics.get("train/tokens") for trial in trials])
        seconds = _average([trial.example_seconds for trial in trials])
        found.append((row.name, sign * _mean(row, metric), hours, tokens, seconds))
    front: set[tuple[float, float]] = set()
    best = -math.inf
    for hours, worse in sorted((hours, -quality) for _, quality, hours, _, _ in found if hours is not None):
        if -worse > best or (-worse, hours) in front:
            front.add((-worse, hours))
            best = max(best, -worse)
    out = []
    for name, quality, hours, tokens, seconds in found:
        out.append(Cost(name, sign * quality, hours, tokens, seconds, hours is not None and (quality, hours) in front))
    return tuple(out)


def _average(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
