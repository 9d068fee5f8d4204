"""Asking Optuna: a study is rebuilt from what the files say, asked once, and forgotten.

What a sampler must find again (CMA-ES its distribution, NSGA-II its generation, QMC its place in the sequence) Optuna keeps as
attributes of trials and of the study. They are written down with each suggestion and put back here.
"""

from __future__ import annotations

import hashlib
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.control.search.study import SearchState, Study
from core.definition.space import Chosen, Parameter, Space

if TYPE_CHECKING:
    import optuna

REPEATS = 20
"""Suggestions in a row that may repeat a cell before others ways are tried."""

ENUMERATED = 100_000
"""Combinations of a space up to which the cells that are left can be listed."""


@dataclass(frozen=True)
class Proposal:
    """What the sampler has chosen, and what it wants to find again."""

    chosen: dict[str, float | str]
    attrs: dict[str, Any]
    shared: dict[str, Any]


def propose(search: SearchState, study: Study, space: Space, point: Mapping[str, Any], accept: Callable[[Chosen], bool]) -> Proposal | None:
    """The next cell of a study; ``None`` where the sampler and chance find none that is new.

    Args:
        search: the search.
        study: which of its studies.
        space: what is chosen from.
        point: the cell of the grid.
        accept: whether a choice is a cell that has not been suggested yet.
    """
    storage = _optuna().storages.InMemoryStorage()
    asked = rebuild(search, study, space, storage, sampler=make_sampler(search, study, space))

    def shared() -> dict[str, Any]:
        return dict(storage.get_study_system_attrs(storage.get_study_id_from_name(asked.study_name)))

    for _ in range(REPEATS):
        trial = asked.ask()
        chosen = _choose(trial, space, point)
        if accept(chosen):
            return Proposal(chosen, dict(asked.get_trials(deepcopy=False)[trial.number].system_attrs), shared())
        asked.tell(trial, state=_optuna().trial.TrialState.FAIL)
    for chosen in _others(search, study, space, point):
        if accept(chosen):
            return Proposal(chosen, {}, shared())
    return None


def rebuild(search: SearchState, study: Study, space: Space, storage: Any, *, sampler: Any = None, name: str | None = None) -> optuna.Study:
    """The Optuna study of what the files say, in a storage of Optuna's: warm trials first, then the suggestions in order."""
    optuna = _optuna()
    directions = ["maximize" if objective.mode == "max" else "minimize" for objective in search.objectives]
    out = optuna.create_study(study_name=name or study.name, directions=directions, sampler=sampler, storage=storage)
    state = optuna.trial.TrialState
    for chosen, values in study.warm:
        params, distributions = _told(space, chosen)
        note = {"from": "an earlier sweep"}
        trial = optuna.trial.create_trial(
            state=state.COMPLETE, params=params, distributions=distributions, values=list(values), user_attrs=note
        )  # fmt: skip
        out.add_trial(trial)
    states = {"open": state.RUNNING, "complete": state.COMPLETE, "pruned": state.PRUNED, "failed": state.FAIL}
    for item in study.suggestions:
        params, distributions = _told(space, item.chosen)
        finite = {progress: value for progress, value in item.curve if value == value}
        trial = optuna.trial.create_trial(
            state=states[item.told], params=params, distributions=distributions, values=list(item.values) if item.values else None,
            intermediate_values=finite, system_attrs=dict(item.attrs),
            user_attrs={"trial": item.planned.id, **({"reason": item.reason} if item.reason else {})},
        )  # fmt: skip
        out.add_trial(trial)
    for key, value in (study.suggestions[-1].shared if study.suggestions else {}).items():
        storage.set_study_system_attr(storage.get_study_id_from_name(out.study_name), key, value)
    return out


