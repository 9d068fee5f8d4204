"""The data of a definition, as ``sweep data`` shows them: known sets, checks of every row, and statistics."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from core import registry
from core.data import data_fingerprint, load_data
from core.data.config import PublicSetConfig
from core.data.curation import Overlaps, repeated
from core.data.examples import PreferenceExample
from core.data.maps import field_map
from core.data.maps import names as set_names
from core.data.public import PublicSource
from core.data.sources import Source, open_source
from core.definition import SweepDefinition, expand, mixtures
from core.definition.plan import cell_name
from core.definition.trial import TrialConfig
from core.errors import DefinitionError, EnvironmentFault, SweepError, UsageError, nearest
from sweeps import planning

EXIT = {"ok": 0, "refused": 2, "missing": 3}
"""Exit code of each verdict about a source."""


def read(name: str, overrides: Sequence[str] | None) -> SweepDefinition:
    """The definition; its own components are registered."""
    definition = planning.read(name, overrides or [], False)
    registry.load_code(list(definition.code))
    return definition


def listing() -> dict[str, Any]:
    """Every public set, and whether it is here, and every named mixture."""
    sets = []
    for name in set_names():
        known = field_map(name)
        here = _open(name) is not None
        sets.append(
            {"name": name, "title": known.title, "reads": list(known.reads), "format": known.format, "hub": known.hub, "here": here}
        )
    mixed = [{"name": name, "sources": list(mixtures.named(name)["sources"])} for name in mixtures.names()]
    return {"sets": sets, "mixtures": mixed}


def one(name: str) -> dict[str, Any]:
    """A set with its field map and first pair, or a mixture with what it stands for.

    Raises:
        UsageError: there is neither of this name.
        DefinitionError: the set is here and its first row is refused.
    """
    if name in mixtures.names():
        return {"mixture": name, **mixtures.named(name)}
    if name not in set_names():
        known = [*set_names(), *mixtures.names()]
        raise UsageError("no such set or mixture", found=name, allowed=known, nearest=nearest(name, known))
    source = _open(name)
    first = next(iter(source), None) if source is not None else None
    shown = field_map(name).model_dump(mode="json")
    place = str(source.folder) if source is not None else "not on this machine; sweep fetch brings it for a definition that names it"
    return {"set": name, **shown, "place": place, "files_here": len(source.files) if source is not None else 0, "first": _pair(first)}


def _open(name: str) -> PublicSource | None:
    try:
        return PublicSource(name, PublicSetConfig(type=name))
    except EnvironmentFault:
        return None


def _pair(example: PreferenceExample | None) -> dict[str, Any] | None:
    if example is None:
        return None
    texts = {
        "prompt": example.prompt,
        "chosen": example.responses[example.best()].text,
        "rejected": example.responses[example.worst()].text,
    }
    return {**texts, "media": [medium.kind for medium in example.media], "origin": example.origin}


def _sections(definition: SweepDefinition) -> Iterator[tuple[TrialConfig, list[str]]]:
    """Each distinct section ``data`` of the trials (with what its reading depends on), and the cells that have it."""
    found: dict[str, tuple[TrialConfig, list[str]]] = {}
    for planned in expand(definition).trials():
        config = TrialConfig.model_validate(dict(planned.config))
        key = json.dumps([planned.config["data"], config.backbone.READS], sort_keys=True)
        cells = found.setdefault(key, (config, []))[1]
        if cell_name(planned.cell) not in cells:
            cells.append(cell_name(planned.cell))
    yield from found.values()


def check(definition: SweepDefinition) -> dict[str, Any]:
    """The verdict on every source of a definition: ``ok``, ``refused`` (a row is wrong) or ``missing`` (data are not here)."""
    seen: dict[str, dict[str, Any]] = {}
    for config, _ in _sections(definition):
        for name, source in sorted(config.data.sources.items()):
            key = json.dumps([name, source.model_dump(mode="json")])
            if key not in seen:
                seen[key] = {"source": name, "type": source.type, **_verdict(name, source)}
    return {"definition": definition.name, "sources": list(seen.values())}


def _verdict(name: str, config: Any) -> dict[str, Any]:
    out: dict[str, Any] = {"verdict": "ok", "pairs": None, "skipped": {}, "place": None, "fingerprint": None, "message": None}
    try:
        source: Source = open_source(name, config)
        out["place"] = str(getattr(source, "path", None) or getattr(source, "folder", None) or "generated")
        source.check()
        out["pairs"], out["fingerprint"] = source.count, source.fingerprint()
        if isinstance(source, PublicSource):
            out["skipped"] = {kind.removeprefix("skipped_"): count for kind, count in source.counts().items() if kind != "pairs"}
    except EnvironmentFault as fault:
        out |= {"verdict": "missing", "message": _said(fault)}
    except DefinitionError as error:
        out |= {"verdict": "refused", "message": _said(error)}
    return out


def _said(error: SweepError) -> str:
    where = f"{error.place}: " if error.place is not None else ""
    return where + planning.one_line(error)


def stats(definition: SweepDefinition) -> dict[str, Any]:
    """What each source gives to training, for each distinct mixture of a definition.

    Repeated pairs (across all sources) and questions of benchmarks are counted whether or not the mixture leaves them out; benchmarks
    are those that the definition evaluates and that are here.

    Raises:
        DefinitionError: a row is refused.
        EnvironmentFault: data are missing.
    """
    names = sorted({str(entry["name"]) for planned in expand(definition).trials() for entry in planned.evaluate})
    questions, notices = {}, []
    for name in names:
        component = registry.get("benchmark", name)
        try:
            questions[name] = component.load()().examples(component.config.model_validate({"name": name}))
        except EnvironmentFault:
            notices.append(f"{name} is not on this machine: overlaps with it are not counted")
    overlaps = Overlaps(questions)
    out = []
    for config, cells in _sections(definition):
        data = load_data(config)
        pairs: dict[str, list[PreferenceExample]] = {}
        for name, source in sorted(config.data.sources.items()):
            if source.weight > 0:
                pairs[name] = list(open_source(name, source))
        again = repeated(pairs, "across")
        sources = [
            {"source": name, "counts": dict(data.counts[name]), **_measured(examples, overlaps), "repeated": len(again[name])}
            for name, examples in pairs.items()
        ]
        epoch = {"epoch": data.epoch_size, "held_out": len(data.held_out), "fingerprint": data_fingerprint(config)}
        out.append({"cells": cells, **epoch, "sources": sources})
    return {"definition": definition.name, "benchmarks": sorted(questions), "mixtures": out, "notices": notices}


def _measured(examples: Sequence[PreferenceExample], overlaps: Overlaps) -> dict[str, Any]:
    found: dict[str, int] = {}
    longer = different = 0
    for example in examples:
        name = overlaps.of(example)
        if name is not None:
            found[name] = found.get(name, 0) + 1
        chosen, rejected = len(example.responses[example.best()].text), len(example.responses[example.worst()].text)
        different += chosen != rejected and not example.tie
        longer += chosen > rejected and not example.tie
    return {
        "with_media": sum(bool(example.media) for example in examples),
        "longer_chosen": longer / different if different else None,
        "overlaps": dict(sorted(found.items())),
    }
