"""The ScoreTable: what a scorer says about a benchmark, example by example, in one Parquet file.

Whatever scores examples writes one; every metric, grouping, ensemble and significance test reads nothing else. So a new
metric applies to the scorings of last month, without a GPU.

One row is one example, response, order and sample. ``example`` is the hash of id, prompt and sorted responses with an
occurrence number (``3f2a...#1``, then ``#2``): ids alone repeat in public sets. What belongs to the file as a whole
(benchmark, revision, hash of the data, scorer, key of the scoring, rehearsal, number of skipped examples) stands in the
metadata of the Parquet schema under one key, as JSON, with the version of this format.

==============  =========================================================================================================
column          meaning
==============  =========================================================================================================
``example``     the example's digest and occurrence number; all rows of one example share it
``id``          the data set's own id
``response``    position of the response in the example, from 0
``label``       rank of the response, 0 the best, equal ranks a tie, null unknown
``comparison``  the responses that were shown together (``0,1``); null where each was scored alone
``order``       which order of the responses was shown, from 0
``sample``      which of several samples of the scorer, from 0
``score``       the score, finite; null where the scorer's output could not be parsed
``text``        what the scorer wrote; null where it writes nothing
``chars``       characters of the response
``tokens``      tokens of the response under the scorer's tokenizer; null where it has none
``source``      the data set that the example came from, where known
``category``    the data set's own category, where it has one
``media_sha``   sha256 over the example's media; null where it has none, or their files are absent
``extra``       further fields of the example, as a JSON object
==============  =========================================================================================================
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.data.examples import Media, PreferenceExample
from core.data.media import embedded
from core.errors import IntegrityError
from core.models.judgement import Judgement
from core.workspace.files import fault, sync_folder

VERSION = 1
"""Version of the format; a file of a newer one is refused."""

METADATA_KEY = b"rewardsweep.score_table"

KEYS = ["example", "response", "comparison", "order", "sample"]
"""Columns that together name a row."""

SCHEMA = pa.schema(
    [
        pa.field("example", pa.string(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("response", pa.int32(), nullable=False),
        pa.field("label", pa.int32()),
        pa.field("comparison", pa.string()),
        pa.field("order", pa.int32(), nullable=False),
        pa.field("sample", pa.int32(), nullable=False),
        pa.field("score", pa.float64()),
        pa.field("text", pa.string()),
        pa.field("chars", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("category", pa.string()),
        pa.field("media_sha", pa.string()),
        pa.field("extra", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class ScoreMetadata:
    """What holds for the whole file.

    Attributes:
        benchmark: name of the benchmark in the registry.
        revision: which version of its data; tables of different revisions are never compared.
        data_hash: hash of the benchmark's examples and labels (see :func:`core.evaluation.benchmarks.base.data_hash`).
        scorer: who scored: ``trial:<id>``, ``baseline:<name>``, ...
        scoring_key: the scoring's key, ``None`` for what is no scoring of a trial.
        rehearsal: whether the benchmark was a generated stand-in.
        skipped: examples that the scorer left out because their media are absent.
    """

    benchmark: str
    revision: str
    data_hash: str
    scorer: str
    scoring_key: str | None = None
    rehearsal: bool = False
    skipped: int = 0


@dataclass(frozen=True)
class ScoreTable:
    """Scores of one benchmark by one scorer; ``data`` has the columns of :data:`SCHEMA`."""

    data: pa.Table
    metadata: ScoreMetadata

    @property
    def examples(self) -> int:
        """Number of examples that were scored."""
        return len(set(self.data.column("example").to_pylist()))

    def write(self, path: Path) -> None:
        """Write the file whole or not at all: a temporary file beside it, synced, then renamed.

        Raises:
            EnvironmentFault: the disk is full, read-only, or the right is missing; what stood there stays.
        """
        content = json.dumps({"version": VERSION, **asdict(self.metadata)}, ensure_ascii=False)
        table = self.data.replace_schema_metadata({METADATA_KEY: content.encode()})
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with open(temporary, "xb") as handle:
                pq.write_table(table, handle)
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise fault(error, path) from error
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    @classmethod
    def read(cls, path: Path) -> ScoreTable:
        """Read and check a file.

        Raises:
            IntegrityError: it is missing or no Parquet, not a ScoreTable, of a newer version, or a column is missing or of another
                type, or a required value is null, or a row occurs twice.
        """
        try:
            with pq.ParquetFile(path) as file:  # a small file: no data set of many, no threads
                table = file.read(use_threads=False)
        except FileNotFoundError as error:
            raise IntegrityError("the score table does not exist", place=path) from error
        except (OSError, pa.ArrowException) as error:
            raise IntegrityError(f"not a readable Parquet file: {error}", place=path) from error
        metadata = _metadata(table, path)
        _check(table, path)
        return cls(table.select(SCHEMA.names).cast(SCHEMA), metadata)


def _metadata(table: pa.Table, path: Path) -> ScoreMetadata:
    raw = (table.schema.metadata or {}).get(METADATA_KEY)
    if raw is None:
        raise IntegrityError("a Parquet file, but not a score table: it has no metadata of ours", place=path)
    try:
        value = json.loads(raw)
        version = int(value.pop("version"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(f"the metadata of the score table do not parse: {error}", place=path) from error
    if version > VERSION:
        raise IntegrityError(
            "the score table was written by a newer version of this program",
            found=f"version {version}",
            allowed=f"up to {VERSION}",
            place=path,
            next="upgrade rewardsweep",
        )
    expected = {field.name for field in fields(ScoreMetadata)}
    if set(value) != expected:
        raise IntegrityError("the metadata of the score table are not ours", found=sorted(value), allowed=sorted(expected), place=path)
    return ScoreMetadata(**value)


def _check(table: pa.Table, path: Path) -> None:
    """Refuse what later arithmetic would silently get wrong."""
    for field in SCHEMA:
        if field.name not in table.column_names:
            raise IntegrityError("a column of the score table is missing", found=table.column_names, allowed=[field.name], place=path)
        found = table.schema.field(field.name).type
        if found != field.type:
            raise IntegrityError(
                f"a column of the score table has the wrong type: {field.name}", found=str(found), allowed=str(field.type), place=path
            )
        if not field.nullable and table.column(field.name).null_count:
            raise IntegrityError("a column of the score table has empty values", found=field.name, place=path)
    keys = table.select(KEYS)
    if keys.group_by(KEYS, use_threads=False).aggregate([]).num_rows != table.num_rows:
        counts = Counter(zip(*(column.to_pylist() for column in keys.columns), strict=True))
        raise IntegrityError("a row of the score table occurs twice", found=counts.most_common(1)[0][0], place=path)
    if not pc.all(pc.is_finite(table.column("score")), min_count=0).as_py():  # nulls are passed over
        raise IntegrityError("a score of the table is not finite", place=path)


def example_keys(examples: Iterable[PreferenceExample]) -> list[str]:
    """Digest and occurrence number of each example, in order: ``3f2a...#1``, and ``#2`` where the same one comes again."""
    seen: Counter[str] = Counter()
    keys = []
    for example in examples:
        digest = example.digest()
        seen[digest] += 1
        keys.append(f"{digest}#{seen[digest]}")
    return keys


