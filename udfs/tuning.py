"""A tuning: one task a segment and model on a sample of series, in waves of one commit each, into `hpo_trials`.

Which studies are done is what the table holds, so a tuning that was cut off goes on with those that are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forecasting.evaluation.search import NO_SCORED_POINTS, Budget, Trial
from udfs.config import Config
from udfs.config.load import config_hash
from udfs.errors import InputError
from udfs.execute import stage_settings
from udfs.holiday_table import freeze
from udfs.lake import Lake, LakeInfo
from udfs.layout import quoted
from udfs.placement import placed
from udfs.plan import cores, plan_run
from udfs.runs import new_run_id
from udfs.session_settings import settings
from udfs.spec import ModelSpec
from udfs.stage import StageInput, task_spec
from udfs.tune_task import KINDS, TuneSpec, record, tune_task
from udfs.tuned import TABLE, Study, studies, tuning_digest
from udfs.work import RunPlan, waves

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

OnProgress = Callable[[int, int], None]
_SPARE = 200
"""Series beyond half as many again as the sample among which the smallest hashes are looked for."""


@dataclass(frozen=True)
class Tuning:
    """A tuning under way. version: of `series`."""

    run_id: str
    version: int
    started_at: datetime


def begin(lake: Lake, run_id: str | None) -> Tuning:
    """A new tuning; InputError for an id that is there already."""
    from pyspark.sql import functions as F

    if run_id is not None and lake.exists(TABLE) and not lake.read(TABLE).where(F.col("run_id") == run_id).isEmpty():
        raise InputError(f"tuning {run_id!r} exists already; go on with it by --resume, or give another id")
    return Tuning(run_id or new_run_id(), lake.version("series"), datetime.now())


def unfinished(lake: Lake, config: Config, run_id: str | None) -> Tuning | None:
    """The tuning to go on with: the given one, else the newest of this config if something of it is left."""
    from pyspark.sql import functions as F

    if not lake.exists(TABLE):
        return None
    rows = lake.read(TABLE)
    if run_id is not None:
        rows = rows.where(F.col("run_id") == run_id)
    else:
        rows = rows.where(F.col("config_hash") == config_hash(config))
    newest = rows.orderBy(F.desc("started_at"), F.desc("run_id")).first()
    if newest is None:
        return None
    if newest["config_hash"] != config_hash(config):
        raise InputError(
            f"tuning {run_id} was begun with another config; give the config it was begun with, or a new run id"
        )
    if run_id is None and not left(lake, config, newest["run_id"]):
        return None
    return Tuning(newest["run_id"], newest["series_version"], newest["started_at"])


def left(lake: Lake, config: Config, run_id: str) -> tuple[Study, ...]:
    """The studies of a tuning that are not in the table yet."""
    from pyspark.sql import functions as F

    wanted = studies(config)
    if not lake.exists(TABLE):
        return wanted
    rows = lake.read(TABLE).where(F.col("run_id") == run_id).select("segment", "model").distinct().collect()
    done = {(row["segment"], row["model"]) for row in rows}
    return tuple(study for study in wanted if study.key not in done)


def run_tuning(
    lake: Lake, config: Config, tuning: Tuning, info: LakeInfo, on_progress: OnProgress | None = None
) -> None:
    """Do what is left of a tuning. on_progress: called with (studies done, of all)."""
    lake.ensure(TABLE)
    wanted, todo = studies(config), left(lake, config, tuning.run_id)
    report = on_progress or (lambda *_: None)
    report(len(wanted) - len(todo), len(wanted))
    if not todo:
        return
    check_workers(lake.spark)
    source = StageInput(lake, config, tuning.version, _choices(config, todo))
    plan = plan_run(source, "backtest", info.frequency, info.buckets, None, (None, None))
    plan = replace(plan, holidays=freeze(lake, config, plan.frequency, plan.start, plan.end))
    sample = _sample(source, todo)
    full = [study for study in todo if sample.counts.get(study.position)]
    empty = [study for study in todo if not sample.counts.get(study.position)]
    if empty:
        _commit(lake, config, tuning, empty, _without_series(lake, empty))
    done = len(wanted) - len(full)
    report(done, len(wanted))
    for wave in waves(range(len(full)), cores(lake.spark)):
        some = [full[i] for i in wave]
        section = config.tuning
        assert section is not None
        budget = Budget(section.trials, section.max_evaluations, section.core_seconds)
        spec = TuneSpec(task_spec("backtest", source, plan), tuple(some), budget, section.sampler)
        with settings(lake.spark, stage_settings(spec.task, plan.mean_length)):
            _commit(lake, config, tuning, some, _searched(source, plan, spec, sample))
        done += len(some)
        report(done, len(wanted))


def check_workers(spark: SparkSession) -> None:
    """Raise InputError where a worker lacks optuna; one task a slot looks."""

    def look(batches: Any) -> Any:
        import importlib.util
        import socket

        for batch in batches:
            missing = importlib.util.find_spec("optuna") is None
            yield pa.RecordBatch.from_pydict({"host": [socket.gethostname()] * (len(batch) if missing else 0)})

    n = cores(spark)
    lacking = sorted({row["host"] for row in spark.range(0, n, 1, n).mapInArrow(look, "host string").collect()})
    if lacking:
        raise InputError(
            f"optuna, which searches the hyperparameters, is not installed on {len(lacking)} of the machines that run "
            f"tasks ({', '.join(lacking[:3])}); install almanac[tune] there, as on the driver"
        )


def _choices(config: Config, todo: Sequence[Study]) -> tuple[tuple[ModelSpec, ...], ...]:
    """The models to tune of each segment, in the order of the column `choice`."""
    return tuple(
        tuple(ModelSpec(study.model, study.hyperparameters) for study in todo if study.position == position)
        for position in range(len(config.segments) + 1)
    )


@dataclass(frozen=True)
class _Sampled:
    """keys: the sampled series, a DataFrame of key columns. buckets: where they are. counts: series by choice."""

    keys: DataFrame
    buckets: Sequence[int]
    counts: Mapping[int, int]


def _sample(source: StageInput, todo: Sequence[Study]) -> _Sampled:
    """The series with the smallest hashes of each segment that is left, among those with a history."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    section, key, spark = source.config.tuning, source.lake.layout.key, source.lake.spark
    assert section is not None
    wanted = sorted({study.position for study in todo})
    series = source.profiles(None).where((F.col("segment") == 0) & (F.col("n") > 0) & F.col("choice").isin(wanted))
    sizes = {row["choice"]: row["n"] for row in series.groupBy("choice").agg(F.count("*").alias("n")).collect()}
    # A window function brings a segment's rows into one task: only those come that can be among the smallest.
    few = F.lit(False)
    for choice, n in sizes.items():
        share = min(1.0, (1.5 * section.sample + _SPARE) / n)
        limit = min(int(-(2.0**63) + share * 2.0**64), 2**63 - 1)
        few = few | ((F.col("choice") == choice) & (F.col("hash") <= F.lit(limit)))
    hashed = series.withColumn("hash", F.xxhash64(*key)).where(few)
    place = F.row_number().over(Window.partitionBy("choice").orderBy("hash", *key))
    rows = hashed.withColumn("position", place).where(F.col("position") <= section.sample)
    found = rows.select(*key, "bucket", "choice").collect()
    counts: dict[int, int] = {}
    for row in found:
        counts[row["choice"]] = counts.get(row["choice"], 0) + 1
    ddl = ", ".join(f"{quoted(name)} string" for name in key)
    keys = spark.createDataFrame([tuple(row[name] for name in key) for row in found], ddl)
    return _Sampled(keys, sorted({row["bucket"] for row in found}), counts)


