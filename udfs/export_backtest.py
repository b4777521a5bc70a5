"""Backtests as files in the layout of Amazon Forecast's predictor backtest export, with the model as last or further
column since a run has several.

Forecasted values: item_id, dimensions, timestamp, target_value, backtestwindow_start_time, backtestwindow_end_time,
mean, p10, …, model. Accuracy metrics: item_id, dimensions, backtest_window, the window's two times, model, wQL[0.1],
…, Average wQL, WAPE, RMSE, MAPE, MASE. A window's times are the labels of its first and its last step.

Where the service differs: its `Summary` was the plain mean over an item's windows, its item-level WAPE was not divided
by anything, and an undefined metric was the text "not defined". Here `Summary` has the ratios of the sums over all
windows, and what is undefined is NULL (empty in CSV).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from forecasting.levels import quantile_column
from udfs.lake import Lake
from udfs.layout import quoted
from udfs.results import BACKTEST, results_of
from udfs.series_rows import ALL_WINDOWS
from udfs.steps import finite, quantile_values, step_label

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

COMPUTED, SUMMARY = "Computed", "Summary"
WINDOW = ("backtestwindow_start_time", "backtestwindow_end_time")
METRICS = {"mean_wQL": "Average wQL", "WAPE": "WAPE", "RMSE": "RMSE", "MAPE": "MAPE", "MASE": "MASE"}


def backtest_rows(
    lake: Lake, run_id: str, levels: tuple[float, ...], mean: bool, frequency: Frequency, date: str
) -> DataFrame:
    """A row for each series, window, model and step that was forecast, in the order of these.

    date: pattern of the times. Steps without an actual have an empty target_value. Windows that a series is too short
    for have no rows; the ledger names them.
    """
    from pyspark.sql import functions as F

    key = lake.layout.key
    steps = _backtests(lake, run_id).select(
        *(quoted(name) for name in (*key, "model", "window", "forecast_start", "quantiles", "actuals")),
        F.size("mean").alias("horizon"),
        F.posexplode("mean").alias("step", "step_mean"),
    )
    rows = steps.where(F.expr(f"{finite('step_mean')} IS NOT NULL")).orderBy(*key, "window", "model", "step")
    start, end = (_time(F.expr(sql), date) for sql in _span(frequency))
    return rows.select(
        *key,
        _time(F.expr(step_label(frequency, "forecast_start", "step")), date).alias("timestamp"),
        F.expr(finite("get(actuals, step)")).alias("target_value"),
        start.alias(WINDOW[0]),
        end.alias(WINDOW[1]),
        *([F.expr(finite("step_mean")).alias("mean")] if mean else []),
        *map(F.expr, quantile_values(levels, "step")),
        "model",
    )


def accuracy_rows(lake: Lake, run_id: str, levels: tuple[float, ...], frequency: Frequency, date: str) -> DataFrame:
    """A row for each series, window and model (`selected` is the chosen one of each series), and one over all windows.

    date: pattern of the times; a summary spans the windows of the item.
    """
    from pyspark.sql import functions as F

    key = lake.layout.key
    first, last = _span(frequency)
    windows = (
        _backtests(lake, run_id)
        .select(*key, "window", "forecast_start", F.size("mean").alias("horizon"))
        .select(*key, "window", F.expr(first).alias("first"), F.expr(last).alias("last"))
        .distinct()
    )
    span = windows.groupBy(*key).agg(F.min("first").alias("first"), F.max("last").alias("last"))
    spans = windows.unionByName(span.withColumn("window", F.lit(ALL_WINDOWS)))
    metrics = lake.read("metrics").where(
        (F.col("run_id") == run_id) & (F.col("scope") == "item") & (F.col("window") != 0)
    )
    summary = F.col("window") == ALL_WINDOWS
    rows = metrics.join(spans, [*key, "window"]).orderBy(*key, "model", summary.asc(), "window")
    return rows.select(
        *key,
        F.when(summary, SUMMARY).otherwise(COMPUTED).alias("backtest_window"),
        _time(F.col("first"), date).alias(WINDOW[0]),
        _time(F.col("last"), date).alias(WINDOW[1]),
        "model",
        *(F.col("wQL")[quantile_column(level)].alias(f"wQL[{level:g}]") for level in levels),
        *(F.col(name).alias(theirs) for name, theirs in METRICS.items()),
    )


def _backtests(lake: Lake, run_id: str) -> DataFrame:
    """The rows that hold a forecast of a backtest window."""
    from pyspark.sql import functions as F

    return results_of(lake, run_id, BACKTEST).where(F.col("mean").isNotNull())


def _span(frequency: Frequency) -> tuple[str, str]:
    """SQL of a window's first and last label, from forecast_start and horizon."""
    return "forecast_start", step_label(frequency, "forecast_start", "horizon - 1")


def _time(label: Column, pattern: str) -> Column:
    from pyspark.sql import functions as F

    return F.date_format(label, pattern)
