"""The plan of a run, measured from the lake: how much work there is and how it is cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forecasting.evaluation.windows import BacktestPlan
from forecasting.frequency import Frequency, Int64Array
from udfs.config.evaluation import least_history
from udfs.errors import InputError
from udfs.grid import period_ordinal
from udfs.row_numbers import statistics_form
from udfs.spec import Stage
from udfs.stage import StageInput, cell_column
from udfs.work import RunPlan, StagePlan, cut, expected_microseconds, slots

if TYPE_CHECKING:
    from pyspark.sql import Column, SparkSession


@dataclass(frozen=True)
class Grid:
    """Facts about all series together. start, end: ordinals of the first and last period. longest: periods of the
    longest history. pieces: whether some history lies in several rows."""

    start: int
    end: int
    longest: int
    pieces: bool


@dataclass(frozen=True)
class Measure:
    """How much work there is: the grid, and per non-empty cell (int64 [C], increasing) its series and expected
    core-seconds; mean_length: periods a series."""

    grid: Grid
    cells: Int64Array
    series: Int64Array
    seconds: npt.NDArray[np.float64]
    mean_length: float


def measure(source: StageInput, stage: Stage, frequency: str, buckets: int, where: Column | None) -> Measure:
    """One pass over the narrow columns of the stage's series."""
    from pyspark.sql import functions as F

    grid = Frequency.parse(frequency)
    first = period_ordinal(grid, F.col("start"))
    some = F.col("n") > 0
    facts = (
        source.profiles(where)
        .groupBy(cell_column(source.lake.layout.key, buckets).alias("cell"), "choice")
        .agg(
            F.sum((F.col("segment") == 0).cast("bigint")).alias("series"),
            F.sum("n").alias("periods"),
            F.min(F.when(some, first)).alias("start"),
            F.max(F.when(some, first + F.col("n") - 1)).alias("end"),
            F.max("n").alias("longest"),
            F.max("segment").alias("segment"),
        )
    )
    table = facts.toPandas()
    windows = source.config.backtest.windows if stage == "backtest" else 1
    shares = source.shares if stage == "forecast" else None
    costs = np.array([expected_microseconds(models, windows, grid.season_length, shares) for models in source.choices])
    per_series, per_period = costs[table["choice"].to_numpy(dtype=np.int64)].T.reshape(2, -1)
    table["seconds"] = (per_series * table["series"] + per_period * table["periods"]) / 1e6
    by_cell = table.groupby("cell", sort=True)[["series", "seconds"]].sum()
    known = table.dropna(subset=["start"])
    start, end = (int(known["start"].min()), int(known["end"].max())) if len(known) else (0, -1)
    pieces = bool(table["segment"].max() > 0) if len(table) else False
    n_series = max(int(table["series"].sum()), 1)
    return Measure(
        grid=Grid(start, end, end - start + 1 if pieces else int(table["longest"].max() or 0), pieces),
        cells=by_cell.index.to_numpy(dtype=np.int64),
        series=by_cell["series"].to_numpy(dtype=np.int64),
        seconds=by_cell["seconds"].to_numpy(dtype=np.float64),
        mean_length=float(table["periods"].sum()) / n_series,
    )


def plan_run(
    source: StageInput,
    stage: Stage,
    frequency: str,
    buckets: int,
    where: Column | None,
    limits: tuple[str | None, tuple[str, ...] | None],
) -> RunPlan:
    """The plan of a new run with its first stage. where: the condition that `limits` (SQL text, items) stand for.

    Raises InputError for a lake without series and for backtest windows that do not fit into any history.
    """
    config = source.config
    found = measure(source, stage, frequency, buckets, where)
    grid = found.grid if where is None else measure(source, stage, frequency, buckets, None).grid
    if not len(found.cells):
        raise InputError("the lake holds no series; run `almanac ingest` first")
    if stage == "backtest":
        longest = grid.end - grid.start + 1 if config.forecast_start == "global" else grid.longest
        windows = BacktestPlan(config.horizon, config.backtest.windows, config.offset, config.stride)
        try:
            windows.check_fits(longest, least_history(config))
        except ValueError as error:
            raise InputError(str(error)) from None
    return RunPlan(
        frequency=frequency,
        start=grid.start,
        end=grid.end,
        buckets=buckets,
        pieces=grid.pieces,
        n_series=int(found.series.sum()),
        mean_length=round(found.mean_length, 3),
        where=limits[0],
        items=limits[1],
        statistics=statistics_form(config.quantiles),
        stages={stage: units_of(source, found, buckets)},
    )


def plan_stage(source: StageInput, stage: Stage, plan: RunPlan, where: Column | None) -> RunPlan:
    """The plan with one more stage."""
    found = measure(source, stage, plan.frequency, plan.buckets, where)
    return replace(plan, stages={**plan.stages, stage: units_of(source, found, plan.buckets)})


def units_of(source: StageInput, found: Measure, buckets: int) -> StagePlan:
    """Work units for the cluster as it is now."""
    return cut(
        found.cells,
        found.series,
        found.seconds,
        cores=cores(source.lake.spark),
        unit_seconds=source.config.limits.unit_seconds,
        n_cells=buckets * slots(buckets),
    )


def cores(spark: SparkSession) -> int:
    """Task slots, those that dynamic allocation may add included."""
    try:
        now = int(spark.sparkContext.defaultParallelism)
    except Exception:  # a Connect session has no context
        now = int(spark.conf.get("spark.default.parallelism", None) or 8)
    if str(spark.conf.get("spark.dynamicAllocation.enabled", "false")).lower() == "true":
        most = int(spark.conf.get("spark.dynamicAllocation.maxExecutors", None) or 0)
        each = int(spark.conf.get("spark.executor.cores", None) or 1)
        if 0 < most < 10_000:
            now = max(now, most * each)
    return max(now, 1)
