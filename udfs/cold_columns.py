"""The columns beside a series that items are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udfs.config import Config
from udfs.config.cold_start import ColdStart, active_cold_start, known_features

if TYPE_CHECKING:
    from pyspark.sql import Column

PREFIX = "cold:"


def feature_columns(config: Config, section: ColdStart) -> dict[str, str]:
    """Feature -> its column in the batches of a task: the key's own, or a metadata column with a prefix."""
    names = known_features(config) if section.features is None else section.features
    return {name: name if name in config.key else PREFIX + name for name in names}


def cold_columns(config: Config) -> list[Column]:
    """The metadata columns that cold start needs, over rows of `series`; none where it is off."""
    from pyspark.sql import functions as F

    section = active_cold_start(config)
    if section is None:
        return []
    columns = feature_columns(config, section)
    return [F.col("metadata")[name].alias(column) for name, column in columns.items() if column != name]
