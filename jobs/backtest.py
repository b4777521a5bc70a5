"""The verb `backtest`: every model of each series on backtest windows, into `results`."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jobs.context import ConfigSource, open_job
from jobs.stage import do_stage, ingested, new_run, unfinished_run
from udfs import runs
from udfs.errors import InputError
from udfs.execute import OnProgress, check_failed_share
from udfs.runs import Run
from udfs.stage import StageInput, all_models

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def backtest(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    resume: bool = False,
    where: str | None = None,
    items: Sequence[str] | None = None,
    overrides: Iterable[str] = (),
    on_progress: OnProgress | None = None,
    enforce_limits: bool = True,
) -> Run:
    """Run every model of each series' segment on windows 1 to W and return the run, which stays unfinished until its
    forecast.

    run_id: the new run's id; made up unless given. resume: go on with the newest unfinished run of this config (or
    `run_id`) with the same limits; without one, begin anew. where: SQL over the key columns. items: keys, parts joined
    by "/". on_progress: called with (series done, of all). enforce_limits: raise ThresholdError, after all work is
    done and written, when more series than limits.max_failed_share have no model's own forecast in any window.
    Raises InputError for a lake without series, limits that name nothing, and windows that do not fit.
    """
    job = open_job(config, spark, overrides=overrides)
    if job.config.backtest.windows == 0:
        raise InputError("backtest.windows is 0: there is nothing to backtest; set it to 1 or more")
    info = ingested(job)
    run = unfinished_run(job, run_id, (where, items)) if resume else None
    version = run.series_version if run else job.lake.version("series")
    source = StageInput(job.lake, job.config, version, all_models(job.config))
    new = run is None
    if run is None:
        run = new_run(job, source, "backtest", info, (where, items), run_id)
    run, summary = do_stage(job, source, run, "backtest", on_progress, new=new)
    runs.update(job.lake, run)
    if enforce_limits:
        check_failed_share("backtest", summary, job.config)
    return run


if __name__ == "__main__":
    from jobs.cli import main

    main("backtest")
