"""Calendar features against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.calendar_features import LENGTHS, calendar_columns, column_names, feature_values, usable
from forecasting.frequency import Frequency

FREQUENCIES = ("15min", "h", "D", "2D@1970-01-02T00:00", "W-MON", "W-THU", "MS", "ME", "QS-JAN", "QE-DEC", "YS-JAN")


def by_pandas(times: pd.DatetimeIndex) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    return {
        "minute_of_hour": times.minute, "hour_of_day": times.hour, "day_of_week": times.dayofweek,
        "day_of_month": times.day - 1, "day_of_year": times.dayofyear - 1,
        "week_of_year": times.isocalendar().week.to_numpy().astype(int) - 1, "month_of_year": times.month - 1,
        "quarter_of_year": times.quarter - 1,
    }  # fmt: skip


@pytest.mark.parametrize("name", FREQUENCIES)
@settings(max_examples=40, deadline=None)
@given(first=st.integers(-4000, 4000))
def test_values_are_those_of_pandas(name: str, first: int) -> None:
    frequency = Frequency.parse(name)
    span = min(3000, 900 if frequency.months == 0 else 250)
    ordinals = first % (span - 200) + np.arange(200) - 50
    times = pd.DatetimeIndex(frequency.labels(ordinals).astype("M8[us]"))
    for feature, expected in by_pandas(times).items():
        np.testing.assert_array_equal(feature_values(frequency, ordinals, feature), expected, err_msg=feature)


@pytest.mark.parametrize("name", FREQUENCIES)
def test_usable_features_are_those_that_vary(name: str) -> None:
    frequency = Frequency.parse(name)
    ordinals = np.arange(-3000, 3000)
    for feature in LENGTHS:
        values = np.unique(feature_values(frequency, ordinals, feature))
        if usable(feature, frequency):
            assert len(values) > 1, feature
        elif not (frequency.months and feature in ("day_of_week", "day_of_month", "day_of_year", "week_of_year")):
            assert len(values) == 1, feature


def test_encodings() -> None:
    frequency, ordinals = Frequency.parse("D"), np.arange(19_000, 19_100).reshape(2, 50)
    names, cyclic = calendar_columns(frequency, ordinals, ["day_of_week", "month_of_year"])
    assert names == ("day_of_week_sin", "day_of_week_cos", "month_of_year_sin", "month_of_year_cos")
    assert cyclic.shape == (4, 2, 50)
    days = feature_values(frequency, ordinals, "day_of_week")
    np.testing.assert_allclose(np.mod(np.arctan2(cyclic[0], cyclic[1]) * 7 / (2 * np.pi), 7), days, atol=1e-9)
    names, hot = calendar_columns(frequency, ordinals, ["day_of_week"], "one_hot")
    assert names == column_names("day_of_week", "one_hot") == tuple(f"day_of_week_{k}" for k in range(1, 7))
    dummies = pd.get_dummies(pd.Categorical(days.ravel(), categories=range(7)), drop_first=True).to_numpy()
    np.testing.assert_array_equal(hot.reshape(6, -1).T, dummies)


def test_the_local_clock_counts_where_there_is_one() -> None:
    frequency = Frequency.parse("h")
    utc = pd.date_range("2024-03-30", periods=72, freq="h", tz="UTC")  # the clocks change on the 31st
    ordinals = frequency.ordinals(utc.tz_localize(None).to_numpy().astype("M8[us]").astype(np.int64))
    local = utc.tz_convert("Europe/Paris")
    np.testing.assert_array_equal(feature_values(frequency, ordinals, "hour_of_day", "Europe/Paris"), local.hour)
    np.testing.assert_array_equal(feature_values(frequency, ordinals, "day_of_week", "Europe/Paris"), local.dayofweek)
    assert (feature_values(frequency, ordinals, "hour_of_day") != local.hour).all()


def test_unknown_names_are_errors() -> None:
    with pytest.raises(ValueError, match="week_of_month"):
        feature_values(Frequency.parse("D"), [0], "week_of_month")
    with pytest.raises(ValueError, match="binary"):
        calendar_columns(Frequency.parse("D"), [0], ["day_of_week"], "binary")  # type: ignore[arg-type]
