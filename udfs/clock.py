"""From what a source calls a time to microseconds on the grid's clock.

Without `time_zone` a time is taken as it reads: text as written (an offset such as Z is dropped), a DATE or
TIMESTAMP_NTZ as it is, a TIMESTAMP (an instant) as Spark shows it in the session's time zone. Only text read by a
`timestamp_format` that itself holds an offset is an instant, and taken in UTC.

With `time_zone` text without an offset, DATE and TIMESTAMP_NTZ are the clock of that zone, and everything else is an
instant. Hourly and finer grids are then in UTC, where a day of 25 hours has 25 points (text without an offset cannot
tell the hour that is there twice: both are the first). Daily and coarser grids keep the dates of that zone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from forecasting.frequency import DAY_US, Frequency
from udfs.errors import InputError
from udfs.grid import floor_div, from_utc, microseconds, to_utc

if TYPE_CHECKING:
    from pyspark.sql import Column

# What pandas' nanoseconds can hold: every reader of the tables can show these times. It also refuses the stand-ins for
# "no date" (0001-01-01, 9999-12-31), which would make arrays of a million missing values.
_EARLIEST_US, _LATEST_US = -9_214_560_000_000_000, 9_214_560_000_000_000  # 1678-01-01 and 2261-12-31
_OFFSET = r"(?i):\d{2}(\.\d+)?\s*(Z|UTC|GMT|[+-]\d{1,2}(:?\d{2})?|[A-Z]+(/[A-Z_]+)+)$"
_MINUTES_OFFSET = r"([T ]\d{1,2}:\d{2})\s*(Z|[+-]\d{1,2}(:?\d{2})?)$"
_PATTERN_OFFSET = re.compile(r"[XxZOVz]")


@dataclass(frozen=True)
class Clock:
    """How the times of one source are read."""

    frequency: Frequency
    zone: str | None = None
    pattern: str | None = None

    @property
    def in_utc(self) -> bool:
        """Whether the grid is in UTC."""
        return self.zone is not None and 0 < self.frequency.step_us < DAY_US

    def read(self, column: Column, kind: Any, *, nanoseconds: bool = False) -> tuple[Column, Column]:
        """Microseconds (bigint; NULL where the time is missing or cannot be read), and whether a time was skipped by
        the clocks of the zone. kind: the column's type. Raises InputError for a type that holds no time."""
        from pyspark.sql import functions as F

        wall, instant = self._parts(column, kind, nanoseconds)
        nowhere = F.lit(False)
        if self.in_utc:
            assert self.zone is not None
            placed = to_utc(wall, self.zone)
            nowhere = F.coalesce(from_utc(placed, self.zone) != wall, F.lit(False))
            wall = placed
        elif self.zone is not None:
            instant = from_utc(instant, self.zone)
        time = F.coalesce(instant, wall)
        return F.when(time.between(_EARLIEST_US, _LATEST_US), time), nowhere

    def _parts(self, column: Column, kind: Any, nanoseconds: bool) -> tuple[Column, Column]:
        """Wall clock and instant, in microseconds; one of them is NULL."""
        from pyspark.sql import functions as F
        from pyspark.sql import types as T

        nothing = F.lit(None).cast("bigint")
        if nanoseconds:
            return floor_div(column, 1000), nothing
        if isinstance(kind, T.DateType | T.TimestampNTZType):
            return microseconds(column), nothing
        if isinstance(kind, T.TimestampType):
            if self.zone is None:
                return microseconds(column.cast("timestamp_ntz")), nothing
            return nothing, F.unix_micros(column)
        if isinstance(kind, T.StringType):
            return self._text(F.trim(column))
        if isinstance(kind, T.IntegralType) and self.pattern is not None:
            return self._text(column.cast("string"))
        hint = "; set timestamp_format, such as yyyyMMdd or yyyy" if isinstance(kind, T.IntegralType) else ""
        raise InputError(f"holds {kind.simpleString()}, which is no time{hint}")

    def _text(self, text: Column) -> tuple[Column, Column]:
        from pyspark.sql import functions as F

        nothing = F.lit(None).cast("bigint")
        if self.pattern is not None:
            if _PATTERN_OFFSET.search(re.sub("'[^']*'", "", self.pattern)):
                return nothing, F.unix_micros(F.try_to_timestamp(text, F.lit(self.pattern)))
            # Read as UTC, which is the wall clock whatever the session's time zone.
            in_utc = F.try_to_timestamp(F.concat(text, F.lit(" Z")), F.lit(self.pattern + " X"))
            return F.unix_micros(in_utc), nothing
        # Spark reads a bare time of day as today's; a date always has a year of four digits in front.
        dated = F.when(text.rlike(r"^\d{4}"), text)
        # ISO 8601 allows an offset after minutes, Spark only after seconds.
        whole = F.regexp_replace(dated, _MINUTES_OFFSET, "$1:00$2")
        wall = microseconds(F.coalesce(dated.try_cast("timestamp_ntz"), whole.try_cast("timestamp_ntz")))
        if self.zone is None:
            return wall, nothing
        has_offset = dated.rlike(_OFFSET)
        return F.when(~has_offset, wall), F.when(has_offset, F.unix_micros(whole.try_cast("timestamp")))
