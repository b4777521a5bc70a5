"""NPTS, the non-parametric time series forecaster of Amazon Forecast: the future copies observations of the past.

Four variants by `kernel_type` and `use_seasonal_model`: NPTS and seasonal NPTS (exponential: the recent past counts
more), climatological and seasonal climatological (uniform). Source: Amazon Forecast developer guide, "Non-Parametric
Time Series (NPTS) Algorithm"; Alexandrov et al. (2020), "GluonTS: Probabilistic and Neural Time Series Modeling in
Python", JMLR 21(116), and its NPTSPredictor, whose samples are replaced by the exact law they are drawn from.

Two options go beyond the service's: the season can be left to the data, and related series can say which observations
were made under circumstances like those to come.

A forecast never leaves the range of the observations it copies. Nothing is estimated: a fit only looks at what there
is, and `predict` reads the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from forecasting.batch import FloatArray, read_only
from forecasting.covariates import regressors
from forecasting.frequency import Int64Array
from forecasting.models.contract import (
    Blank,
    Fitted,
    Hyperparameters,
    Model,
    RawForecast,
    RegressionHyperparameters,
    Rows,
    Status,
)
from forecasting.models.npts_kernels import forecast_by_phase, forecast_scaled, observed
from forecasting.models.npts_related import forecast_related
from forecasting.models.npts_season import has_season
from forecasting.models.ranges import Choice, Number, SearchSpace
from forecasting.models.reasons import NO_OBSERVATIONS, ONE_OBSERVATION, SHORT_SEASON
from forecasting.models.seasons import Phases, calendar, counted, no_season

NO_OBSERVATIONS_IN_CONTEXT = "no_observations_in_context"
STEPS_WEIGHT = 0.01
GLUONTS_WEIGHT = 1.0
GLUONTS_CONTEXT = 1100
GLUONTS_FEATURE_SCALE = 1000.0
_WHOLE_HISTORY = 1 << 40


class NptsHyperparameters(Hyperparameters):
    """The service's hyperparameters, and the unit of distance."""

    context_length: int | None = Field(default=None, ge=1)
    """Newest points to copy from; None is the whole history (the last 1,100 points with `distance` gluonts)."""
    kernel_type: Literal["exponential", "uniform"] = "exponential"
    """Weight of the past: falling exponentially with distance, or all alike (the climatological variants)."""
    exp_kernel_weights: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Rate of the exponential kernel: bigger forgets faster. None is 0.01 a step (half as likely 69 steps back), or
    1.0 with `distance` gluonts."""
    use_seasonal_model: bool | Literal["auto"] = "auto"
    """Copy from the same phase of the season only. auto: where, leaving one observation out at a time, its phase
    foretells it better than the whole history does. The service's default is True."""
    use_default_time_features: bool = True
    """Season by the calendar feature of the service: minute of hour, hour of day, day of week, day of month for
    weeks, month of year. False, or a `season_length`: season by counting, the ordinal modulo the season length."""
    distance: Literal["steps", "gluonts"] = "steps"
    """Unit of distance. steps: periods, and other phases are never copied. gluonts: as GluonTS' NPTSPredictor, where
    history and horizon together have length 1 and the season's feature, from -0.5 to 0.5, counts 1,000 times."""
    feature_weights: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Related series -> weight of its distance: an observation counts exp(-weight) times as much for each standard
    deviation by which the related series then was different from what it will be. None by default, as in the service.
    Good weights lie between 0.3 and 3."""
    lags: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """Related series of `feature_weights` -> periods by which it is lagged, at least the horizon: how one that is not
    known in the future can be used."""

    @model_validator(mode="after")
    def _lags_of_features(self) -> NptsHyperparameters:
        idle = sorted(set(self.lags) - set(self.feature_weights))
        if idle:
            raise ValueError(f"lags are given for {idle}, which have no feature_weights; give them a weight too")
        return self


SEARCH_SPACE: SearchSpace = {
    "context_length": Number(10, 2000, log=True, whole=True),
    "kernel_type": Choice(("exponential", "uniform")),
    "exp_kernel_weights": Number(0.0005, 1.0, log=True),
    "use_seasonal_model": Choice(("auto", True, False)),
}


class Npts(Model):
    """Exact marginal laws of NPTS. No parameters and no states."""

    name = "npts"
    cost = 0.05
    Hyperparameters = NptsHyperparameters
    search_space = SEARCH_SPACE
    needs_history = True
    uses_related = True

    def fit(self, rows: Rows, hyperparameters: NptsHyperparameters) -> Fitted:
        phases = _phases(rows, hyperparameters, 0)
        context = _context(hyperparameters)
        counts, distinct = observed(*_where(rows, hyperparameters), phases.table, phases.origin, phases.count)
        blank = Blank.of(len(rows))
        short = distinct < phases.count
        blank.reason[short] = SHORT_SEASON
        if hyperparameters.use_seasonal_model is True:
            blank.status[short] = Status.FALLBACK
        blank.reason[counts == 1] = ONE_OBSERVATION
        blank.status[(counts == 1) & short] = Status.FALLBACK
        blank.reason[counts == 0] = NO_OBSERVATIONS
        blank.reason[(counts == 0) & (rows.end - rows.begin > context)] = NO_OBSERVATIONS_IN_CONTEXT
        blank.status[counts == 0] = Status.FAILED
        blank.evaluations[:] = 1
        return blank.without_numbers(rows, hyperparameters)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        newer = self.fit(rows, fitted.hyperparameters)  # type: ignore[arg-type]
        return replace(newer, evaluations=fitted.evaluations)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, NptsHyperparameters)
        phases = _phases(rows, options, horizon)
        levels = read_only(np.asarray(quantiles, dtype=np.float64))
        if options.use_seasonal_model != "auto":
            return _forecast(rows, options, phases, horizon, levels)
        seasonal = np.zeros(len(rows), dtype=np.int64)
        has_season(*_where(rows, options), phases.table, phases.origin, phases.count, seasonal)
        mean, table = np.empty((len(rows), horizon)), np.empty((len(rows), horizon, len(levels)))
        for kind, of_kind in ((1, phases), (0, no_season())):
            chosen = np.flatnonzero(seasonal == kind)
            if len(chosen):
                made = _forecast(_part(rows, chosen), options, of_kind, horizon, levels)
                mean[chosen], table[chosen] = made.mean, made.quantiles
        return RawForecast(mean=mean, quantiles=table)

    def reads_related(self, hyperparameters: NptsHyperparameters) -> bool:
        return bool(hyperparameters.feature_weights)

    def problems(self, hyperparameters: Any, related: Mapping[str, bool], horizon: int) -> list[str]:
        return super().problems(_features(hyperparameters), related, horizon)


def _where(rows: Rows, options: NptsHyperparameters) -> tuple[FloatArray, Int64Array, Int64Array, Int64Array, int]:
    return rows.batch.values, rows.begin, rows.end, read_only(rows.first_step), _context(options)


def _part(rows: Rows, chosen: np.ndarray) -> Rows:
    return replace(
        rows, series=rows.series[chosen], begin=rows.begin[chosen], end=rows.end[chosen], seeds=rows.seeds[chosen]
    )


def _features(options: NptsHyperparameters) -> RegressionHyperparameters:
    return RegressionHyperparameters(regressors=tuple(options.feature_weights), lags=options.lags, use_holidays=False)


def _forecast(
    rows: Rows, options: NptsHyperparameters, phases: Phases, horizon: int, levels: FloatArray
) -> RawForecast:
    mean, table = np.empty((len(rows), horizon)), np.empty((len(rows), horizon, len(levels)))
    where, uniform = _where(rows, options), options.kernel_type == "uniform"
    steps = options.distance == "steps"
    alpha = float(options.exp_kernel_weights or (STEPS_WEIGHT if steps else GLUONTS_WEIGHT))
    season = phases.table, phases.origin
    if options.feature_weights:
        design = regressors(rows.batch, _features(options), horizon)
        weights = np.array([options.feature_weights[name] for name in design.names])
        begin = design.offsets[rows.series] + rows.begin - rows.batch.offsets[rows.series]
        scaled = not steps and not uniform
        feature = GLUONTS_FEATURE_SCALE * alpha * phases.feature
        law = 0.0 if uniform else alpha, scaled, *season, read_only(feature)
        forecast_related(*where, *law, design.values, read_only(begin), read_only(weights), levels, mean, table)
    elif steps:
        forecast_by_phase(*where, 0.0 if uniform else alpha, *season, phases.count, levels, mean, table)
    else:
        feature = GLUONTS_FEATURE_SCALE * phases.feature
        forecast_scaled(*where, alpha, uniform, *season, read_only(feature), levels, mean, table)
    return RawForecast(mean=mean, quantiles=table)


def _context(options: NptsHyperparameters) -> int:
    if options.context_length is not None:
        return options.context_length
    return GLUONTS_CONTEXT if options.distance == "gluonts" else _WHOLE_HISTORY


def _phases(rows: Rows, options: NptsHyperparameters, horizon: int) -> Phases:
    if options.use_seasonal_model is False:
        return no_season()
    if options.season_length is not None or not options.use_default_time_features:
        return counted(rows.season_length)
    if len(rows) == 0:
        return no_season()
    first_step = rows.first_step
    first = first_step - (rows.end - rows.begin)
    return calendar(rows.batch.frequency, int(first.min()), int(first_step.max()) + horizon)
