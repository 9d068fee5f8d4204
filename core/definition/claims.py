"""Claims: what a study is meant to show, brought down to the cells that each is about.

Four kinds, one a claim:

==============  =====================================================================================================================
``better``      the cells that match are better than those of ``than``: each with each that is like it in all that neither names
``best``        one cell is better than every other cell of the study
``no_effect``   a path makes no difference of more than ``within``: cells that differ in this path alone
``monotone``    the metric rises (or ``falls``) from each value of a path to the next: cells that differ in this path alone
==============  =====================================================================================================================

``where`` keeps only some of the cells. `better`, `than` and `best` may name a row of an ensemble instead (``{ensemble: NAME/RULE}``); the
best ensemble is then better than every cell and every other ensemble. All is resolved when a sweep is registered, because the verdict
(:mod:`core.analysis.claims`) is a function of outcomes and knows no configuration.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any

from core.definition.definition import SweepDefinition
from core.definition.ensembles import Ensemble, read_ensembles, row_name
from core.definition.matching import Conditions, all_hold, read_conditions
from core.definition.plan import Cell, PlannedTrial, cell_name
from core.definition.problems import place_of
from core.definition.schema import VARIABLE, ClaimConfig
from core.definition.sections import MISSING
from core.definition.walk import Keys, expand_shorthand, require
from core.errors import DefinitionError, Place

SIZE = re.compile(r"(?:^|[-_])(\d+(?:\.\d+)?)b(?:$|[-_])")
"""The nominal number of parameters in a backbone's name, in billions."""

ENSEMBLE = "ensemble"
"""What stands for a path where a claim is about ensembles, and in the coordinates of their rows."""

AXES_OF_RESULTS = ("validation", "evaluate")
"""Top-level keys that cells may differ in and that change what is compared."""


@dataclass(frozen=True)
class Read:
    """A claim whose paths and values have been checked; ``keys`` is the path of ``no_effect`` and ``monotone``.

    ``ensembles`` are the names of rows, for the keys that name those instead of cells.
    """

    config: ClaimConfig
    better: Conditions
    than: Conditions
    where: Conditions
    keys: Keys | None
    place: Place | None
    ensembles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Conditions]:
        """The conditions that some cell must meet, by their key."""
        found = {"best" if self.config.best is not None else "better": self.better, "than": self.than, "where": self.where}
        return {name: conditions for name, conditions in found.items() if conditions}


def read_claims(definition: SweepDefinition) -> list[Read]:
    """All claims of a definition.

    Raises:
        DefinitionError: an unknown path, or a value that the path does not take.
    """
    places = definition.source.places
    ensembles = read_ensembles(definition)
    out = []
    for number, claim in enumerate(definition.claims):
        rows: dict[str, tuple[str, ...]] = {}

        def conditions(key: str, number: int = number, claim: ClaimConfig = claim, rows: Any = rows) -> Conditions:
            given = getattr(claim, key) or {}
            if ENSEMBLE in given and key != "where":
                rows[key] = _rows(given, ensembles, place_of(places, ("claims", number, key)))
                return ()
            return read_conditions(given, lambda condition: place_of(places, ("claims", number, key, condition)))

        path = claim.no_effect or claim.monotone
        here = place_of(places, ("claims", number))
        keys = None
        if path is not None:
            written = tuple(path.split("."))
            require(written, place_of(places, ("claims", number, claim.kind)))
            keys = expand_shorthand(written)
        out.append(
            Read(
                claim, conditions("best" if claim.best is not None else "better"), conditions("than"), conditions("where"), keys, here, rows
            )
        )
    return out


def _rows(given: Mapping[str, Any], ensembles: Sequence[Ensemble], place: Place | None) -> tuple[str, ...]:
    """The rows of ensembles that a part of a claim names.

    Raises:
        DefinitionError: paths stand beside them, or one is not there.
    """
    if len(given) > 1:
        raise DefinitionError(
            "a part of a claim names cells or an ensemble, not both",
            found=", ".join(given),
            allowed="{ensemble: NAME/RULE} alone",
            place=place,
        )
    names = given[ENSEMBLE] if isinstance(given[ENSEMBLE], list) else [given[ENSEMBLE]]
    return tuple(row_name(ensembles, str(name), place) for name in names)


