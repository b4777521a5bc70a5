"""Which segment a series belongs to: series among which models compete and weights are learnt."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from udfs.config import Config
from udfs.config.segments import DEMAND_CLASS
from udfs.config.sources import Matching
from udfs.lake import Lake
from udfs.pieces import latest

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

EVERYTHING = "all"
"""The one segment of a config that cuts nothing."""
REST = "other"
"""Of `segments`: the series that none matches."""


def series_column(name: str, attributes: Collection[str]) -> Column:
    """A key or metadata column of rows of `series`, or what a series is known for. attributes: metadata columns."""
    from pyspark.sql import functions as F

    if name == DEMAND_CLASS:
        return F.col("profile")[name]
    return F.col("metadata")[name] if name in attributes else F.col(name)


def first_match(groups: Sequence[Matching], attributes: Collection[str]) -> Column:
    """The position of the first of some groups whose conditions a row of `series` meets; behind the last for none."""
    from pyspark.sql import functions as F

    branch: Any = F
    for position, group in enumerate(groups):
        matches = F.lit(True)
        for column, values in group.conditions.items():
            matches = matches & series_column(column, attributes).isin(list(values))
        branch = branch.when(F.coalesce(matches, F.lit(False)), position)
    chosen: Column = branch.otherwise(len(groups)) if groups else F.lit(0)
    return chosen


def segment_column(config: Config) -> Column:
    """The position of a series' segment in `competing_models`: the first that matches."""
    return first_match(config.segments, config.data.attributes)


def segment_name(config: Config) -> Column:
    """The name of a series' segment, over rows of `series`: its place in `segments`, then what it has in the columns
    of `selection.segment_by`."""
    from pyspark.sql import functions as F

    parts: list[Column] = []
    if config.segments:
        names = F.array(*(F.lit(segment.name) for segment in config.segments), F.lit(REST))
        parts.append(F.get(names, segment_column(config)))
    for name in config.selection.segment_by:
        parts.append(F.coalesce(series_column(name, config.data.attributes), F.lit("")))
    return F.concat_ws("/", *parts) if parts else F.lit(EVERYTHING)


def with_segment(lake: Lake, rows: DataFrame, config: Config, version: int | None) -> DataFrame:
    """Rows that have the key columns, with the column `segment`."""
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    if not config.segments and not config.selection.segment_by:
        return rows.withColumn("segment", F.lit(EVERYTHING))
    named = latest(lake.read("series", version), key).select(*key, segment_name(config).alias("name"))
    return rows.join(named.withColumnRenamed("name", "segment"), key, "left").fillna(REST, ["segment"])
