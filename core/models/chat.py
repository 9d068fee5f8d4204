"""Chats as token ids, in the format (ChatML) that the families of :mod:`core.models` share.

Families differ in their :class:`Dialect`: the tokens that stand for media, and the system turn that their own template adds.

Control tokens are put in by id and every text is tokenised without special tokens, so that a text which contains
``<|image_pad|>`` or ``<|im_end|>`` is just text. Header lines (``user`` and a line break) and texts are tokenised apart, as in
generation, where the response begins behind the header.

Media stand where ``<image>`` and ``<video>`` are written, or else before the prompt. What is too long loses text from the
left: first of the earlier turns, then of the prompt; control tokens and media stay.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core.data.examples import PreferenceExample, Turn

SYSTEM = "You are a helpful assistant."
"""The system turn that the templates of Qwen2-VL and Qwen2.5-VL add where there is none."""

PLACE = re.compile(r"<(image|video)>\n?")

SHORT, MOST_SHORT = 32, 4096
"""Characters of a text whose ids are remembered, and how many such texts."""

Medium = tuple[str, list[int]]
"""Kind of a medium (``image`` or ``video``) and the ids that stand for it, control tokens around its places included."""


@dataclass(frozen=True)
class Dialect:
    """What one family writes otherwise than another.

    Attributes:
        family: its name, for messages.
        system: the system turn that its template adds where there is none; ``None`` adds none.
        control: control tokens by the names under which backbones ask for them: ``im_start`` and ``im_end`` always,
            ``image_pad`` and ``video_pad`` for the places of features, and whatever stands around them.
    """

    family: str
    system: str | None
    control: Mapping[str, str]


TURNS = {name: f"<|{name}|>" for name in ("im_start", "im_end")}
"""Control tokens around a turn, the same in all families."""


class TooLong(Exception):
    """The parts that are never cut are longer than the limit; the message says by how much."""


class Chat:
    """Renders prompts and responses for one tokenizer.

    Args:
        tokenizer: a tokenizer of the family.
        dialect: the family's tokens and system turn.

    Raises:
        ValueError: the tokenizer lacks a control token.
    """

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:
        self.tokenizer = tokenizer
        self.system = dialect.system
        self.lock = threading.Lock()
        self.control: dict[str, int] = {name: tokenizer.convert_tokens_to_ids(token) for name, token in dialect.control.items()}
        lost = [name for name, id in self.control.items() if id is None or id == tokenizer.unk_token_id]
        if lost:
            raise ValueError(f"the tokenizer lacks {', '.join(dialect.control[name] for name in lost)}: it is none of {dialect.family}'s")
        self.core: Any = getattr(tokenizer, "backend_tokenizer", None)
        if self.core is not None:  # a file may bring settings for batches
            self.core.no_padding()
            self.core.no_truncation()
        self._short: dict[str, list[int]] = {}

    def text(self, text: str) -> list[int]:
        """Ids of plain text (one thread at a time: a fast tokenizer is not safe to share).

        The library behind the tokenizer is asked itself: what transformers wraps around it takes five times as long. Short texts come
        again and again (names of roles, line breaks) and are remembered.
        """
        with self.lock:
            ids = self._short.get(text)
            if ids is None:
                ids = self._encoded(text)
                if len(text) <= SHORT and len(self._short) < MOST_SHORT:
                    self._short[text] = ids
            return list(ids)

    def _encoded(self, text: str) -> list[int]:
        if self.core is None:
            slow: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
            return slow
        self.core.encode_special_tokens = True  # as plain text: what transformers calls split_special_tokens
        ids: list[int] = self.core.encode(text, add_special_tokens=False).ids
        return ids

    def response(self, text: str) -> list[int]:
        """Ids of a response with the token that ends its turn."""
        return [*self.text(text), self.control["im_end"]]

    def prompt(
        self, example: PreferenceExample, template: str | None, media: Sequence[Medium], limit: int, shown: Sequence[int] = ()
    ) -> list[int]:
        """Ids up to where a response begins.

        Args:
            example: the preference.
            template: text around the prompt, with ``{prompt}`` in it; ``None`` leaves it as it is.
            media: kind and ids of each medium, in order.
            limit: most ids that are allowed.
            shown: indices of responses that stand in the prompt itself, where the template says ``{response}``, or ``{response_1}``
                and ``{response_2}``. Neither they nor the template are ever cut.

        Raises:
            TooLong: what is never cut is longer than ``limit``.
        """
        pieces = self._pieces(example, template, media, shown)
        surplus = sum(len(ids) for ids, _ in pieces) - limit
        out: list[int] = []
        for ids, cut in pieces:
            drop = min(len(ids), max(surplus, 0)) if cut else 0
            surplus -= drop
            out += ids[drop:]
        if surplus > 0:
            raise TooLong(f"{surplus} tokens more than fit, without any text of the prompt")
        return out

    def _pieces(
        self, example: PreferenceExample, template: str | None, media: Sequence[Medium], shown: Sequence[int]
    ) -> list[tuple[list[int], bool]]:
        """Runs of ids in order, each with whether it may be cut."""
        whole = template is not None and not shown
        prompt = template.replace("{prompt}", example.prompt) if template is not None and whole else example.prompt
        turns = [*example.history, Turn("user", prompt)]
        if turns[0].role != "system" and self.system is not None:
            turns.insert(0, Turn("system", self.system))
        left = list(media)
        placed = bool(left) and any(PLACE.search(turn.text) for turn in turns)
        start, end = [self.control["im_start"]], [self.control["im_end"], *self.text("\n")]
        pieces: list[tuple[list[int], bool]] = []
        for index, turn in enumerate(turns):
            last = index == len(turns) - 1
            pieces.append((start + self.text(turn.role + "\n"), False))
            if not placed and last:
                pieces += [(left.pop(0)[1], False) for _ in range(len(left))]
            around = _around(template, example, shown) if last and shown and template is not None else [None]
            for text in around:
                if text is not None:
                    pieces.append((self.text(text), False))
                else:
                    pieces += self._turn(turn.text, left) if placed else [(self.text(turn.text), turn.text != self.system)]
            pieces.append((end, False))
        if left:
            raise TooLong(f"the text has no place for {len(left)} of the media")
        pieces.append((start + self.text("assistant\n"), False))
        return pieces

    def _turn(self, text: str, left: list[Medium]) -> list[tuple[list[int], bool]]:
        """The pieces of a text in which the places of media are written."""
        pieces: list[tuple[list[int], bool]] = []
        done = 0
        for match in PLACE.finditer(text):
            if not left or left[0][0] != match.group(1):
                continue
            if match.start() > done:
                pieces.append((self.text(text[done : match.start()]), True))
            pieces.append((left.pop(0)[1], False))
            done = match.end()
        if done < len(text):
            pieces.append((self.text(text[done:]), text != self.system))
        return pieces


def _around(template: str, example: PreferenceExample, shown: Sequence[int]) -> list[str | None]:
    """The texts of a template with the shown responses in it; ``None`` where the prompt stands."""
    names = ("response",) if len(shown) == 1 else tuple(f"response_{number}" for number in range(1, len(shown) + 1))
    filled = {f"{{{name}}}": example.responses[index].text for name, index in zip(names, shown, strict=True)}
    parts = re.split("(" + "|".join(map(re.escape, ["{prompt}", *filled])) + ")", template)
    return [None if part == "{prompt}" else filled.get(part, part) for part in parts if part]
