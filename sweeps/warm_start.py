"""The warm start of a search: what finished trials of earlier sweeps would have been as suggestions, and their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.definition import SweepDefinition, searched
from core.definition.plan import PlannedTrial
from core.definition.problems import place_of
from core.definition.space import Parameter, Space
from core.definition.walk import expand_shorthand
from core.errors import DefinitionError, nearest
from core.workspace.files import MANIFEST, read_json
from core.workspace.growth import GrowthLog
from core.workspace.layout import Workspace
from core.workspace.registration import revision, sweep_id
from sweeps.searching import family


def warm_start(definition: SweepDefinition, workspace: Workspace | None) -> list[dict[str, Any]]:
    """The finished trials of the sweeps in ``search.warm_start`` that lie in the space: what stood in them, and their values.

    Raises:
        DefinitionError: there is no such sweep in the workspace.
    """
    search, space = definition.search, definition.space
    assert search is not None and space is not None
    out = []
    for number, name in enumerate(search.warm_start):
        out += list(_warm_from(definition, space, workspace, name, number))
    return out


def _warm_from(definition: SweepDefinition, space: Space, workspace: Workspace | None, name: str, number: int) -> Iterator[dict[str, Any]]:
    rehearsal = definition.rehearsal is not None
    known = {sweep.id: sweep for sweep in workspace.sweeps()} if workspace is not None else {}
    sweep = known.get(sweep_id(name, rehearsal)) or known.get(name)
    if workspace is None or sweep is None:
        raise DefinitionError(
            "the sweep that the search is to start from is not in this workspace", found=name,
            allowed=sorted(known) or "none has been launched yet", nearest=nearest(name, known),
            place=place_of(definition.source.places, ("search", "warm_start", number), ("search", "warm_start")),
        )  # fmt: skip
    trials: dict[str, PlannedTrial] = {}
    for one in sweep.revisions():
        trials.update((planned.id, planned) for planned in revision(sweep, one).plan())
    own = family(definition)
    log = GrowthLog(sweep, own)
    suggested = {trial.id for record in log.refresh() for trial in record.trials}
    points = list(searched.points(definition))
    for planned in trials.values():
        if planned.id in suggested or bool(planned.config.get("rehearsal")) != rehearsal:
            continue
        values = _values(definition, workspace, planned)
        if values is None:
            continue
        for point in points:
            at_point = all(_at(planned.config, path) in (value, None) for path, value in point.cell.items())
            chosen = _chosen(space, point.cell, planned) if at_point else None
            if chosen is not None:
                yield {"study": point.name, "sweep": sweep.id, "trial": planned.id, "chosen": chosen, "values": values}


def _values(definition: SweepDefinition, workspace: Workspace, planned: PlannedTrial) -> list[float] | None:
    from core.control.tick import trial_key

    trial = workspace.trial(planned.id)
    if not (trial.result / MANIFEST).exists():
        return None
    metrics = dict(read_json(trial.result / "metrics.json")["metrics"])
    for entry in planned.evaluate:
        summary = trial.scoring(trial_key(planned, entry)).summary
        found = read_json(summary)["metrics"] if summary.exists() else {}
        metrics |= {f"{entry['benchmark']['name']}/{name}": value for name, value in found.items()}
    values = [metrics.get(objective.metric) for objective in definition.objectives]
    return None if any(value is None for value in values) else [float(value) for value in values if value is not None]


def _chosen(space: Space, point: Mapping[str, Any], planned: PlannedTrial) -> dict[str, float | str] | None:
    """What a sampler would have chosen for this trial; ``None`` where the trial lies outside of the space."""
    chosen: dict[str, float | str] = {}
    for parameter in space.parameters:
        if not space.active(parameter, chosen, point):
            continue
        value = _value(parameter, planned)
        if value is None:
            return None
        chosen[parameter.name] = value
    return chosen


def _value(parameter: Parameter, planned: PlannedTrial) -> float | str | None:
    found = parameter.range
    own = [_at(planned.config, ".".join(path)) for path in parameter.paths]
    if found is not None:
        value = own[0]
        inside = isinstance(value, int | float) and not isinstance(value, bool) and found.low <= value <= found.high
        return float(value) if inside and not (found.whole and value != int(value)) else None
    assert parameter.axis is not None
    for index, choice in enumerate(parameter.choices):
        row = parameter.axis.row(index)
        if all(_same(item.raw, value) for item, value in zip(row, own, strict=True)):
            return choice
    return None


def _same(raw: Any, value: Any) -> bool:
    if isinstance(value, float | int) and not isinstance(value, bool) and isinstance(raw, str):
        try:
            return float(raw) == float(value)
        except ValueError:
            return False
    return raw == value or (raw is not None and str(raw) == str(value))


def _at(config: Mapping[str, Any], path: str) -> Any:
    here: Any = config
    for key in expand_shorthand(tuple(path.split("."))):
        here = here.get(key) if isinstance(here, Mapping) else None
    return here
