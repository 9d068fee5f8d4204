"""Windows of the week as instants, also at a change of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.control.windows import Window, parse_days

BERLIN = "Europe/Berlin"
YEAR = 1_767_225_600.0  # 2026-01-01 UTC


def utc(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"


def test_a_night_belongs_to_the_day_on_which_it_opens() -> None:
    window = Window.parse("20:00-07:00", "mon-fri", "UTC")
    friday = window.at(datetime(2026, 11, 21, 3, tzinfo=UTC).timestamp())
    assert friday is not None and friday.day == date(2026, 11, 20)
    assert (utc(friday.opens), utc(friday.closes)) == ("2026-11-20 20:00", "2026-11-21 07:00")
    assert window.at(friday.closes) is None, "the end is outside"
    assert window.at(friday.opens) == friday
    assert utc(window.next(friday.opens + 1).opens) == "2026-11-23 20:00", "no night on the weekend"
    assert window.at(datetime(2026, 11, 21, 22, tzinfo=UTC).timestamp()) is None


def test_a_whole_day_and_a_window_of_the_day() -> None:
    whole = Window.parse("00:00-24:00", "sat,sun", "UTC")
    assert [utc(o.opens) + " " + utc(o.closes) for o in whole.between(YEAR, YEAR + 5 * 86400)] == [
        "2026-01-03 00:00 2026-01-04 00:00", "2026-01-04 00:00 2026-01-05 00:00",
    ]  # fmt: skip
    lunch = Window.parse("12:30-13:15", "daily", "UTC").next(YEAR)
    assert lunch.closes - lunch.opens == 45 * 60


@pytest.mark.parametrize(
    ("window", "day", "opens", "closes"),
    [
        ("20:00-07:00", date(2026, 3, 28), "2026-03-28 19:00", "2026-03-29 05:00"),  # spring: ten hours
        ("20:00-07:00", date(2026, 10, 24), "2026-10-24 18:00", "2026-10-25 06:00"),  # autumn: twelve hours
        ("20:00-02:30", date(2026, 10, 24), "2026-10-24 18:00", "2026-10-25 00:30"),  # 02:30 comes twice: it closes at the first
        ("02:30-07:00", date(2026, 10, 25), "2026-10-25 01:30", "2026-10-25 06:00"),  # and opens at the second
        ("02:30-07:00", date(2026, 3, 29), "2026-03-29 01:30", "2026-03-29 05:00"),  # 02:30 never comes: 03:30 is later than that
        ("20:00-02:30", date(2026, 3, 28), "2026-03-28 19:00", "2026-03-29 00:30"),  # 01:30 is earlier
    ],
)
def test_a_change_of_the_clocks_never_makes_a_window_longer_than_the_wall_clock_allows(
    window: str, day: date, opens: str, closes: str
) -> None:
    opening = Window.parse(window, "daily", BERLIN).on(day)
    assert (utc(opening.opens), utc(opening.closes)) == (opens, closes)


@given(
    begin=st.integers(0, 1439),
    end=st.integers(1, 1440),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    now=st.floats(YEAR, YEAR + 366 * 86400),
    zone=st.sampled_from([BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC"]),
)
def test_what_is_open_is_inside_by_the_clock_on_the_wall(begin: int, end: int, days: frozenset[int], now: float, zone: str) -> None:
    if begin == end:
        return
    window = Window(begin, end, days, ZoneInfo(zone))
    opening = window.at(now)
    if opening is not None:
        assert opening.opens <= now < opening.closes and opening.day.weekday() in days
        local = datetime.fromtimestamp(now, window.zone)
        minutes = local.hour * 60 + local.minute
        assert begin <= minutes < end if begin < end else minutes >= begin or minutes < end
    coming = window.next(now)
    assert coming.opens >= now and window.at(coming.opens) == coming


def test_days() -> None:
    assert parse_days("mon-fri") == frozenset(range(5))
    assert parse_days("fri-mon") == {4, 5, 6, 0}
    assert parse_days("sat, sun") == {5, 6}
    assert parse_days("Daily") == frozenset(range(7))


@pytest.mark.parametrize(
    ("window", "days", "zone", "found"),
    [
        ("20-7", "mon", "UTC", "'20-7' is no window"),
        ("25:00-07:00", "mon", "UTC", "times from 00:00 to 24:00"),
        ("07:00-07:00", "mon", "UTC", "its end another"),
        ("20:00-07:00", "weekdays", "UTC", "'weekdays' are no days"),
        ("20:00-07:00", "mon", "Berlin", "'Berlin' is no time zone"),
    ],
)
def test_what_is_no_window_is_refused(window: str, days: str, zone: str, found: str) -> None:
    with pytest.raises(ValueError, match=found):
        Window.parse(window, days, zone)
