"""Which cells get which further seeds: values, and the pure decision over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from core.definition.plan import PlannedTrial
from core.workspace.growth import Growth

if TYPE_CHECKING:
    from core.analysis.sequential import Rule, Standing

SEED, SETTLED = "seed", "settled"
"""Kinds of growth records: seeds that were added, and that the rule has nothing more to add."""


def last_settled(records: Sequence[Growth], rule: Mapping[str, Any]) -> Growth | None:
    """The newest word that this rule, as a revision remembers it, has nothing more to add."""
    return next((record for record in reversed(records) if record.kind == SETTLED and record.facts["rule"] == rule), None)


@dataclass(frozen=True)
class SeedsState:
    """Where a sweep stands under its rule.

    Attributes:
        rule: of the definition.
        standings: one for each cell.
        cells: the first planned trial of each cell, by its name.
        had: the seeds of each cell, by its name.
        settled: whether it is written down that the rule has nothing more to add.
        halted: whether the sweep was cancelled or paused: nothing is added until it is launched or resumed.
        mark: what the standings follow from, in short.
    """

    rule: Rule
    standings: Sequence[Standing]
    cells: Mapping[str, PlannedTrial]
    had: Mapping[str, frozenset[int]]
    settled: bool = False
    halted: bool = False
    mark: str = ""

    def facts(self) -> dict[str, Any]:
        """What the record says that nothing more is to be added."""
        return {"rule": self.rule.to_json(), "mark": self.mark, "standings": [one.to_json() for one in self.standings]}


@dataclass(frozen=True)
class Further:
    """What is to be written into the growth: seeds, or that there are no more."""

    kind: str
    why: str
    trials: tuple[PlannedTrial, ...]
    facts: Mapping[str, Any]


def further(seeds: SeedsState) -> Further | None:
    """The next record; ``None`` where seeds are open, or all is said."""
    if seeds.halted:
        return None
    from core.definition.identity import with_seed  # pydantic and the schema: not for a mere look

    rule = seeds.rule
    trials: list[PlannedTrial] = []
    reasons: dict[str, str] = {}
    for standing in seeds.standings:
        if standing.word == "more":
            had = seeds.had[standing.cell]
            for seed in [seed for seed in range(rule.max) if seed not in had][: min(rule.step, rule.max - len(had))]:
                trials.append(with_seed(seeds.cells[standing.cell], seed))
                reasons[trials[-1].id] = f"{standing.why} (look {rule.looks.index(_at(rule, len(had))) + 1} of {len(rule.looks)})"
    if trials:
        cells = len({standing.cell for standing in seeds.standings if standing.word == "more"})
        return Further(SEED, f"{cells} cells get further seeds until {rule.goal}", tuple(trials), {"why": reasons})
    if seeds.settled or any(standing.word == "open" for standing in seeds.standings):
        return None
    return Further(SETTLED, f"no cell gets a further seed: {_ends(seeds.standings)}", (), seeds.facts())


def _at(rule: Rule, seeds: int) -> int:
    """The look that a cell with so many seeds is at."""
    return next((look for look in rule.looks if look >= seeds), rule.max)


def _ends(standings: Sequence[Standing]) -> str:
    words = {"reached": "answered", "max": "with all seeds that it may have", "left": "left alone"}
    counts = {word: sum(one.word == word for one in standings) for word in words}
    return ", ".join(f"{count} {words[word]}" for word, count in counts.items() if count)
