"""The rules: from the scores of several members to one score, as functions of arrays.

A rule gets a :class:`Ballots` and returns ``[orders, rows]``, NaN where nobody joined (numpy's warnings about such rows are off). What
holds for all of them:

- A member joins a *comparison* (the responses that are ranked against each other) whole or not at all: where it has no score for one of
  its responses it sits out all of them, and the weights of the others are scaled to a sum of one. So two responses are never compared by
  scores of different members.
- The order of the members does not matter, to the last bit: they come sorted.
- One member alone decides everything as it did by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from core.evaluation.ensembles.config import (
    AccuracyWeightedConfig,
    ConfidenceWeightedConfig,
    MeanConfig,
    MeanMinusStdConfig,
    MinConfig,
    RouteConfig,
    VoteConfig,
)

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ballots:
    """What a rule decides on.

    Attributes:
        scores: [members, orders, rows] in each member's own unit, or as z-scores; NaN where the member does not join.
        comparison: [rows] the number of the comparison that a row belongs to, from 0; for a rule over pairs each has two rows.
        accuracy: [members] accuracy on the validation pairs, a fraction; NaN where not known.
        margin: [members] mean margin on the validation pairs, in the unit of ``scores``; NaN where not known.
        text_alone: [members] whether the member is asked about text alone.
        text: [rows] whether the example has no image and no video.
    """

    scores: Floats
    comparison: Integers
    accuracy: Floats
    margin: Floats
    text_alone: Truths
    text: Truths


def mean(ballots: Ballots, config: MeanConfig) -> Floats:
    """``mean_m r_m`` (BaseReward, arXiv 2509.16127, section 4.7)."""
    return weighted(ballots.scores, np.ones(len(ballots.scores)))


def accuracy_weighted(ballots: Ballots, config: AccuracyWeightedConfig) -> Floats:
    """``sum_m a_m r_m`` with ``a_m = accuracy_m / sum accuracy`` (BaseReward, section 4.7)."""
    return weighted(ballots.scores, ballots.accuracy)


def confidence_weighted(ballots: Ballots, config: ConfidenceWeightedConfig) -> Floats:
    """``sum_m a_m r_m`` with ``a_m = margin_m / sum margin``, the mean validation margins (BaseReward, section 4.7)."""
    return weighted(ballots.scores, ballots.margin)


def lowest(ballots: Ballots, config: MinConfig) -> Floats:
    """``min_m r_m`` (the "worst" of RewardBench's ``run_ensemble_offline.py``)."""
    return np.asarray(np.nanmin(ballots.scores, axis=0))


def mean_minus_std(ballots: Ballots, config: MeanMinusStdConfig) -> Floats:
    """``mean_m r_m - std_m r_m``, the population's standard deviation ("uncertainty" there)."""
    return np.asarray(np.nanmean(ballots.scores, axis=0) - np.nanstd(ballots.scores, axis=0))


def route(ballots: Ballots, config: RouteConfig) -> Floats:
    """The mean of the members that a kind of example goes to: text to those for text alone where any joins, the rest to the others."""
    specialists = ballots.text_alone[:, None, None] & np.isfinite(ballots.scores)
    routed = (specialists.any(axis=0) & ballots.text)[None]
    asked = np.where(routed, specialists, ~ballots.text_alone[:, None, None] | ballots.text)
    return weighted(np.where(asked, ballots.scores, np.nan), np.ones(len(ballots.scores)))


def vote(ballots: Ballots, config: VoteConfig) -> Floats:
    """Each response's share of the votes in its pair.

    A member votes for the response of the higher score, and not at all where the two are equal. Where both have as many votes the tie
    rule may give a casting vote to one of them, which counts like any other.
    """
    order = np.argsort(ballots.comparison, kind="stable").reshape(-1, 2)
    left, right = ballots.scores[:, :, order[:, 0]], ballots.scores[:, :, order[:, 1]]
    with np.errstate(invalid="ignore"):
        votes = (left > right).astype(np.float64), (right > left).astype(np.float64)
    counts = votes[0].sum(axis=0), votes[1].sum(axis=0)
    if config.ties != "tie":
        if config.ties == "margin":
            leaning = np.nansum(left - right, axis=0)
        else:
            accuracy = ballots.accuracy[:, None, None]
            leaning = (votes[0] * accuracy).sum(axis=0) - (votes[1] * accuracy).sum(axis=0)
        even = counts[0] == counts[1]
        counts = counts[0] + (even & (leaning > 0)), counts[1] + (even & (leaning < 0))
    total = counts[0] + counts[1]
    joined = np.isfinite(left - right).any(axis=0)
    out = np.full(ballots.scores.shape[1:], np.nan)
    for side in (0, 1):
        share = np.divide(counts[side], total, out=np.full(total.shape, 0.5), where=total > 0)
        out[:, order[:, side]] = np.where(joined, share, np.nan)
    return out


def weighted(scores: Floats, weights: Floats) -> Floats:
    """[orders, rows] the weighted mean over the members that join, their weights scaled to a sum of one.

    Args:
        scores: [members, orders, rows].
        weights: [members] none below 0.
    """
    joined = np.isfinite(scores)
    shares = joined * weights[:, None, None]
    total = shares.sum(axis=0)
    known = total > 0
    shares = np.divide(shares, total, out=np.zeros_like(scores), where=known)
    return np.where(known, (shares * np.where(joined, scores, 0.0)).sum(axis=0), np.nan)
