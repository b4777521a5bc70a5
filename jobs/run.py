"""The verb `run`: ingest, backtest, select, forecast, publish; every day the same call."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.backtest import backtest
from jobs.context import ConfigSource, Frames, Job, open_job
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.ingest import render as render_ingest
from jobs.progress import progress
from jobs.select import select
from jobs.stage import unfinished_run
from jobs.tables import show
from jobs.warm import warming
from udfs import runs
from udfs.config.load import config_hash, load_config
from udfs.errors import ThresholdError
from udfs.runs import Run
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class RunReport:
    """What a run left behind: where to look, and the threshold it passed, if it did."""

    run: Run
    job: Job
    threshold: ThresholdError | None = None


def run(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    target: DataFrame | None = None,
    related: Sequence[DataFrame] = (),
    items: Sequence[DataFrame] = (),
    run_id: str | None = None,
    resume: bool = False,
    where: str | None = None,
    only: Sequence[str] | None = None,
    overrides: Iterable[str] = (),
    console: Console | None = None,
) -> RunReport:
    """The whole pipeline.

    target, related, items: DataFrames in place of the config's sources. where: SQL over the key columns; only: items,
    key parts joined by "/". resume: go on with the newest unfinished run of this config; its inputs are those that it
    began with, so nothing is ingested. Raises InputError and ConfigError before anything is written. When
    more series than limits.max_failed_share have no forecast of their own, the report says so (`threshold`) and the run
    is not published; the command line then ends with exit code 3.
    """
    out = console or Console()
    frames = Frames(target=target, related=related, items=items)
    loaded = load_config(config, overrides, frames=frames.given)
    limits = (where, only)
    with warming(loaded, given=spark):
        job = open_job(loaded, spark, frames=frames)
        going_on = resume and job.lake.exists("runs") and unfinished_run(job, run_id, limits) is not None
        if not going_on:
            report = ingest(loaded, job.spark, target=target, related=related, items=items)
            render_ingest(report, out)
    if job.config.backtest.windows:
        with progress("backtest", out) as update:
            begun = backtest(
                loaded, job.spark, run_id=run_id, resume=resume, where=where, items=only, on_progress=update,
                enforce_limits=False,
            )  # fmt: skip
        run_id = begun.run_id
        select(loaded, job.spark, run_id=run_id)
    threshold = None
    try:
        with progress("forecast", out) as update:
            done = forecast(loaded, job.spark, run_id=run_id, where=where, items=only, on_progress=update)
    except ThresholdError as passed:
        threshold = passed
        done = runs.newest(job.lake, config_hash(loaded))[0]
    return RunReport(run=done, job=job, threshold=threshold)


def render(report: RunReport, console: Console | None = None, *, picture: Path | None = None) -> None:
    """The leaderboard, how many series chose each model, one forecast, where things are, what to try next."""
    out = console or Console()
    spark, lake = report.job.spark, report.job.lake
    register_views(spark, lake)
    if report.job.config.backtest.windows:
        show(
            spark.sql("SELECT * FROM leaderboard WHERE run_id = :run", args={"run": report.run.run_id}),
            out,
            "Leaderboard",
        )
        chosen = (
            "SELECT model, count(*) AS series FROM selection WHERE run_id = :run GROUP BY model ORDER BY series DESC"
        )
        show(spark.sql(chosen, args={"run": report.run.run_id}), out, "Models chosen")
    first = spark.sql(
        "SELECT * FROM forecasts WHERE run_id = :run AND step = 1 ORDER BY p50 DESC LIMIT 1",
        args={"run": report.run.run_id},
    )
    show(first, out, "One forecast")
    out.print(f"run {report.run.run_id}, tables in {lake.place.path or lake.place.schema_}")
    if picture is not None:
        out.print(f"picture: {picture}")


if __name__ == "__main__":
    from jobs.cli import main

    main()
