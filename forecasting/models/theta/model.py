"""The theta family behind the contract of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, kept
from forecasting.models.densities import WIDE, moments, normal_log_density
from forecasting.models.ranges import Choice, SearchSpace
from forecasting.models.reasons import (
    CONSTANT,
    EVALUATION_LIMIT,
    LESS_THAN_TWO_SEASONS,
    NO_OBSERVATIONS,
    ONE_OBSERVATION,
    SHORT_HISTORY,
)
from forecasting.models.theta import rows as kernels
from forecasting.models.theta.recursion import N_FORMS

_FORMS = ("STM", "OTM", "DSTM", "DOTM")
_CRITERIA = ("mse", "aicc", "aic", "bic")
_ALL_CYCLES = 1 << 30
_KINDS = ("none", "additive", "multiplicative")

Share = Annotated[float, Field(gt=0.0, lt=1.0)]


def form_name(code: float) -> str:
    """The name of a form's code in the parameter `form`; "" for NaN."""
    return "" if np.isnan(code) else _FORMS[int(code)]


class ThetaHyperparameters(Hyperparameters):
    """What a theta model may be."""

    form: Literal["auto", "STM", "OTM", "DSTM", "DOTM"] = "auto"
    """Standard (theta = 2) or optimised, dynamic (the line follows the data) or not; auto chooses by the criterion."""
    criterion: Literal["mse", "aicc", "aic", "bic"] = "aicc"
    """What chooses the form: an information criterion, or the smallest error (mse), as statsforecast does."""
    decomposition: Literal["multiplicative", "additive", "none"] = "multiplicative"
    """How the season is taken out; multiplicative turns additive where a value is not positive."""
    seasonal_cycles: Annotated[int, Field(ge=2)] | None = 8
    """Cycles, the last ones, that the seasonal factors are averages of; null takes all, as the classical decomposition
    does."""
    seasonal_test: bool = True
    """Take the season out only where the autocorrelation test finds one; false takes it out wherever two cycles are
    there."""
    alpha: tuple[Share, Share] = (0.1, 0.99)
    """Range of the smoothing parameter."""

    @model_validator(mode="after")
    def _sensible(self) -> ThetaHyperparameters:
        if self.alpha[0] > self.alpha[1]:
            raise ValueError(f"alpha is {self.alpha}; the lower end must not exceed the upper one")
        return self

    def forms(self) -> FloatArray:
        """Which of the four forms may be chosen, 1.0 or 0.0, [4]."""
        return np.array([self.form in ("auto", name) for name in _FORMS], dtype=np.float64)


_REASONS = (
    (kernels.SHORT_SEASON, LESS_THAN_TWO_SEASONS),
    (kernels.CONSTANT, CONSTANT),
    (kernels.LIMIT, EVALUATION_LIMIT),
    (kernels.SHORT, SHORT_HISTORY),
    (kernels.ONE_OBSERVATION, ONE_OBSERVATION),
    (kernels.NO_OBSERVATION, NO_OBSERVATIONS),
)
_SIMPLER = kernels.SHORT | kernels.ONE_OBSERVATION


SEARCH_SPACE: SearchSpace = {
    "form": Choice(("auto", "STM", "OTM", "DSTM", "DOTM")),
    "criterion": Choice(("aicc", "bic", "mse")),
    "decomposition": Choice(("multiplicative", "additive", "none")),
    "seasonal_cycles": Choice((4, 8, 16, None)),
    "seasonal_test": Choice((True, False)),
    "alpha": Choice(((0.1, 0.99), (0.01, 0.99), (0.01, 0.5))),
}


