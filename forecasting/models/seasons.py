"""Which steps are alike: the season's phase of every period, by the calendar or by counting.

A phase is a small integer; two periods are in the same phase when the model may take one for the other. The calendar
gives the one time feature that Amazon Forecast used per frequency (developer guide, section NPTS): minute of the hour,
hour of the day, day of the week, day of the month for weeks, month of the year. Counting gives ordinal modulo the
season length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, WEEK_US, Frequency, Int64Array

_DAYS_OF_MONTH = 31
_FIRST_WEEKDAY = 3  # 1970-01-01 was a Thursday, and Monday is 0


@dataclass(frozen=True)
class Phases:
    """The phase of the period with ordinal o is `table[(o - origin) % len(table)]`.

    table: int64 [P]. feature: float64 [S], what each of the S phases looks like on a scale from -0.5 to 0.5 (not
    circular: the last month is far from the first), as in GluonTS' time features.
    """

    table: Int64Array
    origin: int
    feature: FloatArray

    @property
    def count(self) -> int:
        return len(self.feature)


def no_season() -> Phases:
    """One phase: every period is like every other."""
    return _phases(np.zeros(1, dtype=np.int64), 0, np.zeros(1))


def counted(season_length: int) -> Phases:
    """Ordinal modulo `season_length`."""
    table = np.arange(season_length)
    return _phases(table, 0, table / max(season_length - 1, 1) - 0.5)


def calendar(frequency: Frequency, first: int, last: int) -> Phases:
    """The calendar's time feature for a frequency; the table is exact for the ordinals `first` to `last`.

    Only weeks need the range, because the day of the month has no period in weeks. A frequency whose periods all look
    alike (years) has one phase.
    """
    if frequency.step_us and frequency.step_us % WEEK_US == 0:
        days = frequency.labels(np.arange(first, last + 1)).astype("M8[us]").astype("M8[D]")
        day_of_month = (days - days.astype("M8[M]").astype("M8[D]")).astype(np.int64)
        return _phases(day_of_month, first, np.arange(_DAYS_OF_MONTH) / (_DAYS_OF_MONTH - 1) - 0.5)
    if frequency.months:
        labels = frequency.labels(np.arange(12 // math.gcd(12, frequency.months)))
        values, size = labels.astype("M8[us]").astype("M8[M]").astype(np.int64) % 12, 12
    else:
        unit, size = _unit(frequency.step_us)
        cycle = unit * size
        labels = frequency.labels(np.arange(cycle // math.gcd(cycle, frequency.step_us)))
        values = (labels // unit + (_FIRST_WEEKDAY if unit == DAY_US else 0)) % size
    seen, table = np.unique(values, return_inverse=True)
    return _phases(table, 0, seen / (size - 1) - 0.5)


def _unit(step_us: int) -> tuple[int, int]:
    """The part of the clock that a fixed step moves, and how many of it make the cycle: minutes of an hour, …"""
    if step_us % HOUR_US:
        return MINUTE_US, 60
    if step_us % DAY_US:
        return HOUR_US, 24
    return DAY_US, 7


def _phases(table: Int64Array, origin: int, feature: FloatArray) -> Phases:
    return Phases(
        table=read_only(np.ascontiguousarray(table, dtype=np.int64)),
        origin=origin,
        feature=read_only(np.ascontiguousarray(feature, dtype=np.float64)),
    )
