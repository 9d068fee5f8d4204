"""What a search does next: ask for cells, stop trials, add replicates. Pure: a part of :func:`core.control.decide.decide`."""

from __future__ import annotations

from dataclasses import dataclass

from core.control.search.pruning import verdicts
from core.control.search.study import SearchState, Study
from core.definition.plan import PlannedTrial


@dataclass(frozen=True)
class Ask:
    """Have the sampler of a study suggest cells."""

    study: str
    count: int


@dataclass(frozen=True)
class Prune:
    """Ask a trial to leave, for a reason."""

    trial: str
    why: str


@dataclass(frozen=True)
class Replicate:
    """Train a suggested cell with another seed."""

    study: str
    planned: PlannedTrial
    seed: int
    why: str


Step = Ask | Prune | Replicate


def steps(search: SearchState, workers: int) -> list[Step]:
    """The steps that the state calls for.

    As many trials are kept open as there are workers, over all studies. A worker that has finished finds the next suggestion, made
    on everything that is known by then; nobody waits for the slowest of a batch.

    Args:
        search: as it is.
        workers: how many work at once.
    """
    out: list[Step] = [*_stopped(search)]
    free = workers - sum(_open(study) for study in search.studies) + len(out)
    wanted = {study.name: 0 for study in search.studies}
    replicates = [(study, item, seed) for study in search.studies for item, seed in search.wanted(study)]
    while free > 0:
        short = [study for study in search.studies if search.left(study) > wanted[study.name]]
        if not short:
            break
        # the study that is behind comes first, so that all advance together
        study = min(short, key=lambda study: len(study.suggestions) + wanted[study.name])
        wanted[study.name] += 1
        free -= 1
    out += [Ask(name, count) for name, count in wanted.items() if count]
    for study, item, seed in replicates[: max(0, free)]:
        rank = search.best(study).index(item) + 1
        out.append(Replicate(study.name, item.planned, seed, f"cell {rank} of the search so far, with seed {seed}"))
    return out


def _open(study: Study) -> int:
    return sum(1 for item in study.suggestions if item.told == "open") + sum(study.replicates.values())


def _stopped(search: SearchState) -> list[Prune]:
    pruner = search.config.pruner
    if pruner is None:
        return []
    objective = next((item for item in search.objectives if item.metric.startswith("validation/")), search.objectives[0])
    metric = pruner.metric or objective.metric
    mode = pruner.mode or objective.mode
    return [
        Prune(verdict.suggestion.planned.id, verdict.why) for study in search.studies for verdict in verdicts(pruner, mode, metric, study)
    ]
