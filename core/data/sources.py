"""Sources: where preferences come from.

A source is made from its name and typed configuration and yields :class:`PreferenceExample` in the order of its file. It has
a ``count``, a ``fingerprint`` (sha256 of its content) and ``check()``, which a launch calls before anything is queued: every
row is read, every bad one is refused with file and row, and every medium must exist. No image is decoded before it is needed.

In a rehearsal every source becomes generated preferences (see :func:`open_source`), or the first rows of the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from core import registry
from core.data.config import FileSourceConfig, GeneratedImagesConfig, GeneratedTextConfig, PublicSetConfig
from core.data.examples import PreferenceExample, missing
from core.data.generated import GeneratedPreferences
from core.data.maps import field_map
from core.data.rows import Embedded, RowError, RowReader
from core.data.streams import stream_seed
from core.definition.trial import RehearsalConfig, SourceConfig, TrialConfig
from core.errors import DefinitionError, EnvironmentFault, Place

SUFFIXES = (".jsonl", ".json", ".parquet")

NEXT_ROW = "mend the row or take it out, then `sweep data check DEFINITION`, which reads all rows"

Key = tuple[str, int, int]
"""A file as it is now: path, size, time of change."""

_digests: dict[Key, str] = {}
_checked: dict[tuple[Key, str], int] = {}
_passed: set[tuple[Key, str]] = set()
"""What this process knows already: a launch checks a thousand trials over the same few files."""


class Source(Protocol):
    """What training asks of a source."""

    name: str
    config: Any

    @property
    def count(self) -> int:
        """Number of pairs, before any cap."""

    def fingerprint(self) -> str:
        """sha256 of the content."""

    def check(self) -> None:
        """Refuse what training could not use."""

    def __iter__(self) -> Iterator[PreferenceExample]:
        """The pairs in their own order."""


def open_source(name: str, config: SourceConfig, rehearsal: RehearsalConfig | None = None, *, text_only: bool = False) -> Source:
    """The source of this name; in a rehearsal its generated stand-in, whose pairs depend on the name alone.

    A source that generates preferences itself keeps its own switches in a rehearsal, so that controls stay controls. The stand-in of a
    public set of text alone, and of any other source for a backbone that reads text alone (``text_only``), is generated text.
    """
    if rehearsal is not None:
        if isinstance(config, GeneratedImagesConfig | GeneratedTextConfig):
            return GeneratedPreferences(name, config.model_copy(update={"pairs": min(config.pairs, rehearsal.pairs)}))
        seed = stream_seed(0, "rehearsal", name) % 2**31
        if isinstance(config, PublicSetConfig):
            text_only = text_only or field_map(config.type).reads == ("text",)
        real = first_rows(name, config, rehearsal.real_data) if rehearsal.real_data is not None else None
        if real is not None:
            return real
        kind = GeneratedTextConfig if text_only else GeneratedImagesConfig
        return GeneratedPreferences(name, kind(pairs=rehearsal.pairs, seed=seed))
    source: Source = registry.get("source", config.type).load()(name, config)
    return source


def open_sources(config: TrialConfig) -> list[Source]:
    """The sources that count (weight above 0), by name."""
    text_only = "image" not in config.backbone.READS
    named = sorted(config.data.sources.items())
    return [open_source(name, source, config.rehearsal, text_only=text_only) for name, source in named if source.weight > 0]


class FirstRows:
    """The first pairs of a real source, for a rehearsal with real rows; they were read when it was made."""

    def __init__(self, name: str, config: SourceConfig, examples: list[PreferenceExample]) -> None:
        self.name = name
        self.config = config
        self.examples = examples

    @property
    def count(self) -> int:
        """Number of pairs."""
        return len(self.examples)

    def fingerprint(self) -> str:
        """sha256 over the pairs that were taken."""
        return hashlib.sha256(json.dumps([example.digest() for example in self.examples]).encode()).hexdigest()

    def check(self) -> None:
        """Every row was read, and every medium found, when they were taken."""

    def __iter__(self) -> Iterator[PreferenceExample]:
        yield from self.examples


def first_rows(name: str, config: SourceConfig, count: int) -> FirstRows | None:
    """The first pairs of a source through its real reader; ``None`` where it, or a medium of one of them, is not on this machine.

    Raises:
        DefinitionError: one of the rows is refused; it names file and row.
    """
    try:
        source: Source = registry.get("source", config.type).load()(name, config)
    except EnvironmentFault:
        return None
    examples = list(islice(source, count))
    if not examples or any(missing(media) for example in examples for media in example.media):
        return None
    return FirstRows(name, config, examples)


class FileSource:
    """The source ``file``: JSONL, JSON (a list of rows) or Parquet.

    Raises:
        EnvironmentFault: the file does not exist; it says what was searched.
        DefinitionError: the file's suffix is none of :data:`SUFFIXES`.
    """

    def __init__(self, name: str, config: FileSourceConfig) -> None:
        self.name = name
        self.config = config
        self.path = find_file(name, config.path)
        self.reader = RowReader(name, config.format, config.fields, Path(config.media) if config.media else self.path.parent)

    @property
    def count(self) -> int:
        """Number of rows; reads the file once per version of it."""
        key = (self._key(), self.config.model_dump_json())
        if key not in _checked:
            _checked[key] = sum(1 for _ in self)
        return _checked[key]

    def fingerprint(self) -> str:
        """sha256 of the file and of how it is read (not of the media that it names)."""
        text = json.dumps([digest(self.path), self.config.format, sorted(self.config.fields.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def check(self) -> None:
        """Read every row and look for every medium.

        Raises:
            DefinitionError: a row is refused, or there is none; it names file and row.
            EnvironmentFault: a medium is missing; it names file and row.
        """
        key = (self._key(), self.config.model_dump_json())
        if key in _passed:
            return
        rows = 0
        for example in self:
            rows += 1
            for media in example.media:
                if missing(media):
                    raise EnvironmentFault(
                        f"the {media.kind} of a row is missing",
                        found=str(media.path),
                        allowed=f"a path relative to {self.reader.media} (set `media` of source {self.name!r} to another folder)",
                        place=example.origin,
                        next="sweep launch DEFINITION --rehearse needs no data",
                    )
        if rows == 0:
            raise DefinitionError(f"the file of source {self.name!r} holds no rows", place=self.path)
        _checked[key] = rows
        _passed.add(key)

    def __iter__(self) -> Iterator[PreferenceExample]:
        for number, row in read_rows(self.path):
            origin = f"{self.path}:{number}" if self.path.suffix == ".jsonl" else f"{self.path}, row {number}"
            try:
                yield self.reader.read(row, origin)
            except RowError as error:
                place = Place(str(self.path), number) if self.path.suffix == ".jsonl" else origin
                raise DefinitionError(f"source {self.name!r}: row {number} is refused: {error}", place=place, next=NEXT_ROW) from error

    def _key(self) -> Key:
        return file_key(self.path)


def file_key(path: Path) -> Key:
    """A file as it is now."""
    stat = path.stat()
    return (str(path), stat.st_size, stat.st_mtime_ns)


def digest(path: Path) -> str:
    """sha256 of a file, computed once per version of it; large files in the hub's cache are called by theirs."""
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name):
        return target.name
    key = file_key(path)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = hashlib.file_digest(file, "sha256").hexdigest()
    return _digests[key]


