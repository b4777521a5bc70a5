"""The verb `export`: a run's forecasts as CSV or Parquet, in the layout of Amazon Forecast's export."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.context import ConfigSource, open_job
from jobs.reading import run_to_read
from jobs.tables import console as default_console
from udfs.derive import config_of
from udfs.errors import InputError
from udfs.export import ExportFormat, export_rows, write_export
from udfs.lake import absolute

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Exported:
    """What was written where."""

    run_id: str
    target: str
    columns: tuple[str, ...]


def export(
    config: ConfigSource,
    target: str | Path,
    spark: SparkSession | None = None,
    *,
    form: ExportFormat = "csv",
    single: bool = False,
    overwrite: bool = False,
    run_id: str | None = None,
    overrides: Iterable[str] = (),
) -> Exported:
    """Write item_id, dimensions, date, quantiles and mean of a run's forecasts.

    target: a folder for part files, or with `single` one file; a path that the session knows. run_id: the run; None
    takes the published one. Raises InputError for a target that exists (unless `overwrite`), for a run without
    forecasts and for a format that is not csv or parquet.
    """
    if form not in ("csv", "parquet"):
        raise InputError(f"export format is {form!r}; expected csv or parquet")
    job = open_job(config, spark, overrides=overrides)
    run = run_to_read(job.lake, run_id)
    made = config_of(run)
    rows = export_rows(job.lake, run.run_id, made.quantiles, made.mean)
    if rows.isEmpty():
        raise InputError(f"run {run.run_id} has no forecasts to export; run `almanac forecast` first")
    place = absolute(str(target))
    write_export(rows, place, form, single=single, overwrite=overwrite)
    return Exported(run.run_id, place, tuple(rows.columns))


def render(exported: Exported, console: Console | None = None) -> None:
    """Print where the forecasts are."""
    out = console or default_console()
    out.print(
        f"Forecasts of run {exported.run_id}: {exported.target} ({', '.join(exported.columns)})",
        highlight=False,
        soft_wrap=True,
    )


if __name__ == "__main__":
    from jobs.cli import main

    main("export")
