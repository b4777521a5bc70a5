"""What the calendar says of a period, as columns: day of week, month and so on, from ordinals alone.

A feature takes one of L values, 0 to L - 1. `cyclic` gives it as sine and cosine of 2 pi value / L, `one_hot` as L - 1
columns of 0 and 1, the first value being none of them, since it is told by a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import DAY_US, HOUR_US, WEEK_US, Frequency, Int64Array

Encoding = Literal["cyclic", "one_hot"]

LENGTHS = {
    "minute_of_hour": 60,
    "hour_of_day": 24,
    "day_of_week": 7,
    "day_of_month": 31,
    "day_of_year": 366,
    "week_of_year": 53,
    "month_of_year": 12,
    "quarter_of_year": 4,
}
"""Feature -> the values it can take. Counted from 0: Monday, the first day, January, the ISO week 1."""

_FINEST = {"minute_of_hour": HOUR_US, "hour_of_day": DAY_US, "day_of_week": WEEK_US}
_MINUTE_US = 60_000_000


def usable(name: str, frequency: Frequency) -> bool:
    """Whether a feature says different things of different periods of this frequency."""
    if frequency.months:
        steps = {"month_of_year": 12, "quarter_of_year": 12}
        return name in steps and frequency.months < steps[name]
    if name in _FINEST:
        return frequency.step_us % _FINEST[name] != 0
    return True


def feature_values(frequency: Frequency, ordinals: npt.ArrayLike, name: str, zone: str | None = None) -> Int64Array:
    """The value of a feature in each period (that of its label), int64 of the shape of `ordinals`.

    zone: labels are UTC and the local clock counts, for data finer than days. Raises ValueError for an unknown name.
    """
    if name not in LENGTHS:
        raise ValueError(f"got calendar feature {name!r}; expected one of {', '.join(LENGTHS)}")
    labels = frequency.labels(ordinals)
    if zone is not None and 0 < frequency.step_us < DAY_US:
        labels = _local(labels, zone)
    days = labels // DAY_US
    if name == "minute_of_hour":
        found = labels // _MINUTE_US % 60
    elif name == "hour_of_day":
        found = labels // HOUR_US % 24
    elif name == "day_of_week":
        found = (days + 3) % 7  # 1970-01-01 was a Thursday
    elif name == "week_of_year":
        thursday = days - (days + 3) % 7 + 3  # an ISO week belongs to the year of its Thursday
        found = (thursday - _first_day(thursday, "Y")) // 7
    elif name == "day_of_month":
        found = days - _first_day(days, "M")
    elif name == "day_of_year":
        found = days - _first_day(days, "Y")
    else:
        month = days.astype("M8[D]").astype("M8[M]").astype(np.int64) % 12
        found = month if name == "month_of_year" else month // 3
    return np.asarray(found, dtype=np.int64)


def column_names(name: str, encoding: Encoding) -> tuple[str, ...]:
    """The columns of a feature: `month_of_year_sin`, `month_of_year_cos`; or `month_of_year_1` to `_11`."""
    if encoding == "cyclic":
        return f"{name}_sin", f"{name}_cos"
    return tuple(f"{name}_{value}" for value in range(1, LENGTHS[name]))


def calendar_columns(
    frequency: Frequency,
    ordinals: npt.ArrayLike,
    names: Sequence[str],
    encoding: Encoding = "cyclic",
    zone: str | None = None,
) -> tuple[tuple[str, ...], FloatArray]:
    """The columns of some features: their names, and float64 [K, *S] for ordinals of shape S.

    Raises ValueError for an unknown feature or encoding.
    """
    if encoding not in ("cyclic", "one_hot"):
        raise ValueError(f"got encoding {encoding!r}; expected cyclic or one_hot")
    periods = np.asarray(ordinals, dtype=np.int64)
    columns: list[FloatArray] = []
    for name in names:
        values = feature_values(frequency, periods, name, zone)
        if encoding == "cyclic":
            angle = 2 * np.pi * values / LENGTHS[name]
            columns += [np.sin(angle), np.cos(angle)]
        else:
            columns += [(values == value).astype(np.float64) for value in range(1, LENGTHS[name])]
    titles = tuple(column for name in names for column in column_names(name, encoding))
    return titles, np.stack(columns) if columns else np.empty((0, *periods.shape))


def _first_day(days: Int64Array, unit: Literal["Y", "M"]) -> Int64Array:
    """The first day of the year or month of each day."""
    kind = "M8[Y]" if unit == "Y" else "M8[M]"
    return np.asarray(days.astype("M8[D]").astype(kind).astype("M8[D]").astype(np.int64), dtype=np.int64)


def _local(labels: Int64Array, zone: str) -> Int64Array:
    """UTC labels as the clock of a zone shows them."""
    import pandas as pd

    flat = pd.DatetimeIndex(labels.reshape(-1).astype("M8[us]")).tz_localize("UTC").tz_convert(ZoneInfo(zone))
    clock = flat.tz_localize(None).to_numpy().astype("M8[us]").astype(np.int64)
    return np.asarray(clock, dtype=np.int64).reshape(labels.shape)
