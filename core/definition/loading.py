"""From a file to a :class:`SweepDefinition`: find, read, merge, override, check. The only part that reads files.

Order: bases (the farthest first), the file itself, the command line; then the axes are read, the number of cells is bounded,
and the first cell of each block and every axis value are checked, so that a wrong value is refused here and not in the
middle of a plan.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from core import registry
from core.definition import overrides as command_line
from core.definition import searched, sequential
from core.definition.axes import Block, assigned, blocks, read_axes
from core.definition.definition import Exclude, SweepDefinition
from core.definition.layers import lay_over, normalise
from core.definition.matching import read_conditions, read_rules
from core.definition.named import check_named, measured, require_metric, star
from core.definition.needs import Need, resolve
from core.definition.problems import dotted, place_of, translate
from core.definition.reading import Document, Path_, leaves, read_file
from core.definition.schema import VARIABLE, DefinitionConfig
from core.definition.searching import ObjectiveConfig
from core.definition.sections import SECTIONS, TARGETS, Source, plan_sections
from core.definition.trial import RehearsalConfig
from core.definition.walk import Keys
from core.errors import DefinitionError, Place, UsageError, nearest

SUFFIXES = (".yaml", ".yml")


def find(name_or_path: str | Path, search: Sequence[Path] = ()) -> Path:
    """The file of a definition: by path, then ``./sweeps/NAME(.yaml)``, then the folders in ``search`` (the shipped ones).

    Raises:
        UsageError: there is none; it lists what was searched and the nearest name.
    """
    return _find(str(name_or_path), [Path(), Path("sweeps"), *search])


def _find(name: str, folders: Sequence[Path]) -> Path:
    for folder in folders:
        for candidate in (Path(folder, name), *(Path(folder, name + suffix) for suffix in SUFFIXES)):
            if candidate.is_file():
                return candidate.resolve()
    known = sorted({file.stem for folder in folders if folder.is_dir() for file in folder.iterdir() if file.suffix in SUFFIXES})
    searched = ", ".join(dict.fromkeys(str(folder.resolve()) for folder in folders))
    raise UsageError(
        "no such sweep definition",
        found=name,
        allowed=f"a path, or a name in {searched}" + (f"; there are: {', '.join(known)}" if known else ""),
        nearest=nearest(Path(name).stem, known),
        next=f"sweep new {Path(name).stem}",
    )


def load(
    path: Path | str,
    overrides: Sequence[str] = (),
    *,
    search: Sequence[Path] = (),
    rehearsal: bool = False,
    within: tuple[Path, ...] = (),
    code: Sequence[Path] | None = None,
) -> SweepDefinition:
    """Read a definition, merge its bases, apply the command line, and check everything that can be checked.

    Args:
        path: the file (see :func:`find`).
        overrides: ``path=value`` of the command line.
        search: folders in which a base is looked for by name, after the file's own and ``./sweeps``.
        rehearsal: make every trial a rehearsal.
        within: definitions that are being loaded because they need this one.
        code: the component files to load instead of those that the definition names (their copies beside a revision).

    Raises:
        DefinitionError: the file, a base, a need or a value is wrong; with file and line.
        UsageError: an override is wrong.
    """
    chain = _read_chain(Path(path).resolve(), search)
    files = tuple(file for file, _ in chain)
    named = [Path(file) for _, document in reversed(chain) for file in document.tree.get("code") or [] if isinstance(file, str)]
    _load_code(list(dict.fromkeys(named if code is None else code)), chain)
    notices: list[str] = []
    document = _merge(chain, notices)
    command_line.apply(document, overrides, notices, rehearsal=rehearsal)
    settings = _rehearsal(document, rehearsal)
    if files[0] in within:
        circle = " -> ".join(str(file) for file in (*within, files[0]))
        raise DefinitionError("the needs form a cycle", found=circle, allowed="needs that do not lead back")

    def define(made: Document, name: str) -> SweepDefinition:
        normalise(made, files[0].parent)
        return _define(made, files, [], settings, {})

    config = _validate_top(document)
    seeds, _ = sequential.read_seeds(document, config)
    needs = resolve(
        document,
        config.needs,
        seeds,
        lambda name: _find(name, [files[0].parent, Path("sweeps"), *search]),
        lambda file: load(file, search=search, rehearsal=rehearsal, within=(*within, files[0])),
        define,
    )
    return _define(document, files, notices, settings, needs)


def _define(
    document: Document, files: tuple[Path, ...], notices: list[str], settings: RehearsalConfig | None, needs: dict[str, Need]
) -> SweepDefinition:
    """The definition that a merged document means."""
    config = _validate_top(document)
    seeds, further = sequential.read_seeds(document, config)
    prompts = _prompts(document)
    all_blocks = _blocks(document, files[0].parent)
    prompts.update(_prompts_of_axes(all_blocks))
    source = Source(document.tree, document.places, prompts, {name: need.reference for name, need in needs.items()})
    _refuse_both(document, all_blocks)
    _check_star(source, all_blocks)
    objective = _objective(source, all_blocks)
    space = searched.read_search(document, config, source, all_blocks, files[0].parent)
    definition = SweepDefinition(
        name=config.name,
        project=config.project or config.name,
        description=config.description,
        files=files,
        code=tuple(Path(file) for file in config.code),
        notices=notices,
        warnings=[],
        seeds=seeds,
        objective=objective,
        search=config.search,
        space=space,
        objectives=searched.objectives(config, objective, source, all_blocks),
        failures=config.failures,
        ensembles=config.ensembles,
        reported=config.reported,
        gates=config.gates,
        claims=config.claims,
        rehearsal=settings,
        source=source,
        blocks=all_blocks,
        exclude=_excludes(document),
        sample=config.sample,
        needs=needs,
        further=further,
    )
    check_named(definition)
    for _ in searched.probes(definition):
        pass
    return definition


def _read_chain(path: Path, search: Sequence[Path]) -> list[tuple[Path, Document]]:
    """The file and its bases, the farthest last."""
    chain: list[tuple[Path, Document]] = []
    place: Place | None = None
    while True:
        if path in [file for file, _ in chain]:
            circle = " -> ".join([*(str(file) for file, _ in chain), str(path)])
            raise DefinitionError("the bases form a cycle", found=circle, allowed="a base that does not lead back", place=place)
        document = read_file(path)
        if isinstance(document.tree.get("code"), list):
            document.tree["code"] = [str(path.parent / entry) if isinstance(entry, str) else entry for entry in document.tree["code"]]
        elif isinstance(document.tree.get("code"), str):
            document.tree["code"] = [str(path.parent / document.tree["code"])]
        chain.append((path, document))
        base = document.tree.get("base")
        if base is None:
            return chain
        place = place_of(document.places, ("base",))
        if not isinstance(base, str):
            raise DefinitionError("base is the name or path of one definition", found=base, place=place)
        try:
            path = _find(base, [path.parent, Path("sweeps"), *search])
        except UsageError as error:
            raise DefinitionError("no such base", found=base, allowed=error.allowed, nearest=error.nearest, place=place) from None


def _load_code(files: list[Path], chain: list[tuple[Path, Document]]) -> None:
    try:
        registry.load_code(files)
    except DefinitionError as error:
        listing = next(document for _, document in chain if document.tree.get("code"))
        error.place = error.place or place_of(listing.places, ("code",))
        raise


def _merge(chain: list[tuple[Path, Document]], notices: list[str]) -> Document:
    for file, document in chain:
        normalise(document, file.parent)
    merged = chain[-1][1]
    for _, document in reversed(chain[:-1]):
        merged = lay_over(merged, document, notices)
    return merged


def _validate_top(document: Document) -> DefinitionConfig:
    """Check the keys beside ``trial``; what may vary or be interpolated is checked cell by cell."""
    tree = {key: value for key, value in document.tree.items() if key not in VARIABLE and key != "base"}
    try:
        return DefinitionConfig.model_validate(tree)
    except ValidationError as error:
        raise translate(error, (), document.places, raw=tree, keys=list(DefinitionConfig.model_fields)) from None


def _rehearsal(document: Document, rehearsal: bool) -> RehearsalConfig | None:
    given = document.tree.get("trial", {}).get("rehearsal")
    if not rehearsal:
        if given is not None:
            raise DefinitionError(
                "rehearsal settings belong to a rehearsal",
                found="trial.rehearsal",
                place=place_of(document.places, ("trial", "rehearsal")),
                next="--rehearse",
            )
        return None
    try:
        return RehearsalConfig.model_validate(given or {})
    except ValidationError as error:
        raise translate(error, ("trial", "rehearsal"), document.places, raw=given) from None


def _prompts(document: Document) -> dict[str, str]:
    """Fill in ``prompt.sha`` from ``prompt.file``; a digest that is written already must still fit the file."""
    prompt = document.tree.get("trial", {}).get("prompt")
    if not isinstance(prompt, dict) or not isinstance(prompt.get("file"), str) or "${" in prompt["file"]:
        return {}
    place = place_of(document.places, ("trial", "prompt", "file"))
    sha, known = _sha(prompt["file"], place), prompt.get("sha")
    if known is not None and known != sha:
        raise DefinitionError(
            "the prompt's file is not the one that this definition was made with",
            found=f"sha256 {sha}",
            allowed=f"sha256 {known}",
            place=place,
        )
    prompt["sha"] = sha
    return {prompt["file"]: sha}


def _prompts_of_axes(all_blocks: Sequence[Block]) -> dict[str, str]:
    out = {}
    for path, axis in assigned(all_blocks):
        if path[0] != "prompt" or not isinstance(axis.rows, list):
            continue
        for row in axis.rows:
            value = row[axis.paths.index(path)]
            file = value.raw.get("file") if isinstance(value.raw, dict) else value.raw if path == ("prompt", "file") else None
            if isinstance(file, str) and "${" not in file:
                out[file] = _sha(file, value.place)
    return out


def _sha(file: str, place: Place | None) -> str:
    try:
        return hashlib.sha256(Path(file).read_text(encoding="utf-8").encode()).hexdigest()
    except (OSError, UnicodeDecodeError) as error:
        raise DefinitionError("the prompt's file cannot be read", found=str(error), place=place) from None


def _blocks(document: Document, folder: Path) -> tuple[Block, ...]:
    places = document.places
    grid = read_axes(document.tree.get("grid") or {}, ("grid",), places, "grid", folder)
    cases = []
    for index, case in enumerate(document.tree.get("cases") or []):
        axes = read_axes(case, ("cases", index), places, f"case {index + 1}", folder)
        cases.append((axes, place_of(places, ("cases", index))))
    return blocks(grid, cases, places)


def _refuse_both(document: Document, all_blocks: Sequence[Block]) -> None:
    """Refuse a field of the trial that a top-level key sets too."""
    said: dict[Keys, Any] = {}
    for section in ("validation", "checkpoint"):
        said.update({(section, key): place_of(document.places, (section, key)) for key in document.tree.get(section) or {}})
    for path, axis in assigned(all_blocks):
        if path in TARGETS:
            said[path] = axis.place
    direct: dict[Keys, Any] = {}
    for path_, _ in leaves(document.tree.get("trial", {})):
        direct[tuple(str(part) for part in path_)] = place_of(document.places, ("trial", *path_))
    for path, axis in assigned(all_blocks):
        direct[path] = axis.place
    for top, targets in TARGETS.items():
        for target in targets:
            if top in said and target in direct:
                raise DefinitionError(
                    f"{dotted(target)} is set by {dotted(top)}, and here directly",
                    found=f"{dotted(top)} ({said[top]}) and {dotted(target)} ({direct[target]})",
                    allowed=f"only {dotted(top)}",
                    place=direct[target],
                )


def _check_star(source: Source, all_blocks: Sequence[Block]) -> None:
    """Check the first cell of each block, and every axis value with the others at their first.

    Raises:
        DefinitionError: a value is wrong.
    """
    for block in all_blocks:
        plans = plan_sections(source, block)
        for indices in star(block):
            for name in SECTIONS:
                plans[name].result(plans, indices)
        read_rules(plans["resources"].result(plans, [0] * len(block.axes)).value, source.places)


def _objective(source: Source, all_blocks: Sequence[Block]) -> ObjectiveConfig:
    """The objective, whose benchmark must be one that some cell is scored on."""
    objective = ObjectiveConfig()
    for block in all_blocks:
        plans = plan_sections(source, block)
        objective = plans["objective"].result(plans, [0] * len(block.axes)).value
    place = place_of(source.places, ("objective", "metric"), ("objective",))
    require_metric("the objective", objective.metric, measured(source, all_blocks), place)
    return objective


def _excludes(document: Document) -> tuple[Exclude, ...]:
    out = []
    for index, rule in enumerate(document.tree.get("exclude") or []):
        path: Path_ = ("exclude", index)
        if not rule:
            raise DefinitionError("an exclude without a path would drop every cell", found="{}", place=place_of(document.places, path))

        def place(key: str, path: Path_ = path) -> Place | None:
            return place_of(document.places, (*path, key))

        out.append(Exclude(read_conditions(rule, place), rule, place_of(document.places, path)))
    return tuple(out)
