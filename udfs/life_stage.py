"""What a stage reads of the life of items, and what it tells its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from udfs.grid import period_ordinal
from udfs.inheritance import INHERITED
from udfs.layout import quoted
from udfs.life_dates import date_ordinal
from udfs.living import END, SEGMENT, START, LifeSpec
from udfs.phase_out import learnt_curves
from udfs.pieces import joined_pieces
from udfs.segments import segment_name

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

    from udfs.config import Config
    from udfs.lake import Lake
    from udfs.spec import Stage
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
    found = [
        date_ordinal(F.col("metadata")[name], frequency, zone).alias(column)
        for column, name in dates.items()
        if name is not None
    ]
    fades = life.end_date is not None and life.phase_out is not None
    return [*found, segment_name(source.config).alias(SEGMENT)] if fades else found


def life_spec(stage: Stage, source: StageInput, plan: RunPlan) -> LifeSpec | None:
    """What the tasks need to know; None where nothing ends. Backtests know dates and silence; the decline before an
    end is of the stage forecast alone."""
    life = LifeSpec.of(source.config, Frequency.parse(plan.frequency).season_length)
    if life is None or stage != "forecast":
        return life
    return replace(life, curves=learnt_curves(source, plan))


def with_inherited(rows: DataFrame, source: StageInput, plan: RunPlan, buckets: Sequence[int]) -> DataFrame:
    """Rows for the tasks with INHERITED: the histories of what each series replaced, nearest first; NULL for none."""
    from pyspark.sql import functions as F

    if source.config.lifecycle.successors is None or plan.successors is None:
        return rows
    lake, related = source.lake, list(source.related)
    key, dimensions = list(lake.layout.key), list(lake.layout.dimensions)
    frequency = Frequency.parse(plan.frequency)
    links = lake.read("successors", plan.successors).where(F.col("bucket").isin([int(b) for b in buckets]))
    links = links.select(
        *key, "position", "predecessor", "scale", "scale_periods",
        period_ordinal(frequency, F.col("switch_date")).alias("until"),
    )  # fmt: skip
    items = links.select(F.col("predecessor").alias("item_id"), *dimensions).distinct()
    old = joined_pieces(lake.read("series", source.version).join(items, key, "left_semi"), key, related)
    old = old.select(
        F.col("item_id").alias("predecessor"), *dimensions, "start", "target", *(quoted(r) for r in related)
    )
    piece = F.struct("position", "scale", "scale_periods", "until", "start", "target", *(quoted(r) for r in related))
    inherited = links.join(old, ["predecessor", *dimensions]).groupBy(*key)
    column = F.sort_array(F.collect_list(piece)).alias(INHERITED)
    return rows.join(inherited.agg(column), key, "left")


def successors_version(lake: Lake, config: Config) -> int | None:
    """The version of `successors` that a new run reads; None where nothing is linked."""
    if config.lifecycle.successors is None or not lake.exists("successors"):
        return None
    return lake.version("successors")
