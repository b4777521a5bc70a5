"""The time grid: one frequency type that reads the spellings of pandas, Amazon Forecast and ISO 8601.

A series lives on a grid of periods. A period has an *ordinal* (int64, consecutive integers) and a *label*, the
timestamp written to tables (int64 microseconds since 1970-01-01, naive). Models only ever see ordinals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Int64Array = npt.NDArray[np.int64]

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US
WEEK_US = 7 * DAY_US
_MONDAY_US = 4 * DAY_US  # 1970-01-05 was a Monday

_WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FIXED_UNITS = {"min": MINUTE_US, "T": MINUTE_US, "h": HOUR_US, "H": HOUR_US, "D": DAY_US, "W": WEEK_US}
_MONTH_UNITS = {"M": 1, "Q": 3, "Y": 12, "A": 12}
_PATTERN = re.compile(r"(\d*)(min|T|h|H|D|W|M|Q|Y|A)(S|E)?(?:-([A-Z]{3}))?(?:@(.+))?")
_ISO = re.compile(r"P(?:(\d+)([YMWD])|T(\d+)([HM]))")
_EXAMPLES = "15min, h, D, W, W-THU, MS, ME, QS, YS, 2W, PT30M, P1D"
_DAY_ONLY = re.compile(r"\d{1,2}")
LATEST_DAY = 28
"""The last day of the month that every month has."""


class FrequencyError(ValueError):
    """A frequency that cannot be read, or a label that is not on the grid."""


@dataclass(frozen=True)
class Frequency:
    """A regular grid of periods.

    Fixed grids (minutes to weeks) have `step_us > 0`; calendar grids have `months > 0`. `origin` is the label of
    ordinal 0 in microseconds (fixed), or the month (0 = January 1970) that ordinal 0 starts in (calendar).
    `month_end` puts a calendar period's label on its last day; `day` is the day of the month, 1 to 28, on which a
    calendar period begins and that its label has. `anchored` is False where the spelling left the phase
    open ("W", "2D"): `aligned_to` then takes it from the data, so that labels already on a grid stay as they are.
    """

    step_us: int
    months: int
    origin: int
    month_end: bool = False
    anchored: bool = True
    day: int = 1

    @classmethod
    def parse(cls, text: str | Frequency) -> Frequency:
        """Read "D", "W-THU", "MS", "3M", "15min", "PT1H", …; raises FrequencyError with the accepted forms."""
        if isinstance(text, Frequency):
            return text
        spelled = text.strip()
        if iso := _ISO.fullmatch(spelled):
            count, unit = (iso[1], iso[2]) if iso[2] else (iso[3], {"H": "h", "M": "min"}[iso[4]])
            return cls._build(spelled, int(count), unit, None, None, None)
        match = _PATTERN.fullmatch(spelled)
        if match is None:
            raise FrequencyError(f"frequency {text!r} is not known; write it like one of {_EXAMPLES}")
        return cls._build(spelled, int(match[1] or 1), match[2], match[3], match[4], match[5])

    @classmethod
    def _build(
        cls, spelled: str, count: int, unit: str, edge: str | None, anchor: str | None, origin: str | None
    ) -> Frequency:
        if count < 1:
            raise FrequencyError(f"frequency {spelled!r} has a multiple of {count}; it must be at least 1")
        if unit in _FIXED_UNITS:
            if edge is not None or (anchor is not None and (unit != "W" or anchor not in _WEEKDAYS)):
                raise FrequencyError(f"frequency {spelled!r} is not known; write it like one of {_EXAMPLES}")
            step = count * _FIXED_UNITS[unit]
            start = _MONDAY_US if step % WEEK_US == 0 else 0
            if anchor is not None:
                start = (start + _WEEKDAYS.index(anchor) * DAY_US) % WEEK_US
            if origin is not None:
                start = _since_1970(spelled, origin, "us") % step
            open_phase = origin is None and (count > 1 or (unit == "W" and anchor is None)) and step >= DAY_US
            return cls(step_us=step, months=0, origin=start % step, anchored=not open_phase)
        if anchor is not None and (unit == "M" or anchor not in _MONTHS):
            raise FrequencyError(f"frequency {spelled!r} is not known; write it like one of {_EXAMPLES}")
        months = count * _MONTH_UNITS[unit]
        phase = 0 if anchor is None else _MONTHS.index(anchor)
        if edge != "S" and anchor is not None:
            phase += 1  # QE-DEC and Q-DEC name the last month of a period, QS-JAN the first
        day = 1
        if origin is not None and _DAY_ONLY.fullmatch(origin):
            day, origin = int(origin), None
        elif origin is not None:
            phase = _since_1970(spelled, origin, "M")
            day = 1 + (_since_1970(spelled, origin, "D") - int(np.datetime64(phase, "M").astype("M8[D]").astype(int)))
        if not 1 <= day <= (1 if edge == "E" else LATEST_DAY):
            raise FrequencyError(
                f"frequency {spelled!r} begins on day {day}; a period of months begins on day 1 to {LATEST_DAY}, and "
                "one that is labelled by its last day (ME) on day 1"
            )
        open_phase = origin is None and anchor is None and months > 1
        return cls(0, months, phase % months, month_end=edge == "E", anchored=not open_phase, day=day)

    def begun(
        self, *, hour: int | None = None, weekday: str | None = None, day: int | None = None, month: int | None = None
    ) -> Frequency:
        """The same periods with another beginning (Amazon Forecast's time alignment boundary).

        hour: of the day, 0 to 23, for periods longer than an hour up to weeks. weekday: MON to SUN, for weeks. day: of
        the month, 1 to 28, and month: 1 to 12, the first one of a period, for quarters, years and other periods of
        months. Raises FrequencyError where the frequency cannot begin so.
        """
        wrong = []
        if weekday is not None and (not self.step_us or self.step_us % WEEK_US):
            wrong.append("day_of_week needs a frequency of weeks")
        if hour is not None and (not self.step_us or self.step_us <= HOUR_US or self.step_us % HOUR_US):
            wrong.append("hour needs a frequency of days or weeks, or of several hours")
        if day is not None and (not self.months or self.month_end):
            wrong.append("day_of_month needs a frequency of months, quarters or years that is labelled by its start")
        if month is not None and (self.months < 2 or 12 % self.months):
            wrong.append("month needs a frequency of years, quarters or 2, 4 or 6 months")
        if wrong:
            raise FrequencyError(f"frequency {self.name!r}: {'; '.join(wrong)}")
        if self.months:
            origin = self.origin if month is None else (month - 1) % self.months
            return replace(
                self, origin=origin, day=self.day if day is None else day, anchored=self.anchored or month is not None
            )
        begin = self.origin // DAY_US * DAY_US
        if weekday is not None:
            begin = (_MONDAY_US + _WEEKDAYS.index(weekday) * DAY_US) % WEEK_US
        begin += self.origin % DAY_US if hour is None else hour * HOUR_US
        return replace(self, origin=begin % self.step_us, anchored=True)

    def aligned_to(self, label_us: int) -> Frequency:
        """The same frequency with its phase taken from a label of the data; unchanged when already anchored."""
        if self.anchored:
            return self
        if self.step_us:
            return replace(self, origin=int(label_us) % self.step_us, anchored=True)
        month = int(np.int64(label_us - (self.day - 1) * DAY_US).astype("M8[us]").astype("M8[M]").astype(np.int64))
        return replace(self, origin=(month + self.month_end) % self.months, anchored=True)

    def ordinals(self, labels_us: npt.ArrayLike) -> Int64Array:
        """The period that each timestamp (int64 microseconds) falls in: its start is at or before the timestamp."""
        labels = np.asarray(labels_us, dtype=np.int64)
        if self.step_us:
            return (labels - self.origin) // self.step_us
        # A day before the day that periods begin on lies in the month before: every month has 28 days or more.
        month = (labels - (self.day - 1) * DAY_US).astype("M8[us]").astype("M8[M]").astype(np.int64)
        return np.asarray((month - self.origin) // self.months, dtype=np.int64)

    def labels(self, ordinals: npt.ArrayLike) -> Int64Array:
        """The label of each period in int64 microseconds."""
        index = np.asarray(ordinals, dtype=np.int64)
        if self.step_us:
            return index * self.step_us + self.origin
        month = index * self.months + self.origin
        if not self.month_end:
            return np.asarray(month.astype("M8[M]").astype("M8[us]").astype(np.int64) + (self.day - 1) * DAY_US)
        following = (month + self.months).astype("M8[M]").astype("M8[us]").astype(np.int64)
        return np.asarray(following - DAY_US, dtype=np.int64)

    @property
    def season_length(self) -> int:
        """Periods in the default season: a day below one day, a week of days, a year of weeks, months or quarters.

        1 where no whole number of periods makes the season. Minutes and hours take the day, not the hour that the
        original service took (its documentation, section ARIMA), because load and traffic repeat daily.
        """
        if self.months:
            return 12 // self.months if 12 % self.months == 0 else 1
        if self.step_us < DAY_US:
            return DAY_US // self.step_us if DAY_US % self.step_us == 0 else 1
        if self.step_us < WEEK_US:
            return 7 if self.step_us == DAY_US else 1
        weeks, rest = divmod(self.step_us, WEEK_US)
        return 52 // weeks if rest == 0 and 52 % weeks == 0 else 1

    @property
    def season_lengths(self) -> tuple[int, ...]:
        """Periods in every season that such data usually have, shortest first: day and week below one day, week and
        year for days (a year of 365), a year of weeks, months or quarters; empty where there is none."""
        lengths = [self.season_length]
        if self.step_us and self.step_us < DAY_US and WEEK_US % self.step_us == 0:
            lengths.append(WEEK_US // self.step_us)
        if self.step_us == DAY_US:
            lengths.append(365)
        return tuple(length for length in lengths if length > 1)

    @property
    def name(self) -> str:
        """The canonical spelling; `Frequency.parse(f.name) == f`."""
        if self.months:
            return self._calendar_name()
        for unit, size in (("W", WEEK_US), ("D", DAY_US), ("h", HOUR_US), ("min", MINUTE_US)):
            if self.step_us % size:
                continue
            count = self.step_us // size
            spelled = f"{count if count > 1 else ''}{unit}"
            if not self.anchored:
                if count == 1 and unit != "W":
                    continue  # "24h" leaves the hour open, "D" does not
                weekday = (self.origin - _MONDAY_US) % WEEK_US // DAY_US
                return f"{spelled}-{_WEEKDAYS[weekday]}" if unit == "W" and weekday else spelled
            if unit == "W" and count == 1 and self.origin % DAY_US == 0:
                return f"W-{_WEEKDAYS[(self.origin - _MONDAY_US) % WEEK_US // DAY_US]}"
            default_origin = Frequency.parse(spelled)
            if default_origin.anchored and default_origin.origin == self.origin:
                return spelled
            return f"{spelled}@{np.datetime64(self.origin, 'us').astype('M8[m]')}"
        raise FrequencyError(f"a step of {self.step_us} microseconds is not a whole number of minutes")

    def _calendar_name(self) -> str:
        edge = "E" if self.month_end else "S"
        unit = {1: "M", 3: "Q", 12: "Y"}.get(self.months)
        begin = f"@{self.day:02d}" if self.day > 1 else ""
        if unit is None:
            spelled = f"{self.months}M{edge}"
            later = f"-{self.day:02d}" if self.day > 1 else ""
            return spelled + begin if not self.anchored else f"{spelled}@{np.datetime64(self.origin, 'M')}{later}"
        if unit == "M" or not self.anchored:
            return f"{unit}{edge}{begin}"
        month = (self.origin - 1) % 12 if self.month_end else self.origin
        return f"{unit}{edge}-{_MONTHS[month]}{begin}"

    def __str__(self) -> str:
        return self.name


def _since_1970(spelled: str, origin: str, unit: Literal["us", "M", "D"]) -> int:
    try:
        return int(np.datetime64(origin, unit).astype(np.int64))
    except ValueError as error:
        raise FrequencyError(f"frequency {spelled!r} has the origin {origin!r}, which is not a date") from error


def to_microseconds(timestamps: npt.ArrayLike) -> Int64Array:
    """Timestamps of any numpy-readable kind (strings, datetime64, datetime) as int64 microseconds, naive."""
    return np.asarray(np.asarray(timestamps).astype("M8[us]").astype(np.int64), dtype=np.int64)
