"""One row of a preference file becomes a :class:`PreferenceExample`, or is refused with the reason.

Two shapes of rows are read. ``pair`` has a prompt and two responses. ``sharegpt`` is LLaMA-Factory's preference format: a list
``conversations`` (or ``messages``) of turns, as ``{from, value}`` or ``{role, content}``, and a ``chosen`` and a ``rejected``
turn; its last user turn is the prompt and the turns before it are the history.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.data.examples import Media, PreferenceExample, PreferenceLabel, Response, Turn

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
"""LLaMA-Factory's and the chat format's names of the roles."""

ABSENT = object()


class RowError(Exception):
    """The row is refused; the message says why, the source adds file and row."""


class RowReader:
    """Reads the rows of one source.

    Args:
        source: name of the source.
        format: ``pair`` or ``sharegpt``.
        fields: field map, our name to the file's; dotted paths reach into mappings.
        media: folder that media paths are relative to.
    """

    def __init__(self, source: str, format: str, fields: Mapping[str, str], media: Path) -> None:
        self.source = source
        self.format = format
        self.fields = fields
        self.media = media

    def read(self, row: Any, origin: str) -> PreferenceExample:
        """The example of a row; ``origin`` names file and row in later messages.

        Raises:
            RowError: the row cannot be used; nothing is repaired silently.
        """
        if not isinstance(row, Mapping):
            raise RowError(f"a row is a mapping, found {type(row).__name__}")
        history: tuple[Turn, ...] = ()
        if self.format == "pair":
            prompt = self._text(row, "prompt")
            chosen, rejected = self._text(row, "chosen"), self._text(row, "rejected")
        else:
            prompt, history = self._conversation(row)
            chosen, rejected = self._turn(row, "chosen"), self._turn(row, "rejected")
        if chosen == rejected:
            raise RowError("chosen and rejected are equal")
        tie = self._get(row, "is_tie")
        media = self._media(row)
        _check_placeholders(prompt, history, media)
        return PreferenceExample(
            id=self._id(row, [prompt, *(turn.text for turn in history), *sorted([chosen, rejected])]),
            prompt=prompt,
            responses=(Response(chosen), Response(rejected)),
            label=PreferenceLabel((0, 0) if self._flag("is_tie", tie) else (0, 1), self._strength(row), self._number(row, "margin")),
            media=media,
            principle=self._optional_text(row, "principle"),
            user=self._optional_text(row, "user"),
            domain=self._optional_text(row, "domain"),
            source=self.source,
            category=self._optional_text(row, "category"),
            history=history,
            group=self._optional_text(row, "group"),
            origin=origin,
        )

    def _get(self, row: Mapping[str, Any], name: str) -> Any:
        """The value of our field ``name``; ``ABSENT`` where the row does not have it or has null."""
        path = self.fields.get(name, name)
        if path in row:
            value = row[path]
        else:
            value = row
            for part in path.split("."):
                if not isinstance(value, Mapping) or part not in value:
                    return ABSENT
                value = value[part]
        return ABSENT if value is None else value

    def _required(self, row: Mapping[str, Any], name: str) -> Any:
        value = self._get(row, name)
        if value is ABSENT:
            called = self.fields.get(name, name)
            raise RowError(f"`{called}` is missing or null; the row has {', '.join(sorted(map(str, row))) or 'no fields'}")
        return value

    def _text(self, row: Mapping[str, Any], name: str) -> str:
        return checked_text(self._required(row, name), self.fields.get(name, name))

    def _optional_text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = self._get(row, name)
        if value is ABSENT:
            return None
        return str(value) if isinstance(value, (str, int)) else checked_text(value, self.fields.get(name, name))

    def _number(self, row: Mapping[str, Any], name: str) -> float | None:
        value = self._get(row, name)
        if value is ABSENT:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise RowError(f"`{self.fields.get(name, name)}` is a finite number, found {value!r}")
        return float(value)

    def _strength(self, row: Mapping[str, Any]) -> int | None:
        value = self._number(row, "strength")
        if value is None:
            return None
        if value not in (1, 2, 3):
            raise RowError(f"`{self.fields.get('strength', 'strength')}` is 1, 2 or 3, found {value:g}")
        return int(value)

    def _flag(self, name: str, value: Any) -> bool:
        if value is ABSENT:
            return False
        if value in (True, False, 0, 1):
            return bool(value)
        raise RowError(f"`{self.fields.get(name, name)}` is true or false, found {value!r}")

    def _id(self, row: Mapping[str, Any], content: list[str]) -> str:
        """The row's own id, or a hash of its content: an example keeps its name when rows are added before it."""
        value = self._get(row, "id")
        if value is ABSENT:
            return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
        raise RowError(f"`{self.fields.get('id', 'id')}` is a text or a whole number, found {value!r}")

    def _conversation(self, row: Mapping[str, Any]) -> tuple[str, tuple[Turn, ...]]:
        """Prompt and history of a ``sharegpt`` row."""
        name = "conversations" if "conversations" in self.fields or "messages" not in row else "messages"
        turns = self._required(row, name)
        if not isinstance(turns, list) or not turns:
            raise RowError(f"`{self.fields.get(name, name)}` is a list of turns, found {_kind(turns)}")
        read = [self._read_turn(turn, f"{name}[{index}]") for index, turn in enumerate(turns)]
        if read[-1].role != "user":
            raise RowError(f"the last turn of `{name}` is the user's, found {read[-1].role}")
        return read[-1].text, tuple(read[:-1])

    def _turn(self, row: Mapping[str, Any], name: str) -> str:
        value = self._required(row, name)
        if isinstance(value, str):
            return checked_text(value, name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        turn = self._read_turn(value, name)
        if turn.role != "assistant":
            raise RowError(f"`{name}` is the assistant's turn, found {turn.role}")
        return turn.text

    def _read_turn(self, turn: Any, name: str) -> Turn:
        if not isinstance(turn, Mapping):
            raise RowError(f"`{name}` is a turn such as {{from, value}}, found {_kind(turn)}")
        role = turn.get("from", turn.get("role"))
        if role not in ROLES:
            raise RowError(f"the role of `{name}` is one of {', '.join(sorted(ROLES))}, found {role!r}")
        text = turn.get("value", turn.get("content"))
        return Turn(ROLES[role], checked_text(text, name))  # type: ignore[arg-type]  # ROLES holds only the three roles

    def _media(self, row: Mapping[str, Any]) -> tuple[Media, ...]:
        found: list[Media] = []
        for kind in ("image", "video"):
            value = self._get(row, kind)
            if value is ABSENT and kind not in self.fields:
                value = row.get(kind + "s")
            if value is None or value is ABSENT:
                continue
            for item in value if isinstance(value, list) else [value]:
                found.append(self._medium(kind, item))
        return tuple(found)

    def _medium(self, kind: str, item: Any) -> Media:
        """A path as text, or the mapping ``{bytes, path}`` in which Parquet files carry encoded images."""
        if isinstance(item, Mapping) and isinstance(item.get("bytes"), bytes) and kind == "image":
            return Media("image", data=item["bytes"])
        if isinstance(item, Mapping):
            item = item.get("path")
        if not isinstance(item, str) or not item:
            raise RowError(f"an {kind} is a path, found {_kind(item)}")
        if "\0" in item:
            raise RowError(f"the path of an {kind} contains a null character")
        return Media("image" if kind == "image" else "video", path=self.media / item)


def _kind(value: Any) -> str:
    return "an empty list" if value == [] else f"{type(value).__name__} {str(value)[:40]!r}"


def checked_text(value: Any, name: str) -> str:
    """A text that is not empty and that UTF-8 can carry (half a surrogate pair would stop the tokenizer later)."""
    if not isinstance(value, str):
        raise RowError(f"`{name}` is a text, found {_kind(value)}")
    if not value.strip():
        raise RowError(f"`{name}` is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"`{name}` is not valid Unicode: {error.reason} at character {error.start}") from error
    return value


def _check_placeholders(prompt: str, history: tuple[Turn, ...], media: tuple[Media, ...]) -> None:
    """Where media are placed in the text at all, each one has its place."""
    texts = [turn.text for turn in history] + [prompt]
    for kind in ("image", "video"):
        places = sum(text.count(f"<{kind}>") for text in texts)
        have = sum(item.kind == kind for item in media)
        if have and places not in (0, have):
            raise RowError(f"the text has {places} places `<{kind}>` for {have} {kind}s")
