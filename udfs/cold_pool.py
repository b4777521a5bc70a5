"""The donors of a run: chosen by the hash of the key over the whole lake, so that they depend on nothing else, learnt
from once by the driver and sent to all tasks. A stage without a series that could need them does none of this."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from forecasting.batch import SeriesBatch
from forecasting.cold_start import ColdModel, DonorPool, FeatureSpace, fit_cold
from forecasting.cold_start.model import level_window, season_lengths
from forecasting.evaluation.windows import BacktestPlan, window_cutoffs
from forecasting.filling import FillRules, extend, fill
from forecasting.frequency import Frequency, Int64Array
from udfs.arrow import joined_keys, list_buffers, to_series_batch
from udfs.cold import mean_between
from udfs.cold_columns import feature_columns
from udfs.config.cold_start import ColdStart, cold_below
from udfs.grid import period_ordinal
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.pieces import joined, whole_start
from udfs.runs import Run
from udfs.spec import ColdStartSpec, TaskSpec
from udfs.stage import StageInput
from udfs.work import RunPlan

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

POOL_NUMBERS = 4_000_000
"""Values that all donors keep at most, the latest ones: 32 MB."""
_SEASONS = 3
_PRICE = "#price"


@dataclass(frozen=True)
class _Reach:
    """What a donor must have. window: periods of a level. span: periods between the end and the earliest cutoff.
    enough: observations in the window. keep: latest periods that are read."""

    window: int
    span: int
    enough: int
    keep: int

    @classmethod
    def of(cls, spec: TaskSpec, below: int, donors: int) -> _Reach:
        window = level_window(season_lengths(Frequency.parse(spec.frequency)))
        span = _plan(spec).span if spec.stage == "backtest" else 0
        enough = min(window, max(below, 2 * spec.horizon))
        keep = min(_SEASONS * window + span, max(POOL_NUMBERS // donors, window + span))
        return cls(window, span, enough, keep)


def _plan(spec: TaskSpec) -> BacktestPlan:
    return BacktestPlan(spec.horizon, max(spec.windows, 1), spec.offset, spec.stride, spec.history)


def with_cold_start(spec: TaskSpec, source: StageInput, run: Run) -> TaskSpec:
    """The spec with what cold start needs, where the config wants it and some series may be short of points. A
    forecast's donors are written to `cold_pool`."""
    section = source.cold
    if section is None:
        return spec
    below = cold_below(source.config, section)
    reach = _Reach.of(spec, below, section.donors)
    if not _any_cold(source, below + reach.span):
        return spec
    rows = _donor_rows(source, run.plan, section, reach, spec)
    pool, space = _pool(rows, source, section, reach, spec, run.plan)
    models = tuple(fit_cold(pool, _grid(spec), ends, enough=reach.enough) for ends in _ends(pool, spec))
    if spec.stage == "forecast":
        _write_pool(source.lake, run.run_id, rows, models[0])
    columns = feature_columns(source.config, section)
    cold = ColdStartSpec(below, models, space, columns, section.price, section.neighbours)
    return replace(spec, cold=cold)


def _grid(spec: TaskSpec) -> Frequency:
    return Frequency.parse(spec.frequency)


def _any_cold(source: StageInput, fewer_than: int) -> bool:
    """Whether some series has fewer observations than this: what a fill rule adds is left out, so none is missed."""
    from pyspark.sql import functions as F

    rows = source.lake.read("series", source.version)
    return not rows.where(F.col("profile")["n_obs"] < fewer_than).limit(1).isEmpty()


