"""Where periods begin, which of them count, and what is asked of the timestamps: sections of the config."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from forecasting.frequency import Frequency, FrequencyError
from udfs.config.sources import Section

Weekday = Annotated[
    Literal["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"],
    BeforeValidator(lambda v: v.strip()[:3].upper() if isinstance(v, str) else v),
]
_MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER".split()


def _month(value: object) -> object:
    """A month by its number, or by its name in English, from three letters on."""
    if isinstance(value, str) and len(value) > 2:
        return next((i + 1 for i, name in enumerate(_MONTHS) if name.startswith(value.strip().upper())), value)
    return value


class TimeAlignment(Section):
    """Where the periods of the grid begin, as Amazon Forecast's time alignment boundary. What is not given begins
    where the frequency says: days at 0, weeks on Monday, months on day 1, years in January."""

    hour: int | None = Field(default=None, ge=0, le=23)
    """Hour at which days (or weeks, then from Monday unless told, or periods of several hours) begin."""
    day_of_week: Weekday | None = None
    """Weekday on which weeks begin."""
    day_of_month: int | None = Field(default=None, ge=1, le=28)
    """Day on which months, quarters and years begin."""
    month: Annotated[int, BeforeValidator(_month), Field(ge=1, le=12)] | None = None
    """Month in which years (or a quarter, or a period of 2, 4 or 6 months) begin: a number or a name."""

    @property
    def nothing(self) -> bool:
        """Whether nothing is moved."""
        return all(value is None for value in vars(self).values())

    def of(self, frequency: Frequency) -> Frequency:
        """The frequency that begins so. Raises FrequencyError where it cannot."""
        if self.nothing:
            return frequency
        return frequency.begun(hour=self.hour, weekday=self.day_of_week, day=self.day_of_month, month=self.month)


class PartialPeriods(Section):
    """What becomes of the first and the last period of the data where the raw timestamps show that a part of it is
    missing, such as a last week of three days. keep: they are periods like others. drop: no series has them, until the
    rest of the period has come. A period is partial where a whole step of the data (the step that most series have)
    fits into it after the last timestamp of all, or before the first one."""

    first: Literal["keep", "drop"] = "keep"
    """The period of the earliest timestamp of the target."""
    last: Literal["keep", "drop"] = "keep"
    """The period of the latest timestamp of the target."""

    @property
    def drops(self) -> bool:
        """Whether any is dropped."""
        return "drop" in (self.first, self.last)


class FrequencyCheck(Section):
    """The frequency held against the timestamps of the target: each series' step is the coarsest usual one on whose
    grid all of its timestamps lie. Steps finer than the frequency are aggregated, and said so."""

    min_share: float = Field(default=0.9, ge=0, le=1)
    """The least share of series, of those with 4 rows or more, whose step is the frequency's or finer."""
    otherwise: Literal["warn", "error", "ignore"] = "warn"
    """When fewer do: a note in the report, an error that leaves the lake as it was, or nothing."""


def alignment_problems(frequency: str, alignment: TimeAlignment) -> Iterator[str]:
    """An alignment that the frequency cannot have, or that it has in its own spelling."""
    if alignment.nothing:
        return
    if any(mark in frequency for mark in "-@"):
        yield f"time_alignment: frequency {frequency!r} says itself where periods begin; say it in one place"
        return
    try:
        alignment.of(Frequency.parse(frequency))
    except FrequencyError as error:
        yield f"time_alignment: {error}"


__all__ = ["FrequencyCheck", "PartialPeriods", "TimeAlignment", "Weekday", "alignment_problems"]
