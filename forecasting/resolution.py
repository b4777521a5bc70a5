"""How far apart timestamps lie: the coarsest usual step whose grid, whatever its beginning, holds all of them.

A timestamp is written as small fields in one integer (`code`): second of the minute, minute modulo 5, 3 and 4, and so
on to the month. All timestamps of a series lie on a grid of a step exactly when some of these fields are the same in
all, and that shows in the bitwise AND and OR of the codes: two aggregates a series, in any order, whatever is missing
between the timestamps. So a daily series with gaps is daily, and a weekly one is weekly on whatever weekday.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.frequency import DAY_US, HOUR_US, LATEST_DAY, MINUTE_US, WEEK_US, Frequency, Int64Array

_WIDTHS = {
    "second": 6, "minute5": 3, "minute3": 2, "minute4": 2, "hour8": 3, "hour3": 2, "weekday": 3, "week4": 2,
    "day": 5, "month_end": 1, "month4": 2, "month3": 2,
}  # fmt: skip
FIELDS: dict[str, int] = {}
"""The bit at which each field of a code begins."""
for _name, _width in _WIDTHS.items():
    FIELDS[_name] = sum(_WIDTHS[known] for known in FIELDS)

LEAST_ROWS = 4
LEAST_STEPS = 3
"""A series tells its step by this many rows or more, that reach over this many steps or more."""
IRREGULAR = "irregular"
MONTH_US = 2_629_746_000_000  # a twelfth of the mean Gregorian year


@dataclass(frozen=True)
class Step:
    """A step that timestamps may have. fixed: bits that are the same in all codes. ones: bits that are 1 in all."""

    name: str
    length_us: int
    fixed: int
    ones: int = 0


def _mask(*fields: str) -> int:
    """The bits of some fields; "hour8:2" are the lowest two of a field."""
    bits = 0
    for each in fields:
        name, _, width = each.partition(":")
        bits |= (2 ** (int(width) if width else _WIDTHS[name]) - 1) << FIELDS[name]
    return bits


def _steps() -> tuple[Step, ...]:
    minute, hour = ("second",), ("second", "minute5", "minute3", "minute4")
    day = (*hour, "hour8", "hour3")
    found = [Step("min", MINUTE_US, _mask(*minute)), Step("5min", 5 * MINUTE_US, _mask(*minute, "minute5"))]
    Parts = tuple[tuple[int, tuple[str, ...]], ...]
    minutes: Parts = ((10, ("minute4:1",)), (15, ("minute3",)), (20, ("minute4",)), (30, ("minute3", "minute4:1")))
    for n, more in minutes:
        found.append(Step(f"{n}min", n * MINUTE_US, _mask(*minute, "minute5", *more)))
    found.append(Step("h", HOUR_US, _mask(*hour)))
    hours: Parts = ((2, ("hour8:1",)), (3, ("hour3",)), (4, ("hour8:2",)), (6, ("hour8:1", "hour3")), (8, ("hour8",)))
    for n, more in (*hours, (12, ("hour8:2", "hour3"))):
        found.append(Step(f"{n}h", n * HOUR_US, _mask(*hour, *more)))
    found.append(Step("D", DAY_US, _mask(*day)))
    weeks: Parts = ((1, ()), (2, ("week4:1",)), (4, ("week4",)))
    for n, more in weeks:
        found.append(Step(f"{n if n > 1 else ''}W", n * WEEK_US, _mask(*day, "weekday", *more)))
    months: tuple[tuple[str, int, tuple[str, ...]], ...] = (
        ("M", 1, ()), ("2M", 2, ("month4:1",)), ("Q", 3, ("month3",)), ("4M", 4, ("month4",)),
        ("6M", 6, ("month4:1", "month3")), ("Y", 12, ("month4", "month3")),
    )  # fmt: skip
    for name, n, more in months:
        last = _mask("month_end")
        found.append(Step(f"{name}S", n * MONTH_US, _mask(*day, "day", *more)))
        found.append(Step(f"{name}E", n * MONTH_US, _mask(*day, *more), last))
    return tuple(reversed(found))


STEPS = _steps()
"""All steps, the coarsest first."""
LENGTHS = {step.name: step.length_us for step in STEPS}


def codes(times_us: npt.ArrayLike) -> Int64Array:
    """The code of each timestamp (int64 microseconds). The Spark expression is `udfs.resolution.code`."""
    times = np.asarray(times_us, dtype=np.int64)
    second, minute, hour = times // 1_000_000, times // MINUTE_US, times // HOUR_US
    day = (times // DAY_US).astype("M8[D]")
    month = day.astype("M8[M]")
    months = month.astype(np.int64)
    values: dict[str, Any] = {
        "second": second % 60, "minute5": minute % 5, "minute3": minute % 3, "minute4": minute % 4,
        "hour8": hour % 8, "hour3": hour % 3, "weekday": day.astype(np.int64) % 7,
        "week4": (times // WEEK_US) % 4, "day": (day - month.astype("M8[D]")).astype(np.int64),
        "month_end": (day == (month + 1).astype("M8[D]") - 1).astype(np.int64),
        "month4": months % 4, "month3": months % 3,
    }  # fmt: skip
    total = np.zeros_like(times)
    for name, value in values.items():
        total |= value << FIELDS[name]
    return total


def step_of(all_and: int, all_or: int, n: int, span_us: int) -> str | None:
    """The step of a series from the AND and OR of its codes, its rows and the time between first and last.

    IRREGULAR where not even whole minutes fit; None where there is too little to tell.
    """
    if n < LEAST_ROWS:
        return None
    for step in STEPS:
        if (all_and ^ all_or) & step.fixed == 0 and all_and & step.ones == step.ones:
            return step.name if span_us >= 0.9 * LEAST_STEPS * step.length_us else None
    return IRREGULAR


def finer(name: str, grid: Frequency) -> Frequency:
    """The grid of a step. Irregular times are taken by the next finer usual period: the day under weeks and longer
    periods, the hour under days, else the minute."""
    if name != IRREGULAR:
        return Frequency.parse(name)
    coarse = grid.months > 0 or grid.step_us >= WEEK_US
    return Frequency.parse("D" if coarse else "h" if grid.step_us >= DAY_US else "min")


def is_partial(grid: Frequency, step: Frequency, time_us: int, *, last: bool) -> bool:
    """Whether the period of the last (or first) timestamp of the data lacks a whole step after (before) it."""
    if step.months:
        label = np.int64(time_us).astype("M8[us]")
        month = label.astype("M8[M]")
        day = int((label.astype("M8[D]") - month.astype("M8[D]")).astype(int)) + 1
        day = 1 if step.month_end else min(day, LATEST_DAY)
        phase = (int(month.astype(int)) + step.month_end) % step.months
        own = Frequency(0, step.months, phase, step.month_end, day=day)
    else:
        own = Frequency(step.step_us, 0, time_us % step.step_us)
    nearby = int(own.labels(own.ordinals([time_us]) + (1 if last else -1))[0])
    here, there = grid.ordinals([time_us, nearby])
    return bool(here == there)


__all__ = ["FIELDS", "IRREGULAR", "LENGTHS", "STEPS", "Step", "codes", "finer", "is_partial", "step_of"]
