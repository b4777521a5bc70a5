"""Holiday columns against a plain loop over days, and against prophet's."""

from __future__ import annotations

import pickle
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.frequency import DAY_US, Frequency, to_microseconds
from forecasting.holidays import holiday_calendar

FREQUENCIES = ("D", "h", "15min", "5h", "2D@2024-01-01", "W-THU", "MS", "ME", "QS-FEB", "D@1970-01-01T06:00")
DAYS = st.lists(st.dates(date(2023, 11, 1), date(2024, 4, 1)), min_size=1, max_size=5)


def ordinal(frequency: Frequency, day: str) -> int:
    return int(frequency.ordinals(to_microseconds(day)))


@pytest.mark.parametrize("name", FREQUENCIES)
@given(dates=DAYS, window=st.tuples(st.integers(0, 3), st.integers(0, 3)))
@settings(max_examples=15, deadline=None)
def test_columns_are_those_of_a_plain_loop(name: str, dates: list[date], window: tuple[int, int]) -> None:
    frequency = Frequency.parse(name)
    first, last = ordinal(frequency, "2023-12-01"), ordinal(frequency, "2024-03-05")
    calendar = holiday_calendar({"": {"X": dates}}, frequency, first, last, windows={"X": window})
    labels = frequency.labels(np.arange(first, last + 1)).astype("M8[us]")
    for column, shift in enumerate(range(-window[0], window[1] + 1)):
        assert calendar.names[column] == ("X" if shift == 0 else f"X_{shift:+d}")
        assert calendar.base[column] == "X"
        for t, label in enumerate(labels):
            if 0 < frequency.step_us <= DAY_US:
                expected = float(label.astype("M8[D]").item() - timedelta(days=shift) in dates)
            else:
                here = first + t - shift
                expected = float(sum(ordinal(frequency, str(day)) == here for day in set(dates)))
            assert calendar.values[0, t, column] == expected


def test_a_local_day_is_where_the_sun_says() -> None:
    frequency = Frequency.parse("h")
    labels = pd.date_range("2024-03-29", "2024-04-02", freq="h", inclusive="left")
    first = int(frequency.ordinals(to_microseconds(labels[0].to_datetime64())))
    zone = "Europe/Paris"  # on 2024-03-31, a day of 23 hours
    dates = {"FR": {"Easter": [date(2024, 3, 31)]}}
    calendar = holiday_calendar(dates, frequency, first, first + len(labels) - 1, zone=zone)
    local = labels.tz_localize("UTC").tz_convert(ZoneInfo(zone))
    assert calendar.values[0, :, 0].tolist() == [float(t.date() == date(2024, 3, 31)) for t in local]
    assert calendar.values.sum() == 23


def test_groups_share_columns_and_keep_their_own_dates() -> None:
    frequency = Frequency.parse("D")
    first = ordinal(frequency, "2024-12-20")
    dates = {"US": {"Christmas Day": [date(2024, 12, 25)]}, "GB": {"Boxing Day": [date(2024, 12, 26)]}}
    calendar = holiday_calendar(dates, frequency, first, first + 9, default_window=(1, 0))
    assert calendar.names == ("Boxing Day_-1", "Boxing Day", "Christmas Day_-1", "Christmas Day")
    assert [np.flatnonzero(calendar.values[0, :, j]).tolist() for j in range(4)] == [[], [], [4], [5]]
    assert [np.flatnonzero(calendar.values[1, :, j]).tolist() for j in range(4)] == [[5], [6], [], []]
    assert not calendar.values.flags.writeable
    size = len(pickle.dumps(calendar))  # after the dense values were made: they do not travel
    assert size < 2000
    again = pickle.loads(pickle.dumps(calendar)).of([1, -1])
    assert np.array_equal(again.values, calendar.values)


@pytest.mark.parametrize("window", [(-1, 0), (1,)])
def test_a_window_that_is_none_is_refused(window: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="two numbers"):
        holiday_calendar({"": {"X": []}}, Frequency.parse("D"), 0, 1, windows={"X": window})  # type: ignore[dict-item]


@pytest.mark.judge
def test_the_same_columns_as_prophets() -> None:
    prophet = pytest.importorskip("prophet")
    from udfs.public_holidays import public_holidays

    theirs = prophet.make_holidays.make_holidays_df(range(2012, 2016), "US")
    dates: dict[str, list[date]] = {}
    for day, name in public_holidays("US", None, range(2012, 2016)):
        dates.setdefault(name, []).append(day)
    listed = {(row.ds.date(), part) for row in theirs.itertuples() for part in row.holiday.split("; ")}
    assert listed == {(day, name) for name, days in dates.items() for day in days}
    model = prophet.Prophet()
    ds = pd.Series(pd.date_range("2013-01-01", "2014-12-31"))
    features, _, _ = model.make_holiday_features(ds, theirs.assign(lower_window=-2, upper_window=1))
    frequency = Frequency.parse("D")
    first = ordinal(frequency, "2013-01-01")
    calendar = holiday_calendar({"": dates}, frequency, first, first + len(ds) - 1, default_window=(2, 1))
    ours = dict(zip(calendar.names, calendar.values[0].T, strict=True))
    seen = 0
    for column in features:
        base, _, shift = column.partition("_delim_")
        name = base if int(shift) == 0 else f"{base}_{int(shift):+d}"
        assert np.array_equal(features[column].to_numpy(), ours[name]), column
        seen += 1
    assert seen > 30