def media_sha(media: Sequence[Media]) -> str | None:
    """sha256 over the content of the media, in order; ``None`` where there are none, or one is absent."""
    if not media:
        return None
    whole = hashlib.sha256()
    for medium in media:
        if medium.data is not None:
            parts = [medium.data]
        elif medium.member is not None:
            parts = [embedded(medium.member)]
        elif medium.path is None or not medium.path.exists():
            return None
        elif medium.path.is_dir():
            parts = [file.read_bytes() for file in sorted(medium.path.iterdir()) if file.is_file()]
        else:
            parts = [medium.path.read_bytes()]
        for part in parts:
            whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()


def from_examples(
    examples: Sequence[PreferenceExample],
    scores: Sequence[Sequence[float | None] | None],
    metadata: ScoreMetadata,
    *,
    tokens: Callable[[str], int] | None = None,
) -> ScoreTable:
    """Build the table of a scorer that gives one score to each response; see :func:`from_judgements`.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    judged = [None if row is None else [Judgement(tuple(range(len(row))), tuple(row), (None,) * len(row))] for row in scores]
    for example, row in zip(examples, scores, strict=False):
        if row is not None and len(row) != len(example.responses):
            raise ValueError(f"example {example.id}: {len(example.responses)} responses, but {len(row)} scores")
    return from_judgements(examples, judged, metadata, tokens=tokens)


def from_judgements(
    examples: Sequence[PreferenceExample],
    judged: Sequence[Sequence[Judgement] | None],
    metadata: ScoreMetadata,
    *,
    tokens: Callable[[str], int] | None = None,
) -> ScoreTable:
    """Build the table of a scorer from its verdicts: a row per example, response, comparison, order and sample.

    Args:
        examples: all examples of the benchmark, in order: skipped ones count for the occurrence numbers.
        judged: the verdicts on each example, or ``None`` where it was skipped; the number of those is written to the metadata.
        metadata: what holds for the whole file; its ``skipped`` is set here.
        tokens: number of tokens of a response, where the scorer has a tokenizer.

    Raises:
        ValueError: the lengths differ, or a score is not finite.
    """
    if len(examples) != len(judged):
        raise ValueError(f"{len(examples)} examples, but scores for {len(judged)}")
    rows: list[dict[str, Any]] = []
    for key, example, verdicts in zip(example_keys(examples), examples, judged, strict=True):
        if verdicts is None:
            continue
        shared = {
            "example": key,
            "id": example.id,
            "source": example.source,
            "category": example.category,
            "media_sha": media_sha(example.media),
            "extra": json.dumps(dict(example.extra), ensure_ascii=False, sort_keys=True),
        }
        lengths = {index: None if tokens is None else tokens(response.text) for index, response in enumerate(example.responses)}
        for verdict in verdicts:
            for index, score, text in zip(verdict.responses, verdict.scores, verdict.texts, strict=True):
                if score is not None and not math.isfinite(score):
                    raise ValueError(f"example {example.id}: the score of response {index} is not finite: {score}")
                rows.append(
                    {
                        **shared,
                        "response": index,
                        "label": example.label.ranks[index],
                        "comparison": ",".join(map(str, verdict.responses)) if verdict.compared else None,
                        "order": verdict.order,
                        "sample": verdict.sample,
                        "score": None if score is None else float(score),
                        "text": text,
                        "chars": len(example.responses[index].text),
                        "tokens": lengths[index],
                    }
                )
    skipped = sum(verdicts is None for verdicts in judged)
    return ScoreTable(pa.Table.from_pylist(rows, schema=SCHEMA), ScoreMetadata(**{**asdict(metadata), "skipped": skipped}))


def comparable(a: ScoreMetadata, b: ScoreMetadata) -> str | None:
    """Why the metrics of two tables may not be compared; ``None`` where they may.

    Two rehearsals are comparable with each other, a rehearsal never with a real run; partial results only with the same number left out.
    """
    checks = (
        ("benchmark", a.benchmark, b.benchmark),
        ("revision", a.revision, b.revision),
        ("data", a.data_hash, b.data_hash),
        ("rehearsal", a.rehearsal, b.rehearsal),
        ("skipped examples", a.skipped, b.skipped),
    )
    for name, left, right in checks:
        if left != right:
            return f"different {name}: {left} and {right}"
    return None
