"""A stage of a run: planned once, done in waves of one mapInArrow job and one Delta commit each, resumed by what the
table `results` already holds."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from udfs.cold_pool import with_cold_start
from udfs.config import Config
from udfs.errors import ThresholdError
from udfs.lake import Lake
from udfs.parts import PIECE_VALUES
from udfs.phase_out import keep_curves
from udfs.placement import looked_up, placed
from udfs.plan import cores
from udfs.results import writing_settings
from udfs.runs import Run
from udfs.session_settings import settings
from udfs.spec import Stage, TaskSpec
from udfs.stage import FROM_SPARK, StageInput, cell_column, task_spec
from udfs.task import task
from udfs.work import RunPlan, places, slots, waves

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

OnProgress = Callable[[int, int], None]
BATCH_BYTES = 32 * 2**20
BATCH_RECORDS = 10_000
_OWN = ("ok", "timeout")
"""Statuses of a row with a model's own forecast. `skipped` was not asked for; the others had to be helped out."""


def run_stage(
    source: StageInput,
    run: Run,
    stage: Stage,
    where: Column | None,
    on_progress: OnProgress | None = None,
    *,
    done: set[int] | None = None,
) -> None:
    """Do what is left of a stage. A wave is one job and one commit: a run that was cut off, wherever, goes on with
    the units that `results` does not hold yet and ends with the same table. done: those units; None looks."""
    lake, plan = source.lake, run.plan.stages[stage]
    lake.ensure("results")
    if done is None:
        done = committed(lake, run.run_id, stage)
    left = [unit for unit in range(len(plan)) if unit not in done and plan.series[unit]]
    finished = sum(plan.series[unit] for unit in done)
    report = on_progress or (lambda *_: None)
    report(finished, run.plan.n_series)
    spec = with_cold_start(task_spec(stage, source, run.plan), source, run)
    if spec.lifecycle is not None:
        keep_curves(lake, run.run_id, spec.lifecycle.curves)
    with settings(lake.spark, stage_settings(spec, run.plan.mean_length)):
        while left:
            units = waves(left, cores(lake.spark))[0]
            _commit(source, run, stage, spec, units, where)
            left = left[len(units) :]
            finished += sum(plan.series[unit] for unit in units)
            report(finished, run.plan.n_series)


def committed(lake: Lake, run_id: str, stage: Stage) -> set[int]:
    """The work units whose rows are in `results`."""
    from pyspark.sql import functions as F

    rows = lake.read("results").where((F.col("run_id") == run_id) & (F.col("stage") == stage))
    return {int(row["unit"]) for row in rows.select("unit").distinct().collect()}


def _commit(
    source: StageInput, run: Run, stage: Stage, spec: TaskSpec, units: Sequence[int], where: Column | None
) -> None:
    rows = wave(source, run.plan, spec, units, where)
    for column, value in zip(FROM_SPARK, (run.run_id, stage), strict=True):
        from pyspark.sql import functions as F

        rows = rows.withColumn(column, F.lit(value))
    digest = hashlib.sha256(repr(tuple(units)).encode()).hexdigest()[:16]
    source.lake.append_once("results", rows, f"results/{run.run_id}/{stage}/{digest}")


