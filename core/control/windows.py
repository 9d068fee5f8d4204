"""When nights begin and end: windows of the week in a time zone, as instants. Pure.

A window belongs to the day on which it opens: ``20:00-07:00`` on ``mon-fri`` ends on Saturday morning for the last time.

At a change of the clocks a window is never longer than the clock on the wall allows: a local time that comes twice opens a window at
its second coming and closes one at its first; a local time that never comes opens late and closes early.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WINDOW = re.compile(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Opening:
    """One night of a window: its day, and the unix seconds between which it is open."""

    day: date
    opens: float
    closes: float


@dataclass(frozen=True)
class Window:
    """A window that comes again every week.

    Attributes:
        begin: minutes after midnight at which it opens.
        end: minutes after midnight at which it closes, on the next day where that is not later than ``begin``; at most 24 hours.
        days: of the week on which it opens, 0 for Monday.
        zone: the time zone that both are meant in.
    """

    begin: int
    end: int
    days: frozenset[int]
    zone: ZoneInfo

    @classmethod
    def parse(cls, window: str, days: str, zone: str) -> Window:
        """From ``20:00-07:00``, ``mon-fri`` (or ``sat,sun``, ``daily``) and the name of a zone such as ``Europe/Berlin``.

        Raises:
            ValueError: one of them is none; the message says what is allowed.
        """
        found = _WINDOW.fullmatch(window.strip())
        if found is None:
            raise ValueError(f"{window!r} is no window: 20:00-07:00, or 00:00-24:00 for a whole day")
        hours = [int(part) for part in found.groups()]
        begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
        if hours[1] > 59 or hours[3] > 59 or begin >= 1440 or end > 1440 or begin == end:
            raise ValueError(f"{window!r} is no window: times from 00:00 to 24:00, its end another than its beginning")
        try:
            where = ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{zone!r} is no time zone: a name such as Europe/Berlin or UTC") from None
        return cls(begin, end, parse_days(days), where)

    def on(self, day: date) -> Opening:
        """The night that opens on a day (whether the window opens on it or not)."""
        last = day + timedelta(days=1) if self.end <= self.begin else day
        return Opening(day, max(_instants(day, self.begin, self.zone)), min(_instants(last, self.end, self.zone)))

    def between(self, after: float, before: float) -> Iterator[Opening]:
        """The nights that open in ``[after, before)``, in order."""
        day = datetime.fromtimestamp(after, self.zone).date() - timedelta(days=1)
        while True:
            opening = self.on(day)
            if opening.opens >= before:
                return
            if day.weekday() in self.days and opening.opens >= after and opening.closes > opening.opens:
                yield opening
            day += timedelta(days=1)

    def at(self, now: float) -> Opening | None:
        """The night that is open now."""
        return next((opening for opening in self.between(now - 3 * 86400, now + 1) if opening.opens <= now < opening.closes), None)

    def next(self, now: float) -> Opening:
        """The next night to open."""
        return next(self.between(now, now + 15 * 86400))


def parse_days(text: str) -> frozenset[int]:
    """Days of the week from ``mon-fri``, ``sat,sun``, ``fri-mon`` or ``daily``; 0 is Monday.

    Raises:
        ValueError: not days.
    """
    if text.strip().lower() == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.lower().split(","):
        first, _, last = (word.strip() for word in part.partition("-"))
        if first not in DAYS or (last or first) not in DAYS:
            raise ValueError(f"{text!r} are no days: mon-fri, sat,sun or daily")
        length = (DAYS.index(last or first) - DAYS.index(first)) % 7
        found |= {(DAYS.index(first) + step) % 7 for step in range(length + 1)}
    return frozenset(found)


def _instants(day: date, minutes: int, zone: ZoneInfo) -> tuple[float, float]:
    """The two unix seconds that a local time may mean: the same one, but at a change of the clocks."""
    local = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(minutes=minutes)
    first, second = (local.replace(tzinfo=zone, fold=fold).timestamp() for fold in (0, 1))
    return first, second
