"""The verb `forecast`: each series' chosen model at its full history, into `results` and from there `forecasts`."""

from __future__ import annotations

if __name__ == "__main__":  # run as a file: this folder leaves the path, where its select.py would hide Python's own
    import sys

    sys.path[0] = __file__.rpartition("/")[0].rpartition("/")[0] or "."

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jobs.context import ConfigSource, Job, open_job
from jobs.stage import Limits, check_same, do_stage, ingested, new_run, resolved
from udfs import runs
from udfs.config.load import config_hash
from udfs.config.schema import check_models
from udfs.deep_forecasts import NO_FORECAST, NO_FORECASTS, DeepForecasts, count_missing, find_forecasts, names_deepar
from udfs.derive import config_of, derive_forecasts
from udfs.derive_components import derive_components
from udfs.derive_events import derive_events
from udfs.derive_neighbours import derive_cold_start
from udfs.derive_parameters import Start, count_starts, derive_parameters, find_start
from udfs.errors import InputError
from udfs.execute import OnProgress, check_failed_share
from udfs.lake import Lake, LakeInfo
from udfs.runs import Run
from udfs.stage import StageInput, all_models, fixed_model, member_models
from udfs.stored import FULL

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def forecast(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    run_id: str | None = None,
    model: str | None = None,
    predictor: str | None = None,
    where: str | None = None,
    items: Sequence[str] | None = None,
    overrides: Iterable[str] = (),
    on_progress: OnProgress | None = None,
) -> Run:
    """Forecast every series of a run by the model that `selection` chose, derive `forecasts`, finish and publish.

    run_id: the run; None takes the newest of this config that has a selection. model: one model for all series in
    place of a selection; a config with one model (a segment) needs neither. predictor: a run whose selection, weights
    and calibration are applied to today's data in a new run, and with `refit` warm or never its parameters. A run
    whose forecasts are there already is done again as a new run, by its selection, when `series` has changed since,
    the global model has been chosen since, or other limits (where, items) are given; otherwise nothing is left to do
    and only the tables are derived anew. A run that was cut off goes on. A run with more series in fallback than
    limits.max_failed_share is finished but not published, and ThresholdError is raised: readers keep the last good
    run, and `udfs.runs.publish` overrules. Raises InputError where there is no selection, and for a run of another
    config.
    """
    job = open_job(config, spark, overrides=overrides)
    info = ingested(job)
    if model is not None:
        _check_model(model)
    limits = (where, items) if where is not None or items is not None else None
    if predictor is None:
        run = _run(job, info, run_id, model, limits)
    else:
        job, run = _by_predictor(job, info, runs.get(job.lake, predictor), run_id, model, limits)
    job = resolved(job, run)
    source = _source(job, run.series_version, run.run_id, run.plan.model, Start.of(run), DeepForecasts.of(run))
    run, summary = do_stage(job, source, run, "forecast", on_progress)
    derive_forecasts(job.lake, run.run_id, job.config)
    derive_parameters(job.lake, run.run_id)
    derive_events(source, run)
    if source.cold is not None:
        derive_cold_start(job.lake, run.run_id)
    if job.config.components:
        fits = (run.run_id, job.lake.version("parameters"))
        derive_components(replace(source, stored=fits), run, job.config.components)
    if names_deepar(job.lake, run.run_id):
        run = replace(run, counts={**run.counts, NO_FORECAST: count_missing(job.lake, run.run_id)})
    if run.plan.refit != FULL:
        run = replace(run, counts={**run.counts, **count_starts(job.lake, run.run_id)})
    run = runs.finish(job.lake, run)
    check_failed_share("forecast", summary, job.config)
    runs.publish(job.lake, run.run_id)
    return replace(run, published=True)


def _check_model(model: str) -> None:
    try:
        check_models({model: {}})
    except ValueError as error:
        raise InputError(str(error)) from None


def _source(job: Job, version: int, run_id: str, model: str | None, start: Start, deep: DeepForecasts) -> StageInput:
    stored = None if start.version is None else (start.run_id, start.version)
    if model is not None or not (_needs_selection(job) or has_selection(job.lake, run_id)):
        return StageInput(job.lake, job.config, version, fixed_model(job.config, model), stored=stored)
    choices, shares = member_models(job.lake, run_id, job.config, deep)
    return StageInput(job.lake, job.config, version, choices, run_id, stored, shares, deep)


def _needs_selection(job: Job) -> bool:
    return job.config.tuning is not None or any(len(models) > 1 for models in all_models(job.config))


def _run(job: Job, info: LakeInfo, run_id: str | None, model: str | None, limits: Limits | None) -> Run:
    """The run to forecast, made where there is none to go on with."""
    free = model is not None or not _needs_selection(job)
    basis = _known(job, run_id, free)
    if basis is None:
        if not free:
            raise InputError(_no_selection(job, run_id))
        return _begin(job, info, run_id, model, limits or (None, None))
    again = basis.plan.model != model and "forecast" in basis.plan.stages
    again |= limits is not None and not runs.same_limits(basis, *limits)
    again |= basis.state == runs.FINISHED and basis.series_version != job.lake.version("series")
    again |= not Start.of(basis).wanted(job.config) and "forecast" in basis.plan.stages
    again |= model is None and "forecast" in basis.plan.stages and _deepar_came_later(job, basis)
    if not again:
        fixed = basis if basis.plan.model == model else replace(basis, plan=replace(basis.plan, model=model))
        return _with_deepar(job, _with_start(job, fixed))
    return _begin(job, info, None, model, limits or (basis.plan.where, basis.plan.items), chosen=basis)


