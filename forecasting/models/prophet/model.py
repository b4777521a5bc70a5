"""The Prophet family behind the contract of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from forecasting.batch import FloatArray, offsets_of, read_only
from forecasting.frequency import Int64Array
from forecasting.models.contract import Blank, Components, Fitted, Model, RawForecast, Rows
from forecasting.models.prophet import fitting, forecasts
from forecasting.models.prophet.descent import FLAT, LINEAR, LOGISTIC, Settings, workspace
from forecasting.models.prophet.design import Design, design
from forecasting.models.prophet.options import SEARCH_SPACE, ProphetHyperparameters
from forecasting.models.reasons import CONSTANT, EVALUATION_LIMIT, NO_OBSERVATIONS, ONE_OBSERVATION

INTERPOLATED = "interpolated"
CAP_NOT_ABOVE_FLOOR = "cap_not_above_floor"

_GROWTH = {"linear": LINEAR, "logistic": LOGISTIC, "flat": FLAT}


_REASONS = (
    (fitting.INTERPOLATED, INTERPOLATED),
    (fitting.CONSTANT, CONSTANT),
    (fitting.LIMIT, EVALUATION_LIMIT),
    (fitting.ONE_OBSERVATION, ONE_OBSERVATION),
    (fitting.BAD_CAP, CAP_NOT_ABOVE_FLOOR),
    (fitting.NO_OBSERVATION, NO_OBSERVATIONS),
)
_FAILED = fitting.NO_OBSERVATION | fitting.BAD_CAP


class Prophet(Model):
    """Trend with changepoints, seasons, holidays and regressors, by maximum a posteriori.

    parameters: growth rate and offset (Prophet's k and m) and noise sigma of the scaled model; scale and floor of the
    target (floor NaN where it varies by period); start and span of the history in microseconds; changepoints in use;
    log posterior (up to a constant, NaN for a constant series); observations; the covariance of level and slope at the
    end of the history (of the logistic's argument for logistic growth).
    states: with S places for changepoints, C feature columns (seasons, then related series, then holidays), of which
    C' are not seasons: changepoints in scaled time [S], changes of slope [S], coefficients [C], then mean and
    deviation of each of the C' [2 C'].
    """

    name = "prophet"
    cost = 1.5
    Hyperparameters = ProphetHyperparameters
    search_space = SEARCH_SPACE
    uses_related = True
    parameter_names = (
        "rate",
        "offset",
        "sigma",
        "scale",
        "floor",
        "start",
        "span",
        "n_changepoints",
        "log_posterior",
        "n_obs",
        "level_variance",
        "level_slope_covariance",
        "slope_variance",
    )

    def fit(self, rows: Rows, hyperparameters: ProphetHyperparameters) -> Fitted:
        return _fit(rows, hyperparameters, np.full(len(rows), np.nan))

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        options = fitted.hyperparameters
        assert isinstance(options, ProphetHyperparameters)
        return _fit(rows, options, fitted.parameters[:, fitting.SIGMA])

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, ProphetHyperparameters)
        parts = design(rows.batch, options, horizon)
        levels = np.asarray(quantiles, dtype=np.float64)
        mean = np.full((len(rows), horizon), np.nan)
        table = np.full((len(rows), horizon, len(levels)), np.nan)
        shift, position = _places(rows, parts)
        forecasts.forecast_rows(
            read_only(fitted.parameters),
            _square(fitted, parts),
            parts.columns,
            parts.grid,
            _GROWTH[options.growth],
            _most_bends(options),
            position + (rows.end - rows.begin),
            shift,
            rows.batch.frequency.labels(rows.first_step - 1),
            rows.seeds,
            levels,
            ndtri(levels),
            options.parameter_uncertainty,
            options.growth == "logistic" or options.interval == "simulated",
            options.uncertainty_samples,
            mean,
            table,
        )
        return RawForecast(mean=mean, quantiles=table)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        parameters = fitted.parameters.copy()
        parameters[:, fitting.N_OBS] += _observations_after(fitted, rows)
        return replace(fitted, rows=rows, parameters=parameters)

    def components(self, fitted: Fitted, horizon: int) -> Components:
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, ProphetHyperparameters)
        parts = design(rows.batch, options, horizon)
        offsets = offsets_of(rows.end - rows.begin + horizon)
        values = np.zeros((int(offsets[-1]), len(parts.components) + 2))
        shift, position = _places(rows, parts)
        forecasts.component_rows(
            rows.batch.values,
            rows.begin,
            rows.end,
            read_only(fitted.parameters),
            _square(fitted, parts),
            parts.columns,
            parts.grid,
            _GROWTH[options.growth],
            _most_bends(options),
            position,
            shift,
            offsets,
            values,
        )
        return Components(names=("trend", *parts.components, "remainder"), values=values, offsets=offsets)

    def problems(
        self, hyperparameters: ProphetHyperparameters, related: Mapping[str, bool], horizon: int
    ) -> list[str]:
        found = super().problems(hyperparameters, related, horizon)
        for name in hyperparameters.bounding_names():
            if name not in related:
                found.append(f"cap or floor {name!r} is not a related series; there are {sorted(related) or 'none'}")
            elif not related[name]:
                found.append(f"cap or floor {name!r} is not known in the future; give a number or a known series")
        for name in hyperparameters.regressor_options:
            if name not in related:
                found.append(
                    f"regressor_options.{name} is not a related series; there are {sorted(related) or 'none'}"
                )
        return found


def _fit(rows: Rows, options: ProphetHyperparameters, start_sigma: FloatArray) -> Fitted:
    n = len(rows)
    blank, parts, most = Blank.of(n), design(rows.batch, options), _most_bends(options)
    width = _state_width(options, parts)
    parameters = np.full((n, fitting.N_PARAMETERS), np.nan)
    states, flags = np.zeros((n, width)), np.zeros(n, dtype=np.int64)
    longest = int((rows.end - rows.begin).max()) if n else 0
    shift, position = _places(rows, parts)
    given = options.changepoint_labels()
    settings = Settings(
        growth=_GROWTH[options.growth],
        placed=options.changepoints is None,
        n_changepoints=options.n_changepoints,
        changepoint_range=options.changepoint_range,
        given=read_only(given),
        tau=options.changepoint_prior_scale,
        minmax=options.scaling == "minmax",
        max_evaluations=rows.max_evaluations,
    )
    n_columns = len(parts.columns.component)
    fitting.fit_rows(
        rows.batch.values,
        rows.begin,
        rows.end,
        position,
        shift,
        parts.columns,
        parts.grid,
        settings,
        start_sigma,
        workspace(longest, n_columns, most),
        np.zeros((longest + 4, 3 + n_columns + most)),
        most,
        parameters,
        states,
        flags,
        blank.evaluations,
    )
    blank.explain(flags, _REASONS, fallback=fitting.ONE_OBSERVATION, timeout=fitting.LIMIT, failed=_FAILED)
    return blank.fitted(rows, options, parameters, states.ravel(), np.arange(n + 1, dtype=np.int64) * width)


def _most_bends(options: ProphetHyperparameters) -> int:
    if options.growth == "flat":
        return 0
    return options.n_changepoints if options.changepoints is None else len(options.changepoints)


def _state_width(options: ProphetHyperparameters, parts: Design) -> int:
    n_columns = len(parts.columns.component)
    return 2 * _most_bends(options) + n_columns + 2 * (n_columns - parts.columns.n_fourier)


def _square(fitted: Fitted, parts: Design) -> FloatArray:
    """The states by row. Raises ValueError when the columns are not those of the fit."""
    options = fitted.hyperparameters
    assert isinstance(options, ProphetHyperparameters)
    width = _state_width(options, parts)
    if (np.diff(fitted.state_offsets) != width).any():
        raise ValueError(
            f"the fit holds {np.diff(fitted.state_offsets).max()} numbers a row and the data's seasons, related "
            f"series and holidays need {width}; give the columns that it was fitted with, or fit again"
        )
    return read_only(fitted.states.reshape(len(fitted.rows), width))


def _places(rows: Rows, parts: Design) -> tuple[Int64Array, Int64Array]:
    """shift (from a place in the grid to one in the series' own columns) and the place of each row's begin, [R]."""
    batch, series = rows.batch, rows.series
    first = batch.start[series] - parts.grid.first
    return parts.grid.own_offsets[series] - first, first + rows.begin - batch.offsets[series]


def _observations_after(fitted: Fitted, rows: Rows) -> Int64Array:
    """Observations of each row after the fitted end, [R]."""
    seen = np.concatenate([[0], np.cumsum(np.isfinite(rows.batch.values))])
    return np.asarray(seen[rows.end] - seen[rows.end - (rows.first_step - fitted.rows.first_step)], dtype=np.int64)
