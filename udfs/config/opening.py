"""The sections that say which periods are no observation: `opening` and `fill.mask`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, field_validator, model_validator

from forecasting.closures import Mask, OpeningHours
from forecasting.frequency import DAY_US
from udfs.config.grid import Weekday
from udfs.config.sources import Section

if TYPE_CHECKING:
    from udfs.config.schema import Config

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_SPAN = re.compile(r"\s*(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})\s*")


def _minutes(span: str) -> tuple[int, int]:
    """ "09:00-20:00" in minutes of the day."""
    match = _SPAN.fullmatch(span)
    if match is not None:
        begin, end = (60 * int(match[i]) + int(match[i + 1]) for i in (1, 3))
        if 0 <= begin < end <= 1440 and int(match[2]) < 60 and int(match[4]) < 60:
            return begin, end
    raise ValueError(f"hours {span!r} must be two times of one day, such as 09:00-20:00 or 18:00-24:00")


class Opening(Section):
    """When it is open, known in the past and in the future. Closed periods are neither missing nor zero: history there
    is not filled, not scored and not counted as missing, and their forecasts are 0, after ensembling and calibration.
    Several rules close together: a period is open where all of them leave it open."""

    weekdays: tuple[Weekday, ...] | None = None
    """Weekdays on which it is open, for frequencies of a day or finer; null: all."""
    hours: Annotated[
        dict[Weekday, str] | None,
        BeforeValidator(lambda v: dict.fromkeys(_WEEKDAYS, v) if isinstance(v, str) else v),
    ] = None
    """Open hours such as "09:00-20:00", of every day or by weekday, for frequencies finer than a day, on the clock of
    time_zone; a weekday without is open all day. A period that holds some open minute is open."""
    closed_on_holidays: bool | tuple[str, ...] = False
    """Whether it is closed on the days of `holidays`: on all of them, or on those named; windows do not count."""
    column: str | None = None
    """A related series, known in future, that is 0 in closed periods; for any frequency. Where it says nothing it is
    open."""

    @model_validator(mode="after")
    def _something(self) -> Opening:
        if self.weekdays is None and self.hours is None and not self.closed_on_holidays and self.column is None:
            raise ValueError("give weekdays, hours, closed_on_holidays or a column, or leave the section out")
        if self.weekdays is not None and not self.weekdays:
            raise ValueError("weekdays is empty: it would never be open")
        return self

    @field_validator("hours")
    @classmethod
    def _spans(cls, value: dict[str, str] | None) -> dict[str, str] | None:
        for span in (value or {}).values():
            _minutes(span)
        return value

    @property
    def by_calendar(self) -> bool:
        """Whether weekdays, hours or holidays close."""
        return self.weekdays is not None or self.hours is not None or bool(self.closed_on_holidays)

    def week(self, zone: str | None) -> OpeningHours:
        """The rules of the week."""
        return OpeningHours(
            None if self.weekdays is None else tuple(_WEEKDAYS.index(day) for day in self.weekdays),
            {_WEEKDAYS.index(day): _minutes(span) for day, span in (self.hours or {}).items()},
            zone,
        )


class MaskRule(Section):
    """When a related series says that the target of its period is no observation, such as a stock-out: at least one
    of the three. The period is then missing before anything is filled, stays missing whatever the fill rules, and is
    not scored. A period for which the series has no value is not masked."""

    missing_where: Annotated[
        tuple[float, ...], BeforeValidator(lambda v: (v,) if isinstance(v, int | float) else v)
    ] = ()
    """A value, or several, that masks."""
    missing_below: float | None = None
    """Smaller values mask, such as 1 where the series is the share of the day in stock."""
    missing_above: float | None = None
    """Larger values mask."""

    @model_validator(mode="after")
    def _something(self) -> MaskRule:
        if not self.missing_where and self.missing_below is None and self.missing_above is None:
            raise ValueError("give missing_where, missing_below or missing_above")
        return self

    def of(self, name: str) -> Mask:
        """The rule for the related series of this name."""
        return Mask(name, self.missing_where, self.missing_below, self.missing_above)


def opening_problems(config: Config) -> Iterator[str]:
    """What `opening` and `fill.mask` name and the data have not, or the frequency cannot tell."""
    related = config.data.related_columns
    for name in config.fill.mask:
        if name not in related:
            yield f"fill.mask.{name}: no such related series; there are {sorted(related) or 'none'}"
    opening = config.opening
    if opening is None:
        return
    step = config.grid.step_us
    if not 0 < step <= DAY_US and (opening.weekdays is not None or opening.closed_on_holidays):
        yield f"opening: weekdays and holidays close days, and frequency {config.frequency} is coarser; use a column"
    if not 0 < step < DAY_US and opening.hours is not None:
        yield f"opening.hours: frequency {config.frequency} is not finer than a day; leave hours out"
    if opening.closed_on_holidays and config.holidays is None:
        yield "opening.closed_on_holidays: there is no section holidays; add it, it says which days they are"
    if opening.column is not None:
        if opening.column not in related:
            yield f"opening.column: no related series {opening.column!r}; there are {sorted(related) or 'none'}"
        elif not related[opening.column].known_in_future:
            yield f"opening.column: {opening.column} must be known_in_future: forecasts depend on it"


__all__ = ["MaskRule", "Opening", "opening_problems"]
