"""Which trials a command means that changes a sweep: by cell, by cause, by what of them is still open.

A trial's training and its scorings are asked alike: a trial that has its result and is still to be scored can be cancelled, paused and
retried as one that trains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from core.control.decide import TrialStatus
from core.control.derive import UnitStatus
from core.control.states import OPEN
from core.definition.plan import cell_name
from core.errors import DefinitionError, UsageError, nearest
from core.workspace.requests import Asked


def units(trial: TrialStatus) -> list[UnitStatus]:
    """What of a trial has a course of its own: its training, and its scorings once that has a result."""
    return [trial.train, *(trial.scorings.values() if trial.train.state == "completed" else ())]


def is_open(trial: TrialStatus, cause: str | None) -> bool:
    """Whether something of it still moves, or will; with ``cause``: something that failed last with it."""
    return any(unit.state in OPEN and cause in (None, unit.cause) for unit in units(trial))


def is_forgivable(trial: TrialStatus, wish: Asked, cause: str | None, *, force: bool = False) -> bool:
    """Whether a retry means it: it ended without a result, or it waits because others failed; with ``cause``: with this one, they too.

    Args:
        trial: the trial.
        wish: its requests.
        cause: of the failure; ``None``: any.
        force: also what is running or unknown.
    """
    states = ("failed", "cancelled", "pruned", *(("unknown", "running") if force else ()))
    if any(unit.state in states and cause in (None, unit.cause) for unit in units(trial)):
        return True
    held_for_others = wish.why is not None and any(unit.state == "held" for unit in units(trial))
    return held_for_others and (cause is None or cause in wish.causes)


def words(trial: TrialStatus) -> str:
    """The states of a trial in words: ``completed, scorings pending``."""
    scorings = dict.fromkeys(unit.state for unit in units(trial)[1:] if unit.state != "completed")
    return ", ".join([trial.train.state, *([f"scorings {' and '.join(scorings)}"] if scorings else [])])


def in_cells(trials: Sequence[TrialStatus], conditions: Sequence[str]) -> list[TrialStatus]:
    """The trials of the cells that meet every ``PATH=VALUE``.

    Raises:
        UsageError: no assignment, a path on which no cell has a value, or values that no cell has.
    """
    found = list(trials)
    cells = [trial.planned.cell for trial in trials]
    paths = list(dict.fromkeys(path for cell in cells for path in cell))
    for word in conditions:
        path, equals, value = word.partition("=")
        if not equals or path not in paths:
            raise UsageError(
                "no cell has this path" if equals else "--cell takes PATH=VALUE", found=path if equals else word,
                allowed=paths or "nothing varies in this sweep: leave --cell out", nearest=nearest(path, paths),
                next="sweep status SWEEP lists the cells",
            )  # fmt: skip
        there = {written(cell[path]): cell[path] for cell in cells if path in cell}
        wanted = [name for name, known in there.items() if same(known, value, path)]
        if not wanted:
            raise UsageError(
                "no cell has this value", found=word, allowed=[f"{path}={name}" for name in there], nearest=nearest(value, there),
                next="sweep status SWEEP lists the cells",
            )  # fmt: skip
        found = [trial for trial in found if path in trial.planned.cell and written(trial.planned.cell[path]) in wanted]
    if trials and not found:
        names = list(dict.fromkeys(cell_name(cell) for cell in cells))
        raise UsageError(
            "no cell meets all of these", found=" ".join(conditions), allowed=names[:20], next="sweep status SWEEP lists the cells"
        )
    return found


def written(value: Any) -> str:
    """A coordinate of a cell as YAML has it."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def same(value: Any, text: str, path: str | None = None) -> bool:
    """Whether a coordinate of a cell is what a user wrote: as it is shown, or as a grid would read it.

    Args:
        value: the coordinate, canonical or a label.
        text: as typed.
        path: where it stands, for values that the schema reads in a way of its own (``90min``).
    """
    from core.definition.reading import read_text
    from core.definition.walk import typed

    if text in (written(value), str(value)):
        return True
    readings: list[Any] = []
    with suppress(DefinitionError):  # what is no YAML, or no value of this path, is what it was compared as above
        readings.append(read_text(text, "command line", lines=False).tree)
        readings += [typed(tuple(path.split(".")), readings[0], None)] if path is not None else []
    return any(isinstance(one, bool) == isinstance(value, bool) and one == value for one in readings)


def meets(cell: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    """Whether a cell has every one of these coordinates."""
    return all(path in cell and same(cell[path], text, path) for path, text in wanted.items())
