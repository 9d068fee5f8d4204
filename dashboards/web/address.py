"""The address of a view: everything that a reader has chosen stands in it, typed and bounded. What is wrong is refused with a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.datastructures import ImmutableMultiDict

from core.errors import UsageError, nearest

LONGEST = 2000
"""Characters of one value."""
MOST = 40
"""Values of one name."""


@dataclass(frozen=True)
class Address:
    """The query of a request."""

    path: str
    values: ImmutableMultiDict[str, str]

    def word(self, name: str, allowed: Iterable[str], default: str) -> str:
        """One of several words.

        Raises:
            UsageError: it is none of them.
        """
        given = self.values.get(name)
        if not given:
            return default
        known = list(allowed)
        if given not in known:
            raise UsageError(f"no such {name}", found=given[:200], allowed=known, nearest=nearest(given[:200], known))
        return given

    def words(self, name: str, allowed: Iterable[str] | None = None) -> list[str]:
        """Several words, each once.

        Raises:
            UsageError: one is not allowed, or they are too many.
        """
        given = list(dict.fromkeys(value for value in self.values.getlist(name) if value))
        if len(given) > MOST or any(len(value) > LONGEST for value in given):
            raise UsageError(f"too much of {name}", found=f"{len(given)} values", allowed=f"{MOST} values of {LONGEST} characters")
        if allowed is not None:
            known = list(allowed)
            for value in given:
                if value not in known:
                    raise UsageError(f"no such {name}", found=value[:200], allowed=known, nearest=nearest(value[:200], known))
        return given

    def text(self, name: str) -> str:
        """Free text, cut at its longest."""
        return self.values.get(name, "").replace("\0", "")[:LONGEST]

    def number(self, name: str, default: int, low: int = 0, high: int = 10**9) -> int:
        """A whole number.

        Raises:
            UsageError: it is none, or out of bounds.
        """
        given = self.values.get(name)
        if not given:
            return default
        try:
            number = int(given)
        except ValueError:
            number = low - 1
        if not low <= number <= high or len(given) > 12:
            raise UsageError(f"{name} is a whole number", found=given[:40], allowed=f"{low} to {high}")
        return number

    def flag(self, name: str) -> bool:
        """Whether it is set to 1."""
        return self.values.get(name) == "1"

    def with_(self, **changes: Any) -> str:
        """The same view with other choices; ``None`` takes a choice out, a list gives it several values. Pages start anew."""
        pairs = [(name, value) for name, value in self.values.multi_items() if name not in changes and name != "page"]
        return self.path + query([*pairs, *_pairs(changes)])

    def page(self, number: int) -> str:
        """Another page of the same view."""
        pairs = [(name, value) for name, value in self.values.multi_items() if name != "page"]
        return self.path + query([*pairs, *([("page", str(number))] if number > 1 else [])])

    def elsewhere(self, path: str, **changes: Any) -> str:
        """Another path with the same choices and these."""
        pairs = [(name, value) for name, value in self.values.multi_items() if name not in changes]
        return path + query([*pairs, *_pairs(changes)])


def _pairs(changes: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in changes.items():
        found += [(name, str(one)) for one in (value if isinstance(value, (list, tuple)) else [value]) if one is not None]
    return found


def query(pairs: Sequence[tuple[str, str]]) -> str:
    """``?a=1&b=2``, or nothing."""
    return f"?{urlencode(pairs)}" if pairs else ""
