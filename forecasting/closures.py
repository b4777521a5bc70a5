"""What is no observation although a value may be there: closed periods, and periods that a related series masks.

Such a period is missing, whatever value it has: models do not see it, fill rules leave it alone, it is not scored. A
period that is closed by the calendar is known in advance, so its forecast is 0. Nothing here looks ahead: a mask
concerns the period in which it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, read_only
from forecasting.filling import CLOSED, MASKED
from forecasting.frequency import DAY_US, MINUTE_US, Frequency, Int64Array
from forecasting.holidays import HolidayCalendar

BoolArray = npt.NDArray[np.bool_]
MINUTES_A_DAY = 1440
_MONDAY = 3  # 1970-01-01 was a Thursday: day 0 of Monday's week is day -3
_OFFSET_STEP_US = 30 * MINUTE_US  # zones change their clocks on the half hour at the finest


@dataclass(frozen=True)
class Mask:
    """A related series that says when the target is no observation: where its value is one of `equal`, below `below`
    or above `above`. A missing value masks nothing."""

    name: str
    equal: tuple[float, ...] = ()
    below: float | None = None
    above: float | None = None

    def hides(self, values: FloatArray) -> BoolArray:
        """Of each value, whether it masks its period."""
        hidden = np.isin(values, self.equal)
        if self.below is not None:
            hidden |= values < self.below
        if self.above is not None:
            hidden |= values > self.above
        return hidden


@dataclass(frozen=True)
class OpeningHours:
    """When it is open in a week. weekdays: 0 (Monday) to 6; None: all. hours: weekday -> minutes of the day between
    which it is open; a weekday without is open all day. zone: where labels of a grid finer than a day are in UTC."""

    weekdays: tuple[int, ...] | None = None
    hours: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    zone: str | None = None

    def closed(self, frequency: Frequency, first: int, last: int) -> BoolArray:
        """Of each period from `first` to `last`, whether it is closed: bool [last - first + 1].

        The periods are a day long at most. A period is closed when its label's day is, or when no minute of it lies in
        the day's hours.
        """
        labels = frequency.labels(np.arange(first, last + 1))
        if self.zone is not None and frequency.step_us < DAY_US:
            labels = labels + _offsets(labels, self.zone)
        weekday = (labels // DAY_US + _MONDAY) % 7
        shut = np.zeros(len(labels), dtype=bool)
        if self.weekdays is not None:
            shut |= ~np.isin(weekday, self.weekdays)
        if self.hours and frequency.step_us < DAY_US:
            opens, closes = np.zeros(7, dtype=np.int64), np.full(7, MINUTES_A_DAY, dtype=np.int64)
            for day, (begin, end) in self.hours.items():
                opens[day], closes[day] = begin, end
            minute = labels % DAY_US // MINUTE_US
            shut |= (minute + frequency.step_us // MINUTE_US <= opens[weekday]) | (minute >= closes[weekday])
        return shut


def _offsets(utc_us: Int64Array, zone: str) -> Int64Array:
    """What a zone's clock is ahead of UTC at each time, microseconds."""
    steps, place = np.unique(utc_us // _OFFSET_STEP_US, return_inverse=True)
    there, epoch = ZoneInfo(zone), datetime(1970, 1, 1, tzinfo=timezone.utc)
    ahead = []
    for step in (steps * _OFFSET_STEP_US).tolist():
        offset = (epoch + timedelta(microseconds=step)).astimezone(there).utcoffset()
        assert offset is not None
        ahead.append(int(offset / timedelta(microseconds=1)))
    return np.asarray(ahead, dtype=np.int64)[place]


@dataclass(frozen=True)
class Closures:
    """The closed periods of groups of series. first: ordinal of the first period. closed: bool [G, T]; periods outside
    are open. groups: G names."""

    first: int
    closed: BoolArray
    groups: tuple[str, ...] = ("",)

    def at(self, group: Int64Array, ordinals: Int64Array) -> BoolArray:
        """Whether a period is closed. group: the position of each ordinal's calendar, of a shape that broadcasts."""
        place = ordinals - self.first
        inside = (place >= 0) & (place < self.closed.shape[1])
        found: BoolArray = self.closed[group, np.clip(place, 0, max(self.closed.shape[1] - 1, 0))] & inside
        return found


def closures(
    frequency: Frequency,
    first: int,
    last: int,
    opening: OpeningHours,
    holidays: HolidayCalendar | None = None,
    names: Collection[str] | None = None,
) -> Closures:
    """The closed periods from `first` to `last`. holidays: days that are closed too, those of `names`, None: all."""
    week = opening.closed(frequency, first, last)
    if holidays is None:
        return Closures(first, week[None])
    used = [
        k for k, (name, base) in enumerate(zip(holidays.names, holidays.base, strict=True))
        if name == base and (names is None or base in names)
    ]  # fmt: skip
    closed = np.repeat(week[None], len(holidays.groups), axis=0)
    ordinals = np.arange(first, last + 1) - holidays.first
    inside = (ordinals >= 0) & (ordinals < holidays.periods)
    closed[:, inside] |= (holidays.values[:, ordinals[inside]][:, :, used] > 0).any(axis=2)
    return Closures(first, closed, holidays.groups)


@dataclass(frozen=True)
class Observing:
    """All that says which periods are observed. column: a related series that is 0 (or less) in closed periods."""

    masks: tuple[Mask, ...] = ()
    closures: Closures | None = None
    column: str | None = None

    @property
    def nothing(self) -> bool:
        """Whether every value is an observation."""
        return not self.masks and self.closures is None and self.column is None

    @property
    def columns(self) -> tuple[str, ...]:
        """The related series that it reads."""
        return (*(mask.name for mask in self.masks), *((self.column,) if self.column is not None else ()))

    def observed(self, batch: SeriesBatch, group: Int64Array) -> SeriesBatch:
        """The batch with what is no observation missing and marked in `filled`: MASKED, or CLOSED, which goes before.

        group: int64 [N], the place of each series' calendar in `closures.groups`.
        """
        marks = np.zeros(len(batch.values), dtype=np.uint8) if batch.filled is None else batch.filled.copy()
        for mask in self.masks:
            marks[mask.hides(aligned(batch.related[mask.name], batch))] = MASKED
        if self.column is not None:
            marks[aligned(batch.related[self.column], batch) <= 0] = CLOSED
        if self.closures is not None:
            marks[self._closed_points(batch, group)] = CLOSED
        hidden = marks >= MASKED
        if not hidden.any():
            return batch
        return replace(batch, values=np.where(hidden, np.nan, batch.values), filled=read_only(marks))

    def _closed_points(self, batch: SeriesBatch, group: Int64Array) -> BoolArray:
        assert self.closures is not None
        position = np.arange(len(batch.values)) - np.repeat(batch.offsets[:-1] - batch.start, batch.lengths)
        return self.closures.at(np.repeat(group, batch.lengths), position)

    def still(self, batch: SeriesBatch, group: Int64Array) -> SeriesBatch:
        """The batch after its front was lengthened and filled: what the calendar closes is missing there too."""
        if self.closures is None:
            return batch
        return replace(self, masks=(), column=None).observed(batch, group)

    def closed_steps(
        self, batch: SeriesBatch, group: Int64Array, cutoffs: Int64Array, horizon: int
    ) -> BoolArray | None:
        """Which of the steps after each cutoff are closed, bool [N, W, H]; None where none can be.

        batch: with the related series `column`. cutoffs: int64 [N, W], ordinals. A step for which `column` says
        nothing is open.
        """
        if self.closures is None and self.column is None:
            return None
        ordinals = cutoffs[:, :, None] + 1 + np.arange(horizon)
        closed = np.zeros(ordinals.shape, dtype=bool)
        if self.closures is not None:
            closed |= self.closures.at(group[:, None, None], ordinals)
        if self.column is not None:
            column = batch.related[self.column]
            place = ordinals - batch.start[:, None, None]
            inside = (place >= 0) & (place < np.diff(column.offsets)[:, None, None])
            index = np.where(inside, column.offsets[:-1, None, None] + place, 0)
            values = column.values[index] if len(column.values) else np.full(index.shape, np.nan)
            closed |= inside & (values <= 0)
        return closed


def aligned(column: RelatedSeries, batch: SeriesBatch) -> FloatArray:
    """A related series over the periods of the target, flat like its values; NaN beyond the last known one."""
    position = np.arange(len(batch.values)) - np.repeat(batch.offsets[:-1], batch.lengths)
    there = position < np.repeat(np.diff(column.offsets), batch.lengths)
    out = np.full(len(batch.values), np.nan)
    out[there] = column.values[(np.repeat(column.offsets[:-1], batch.lengths) + position)[there]]
    return out


def marked(batch: SeriesBatch, first: Int64Array, end: Int64Array) -> Int64Array:
    """How many points between two positions of `values` are masked or closed. first, end: of any one shape."""
    if batch.filled is None:
        return np.zeros(first.shape, dtype=np.int64)
    total = np.concatenate(([0], np.cumsum(batch.filled >= MASKED)))
    return np.asarray(total[end] - total[first], dtype=np.int64)


def carried(batch: SeriesBatch) -> SeriesBatch:
    """The batch with the last open value in each closed period, for models that need whole seasons. The marks stay:
    these values count as filled and are not scored. Closed periods before the first open one stay missing."""
    if batch.filled is None or not (batch.filled == CLOSED).any():
        return batch
    known = ~np.isnan(batch.values)
    first = np.repeat(batch.offsets[:-1], batch.lengths)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(known)), -1))
    closed = (batch.filled == CLOSED) & (latest >= first)
    values = batch.values.copy()
    values[closed] = batch.values[latest[closed]]
    return replace(batch, values=values)


__all__ = ["Closures", "Mask", "Observing", "OpeningHours", "aligned", "carried", "closures", "marked"]
