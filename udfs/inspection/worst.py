"""The series that stick out: the most of each kind by their profile, and the strongest abrupt changes, with values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.demand import CV2_CUT
from forecasting.frequency import Frequency, to_microseconds
from udfs.arrow import list_buffers, ragged_lists
from udfs.grid import period_ordinal
from udfs.inspection.overview import SHOWN, Extent, name_column
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.pieces import joined_pieces

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

POINTS = 300
"""Points of a picture at most: of a longer history the lowest and highest value of as many stretches."""


@dataclass(frozen=True)
class Picture:
    """A series as it is drawn. start: ordinal of its first period. n: periods. low, high: the lowest and highest
    value of each of equal stretches of its history (the same where a stretch is a period); NaN where none is known."""

    start: int
    n: int
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Standout:
    """A series that sticks out. kind: why. value: by how much, in the kind's own unit. mark: the ordinal of the event,
    where it is one. end: the event's last period. size: of the event, in the unit of the target."""

    kind: str
    name: str
    value: float
    picture: Picture
    mark: int | None = None
    until: int | None = None
    size: float | None = None


def standouts(
    lake: Lake, series: DataFrame, extent: Extent, run_id: str | None, *, silence: bool
) -> tuple[Standout, ...]:
    """SHOWN of each kind, ties by key. series: `series_facts`. run_id: the run whose events are asked. silence:
    whether a series that ends early is silent."""
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    grid = Frequency.parse(lake.identity().frequency)
    nothing = F.lit(None).cast("bigint")
    tops = []
    for kind, (value, asked) in _kinds(grid, extent, silence).items():
        ascending = kind == "shortest"
        rows = series.where(asked).withColumn("value", value.cast("double"))
        best = rows.orderBy(F.asc("value") if ascending else F.desc("value"), *map(quoted, key)).limit(SHOWN)
        tops.append(
            best.select(
                F.lit(kind).alias("kind"), "value", *map(quoted, key), "bucket",
                nothing.alias("mark"), nothing.alias("until"), F.lit(None).cast("double").alias("size"),
            )
        )  # fmt: skip
    if run_id is not None:
        tops += _events(lake, grid, run_id)
    found = reduce(lambda a, b: a.unionByName(b), tops).select("*", name_column(key).alias("name")).collect()
    pictures = _pictures(lake, key, {(*(r[k] for k in key), r["bucket"]) for r in found}, extent)
    order = [*_kinds(grid, extent, silence), *EVENTS]
    found.sort(
        key=lambda r: (order.index(r["kind"]), r["value"] * (1 if r["kind"] == "shortest" else -1), _key(r, key))
    )
    return tuple(
        Standout(r["kind"], r["name"], r["value"], pictures[_key(r, key)], r["mark"], r["until"], r["size"])
        for r in found
        if _key(r, key) in pictures
    )  # fmt: skip


EVENTS = ("level_shift", "surge", "outlier")


def _key(row: Any, key: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[k] for k in key)


def _kinds(grid: Frequency, extent: Extent, silence: bool) -> dict[str, tuple[Column, Column]]:
    """Kind -> its number and the series that have it, over `series_facts`."""
    from pyspark.sql import functions as F

    n_obs, n_missing, n_zero, cv2 = (F.col(c) for c in ("n_obs", "n_missing", "n_zero", "cv2"))
    some = n_obs > 0
    quiet = F.lit(extent.end) - period_ordinal(grid, F.col("last_observed"))
    found = {
        "largest": (F.abs("mean") * n_obs, some & (F.col("mean") != 0)),
        "missing": (n_missing / (n_obs + n_missing), some & (n_missing > 0)),
        "silent": (quiet, some & (quiet > 0)),
        "zeros": (n_zero / n_obs, some & (n_zero > 0)),
        "erratic": (cv2, some & (cv2 > CV2_CUT)),
        "shortest": (n_obs, some),
    }
    return {kind: what for kind, what in found.items() if silence or kind != "silent"}


def _events(lake: Lake, grid: Frequency, run_id: str) -> list[DataFrame]:
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    rows = lake.read("events").where(F.col("run_id") == run_id)
    return [
        rows.where(F.col("kind") == kind)
        .orderBy(F.desc("score"), *map(quoted, key), "timestamp")
        .limit(SHOWN)
        .select(
            "kind",
            F.col("score").alias("value"),
            *map(quoted, key),
            "bucket",
            period_ordinal(grid, F.col("timestamp")).alias("mark"),
            period_ordinal(grid, F.col("until")).alias("until"),
            "size",
        )
        for kind in EVENTS
    ]


def _pictures(lake: Lake, key: Sequence[str], wanted: set[Any], extent: Extent) -> dict[tuple[str, ...], Picture]:
    """The values of some series, by key; their buckets alone are read."""
    from pyspark.sql import functions as F

    if not wanted:
        return {}
    ddl = ", ".join(f"{quoted(k)} string" for k in key)
    keys = lake.spark.createDataFrame(sorted(each[:-1] for each in wanted), ddl)
    rows = lake.read("series").where(F.col("bucket").isin(sorted({each[-1] for each in wanted})))
    rows = rows.join(F.broadcast(keys), list(key), "left_semi")
    rows = joined_pieces(rows, key, []) if extent.pieces else rows.select(*map(quoted, key), "start", "target")
    lists = "start timestamp_ntz, n int, low array<double>, high array<double>"
    grid = Frequency.parse(lake.identity().frequency)
    found = {}
    for row in rows.mapInArrow(_drawn(tuple(key)), f"{ddl}, {lists}").collect():
        start = int(grid.ordinals(to_microseconds([row["start"]]))[0])
        found[_key(row, key)] = Picture(start, int(row["n"]), tuple(row["low"]), tuple(row["high"]))
    return found


def _drawn(key: tuple[str, ...]) -> Any:
    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            values, offsets = list_buffers(batch.column("target"))
            ends = [stretches(values[a:b]) for a, b in pairwise(offsets)]
            columns = {name: batch.column(name) for name in (*key, "start")}
            columns["n"] = pa.array(np.diff(offsets).astype(np.int32))
            bounds = np.concatenate(([0], np.cumsum([len(low) for low, _ in ends]))).astype(np.int64)
            for side, name in enumerate(("low", "high")):
                flat = np.concatenate([np.zeros(0), *(each[side] for each in ends)])
                columns[name] = ragged_lists(flat, bounds)
            yield pa.RecordBatch.from_pydict(columns)

    return run


def stretches(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Any, Any]:
    """The lowest and highest known value of each of at most POINTS stretches of equal length, NaN where none is."""
    each = -(-len(values) // POINTS) if len(values) else 1
    padded = np.full(-(-len(values) // each) * each, np.nan)
    padded[: len(values)] = values
    table = padded.reshape(-1, each)
    none = np.isnan(table).all(axis=1)
    low = np.where(none, np.nan, np.where(np.isnan(table), np.inf, table).min(axis=1, initial=np.inf))
    high = np.where(none, np.nan, np.where(np.isnan(table), -np.inf, table).max(axis=1, initial=-np.inf))
    return low, high


__all__ = ["EVENTS", "POINTS", "Picture", "Standout", "standouts", "stretches"]