@dataclass
class ClaimCheck:
    """Notes, while cells stream by, which parts of a claim no cell meets."""

    definition: SweepDefinition
    open: list[tuple[Read, str, Conditions]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open = [(claim, name, part) for claim in read_claims(self.definition) for name, part in claim.parts.items()]

    def see(self, lookup: Callable[[Keys], Any], labels: Mapping[Keys, str | None]) -> None:
        """Take one cell."""
        self.open = [entry for entry in self.open if not all_hold(entry[2], lookup, labels)]

    def finish(self) -> list[str]:
        """Warnings about claims that are about no cell."""
        return [f"{claim.place}: no cell of this study meets `{name}` of the claim: {said(claim.config)}" for claim, name, _ in self.open]


def said(claim: ClaimConfig) -> str:
    """What a claim says: its own words, or its parts as written."""
    if claim.say is not None:
        return claim.say
    subject = getattr(claim, claim.kind)
    words = f"{claim.kind}: {_written(subject)}"
    words += f" than {_written(claim.than)}" if claim.than is not None else ""
    words += f" where {_written(claim.where)}" if claim.where else ""
    words += f" within {claim.within:g}" if claim.within else ""
    return f"{words} on {claim.on}"


def _written(subject: Any) -> str:
    return subject if isinstance(subject, str) else ", ".join(f"{path}={value}" for path, value in (subject or {}).items())


def resolve_claims(definition: SweepDefinition, planned: Iterable[PlannedTrial | Cell]) -> list[dict[str, Any]]:
    """The claims as JSON, with the pairs of cells that each compares.

    Returns:
        for each ``{"say", "kind", "on", "within", "pairs", "problem"}``: ``pairs`` are ``[[a, b], ...]`` of cells by name, of which a is
        claimed to be better (for ``no_effect``: the two to be equal); ``problem`` says why there are none.
    """
    cells = list({cell_name(cell.cell): cell for cell in planned}.values())
    axes = list(dict.fromkeys(path for cell in cells for path in cell.cell))
    rows = {name: Cell("", {ENSEMBLE: name}, {}) for ensemble in read_ensembles(definition) for name in ensemble.rows}
    out = []
    for claim in read_claims(definition):
        inside = [cell for cell in cells if _meets(claim.where, cell)]
        pairs, problem = _pairs(claim, inside, axes, rows)
        named = [[cell_name(a.cell), cell_name(b.cell)] for a, b in pairs]
        config = claim.config
        out.append(
            {
                "say": said(config),
                "kind": config.kind,
                "on": config.on,
                "within": config.within,
                "pairs": named,
                "problem": None if named else problem,
            }
        )
    return out


Pairs = list[tuple[PlannedTrial | Cell, PlannedTrial | Cell]]


def _pairs(claim: Read, cells: Sequence[PlannedTrial | Cell], axes: Sequence[str], rows: Mapping[str, Cell]) -> tuple[Pairs, str]:
    config = claim.config
    if claim.ensembles:
        return _with_ensembles(claim, cells, rows)
    if config.kind == "best":
        named = [cell for cell in cells if _meets(claim.better, cell)]
        if len(named) != 1:
            return [], f"`best` names {len(named)} cells, and one is the best"
        return [(named[0], other) for other in cells if other is not named[0]], "there is no other cell"
    if config.kind == "better":
        left, right = ([cell for cell in cells if _meets(part, cell)] for part in (claim.better, claim.than))
        if not left or not right:
            return [], f"no cell meets `{'than' if left else 'better'}`"
        if len(left) == len(right) == 1:
            return [(left[0], right[0])], ""
        apart = {condition.keys for condition in (*claim.better, *claim.than)}
        pairs: Pairs = [(a, b) for a in left for b in right if a is not b and _context(a, axes, apart) == _context(b, axes, apart)]
        return pairs, "no two cells are alike in all that the claim does not name"
    assert claim.keys is not None
    groups: dict[str, dict[str, PlannedTrial | Cell]] = {}
    for cell in cells:
        groups.setdefault(_context(cell, axes, {claim.keys}), {}).setdefault(json.dumps(_value(cell, claim.keys)), cell)
    compared = [list(group.values()) for group in groups.values() if len(group) > 1]
    path = ".".join(claim.keys)
    if config.kind == "no_effect":
        return [pair for group in compared for pair in combinations(group, 2)], f"no two cells differ in {path} alone"
    pairs = []
    for group in compared:
        ranked = _ranked(group, claim.keys, config.by)
        if ranked is None:
            return [], f"a value of {path} has no order by {config.by}"
        pairs += [(high, low) if config.way == "rises" else (low, high) for low, high in pairwise(ranked)]
    return pairs, f"no two cells differ in {path} alone"


def _with_ensembles(claim: Read, cells: Sequence[PlannedTrial | Cell], rows: Mapping[str, Cell]) -> tuple[Pairs, str]:
    """Each of the one side with each of the other: an ensemble has no configuration to be alike in."""
    if "best" in claim.ensembles:
        names = claim.ensembles["best"]
        if len(names) != 1:
            return [], f"`best` names {len(names)} ensembles, and one is the best"
        others = [*cells, *(row for name, row in rows.items() if name != names[0])]
        return [(rows[names[0]], other) for other in others], "there is no other row"
    sides: list[list[PlannedTrial | Cell]] = []
    for key, part in (("better", claim.better), ("than", claim.than)):
        named = claim.ensembles.get(key)
        found = [rows[name] for name in named] if named is not None else [cell for cell in cells if _meets(part, cell)]
        if not found:
            return [], f"no cell meets `{key}`"
        sides.append(list(found))
    return [(a, b) for a in sides[0] for b in sides[1] if a is not b], "an ensemble is not better than itself"


def _ranked(group: Sequence[PlannedTrial | Cell], keys: Keys, by: str) -> list[PlannedTrial | Cell] | None:
    """The cells by rising value; those of equal value leave no order."""
    ranks: list[float] = []
    for number, cell in enumerate(group):
        value = _value(cell, keys)
        if by == "parameters":
            found = SIZE.search(str(value))
            if found is None:
                return None
            ranks.append(float(found[1]))
        elif by == "value":
            if isinstance(value, bool) or not isinstance(value, int | float):
                return None
            ranks.append(float(value))
        else:
            ranks.append(float(number))
    if len(set(ranks)) < len(ranks):
        return None
    return [cell for _, cell in sorted(zip(ranks, group, strict=True), key=lambda item: item[0])]


def _meets(conditions: Conditions, cell: PlannedTrial | Cell) -> bool:
    labels = {tuple(path.split(".")): value for path, value in cell.cell.items() if isinstance(value, str)}
    return all_hold(conditions, lambda keys: _value(cell, keys, MISSING), labels)


def _value(cell: PlannedTrial | Cell, keys: Keys, missing: Any = None) -> Any:
    """The canonical value at a path; what has no weight has the weight 0."""
    here: Any = cell.config
    for key in keys:
        here = here.get(key, MISSING) if isinstance(here, Mapping) else MISSING
    if here is not MISSING:
        return here
    return 0.0 if keys[-1] == "weight" and missing is None else missing


def _context(cell: PlannedTrial | Cell, axes: Sequence[str], apart: set[Keys]) -> str:
    """All that may differ between the cells of a study, less some paths, as a text that is equal for equal cells."""
    found: dict[str, Any] = {}
    for axis in axes:
        keys = expand_shorthand(tuple(axis.split(".")))
        if keys in apart:
            continue
        if keys[0] not in VARIABLE:
            found[axis] = _value(cell, keys)
        elif keys[0] in AXES_OF_RESULTS:
            found[axis] = cell.cell.get(axis)
    return json.dumps(found, sort_keys=True, default=str)
