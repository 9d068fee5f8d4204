"""What a benchmark is: an adapter that yields examples, and the metrics that its authors defined over them.

A benchmark's *revision* names the version of its data: a known file is recognised by the hash of its examples and labels,
whatever the order of its rows, and any other file is a revision of its own, named by that hash. Metrics of different
revisions are never compared (:func:`core.evaluation.score_table.comparable`).

In a rehearsal every benchmark is a generated one under the same metric names, so that each group and each metric of the real
run is exercised.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from core.data import hub
from core.data.examples import PreferenceExample
from core.data.rows import RowError, RowReader
from core.data.sources import SUFFIXES, read_rows
from core.definition.trial import BenchmarkConfig, RehearsalConfig
from core.errors import DefinitionError, EnvironmentFault, Place, nearest
from core.evaluation.metrics import Grouping, Pair, Units
from core.evaluation.score_table import ScoreTable


class Benchmark(Protocol):
    """What the rest of the project asks of a benchmark; implementations are stateless and made without arguments."""

    name: str
    metric_names: tuple[str, ...]
    """All metrics, in the order in which a table shows them; percent, higher is better."""
    groupings: Mapping[str, Grouping]
    published_revision: str | None
    """The revision that published numbers refer to, or ``None`` where nothing was published."""

    def examples(self, config: Any) -> list[PreferenceExample]:
        """All examples, in the order of the file; media are named, not read.

        Raises:
            DefinitionError: a row is refused; it names file and row.
            EnvironmentFault: the data are not on this machine.
        """

    def rehearse(self, config: Any, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """The generated stand-in: ``rehearsal.items`` examples that fall into every group."""

    def revision(self, config: Any, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None) -> str:
        """The name of the data's version."""

    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Every metric of ``metric_names`` in percent; ``None`` where there is nothing to average."""

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """What each metric counts, for statistics by example; a metric that is no mean of such units is left out."""


def data_hash(examples: Sequence[PreferenceExample]) -> str:
    """sha256 over the examples and their labels, whatever the order of rows and of responses; media do not count."""
    lines = []
    for example in examples:
        ranked = zip((response.text for response in example.responses), example.label.ranks, strict=True)
        ranks = [rank for _, rank in sorted(ranked, key=lambda item: (item[0], -1 if item[1] is None else item[1]))]
        lines.append(f"{example.digest()} {json.dumps(ranks)}")
    lines.sort()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def require_id(row: Mapping[str, Any], name: str = "id") -> str:
    """The row's own id, off which groups and Acc+ are read.

    Raises:
        RowError: the id is missing, empty, or neither text nor number.
    """
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, (str, int)) or value == "":
        raise RowError(f"`{name}` is a text, found {value!r}; the row has {', '.join(sorted(map(str, row))) or 'no fields'}")
    return str(value)


def require_group(row: Mapping[str, Any], name: str, groups: Sequence[str]) -> str:
    """The group that a row names.

    Raises:
        RowError: it names none, or one that the benchmark does not have; the nearest one is named.
    """
    value = row.get(name)
    if value not in groups:
        close = nearest(str(value), groups)
        said = f"; did you mean: {close}" if close else ""
        raise RowError(f"`{name}` is one of {', '.join(groups)}; found {value!r}{said}")
    return str(value)


def sized(revision: str, rows: int, published: int) -> str:
    """``N-rows`` instead of a hash for a file of the published size; of the others, and in a rehearsal, the revision as it is."""
    return f"{published}-rows" if rows == published and revision.startswith("sha:") else revision


class FileBenchmark(ABC):
    """A benchmark whose rows lie in one JSONL, JSON or Parquet file."""

    name: ClassVar[str]
    metric_names: ClassVar[tuple[str, ...]]
    groupings: ClassVar[Mapping[str, Grouping]]
    published_revision: ClassVar[str | None]
    file_names: ClassVar[tuple[str, ...]]
    """Where the data are looked for, relative to ``$SWEEP_DATA``: plain names first, then the layout of the hub's copy."""
    known_revisions: ClassVar[Mapping[str, str]]
    """Names of the revisions that are recognised, by their data hash."""
    hub_files: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Repositories of the hub with the files to fetch; the rows lie in the first file of the first repository."""
    obtain: ClassVar[str | None] = None
    """Where it comes from, for a benchmark that no hub has in the form that is read."""

    @abstractmethod
    def read(self, row: Mapping[str, Any], reader: RowReader, origin: str) -> PreferenceExample:
        """The example of one row.

        Raises:
            RowError: the row is refused; file and row are added by the caller.
        """

    @abstractmethod
    def rehearse(self, config: BenchmarkConfig, rehearsal: RehearsalConfig) -> list[PreferenceExample]:
        """The generated stand-in."""

    @abstractmethod
    def metrics(self, table: ScoreTable) -> dict[str, float | None]:
        """Every metric in percent."""

    def units(self, scored: Sequence[Pair]) -> dict[str, Units]:
        """What each metric counts; a benchmark whose metrics are no means of units has none."""
        return {}

    def locate(self, config: BenchmarkConfig) -> Path:
        """The file with the rows: ``config.data``, one of :attr:`file_names` in ``$SWEEP_DATA``, or what was fetched from the hub.

        Raises:
            EnvironmentFault: there is none; it says what was searched.
            DefinitionError: ``config.data`` is of another format.
        """
        folder = os.environ.get("SWEEP_DATA")
        if config.data is not None:
            searched = [Path(config.data).expanduser()]
        else:
            searched = [Path(folder).expanduser() / name for name in self.file_names] if folder else []
        for path in searched:
            if path.is_file():
                if path.suffix not in SUFFIXES:
                    raise DefinitionError(f"the benchmark {self.name} has a file of unknown format", found=str(path), allowed=SUFFIXES)
                return path
        fetched = self.fetched(config) if config.data is None else []
        if fetched:
            return fetched[0]
        raise EnvironmentFault(
            f"the data of the benchmark {self.name} are not on this machine",
            found=", ".join(map(str, searched)) + " (searched)" if searched else "no `data`, and $SWEEP_DATA is not set",
            allowed=f"`data` of the benchmark in `evaluate`, or one of {', '.join(self.file_names)} in $SWEEP_DATA",
            next=f"{self.obtain or 'sweep fetch DEFINITION where the hub can be reached'}; --rehearse needs no data",
        )

    def fetched(self, config: BenchmarkConfig, repository: int = 0) -> list[Path]:
        """The files of a repository (the first one, if not said) in the hub's cache, in the order of :attr:`hub_files`.

        Raises:
            EnvironmentFault: some of them did not arrive whole.
        """
        if len(self.hub_files) <= repository:
            return []
        name, patterns = list(self.hub_files.items())[repository]
        folder = hub.snapshot(name, "dataset", config.commit)
        if folder is None:
            return []
        lost = hub.incomplete(folder)
        if lost:
            raise EnvironmentFault(
                f"the copy of {name} is incomplete: {len(lost)} files are missing", found=str(folder), next="sweep fetch DEFINITION"
            )
        names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
        return [folder / file for pattern in patterns for file in hub.matching(names, [pattern])]

    def examples(self, config: BenchmarkConfig) -> list[PreferenceExample]:
        """All examples, in the order of the file."""
        path = self.locate(config)
        examples = self.read_file(path, config)
        reason = self.foreign(examples)
        if reason is not None:
            raise DefinitionError(
                f"the file is not that of the benchmark {self.name}",
                found=reason,
                place=path,
                next="another file of preferences is no benchmark of this name: train on it, or register a benchmark of your own",
            )
        return examples

    def read_file(self, path: Path, config: BenchmarkConfig, fixed: Mapping[str, Any] | None = None) -> list[PreferenceExample]:
        """All examples of one file; ``fixed`` holds fields that every row gets.

        Raises:
            DefinitionError: a row is refused, or there is none; it names file and row.
        """
        reader = RowReader(self.name, "pair", {}, Path(config.media).expanduser() if config.media else path.parent)
        examples = []
        for number, row in read_rows(path):
            lined = path.suffix == ".jsonl"
            try:
                if not isinstance(row, Mapping):
                    raise RowError(f"a row is a mapping, found {type(row).__name__}")
                examples.append(self.read({**row, **(fixed or {})}, reader, f"{path}:{number}" if lined else f"{path}, row {number}"))
            except RowError as error:
                raise DefinitionError(
                    f"benchmark {self.name}: row {number} is refused: {error}",
                    place=Place(str(path), number) if lined else f"{path}, row {number}",
                ) from error
        if not examples:
            raise DefinitionError(f"the file of the benchmark {self.name} holds no rows", place=path)
        return examples

    def foreign(self, examples: Sequence[PreferenceExample]) -> str | None:
        """What shows that the rows, each of which can be read, are another data set's; ``None`` where nothing does."""
        return None

    def revision(self, config: BenchmarkConfig, examples: Sequence[PreferenceExample], rehearsal: RehearsalConfig | None) -> str:
        """A known name, ``sha:`` and 12 hex digits of any other file, or ``rehearsal-<items>``."""
        if rehearsal is not None:
            return f"rehearsal-{len(examples)}"
        found = data_hash(examples)
        return self.known_revisions.get(found, f"sha:{found[:12]}")
