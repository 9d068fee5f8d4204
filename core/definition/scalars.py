"""Scalars of the language that no field type knows: durations, cadences, memory, and the generators of axis values."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

_UNITS = {"d": 86400, "h": 3600, "min": 60, "m": 60, "s": 1}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):([0-5]?\d):([0-5]?\d)")
_STEPS = re.compile(r"(\d+)\s*steps?")
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([MGT])?(?:i?B)?")

DURATIONS = "a duration with its unit: 90s, 20min, 4h, 1h30min, 2d, 12:30:00 or 1-00:00:00"


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``20min``, ``1h30min``, ``12:30:00`` or ``1-00:00:00`` (days-hours:minutes:seconds).

    Raises:
        ValueError: not a duration, or zero; the message says what is.
    """
    text = text.strip()
    clock = _CLOCK.fullmatch(text)
    if clock:
        days, hours, minutes, seconds = (int(part or 0) for part in clock.groups())
        total = float(days * 86400 + hours * 3600 + minutes * 60 + seconds)
    elif text and _PARTS.sub("", text).strip() == "":
        total = sum(float(number) * _UNITS[unit] for number, unit in _PARTS.findall(text))
    else:
        raise ValueError(f"expected {DURATIONS}")
    if not 0 < total < math.inf:
        raise ValueError("a duration is longer than nothing")
    return total


def parse_cadence(text: str) -> tuple[float | None, int | None]:
    """``(seconds, None)`` of a duration, ``(None, steps)`` of ``50steps``.

    Raises:
        ValueError: neither; the message says what is allowed.
    """
    steps = _STEPS.fullmatch(text.strip())
    if steps:
        if int(steps[1]) < 1:
            raise ValueError("at least 1 step")
        return None, int(steps[1])
    try:
        return parse_duration(text), None
    except ValueError as error:
        raise ValueError(f"{error}, or optimiser steps: 50steps") from None


def parse_memory(text: str) -> float:
    """GiB of ``64``, ``64G``, ``64GiB``, ``900M`` or ``1T``.

    Raises:
        ValueError: not an amount of memory.
    """
    found = _MEMORY.fullmatch(text.strip())
    if not found or float(found[1]) <= 0:
        raise ValueError("expected GiB as a number, or with a unit: 64, 64G, 900M, 1T")
    return float(found[1]) * {"M": 1 / 1024, "G": 1.0, "T": 1024.0}[found[2] or "G"]


_REMEMBERED = 10_000
"""Generated values that are kept for the next time."""

GENERATORS = ("range", "linspace", "logspace")


class Generated:
    """The values of ``{range: [...]}``, ``{linspace: [...]}`` or ``{logspace: [...]}``, made one by one when asked for.

    A sequence of text with 12 significant digits; its length is known before any value exists.

    Raises:
        ValueError: the arguments do not fit; the message says what is expected.
    """

    def __init__(self, kind: str, arguments: Any) -> None:
        if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
            raise ValueError(f"`{kind}` takes a list of numbers")
        numbers = [_number(item) for item in arguments]
        self._made: dict[int, str] = {}
        self.kind: Literal["range", "linspace", "logspace"] = kind  # type: ignore[assignment]  # the caller passes one of GENERATORS
        if kind == "range":
            if len(numbers) not in (2, 3):
                raise ValueError("`range` takes [first, last] or [first, last, step], both ends included")
            self.first, self.last = numbers[:2]
            self.step = numbers[2] if len(numbers) == 3 else Decimal(1 if self.last >= self.first else -1)
            if self.step == 0 or (self.last - self.first) * self.step < 0:
                raise ValueError("the step of a `range` leads away from its last value")
            self.count = int((self.last - self.first) / self.step) + 1
            return
        if len(numbers) != 3 or numbers[2] != int(numbers[2]) or numbers[2] < 1:
            raise ValueError(f"`{kind}` takes [first, last, count], count a whole number of at least 1")
        self.first, self.last, self.count = numbers[0], numbers[1], int(numbers[2])
        if kind == "logspace" and min(self.first, self.last) <= 0:
            raise ValueError("`logspace` takes a first and a last value above 0 (the values themselves, not their exponents)")

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> str:
        known = self._made.get(index)
        if known is None:
            if not 0 <= index < self.count:
                raise IndexError(index)
            if len(self._made) >= _REMEMBERED:
                self._made.clear()
            known = self._made[index] = self._make(index)
        return known

    def _make(self, index: int) -> str:
        if self.kind == "range":
            return format_number(self.first + index * self.step)
        if index == self.count - 1 and self.count > 1:
            return format_number(self.last)
        share = Decimal(index) / Decimal(max(1, self.count - 1))
        if self.kind == "linspace":
            return format_number(self.first + (self.last - self.first) * share)
        return format_number(self.first * (self.last / self.first) ** share)


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number") from None
    if not value.is_finite():
        raise ValueError(f"{text!r} is not a finite number")
    return value


def format_number(value: Decimal) -> str:
    """Shortest text of a number rounded to 12 significant digits; whole numbers below 10^15 without exponent."""
    rounded = Decimal(f"{value:.11e}").normalize()
    if rounded == rounded.to_integral_value() and abs(rounded) < 10**15:
        return str(int(rounded))
    return repr(float(rounded))
