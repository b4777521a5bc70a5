"""The verb `evaluate`: stored forecasts against the actuals that have arrived since."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jobs.context import ConfigSource, Job, open_job
from jobs.reading import run_to_read
from jobs.tables import console as default_console
from jobs.tables import table
from udfs.actuals import ARRIVED, Arrival, evaluate_forecasts
from udfs.derive import config_of

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_SHOWN = ("model", "mean_wQL", "WAPE", "RMSE", "MASE", "bias", "coverage", "n_series", "n_points", "n_missing")


@dataclass(frozen=True)
class Evaluation:
    """arrival: what has arrived, None for nothing. totals: the rows of `metrics` (window 0, scope total) by model."""

    run_id: str
    arrival: Arrival | None
    totals: tuple[Mapping[str, Any], ...] = field(default=())


def evaluate(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    overrides: Iterable[str] = (),
) -> Evaluation:
    """Score a run's forecasts against what `series` holds by now, into `metrics` with window 0.

    run_id: the run; None takes the published one. Partly arrived horizons are scored as far as they go. Where nothing
    has arrived, nothing is written. Raises InputError where there is no such run, or one without forecasts.
    """
    job = open_job(config, spark, overrides=overrides)
    run = run_to_read(job.lake, run_id)
    arrival = evaluate_forecasts(job.lake, run.run_id, config_of(run))
    return Evaluation(run.run_id, arrival, () if arrival is None else _totals(job, run.run_id))


def _totals(job: Job, run_id: str) -> tuple[Mapping[str, Any], ...]:
    from pyspark.sql import functions as F

    rows = job.lake.read("metrics").where(
        (F.col("run_id") == run_id) & (F.col("window") == ARRIVED) & (F.col("scope") == "total")
    )
    return tuple(row.asDict() for row in rows.orderBy(F.col("mean_wQL").asc_nulls_last(), "model").collect())


def render(evaluation: Evaluation, console: Console | None = None) -> None:
    """Print what has arrived and how good the forecasts were."""
    out = console or default_console()
    arrival = evaluation.arrival
    if arrival is None:
        out.print(
            f"No actual of the forecasts of run {evaluation.run_id} has arrived yet; nothing was written. "
            "Ingest newer data first.",
            highlight=False,
        )
        return
    rows = [tuple(row[name] for name in _SHOWN) for row in evaluation.totals]
    out.print(table(_SHOWN, rows, title=f"Forecasts of run {evaluation.run_id} against arrived actuals"))
    share = arrival.n_points / max(arrival.n_points + arrival.n_missing, 1)
    out.print(
        f"{arrival.n_series} of {arrival.n_forecast} series have actuals; {arrival.n_points} points are scored, "
        f"{share:.0%} of the horizon",
        highlight=False,
    )


if __name__ == "__main__":
    from jobs.cli import main

    main("evaluate")
