"""Stored forecasts against the actuals that have arrived since: `metrics` with window 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.evaluation.windows import actuals
from forecasting.filling import FillRules, TargetFill, extend, fill
from forecasting.frequency import Frequency
from udfs.arrow import fixed_lists, label_microseconds, list_buffers, to_series_batch
from udfs.config import Config
from udfs.derive_metrics import CHOSEN, metric_rows
from udfs.derive_sums import SELECTED, STEP, ArrowStep, grouped, in_pieces, kept, statistics_ddl, statistics_step
from udfs.error_costs import OVER, UNDER, with_unit_costs
from udfs.errors import InputError
from udfs.grid import microseconds, ordinal
from udfs.lake import Lake, quoted
from udfs.pieces import joined

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ARRIVED = 0
"""The window of `metrics` that holds forecasts against arrived actuals."""

_FORECAST = ("mean", "quantiles", "mase_scale", "status", "seconds")
_IF_THERE = ("rmsse_scale", UNDER, OVER)


@dataclass(frozen=True)
class Arrival:
    """What has arrived. n_series: series with at least one scored point, of those forecast. n_points: scored points.
    n_missing: steps without an actual so far."""

    n_series: int
    n_forecast: int
    n_points: int
    n_missing: int


@dataclass(frozen=True)
class _History:
    """Where all histories together begin and end (ordinals), and whether some lies in several rows."""

    start: int
    end: int
    pieces: bool


@dataclass(frozen=True)
class _Reading:
    """How actuals are read; goes to the workers. end: None where each series has its own end."""

    key: tuple[str, ...]
    frequency: str
    fill: FillRules
    start: int
    end: int | None
    score_filled: bool


def evaluate_forecasts(lake: Lake, run_id: str, config: Config) -> Arrival | None:
    """Score a run's stored forecasts and write `metrics` of window 0. None where no actual has arrived yet: nothing is
    written then.

    config: the run's. A horizon of which only a part has arrived is scored on that part. The scale of MASE is the one
    kept with the forecast. Actuals are filled and scored by the config's rules, as in a backtest.
    Raises InputError for a run without forecasts.
    """
    frequency = _frequency(lake)
    forecasts = _forecasts(lake, run_id)
    first = ordinal(frequency, microseconds(_min("forecast_start")))
    begin = forecasts.select(first).first()
    if begin is None or begin[0] is None:
        raise InputError(f"run {run_id} has no forecasts; run `almanac forecast` first, or give another run")
    history = _history(lake, frequency)
    if history is None or history.end < begin[0]:
        return None
    rows = metric_rows(lake, run_id, _sums(lake, forecasts, config, frequency, history), config)
    with kept(rows) as scored:
        arrival = _arrival(scored)
        if arrival.n_points == 0:
            return None
        lake.ensure("metrics")
        lake.replace("metrics", scored, {"run_id": run_id, "window": ARRIVED})
    return arrival


def _frequency(lake: Lake) -> Frequency:
    info = lake.identity()
    return Frequency.parse(info.frequency)


def _forecasts(lake: Lake, run_id: str) -> DataFrame:
    from pyspark.sql import functions as F

    return lake.read("results").where((F.col("run_id") == run_id) & (F.col("stage") == "forecast"))


def _min(column: str) -> Column:
    from pyspark.sql import functions as F

    return F.min(column)


def _history(lake: Lake, frequency: Frequency) -> _History | None:
    from pyspark.sql import functions as F

    first = ordinal(frequency, microseconds(F.col("start")))
    rows = lake.read("series").where(F.col("n") > 0)
    found = rows.agg(F.min(first), F.max(first + F.col("n") - 1), F.max("segment")).first()
    if found is None or found[0] is None:
        return None
    return _History(int(found[0]), int(found[1]), bool(found[2] > 0))


def _sums(lake: Lake, forecasts: DataFrame, config: Config, frequency: Frequency, history: _History) -> DataFrame:
    """Rows with the statistics of the forecasts, as `derive_sums.step_and_series_sums` makes of backtests."""
    from pyspark.sql import functions as F

    key = list(lake.layout.key)
    read = lake.read("series")
    series = joined(read, key, []) if history.pieces else read
    priced = with_unit_costs(lake, forecasts, config.evaluation.error_cost)
    beside = (*_FORECAST, *(c for c in _IF_THERE if c in priced.columns))
    both = priced.select(*key, "bucket", "model", "window", "forecast_start", *map(quoted, beside)).join(
        series.select(*key, "start", "target"), key, "left"
    )
    reading = _Reading(
        key=lake.layout.key,
        frequency=frequency.name,
        fill=FillRules(target=TargetFill(**config.fill.target.model_dump())),
        start=history.start,
        end=history.end if config.forecast_start == "global" else None,
        score_filled=config.evaluation.score_filled,
    )
    identity = (*key, "bucket", "model", "window")
    schema = lake.schemas["results"]
    kinds = {n: schema.column(n).type for n in (*identity, *beside, "actuals") if n not in (UNDER, OVER)}
    ddl = ", ".join(f"{quoted(n)} {kinds.get(n, 'double')}" for n in (*identity, *beside, "actuals"))
    known = both.mapInArrow(_actuals_step(reading, identity, beside), ddl)
    statistics = known.mapInArrow(statistics_step(identity, config.quantiles, key), statistics_ddl(lake, identity))
    return grouped(statistics, key).withColumn(CHOSEN, F.when(F.col(STEP).isNull(), F.col("rows")[0]["model"]))


def _actuals_step(reading: _Reading, identity: tuple[str, ...], beside: tuple[str, ...]) -> ArrowStep:
    """Forecasts with their series' history: the actuals of their steps beside them."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        frequency = Frequency.parse(reading.frequency)
        for batch in in_pieces(batches):
            series = to_series_batch(batch, reading.key, frequency)
            if reading.end is not None:
                series = extend(series, reading.end)
            first = frequency.ordinals(label_microseconds(batch.column("forecast_start")))
            horizon = int(np.diff(list_buffers(batch.column("mean"))[1]).max(initial=0))
            cutoffs = first[:, None] - 1
            series = fill(series, reading.fill, reading.start, reading.end, horizon=horizon, cutoffs=cutoffs)
            happened = actuals(series, cutoffs, horizon, score_filled=reading.score_filled)
            columns = [batch.column(name) for name in (*identity, *beside)]
            columns.append(fixed_lists(happened[:, 0]))
            yield pa.RecordBatch.from_arrays(columns, names=[*identity, *beside, "actuals"])

    return run


def _arrival(rows: DataFrame) -> Arrival:
    from pyspark.sql import functions as F

    total = rows.where((F.col("scope") == "total") & (F.col("model") == SELECTED)).first()
    if total is None:
        return Arrival(0, 0, 0, 0)
    return Arrival(int(total["sums"]["n_rows"]), total["n_series"], total["n_points"], total["n_missing"])