def _by_predictor(
    job: Job, info: LakeInfo, predictor: Run, run_id: str | None, model: str | None, limits: Limits | None
) -> tuple[Job, Run]:
    """A new run by the decisions of an earlier one, and the job with that one's models.

    Raises InputError where those decisions do not fit: none were made, or they were made for other steps or levels.
    """
    if model is not None:
        raise InputError("a predictor says which models forecast a series: give --predictor or --model, not both")
    if not has_selection(job.lake, predictor.run_id):
        raise InputError(_no_selection(job, predictor.run_id))
    made = (predictor.horizon, predictor.quantiles)
    if made != (job.config.horizon, job.config.quantiles):
        raise InputError(
            f"predictor {predictor.run_id} was made for horizon {made[0]} and quantiles {list(made[1])}; the config "
            f"asks for {job.config.horizon} and {list(job.config.quantiles)}: give the predictor's, or make another"
        )
    past = config_of(predictor)
    changes: dict[str, Any] = {name: getattr(past, name) for name in _OF_PREDICTOR}
    if job.config.refit != FULL and job.config.parameters_from is None:
        changes["parameters_from"] = predictor.run_id
    config = job.config.model_copy(update=changes)
    mine = replace(job, config=config)
    return mine, _begin(mine, info, run_id, None, limits or (None, None), chosen=predictor)


_OF_PREDICTOR = ("models", "segments", "covariates", "features", "abrupt", "selection", "calibration")
"""Of the config of a predictor's run, what its decisions are about."""


def _with_start(job: Job, run: Run) -> Run:
    """The run with the start that its forecast will have, written before any of it is done."""
    if Start.of(run).wanted(job.config):
        return run
    pinned = find_start(job.lake, job.config).pinned(run)
    runs.update(job.lake, pinned)
    return pinned


def _with_deepar(job: Job, run: Run) -> Run:
    """The run with the forecasts by the global model that its own will take, written before any of it is done."""
    if "forecast" in run.plan.stages:
        return run
    found = find_forecasts(job.lake, run.run_id, run.series_version, (run.run_id,), run.plan.deepar_cold)
    if found == DeepForecasts.of(run):
        return run
    pinned = found.pinned(run)
    runs.update(job.lake, pinned)
    return pinned


def _deepar_came_later(job: Job, run: Run) -> bool:
    """Whether a run was forecast before the global model, which its selection names by now, had a forecast for it."""
    if run.plan.deepar:
        return False
    found = find_forecasts(job.lake, run.run_id, run.series_version, (run.run_id,), run.plan.deepar_cold)
    return found.version is not None


def _known(job: Job, run_id: str | None, free: bool) -> Run | None:
    """The run that is named, else the newest of this config that has what a forecast needs."""
    if run_id is not None:
        run = runs.find(job.lake, run_id)
        if run is not None:
            check_same(job, run, None)
            if not free and not has_selection(job.lake, run_id):
                raise InputError(_no_selection(job, run_id))
        return run
    for run in runs.newest(job.lake, config_hash(job.config)):
        if free or has_selection(job.lake, run.run_id):
            return run
    return None


def _begin(
    job: Job, info: LakeInfo, run_id: str | None, model: str | None, limits: Limits, chosen: Run | None = None
) -> Run:
    """A new run, by the selection of another where that is needed; its own copy of it, so that each run is whole."""
    version = job.lake.version("series")
    fresh = run_id or runs.new_run_id()
    if chosen is not None and model is None and has_selection(job.lake, chosen.run_id):
        _copy_decisions(job.lake, chosen.run_id, fresh)
    start, deep, tuning = find_start(job.lake, job.config), NO_FORECASTS, ""
    if chosen is not None:
        tuning = chosen.plan.tuning
        known = (fresh, chosen.run_id, chosen.plan.deepar)
        deep = find_forecasts(job.lake, chosen.run_id, version, known, chosen.plan.deepar_cold)
    source = _source(job if chosen is None else resolved(job, chosen), version, fresh, model, start, deep)
    return new_run(job, source, "forecast", info, limits, fresh, model=model, start=start, tuning=tuning, deep=deep)


def _copy_decisions(lake: Lake, old: str, new: str) -> None:
    from pyspark.sql import functions as F

    for table in ("selection", "calibration"):
        if lake.exists(table):
            rows = lake.read(table).where(F.col("run_id") == old).withColumn("run_id", F.lit(new))
            lake.replace(table, rows, {"run_id": new})


def has_selection(lake: Lake, run_id: str) -> bool:
    """Whether models were chosen for a run."""
    from pyspark.sql import functions as F

    return lake.exists("selection") and not lake.read("selection").where(F.col("run_id") == run_id).isEmpty()


def _no_selection(job: Job, run_id: str | None) -> str:
    others = [run.run_id for run in runs.newest(job.lake) if run.run_id != run_id]
    seen = f" (runs in this lake: {', '.join(others[:5])})" if others else ""
    what = f"run {run_id!r} has no" if run_id else "no run of this config has"
    return f"{what} chosen models{seen}; run `almanac backtest` and `almanac select` first, or name one model"


if __name__ == "__main__":
    from jobs.cli import main

    main("forecast")
