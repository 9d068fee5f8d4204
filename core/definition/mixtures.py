"""Named mixtures: a YAML file each in ``core/definition/mixtures``, with ``sources`` and whatever else ``data.mixture`` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from core.errors import DefinitionError, nearest

FOLDER = Path(__file__).with_name("mixtures")


def names() -> list[str]:
    """The named mixtures."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def named(name: str) -> dict[str, Any]:
    """What a name stands for.

    Raises:
        DefinitionError: there is no mixture of this name.
    """
    if name not in names():
        raise DefinitionError("no such mixture", found=name, allowed=names(), nearest=nearest(name, names()))
    found: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def spread(data: Any) -> Any:
    """The section ``data`` with what is given laid over its named mixture; ``mixture: X`` means ``mixture.name: X``.

    Sources that both name are merged field by field; anything but a mapping is left for the schema to refuse.
    """
    if not isinstance(data, dict) or data.get("mixture") is None:
        return data
    mixture = data["mixture"]
    given = {"name": mixture} if isinstance(mixture, str) else mixture
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        return {**data, "mixture": given}
    known = named(given["name"])
    sources = {name: source or {} for name, source in known.pop("sources").items()}
    for name, source in (data.get("sources") or {}).items():
        sources[name] = {**sources.get(name, {}), **source} if isinstance(source, dict) else source or sources.get(name, {})
    return {**data, "sources": sources, "mixture": {**known, **given}}
