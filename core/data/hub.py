"""Files of the hub on this machine: the cache that ``huggingface_hub`` keeps below ``$HF_HOME`` (no torch, no network here).

Jobs never download. ``sweep fetch`` brings what a definition needs on a machine that reaches the hub, and writes beside the cache
which files belong to a snapshot and how large they are, so that a download that was cut off is recognised before anything is queued.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

Kind = Literal["model", "dataset"]


def snapshot(repository: str, kind: Kind, revision: str | None) -> Path | None:
    """The folder of a repository's snapshot in the cache; ``None`` where it is not there.

    ``revision`` is a commit, a branch or a tag; ``None`` takes what ``main`` was when it was fetched.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    root = Path(HF_HUB_CACHE, f"{kind}s--{repository.replace('/', '--')}")
    name = revision or "main"
    pointer = root / "refs" / name
    commit = pointer.read_text(encoding="utf-8").strip() if pointer.is_file() else name
    folder = root / "snapshots" / commit
    return folder if folder.is_dir() else None


def record(folder: Path) -> Path:
    """The file beside a snapshot that says what was to be fetched: ``{path: bytes}``."""
    return folder.parent.parent / "fetched" / f"{folder.name}.json"


def incomplete(folder: Path) -> list[str]:
    """Files of a snapshot that were to be fetched and are absent or of another size; nothing where nobody wrote them down."""
    path = record(folder)
    if not path.is_file():
        return []
    wanted: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    return [name for name, size in wanted.items() if not (folder / name).is_file() or (folder / name).stat().st_size != size]


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names that fit one of the patterns, in natural order; ``**/`` also means no folder at all."""
    from core.data.media import natural

    found = {name for name in names for pattern in patterns if _fits(name, pattern)}
    return sorted(found, key=lambda name: [natural(Path(part)) for part in Path(name).parts])


def _fits(name: str, pattern: str) -> bool:
    if pattern.count("/") != name.count("/") and "**" not in pattern:
        return False
    return fnmatch.fnmatchcase(name, pattern) or ("**/" in pattern and fnmatch.fnmatchcase(name, pattern.replace("**/", "")))
