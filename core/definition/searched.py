"""A search as a part of a definition: what it refuses, the cells of the grid that it searches at, and the trial of a suggestion.

Without a grid there is one point, the fixed part alone. With one, each of its cells is a point, and each point is searched on its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.definition.axes import Axis, Block
from core.definition.definition import SweepDefinition
from core.definition.expansion import Expansion
from core.definition.plan import PlannedTrial, cell_name
from core.definition.problems import place_of
from core.definition.reading import Document
from core.definition.schema import DefinitionConfig
from core.definition.searching import ObjectiveConfig, PrunerConfig, SearchConfig
from core.definition.sections import Source, plan_sections
from core.definition.space import Chosen, Space, read_space
from core.errors import DefinitionError, nearest

ONE_OBJECTIVE = ("cmaes",)
"""Samplers that optimise one objective only."""


@dataclass(frozen=True)
class Point:
    """A cell of the grid at which is searched.

    Attributes:
        cell: its coordinates; empty where there is no grid.
        axes: the grid's axes, each with the one value of this cell.
        origin: ``grid`` or ``case 2``.
    """

    cell: Mapping[str, Any]
    axes: tuple[Axis, ...]
    origin: str

    @property
    def name(self) -> str:
        """The cell as a reader writes it; ``base`` without a grid."""
        return cell_name(self.cell)


def read_search(document: Document, config: DefinitionConfig, source: Source, blocks: Sequence[Block], folder: Path) -> Space | None:
    """The space of a definition's search, ``None`` where it has none.

    Raises:
        DefinitionError: what is searched cannot be: see :func:`core.definition.space.read_space`; or the keys contradict each other.
    """
    search, places = config.search, document.places
    if search is None:
        return None
    if config.sample is not None:
        raise DefinitionError(
            "`search` and `sample` both choose cells",
            found=f"search ({place_of(places, ('search',))}) and sample ({place_of(places, ('sample',))})",
            allowed="one of them: `search.n_cells` bounds a search", place=place_of(places, ("sample",)),
        )  # fmt: skip
    if config.needs:
        raise DefinitionError(
            "a search suggests trials that need no others", found=f"needs ({place_of(places, ('needs',))})",
            allowed="`search` without `needs`: give what is needed as a model's path", place=place_of(places, ("needs",)),
        )  # fmt: skip
    space = read_space(document.tree["search"].get("space"), places, folder, blocks)
    _check_sampler(document, search, space)
    if search.pruner is not None:
        _check_pruner(document, search, search.pruner)
    return space


def _check_sampler(document: Document, search: SearchConfig, space: Space) -> None:
    places = document.places
    place = place_of(places, ("search", "sampler"), ("search",))
    if len(search.objectives) not in (0, 2):
        raise DefinitionError(
            "`search.objectives` are two; a single one is `objective`", found=len(search.objectives), allowed="two",
            place=place_of(places, ("search", "objectives")),
        )  # fmt: skip
    if search.objectives and search.sampler in ONE_OBJECTIVE:
        raise DefinitionError(f"{search.sampler} optimises one objective", found="two", allowed="nsga2, tpe, gp, random, qmc", place=place)
    if search.sampler == "cmaes" and not any(parameter.range is not None for parameter in space.parameters):
        raise DefinitionError("cmaes searches ranges of numbers, and the space has none", found="cmaes", allowed="tpe, random", place=place)
    if search.sampler in ("qmc", "cmaes") and space.conditional:
        raise DefinitionError(
            f"{search.sampler} knows no conditional spaces", found="when", allowed="tpe, gp, nsga2, random", place=place
        )  # fmt: skip


def _check_pruner(document: Document, search: SearchConfig, pruner: PrunerConfig) -> None:
    places = document.places
    place = place_of(places, ("search", "pruner"))
    if search.objectives:
        raise DefinitionError("with two objectives no trial is stopped early", found="pruner", allowed="no pruner", place=place)
    if pruner.metric is not None and not pruner.metric.startswith("validation/"):
        raise DefinitionError(
            "a pruner watches what is validated while training", found=pruner.metric, allowed="validation/METRIC",
            place=place_of(places, ("search", "pruner", "metric")),
        )  # fmt: skip


def objectives(
    config: DefinitionConfig, objective: ObjectiveConfig, source: Source, blocks: Sequence[Block]
) -> tuple[ObjectiveConfig, ...]:
    """What is optimised: the objective, or the two of the search.

    Raises:
        DefinitionError: no cell can report it, or nothing that a pruner could watch is reported while training.
    """
    search = config.search
    if search is None:
        return (objective,)
    found = search.objectives or (objective,)
    known = {"validation"}
    held_out = True
    for block in blocks:
        plans = plan_sections(source, block)
        first = [0] * len(block.axes)
        known |= {benchmark.name for benchmark in plans["evaluate"].result(plans, first).value}
        held_out &= plans["validation"].result(plans, first).value.items > 0
    for number, item in enumerate(search.objectives):
        group = item.metric.partition("/")[0]
        if group not in known or "/" not in item.metric:
            raise DefinitionError(
                "the objective is a metric of no benchmark in `evaluate`", found=item.metric,
                allowed=[f"{name}/METRIC" for name in sorted(known)], nearest=nearest(group, known),
                place=place_of(source.places, ("search", "objectives", number, "metric")),
            )  # fmt: skip
    pruner = search.pruner
    watched = [item.metric for item in found if item.metric.startswith("validation/")]
    if pruner is not None and pruner.metric is None and not watched:
        raise DefinitionError(
            "a pruner watches what is validated while training, and the objective is not", found=found[0].metric,
            allowed="`search.pruner.metric: validation/METRIC`", place=place_of(source.places, ("search", "pruner")),
        )  # fmt: skip
    if (watched or pruner is not None) and not held_out:
        raise DefinitionError(
            "the search needs validation pairs, and none are held out", found="validation.items: 0", allowed="at least 1",
            place=place_of(source.places, ("validation", "items"), ("search",)),
        )  # fmt: skip
    return found


def points(definition: SweepDefinition) -> Iterator[Point]:
    """The cells of the grid at which is searched, in order; one without a grid."""
    for visit in Expansion(replace(definition, reported=(), exclude=(), warnings=[])).walk():
        if visit.outcome == "kept":
            block = visit.block.block
            axes = tuple(
                Axis(axis.paths, [axis.row(i)], axis.place, axis.origin) for axis, i in zip(block.axes, visit.indices, strict=True)
            )
            yield Point(visit.coordinates(), axes, block.origin)


def suggested(definition: SweepDefinition, point: Point, chosen: Chosen) -> PlannedTrial | None:
    """The trial of a suggestion with the first seed; ``None`` where a rule of ``exclude`` drops it.

    Raises:
        DefinitionError: the combination is no valid configuration.
    """
    assert definition.space is not None
    axes = (*point.axes, *definition.space.axes(chosen))
    return next(_alone(definition, Block(axes, point.origin, axes[0].place if axes else None)), None)


def probes(definition: SweepDefinition) -> Iterator[PlannedTrial]:
    """Trials that together show every value of the space, of ranges the ends, at every point: for checks before a launch.

    Raises:
        DefinitionError: a value that its path does not take.
    """
    if definition.space is None:
        return
    for point in points(definition):
        for chosen in definition.space.probes(point.cell):
            found = suggested(definition, point, chosen)
            if found is not None:
                yield found


def _alone(definition: SweepDefinition, block: Block) -> Iterator[PlannedTrial]:
    one = replace(definition, blocks=(block,), seeds=definition.seeds[:1], reported=(), warnings=[])
    return Expansion(one).trials()
