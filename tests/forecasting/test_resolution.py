"""The step of timestamps, against pandas' date ranges and a plain search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecasting.frequency import Frequency, to_microseconds
from forecasting.resolution import IRREGULAR, STEPS, codes, finer, is_partial, step_of


def step(times: np.ndarray) -> str | None:
    found = codes(times)
    return step_of(
        int(np.bitwise_and.reduce(found)), int(np.bitwise_or.reduce(found)), len(times), int(times.max() - times.min())
    )


NAMES = {  # ours -> pandas'
    "min": "min", "5min": "5min", "10min": "10min", "15min": "15min", "20min": "20min", "30min": "30min", "h": "h",
    "2h": "2h", "3h": "3h", "4h": "4h", "6h": "6h", "8h": "8h", "12h": "12h", "D": "D", "W": "W-THU", "2W": "2W-TUE",
    "4W": "4W-SUN", "MS": "MS", "ME": "ME", "2MS": "2MS", "QS": "QS-FEB", "QE": "QE-NOV", "4MS": "4MS", "6MS": "6MS",
    "YS": "YS-APR", "YE": "YE-JUN",
}  # fmt: skip


@pytest.mark.judge
@given(st.sampled_from(sorted(NAMES)), st.integers(0, 40 * 365 * 1440), st.integers(0, 2**32 - 1))
def test_the_step_of_a_pandas_range_with_gaps(name: str, minute: int, seed: int) -> None:
    theirs = pd.date_range(
        pd.Timestamp(minute * 60, unit="s"), periods=80 if set("MQY") & set(name) else 400, freq=NAMES[name]
    )
    times = theirs.as_unit("us").asi8
    keep = np.random.default_rng(seed).random(len(times)) < 0.5
    if name not in ("YS", "YE", "6MS", "4MS"):  # with half of 400 points, no coarser step fits by chance
        times = times[keep | (np.arange(len(times)) < 8)]
    assert step(times) == name


def test_mid_months_are_months_and_twos_are_told_from_ones() -> None:
    assert step(to_microseconds([f"2024-{m:02d}-15" for m in range(1, 13)])) == "MS"
    assert step(to_microseconds(["2024-01-01T06", "2024-01-02T06", "2024-01-03T06", "2024-01-05T06"])) == "D"


def test_too_little_to_tell() -> None:
    assert step(to_microseconds(["2024-01-01", "2024-01-02", "2024-01-03"])) is None
    assert step(to_microseconds(["2024-01-01"] * 9)) is None
    assert step(to_microseconds(["2024-01-01", "2024-01-01", "2024-01-08", "2024-01-08"])) is None


def test_seconds_are_irregular() -> None:
    assert step(to_microseconds([f"2024-01-01T00:00:{s:02d}" for s in (0, 7, 9, 30)])) == IRREGULAR
    assert finer(IRREGULAR, Frequency.parse("W")).name == "D"
    assert finer(IRREGULAR, Frequency.parse("D")).name == "h"
    assert finer(IRREGULAR, Frequency.parse("h")).name == "min"


def test_every_step_is_a_frequency() -> None:
    for each in STEPS:
        assert Frequency.parse(each.name).months or Frequency.parse(each.name).step_us == each.length_us


@given(st.integers(0, 20_000), st.booleans())
def test_a_week_of_days_is_partial_unless_it_ends_on_its_last_day(day: int, last: bool) -> None:
    time = int(np.datetime64(day, "D").astype("M8[us]").astype(np.int64))
    weekday = pd.Timestamp(day, unit="D").weekday()
    whole = weekday == (6 if last else 0)
    assert is_partial(Frequency.parse("W-MON"), Frequency.parse("D"), time, last=last) is not whole


@pytest.mark.parametrize(
    ("grid", "step", "time", "last", "expected"),
    [("MS", "D", "2024-02-29", True, False), ("MS", "D", "2024-02-28", True, True),
     ("MS", "D", "2024-03-02", False, True), ("D", "h", "2024-03-02T23:00", True, False),
     ("D", "h", "2024-03-02T22:30", True, True), ("D", "15min", "2024-03-02T23:30", True, True),
     ("D", "15min", "2024-03-02T23:45", True, False), ("QS", "MS", "2024-03-15", True, False),
     ("QS", "MS", "2024-02-15", True, True), ("QS", "ME", "2024-03-31", True, False),
     ("YS-APR@06", "MS@06", "2024-03-06", True, False), ("D", "D", "2024-03-02", True, False)],
)  # fmt: skip
def test_partial_periods(grid: str, step: str, time: str, last: bool, expected: bool) -> None:
    micros = int(to_microseconds([time])[0])
    assert is_partial(Frequency.parse(grid), Frequency.parse(step), micros, last=last) is expected
