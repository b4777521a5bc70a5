"""Stored forecasts against the actuals that have arrived since: `metrics` with window 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from forecasting.closures import Observing
from forecasting.evaluation.windows import actuals
from forecasting.filling import FillRules, extend, fill
from forecasting.frequency import Frequency
from udfs.arrow import RELATED_PREFIX, ArrowStep, fixed_lists, label_microseconds, list_buffers, to_series_batch
from udfs.config import Config
from udfs.derive_metrics import CHOSEN, metric_rows
from udfs.derive_sums import SELECTED, grouped, kept, with_numbers
from udfs.error_costs import OVER, UNDER, with_unit_costs
from udfs.errors import InputError
from udfs.grid import microseconds, ordinal
from udfs.holiday_table import REGION, TABLE
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.living import without_ended_steps
from udfs.observing import calendar_groups, fill_group_columns, fill_groups, fill_rules, needs_region, observing
from udfs.pieces import joined
from udfs.row_numbers import STEP
from udfs.series_rows import NAMES, in_pieces

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
    """How actuals are read; goes to the workers. end: None where each series has its own end. score_ended: whether
    steps after an item's end count."""

    key: tuple[str, ...]
    frequency: str
    fill: tuple[FillRules, ...]
    observing: Observing
    start: int
    end: int | None
    score_filled: bool
    score_ended: bool = True


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
    version = lake.version(TABLE) if lake.exists(TABLE) else None
    rules = observing(lake, config, frequency.name, history.start, history.end, version)
    names = [RELATED_PREFIX + name for name in rules.columns]
    if history.pieces:
        series, related = joined(read, key, list(rules.columns)), [F.col(name) for name in names]
    else:
        series = read
        related = [F.col(f"related.{quoted(c)}").alias(n) for c, n in zip(rules.columns, names, strict=True)]
    beside_series = [*related, *_region(lake, config), *fill_group_columns(config)]
    priced = with_unit_costs(lake, forecasts, config.evaluation.error_cost)
    reason = () if config.lifecycle.score_ended else ("reason",)
    beside = (*_FORECAST, *reason, *(c for c in _IF_THERE if c in priced.columns))
    both = priced.select(*key, "bucket", "model", "window", "forecast_start", *map(quoted, beside)).join(
        series.select(*key, "start", "target", *beside_series), key, "left"
    )
    reading = _Reading(
        key=lake.layout.key,
        frequency=frequency.name,
        fill=fill_rules(config, ()),
        observing=rules,
        start=history.start,
        end=history.end if config.forecast_start == "global" else None,
        score_filled=config.evaluation.score_filled,
        score_ended=config.lifecycle.score_ended,
    )
    identity = (*key, "bucket", "model", "window")
    schema = lake.schemas["results"]
    kinds = {n: schema.column(n).type for n in (*identity, *beside, "actuals") if n not in (UNDER, OVER)}
    ddl = ", ".join(f"{quoted(n)} {kinds.get(n, 'double')}" for n in (*identity, *beside, "actuals"))
    known = both.mapInArrow(_actuals_step(reading, identity, beside), ddl)
    sums = grouped(with_numbers(lake, known, config.quantiles), key)
    model = F.get_json_object(F.col("rows")[0][NAMES], "$[0][0]")
    return sums.withColumn(CHOSEN, F.when(F.col(STEP).isNull(), model))


def _actuals_step(reading: _Reading, identity: tuple[str, ...], beside: tuple[str, ...]) -> ArrowStep:
    """Forecasts with their series' history: the actuals of their steps beside them."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        frequency = Frequency.parse(reading.frequency)
        for batch in in_pieces(batches):
            rules = reading.observing
            series = to_series_batch(batch, reading.key, frequency, dict.fromkeys(rules.columns, True))
            if reading.end is not None:
                series = extend(series, reading.end)
            calendars = calendar_groups(rules, batch)
            if not rules.nothing:
                series = rules.observed(series, calendars)
            first = frequency.ordinals(label_microseconds(batch.column("forecast_start")))
            horizon = int(np.diff(list_buffers(batch.column("mean"))[1]).max(initial=0))
            cutoffs = first[:, None] - 1
            where = (reading.start, reading.end)
            groups = fill_groups(batch)
            series = fill(series, reading.fill, *where, horizon=horizon, cutoffs=cutoffs, group=groups)
            series = rules.still(series, calendars)
            happened = actuals(series, cutoffs, horizon, score_filled=reading.score_filled)
            if not reading.score_ended:
                happened[:, 0] = without_ended_steps(happened[:, 0], batch.column("reason"))
            columns = [batch.column(name) for name in (*identity, *beside)]
            columns.append(fixed_lists(happened[:, 0]))
            yield pa.RecordBatch.from_arrays(columns, names=[*identity, *beside, "actuals"])

    return run


def _region(lake: Lake, config: Config) -> list[Column]:
    from pyspark.sql import functions as F

    if not needs_region(config) or config.holidays is None:
        return []
    name = str(config.holidays.country_column)
    return [(F.col(name) if name in lake.layout.key else F.col("metadata")[name]).alias(REGION)]


def _arrival(rows: DataFrame) -> Arrival:
    from pyspark.sql import functions as F

    total = rows.where((F.col("scope") == "total") & (F.col("model") == SELECTED)).first()
    if total is None:
        return Arrival(0, 0, 0, 0)
    return Arrival(int(total["sums"]["n_rows"]), total["n_series"], total["n_points"], total["n_missing"])
