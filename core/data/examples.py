"""What a preference is: the one record that every source yields and every scorer reads (no torch here)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Media:
    """An image, or a video as a file or as a folder of frames (read in sorted order).

    ``data`` holds an image that exists only in memory (encoded bytes); otherwise ``path`` says where it lies, and ``member`` which
    part of that file it is where it is no file of its own (an image in a Parquet file, see :class:`core.data.rows.Embedded`).
    """

    kind: Literal["image", "video"]
    path: Path | None = None
    data: bytes | None = None
    member: Any = None


@dataclass(frozen=True)
class Step:
    """One step of a response, with its label where a process reward is trained."""

    text: str
    label: str | None = None
    value: float | None = None


@dataclass(frozen=True)
class Response:
    """One answer to the prompt, with the critique written about it where there is one."""

    text: str
    steps: tuple[Step, ...] = ()
    critique: str | None = None
    model: str | None = None


@dataclass(frozen=True)
class Turn:
    """One earlier turn of a conversation; the last user turn is the prompt itself."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True)
class PreferenceLabel:
    """Who won. ``ranks[i]`` is the rank of response i, 0 the best; equal ranks are a tie; ``None`` is unknown.

    ``strength`` is an annotator's grade of the preference (1-3), ``margin`` a difference of scores in the data set's own unit.
    """

    ranks: tuple[int | None, ...]
    strength: int | None = None
    margin: float | None = None


@dataclass(frozen=True)
class PreferenceExample:
    """A prompt with its media, k responses and a label. ``id`` is the data set's own and may repeat: use :meth:`digest`.

    ``<image>`` and ``<video>`` in the texts say where the media stand; without them the media come before the prompt.
    ``history`` holds the turns before the prompt. Examples of one ``group`` never stand on both sides of the validation
    split. ``origin`` says where the example was read (file and row), for messages.
    """

    id: str
    prompt: str
    responses: tuple[Response, ...]
    label: PreferenceLabel
    media: tuple[Media, ...] = ()
    context: tuple[str, ...] = ()
    principle: str | None = None
    rubric: tuple[str, ...] = ()
    user: str | None = None
    domain: str | None = None
    source: str | None = None
    category: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Turn, ...] = ()
    group: str | None = None
    origin: str | None = field(default=None, compare=False)

    @property
    def tie(self) -> bool:
        """Whether all known ranks are equal: the example carries no preference."""
        return len({rank for rank in self.label.ranks if rank is not None}) < 2

    def digest(self) -> str:
        """16 hex digits of id, prompt and sorted responses: the same example whatever the order of its responses."""
        return example_digest(self.id, self.prompt, [response.text for response in self.responses])

    def best(self) -> int:
        """Index of the response with the best rank (the first one in a tie)."""
        known = [(rank, index) for index, rank in enumerate(self.label.ranks) if rank is not None]
        return min(known)[1]

    def worst(self) -> int:
        """Index of the response with the worst rank (the last one in a tie): the other side of a training pair."""
        known = [(rank, index) for index, rank in enumerate(self.label.ranks) if rank is not None]
        return max(known)[1]


def pair(
    id: str,
    prompt: str,
    chosen: str,
    rejected: str,
    *,
    media: Sequence[Media] = (),
    margin: float | None = None,
    source: str | None = None,
    category: str | None = None,
    extra: Mapping[str, Any] | None = None,
) -> PreferenceExample:
    """The usual case: one chosen and one rejected response."""
    return PreferenceExample(
        id=id,
        prompt=prompt,
        responses=(Response(chosen), Response(rejected)),
        label=PreferenceLabel((0, 1), margin=margin),
        media=tuple(media),
        source=source,
        category=category,
        extra=extra or {},
    )


def example_digest(id: str, prompt: str, responses: Sequence[str]) -> str:
    """The key of an example (ids alone repeat in public sets): sha256 over id, prompt and sorted responses, 16 hex digits."""
    text = json.dumps([id, prompt, sorted(responses)], ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def missing(media: Media) -> bool:
    """Whether the file or folder of a medium is absent (a medium in memory never is)."""
    return media.data is None and (media.path is None or not media.path.exists())