def wave(source: StageInput, plan: RunPlan, spec: TaskSpec, units: Sequence[int], where: Column | None) -> DataFrame:
    """The rows of some units, each made by a task of its own."""
    from pyspark.sql import functions as F

    first, position = places(plan.stages[spec.stage], units)
    n = slots(plan.buckets)
    buckets = np.unique((first + np.flatnonzero(position >= 0)) // n)
    cell = cell_column(source.lake.layout.key, plan.buckets) - F.lit(first)
    rows = source.rows(plan, where, [int(b) for b in buckets])
    rows = rows.withColumn("place", looked_up(position, cell)).where(F.col("place") >= 0)
    ddl = source.lake.schemas["results"].ddl(spec.columns)
    return placed(rows, len(units)).mapInArrow(task(spec, tuple(units)), ddl)


def stage_settings(spec: TaskSpec, mean_length: float) -> dict[str, str]:
    """Batches that are bounded in bytes, in and out; and what makes the Parquet files cheap to write."""
    per_row = 8 * max(mean_length, 1.0, spec.n_windows * spec.horizon * (len(spec.quantiles) + 2))
    records = int(np.clip(BATCH_BYTES / per_row, 1, BATCH_RECORDS))
    wanted = {
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(records),
        "spark.sql.execution.arrow.maxBytesPerBatch": str(8 * PIECE_VALUES),
    }
    return wanted | writing_settings(spec.bounds)


@dataclass(frozen=True)
class StageSummary:
    """What came of a stage. own: series with at least one forecast of a model's own (not a fallback), or of which none
    was asked for. rows: by status. seconds: core-seconds of the tasks."""

    series: int
    own: int
    rows: Mapping[str, int]
    seconds: float

    @property
    def failed_share(self) -> float:
        """The share of series for which no model gave a forecast of its own."""
        return (self.series - self.own) / self.series if self.series else 0.0


def summaries(lake: Lake, run: Run) -> dict[str, StageSummary]:
    """What came of each stage of a run so far, from the narrow columns of `results`."""
    from pyspark.sql import functions as F

    rows = lake.read("results").where(F.col("run_id") == run.run_id)
    counted = rows.groupBy("stage", "status").agg(F.count("*").alias("rows"), F.sum("seconds").alias("seconds"))
    found: dict[str, dict[str, tuple[int, float]]] = {}
    for row in counted.collect():
        found.setdefault(row["stage"], {})[row["status"]] = (row["rows"], row["seconds"])
    helped = [stage for stage, by_status in found.items() if by_status.keys() - set(_OWN)]
    own = _series_with_own(rows.where(F.col("stage").isin(helped)), lake.layout.key) if helped else {}
    return {
        stage: StageSummary(
            series=run.plan.n_series,
            own=own.get(stage, 0) if stage in helped else run.plan.n_series,
            rows={status: n for status, (n, _) in by_status.items()},
            seconds=sum(seconds for _, seconds in by_status.values()),
        )
        for stage, by_status in found.items()
    }


def _series_with_own(rows: DataFrame, key: Sequence[str]) -> dict[str, int]:
    """How many series have a row of a model's own, or only skipped ones, by stage."""
    from pyspark.sql import functions as F

    has_own = F.max(F.col("status").isin(list(_OWN))).alias("own")
    none_asked = F.min(F.col("status") == "skipped").alias("skipped")
    series = rows.groupBy("stage", F.xxhash64(*key).alias("series")).agg(has_own, none_asked).where("own OR skipped")
    return {row["stage"]: int(row["n"]) for row in series.groupBy("stage").agg(F.count("*").alias("n")).collect()}


def accounted(run: Run, config: Config, found: Mapping[str, StageSummary]) -> Run:
    """The run with its counts, core-seconds and cost per 1,000 forecasts (a forecast: a series, the whole horizon)."""
    counts = {"series": run.plan.n_series}
    for stage, summary in found.items():
        counts |= {f"{stage}_{status}": n for status, n in summary.rows.items()}
    seconds = sum(summary.seconds for summary in found.values())
    dollars = seconds / 3600 * config.cost.core_hour
    return replace(
        run,
        counts={**run.counts, **counts},
        core_seconds=round(seconds, 3),
        cost_per_1000_forecasts=dollars / max(run.plan.n_series, 1) * 1000,
    )


def check_failed_share(stage: Stage, summary: StageSummary, config: Config) -> None:
    """Raise ThresholdError when more series than `limits.max_failed_share` have no forecast of their own."""
    limit = config.limits.max_failed_share
    if summary.failed_share > limit:
        failed = summary.series - summary.own
        raise ThresholdError(
            f"{failed} of {summary.series} series ({summary.failed_share:.1%}) have no forecast of their own in stage "
            f"{stage}, more than limits.max_failed_share ({limit:.1%}); a fallback stands in. "
            "The view `ledger` names them with the reason"
        )
