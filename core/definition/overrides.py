"""The command line's part of a definition: ``path=v`` fixes a path, ``path=[a,b]`` makes it an axis.

It stands between ``trial`` and the axes. A path that is fixed leaves ``grid`` and ``cases``, with a notice; of joined paths
all or none. For a path that is itself a list (``train.freeze``), ``[a,b]`` is a value and ``[[a],[b]]`` an axis. Values
follow the same rules as in a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from core.definition.layers import absolute, absolute_benchmark, without_other_budgets
from core.definition.reading import Document, Path_, read_text
from core.definition.scalars import GENERATORS
from core.definition.schema import VARIABLE, DefinitionConfig
from core.definition.trial import BUDGETS, SHORTHAND, TrialConfig
from core.definition.walk import Keys, expand_shorthand, require
from core.errors import DefinitionError, Place, UsageError, nearest

BY_NAME = ("name", "project", "description", "seeds", "sample", "search", *VARIABLE)
"""Top-level keys that the command line sets by name."""


class Override(NamedTuple):
    """One ``path=value`` of the command line."""

    path: Keys
    value: Any
    axis: bool
    text: str

    @property
    def place(self) -> Place:
        """The override itself, as errors show it."""
        return Place(f"command line, {self.text}")


def read_override(text: str) -> Override:
    """Read ``path=value``.

    Raises:
        UsageError: no ``=``, an unknown path, or a key that the command line does not set.
        DefinitionError: the value is not YAML.
    """
    key, equals, written = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not key.strip():
        raise UsageError("an override is PATH=VALUE", found=text, next="sweep keys")
    if path[0] == "trial":
        raise UsageError("paths on the command line start inside `trial`", found=key, nearest=".".join(path[1:]) or None)
    value = read_text(written, f"command line, {text}", lines=False).tree
    if path[0] == "seed":
        raise UsageError("the seed is set by `seeds`: a number of replicates, or a list", found=text, nearest=f"seeds=[{written}]")
    if path[0] in ("name", "project", "description", "seeds", "sample", "search") or path[0] == "rehearsal":
        return Override(path, value, False, text)
    if path[0] in DefinitionConfig.model_fields and path[0] not in BY_NAME:
        raise UsageError(
            f"{path[0]} is not set on the command line",
            found=text,
            allowed=["PATH=VALUE fixes a path of the trial", "PATH=[A,B] makes it an axis", *(f"{name}=..." for name in BY_NAME)],
        )
    try:
        here = require(path, None)
    except DefinitionError as error:
        known = [*TrialConfig.model_fields, *BY_NAME]
        close = error.nearest or (nearest(path[0], known) if path[0] not in known else None)
        raise UsageError(
            error.message, found=error.found, allowed=error.allowed, nearest=close, place=f"command line, {text}", next=error.next
        ) from None
    generated = isinstance(value, dict) and len(value) == 1 and next(iter(value)) in GENERATORS and here.is_leaf
    several = isinstance(value, list) and (not here.is_list or (bool(value) and all(isinstance(item, list) for item in value)))
    return Override(path, value, several or generated, text)


def apply(document: Document, overrides: Sequence[str], notices: list[str], *, rehearsal: bool) -> None:
    """Apply the command line to a merged definition, in place.

    Raises:
        UsageError: a path is given twice, unknown, or one of several joined paths alone.
    """
    read = [read_override(text) for text in overrides]
    seen: dict[Keys, str] = {}
    for item in read:
        if item.path in seen:
            raise UsageError("a path stands twice on the command line", found=f"{seen[item.path]} and {item.text}", allowed="one of them")
        seen[item.path] = item.text
        if item.path[0] == "rehearsal" and not rehearsal:
            raise UsageError("rehearsal settings belong to a rehearsal", found=item.text, next="the same command with --rehearse")
    _leave_axes(document, {expand_shorthand(item.path): item for item in read}, notices)
    budgets = [item for item in read if item.path[0] == "train" and item.path[1:] and item.path[1] in BUDGETS and item.value is not None]
    if len(budgets) > 1:
        raise UsageError(
            "two budgets of training on the command line", found=" and ".join(item.text for item in budgets), allowed="one of them"
        )
    for item in read:
        if item.axis:
            _make_axis(document, item)
        else:
            _fix(document, item)


def _make_axis(document: Document, item: Override) -> None:
    key = ".".join(item.path)
    grid = document.tree.setdefault("grid", {})
    grid[key] = item.value
    _forget(document, ("grid", key))
    document.places[("grid", key)] = item.place


def _fix(document: Document, item: Override) -> None:
    path, value = item.path, item.value
    if path[0] in BY_NAME:
        full: Keys = path
    else:
        trial = document.tree.setdefault("trial", {})
        if path[0] == "train" and len(path) > 1 and path[1] in BUDGETS and isinstance(trial.get("train"), dict):
            trial["train"] = without_other_budgets(trial["train"], {path[1]: value})
        full = ("trial", *(expand_shorthand(path) if isinstance(value, str) and path[0] in SHORTHAND else path))
        value = absolute(value, path, Path.cwd())
    if path == ("evaluate",):
        entries = value if isinstance(value, list) else [value]
        value = [absolute_benchmark(entry, Path.cwd()) for entry in entries]
    here = document.tree
    for part in full[:-1]:
        below = here.get(part)
        if below is not None and not isinstance(below, dict):
            raise UsageError(f"{part} holds nothing by name", found=below, place=item.place)
        here[part] = dict(below or {})
        here = here[part]
    here[full[-1]] = value
    _forget(document, full)
    document.places[full] = item.place


def _forget(document: Document, path: Path_) -> None:
    for old in [old for old in document.places if old[: len(path)] == path]:
        del document.places[old]


def _leave_axes(document: Document, given: dict[Keys, Override], notices: list[str]) -> None:
    """Take the given paths out of ``grid`` and ``cases``."""
    grid = document.tree.get("grid")
    places: list[tuple[dict[str, Any], str]] = [(grid, "the grid")] if isinstance(grid, dict) else []
    search = document.tree.get("search")
    space = search.get("space") if isinstance(search, dict) else None
    places += [(space, "the search's space")] if isinstance(space, dict) else []
    cases = document.tree.get("cases")
    places += [
        (case, f"case {number}") for number, case in enumerate(cases if isinstance(cases, list) else [], 1) if isinstance(case, dict)
    ]
    dropped: dict[str, list[str]] = {}
    for entries, where in places:
        for key in list(entries):
            paths = [tuple(name.strip().split(".")) for name in key.split(",")]
            hit = [given[expand_shorthand(path)] for path in paths if expand_shorthand(path) in given]
            if not hit:
                for path in paths:
                    _refuse_shadow(path, given, where)
                continue
            if len(hit) < len(paths):
                others = [".".join(path) for path in paths if expand_shorthand(path) not in given]
                raise UsageError(
                    f"{'.'.join(hit[0].path)} moves together with {', '.join(others)}",
                    found=hit[0].text,
                    allowed=f"give {', '.join(others)} too, or none of them",
                )
            del entries[key]
            dropped.setdefault(" ".join(item.text for item in hit) + f" drops the axis {key}", []).append(where)
    for what, wheres in dropped.items():
        notices.append(what + ("" if wheres == ["the grid"] else f" from {', '.join(wheres)}"))
    if isinstance(cases, list):
        document.tree["cases"] = cases
    if space == {} and dropped:
        del document.tree["search"]
        notices.append("nothing is left to search: the search is dropped")


def _refuse_shadow(path: Keys, given: dict[Keys, Override], where: str) -> None:
    for keys, item in given.items():
        if len(path) < len(keys) and keys[: len(path)] == path and not (len(path) == 1 and keys == expand_shorthand(path)):
            raise UsageError(
                f"{'.'.join(item.path)} would be lost: {'.'.join(path)} is an axis of {where} that assigns the whole of it",
                found=item.text,
                allowed=f"an override of {'.'.join(path)}",
            )
