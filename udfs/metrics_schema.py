"""The schema of the table `metrics`: one row a run, model, window and scope."""

from __future__ import annotations

from udfs.layout import RUN, Layout, TableSchema, key_columns
from udfs.layout import optional as _c
from udfs.layout import required as _required


def metrics_schema(layout: Layout) -> TableSchema:
    """The schema; docs/metrics.md has the formulas."""
    sums = (
        ("n_series", "bigint", "rows (series and windows) behind the sums"),
        ("n_points", "bigint", "points scored"),
        ("n_missing", "bigint", "points without an actual to score"),
        ("n_fallback", "bigint", "rows in which another model stood in"),
    )
    return TableSchema(
        "metrics",
        (
            RUN,
            _required("model", "string", "model family; `selected` is the chosen one of each series"),
            _required("window", "int", "backtest window; -1 all of them; 0 the forecast against arrived actuals"),
            _required("scope", "string", "item, segment, step or total"),
            *key_columns(layout, _c),
            _c("attribute", "string", "metadata column of a segment"),
            _c("value", "string", "its value"),
            _c("step", "int", "horizon step of the scope `step`, 1 is the first"),
            *(_c(name, kind, comment) for name, kind, comment in sums),
            _c("seconds", "double", "core-seconds of the rows; NULL in the scope `step`"),
            _c("sums", "map<string, double>", "numerators and denominators: add them to score any group"),
            _c("mean_wQL", "double", "mean weighted quantile loss over the run's levels"),
            _c("wQL", "map<string, double>", "weighted quantile loss by quantile column"),
            _c("pinball", "map<string, double>", "mean pinball loss by quantile column, in the unit of the data"),
            _c("CRPS", "double", "twice the pinball loss over all levels, in the unit of the data"),
            _c("point_forecast", "string", "median or mean: what WAPE, MAPE, MASE, sMAPE and OWA judge"),
            _c("WAPE", "double", "of the point forecast"),
            _c("WAPE_mean", "double", "of the mean"),
            _c("RMSE", "double", "of the mean"),
            _c("MAPE", "double", "of the point forecast, over non-zero actuals"),
            _c("MASE", "double", "of the point forecast"),
            _c("sMAPE", "double", "of the point forecast, 0 to 200"),
            _c("RMSSE", "double", "of the mean"),
            _c("OWA", "double", "mean of sMAPE and MASE, each relative to the run's seasonal_naive, else naive"),
            _c("MSIS", "map<string, double>", "mean scaled interval score by nominal coverage in per cent"),
            _c("interval_coverage", "map<string, double>", "share of actuals inside, by nominal coverage in per cent"),
            _c("interval_width", "map<string, double>", "mean width, by nominal coverage in per cent"),
            _c("log_loss", "double", "mean of -log density of the actual"),
            _c("log_loss_source", "string", "whose density: model, quantiles or mixed"),
            _c("cost_under", "double", "money lost to under-forecasting, planned at the planning quantile"),
            _c("cost_over", "double", "money lost to over-forecasting"),
            _c("cost", "double", "both together"),
            _c("bias", "double", "mean of forecast mean minus actual, in the unit of the data"),
            _c("coverage", "map<string, double>", "share of actuals at or below each quantile"),
        ),
        primary_key=("run_id", "model", "window", "scope", *layout.key, "attribute", "value", "step"),
        partition_by=("run_id", "window"),
        properties={"delta.dataSkippingNumIndexedCols": str(4 + len(layout.key))},  # nobody looks for a value of RMSE
    )
