"""The verb `backtest`: every model of each series on backtest windows, into `results`."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jobs.context import ConfigSource, Job, open_job
from jobs.stage import do_stage, ingested, new_run, resolved, unfinished_run
from udfs import runs
from udfs.config import Config
from udfs.errors import InputError
from udfs.execute import OnProgress, check_failed_share
from udfs.runs import Run
from udfs.stage import StageInput, all_models
from udfs.tuned import usable_tuning, winners, with_winners

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
    With a section `tuning` the newest usable tuning's settings compete too, as `<model>+tuned`, and the run keeps to
    that tuning. Raises InputError for a lake without series, limits that name nothing, windows that do not fit, and
    where such a tuning is not there.
    """
    job = open_job(config, spark, overrides=overrides)
    if job.config.backtest.windows == 0:
        raise InputError("backtest.windows is 0: there is nothing to backtest; set it to 1 or more")
    info = ingested(job)
    run = unfinished_run(job, run_id, (where, items)) if resume else None
    version = run.series_version if run else job.lake.version("series")
    tuning = run.plan.tuning if run else _tuning(job)
    config = resolved(job, run).config if run else _tuned(job, tuning)
    source = StageInput(job.lake, config, version, all_models(config))
    new = run is None
    if run is None:
        run = new_run(job, source, "backtest", info, (where, items), run_id, tuning=tuning)
    run, summary = do_stage(job, source, run, "backtest", on_progress, new=new)
    runs.update(job.lake, run)
    if enforce_limits:
        check_failed_share("backtest", summary, job.config)
    return run


def _tuning(job: Job) -> str:
    """The tuning that a new run takes, "" where the config asks for none."""
    if job.config.tuning is None:
        return ""
    found = usable_tuning(job.lake, job.config)
    if found is None:
        raise InputError(
            "the config has a section tuning and the lake holds no finished tuning that fits it; run `almanac tune` "
            "first (or `almanac run`, which does), or leave the section out"
        )
    return found


def _tuned(job: Job, tuning: str) -> Config:
    return with_winners(job.config, winners(job.lake, tuning)) if tuning else job.config


if __name__ == "__main__":
    from jobs.cli import main

    main("backtest")
