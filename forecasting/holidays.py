"""Calendars: holiday dates by name as columns on a time grid, with windows before and after.

A calendar is kept sparse, since it travels to every worker and most days are ordinary; `HolidayCalendar.of` makes the
dense `Holidays` of a batch. A day k after "Easter" is a column of its own, "Easter_+1" (before: "Easter_-1"), as in
Taylor and Letham (2018), section 3.3, so that the day before and the day after may have effects of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, Holidays, read_only
from forecasting.frequency import DAY_US, Frequency, Int64Array, to_microseconds

Dates = Mapping[str, Sequence[date]]
"""Holiday name -> its dates."""
Window = tuple[int, int]
"""How many days (or longer periods) before and after a holiday have columns of their own."""

_EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


@dataclass(frozen=True)
class HolidayCalendar:
    """The holidays of groups of series on one grid.

    names: K columns. base: K, the holiday of each. first, periods: the first ordinal, and how many from there.
    entries: int64 [E, 3], group, period from `first`, column. counts: float64 [E], holiday days in that period. All
    else is 0. groups: G names, such as countries.
    """

    names: tuple[str, ...]
    base: tuple[str, ...]
    first: int
    periods: int
    entries: Int64Array
    counts: FloatArray
    groups: tuple[str, ...] = ("",)

    @cached_property
    def values(self) -> FloatArray:
        """float64 [G, T, K], read-only."""
        dense = np.zeros((len(self.groups), self.periods, len(self.names)))
        dense[tuple(self.entries.T)] = self.counts
        return read_only(dense)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "values"}

    def of(self, group: npt.ArrayLike) -> Holidays:
        """For a batch. group: int [N], the position of each series' calendar in `groups`, -1 for none."""
        return Holidays(self.names, self.base, self.first, self.values, read_only(np.asarray(group, dtype=np.int64)))


def column_name(holiday: str, shift: int) -> str:
    """The column of the period `shift` after a holiday: "Easter_-1", "Easter", "Easter_+1"."""
    return f"{holiday}_{shift:+d}" if shift else holiday


def holiday_calendar(
    dates: Mapping[str, Dates],
    frequency: Frequency,
    first: int,
    last: int,
    *,
    windows: Mapping[str, Window] | None = None,
    default_window: Window = (0, 0),
    zone: str | None = None,
) -> HolidayCalendar:
    """The columns of every group's holidays over the ordinals `first` to `last`.

    dates: group -> holiday -> dates. windows: holiday -> periods before and after, where they differ from the default;
    days on a grid of days or finer, periods of the grid else. zone: where the labels of a grid finer than a day are in
    UTC, the time zone whose days count. A period of a day or less has 1 where its label lies in the day; a longer one
    has the number of the holiday's days in it. Columns are in order of name and shift, the same for all groups.
    Raises ValueError for a window that is not two numbers of at least 0.
    """
    spans = dict(windows or {})
    for holiday, span in (*spans.items(), ("the default", default_window)):
        if len(span) != 2 or min(span) < 0:
            raise ValueError(f"the window of {holiday} is {list(span)}; give two numbers, before and after, 0 or more")
    holidays = sorted({name for group in dates.values() for name in group})
    columns = [(h, k) for h in holidays for k in _shifts(spans.get(h, default_window))]
    place = {column: j for j, column in enumerate(columns)}
    by_day = frequency.step_us > 0 and frequency.step_us <= DAY_US
    cells: dict[tuple[int, int, int], float] = {}
    for g, group in enumerate(dates.values()):
        for holiday, on in group.items():
            days = {_plain(day) for day in on}
            for shift in _shifts(spans.get(holiday, default_window)):
                column = place[holiday, shift]
                found = _periods_of(days, shift, frequency, zone) if by_day else _counted(days, shift, frequency)
                for ordinal, count in found.items():
                    if first <= ordinal <= last:
                        cells[g, ordinal - first, column] = count
    return HolidayCalendar(
        names=tuple(column_name(*column) for column in columns),
        base=tuple(holiday for holiday, _ in columns),
        first=first,
        periods=max(last - first + 1, 0),
        entries=np.array(sorted(cells), dtype=np.int64).reshape(-1, 3),
        counts=np.array([cells[cell] for cell in sorted(cells)], dtype=np.float64),
        groups=tuple(dates),
    )


def _shifts(window: Window) -> range:
    return range(-window[0], window[1] + 1)


def _plain(day: date) -> date:
    return day.date() if isinstance(day, datetime) else day


def _periods_of(days: set[date], shift: int, frequency: Frequency, zone: str | None) -> dict[int, float]:
    """Each period whose label lies in a day, `shift` days later."""
    found: dict[int, float] = {}
    for day in days:
        begin = _midnight(day + timedelta(days=shift), frequency, zone)
        end = _midnight(day + timedelta(days=shift + 1), frequency, zone)
        low, high = frequency.ordinals([begin - 1, end - 1])
        found.update(dict.fromkeys(range(int(low) + 1, int(high) + 1), 1.0))
    return found


def _counted(days: set[date], shift: int, frequency: Frequency) -> dict[int, float]:
    """How many of the days each period holds, `shift` periods later."""
    found: dict[int, float] = {}
    for day in days:
        ordinal = int(frequency.ordinals(to_microseconds(np.datetime64(day)))) + shift
        found[ordinal] = found.get(ordinal, 0.0) + 1.0
    return found


def _midnight(day: date, frequency: Frequency, zone: str | None) -> int:
    """When a day begins, in microseconds, on the clock of the labels: days are labelled without a zone."""
    if zone is None or frequency.step_us >= DAY_US:
        return int(to_microseconds(np.datetime64(day)))
    begins = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone))
    return int((begins - _EPOCH) / timedelta(microseconds=1))


__all__ = ["Dates", "HolidayCalendar", "Window", "column_name", "holiday_calendar"]
