"""NPTS, the non-parametric time series forecaster of Amazon Forecast: the future copies observations of the past.

Four variants by `kernel_type` and `use_seasonal_model`: NPTS and seasonal NPTS (exponential: the recent past counts
more), climatological and seasonal climatological (uniform). Source: Amazon Forecast developer guide, "Non-Parametric
Time Series (NPTS) Algorithm"; Alexandrov et al. (2020), "GluonTS: Probabilistic and Neural Time Series Modeling in
Python", JMLR 21(116), and its NPTSPredictor, whose samples are replaced by the exact law they are drawn from.

A forecast never leaves the range of the observations it copies. Nothing is estimated: a fit only looks at what there
is, and `predict` reads the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from forecasting.batch import read_only
from forecasting.models.baselines import NO_OBSERVATIONS, ONE_OBSERVATION, SHORT_SEASON
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, Status
from forecasting.models.npts_kernels import forecast_by_phase, forecast_scaled, observed
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
    use_seasonal_model: bool = True
    """Copy from the same phase of the season only."""
    use_default_time_features: bool = True
    """Season by the calendar feature of the service: minute of hour, hour of day, day of week, day of month for
    weeks, month of year. False, or a `season_length`: season by counting, the ordinal modulo the season length."""
    distance: Literal["steps", "gluonts"] = "steps"
    """Unit of distance. steps: periods, and other phases are never copied. gluonts: as GluonTS' NPTSPredictor, where
    history and horizon together have length 1 and the season's feature, from -0.5 to 0.5, counts 1,000 times."""


class Npts(Model):
    """Exact marginal laws of NPTS. No parameters and no states."""

    name = "npts"
    cost = 0.05
    Hyperparameters = NptsHyperparameters
    needs_history = True

    def fit(self, rows: Rows, hyperparameters: NptsHyperparameters) -> Fitted:
        phases = _phases(rows, hyperparameters, 0)
        context = _context(hyperparameters)
        counts, distinct = observed(
            rows.batch.values,
            rows.begin,
            rows.end,
            read_only(rows.first_step),
            context,
            phases.table,
            phases.origin,
            phases.count,
        )
        blank = Blank.of(len(rows))
        short = distinct < phases.count
        blank.reason[short] = SHORT_SEASON
        blank.status[short] = Status.FALLBACK
        blank.reason[counts == 1] = ONE_OBSERVATION
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
        mean = np.empty((len(rows), horizon))
        table = np.empty((len(rows), horizon, len(quantiles)))
        levels = read_only(np.asarray(quantiles, dtype=np.float64))
        where = (rows.batch.values, rows.begin, rows.end, read_only(rows.first_step), _context(options))
        uniform = options.kernel_type == "uniform"
        if options.distance == "steps":
            alpha = 0.0 if uniform else float(options.exp_kernel_weights or STEPS_WEIGHT)
            forecast_by_phase(*where, alpha, phases.table, phases.origin, phases.count, levels, mean, table)
        else:
            alpha = float(options.exp_kernel_weights or GLUONTS_WEIGHT)
            feature = read_only(GLUONTS_FEATURE_SCALE * phases.feature)
            forecast_scaled(*where, alpha, uniform, phases.table, phases.origin, feature, levels, mean, table)
        return RawForecast(mean=mean, quantiles=table)


def _context(options: NptsHyperparameters) -> int:
    if options.context_length is not None:
        return options.context_length
    return GLUONTS_CONTEXT if options.distance == "gluonts" else _WHOLE_HISTORY


def _phases(rows: Rows, options: NptsHyperparameters, horizon: int) -> Phases:
    if not options.use_seasonal_model:
        return no_season()
    if options.season_length is not None or not options.use_default_time_features:
        return counted(rows.season_length)
    if len(rows) == 0:
        return no_season()
    first_step = rows.first_step
    first = first_step - (rows.end - rows.begin)
    return calendar(rows.batch.frequency, int(first.min()), int(first_step.max()) + horizon)
