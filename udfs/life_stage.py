"""What a stage reads of the life of items, and what it tells its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from udfs.life_dates import date_ordinal
from udfs.living import END, START, LifeSpec

if TYPE_CHECKING:
    from pyspark.sql import Column

    from udfs.stage import StageInput
    from udfs.work import RunPlan


def life_columns(source: StageInput, plan: RunPlan) -> list[Column]:
    """Over rows of `series` with their metadata: the first and the last period of each item's life."""
    from pyspark.sql import functions as F

    life, zone = source.config.lifecycle, source.config.time_zone
    if life.zero_after == "never":
        return []
    dates = {START: life.start_date, END: life.end_date}
    frequency = Frequency.parse(plan.frequency)
    return [
        date_ordinal(F.col("metadata")[name], frequency, zone).alias(column)
        for column, name in dates.items()
        if name is not None
    ]


def life_spec(source: StageInput, plan: RunPlan) -> LifeSpec | None:
    """What the tasks need to know; None where nothing ends."""
    config = source.config
    life = config.lifecycle
    # A series that is forecast from its own last point is not silent, unless zeros at its end are silence.
    by_silence = life.zero_after == "ended" and (config.forecast_start == "global" or life.zero_is_silence)
    if not by_silence and (life.zero_after == "never" or not life.dates):
        return None
    season = Frequency.parse(plan.frequency).season_length
    return LifeSpec(life.rule, season, by_silence, life.score_ended)
