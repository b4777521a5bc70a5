"""The verb `select`: each series' model from its backtests, and the metrics of all of them."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from jobs.context import ConfigSource, Job, open_job
from jobs.stage import check_same, resolved
from jobs.tables import console as default_console
from jobs.tables import table
from udfs import runs
from udfs.cold_contest import cold_deepar_segments
from udfs.config.cold_start import active_cold_start
from udfs.config.load import config_hash
from udfs.derive import derive_backtest
from udfs.derive_neighbours import mark_selection
from udfs.errors import InputError
from udfs.runs import Run

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@dataclass(frozen=True)
class Choice:
    """What was chosen. models: series by chosen model. reasons: series by reason."""

    run_id: str
    models: Mapping[str, int]
    reasons: Mapping[str, int]


def select(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    overrides: Iterable[str] = (),
) -> Choice:
    """Derive `selection` and `metrics` of a run from its backtests; again and again gives the same tables.

    run_id: the run; None takes the newest of this config. Raises InputError where there is none, for a run of another
    config and for one without backtests.
    """
    job = open_job(config, spark, overrides=overrides)
    run = _run(job, run_id)
    config = resolved(job, run).config
    derive_backtest(job.lake, run.run_id, config)
    cold = cold_deepar_segments(job.lake, run.run_id, config)
    if cold != run.plan.deepar_cold:
        runs.update(job.lake, replace(run, plan=replace(run.plan, deepar_cold=cold)))
    if active_cold_start(job.config) is not None:
        mark_selection(job.lake, run.run_id)
    return chosen(job, run.run_id)


def _run(job: Job, run_id: str | None) -> Run:
    if run_id is not None:
        run = runs.get(job.lake, run_id)
        check_same(job, run, None)
    else:
        found = runs.newest(job.lake, config_hash(job.config))
        if not found:
            raise InputError("there is no run of this config in the lake; run `almanac backtest` first")
        run = next((r for r in found if "backtest" in r.plan.stages), found[0])
    if job.config.backtest.windows and "backtest" not in run.plan.stages:
        raise InputError(f"run {run.run_id} has no backtests to choose by; run `almanac backtest` first")
    return run


def chosen(job: Job, run_id: str) -> Choice:
    """How many series chose each model, and why."""
    from pyspark.sql import functions as F

    selection = job.lake.read("selection").where(F.col("run_id") == run_id)
    counts = selection.groupBy("model", "reason").count().collect()
    models: dict[str, int] = {}
    reasons: dict[str, int] = {}
    for row in sorted(counts, key=lambda r: (-r["count"], r["model"])):
        models[row["model"]] = models.get(row["model"], 0) + row["count"]
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + row["count"]
    return Choice(run_id, _largest_first(models), _largest_first(reasons))


def _largest_first(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def render(choice: Choice, console: Console | None = None) -> None:
    """Print how many series chose each model."""
    out = console or default_console()
    total = sum(choice.models.values())
    rows = [(model, n, f"{n / total:.0%}") for model, n in choice.models.items()]
    out.print(table(("model", "series", "share"), rows, title=f"Chosen models of run {choice.run_id}"))
    out.print("Why: " + ", ".join(f"{reason} {n}" for reason, n in choice.reasons.items()), highlight=False)


if __name__ == "__main__":
    from jobs.cli import main

    main("select")