def _donor_rows(source: StageInput, plan: RunPlan, section: ColdStart, reach: _Reach, spec: TaskSpec) -> pa.Table:
    """Key, start, size, target and price (the latest `keep` periods), features of the donors, by hash of the key."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    lake, key = source.lake, list(source.lake.layout.key)
    series = lake.read("series", source.version)
    features = feature_columns(source.config, section)
    metadata = [F.col("metadata")[name].alias(column) for name, column in features.items() if column != name]
    spans = _whole(series, key) if plan.pieces else series
    narrow = spans.where(_long_enough(plan, reach, spec)).select(*key, *metadata, F.xxhash64(*key).alias("#hash"))
    cell = [c for name, c in features.items() if c != name]
    order = Window.partitionBy(F.xxhash64(*cell) if cell else F.lit(0)).orderBy("#hash", *key)
    ranked = narrow.withColumn("#rank", F.row_number().over(order))
    chosen = ranked.orderBy("#rank", "#hash", *key).limit(section.donors).select(*key, *cell, "#hash")
    price = [section.price] if section.price is not None else []
    rows = series.join(F.broadcast(chosen.select(*key)), key, "left_semi")
    if plan.pieces:
        rows = joined(rows, key, price)
        prices = [F.col(f"related:{name}") for name in price]
    else:
        prices = [F.col(f"related.{quoted(name)}") for name in price]
    size = F.size("target")
    skipped = F.greatest(size - reach.keep, F.lit(0))

    def slice_of(column: Column) -> Column:
        return F.slice(column, skipped + 1, reach.keep)

    wide = rows.select(
        *key,
        "start",
        size.alias("#size"),
        slice_of(F.col("target")).alias("target"),
        *(slice_of(column).alias(_PRICE) for column in prices),
    )
    return _sorted(wide.join(F.broadcast(chosen), key), key)


def _whole(series: DataFrame, key: list[str]) -> DataFrame:
    """One row a series from its pieces: start, n and metadata of all of it."""
    from pyspark.sql import functions as F

    metadata = [F.max_by("metadata", "segment").alias("metadata")] if "metadata" in series.columns else []
    return series.groupBy(*key).agg(whole_start(), F.sum("n").alias("n"), *metadata)


def _sorted(rows: DataFrame, key: list[str]) -> pa.Table:
    table = rows.toArrow()
    return table.sort_by([("#hash", "ascending"), *((name, "ascending") for name in key)]).combine_chunks()


def _long_enough(plan: RunPlan, reach: _Reach, spec: TaskSpec) -> Column:
    """Whether a series began early enough to be a donor in the earliest window."""
    from pyspark.sql import functions as F

    if spec.forecast_start == "per_series":
        return F.col("n") >= reach.enough + reach.span
    begin = period_ordinal(_grid(spec), F.col("start"))
    return (F.col("n") > 0) & (begin <= plan.end - reach.span - reach.enough + 1)


def _pool(
    rows: pa.Table, source: StageInput, section: ColdStart, reach: _Reach, spec: TaskSpec, plan: RunPlan
) -> tuple[DonorPool, FeatureSpace]:
    key = source.lake.layout.key
    batches = rows.to_batches()
    batch = batches[0] if batches else pa.RecordBatch.from_pylist([], schema=rows.schema)
    series = to_series_batch(batch, key, _grid(spec))
    size = batch.column("#size").to_numpy(zero_copy_only=False).astype(np.int64)
    cut = np.maximum(size - reach.keep, 0)
    # What is cut off in front stays so: the series begins at its first value here.
    series = replace(series, start=series.start + cut)
    launched = (cut == 0) & (series.start - plan.start >= max(reach.window // 4, 1))
    if spec.forecast_start == "per_series":
        launched[:] = False  # such calendars are nominal
    series = _filled(series, spec)
    numbers = {}
    if section.price is not None:
        prices, offsets = list_buffers(batch.column(_PRICE))
        end = np.diff(series.offsets) - reach.span
        numbers = {section.price: mean_between(prices, offsets, end - reach.window, end)}
    columns = feature_columns(source.config, section)
    texts = {name: batch.column(column).to_pylist() for name, column in columns.items()}
    space = FeatureSpace.of(texts, numbers, identifiers=key)
    pool = DonorPool(
        values=series.values,
        offsets=series.offsets,
        start=series.start,
        launched=launched,
        features=space.encode(texts, numbers, len(series)),
        keys=joined_keys(batch, key),
    )
    return pool, space


def _filled(series: SeriesBatch, spec: TaskSpec) -> SeriesBatch:
    """The donors' gaps as a task fills them; nothing is put before their start."""
    common = spec.forecast_start == "global"
    end = spec.global_end if common else None
    if common:
        series = extend(series, spec.global_end)
    given = spec.fill if isinstance(spec.fill, FillRules) else spec.fill[-1]  # those of series of no group
    rules = replace(given, target=replace(given.target, front="nan"), related={})
    cutoffs = None if spec.stage == "forecast" else window_cutoffs(series, _plan(spec), spec.forecast_start, end)
    return fill(series, rules, None, end, cutoffs=cutoffs)


def _ends(pool: DonorPool, spec: TaskSpec) -> list[Int64Array | None]:
    """How many values of each donor the forecast, or each backtest window, may see."""
    if spec.stage == "forecast":
        return [None]
    back = [int(periods) for periods in _plan(spec).back]
    if spec.forecast_start == "per_series":
        return [np.maximum(pool.lengths - periods, 0) for periods in back]
    return [np.clip(spec.global_end - periods - pool.start + 1, 0, pool.lengths) for periods in back]


def _write_pool(lake: Lake, run_id: str, rows: pa.Table, model: ColdModel) -> None:
    """The donors of a forecast, from which `neighbours` takes their keys."""
    lake.ensure("cold_pool")
    used = np.zeros(len(rows), dtype=bool)
    used[model.usable] = True
    keys = {name: rows.column(name).to_pylist() for name in lake.layout.key}
    records: list[dict[str, Any]] = [
        {
            "run_id": run_id,
            "donor": donor,
            **{name: values[donor] for name, values in keys.items()},
            "used": bool(used[donor]),
            "level": float(model.level[donor]) if used[donor] else None,
        }
        for donor in range(len(rows))
    ]
    lake.replace("cold_pool", lake.rows("cold_pool", records), {"run_id": run_id})