def make_sampler(search: SearchState, study: Study, space: Space) -> Any:
    """The sampler; its seed follows from the search's seed, the study and how many suggestions there are."""
    optuna = _optuna()
    constant = _seed(search.config.seed, study.name)
    seed = _seed(search.config.seed, study.name, len(study.suggestions))
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        kind = search.config.sampler
        if kind == "tpe":
            several = space.conditional
            return samplers.TPESampler(seed=seed, multivariate=True, group=several, constant_liar=True)
        if kind == "cmaes":
            return samplers.CmaEsSampler(seed=seed)
        if kind == "gp":
            return samplers.GPSampler(seed=seed)
        if kind == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=max(4, min(50, search.config.n_cells // 4)))
        if kind == "qmc":
            # one sequence for the whole study: its seed must not change
            return samplers.QMCSampler(seed=constant, scramble=True)
        return samplers.RandomSampler(seed=seed)


def distribution(parameter: Parameter) -> Any:
    """The Optuna distribution of a parameter."""
    found = parameter.range
    kinds = _optuna().distributions
    if found is None:
        return kinds.CategoricalDistribution(parameter.choices)
    if found.whole:
        return kinds.IntDistribution(int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
    return kinds.FloatDistribution(found.low, found.high, log=found.log, step=found.step)


def _choose(trial: Any, space: Space, point: Mapping[str, Any]) -> dict[str, float | str]:
    chosen: dict[str, float | str] = {}
    for parameter in space.parameters:
        if space.active(parameter, chosen, point):
            chosen[parameter.name] = _rounded(parameter, _suggest(trial, parameter))
    return chosen


def _suggest(trial: Any, parameter: Parameter) -> Any:
    found = parameter.range
    if found is None:
        return trial.suggest_categorical(parameter.name, parameter.choices)
    if found.whole:
        return trial.suggest_int(parameter.name, int(found.low), int(found.high), log=found.log, step=int(found.step or 1))
    return trial.suggest_float(parameter.name, found.low, found.high, log=found.log, step=found.step)


def _rounded(parameter: Parameter, value: Any) -> float | str:
    """What will stand in the definition: the sampler is told the number that was trained, not the one that it drew."""
    return str(value) if parameter.range is None else float(parameter.range.text(float(value)))


def _told(space: Space, chosen: Chosen) -> tuple[dict[str, Any], dict[str, Any]]:
    own = [parameter for parameter in space.parameters if parameter.name in chosen]
    whole = {parameter.name for parameter in own if parameter.range is not None and parameter.range.whole}
    params = {name: int(float(chosen[name])) if name in whole else chosen[name] for name in (parameter.name for parameter in own)}
    return params, {parameter.name: distribution(parameter) for parameter in own}


def _others(search: SearchState, study: Study, space: Space, point: Mapping[str, Any]) -> Iterator[dict[str, float | str]]:
    """Choices by chance: all that there are, where they can be listed, else a number of them."""
    chance = random.Random(_seed(search.config.seed, study.name, len(study.suggestions), "others"))
    size = space.size
    if size is not None and size <= ENUMERATED:
        listed = list(_all(space, point))
        chance.shuffle(listed)
        yield from listed
        return
    for _ in range(REPEATS):
        chosen: dict[str, float | str] = {}
        for parameter in space.parameters:
            if space.active(parameter, chosen, point):
                chosen[parameter.name] = _by_chance(parameter, chance)
        yield chosen


def _by_chance(parameter: Parameter, chance: random.Random) -> float | str:
    found = parameter.range
    if found is None:
        return chance.choice(parameter.choices)
    if found.whole or found.step is not None:
        step = found.step or 1
        return found.low + step * chance.randrange(int((found.high - found.low) / step) + 1)
    share = chance.random()
    value = found.low * (found.high / found.low) ** share if found.log else found.low + (found.high - found.low) * share
    return _rounded(parameter, value)


def _all(space: Space, point: Mapping[str, Any], chosen: Chosen | None = None, index: int = 0) -> Iterator[dict[str, float | str]]:
    chosen = dict(chosen or {})
    if index == len(space.parameters):
        yield dict(chosen)
        return
    parameter = space.parameters[index]
    if not space.active(parameter, chosen, point):
        yield from _all(space, point, chosen, index + 1)
        return
    found = parameter.range
    values: list[float | str]
    if found is None:
        values = list(parameter.choices)
    else:
        step = found.step or 1
        values = [found.low + step * number for number in range(int((found.high - found.low) / step) + 1)]
    for value in values:
        yield from _all(space, point, {**chosen, parameter.name: value}, index + 1)


def _seed(*parts: Any) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4])


def _optuna() -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
