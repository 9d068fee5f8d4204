"""The difference of two cells with its error, for verdicts and one-factor tables (pure, no I/O)."""

from __future__ import annotations

import numpy as np

from core.analysis.books import Books
from core.analysis.compare import Side, values_of
from core.analysis.intervals import TooFew
from core.analysis.paired import crossed, decisive_test
from core.analysis.report import direction
from core.analysis.sequential import overall, stricter
from core.analysis.verdicts import Estimate


def estimate(left: Side, right: Side, metric: str, books: Books) -> Estimate:
    """The first less the second with its error, by what there is: over seeds and examples, over seeds, or over examples.

    Its p value counts what a rule that has added seeds to one of them has seen.
    The two are comparable (see :func:`core.analysis.compare.refusal`). More is better: of a loss the sign is turned.

    Raises:
        TooFew: no seed in common, or too little to know the error from.
    """
    values = values_of(left, metric), values_of(right, metric)
    sign = -1 if direction(metric) == "min" else 1
    seeds = sorted(values[0].keys() & values[1].keys())
    if not seeds:
        raise TooFew("no seed in common")
    owners = [{trial.seed: trial.id for trial in side.trials} for side in (left, right)]
    both = books.sample(metric, [side[seed] for side in owners for seed in seeds])
    n = len(seeds)
    by_seed = [sign * (values[0][seed] - values[1][seed]) for seed in seeds]
    sample = None if both is None else both.of(sign * (both.values[:n] - both.values[n:]))
    evidence = decisive_test(sample, by_seed)
    mean = float(np.mean(by_seed))
    if n == 1:
        assert sample is not None
        rest = sample.residuals()[0]
        count = len(rest)
        se = float((count / (count - 1) * (rest**2).sum()) ** 0.5)
        return Estimate(mean, se, float(count - 1), evidence.test, evidence.p, "examples", 1)
    p = overall(stricter(left.rule, right.rule), evidence.p)
    if sample is not None and evidence.test != "paired t over seeds":
        found = crossed(sample)
        return Estimate(mean, found.se, found.dof, evidence.test, p, "seeds and examples", n, found.seed_variance, found.example_variance)
    variance = float(np.var(by_seed, ddof=1))
    return Estimate(mean, (variance / n) ** 0.5, float(n - 1), evidence.test, p, "seeds", n, variance, 0.0)
