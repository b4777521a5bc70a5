"""The time grid as Spark column expressions: what `Frequency` does with arrays, done where the rows are.

All of it counts in whole microseconds of the wall clock (or of UTC, for data with a time zone), so that nothing
depends on the session's time zone and nothing is rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.frequency import DAY_US, HOUR_US, MINUTE_US, Frequency

if TYPE_CHECKING:
    from pyspark.sql import Column


_UTC = ("UTC", "Etc/UTC", "GMT", "Z")


def floor_div(value: Column, divisor: int) -> Column:
    """Integer division towards minus infinity, exact for every bigint (a division of doubles is not)."""
    from pyspark.sql import functions as F

    return F.call_function("div", value - F.pmod(value, F.lit(divisor)), F.lit(divisor))


def microseconds(timestamp: Column) -> Column:
    """A DATE or TIMESTAMP_NTZ as bigint microseconds since 1970-01-01."""
    from pyspark.sql import SparkSession
    from pyspark.sql import functions as F

    spark = SparkSession.getActiveSession()
    if spark is not None and spark.conf.get("spark.sql.session.timeZone") in _UTC:
        return F.unix_micros(timestamp.cast("timestamp"))  # the same for a fifth of the time
    days = F.unix_date(timestamp.cast("date")).cast("bigint")
    wall = timestamp.cast("timestamp_ntz")
    seconds = F.extract(F.lit("SECOND"), wall)
    clock = F.hour(wall).cast("bigint") * HOUR_US + F.minute(wall).cast("bigint") * MINUTE_US
    return days * DAY_US + clock + (seconds * 1_000_000).cast("bigint")


def timestamp_of(microseconds: Column) -> Column:
    """bigint microseconds since 1970-01-01 as TIMESTAMP_NTZ."""
    from pyspark.sql import functions as F

    day = F.date_from_unix_date(floor_div(microseconds, DAY_US).cast("int")).cast("timestamp_ntz")
    rest = F.pmod(microseconds, F.lit(DAY_US)).cast("decimal(18,6)") / F.lit(1_000_000).cast("decimal(7,0)")
    return day + F.make_dt_interval(secs=rest.cast("decimal(18,6)"))


def months_of(microseconds: Column) -> Column:
    """The month that a time lies in, counted from January 1970."""
    from pyspark.sql import functions as F

    day = F.date_from_unix_date(floor_div(microseconds, DAY_US).cast("int"))
    return (F.year(day) - 1970) * 12 + F.month(day) - 1


def ordinal(frequency: Frequency, microseconds: Column) -> Column:
    """The period that a time lies in (bigint), as `Frequency.ordinals` counts."""
    if frequency.months:
        month = months_of(microseconds - (frequency.day - 1) * DAY_US)
        return floor_div(month.cast("bigint") - frequency.origin, frequency.months)
    return floor_div(microseconds - frequency.origin, frequency.step_us)


def label(frequency: Frequency, ordinal: Column) -> Column:
    """The label of a period (TIMESTAMP_NTZ), as `Frequency.labels` writes it."""
    from pyspark.sql import functions as F

    if not frequency.months:
        start = ordinal * frequency.step_us + frequency.origin
        if frequency.step_us % DAY_US == 0 and frequency.origin % DAY_US == 0:
            return F.date_from_unix_date(floor_div(start, DAY_US).cast("int")).cast("timestamp_ntz")
        return timestamp_of(start)
    month = (ordinal * frequency.months + frequency.origin).cast("int")
    epoch = F.lit("1970-01-01").cast("date")
    if not frequency.month_end:
        return F.date_add(F.add_months(epoch, month), frequency.day - 1).cast("timestamp_ntz")
    return F.date_sub(F.add_months(epoch, month + frequency.months), 1).cast("timestamp_ntz")


def period_label(frequency: Frequency, timestamp: Column) -> Column:
    """The label of the period that a DATE or TIMESTAMP_NTZ lies in."""
    return label(frequency, ordinal(frequency, microseconds(timestamp)))


def period_ordinal(frequency: Frequency, timestamp: Column) -> Column:
    """The ordinal of the period that a DATE or TIMESTAMP_NTZ lies in."""
    return ordinal(frequency, microseconds(timestamp))


def to_utc(wall: Column, zone: str) -> Column:
    """Microseconds on the clock of a zone as microseconds of UTC; of an hour that is twice there, the first.

    An hour that the clocks skip has no instant of its own: `from_utc` of the result then differs from `wall`.
    """
    from pyspark.sql import functions as F

    return F.unix_micros(F.to_utc_timestamp(F.timestamp_micros(wall), zone))


def from_utc(instant: Column, zone: str) -> Column:
    """Microseconds of UTC as microseconds on the clock of a zone."""
    from pyspark.sql import functions as F

    return F.unix_micros(F.from_utc_timestamp(F.timestamp_micros(instant), zone))
