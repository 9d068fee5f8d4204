"""The pictures of a search, from what it knows."""

from __future__ import annotations

import math
from collections.abc import Mapping

from core.control.search.study import SearchState, Study, Suggestion
from core.definition.space import Parameter, Space
from dashboards.plots import Dimension, Look, Share, Slice, Tried, history, importance, parallel, slices


def pictures(search: SearchState, study: Study, space: Space, shares: Mapping[str, float], look: Look) -> dict[str, bytes]:
    """History, importance, parallel coordinates and slices of a study, by name; for the first objective where there are two."""
    objective = search.objectives[0]
    label = objective.metric
    values = [_value(search, item) for item in study.suggestions]
    asked = [Tried(item.number, item.told, value) for item, value in zip(study.suggestions, values, strict=True)]
    dimensions = [_dimension(parameter, study) for parameter in space.parameters]
    finished = [value if item.told == "complete" else None for item, value in zip(study.suggestions, values, strict=True)]
    return {
        "history": history(asked, look, mode=objective.mode, label=label),
        "importance": importance(
            [Share(name, share) for name, share in shares.items()], look, label="share of what tells the best quarter from the rest (%)"
        ),
        "parallel": parallel([*dimensions, Dimension(label, finished)], look, colour=finished, label=label),
        "slices": slices(
            [_slice(parameter, study) for parameter in space.parameters], look, objective=values,
            stopped=[item.told == "pruned" for item in study.suggestions], label=label,
        ),
    }  # fmt: skip


def _value(search: SearchState, item: Suggestion) -> float | None:
    """The objective; of a stopped trial the last value of its curve, where that is of the objective."""
    if item.values is not None:
        return item.values[0]
    pruner = search.config.pruner
    of_objective = pruner is None or pruner.metric in (None, search.objectives[0].metric)
    known = [value for _, value in item.curve if math.isfinite(value)]
    return known[-1] if item.told == "pruned" and known and of_objective else None


def _dimension(parameter: Parameter, study: Study) -> Dimension:
    values = [item.chosen.get(parameter.name) for item in study.suggestions]
    if parameter.range is not None and parameter.range.log:
        return Dimension(f"{parameter.name} (log10)", [None if value is None else math.log10(float(value)) for value in values])
    return Dimension(parameter.name, values)


def _slice(parameter: Parameter, study: Study) -> Slice:
    log = parameter.range is not None and parameter.range.log
    return Slice(parameter.name, [item.chosen.get(parameter.name) for item in study.suggestions], log)