class Theta(Model):
    """Optimised and dynamic theta models (Fiorucci et al. 2016) on the seasonally adjusted series.

    parameters: the form's code (`form_name`), alpha, theta, initial level, intercept and slope of the line through the
    history, error (1: errors grow with the mean, 0: they do not), their deviation sigma (relative to the mean for 1)
    and mean square (seasonally adjusted), the season length in use, the season's kind (0 none, 1 additive, 2
    multiplicative), gap (periods since the last observation), observations.
    states: centre, level, time, the line's running least squares and the factors of the m coming phases, as of the
    last observation.
    """

    name = "theta"
    cost = 0.5
    Hyperparameters = ThetaHyperparameters
    search_space = SEARCH_SPACE
    parameter_names = (
        "form",
        "alpha",
        "theta",
        "initial_level",
        "intercept",
        "slope",
        "error",
        "sigma",
        "mse",
        "season_length",
        "season",
        "gap",
        "n_obs",
    )

    def fit(self, rows: Rows, hyperparameters: ThetaHyperparameters) -> Fitted:
        n = len(rows)
        return self._fit(rows, hyperparameters, np.tile(hyperparameters.forms(), (n, 1)), np.full(n, np.nan))

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Keeps the form of each row, and begins at its alpha."""
        options, old = fitted.hyperparameters, fitted.parameters
        assert isinstance(options, ThetaHyperparameters)
        asked = np.tile(options.forms(), (len(rows), 1))
        estimated = ~np.isnan(old[:, kernels.MSE])
        asked[estimated] = np.arange(N_FORMS) == old[estimated, kernels.FORM, None]
        starts = np.where(estimated, old[:, kernels.ALPHA], np.nan)
        return self._fit(rows, options, asked, starts)

    def _fit(self, rows: Rows, options: ThetaHyperparameters, asked: FloatArray, starts: FloatArray) -> Fitted:
        n, m = len(rows), rows.season_length
        blank = Blank.of(n)
        parameters = np.full((n, kernels.N_PARAMETERS), np.nan)
        states = np.zeros((n, kernels.FIRST_FACTOR + m))
        flags = np.zeros(n, dtype=np.int64)
        kernels.fit_rows(
            rows.batch.values,
            rows.begin,
            rows.end,
            m,
            np.ascontiguousarray(asked),
            np.ascontiguousarray(starts),
            _KINDS.index(options.decomposition),
            options.seasonal_cycles or _ALL_CYCLES,
            not options.seasonal_test,
            np.array(options.alpha, dtype=np.float64),
            _CRITERIA.index(options.criterion),
            rows.max_evaluations,
            parameters,
            states,
            flags,
            blank.evaluations,
        )
        blank.explain(flags, _REASONS, fallback=_SIMPLER, timeout=kernels.LIMIT, failed=kernels.NO_OBSERVATION)
        width = np.where(parameters[:, kernels.SEASON] > 0, states.shape[1], kernels.FIRST_FACTOR)
        return blank.fitted(rows, options, parameters, *kept(states, width))

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        return self._at(fitted, horizon, ndtri(np.asarray(quantiles, dtype=np.float64)))

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray:
        """Normal, with the moments of the forecast."""
        wide = self._at(fitted, actual.shape[1], np.array([0.0, WIDE]))
        return normal_log_density(*moments(wide.quantiles), actual)

    def _at(self, fitted: Fitted, horizon: int, z: FloatArray) -> RawForecast:
        """Mean and quantiles at normal deviates z [Q]."""
        n = len(fitted.rows)
        mean, table = np.full((n, horizon), np.nan), np.full((n, horizon, len(z)), np.nan)
        kernels.forecast_rows(
            np.ascontiguousarray(fitted.parameters),
            np.ascontiguousarray(fitted.states),
            np.ascontiguousarray(fitted.state_offsets),
            z,
            mean,
            table,
        )
        return RawForecast(mean=mean, quantiles=table)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        parameters, states = fitted.parameters.copy(), fitted.states.copy()
        new_points = rows.first_step - fitted.rows.first_step
        kernels.advance_rows(
            rows.batch.values,
            rows.end - new_points,
            rows.end,
            parameters,
            states,
            np.ascontiguousarray(fitted.state_offsets),
        )
        return replace(fitted, rows=rows, parameters=parameters, states=states)
