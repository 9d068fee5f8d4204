"""Sequential seeds around a launch: the rule of a definition, and how it is told to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from core.definition import SweepDefinition
from core.definition.problems import place_of
from core.errors import DefinitionError

if TYPE_CHECKING:
    from core.analysis.sequential import Rule
    from core.control.seeds.state import SeedsState


def rule_of(definition: SweepDefinition) -> Rule | None:
    """When a cell of this definition gets further seeds; ``None``: never."""
    from core.analysis.sequential import Rule

    found = definition.further
    if found is None:
        return None
    return Rule(found.start, found.max, found.until.metric or definition.objective.metric, found.until.halfwidth, found.step)


def check(definition: SweepDefinition, known: Sequence[str]) -> None:
    """Refuse a rule on a metric that no trial reports, or that has no better way; ``known``: all metrics that trials report.

    Raises:
        DefinitionError: with the place, what there is and the nearest.
    """
    from core.analysis.report import direction
    from core.errors import nearest

    rule = rule_of(definition)
    if rule is None:
        return
    places = definition.source.places
    place = place_of(places, ("seeds", "until", "metric"), ("seeds",))
    if rule.metric not in known:
        same = [name for name in known if name.partition("/")[0] == rule.metric.partition("/")[0]]
        raise DefinitionError(
            "further seeds are about a metric that no trial reports", found=rule.metric, allowed=same or list(known),
            nearest=nearest(rule.metric, known), place=place,
        )  # fmt: skip
    if rule.halfwidth is None and direction(rule.metric) is None:
        raise DefinitionError(
            "which cell is best cannot be decided on a metric that has no better way", found=rule.metric,
            allowed=[name for name in known if direction(name) is not None], place=place,
        )  # fmt: skip


def plan_json(rule: Rule, cells: int, added: int) -> dict[str, Any]:
    """The rule in ``sweep plan --json``."""
    return {**rule.to_json(), "looks": list(rule.looks), "confidence": rule.confidence, "added": added, "trials_at_most": cells * rule.max}


def plan_line(rule: Rule, cells: int, added: int) -> str:
    """What a launch will do about seeds, in a sentence."""
    more = f" ({added} added so far)" if added else ""
    return f"seeds: {rule.start} of at most {rule.max} for each cell, more only until {rule.goal}; at most {cells * rule.max} trials{more}"


WORDS = {
    "reached": "answered", "max": "not answered with all seeds", "more": "about to get further seeds", "open": "with open seeds",
    "left": "left alone",
}  # fmt: skip


def lines(seeds: SeedsState) -> list[str]:
    """Where a sweep stands under its rule."""
    rule = seeds.rule
    counts = Counter(standing.word for standing in seeds.standings)
    added = sum(max(0, standing.planned - rule.start) for standing in seeds.standings)
    said = ", ".join(f"{counts[word]} {words}" for word, words in WORDS.items() if counts[word])  # type: ignore[index]
    halted = "; it adds none: cancelled" if seeds.halted else ""
    out = [f"seeds: {rule.start} to {rule.max} for each cell until {rule.goal}: {said}; {added} seeds added so far{halted}"]
    out += [f"  {one.cell}: {one.why}" for one in seeds.standings if one.word in ("max", "left", "more")][:LISTED]
    return out


LISTED = 10


def state_json(seeds: SeedsState) -> dict[str, Any]:
    """The rule and its standings in ``sweep status --json``."""
    from core.analysis.sequential import Added

    return {**Added(seeds.rule, tuple(seeds.standings)).to_json(), "halted": seeds.halted}
