"""`almanac run --dry-run`: what a run would take and cost, from a timed sample, before anything is written."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from forecasting import SeriesBatch, fit
from forecasting.evaluation.moving import window_fits
from forecasting.evaluation.windows import BacktestPlan, backtest_windows
from forecasting.filling import FillRules, TargetFill, fill
from forecasting.frequency import Int64Array
from jobs.context import ConfigSource, Job, open_job
from jobs.tables import console as default_console
from jobs.tables import table
from udfs.config import Config
from udfs.config.evaluation import least_history
from udfs.errors import InputError
from udfs.holiday_table import planned_calendar
from udfs.plan import cores
from udfs.sample import Sample, sample_series
from udfs.tuned import usable_tuning, winners, with_winners
from udfs.work import ROW_MICROSECONDS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

SAMPLE_SERIES = 200
# Amazon Forecast's published prices in US dollars, as of its closing to new customers.
SERVICE_PER_1000_FORECASTS = 0.60  # one forecast: a series and a quantile
SERVICE_PER_GB = 0.088
SERVICE_PER_TRAINING_HOUR = 0.24  # of an instance with four cores
SERVICE_CORES = 4


@dataclass(frozen=True)
class Estimate:
    """What a run is expected to take.

    seconds: core-seconds by model for all series and windows. forecast_seconds: of the final forecasts, each series by
    an average model. overhead_seconds: reading, moving and writing. cores: task slots of the session. tuned: the
    hyperparameters that a tuning in the lake has found, by the name under which they compete. untuned: a tuning comes
    first, because the lake holds none that fits; neither it nor what it will find is counted.
    """

    sample: Sample
    n_sampled: int
    windows: int
    quantiles: int
    seconds: Mapping[str, float]
    forecast_seconds: float
    overhead_seconds: float
    cores: int
    core_hour: float
    segments: bool
    tuned: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    untuned: bool = False

    @property
    def core_hours(self) -> float:
        """All of it."""
        return (sum(self.seconds.values()) + self.forecast_seconds + self.overhead_seconds) / 3600

    @property
    def cost(self) -> float:
        """US dollars, at the config's price of a core-hour."""
        return self.core_hours * self.core_hour

    @property
    def service(self) -> dict[str, tuple[str, float]]:
        """The service's three meters: what it would have counted, and US dollars."""
        forecasts = self.sample.n_series * self.quantiles
        gigabytes = self.sample.text_bytes / 1e9
        hours = self.core_hours / SERVICE_CORES
        return {
            "forecasts": (f"{forecasts:,} (series x quantiles)", forecasts / 1000 * SERVICE_PER_1000_FORECASTS),
            "data": (f"{gigabytes:,.4f} GB as CSV", gigabytes * SERVICE_PER_GB),
            "training": (f"{hours:,.4f} h of {SERVICE_CORES} cores, at our speed", hours * SERVICE_PER_TRAINING_HOUR),
        }


def estimate(
    config: ConfigSource,
    spark: SparkSession | None = None,
    *,
    target: DataFrame | None = None,
    where: str | None = None,
    only: Sequence[str] | None = None,
    overrides: Iterable[str] = (),
) -> Estimate:
    """Time every model of the config, and what a tuning in the lake has found, on about 200 series and scale to all;
    nothing is written.

    target: a DataFrame in place of the config's target. where, only: limits, as for a run. Raises InputError as an
    ingest would.
    """
    from jobs.context import Frames

    job = open_job(config, spark, overrides=overrides, frames=Frames(target=target))
    frames = {} if target is None else {"target": target}
    sample = sample_series(job.lake, job.config, frames, SAMPLE_SERIES, where, only)
    if not len(sample.batch):
        raise InputError("the sample holds no series; nothing to estimate")
    tuning = usable_tuning(job.lake, job.config) if job.config.tuning is not None else None
    models = with_winners(job.config, winners(job.lake, tuning)).models if tuning else job.config.models
    added = [name for name in models if name not in job.config.models]
    windows = job.config.backtest.windows
    scale = sample.n_periods / max(int(sample.batch.lengths.sum()), 1)
    batch = _with_holidays(job, sample.batch)
    timed = {name: _timed(job.config, batch, name, options) for name, options in models.items()}
    backtests = {name: both[0] * scale for name, both in timed.items()}
    final = float(np.mean([both[1] for both in timed.values()])) * scale
    rows = sample.n_series * (windows * len(timed) + 1)
    return Estimate(
        sample=sample,
        n_sampled=len(sample.batch),
        windows=windows,
        quantiles=len(job.config.quantiles) + job.config.mean,
        seconds=backtests,
        forecast_seconds=final,
        overhead_seconds=rows * ROW_MICROSECONDS / 1e6,
        cores=cores(job.spark),
        core_hour=job.config.cost.core_hour,
        segments=bool(job.config.segments),
        tuned={name: models[name] for name in added},
        untuned=job.config.tuning is not None and not tuning,
    )