def find_file(name: str, path: str | None) -> Path:
    """The file of a source: the path that is given, or ``NAME.jsonl``, ``.json``, ``.parquet`` in ``$SWEEP_DATA``."""
    folder = os.environ.get("SWEEP_DATA")
    if path is not None:
        searched = [Path(path).expanduser()]
    elif folder:
        searched = [Path(folder).expanduser() / f"{name}{suffix}" for suffix in SUFFIXES]
    else:
        searched = []
    for file in searched:
        if file.is_file():
            if file.suffix not in SUFFIXES:
                raise DefinitionError(f"source {name!r} has a file of unknown format", found=str(file), allowed=SUFFIXES)
            return file.resolve()
    raise EnvironmentFault(
        f"the data of source {name!r} are not on this machine",
        found=", ".join(map(str, searched)) + " (searched)" if searched else "no `path`, and $SWEEP_DATA is not set",
        allowed=f"`data.sources.{name}.path`, or {name}.jsonl, {name}.json, {name}.parquet in $SWEEP_DATA",
        next="sweep launch DEFINITION --rehearse trains on generated images and needs no data",
    )


def read_rows(path: Path, *, lines: bool = False, embedded: bool = False) -> Iterator[tuple[int, Any]]:
    """Number (lines of JSONL, rows otherwise, both from 1) and value of each row.

    Args:
        path: the file.
        lines: whether a file called ``.json`` holds JSON lines.
        embedded: leave images in a Parquet file where they are; a row then has :class:`core.data.rows.Embedded` instead.

    Raises:
        DefinitionError: the file does not parse; it names the line or row.
    """
    if lines or path.suffix == ".jsonl":
        yield from _read_jsonl(path)
    elif path.suffix == ".json":
        yield from enumerate(_read_json(path), start=1)
    else:
        yield from _read_parquet(path, embedded)


def _read_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"the line is no JSON: {error.msg} (column {error.colno})", place=Place(str(path), number)) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"the file is not UTF-8: {error.reason}", place=Place(str(path), number + 1)) from error


def _read_json(path: Path) -> list[Any]:
    try:
        with path.open(encoding="utf-8-sig") as file:
            value = json.load(file)
    except json.JSONDecodeError as error:
        raise DefinitionError(f"the file is no JSON: {error.msg}", place=Place(str(path), error.lineno)) from error
    except UnicodeDecodeError as error:
        raise DefinitionError(f"the file is not UTF-8: {error.reason}", place=path) from error
    if not isinstance(value, list):
        raise DefinitionError("a JSON file of preferences is a list of rows", found=type(value).__name__, place=path)
    return value


def _read_parquet(path: Path, embedded: bool) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            images = [field.name for field in file.schema_arrow if embedded and _holds_images(field.type)]
            columns = [
                column for field in file.schema_arrow for column in ([f"{field.name}.path"] if field.name in images else [field.name])
            ]
            for group in range(file.num_row_groups):
                first = number
                for batch in file.iter_batches(batch_size=1024, row_groups=[group], columns=columns):
                    for row in batch.to_pylist():
                        for name in images:
                            where = (row[name] or {}).get("path")
                            row[name] = Embedded(path, group, number - first, name, where or f"{path.name}#{number}")
                        number += 1
                        yield number, row
    except (pyarrow.ArrowException, OSError) as error:
        raise DefinitionError(
            f"the file is no readable Parquet after row {number}: {error}",
            place=path,
            next="bring the file again; a download that was cut off leaves such files",
        ) from error


def _holds_images(kind: Any) -> bool:
    """Whether a column is the hub's image: a struct of ``bytes`` and ``path``."""
    import pyarrow

    return bool(pyarrow.types.is_struct(kind) and {kind.field(i).name for i in range(kind.num_fields)} == {"bytes", "path"})
