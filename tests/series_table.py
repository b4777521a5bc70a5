"""Lakes whose table `series` is written directly, for tests of what reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from forecasting import SeriesBatch
from forecasting.seeds import series_key
from udfs.config import Config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

START = datetime(2024, 1, 1)


def history(seed: int, length: int) -> list[float]:
    """A weekly season, noise, a few missing values."""
    rng = np.random.default_rng(seed)
    values = 50 + 10 * np.sin(np.arange(length) * 2 * np.pi / 7) + rng.normal(0, 3, length)
    values[rng.random(length) < 0.05] = np.nan
    return [float(v) for v in values]


def record(
    item: str,
    values: Sequence[float],
    start: datetime = START,
    *,
    segment: int = 0,
    demand_class: str | None = None,
    **columns: Any,
) -> dict[str, Any]:
    """A row of `series` without its bucket; columns: dimensions, `related` and `metadata` as mappings."""
    profile = {"n_obs": len(values), "n_missing": 0, "n_zero": 0, "mean": 0.0, "last_observed": start}
    profile |= {"demand_class": demand_class}
    return {
        "item_id": item, "segment": segment, "start": start, "n": len(values), "target": list(values),
        "lifecycle": "active", "profile": profile, **columns,
    }  # fmt: skip


def write_series(spark: SparkSession, config: Config, records: Sequence[Mapping[str, Any]]) -> Lake:
    """A new lake with these series; start labels must be on the grid."""
    lake = Lake.of(spark, config)
    info = lake.identify(config, config.grid.aligned_to(_microseconds(records[0]["start"])).name)
    lake.ensure("series")
    rows = (
        lake.rows("series", [dict(r) for r in records]).drop("bucket").withColumn("bucket", lake.bucket(info.buckets))
    )
    lake.replace("series", rows, {})
    return lake


def local_batch(config: Config, records: Sequence[Mapping[str, Any]]) -> SeriesBatch:
    """The same series for the local API."""
    return SeriesBatch.from_arrays(
        [r["target"] for r in records],
        [np.datetime64(r["start"], "us") for r in records],
        config.grid,
        keys=[series_key(*(r[k] for k in config.key)) for r in records],
    )


def _microseconds(label: datetime) -> int:
    return int(np.datetime64(label, "us").astype(np.int64))
