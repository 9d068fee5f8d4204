"""Public preference sets: read through their field map, from a local copy or the hub's cache, file by file.

Rows are streamed: a file is never read whole, and images inside Parquet files stay there until a batch needs them. Rows with a fault
that the set is known to have (``skip`` of its map) are left out and counted; any other fault refuses the set, with file and row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.data import hub
from core.data.config import PublicSetConfig
from core.data.examples import PreferenceExample, missing
from core.data.formats import MappedRows
from core.data.maps import FieldMap, field_map
from core.data.rows import RowError
from core.data.sources import digest, read_rows
from core.errors import DefinitionError, EnvironmentFault, Place

_passed: dict[str, dict[str, int]] = {}
"""Counts of the sets that this process has checked, by fingerprint and place."""


class PublicSource:
    """The source of one public set.

    Raises:
        EnvironmentFault: no file of the set is on this machine; it says what was searched and how to fetch it.
    """

    def __init__(self, name: str, config: PublicSetConfig) -> None:
        self.name = name
        self.config = config
        self.map: FieldMap = field_map(config.type)
        self.folder, self.files = self._locate()
        self._roots = self._read_roots()
        self.skipped: Counter[str] = Counter()
        """Rows that the last pass left out, by fault."""

    @property
    def count(self) -> int:
        """Number of pairs; reads the set once per version of it."""
        return self.counts()["pairs"]

    def counts(self) -> dict[str, int]:
        """``pairs``, ``rows`` and for each fault the rows that were left out; reads the set once per version of it."""
        key = self._key()
        if key not in _passed:
            pairs = sum(1 for _ in self)
            _passed[key] = {"pairs": pairs, **{f"skipped_{kind}": count for kind, count in sorted(self.skipped.items())}}
        return _passed[key]

    def fingerprint(self) -> str:
        """sha256 of the files' contents and of how they are read."""
        parts = [[file.name, digest(file)] for file in self.files]
        text = json.dumps([parts, self.map.model_dump(mode="json"), sorted(self.config.fields.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Read every row and look for every medium.

        Raises:
            DefinitionError: a row is refused, or there is none; it names file and row.
            EnvironmentFault: a medium is missing; it names file and row.
        """
        if self._key() in _passed:
            return
        pairs = 0
        for example in self:
            pairs += 1
            for media in example.media:
                if missing(media):
                    raise EnvironmentFault(
                        f"the {media.kind} of a row is missing",
                        found=str(media.path),
                        allowed=self._unpacked() or f"a path relative to {self.folder} (or `media` of source {self.name!r})",
                        place=example.origin,
                        next="sweep launch DEFINITION --rehearse needs no data",
                    )
        if pairs == 0:
            left = ", ".join(f"{count} {kind}" for kind, count in self.skipped.items()) or "no rows"
            raise DefinitionError(f"source {self.name!r} holds no pair", found=left, place=self.files[0])
        _passed[self._key()] = {"pairs": pairs, **{f"skipped_{kind}": count for kind, count in sorted(self.skipped.items())}}

    def __iter__(self) -> Iterator[PreferenceExample]:
        self.skipped = Counter()
        for file in self.files:
            yield from self._read(file)

    def _read(self, file: Path) -> Iterator[PreferenceExample]:
        media = Path(self.config.media).expanduser() if self.config.media else self._roots.get(file, self.folder)
        reader = MappedRows(self.name, self.map, self.config.fields, media)
        lined = self.map.lines or file.suffix == ".jsonl"
        for number, row in read_rows(file, lines=lined, embedded=True):
            origin = f"{file}:{number}" if lined else f"{file}, row {number}"
            try:
                yield from reader.read(row, origin)
            except RowError as error:
                if error.kind in self.map.skip:
                    self.skipped[str(error.kind)] += 1
                    continue
                raise DefinitionError(
                    f"source {self.name!r}: row {number} is refused: {error}",
                    allowed=f"rows as {self.map.title} had them ({self.map.checked}); `fields` of the source renames fields",
                    place=Place(str(file), number) if lined else origin,
                    next=f"sweep data show {self.config.type}",
                ) from error

    def _locate(self) -> tuple[Path, list[Path]]:
        """The folder and the files of the set: ``path``, a folder or file in ``$SWEEP_DATA``, or the hub's cache."""
        local = os.environ.get("SWEEP_DATA")
        places = [Path(self.config.path).expanduser()] if self.config.path else []
        if not places and local:
            places = [Path(local).expanduser() / name for name in (self.config.type, f"{self.config.type}.jsonl")]
        for place in places:
            if place.is_file():
                return place.parent, [place]
            files = self._files(place)
            if files:
                return place, files
        if not self.config.path:
            folder = hub.snapshot(self.map.hub, "dataset", self.config.revision)
            files = self._files(folder) if folder is not None else []
            if folder is not None and files:
                lost = hub.incomplete(folder)
                if lost:
                    raise EnvironmentFault(
                        f"the copy of {self.map.title} is incomplete: {len(lost)} files are missing",
                        found=f"{folder} without {', '.join(lost[:3])}",
                        next="sweep fetch DEFINITION, which goes on where it was cut off",
                    )
                return folder, files
            places.append(Path(f"the hub's cache for {self.map.hub}" + (f" at {self.config.revision}" if self.config.revision else "")))
        raise EnvironmentFault(
            f"{self.map.title} is not on this machine",
            found=", ".join(map(str, places)) + " (searched)",
            allowed=f"a folder with {' or '.join(self.map.files)} as `data.sources.{self.name}.path`, or {self.config.type}/ in $SWEEP_DATA"
            + (f"; {self._unpacked()}" if self.map.unpack else ""),
            next="sweep fetch DEFINITION where the hub can be reached; --rehearse needs no data",
        )

    def _files(self, folder: Path | None) -> list[Path]:
        if folder is None or not folder.is_dir():
            return []
        names = (str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
        return [folder / name for name in hub.matching(names, self.map.files)]

    def _unpacked(self) -> str | None:
        return f"unpack {', '.join(self.map.unpack)} beside the rows" if self.map.unpack else None

    def _read_roots(self) -> dict[Path, Path]:
        """The folder of the media of each file of rows, where a file of the set says it."""
        path = self.folder / self.map.roots if self.map.roots else None
        if path is None or not path.is_file():
            return {}
        try:
            entries: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
            named = {Path(entry["annotation"]).name: str(entry["root"]) for entry in entries.values()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DefinitionError(f"{path.name} of {self.map.title} does not say where media lie: {error}", place=path) from error
        return {file: self._root(named[file.name]) for file in self.files if file.name in named}

    def _root(self, written: str) -> Path:
        """A root as the set's authors wrote it, below their own folder: its longest end that exists here."""
        parts = Path(written).parts
        ends = (self.folder.joinpath(*parts[start:]) for start in range(len(parts)) if parts[start] != "/")
        return next((place for place in ends if place.is_dir()), self.folder / written.lstrip("/"))

    def _key(self) -> str:
        return json.dumps([self.fingerprint(), str(self.folder), self.config.media])
