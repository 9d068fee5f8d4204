"""Registries: the seams through which components enter.

A component is a *kind* (``head``, ``loss``, ...), a *name*, a typed configuration (a pydantic model that lives in a module
without torch) and an implementation named by a string ``"module:attribute"`` that is imported only when used. That is how
``sweep plan`` validates every field of every component and imports no torch.

Components come from three places: our own light ``config`` modules (:data:`BUILTIN`), entry points ``rewardsweep.heads``,
``rewardsweep.losses`` etc. of installed distributions, and files listed under ``code:`` of a sweep definition, which call
:func:`register` when they are imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from core.errors import DefinitionError, Place, SweepError, UsageError, nearest

KINDS = ("source", "backbone", "external", "paradigm", "head", "loss", "benchmark", "baseline", "ensemble_rule")

STANDS_IN = {"backbone": "external"}
"""Kinds whose place a component of another kind may take: a public reward model stands where a backbone does."""

BUILTIN = (
    "core.data.config", "core.models.config", "core.models.external.config", "core.training.config", "core.evaluation.config",
    "core.evaluation.ensembles.config",
)  # fmt: skip
"""Light modules (no torch) whose import registers the components that ship with the project."""


@dataclass(frozen=True)
class Component:
    """One registered component; ``implementation`` is ``"module:attribute"``."""

    kind: str
    name: str
    config: type[BaseModel]
    implementation: str

    def load(self) -> Any:
        """Import and return the implementation."""
        module, _, attribute = self.implementation.partition(":")
        return getattr(importlib.import_module(module), attribute)


_components: dict[tuple[str, str], Component] = {}
_begun = _loaded = False
_loading = threading.RLock()
"""Held while modules that register are imported: another thread waits until all that they bring is there."""


def register(kind: str, name: str, config: type[BaseModel], implementation: str) -> None:
    """Add a component. Registering the same name twice with another implementation is an error.

    Raises:
        UsageError: the kind is unknown, or the name is taken by another implementation.
    """
    if kind not in KINDS:
        raise UsageError("unknown kind of component", found=kind, allowed=KINDS, nearest=nearest(kind, KINDS))
    component = Component(kind, name, config, implementation)
    known = next((found for other in _places(kind) if (found := _components.get((other, name))) is not None), None)
    if known is not None and known.implementation != implementation:
        raise UsageError(
            f"the {kind} {name!r} is registered already",
            found=implementation,
            allowed=f"another name; {name!r} is {known.implementation}",
        )
    _components[(kind, name)] = component


def _load() -> None:
    global _begun, _loaded
    if _loaded:
        return
    with _loading:
        if _begun:  # a module that is being loaded asks for what there is
            return
        _begun = True
        for module in BUILTIN:
            importlib.import_module(module)
        points = entry_points()  # once for all kinds: it reads the metadata of every installed distribution
        for kind in KINDS:
            for point in points.select(group=f"rewardsweep.{'losses' if kind == 'loss' else kind + 's'}"):
                point.load()
        _loaded = True


def names(kind: str) -> list[str]:
    """The names registered for a kind, sorted."""
    _load()
    return sorted(name for known, name in list(_components) if known == kind)


def components(kind: str) -> Iterator[Component]:
    """All components of a kind, by name."""
    for name in names(kind):
        yield _components[(kind, name)]


def _places(kind: str) -> tuple[str, ...]:
    """The kinds that share names with this one: it, what may take its place, and whose place it may take."""
    stands = STANDS_IN.get(kind)
    return (kind, *([stands] if stands else []), *(other for other, found in STANDS_IN.items() if found == kind))


def choices(kind: str) -> list[Component]:
    """All components that may stand where this kind does: its own, then those of the kind that may take its place."""
    return [part for found in (kind, STANDS_IN.get(kind)) if found is not None for part in components(found)]


def has(kind: str, name: str) -> bool:
    """Whether a component of this name may stand where this kind does."""
    _load()
    return (kind, name) in _components or (STANDS_IN.get(kind, ""), name) in _components


def get(kind: str, name: str) -> Component:
    """The component of this name that stands where this kind does.

    Raises:
        DefinitionError: no such component; it names the registered ones and the nearest.
    """
    _load()
    component = _components.get((kind, name)) or _components.get((STANDS_IN.get(kind, ""), name))
    if component is None:
        allowed = [part.name for part in choices(kind)]
        raise DefinitionError(f"unknown {kind}", found=name, allowed=allowed, nearest=nearest(name, allowed))
    return component


def load_code(files: list[Path]) -> None:
    """Import the user's own component files (``code:`` of a definition), each under its stem as module name.

    Raises:
        DefinitionError: a file is missing, does not parse, fails when it is imported, or has the name of a module that is loaded.
    """
    with _loading:
        for file in files:
            _load_file(file)


def _load_file(file: Path) -> None:
    name = file.stem
    if not file.is_file():
        raise DefinitionError("a file listed under `code` does not exist", found=str(file))
    if not name.isidentifier():
        raise DefinitionError("a file under `code` must be named like a Python module", found=file.name)
    known = sys.modules.get(name)
    if known is not None and not _same_file(Path(getattr(known, "__file__", "") or ""), file):
        raise DefinitionError("a file under `code` has the name of a module that is loaded already", found=file.name)
    if known is not None:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise DefinitionError(f"{file.name} does not parse: {error.msg}", place=f"{file}:{error.lineno}") from error
    except SweepError:
        del sys.modules[name]
        raise
    except Exception as error:
        del sys.modules[name]
        line = next((f.lineno for f in reversed(traceback.extract_tb(error.__traceback__)) if Path(f.filename) == file), None)
        message = f"{file.name} fails when it is imported: {type(error).__name__}: {error}"
        raise DefinitionError(message, place=Place(str(file), line)) from error


def _same_file(loaded: Path, file: Path) -> bool:
    """Whether a loaded module came from this file, or from another copy of it (a sweep keeps one of each launch)."""
    return loaded.is_file() and (loaded.resolve() == file.resolve() or loaded.read_bytes() == file.read_bytes())
