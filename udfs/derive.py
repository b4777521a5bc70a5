"""Everything that is derived from `results`: `metrics`, `selection` and `forecasts`.

Each table's part of a run is replaced in one commit, so any of this can be repeated. The config is that of the run:
its quantiles are the order of the numbers in `results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from forecasting.frequency import Frequency
from forecasting.levels import quantile_column
from udfs.blend import STAGE
from udfs.choose import decided
from udfs.config import Config
from udfs.derive_metrics import metric_rows
from udfs.derive_selection import only_candidates
from udfs.derive_sums import kept, series_sums, step_and_series_sums
from udfs.error_costs import OVER, UNDER, planned_value, planning_level, with_unit_costs
from udfs.lake import Lake, literal
from udfs.layout import quoted
from udfs.living import step_flag
from udfs.results import BACKTEST
from udfs.runs import Run
from udfs.schemas import BASELINE
from udfs.series_rows import ALL_WINDOWS
from udfs.steps import finite, quantile_values, step_label

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def config_of(run: Run) -> Config:
    """The config that a run was made with."""
    return Config.model_validate_json(run.config, context={"frames": True})


def derive_backtest(lake: Lake, run_id: str, config: Config) -> None:
    """`selection` and then `metrics` of a run."""
    derive_selection(lake, run_id, config)
    if config.backtest.windows:
        derive_metrics(lake, run_id, config)


def derive_metrics(lake: Lake, run_id: str, config: Config) -> None:
    """`metrics` of a run's backtest windows: per item, per value of each metadata column, per horizon step and in
    total; per window and over all windows (-1). With the pseudo-model `selected` where a selection is stored."""
    costs = config.evaluation.error_cost
    with kept(step_and_series_sums(lake, run_id, config.quantiles, costs, (BACKTEST, STAGE))) as sums:
        lake.ensure("metrics")
        rows = metric_rows(lake, run_id, sums, config)
        windows = [ALL_WINDOWS, *range(1, config.backtest.windows + 1)]
        lake.replace("metrics", rows, {"run_id": run_id, "window": windows})


def derive_selection(lake: Lake, run_id: str, config: Config) -> None:
    """`selection` and `calibration` of a run, from its backtests, and the backtests of what was selected.

    Without backtest windows each series of the run has one candidate and gets it.
    """
    if config.backtest.windows == 0:
        _write_selection(lake, run_id, only_candidates(lake, run_id, config))
        return
    costs = config.evaluation.error_cost
    with decided(lake, run_id, series_sums(lake, run_id, config.quantiles, costs), config) as decisions:
        decisions.write_choice()
        decisions.write_backtests()


def derive_forecasts(lake: Lake, run_id: str, config: Config) -> None:
    """`forecasts` of a run: a row a series and step. A step without a forecast has no row; the ledger says why."""
    info = lake.identity()
    lake.ensure("forecasts")
    rows = forecast_rows(lake, run_id, config, Frequency.parse(info.frequency))
    lake.replace("forecasts", rows, {"run_id": run_id, "scenario": BASELINE})


def forecast_rows(lake: Lake, run_id: str, config: Config, frequency: Frequency) -> DataFrame:
    """Rows of `forecasts` from the packed results of the stage `forecast`."""
    from pyspark.sql import functions as F

    results = lake.read("results").where((F.col("run_id") == run_id) & (F.col("stage") == "forecast"))
    costs = config.evaluation.error_cost
    rows = with_unit_costs(lake, results, costs)
    prices = (UNDER, OVER) if costs else ()
    steps = rows.select(
        *(
            quoted(name)
            for name in (*lake.layout.key, "model", "forecast_start", "quantiles", "reason", "bucket", *prices)
        ),
        F.posexplode("mean").alias("step", "mean"),
    )
    by_name = {
        "run_id": f"{literal(run_id)} AS run_id",
        "scenario": f"{literal(BASELINE)} AS scenario",
        "step": "step + 1 AS step",
        "timestamp": f"{step_label(frequency, 'forecast_start', 'step')} AS timestamp",
        "lifecycle": f"{step_flag('reason', 'step + 1')} AS lifecycle",
        "mean": f"{finite('mean')} AS mean" if config.mean else "cast(NULL AS double) AS mean",
    }
    quantiles = quantile_values(config.quantiles, "step")
    by_name |= {quantile_column(q): value for q, value in zip(config.quantiles, quantiles, strict=True)}
    plan = (planning_level(), planned_value(config.quantiles, "step")) if costs else ("NULL", "NULL")
    by_name |= {n: f"cast({sql} AS double) AS {n}" for n, sql in zip(("plan_quantile", "plan"), plan, strict=True)}
    columns = [by_name.get(name, quoted(name)) for name in lake.schemas["forecasts"].names]
    has_forecast = F.expr(f"{finite('mean')} IS NOT NULL")
    return steps.where(has_forecast).selectExpr(*columns)


def _write_selection(lake: Lake, run_id: str, rows: DataFrame) -> None:
    lake.ensure("selection")
    lake.replace("selection", rows, {"run_id": run_id})
