"""The tables `results` and `results_deepar`: what a model forecast of a series in a window, packed."""

from __future__ import annotations

from dataclasses import replace

from udfs.layout import BUCKET, RUN, Layout, TableSchema, key_columns
from udfs.layout import optional as _c
from udfs.layout import required as _required

STATISTICS, STEP_STATISTICS = "statistics", "step_statistics"
"""What the task of a backtest knows of its rows' errors (see `udfs.row_numbers`)."""
RESULTS_DEEPAR = "results_deepar"
"""What the GPU job writes in the layout of `results`: a table of its own, since two writers would block each other."""


def results_schema(layout: Layout) -> TableSchema:
    """What model tasks write."""
    return TableSchema(
        "results",
        (
            RUN,
            _required("stage", "string", "backtest, selection (the chosen ones' backtests) or forecast"),
            _required("unit", "int", "work unit of the run's plan"),
            *key_columns(layout),
            _required("model", "string", "model family"),
            _required("window", "int", "backtest window, 1 is the latest; 0 is the forecast"),
            _required("forecast_start", "timestamp_ntz", "label of the first step"),
            _c("mean", "array<double>", "a value a step"),
            _c("quantiles", "array<double>", "step by step, all levels of the run in order"),
            _c("actuals", "array<double>", "in backtests: a value a step, NaN is missing or not scored"),
            _c("mase_scale", "double", "seasonal naive error of the visible history"),
            _c("rmsse_scale", "double", "mean squared step of the visible history, from the first value but 0 on"),
            _required("status", "string", "ok, fallback, skipped, timeout or failed"),
            _required("reason", "string", "short code, empty for none"),
            _required("seconds", "double", "the row's share of the task's time"),
            _required("n_obs", "bigint", "observations seen"),
            _required("n_filled", "bigint", "filled points seen"),
            _required("n_clipped", "bigint", "values that a bound changed"),
            _c("n_masked", "bigint", "points of the history that are masked or closed"),
            _c("n_closed", "bigint", "steps that are closed: their forecast is 0"),
            _required("evaluations", "bigint", "likelihood passes spent"),
            _c("parameters", "array<double>", "fitted parameters, in the model's order"),
            _c("states", "array<double>", "states at the end, in forecasts"),
            _c("fitted_start", "timestamp_ntz", "in forecasts: label of the first period that the fit saw"),
            _c("season_length", "int", "in forecasts: periods in the season of the fit"),
            _c("hyperparameters", "string", "in forecasts: digest of hyperparameters and regressors"),
            _c("refit", "string", "in forecasts: full, warm or never; where stored numbers were of no use, why"),
            _c("treatment", "string", "what was done about abrupt changes before the fit (docs/data.md); NULL: off"),
            _c("n_treated", "bigint", "values replaced, periods left out in front, or steps added by it"),
            _c("log_density", "array<double>", "in backtests: log of the density of each step's actual, NaN unscored"),
            _c(STATISTICS, "binary", "in backtests: the row's additive statistics (docs/metrics.md), packed doubles"),
            _c(STEP_STATISTICS, "binary", "in one row of a task: its sums of these by step, an Arrow stream"),
            BUCKET,
        ),
        primary_key=("run_id", "stage", *layout.key, "model", "window"),
        partition_by=("run_id", "bucket"),
        checks={"known_status": "status IN ('ok', 'fallback', 'skipped', 'timeout', 'failed')"},
    )


def results_deepar_schema(layout: Layout) -> TableSchema:
    """`results`, with where a row comes from and without statistics. On a GPU the core-seconds are not known."""
    table = results_schema(layout)
    seconds = _c("seconds", "double", "the row's share of the job's processor time, all cores together; NULL on a GPU")
    columns = [
        seconds if column.name == "seconds" else column
        for column in table.columns
        if column.name not in (STATISTICS, STEP_STATISTICS)
    ]
    more = (
        _c("model_id", "string", "the trained model, as in `models`"),
        _c("series_version", "bigint", "version of `series` that was read"),
    )
    return replace(table, name=RESULTS_DEEPAR, columns=(*columns, *more))
