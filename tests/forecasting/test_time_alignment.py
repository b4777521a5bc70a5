"""Periods that begin elsewhere, against pandas' offsets and a plain loop; names that read back."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.frequency import DAY_US, Frequency, FrequencyError, to_microseconds

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
instants = st.integers(
    int(np.datetime64("1950-01-01", "us").astype(np.int64)), int(np.datetime64("2100-01-01", "us").astype(np.int64))
)


@given(st.sampled_from(["MS", "QS", "YS", "2M", "4M", "6M", "5M"]), st.integers(1, 28), st.integers(1, 12), instants)
def test_months_that_begin_on_another_day(text: str, day: int, month: int, time: int) -> None:
    plain = Frequency.parse(text)
    takes_month = plain.months > 1 and 12 % plain.months == 0
    grid = plain.begun(day=day, month=month if takes_month else None)
    assert Frequency.parse(grid.name) == grid
    grid = grid.aligned_to(time)
    assert Frequency.parse(grid.name) == grid
    begin = int(grid.labels(grid.ordinals([time]))[0])
    end = int(grid.labels(grid.ordinals([time]) + 1)[0])
    assert begin <= time < end
    assert grid.ordinals([begin, end - 1]).tolist() == [int(grid.ordinals([time])[0])] * 2
    first, after = (dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=b) for b in (begin, end))
    assert (first.day, after.day, first.hour, first.minute) == (day, day, 0, 0)
    assert (after.year - first.year) * 12 + after.month - first.month == plain.months
    if takes_month:
        assert (first.month - month) % plain.months == 0


@pytest.mark.judge
@pytest.mark.parametrize("weekday", WEEKDAYS)
@pytest.mark.parametrize("hour", [None, 0, 6, 23])
def test_weeks_are_pandas_weeks_moved(weekday: str, hour: int | None) -> None:
    theirs = pd.date_range("2023-01-01", periods=80, freq=f"W-{weekday}") + pd.Timedelta(hours=hour or 0)
    grid = Frequency.parse("W").begun(weekday=weekday, hour=hour)
    assert grid.anchored
    assert Frequency.parse(grid.name) == grid
    labels = theirs.as_unit("us").asi8
    first = int(grid.ordinals(labels[:1])[0])
    np.testing.assert_array_equal(grid.labels(np.arange(first, first + 80)), labels)


@given(st.integers(0, 23), instants)
def test_days_that_begin_at_another_hour(hour: int, time: int) -> None:
    grid = Frequency.parse("D").begun(hour=hour)
    assert Frequency.parse(grid.name) == grid
    begin = int(grid.labels(grid.ordinals([time]))[0])
    moment = dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=time)
    day = moment.replace(hour=hour, minute=0, second=0, microsecond=0)
    if day > moment:
        day -= dt.timedelta(days=1)
    assert dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=begin) == day


def test_a_year_that_begins_in_april_and_a_quarter_on_the_15th() -> None:
    year = Frequency.parse("Y").begun(month=4)
    assert year.name == "YS-APR"
    assert year == Frequency.parse("YS-APR")
    fiscal = Frequency.parse("Y").begun(month=4, day=6)
    assert fiscal.name == "YS-APR@06"
    labels = fiscal.labels(fiscal.ordinals(to_microseconds(["2024-04-05T23:59", "2024-04-06"])))
    np.testing.assert_array_equal(labels, to_microseconds(["2023-04-06", "2024-04-06"]))
    assert Frequency.parse("3M").begun(day=15).name == "QS@15"
    assert Frequency.parse("3M").begun(day=15).aligned_to(int(to_microseconds(["2024-02-15"])[0])).name == "QS-FEB@15"
    assert Frequency.parse("MS@15").season_length == 12
    assert Frequency.parse("MS@1970-01-15") == Frequency.parse("MS@15")
    assert Frequency.parse("4MS@1970-03-09").name == "4MS@1970-03-09"


@pytest.mark.parametrize(
    ("freq", "options", "message"),
    [("D", {"weekday": "MON"}, "day_of_week needs"), ("MS", {"hour": 3}, "hour needs"),
     ("h", {"hour": 3}, "hour needs"), ("ME", {"day": 15}, "labelled by its start"),
     ("W", {"day": 15}, "day_of_month needs"), ("MS", {"month": 4}, "month needs"),
     ("5M", {"month": 4}, "month needs")],
)  # fmt: skip
def test_what_a_frequency_cannot_begin_with_is_said(freq: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(FrequencyError, match=message):
        Frequency.parse(freq).begun(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["MS@29", "MS@0", "ME@15", "QE-DEC@15", "YS@1970-01-31"])
def test_days_that_not_every_month_has_are_refused(text: str) -> None:
    with pytest.raises(FrequencyError, match="begins on day"):
        Frequency.parse(text)


def test_weeks_from_monday_six_o_clock() -> None:
    grid = Frequency.parse("W").begun(hour=6)
    assert grid.anchored
    assert grid.name == "W@1970-01-05T06:00"
    assert Frequency.parse(grid.name) == grid
    assert grid.labels(grid.ordinals(to_microseconds(["2024-01-08T05:59"]))) == to_microseconds(["2024-01-01T06:00"])


def test_six_hours_that_begin_at_three() -> None:
    grid = Frequency.parse("6h").begun(hour=3)
    label = grid.labels(grid.ordinals(to_microseconds(["2024-01-01T02:59"])))
    assert label.tolist() == to_microseconds(["2023-12-31T21:00"]).tolist()
    assert grid.season_length == 4
    assert DAY_US % grid.step_us == 0
