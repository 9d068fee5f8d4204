"""How much each searched parameter matters, by Optuna's PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023)."""

from __future__ import annotations

import warnings

from core.control.search.sampler import rebuild
from core.control.search.study import SearchState, Study
from core.definition.space import Space

ENOUGH = 8
"""Finished suggestions below which no importance is given: it would be chance."""
QUARTER = 0.25
"""What is told from the rest: the best quarter, since the best tenth of some dozens would be a few trials."""


def importances(search: SearchState, study: Study, space: Space) -> dict[str, float]:
    """Shares (together 1) of what tells the best quarter of the finished suggestions from the rest, the largest first.

    With two objectives by the first. Parameters that are not always chosen have none. Empty where fewer than :data:`ENOUGH` have
    finished, or where all have the same value.
    """
    if len(study.finished()) < ENOUGH:
        return {}
    import optuna

    names = [parameter.name for parameter in space.parameters if not parameter.when]
    told = rebuild(search, study, space, optuna.storages.InMemoryStorage())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # experimental, and what it says of constant values
        try:
            found = optuna.importance.get_param_importances(
                told, evaluator=optuna.importance.PedAnovaImportanceEvaluator(target_quantile=QUARTER), params=names,
                target=(lambda trial: float(trial.values[0])) if len(search.objectives) > 1 else None,
            )  # fmt: skip
        except (RuntimeError, ValueError, ZeroDivisionError):  # all values are equal
            return {}
    shares = {str(name): float(share) for name, share in found.items()}
    return shares if all(share == share for share in shares.values()) else {}
