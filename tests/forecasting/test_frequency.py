"""The time grid against pandas' date ranges, and its spellings."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, WEEK_US, Frequency, FrequencyError, to_microseconds

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")


def spellings() -> st.SearchStrategy[str]:
    counts = st.integers(1, 40).map(lambda n: "" if n == 1 else str(n))
    fixed = st.tuples(counts, st.sampled_from(["min", "T", "h", "H", "D", "W"])).map("".join)
    weeks = st.tuples(counts, st.sampled_from(WEEKDAYS)).map(lambda p: f"{p[0]}W-{p[1]}")
    months = st.tuples(counts, st.sampled_from(["M", "MS", "ME", "Q", "QS", "QE", "Y", "YS", "YE", "A"])).map("".join)
    anchored = st.tuples(counts, st.sampled_from(["Q", "QS", "QE", "Y", "YS", "YE"]), st.sampled_from(MONTHS)).map(
        lambda p: f"{p[0]}{p[1]}-{p[2]}"
    )
    iso = st.tuples(st.sampled_from(["P{}Y", "P{}M", "P{}W", "P{}D", "PT{}H", "PT{}M"]), st.integers(1, 99)).map(
        lambda p: p[0].format(p[1])
    )
    return st.one_of(fixed, weeks, months, anchored, iso)


instants = st.integers(
    int(np.datetime64("1900-01-01", "us").astype(np.int64)), int(np.datetime64("2200-01-01", "us").astype(np.int64))
)


@given(spellings(), instants)
def test_a_name_reads_back_as_the_same_frequency(text: str, label: int) -> None:
    frequency = Frequency.parse(text)
    assert Frequency.parse(frequency.name) == frequency
    on_minutes = frequency.aligned_to(label // MINUTE_US * MINUTE_US)
    assert on_minutes.anchored
    assert Frequency.parse(on_minutes.name) == on_minutes
    assert Frequency.parse(on_minutes) is on_minutes
    assert str(on_minutes) == on_minutes.name


@given(spellings(), instants, st.lists(st.integers(-30_000, 30_000), min_size=1, max_size=20))
def test_ordinals_and_labels_are_inverse(text: str, label: int, ordinals: list[int]) -> None:
    frequency = Frequency.parse(text)
    if frequency.months * 30_000 > 12 * 200_000:
        ordinals = [o % 1000 for o in ordinals]  # within the years that microseconds reach
    for grid in (frequency, frequency.aligned_to(label)):
        labels = grid.labels(ordinals)
        np.testing.assert_array_equal(grid.ordinals(labels), ordinals)
        if not grid.month_end:  # a label is the start of its period: a microsecond earlier is the one before
            np.testing.assert_array_equal(grid.ordinals(labels - 1), np.array(ordinals) - 1)


@given(spellings(), instants)
def test_a_label_of_the_data_stays_on_the_grid(text: str, label: int) -> None:
    frequency = Frequency.parse(text)
    if frequency.anchored:
        return
    if frequency.months:
        month = np.int64(label).astype("M8[us]").astype("M8[M]")
        edge = (month + 1).astype("M8[D]") - 1 if frequency.month_end else month
        label = int(edge.astype("M8[us]").astype(np.int64))
    grid = frequency.aligned_to(label)
    assert int(grid.labels(grid.ordinals(label))) == label


@pytest.mark.judge
@pytest.mark.parametrize(
    "freq",
    ["MS", "ME", "2MS", "QS", "QE-DEC", "QS-FEB", "QE-NOV", "YS", "YE", "YS-JUL", "YE-JUN", "W-THU", "W-SUN", "2W-WED",
     "D", "3D", "h", "6h", "15min", "min"],
)  # fmt: skip
def test_labels_are_pandas_date_ranges(freq: str) -> None:
    theirs = pd.date_range("2019-02-28 00:00", periods=150, freq=freq)
    labels = theirs.as_unit("us").asi8
    grid = Frequency.parse(freq).aligned_to(int(labels[0]))
    first = int(grid.ordinals(labels[0]))
    np.testing.assert_array_equal(grid.labels(np.arange(first, first + 150)), labels)
    np.testing.assert_array_equal(grid.ordinals(labels), np.arange(first, first + 150))


@pytest.mark.judge
@pytest.mark.parametrize(
    ("freq", "period"),
    [("MS", "M"), ("QE-DEC", "Q-DEC"), ("QE-JAN", "Q-JAN"), ("Q-DEC", "Q-DEC"), ("YS", "Y-DEC"), ("Y-JUN", "Y-JUN"),
     ("W-MON", "W-SUN"), ("W-THU", "W-WED"), ("D", "D"), ("h", "h")],
)  # fmt: skip
def test_any_timestamp_falls_in_pandas_period(freq: str, period: str) -> None:
    """pandas names a week by its last day, we by its first (the label)."""
    times = pd.DatetimeIndex(
        np.random.default_rng(0).integers(0, 60 * 365 * DAY_US, 400).astype("M8[us]")
    ).sort_values()
    theirs = times.to_period(period)
    grid = Frequency.parse(freq).aligned_to(to_microseconds(["1970-01-01"])[0])
    ours = grid.ordinals(times.as_unit("us").asi8)
    np.testing.assert_array_equal(np.diff(ours), np.diff(theirs.asi8))
    starts = theirs.start_time.as_unit("us").asi8
    if not grid.month_end:
        np.testing.assert_array_equal(grid.labels(ours), starts)
    else:
        np.testing.assert_array_equal(grid.labels(ours), theirs.end_time.normalize().as_unit("us").asi8)


@pytest.mark.parametrize(
    ("one", "other"),
    [("M", "MS"), ("1M", "MS"), ("P1M", "MS"), ("3M", "QS"), ("Q", "QS"), ("12M", "YS"), ("Y", "YS"), ("A", "YS"),
     ("H", "h"), ("60min", "h"), ("PT60M", "h"), ("15T", "15min"), ("PT15M", "15min"), ("7D", "W"), ("P1W", "W"),
     ("14D", "2W"), ("1440min", "24h"), ("QE-MAR", "QE-DEC"), ("QS-OCT", "QS-JAN"), ("Q-DEC", "QS-JAN"), ("2Q", "6M"),
     (" D ", "D"), ("P1D", "D")],
)  # fmt: skip
def test_spellings_of_one_frequency(one: str, other: str) -> None:
    assert Frequency.parse(one) == Frequency.parse(other)


@pytest.mark.parametrize(
    ("freq", "season"),
    [("min", 1440), ("15min", 96), ("7min", 1), ("h", 24), ("6h", 4), ("5h", 1), ("D", 7), ("2D", 1), ("W", 52),
     ("2W", 26), ("3W", 1), ("4W-SUN", 13), ("MS", 12), ("2M", 6), ("5M", 1), ("QE-DEC", 4), ("6M", 2), ("YS", 1)],
)  # fmt: skip
def test_season_length(freq: str, season: int) -> None:
    assert Frequency.parse(freq).season_length == season


@pytest.mark.parametrize(
    "text",
    ["", "x", "B", "0D", "P0D", "-1D", "1.5h", "W-XYZ", "D-MON", "DS", "WE", "M-JAN", "MS-JAN", "QS-JANUARY", "PT1D",
     "P1H", "month", "W@yesterday", "MS@soon", "15 min"],
)  # fmt: skip
def test_what_is_not_a_frequency_is_refused_and_named(text: str) -> None:
    with pytest.raises(FrequencyError) as caught:
        Frequency.parse(text)
    assert repr(text) in str(caught.value)


def test_weeks_and_days_take_their_phase_from_the_data() -> None:
    thursday = int(to_microseconds(["2024-02-01"])[0])
    week = Frequency.parse("W")
    assert not week.anchored
    assert week.aligned_to(thursday).name == "W-THU"
    assert Frequency.parse("24h").aligned_to(thursday + 6 * HOUR_US).name == "D@1970-01-01T06:00"
    assert Frequency.parse("W-MON").aligned_to(thursday).name == "W-MON"
    assert (
        Frequency.parse("2W")
        .aligned_to(thursday)
        .labels(Frequency.parse("2W").aligned_to(thursday).ordinals(thursday + 2 * WEEK_US))
        == thursday + 2 * WEEK_US
    )
    assert Frequency.parse("QE").aligned_to(int(to_microseconds(["2024-01-31"])[0])).name == "QE-JAN"


def test_timestamps_of_any_kind_become_microseconds() -> None:
    expected = np.array([1_704_067_200_000_000, 1_704_070_800_000_000])
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00"])
    for kind in (["2024-01-01", "2024-01-01T01:00"], times, times.as_unit("ns").to_numpy(), times.to_pydatetime()):
        np.testing.assert_array_equal(to_microseconds(kind), expected)
