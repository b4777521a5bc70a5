"""The verb `run`: ingest, backtest, select, forecast, publish; every day the same call."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from forecasting.levels import quantile_column
from jobs.backtest import backtest
from jobs.context import ConfigSource, Frames, Job, open_job
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.ingest import render as render_ingest
from jobs.leaderboard import IN_SAMPLE
from jobs.progress import progress
from jobs.select import chosen, select
from jobs.select import render as render_choice
from jobs.stage import unfinished_run
from jobs.tables import console as default_console
from jobs.tables import show
from jobs.tune import render as render_tuning
from jobs.tune import tune
from jobs.warm import warming
from udfs import runs
from udfs.config.load import config_hash, load_config
from udfs.errors import ThresholdError
from udfs.runs import Run
from udfs.tuned import usable_tuning
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


_SHOWN_STEPS = 7


@dataclass(frozen=True)
class RunReport:
    """What a run left behind: where to look, and the threshold it passed, if it did."""

    run: Run
    job: Job
    source: str = "CONFIG"
    threshold: ThresholdError | None = None


def run(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    target: DataFrame | None = None,
    related: Sequence[DataFrame] = (),
    items: Sequence[DataFrame] = (),
    calendar: DataFrame | None = None,
    run_id: str | None = None,
    resume: bool = False,
    where: str | None = None,
    only: Sequence[str] | None = None,
    overrides: Iterable[str] = (),
    console: Console | None = None,
) -> RunReport:
    """The whole pipeline.

    target, related, items, calendar: DataFrames in place of the config's sources. where: SQL over the key columns;
    only: items, key parts joined by "/". resume: go on with the newest unfinished run of this config; its inputs are
    those that it began with, so nothing is ingested. With a section `tuning` that no tuning in the lake fits, `tune`
    comes first. Raises InputError and ConfigError before anything is written.
    When more series than limits.max_failed_share have no forecast of their own, the report says so (`threshold`) and
    the run is not published; the command line then ends with exit code 3.
    """
    out = console or default_console()
    frames = Frames(target=target, related=related, items=items, calendar=calendar)
    loaded = load_config(config, overrides, frames=frames.given)
    limits = (where, only)
    with warming(loaded, given=spark):
        job = open_job(loaded, spark, frames=frames)
        going_on = resume and job.lake.exists("runs") and unfinished_run(job, run_id, limits) is not None
        if not going_on:
            given = {"target": target, "related": related, "items": items, "calendar": calendar}
            report = ingest(loaded, job.spark, **given)  # type: ignore[arg-type]
            render_ingest(report, out)
            if job.config.tuning is not None and usable_tuning(job.lake, job.config) is None:
                with progress("tune", out) as update:
                    found = tune(loaded, job.spark, resume=resume, on_progress=update)
                render_tuning(found, out)
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
    return RunReport(run=done, job=job, source=_named(config), threshold=threshold)


def _named(config: ConfigSource) -> str:
    """The config as a command line would name it."""
    return str(config) if isinstance(config, str | Path) else "CONFIG"


def render(report: RunReport, console: Console | None = None, *, picture: Path | None = None) -> None:
    """The leaderboard, how many series chose each model, one forecast, where things are, what to try next."""
    from pyspark.sql import functions as F

    out = console or default_console()
    job, run_id = report.job, report.run.run_id
    register_views(job.spark, job.lake)
    if job.config.backtest.windows:
        board = job.spark.table("leaderboard").where(F.col("run_id") == run_id).drop("run_id").orderBy("rank")
        show(board, out, "Leaderboard: all backtest windows, best first")
        if job.config.backtest.windows == 1:
            out.print(IN_SAMPLE, highlight=False, soft_wrap=True)
        render_choice(chosen(job, run_id), out)
    _show_one(report, out)
    place = job.lake.place.path or ".".join(p for p in (job.lake.place.catalog, job.lake.place.schema_) if p)
    out.print(f"Tables of run {run_id}: {place}", highlight=False, soft_wrap=True)
    if picture is not None:
        out.print(f"Picture: {picture}", highlight=False, soft_wrap=True)
    columns = ", ".join((*job.lake.layout.key, *_values(report)))
    out.print(
        f"Next: almanac query --config {report.source} "
        f'"SELECT {columns}, timestamp FROM forecasts_latest WHERE step = 1 ORDER BY {_values(report)[0]} DESC"',
        highlight=False,
        soft_wrap=True,
    )


def _values(report: RunReport) -> list[str]:
    """The forecast columns of the run's config, the point forecast first."""
    names = [quantile_column(q) for q in report.job.config.quantiles]
    point = "p50" if "p50" in names else "mean" if report.job.config.mean else names[len(names) // 2]
    return [point, *(name for name in names if name != point)]


def _show_one(report: RunReport, out: Console) -> None:
    """A week of the largest series' forecast."""
    from pyspark.sql import functions as F

    job, key = report.job, report.job.lake.layout.key
    values = _values(report)
    latest = job.lake.read("forecasts").where(F.col("run_id") == report.run.run_id)
    top = latest.groupBy(*key).agg(F.sum(values[0]).alias("total")).orderBy(F.col("total").desc(), *key).first()
    if top is None:
        return
    mine = latest
    for name in key:
        mine = mine.where(F.col(name) == top[name])
    rows = mine.where(F.col("step") <= _SHOWN_STEPS).orderBy("step").select("timestamp", "model", *values)
    show(rows, out, f"Forecast of {'/'.join(top[name] for name in key)}, its first {_SHOWN_STEPS} steps")


if __name__ == "__main__":
    from jobs.cli import main

    main("run")
