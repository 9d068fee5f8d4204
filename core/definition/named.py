"""What a definition says of its results by name: the metrics of objective, claims, gates and ensembles, the rows that papers printed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.definition.axes import Block
from core.definition.claims import read_claims
from core.definition.definition import SweepDefinition
from core.definition.ensembles import read_ensembles
from core.definition.problems import place_of
from core.definition.reported import read_rows
from core.definition.schema import GATES
from core.definition.sections import Source, plan_sections
from core.errors import DefinitionError, Place, nearest

CHECKED_PER_AXIS = 1000
"""Values of one axis that are checked when a definition is loaded; the rest when it is expanded."""


def star(block: Block) -> Iterator[tuple[int, ...]]:
    """The first point of a block, and every axis value with the others at their first."""
    first = [0] * len(block.axes)
    yield tuple(first)
    for position, axis in enumerate(block.axes):
        for index in range(1, min(len(axis), CHECKED_PER_AXIS)):
            yield (*first[:position], index, *first[position + 1 :])


def measured(source: Source, all_blocks: Sequence[Block]) -> set[str]:
    """What metrics may be of: ``validation``, and the benchmarks that some cell is scored on."""
    known = {"validation"}
    for block in all_blocks:
        plans = plan_sections(source, block)
        for indices in star(block):
            known |= {benchmark.name for benchmark in plans["evaluate"].result(plans, indices).value}
    return known


def require_metric(what: str, metric: str, known: set[str], place: Place | None, *others: str) -> None:
    """Refuse a metric of a benchmark that scores no cell; ``others`` are allowed names that are no metrics.

    Raises:
        DefinitionError: it is one.
    """
    group, slash, short = metric.partition("/")
    if not slash or not short or group not in known:
        raise DefinitionError(
            f"{what} is a metric of no benchmark in `evaluate`",
            found=metric,
            allowed=[*others, *(f"{name}/METRIC" for name in sorted(known))],
            nearest=nearest(group, [*known, *others]),
            place=place,
        )


def check_named(definition: SweepDefinition) -> None:
    """Check the ensembles, the rows of ``reported``, the claims and the gates.

    Raises:
        DefinitionError: a path, a value or a metric is not one.
    """
    ensembles = read_ensembles(definition)
    read_rows(definition)
    read_claims(definition)
    chosen = [(number, ensemble) for number, ensemble in enumerate(ensembles) if ensemble.top is not None]
    if not definition.claims and not definition.gates and not chosen and definition.further is None:
        return
    known = measured(definition.source, definition.blocks)
    places = definition.source.places
    for number, claim in enumerate(definition.claims):
        require_metric("what a claim is about", claim.on, known, place_of(places, ("claims", number, "on"), ("claims", number)))
    for number, ensemble in chosen:
        place = place_of(places, ("ensembles", number, "members", "by"), ("ensembles", number, "members"))
        require_metric("what the members of an ensemble are chosen by", ensemble.by or "", known, place)
    for name in definition.gates:
        if name not in GATES:
            require_metric("a gate", name, known, place_of(places, ("gates", name), ("gates",)), *GATES)
    if definition.further is not None and definition.further.until.metric is not None:
        place = place_of(places, ("seeds", "until", "metric"), ("seeds",))
        require_metric("what further seeds are about", definition.further.until.metric, known, place)
