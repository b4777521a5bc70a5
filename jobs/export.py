"""The verb `export`: a run's forecasts, backtests or accuracy as CSV or Parquet, in the layouts of Amazon Forecast."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich.console import Console

from forecasting.frequency import Frequency
from jobs.context import ConfigSource, open_job
from jobs.reading import run_to_read
from jobs.tables import console as default_console
from udfs.derive import config_of
from udfs.errors import InputError
from udfs.export import DATE_PATTERN, ExportFormat, export_rows, write_export
from udfs.export_backtest import accuracy_rows, backtest_rows
from udfs.lake import Lake, absolute
from udfs.runs import Run

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

What = Literal["forecasts", "backtest", "accuracy"]
_MADE_BY = {"forecasts": "forecast", "backtest": "backtest", "accuracy": "select"}
"""The verb that makes what is exported."""


@dataclass(frozen=True)
class Exported:
    """What was written where."""

    run_id: str
    target: str
    columns: tuple[str, ...]
    what: What = "forecasts"


def export(
    config: ConfigSource,
    target: str | Path,
    spark: SparkSession | None = None,
    *,
    what: What = "forecasts",
    form: ExportFormat = "csv",
    single: bool = False,
    overwrite: bool = False,
    run_id: str | None = None,
    overrides: Iterable[str] = (),
) -> Exported:
    """Write item_id, dimensions, date, quantiles and mean of a run's forecasts, or its backtests.

    what: forecasts; backtest, the forecasts of every model and window beside the actuals; accuracy, the metrics of
    every item, window and model (see `udfs.export_backtest`). target: a folder for part files, or with `single` one
    file; a path that the session knows. run_id: the run; None takes the published one. Raises InputError for a target
    that exists (unless `overwrite`), for a run that does not have what is asked for, and for an unknown format or
    thing to export.
    """
    if what not in _MADE_BY:
        raise InputError(f"{what!r} cannot be exported; expected {', '.join(_MADE_BY)}")
    if form not in ("csv", "parquet"):
        raise InputError(f"export format is {form!r}; expected csv or parquet")
    job = open_job(config, spark, overrides=overrides)
    run = run_to_read(job.lake, run_id)
    rows = _rows(job.lake, run, what)
    if rows is None or rows.isEmpty():
        name = "forecasts" if what == "forecasts" else "backtests" if what == "backtest" else "metrics of backtests"
        raise InputError(f"run {run.run_id} has no {name} to export; run `almanac {_MADE_BY[what]}` first")
    place = absolute(str(target))
    write_export(rows, place, form, single=single, overwrite=overwrite)
    return Exported(run.run_id, place, tuple(rows.columns), what)


def _rows(lake: Lake, run: Run, what: What) -> DataFrame | None:
    """The rows to export; None where their table is not there."""
    made, needed = config_of(run), {"forecasts": "forecasts", "backtest": "results", "accuracy": "metrics"}[what]
    if not lake.exists(needed):
        return None
    if what == "forecasts":
        return export_rows(lake, run.run_id, made.quantiles, made.mean)
    grid = Frequency.parse(run.plan.frequency)
    if what == "backtest":
        return backtest_rows(lake, run.run_id, made.quantiles, made.mean, grid, DATE_PATTERN)
    return accuracy_rows(lake, run.run_id, made.quantiles, grid, DATE_PATTERN)


def render(exported: Exported, console: Console | None = None) -> None:
    """Print where it is."""
    out = console or default_console()
    out.print(
        f"{exported.what.capitalize()} of run {exported.run_id}: {exported.target} ({', '.join(exported.columns)})",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    from jobs.cli import main

    main("export")
