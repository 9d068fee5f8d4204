"""What trials need of others before they can run: the key `needs` of a definition.

A need is a trial of another sweep, a model, or a *stage*: a trial of this sweep that other trials need, and that is never counted
among its cells. ``${needs.NAME}`` under `trial` stands for a *reference*, a text that is hashed like any other value: so the identity
of a trial includes that of what it needs. The references are:

=================  ==============================================================================================
``trial:ID``       the trial of this id
``cell:ID``        of a cell, by the id of its seed 0, the trial of the same seed
``model:NAME``     a model on the hub
``model:sha:HEX``  a model in a folder, by what lies in it
=================  ==============================================================================================
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.definition.matching import all_hold, read_conditions
from core.definition.plan import PlannedTrial, cell_name
from core.definition.problems import place_of
from core.definition.reading import Document, leaves
from core.definition.schema import NeedConfig
from core.errors import DefinitionError, Place, UsageError

if TYPE_CHECKING:
    from core.definition.definition import SweepDefinition

STAGE_KEEPS = ("backbone", "data")
"""Sections of `trial` that a stage takes over from its definition; the rest it says itself."""

HEAD_BYTES = 1 << 20
"""So many first bytes of a large file stand for its content, with its size."""


@dataclass(frozen=True)
class Need:
    """One need, resolved.

    Attributes:
        name: its name in the definition.
        reference: what ``${needs.NAME}`` stands for.
        targets: by seed of the trial that needs it, what is needed: ``trial:ID`` or ``model:PLACE``.
        stage: the trial of this sweep that it is, ``None`` for others.
    """

    name: str
    reference: str
    targets: Mapping[int, str]
    stage: PlannedTrial | None = None


Load = Callable[[Path], "SweepDefinition"]
"""Loads another definition in the same mode (a rehearsal needs rehearsals)."""

Find = Callable[[str], Path]


def resolve(
    document: Document,
    configs: Mapping[str, NeedConfig],
    seeds: Sequence[int],
    find: Find,
    load: Load,
    define: Callable[[Document, str], SweepDefinition],
) -> dict[str, Need]:
    """Every need of a definition.

    Args:
        document: the merged definition.
        configs: its key `needs`, typed.
        seeds: the definition's seeds.
        find: the file of a definition by name or path.
        load: loads another definition.
        define: makes a definition of a document that was made here, under a name.

    Raises:
        DefinitionError: no such sweep or model, none or several cells match, a seed is missing there, or a stage is wrong.
    """
    found = {}
    for name, config in configs.items():
        place = place_of(document.places, ("needs", name))
        if config.sweep is not None:
            found[name] = _of_sweep(name, config, seeds, find, load, place)
        elif config.model is not None:
            reference, target = _model(config.model, place)
            found[name] = Need(name, reference, dict.fromkeys(seeds, target))
        else:
            found[name] = _stage(name, config, document, seeds, define)
    return found


def _of_sweep(name: str, config: NeedConfig, seeds: Sequence[int], find: Find, load: Load, place: Place | None) -> Need:
    from core.definition.expansion import expand

    assert config.sweep is not None
    try:
        other = load(find(config.sweep))
    except UsageError as error:
        raise DefinitionError(
            f"the need {name} names a sweep that is not there",
            found=config.sweep,
            allowed=error.allowed,
            nearest=error.nearest,
            place=place,
        ) from None
    conditions = read_conditions(config.where, lambda key: place)
    cells = [(visit.id, visit.coordinates()) for visit in expand(other).kept() if all_hold(conditions, visit.get, visit.labels())]
    if len(cells) != 1:
        raise DefinitionError(
            f"the need {name} must name exactly one cell of {other.name}, and names {len(cells)}",
            found=f"where: {config.where}",
            allowed="; ".join(cell_name(coordinates) for _, coordinates in cells[:5]) or "paths and values of one of its cells",
            place=place,
        )
    wanted = list(seeds) if config.seed == "same" else [config.seed]
    lacking = [seed for seed in wanted if seed not in other.seeds]
    if lacking:
        raise DefinitionError(
            f"the need {name} wants a seed that {other.name} does not train",
            found=lacking,
            allowed=f"seed: one of {', '.join(map(str, other.seeds))}",
            place=place,
        )
    trials = {trial.seed: trial.id for trial in expand(other).trials() if trial.cell == cells[0][1]}
    if config.seed == "same":
        return Need(name, f"cell:{cells[0][0]}", {seed: f"trial:{trials[seed]}" for seed in seeds})
    reference = f"trial:{trials[config.seed]}"
    return Need(name, reference, dict.fromkeys(seeds, reference))


def _model(text: str, place: Place | None) -> tuple[str, str]:
    """The reference of a model, and where it is."""
    folder = Path(text).expanduser()
    if folder.is_dir():
        return f"model:sha:{folder_digest(folder)}", f"model:{folder.resolve()}"
    if text.count("/") != 1 or text.startswith((".", "/", "~")):
        raise DefinitionError(
            "a need names a model that is not there", found=text, allowed="a folder, or ORGANISATION/NAME on the hub", place=place
        )
    return f"model:{text}", f"model:{text}"


def folder_digest(folder: Path) -> str:
    """32 hex digits over the files of a model's folder: names, sizes and the first MiB of each."""
    whole = hashlib.sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        with file.open("rb") as handle:
            start = hashlib.sha256(handle.read(HEAD_BYTES)).hexdigest()
        whole.update(f"{file.relative_to(folder)} {file.stat().st_size} {start}\n".encode())
    return whole.hexdigest()[:32]


def _stage(
    name: str, config: NeedConfig, document: Document, seeds: Sequence[int], define: Callable[[Document, str], SweepDefinition]
) -> Need:
    from core.definition.expansion import expand

    trial = document.tree.get("trial", {})
    given = config.trial or {}
    own: dict[str, Any] = {key: trial[key] for key in STAGE_KEEPS if key in trial}
    own |= {"train": {"steps": 0, **{key: trial["train"][key] for key in ("max_length", "dtype") if key in trial.get("train", {})}}}
    tree = {
        "version": "1",
        "name": "stage",
        "trial": {**own, **given},
        "validation": {"items": "0"},
        **({"resources": config.resources} if config.resources is not None else {}),
        **({"resources": document.tree["resources"]} if config.resources is None and "resources" in document.tree else {}),
    }
    prefix = ("needs", name, "trial")
    places = {path: found for path, found in document.places.items() if path[:1] in (("trial",), ("resources",))}
    places |= {("trial", *path[3:]): found for path, found in document.places.items() if path[:3] == prefix}
    stage = define(Document(tree, places), name)
    [planned] = expand(stage).trials()
    reference = f"trial:{planned.id}"
    return Need(name, reference, dict.fromkeys(seeds, reference), replace(planned, cell={"stage": name}, stage=name, evaluate=()))


def needed(needs: Mapping[str, Need], config: Mapping[str, Any], seed: int) -> dict[str, str]:
    """What a trial of this configuration and seed needs: by reference, its target."""
    if not needs:
        return {}
    texts = {text for _, text in leaves(dict(config)) if isinstance(text, str)}
    return {need.reference: need.targets[seed] for need in needs.values() if need.reference in texts}
