"""A sample of the series that the sources hold, taken without writing anything: what a dry run measures on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from forecasting import SeriesBatch
from forecasting.frequency import Frequency
from forecasting.seeds import series_key
from udfs.check import InputRows, check, choose_frequency
from udfs.cleaning import partials
from udfs.config import Config
from udfs.lake import Lake, LakeInfo
from udfs.limits import check_limits, condition
from udfs.roles import roles_of
from udfs.sources import locate, read

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_ROW_SEPARATORS = 2
_TEXT_TIMESTAMP = 10
_TEXT_NUMBER = 6


@dataclass(frozen=True)
class Sample:
    """Some series, and how many there are.

    batch: the sampled series, packed. n_series, n_periods: of all that would be forecast. n_rows: rows of the target.
    text_bytes: the target as CSV, by the sample's keys.
    """

    batch: SeriesBatch
    n_series: int
    n_periods: int
    n_rows: int
    text_bytes: float


def sample_series(
    lake: Lake,
    config: Config,
    frames: Mapping[str, DataFrame],
    size: int,
    where: str | None = None,
    only: Sequence[str] | None = None,
) -> Sample:
    """Read and check the target as an ingest would, count its series, and bring about `size` of them to the driver.

    Series are taken by a hash of their key, so the same ones each time. Raises InputError as an ingest would, and for
    limits that name nothing.
    """
    from pyspark.sql import functions as F

    target = roles_of(config)[:1]
    located = locate(lake.spark, target, frames)
    parts = {each.role.name: frozenset(each.parts) for each in located}
    raw = [InputRows(each, parts[each.role.name], read(lake.spark, each, parts[each.role.name])) for each in located]
    info = lake.check_identity(config)
    planned = info or LakeInfo.planned(config, choose_frequency(config, raw).name)
    frequency = Frequency.parse(planned.frequency)
    checked = check(lake, config, planned, raw, parts, fresh=True)
    role, groups = checked.rows["target"]
    key = lake.layout.key
    rows = partials(groups, role, frequency, key, ())
    check_limits(rows, key, where, only)
    limit = condition(key, where, only)
    rows = rows if limit is None else rows.where(limit)
    spans = rows.groupBy(*key).agg(F.min("timestamp").alias("first"), F.max("timestamp").alias("last"))
    chance = F.pmod(F.xxhash64(*key), F.lit(1_000_000))
    totals = spans.groupBy("first", "last").agg(F.count(F.lit(1)).alias("series")).toPandas()
    n_series = int(totals["series"].sum())
    share = min(1.0, size / max(n_series, 1))
    taken = rows.where(chance < F.lit(int(np.ceil(share * 1_000_000)))).select(*key, "timestamp", "target").toPandas()
    first, last = (frequency.ordinals(_microseconds(totals[name])) for name in ("first", "last"))
    end = int(last.max()) if len(last) else 0
    common = config.forecast_start == "global"
    periods = int((((end if common else last) - first + 1) * totals["series"].to_numpy()).sum())
    n_rows = checked.counts.accepted().get("target", 0)
    return Sample(
        batch=_packed(taken, key, frequency, end if common else None),
        n_series=n_series,
        n_periods=periods,
        n_rows=n_rows,
        text_bytes=n_rows * _row_bytes(taken, key),
    )


def _microseconds(labels: pd.Series[pd.Timestamp]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return labels.to_numpy(dtype="datetime64[us]").astype(np.int64)


def _packed(rows: pd.DataFrame, key: Sequence[str], frequency: Frequency, end: int | None) -> SeriesBatch:
    """Long rows on the grid, NaN where there is none; to the common end where there is one."""
    arrays, starts, keys = [], [], []
    for parts, group in rows.groupby(list(key), sort=True):
        at = frequency.ordinals(_microseconds(group["timestamp"]))
        values = np.full((int(at.max()) if end is None else end) - int(at.min()) + 1, np.nan)
        values[at - at.min()] = group["target"].to_numpy(dtype=np.float64)
        arrays.append(values)
        starts.append(np.datetime64(int(frequency.labels(at.min())), "us"))
        keys.append(series_key(*map(str, parts)))
    return SeriesBatch.from_arrays(arrays, starts, frequency, keys=keys)


def _row_bytes(rows: pd.DataFrame, key: Sequence[str]) -> float:
    """A CSV row of the target: key, timestamp, number."""
    if rows.empty:
        return 0.0
    names = sum(rows[name].str.len().mean() for name in key)
    return float(names + len(key) + _TEXT_TIMESTAMP + _TEXT_NUMBER + _ROW_SEPARATORS)
