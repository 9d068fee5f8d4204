"""What a mixture leaves out: pairs that come again, and pairs that a benchmark asks too.

Texts are compared without case, white space and places of media. *The same pair* has the same history, prompt and responses, whichever
is better, and media of the same names (of media in memory, the same content). *An overlap* with a benchmark is a pair with the same
prompt and a response in common; without media the same prompt is enough, since the whole question stands in it, while many pictures
share a question.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from core.data.examples import Media, PreferenceExample

Dedup = Literal["none", "within", "across"]

_PLACES = re.compile(r"<(?:image|video)>")


def squeezed(text: str) -> str:
    """A text without case, white space at its ends or in rows, and places of media."""
    return " ".join(_PLACES.sub(" ", text).casefold().split())


def media_name(media: Media) -> str:
    """What tells a medium from others: its file's name, or the hash of what it holds in memory."""
    if media.member is not None:
        return str(media.member.name)
    return media.path.name if media.path is not None else hashlib.sha256(media.data or b"").hexdigest()


def pair_key(example: PreferenceExample) -> str:
    """The hash of what makes two pairs the same."""
    history = [[turn.role, squeezed(turn.text)] for turn in example.history]
    answers = sorted(squeezed(response.text) for response in example.responses)
    parts = [history, squeezed(example.prompt), answers, [media_name(media) for media in example.media]]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def repeated(sources: Mapping[str, Sequence[PreferenceExample]], dedup: Dedup) -> dict[str, set[int]]:
    """The rows of each source that came before: in the same source, or (``across``) in any; of several the first stays.

    Sources come in the order of their names, so that the order of a definition changes nothing.
    """
    found: dict[str, set[int]] = {name: set() for name in sources}
    seen: set[str] = set()
    for name in sorted(sources) if dedup != "none" else ():
        seen = seen if dedup == "across" else set()
        for index, example in enumerate(sources[name]):
            key = pair_key(example)
            if key in seen:
                found[name].add(index)
            seen.add(key)
    return found


class Overlaps:
    """The questions of some benchmarks, to be looked for in training pairs."""

    def __init__(self, benchmarks: Mapping[str, Iterable[PreferenceExample]]) -> None:
        self._answered: dict[tuple[str, str], str] = {}
        self._asked: dict[str, str] = {}
        for name, examples in benchmarks.items():
            for example in examples:
                prompt = squeezed(example.prompt)
                for response in example.responses:
                    self._answered.setdefault((prompt, squeezed(response.text)), name)
                if not example.media:
                    self._asked.setdefault(prompt, name)

    def of(self, example: PreferenceExample) -> str | None:
        """The benchmark that asks this pair's question; ``None`` where none does."""
        prompt = squeezed(example.prompt)
        if not example.media and prompt in self._asked:
            return self._asked[prompt]
        return next((self._answered[key] for r in example.responses if (key := (prompt, squeezed(r.text))) in self._answered), None)