def _with_holidays(job: Job, batch: SeriesBatch) -> SeriesBatch:
    """The sample with the holidays of `countries` in all its series; where the countries are is not read for it."""
    span = (int(batch.start.min()), int((batch.start + batch.lengths).max()) - 1)
    calendar = planned_calendar(job.lake, job.config, batch.frequency.name, *span)
    return batch if calendar is None else replace(batch, holidays=calendar.of(np.zeros(len(batch), dtype=np.int64)))


def _timed(config: Config, batch: SeriesBatch, model: str, options: Mapping[str, object]) -> tuple[float, float]:
    """Seconds of a model for the sample: its backtest windows together, and the final forecast."""
    rules = FillRules(target=TargetFill(**config.fill.target.model_dump()))
    filled = fill(batch, rules, int(batch.start.min()))
    bounds = config.bounds.of_forecasts
    ends = None
    if config.backtest.windows:
        plan = BacktestPlan(config.horizon, config.backtest.windows, config.offset, config.stride)
        try:
            plan.check_fits(int(filled.lengths.max()), least_history(config))
        except ValueError as error:
            raise InputError(str(error)) from None
        ends = backtest_windows(filled, plan, "per_series").ends

    def once(visible: Int64Array | None, part: SeriesBatch) -> float:
        started = time.process_time()
        settings: dict[str, Any] = {"seed": config.seed, **options}
        if visible is None:
            fits = [fit(part, model, **settings)]
        else:
            backtest = config.backtest
            fits = window_fits(part, model, visible, backtest.refit, history=backtest.history, **settings)
        for fitted in fits:
            fitted.predict(config.horizon, config.quantiles, bounds=bounds)
        return time.process_time() - started

    once(None, filled.take([0]))  # compiles, or loads what was compiled
    return (once(ends, filled) if ends is not None else 0.0), once(None, filled)


def _duration(seconds: float) -> str:
    return f"{seconds:,.1f} seconds" if seconds < 120 else f"{seconds / 60:,.1f} minutes"


def render(result: Estimate, console: Console | None = None) -> None:
    """Print the expected core-hours and cost, beside what the service would have charged."""
    out = console or default_console()
    n = result.sample.n_series
    rows: list[tuple[object, ...]] = [
        (f"{name}, {result.windows} backtest windows", seconds / 3600, 1e6 * seconds / n / max(result.windows, 1))
        for name, seconds in result.seconds.items()
        if result.windows
    ]
    rows.append(
        ("final forecast, an average model", result.forecast_seconds / 3600, 1e6 * result.forecast_seconds / n)
    )
    rows.append(("reading, moving, writing", result.overhead_seconds / 3600, 1e6 * result.overhead_seconds / n))
    out.print(table(("work", "core-hours", "microseconds a series and window"), rows, "Dry run: nothing was written"))
    seconds = 3600 * result.core_hours / result.cores
    lines = [
        f"{n:,} series, {result.sample.n_periods:,} periods, timed on {result.n_sampled} of them",
        f"expected: {result.core_hours:,.4f} core-hours, {_duration(seconds)} on {result.cores} cores, "
        f"{result.cost:,.6f} dollars at {result.core_hour:g} a core-hour",
        f"a forecast (one series, whole horizon, all quantiles): {1000 * result.cost / n:,.6f} dollars per 1,000",
    ]
    lines += [
        f"{name}, found by a tuning: {', '.join(f'{k} {json.dumps(v)}' for k, v in options.items())}"
        for name, options in result.tuned.items()
    ]
    if result.untuned:
        lines.append(
            "a tuning would come first (the lake holds none that fits); neither it nor its models are counted"
        )
    if result.segments:
        lines.append("segments are not looked at: every series is counted with the models of `models`")
    for line in lines:
        out.print(line, highlight=False, soft_wrap=True)
    meters = [(meter, counted, f"{dollars:,.4f}") for meter, (counted, dollars) in result.service.items()]
    total = sum(dollars for _, dollars in result.service.values())
    meters.append(("together", "", f"{total:,.4f}"))
    out.print(table(("meter", "would have counted", "dollars"), meters, "Amazon Forecast would have charged"))
