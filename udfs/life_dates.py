"""Start and end dates of items: text in the metadata to periods of the grid, as Spark columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from forecasting.lifecycle import ENDED
from udfs.clock import Clock
from udfs.config import Config
from udfs.grid import ordinal
from udfs.layout import quoted
from udfs.life_states import REASON

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


def date_time(text: Column, frequency: Frequency, zone: str | None) -> Column:
    """A date as microseconds on the grid's clock; NULL without one, and for stand-ins such as 9999-12-31."""
    from pyspark.sql import types as T

    return Clock(frequency, zone).read(text, T.StringType())[0]


def date_ordinal(text: Column, frequency: Frequency, zone: str | None) -> Column:
    """The period that a date lies in (bigint); NULL as `date_time`."""
    return ordinal(frequency, date_time(text, frequency, zone))


def unreadable_date(text: Column, frequency: Frequency, zone: str | None) -> Column:
    """Whether a text is there and is no date. Years that no data can have (0001, 9999) are dates that never come."""
    from pyspark.sql import functions as F

    never = F.trim(text).rlike(r"^(0001|9999)-")
    return text.isNotNull() & date_time(text, frequency, zone).isNull() & ~F.coalesce(never, F.lit(False))


def with_end_dates(rows: DataFrame, config: Config, frequency: Frequency, common_end: int) -> DataFrame:
    """Packed rows whose end date has passed are `ended`; an end in the future says nothing of the state.

    common_end: ordinal of the last period of the data, by which a date has passed; per series its own last period.
    """
    from pyspark.sql import functions as F

    name = config.lifecycle.end_date
    if name is None or name not in rows.columns:
        return rows
    text = F.col(quoted(name))
    per_series = config.forecast_start == "per_series"
    now = F.col("start_ordinal") + F.col("n") - 1 if per_series else F.lit(common_end)
    passed = F.coalesce(date_ordinal(text, frequency, config.time_zone) <= now, F.lit(False))
    reason = F.when(passed, F.concat(F.lit("end date "), text)).otherwise(F.col(REASON))
    state = F.when(passed, F.lit(ENDED)).otherwise(F.col("lifecycle"))
    return rows.withColumns({"lifecycle": state, REASON: reason})
