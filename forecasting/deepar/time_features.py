"""What the clock says: lags of the target and calendar columns by frequency, as GluonTS has them (Alexandrov 2020)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, WEEK_US, Frequency, Int64Array

Float32Array = npt.NDArray[np.float32]

_SHORT_LAGS = 7


def lags_of(frequency: Frequency, longest: int = 1200) -> tuple[int, ...]:
    """The lags for a frequency, in periods: 1 to 7, and the same season of earlier cycles with its neighbours.

    The rule of GluonTS' `get_lags_for_frequency`; a year has only the short ones.
    """
    found: list[float] = []
    if frequency.months:
        if frequency.months < 12:
            found += _around([k * 12 // frequency.months for k in (1, 2, 3)], 1)
    elif frequency.step_us % WEEK_US == 0:
        found += _weeks(frequency.step_us // WEEK_US)
    elif frequency.step_us % DAY_US == 0:
        days = frequency.step_us // DAY_US
        found += _days(days) + _weeks(days / 7.0)
    elif frequency.step_us % HOUR_US == 0:
        hours = frequency.step_us // HOUR_US
        found += _hours(hours) + _days(hours / 24) + _weeks(hours / (24 * 7))
    else:
        minutes = frequency.step_us // MINUTE_US
        found += _around([k * 60 // minutes for k in (1, 2, 3)], 2)
        found += _hours(minutes / 60) + _days(minutes / (60 * 24)) + _weeks(minutes / (60 * 24 * 7))
    longer = {int(lag) for lag in found if _SHORT_LAGS < lag <= longest}
    return tuple(range(1, min(_SHORT_LAGS, longest) + 1)) + tuple(sorted(longer))


def past_lags_of(frequency: Frequency, horizon: int) -> tuple[int, ...]:
    """The lags of a related series that is not known in the future: the horizon and the first whole season from it."""
    season = frequency.season_length
    return tuple(sorted({horizon, -(-horizon // season) * season}))


def _around(middles: Sequence[float], delta: int) -> list[float]:
    return [middle + d for middle in middles for d in range(-delta, delta + 1)]


def _hours(multiple: float) -> list[float]:
    return _around([k * 24 // multiple for k in range(1, 8)], 1)


def _days(multiple: float) -> list[float]:
    return _around([k * 7 // multiple for k in range(1, 5)] + [30 // multiple], 1)


def _weeks(multiple: float) -> list[float]:
    return [*_around([k * 52 // multiple for k in (1, 2, 3)], 1), 4 // multiple, 8 // multiple, 12 // multiple]


_Labels = npt.NDArray[np.datetime64]

_FEATURES: dict[str, tuple[int, Callable[[_Labels], Int64Array]]] = {
    "minute_of_hour": (60, lambda t: _count(t, "h", "m")),
    "hour_of_day": (24, lambda t: _count(t, "D", "h")),
    "day_of_week": (7, lambda t: np.asarray((t.astype("M8[D]").astype(np.int64) + 3) % 7)),  # 1970-01-01: Thursday
    "day_of_month": (31, lambda t: _count(t, "M", "D")),
    "day_of_year": (366, lambda t: _count(t, "Y", "D")),
    "week_of_year": (53, lambda t: _count(t, "Y", "D") // 7),
    "month_of_year": (12, lambda t: _count(t, "Y", "M")),
}
"""Feature -> how many values it has, and the value of each label."""


def _count(labels: _Labels, whole: str, part: str) -> Int64Array:
    """Whole `part`s since the `whole` began."""
    begun = labels.astype(f"M8[{whole}]").astype(f"M8[{part}]")
    return np.asarray((labels.astype(f"M8[{part}]") - begun).astype(np.int64))


def calendar_names(frequency: Frequency) -> tuple[str, ...]:
    """The calendar features of a frequency: those of Amazon Forecast's documentation; none for years."""
    if frequency.months:
        return ("month_of_year",) if frequency.months < 12 else ()
    if frequency.step_us % WEEK_US == 0:
        return ("day_of_month", "week_of_year")
    daily = ("day_of_week", "day_of_month", "day_of_year")
    if frequency.step_us % DAY_US == 0:
        return daily
    return ("hour_of_day", *daily) if frequency.step_us % HOUR_US == 0 else ("minute_of_hour", "hour_of_day", *daily)


def calendar(frequency: Frequency, first: int, periods: int) -> Float32Array:
    """The calendar columns of the periods from ordinal `first`, float32 [periods, 3 F].

    Each feature is a number between -0.5 and 0.5 and the sine and cosine of its place in the cycle: the number alone
    puts December and January far apart.
    """
    labels = frequency.labels(np.arange(first, first + periods)).astype("M8[us]")
    columns = []
    for name in calendar_names(frequency):
        size, value = _FEATURES[name]
        place = value(labels)
        angle = 2 * np.pi * place / size
        columns += [place / (size - 1) - 0.5, np.sin(angle), np.cos(angle)]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((periods, 0), dtype=np.float32)
