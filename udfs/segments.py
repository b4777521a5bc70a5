"""Which segment a series belongs to: series among which models compete and weights are learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.config import Config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

EVERYTHING = "all"
"""The one segment of a config that cuts nothing."""
REST = "other"
"""Of `segments`: the series that none matches."""


def segment_name(config: Config) -> Column:
    """The name of a series' segment, over rows of `series`: its place in `segments`, then what it has in the columns
    of `selection.segment_by`."""
    from pyspark.sql import functions as F

    from udfs.stage import segment_column

    parts: list[Column] = []
    if config.segments:
        names = F.array(*(F.lit(segment.name) for segment in config.segments), F.lit(REST))
        parts.append(F.get(names, segment_column(config)))
    attributes = config.data.attributes
    for name in config.selection.segment_by:
        parts.append(F.coalesce(F.col("metadata")[name] if name in attributes else F.col(name), F.lit("")))
    return F.concat_ws("/", *parts) if parts else F.lit(EVERYTHING)


def with_segment(lake: Lake, rows: DataFrame, config: Config, version: int | None) -> DataFrame:
    """Rows that have the key columns, with the column `segment`."""
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    if not config.segments and not config.selection.segment_by:
        return rows.withColumn("segment", F.lit(EVERYTHING))
    named = lake.read("series", version).where(F.col("segment") == 0).select(*key, segment_name(config).alias("name"))
    return rows.join(named.withColumnRenamed("name", "segment"), key, "left").fillna(REST, ["segment"])