def _searched(source: StageInput, plan: RunPlan, spec: TuneSpec, sample: _Sampled) -> DataFrame:
    """The trials of some studies, each study in a task of its own."""
    from pyspark.sql import functions as F

    rows = source.rows(plan, None, sample.buckets)
    rows = rows.join(F.broadcast(sample.keys), list(source.lake.layout.key), "left_semi")
    places = [F.when(F.col("choice") == study.position, F.lit(place)) for place, study in enumerate(spec.studies)]
    rows = rows.withColumn("place", F.explode(F.filter(F.array(*places), lambda p: p.isNotNull())))
    return placed(rows, len(spec.studies)).mapInArrow(tune_task(spec), _ddl(source.lake))


def _without_series(lake: Lake, empty: Sequence[Study]) -> DataFrame:
    """Studies of segments that no series is in."""
    trials = [
        record(study, Trial(0, study.hyperparameters, float("nan"), 0, 0.0, "failed", NO_SCORED_POINTS), 0)
        for study in empty
    ]
    return lake.spark.createDataFrame([tuple(trial[name] for name in KINDS) for trial in trials], _ddl(lake))


def _ddl(lake: Lake) -> str:
    schema = lake.schemas[TABLE]
    return ", ".join(f"{quoted(name)} {schema.column(name).type}" for name in KINDS)


def _commit(lake: Lake, config: Config, tuning: Tuning, done: Sequence[Study], rows: DataFrame) -> None:
    from pyspark.sql import functions as F

    constants = {
        "run_id": tuning.run_id,
        "digest": tuning_digest(config),
        "config_hash": config_hash(config),
        "series_version": tuning.version,
        "started_at": tuning.started_at,
        "curve": None,
    }
    types = {name: lake.schemas[TABLE].column(name).type for name in constants}
    rows = rows.withColumns({name: F.lit(value).cast(types[name]) for name, value in constants.items()})
    digest = hashlib.sha256(repr([study.key for study in done]).encode()).hexdigest()[:16]
    lake.append_once(TABLE, rows, f"{TABLE}/{tuning.run_id}/{digest}")
