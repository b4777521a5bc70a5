"""What the verbs that work in stages share: which run they go on with, and the stage itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from jobs.context import Job
from udfs import runs
from udfs.config.load import config_hash, resolved_json
from udfs.deep_forecasts import NO_FORECASTS, DeepForecasts
from udfs.derive import config_of
from udfs.derive_parameters import Start
from udfs.errors import InputError
from udfs.execute import OnProgress, StageSummary, accounted, run_stage, summaries
from udfs.holiday_table import freeze
from udfs.lake import LakeInfo
from udfs.life_stage import successors_version
from udfs.limits import check_limits, condition
from udfs.plan import plan_run, plan_stage
from udfs.runs import Run
from udfs.spec import Stage
from udfs.stage import StageInput

Limits = tuple[str | None, Sequence[str] | None]
"""SQL over the key columns, and items."""


def ingested(job: Job) -> LakeInfo:
    """The identity of the job's lake; InputError where nothing was ingested yet."""
    info = job.lake.info()
    if info is None or not job.lake.exists("series"):
        raise InputError("the lake holds no series yet; run `almanac ingest` (or `almanac run`) first")
    return info


def unfinished_run(job: Job, run_id: str | None, limits: Limits) -> Run | None:
    """The run to go on with: the given one, else the newest unfinished one of this config and these limits."""
    if run_id is None:
        return runs.unfinished(job.lake, job.config, *limits)
    run = runs.find(job.lake, run_id)
    if run is not None:
        check_same(job, run, limits)
    return run


def check_same(job: Job, run: Run, limits: Limits | None) -> None:
    """Raise InputError where a run was begun with another config or other limits."""
    if run.config_hash != config_hash(job.config):
        raise InputError(
            f"run {run.run_id} was begun with another config; give the config it was begun with, or a new run id"
        )
    if limits is not None and not runs.same_limits(run, *limits):
        raise InputError(
            f"run {run.run_id} was begun with other limits (where {run.plan.where!r}, items {run.plan.items}); "
            "give the same, or a new run id"
        )


def refuse_known(job: Job, run_id: str | None) -> None:
    """Raise InputError for the id of a run that exists."""
    if run_id is not None and runs.find(job.lake, run_id) is not None:
        raise InputError(f"run {run_id!r} exists already; go on with it by --resume, or give another id")


def resolved(job: Job, run: Run) -> Job:
    """The job with the models of the run: those of the config and those that its tuning found."""
    if not run.plan.tuning:
        return job
    found = config_of(run)
    return replace(job, config=job.config.model_copy(update={"models": found.models, "segments": found.segments}))


def new_run(
    job: Job,
    source: StageInput,
    stage: Stage,
    info: LakeInfo,
    limits: Limits,
    run_id: str | None,
    *,
    model: str | None = None,
    start: Start | None = None,
    tuning: str = "",
    deep: DeepForecasts = NO_FORECASTS,
) -> Run:
    """A run with a plan for its first stage, written. model: the one model of its forecast, where one is given.
    start: where its fits start from. tuning: the tuning whose settings are among the models of the source's config,
    which is the one that is stored with the run. deep: the forecasts by the global model that its own takes."""
    refuse_known(job, run_id)
    series = job.lake.read("series", source.version)
    where, items = limits[0], None if limits[1] is None else tuple(dict.fromkeys(limits[1]))
    check_limits(series, job.lake.layout.key, where, items)
    limit = condition(job.lake.layout.key, where, items)
    plan = plan_run(source, stage, info.frequency, info.buckets, limit, (where, items))
    holidays = freeze(job.lake, job.config, plan.frequency, plan.start, plan.end)
    links = successors_version(job.lake, job.config)
    pinned = {"series": source.version, "holidays": holidays, "successors": links}
    versions = {table: version for table, version in pinned.items() if version is not None}
    plan = replace(plan, model=model, holidays=holidays, tuning=tuning, successors=links)
    run = replace(runs.new_run(job.config, plan, versions, run_id), config=resolved_json(source.config))
    run = deep.pinned(run if start is None else start.pinned(run))
    runs.create(job.lake, run)
    return run


def do_stage(
    job: Job, source: StageInput, run: Run, stage: Stage, on_progress: OnProgress | None, *, new: bool = False
) -> tuple[Run, StageSummary]:
    """Plan the stage if that was not done, do what is left of it, and count. The counts are not written yet.

    new: the run was made just now, so nothing of it can be in `results`."""
    limit = condition(job.lake.layout.key, run.plan.where, run.plan.items)
    if stage not in run.plan.stages:
        run = runs.replaced(job.lake, run, plan=plan_stage(source, stage, run.plan, limit))
    run_stage(source, run, stage, limit, on_progress, done=set() if new else None)
    found = summaries(job.lake, run)
    return accounted(run, job.config, found), found[stage]
