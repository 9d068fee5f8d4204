"""Which running trials of a study are stopped: a pure function of the learning curves as they are.

Successive halving in its asynchronous form, where a trial that falls behind is stopped and nobody waits (Li et al., MLSys 2020, the
stopping variant): at the rungs ``first * reduction^k`` of a trial's own training, one of ``reduction`` goes on. Optuna keeps the rungs
in the order in which reports arrived; here each pass judges every running trial at the highest rung that it has reached, against all
trials that have come so far. So a verdict needs no memory, and is the same whoever makes it and after whatever crash.
Hyperband runs several of these side by side, which differ in their first rung. The median and Wilcoxon rules are Optuna's own.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.control.search.study import Curve, Study, Suggestion
from core.definition.searching import PrunerConfig

REDUCTION, STARTUP, P = 3, 4, 0.1
GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Verdict:
    """A trial to be stopped, and why."""

    suggestion: Suggestion
    why: str


def verdicts(config: PrunerConfig, mode: str, metric: str, study: Study) -> list[Verdict]:
    """The running trials of a study that its pruner stops now.

    Args:
        config: the pruner.
        mode: ``max`` or ``min``: what is better.
        metric: its name, for the reason.
        study: with curves.
    """
    running = [item for item in study.suggestions if item.told == "open" and item.curve]
    out = [Verdict(item, f"its {metric} is not a number") for item in running if not math.isfinite(item.curve[-1][1])]
    running = [item for item in running if math.isfinite(item.curve[-1][1])]
    if config.kind in ("asha", "hyperband"):
        rule = _Halving(config, mode, metric, study)
        found = [rule.judge(item) for item in running]
        return [*out, *(verdict for verdict in found if verdict is not None)]
    return [*out, *_by_optuna(config, mode, metric, study, running)]


def rungs(config: PrunerConfig, bracket: int = 0) -> list[float]:
    """The rungs of a bracket, in percent of training."""
    reduction = config.reduction or REDUCTION
    out = []
    rung = 100 * config.first * reduction**bracket
    while rung < 100 - 1e-9:
        out.append(rung)
        rung *= reduction
    return out


def at(curve: Curve, rung: float) -> float | None:
    """The value with which a trial reached a rung."""
    return next((value for progress, value in curve if progress >= rung - 1e-9), None)


class _Halving:
    def __init__(self, config: PrunerConfig, mode: str, metric: str, study: Study) -> None:
        self.config, self.metric, self.study = config, metric, study
        self.sign = 1.0 if mode == "max" else -1.0
        self.reduction = config.reduction or REDUCTION
        self.brackets = len(rungs(config)) if config.kind == "hyperband" else 1

    def bracket(self, item: Suggestion) -> int:
        """The bracket of a suggestion: shares as in Hyperband, spread evenly over the numbers."""
        if self.brackets == 1:
            return 0
        top = self.brackets - 1
        shares = [math.ceil((top + 1) * self.reduction ** (top - b) / (top - b + 1)) for b in range(self.brackets)]
        place = (item.number * GOLDEN) % 1.0 * sum(shares)
        for bracket, share in enumerate(shares):
            place -= share
            if place < 0:
                return bracket
        return top

    def judge(self, item: Suggestion) -> Verdict | None:
        bracket = self.bracket(item)
        reached = [rung for rung in rungs(self.config, bracket) if at(item.curve, rung) is not None]
        if not reached:
            return None
        rung = reached[-1]
        own = at(item.curve, rung)
        assert own is not None
        others = [
            value
            for other in self.study.suggestions
            if other is not item and self.bracket(other) == bracket and (value := at(other.curve, rung)) is not None
        ]
        better = sum(1 for value in others if math.isfinite(value) and self.sign * value > self.sign * own)
        keep = max(1, (len(others) + 1) // self.reduction)
        if better < keep:
            return None
        go_on = "1 goes on" if keep == 1 else f"{keep} go on"
        rank = f"number {better + 1} of {len(others) + 1}"
        return Verdict(item, f"at {rung:g} % of training its {self.metric} {own:.4g} is {rank}, {go_on} ({self.config.kind})")


def _by_optuna(config: PrunerConfig, mode: str, metric: str, study: Study, running: Sequence[Suggestion]) -> list[Verdict]:
    if not running:
        return []
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner: Any
    if config.kind == "median":
        startup = config.startup or STARTUP
        pruner = optuna.pruners.MedianPruner(n_startup_trials=startup, n_warmup_steps=math.ceil(100 * config.first))
        rule = "is below the median of the finished trials" if mode == "max" else "is above the median of the finished trials"
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=config.p or P)
        rule = f"is worse than the best trial's, validation by validation (p < {config.p or P:g})"
    told = optuna.create_study(direction="maximize" if mode == "max" else "minimize")
    for item in study.suggestions:
        finite = {progress: value for progress, value in item.curve if math.isfinite(value)}
        if item.told == "complete" and finite:
            last = finite[max(finite)]
            told.add_trial(optuna.trial.create_trial(value=last, intermediate_values=finite, state=optuna.trial.TrialState.COMPLETE))
    out = []
    for item in running:
        if item.curve[-1][0] < 100 * config.first:
            continue
        if not told.trials:
            break
        values = {progress: value for progress, value in item.curve if math.isfinite(value)}
        if config.kind == "wilcoxon":  # pairs by progress: only what the best trial has too
            values = {progress: value for progress, value in values.items() if progress in told.best_trial.intermediate_values}
        frozen = optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values=values)
        if pruner.prune(told, frozen):
            progress, value = item.curve[-1]
            out.append(Verdict(item, f"at {progress} % of training its {metric} {value:.4g} {rule} ({config.kind})"))
    return out
