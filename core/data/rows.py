"""One row of a preference file becomes a :class:`PreferenceExample`, or is refused with the reason.

Two shapes of rows are read. ``pair`` has a prompt and two responses. ``sharegpt`` is LLaMA-Factory's preference format: a list
``conversations`` (or ``messages``) of turns, as ``{from, value}`` or ``{role, content}``, and a ``chosen`` and a ``rejected``
turn; its last user turn is the prompt and the turns before it are the history.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.data.examples import Media, PreferenceExample, PreferenceLabel, Response, Turn

ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
"""LLaMA-Factory's and the chat format's names of the roles."""

ABSENT = object()


class RowError(Exception):
    """The row is refused; the message says why, the source adds file and row.

    ``kind`` names a fault that public sets are known to have (``equal``, ``empty``, ``tie``), so that a field map can leave it out.
    """

    def __init__(self, message: str, kind: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Embedded:
    """An encoded image inside a Parquet file, which is read when it is needed: row ``index`` of ``group``, in a column."""

    file: Path
    group: int
    index: int
    column: str
    name: str


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
            prompt = self.text(row, "prompt")
            chosen, rejected = self.text(row, "chosen"), self.text(row, "rejected")
        else:
            prompt, history = self._conversation(row)
            chosen, rejected = self._turn(row, "chosen"), self._turn(row, "rejected")
        return self.example(row, origin, prompt, (chosen, rejected), history=history)

    def example(
        self,
        row: Mapping[str, Any],
        origin: str,
        prompt: str,
        answers: tuple[str, str],
        *,
        history: Sequence[Turn] = (),
        tie: bool | None = None,
        margin: float | None = None,
        group: str | None = None,
        suffix: str = "",
    ) -> PreferenceExample:
        """The example of a prompt and its better and worse answer, with everything else that the row says.

        Args:
            row: the row.
            origin: file and row.
            prompt: the user's last turn.
            answers: the better and the worse one.
            history: the turns before the prompt.
            tie: whether neither is better; ``None`` asks the row.
            margin: difference of scores; ``None`` asks the row.
            group: what must stay on one side of the validation split; ``None`` asks the row.
            suffix: told apart from other examples of the same row by the end of its id.
        """
        chosen, rejected = answers
        if chosen == rejected:
            raise RowError("chosen and rejected are equal", "equal")
        if tie is None:
            tie = self._flag("is_tie", self.get(row, "is_tie"))
        media = self._media(row)
        check_placeholders(prompt, history, media)
        return PreferenceExample(
            id=self._id(row, [prompt, *(turn.text for turn in history), *sorted([chosen, rejected])]) + suffix,
            prompt=prompt,
            responses=(
                Response(chosen, critique=self._optional_text(row, "chosen_reason") or None),
                Response(rejected, critique=self._optional_text(row, "rejected_reason") or None),
            ),
            label=PreferenceLabel(
                (0, 0) if tie else (0, 1), self._strength(row), self._number(row, "margin") if margin is None else margin
            ),
            media=media,
            principle=self._optional_text(row, "principle"),
            user=self._optional_text(row, "user"),
            domain=self._optional_text(row, "domain"),
            source=self.source,
            category=self._optional_text(row, "category"),
            history=tuple(history),
            group=self._optional_text(row, "group") if group is None else group,
            origin=origin,
        )

    def get(self, row: Mapping[str, Any], name: str) -> Any:
        """The value of our field ``name``; ``ABSENT`` where the row does not have it or has null."""
        return find(row, self.fields.get(name, name))

    def required(self, row: Mapping[str, Any], name: str) -> Any:
        """The value of our field ``name``.

        Raises:
            RowError: the row does not have it; it names the fields that the row has.
        """
        value = self.get(row, name)
        if value is ABSENT:
            called = self.fields.get(name, name)
            raise RowError(f"`{called}` is missing or null; the row has {', '.join(sorted(map(str, row))) or 'no fields'}")
        return value

    def text(self, row: Mapping[str, Any], name: str) -> str:
        """The text of our field ``name``.

        Raises:
            RowError: it is missing, empty or no text.
        """
        return checked_text(self.required(row, name), self.fields.get(name, name))

    def _optional_text(self, row: Mapping[str, Any], name: str) -> str | None:
        value = self.get(row, name)
        if value is ABSENT:
            return None
        return str(value) if isinstance(value, (str, int)) else checked_text(value, self.fields.get(name, name))

    def _number(self, row: Mapping[str, Any], name: str) -> float | None:
        value = self.get(row, name)
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
        value = self.get(row, "id")
        if value is ABSENT:
            return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]
        if isinstance(value, (str, int)) and not isinstance(value, bool):
            return str(value)
        raise RowError(f"`{self.fields.get('id', 'id')}` is a text or a whole number, found {value!r}")

    def _conversation(self, row: Mapping[str, Any]) -> tuple[str, tuple[Turn, ...]]:
        """Prompt and history of a ``sharegpt`` row."""
        name = "conversations" if "conversations" in self.fields or "messages" not in row else "messages"
        turns = self.required(row, name)
        if not isinstance(turns, list) or not turns:
            raise RowError(f"`{self.fields.get(name, name)}` is a list of turns, found {shown(turns)}")
        read = [self.read_turn(turn, f"{name}[{index}]") for index, turn in enumerate(turns)]
        if read[-1].role != "user":
            raise RowError(f"the last turn of `{name}` is the user's, found {read[-1].role}")
        return read[-1].text, tuple(read[:-1])

    def _turn(self, row: Mapping[str, Any], name: str) -> str:
        value = self.required(row, name)
        if isinstance(value, str):
            return checked_text(value, name)
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        turn = self.read_turn(value, name)
        if turn.role != "assistant":
            raise RowError(f"`{name}` is the assistant's turn, found {turn.role}")
        return turn.text

    def read_turn(self, turn: Any, name: str) -> Turn:
        """A turn as ``{from, value}`` or ``{role, content}``.

        Raises:
            RowError: it is none; ``name`` says which one it is.
        """
        if not isinstance(turn, Mapping):
            raise RowError(f"`{name}` is a turn such as {{from, value}}, found {shown(turn)}")
        role = turn.get("from", turn.get("role"))
        if role not in ROLES:
            raise RowError(f"the role of `{name}` is one of {', '.join(sorted(ROLES))}, found {role!r}")
        text = turn.get("value", turn.get("content"))
        return Turn(ROLES[role], checked_text(text, name))  # type: ignore[arg-type]  # ROLES holds only the three roles

    def _media(self, row: Mapping[str, Any]) -> tuple[Media, ...]:
        found: list[Media] = []
        for kind in ("image", "video"):
            value = self.get(row, kind)
            if value is ABSENT and kind not in self.fields:
                value = row.get(kind + "s")
            if value is None or value is ABSENT:
                continue
            for item in value if isinstance(value, list) else [value]:
                found.append(self._medium(kind, item))
        return tuple(found)

    def _medium(self, kind: str, item: Any) -> Media:
        """A path as text, or the mapping ``{bytes, path}`` in which Parquet files carry encoded images."""
        if isinstance(item, Embedded) and kind == "image":
            return Media("image", path=item.file, member=item)
        if isinstance(item, Mapping) and isinstance(item.get("bytes"), bytes) and kind == "image":
            return Media("image", data=item["bytes"])
        if isinstance(item, Mapping):
            item = item.get("path")
        if not isinstance(item, str) or not item:
            raise RowError(f"an {kind} is a path, found {shown(item)}")
        if "\0" in item:
            raise RowError(f"the path of an {kind} contains a null character")
        return Media("image" if kind == "image" else "video", path=self.media / item)


def find(row: Any, path: str) -> Any:
    """The value at a dotted path, whose numbers count items of a list (-1 the last); ``ABSENT`` where it is not there or null."""
    if isinstance(row, Mapping) and path in row:
        return ABSENT if row[path] is None else row[path]
    value = row
    for part in path.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.lstrip("-").isdigit() and -len(value) <= int(part) < len(value):
            value = value[int(part)]
        else:
            return ABSENT
    return ABSENT if value is None else value


def shown(value: Any) -> str:
    """A wrong value in few words."""
    return "an empty list" if value == [] else f"{type(value).__name__} {str(value)[:40]!r}"


def checked_text(value: Any, name: str) -> str:
    """A text that is not empty and that UTF-8 can carry (half a surrogate pair would stop the tokenizer later)."""
    if not isinstance(value, str):
        raise RowError(f"`{name}` is a text, found {shown(value)}")
    if not value.strip():
        raise RowError(f"`{name}` is empty", "empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(f"`{name}` is not valid Unicode: {error.reason} at character {error.start}") from error
    return value


def check_placeholders(prompt: str, history: Sequence[Turn], media: tuple[Media, ...]) -> None:
    """Where media are placed in the text at all, each one has its place."""
    texts = [turn.text for turn in history] + [prompt]
    for kind in ("image", "video"):
        places = sum(text.count(f"<{kind}>") for text in texts)
        have = sum(item.kind == kind for item in media)
        if have and places not in (0, have):
            raise RowError(f"the text has {places} places `<{kind}>` for {have} {kind}s")
