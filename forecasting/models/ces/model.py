"""Complex exponential smoothing behind the contract of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ces import rows as kernels
from forecasting.models.ces.recursion import N_FORMS, NONE
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, kept
from forecasting.models.ranges import Choice, SearchSpace
from forecasting.models.reasons import (
    CONSTANT,
    EVALUATION_LIMIT,
    LESS_THAN_TWO_SEASONS,
    NO_OBSERVATIONS,
    ONE_OBSERVATION,
    SHORT_HISTORY,
)

_FORMS = ("none", "simple", "partial", "full")
_SHORT_SEASON = 4
_CRITERIA = ("aicc", "aic", "bic")


def form_name(code: float) -> str:
    """The name of a form's code in the parameter `form`; "" for NaN."""
    return "" if np.isnan(code) else _FORMS[int(code)]


class CesHyperparameters(Hyperparameters):
    """What a CES model may be.

    Without errors the level has a characteristic root above 1 where alpha_1 exceeds 1: the forecast runs away, by
    about alpha_1 - 1 over alpha_0 a period. The tight bounds keep that slow. They were set on public sets (M3, M4
    hourly, retail, hospital, banking), those of long seasons on the last two horizons of the training parts, where
    they lowered the mean quantile loss by up to 30 %.
    """

    season: Literal["auto", "none", "simple", "partial", "full"] = "auto"
    """Seasonality; auto chooses by the criterion."""
    criterion: Literal["aicc", "aic", "bic"] = "aicc"
    """Which information criterion chooses the seasonality."""
    parameter_bounds: Literal["tight", "usual"] = "tight"
    """usual: the ranges of statsforecast. tight: alpha_1 from 0.9 to 1.02, and for forms with a season of more than
    four periods from 0.8 to 1.004, alpha_0 to 1.5."""
    season_start: Literal["shrunk", "plain"] = "shrunk"
    """The seasonal terms before the first point. shrunk: partial seasonality begins with them drawn towards zero as
    far as they are noise, and the criterion counts them among the parameters. plain: as statsforecast has them, as
    they are and not counted, so that a season is chosen on less evidence."""
    parameter_uncertainty: bool = True
    """Whether quantiles carry how unsure the smoothing parameters are."""

    def box(self, season_length: int) -> FloatArray:
        """Lower and upper ends of alpha_0, alpha_1, beta_0 and beta_1 of each form, [4, 2, 4]."""
        out = np.empty((N_FORMS, 2, 4))
        out[:, 0], out[:, 1] = 0.01, (1.8, 1.9, 1.5, 1.5)
        if self.parameter_bounds == "tight":
            out[:, 0, 1], out[:, 1, 1] = 0.9, 1.02
            if season_length > _SHORT_SEASON:
                out[1:, 0, 1], out[1:, 1, :2] = 0.8, (1.5, 1.004)
        return out


SEARCH_SPACE: SearchSpace = {
    "season": Choice(("auto", "none", "simple", "partial", "full")),
    "criterion": Choice(("aicc", "aic", "bic")),
    "parameter_bounds": Choice(("tight", "usual")),
    "season_start": Choice(("shrunk", "plain")),
    "parameter_uncertainty": Choice((True, False)),
}


class Ces(Model):
    """Complex exponential smoothing (Svetunkov, Kourentzes and Ord 2022): level and trend in one, additive season.

    parameters: the form's code (`form_name`), the complex smoothing parameters alpha and (partial: its real part)
    beta, the errors' deviation sigma, log-likelihood, criterion (comparable within a series), the season length in
    use, gap (periods since the last observation), observations; what the parameters' uncertainty adds: the variance of
    the first forecast after the last observation, its covariance with the drift a period, and the drift's variance.
    states: level and information potential, and with a season the m coming seasonal terms, each with its potential, as
    of the last observation.
    """

    name = "ces"
    cost = 4.0
    Hyperparameters = CesHyperparameters
    search_space = SEARCH_SPACE
    parameter_names = (
        "form",
        "alpha_0",
        "alpha_1",
        "beta_0",
        "beta_1",
        "sigma",
        "log_likelihood",
        "criterion",
        "season_length",
        "gap",
        "n_obs",
        "level_variance",
        "level_drift_covariance",
        "drift_variance",
    )

    def fit(self, rows: Rows, hyperparameters: CesHyperparameters) -> Fitted:
        asked = [hyperparameters.season in ("auto", form) for form in _FORMS]
        n = len(rows)
        return self._fit(rows, hyperparameters, np.tile(np.array(asked, dtype=float), (n, 1)), np.full((n, 4), np.nan))

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Keeps the form of each row, and begins at its parameters."""
        options, old = fitted.hyperparameters, fitted.parameters
        assert isinstance(options, CesHyperparameters)
        fresh = np.array([options.season in ("auto", form) for form in _FORMS], dtype=float)
        asked = np.tile(fresh, (len(rows), 1))
        estimated = ~np.isnan(old[:, kernels.CRITERION])
        asked[estimated] = np.arange(N_FORMS) == old[estimated, kernels.FORM, None]
        starts = np.where(estimated[:, None], old[:, kernels.ALPHA_0 : kernels.BETA_1 + 1], np.nan)
        return self._fit(rows, options, asked, starts)

    def _fit(self, rows: Rows, options: CesHyperparameters, asked: FloatArray, starts: FloatArray) -> Fitted:
        n, m = len(rows), rows.season_length
        blank = Blank.of(n)
        parameters, states = np.full((n, kernels.N_PARAMETERS), np.nan), np.zeros((n, 2 + 2 * m))
        flags = np.zeros(n, dtype=np.int64)
        kernels.fit_rows(
            rows.batch.values,
            rows.begin,
            rows.end,
            m,
            np.ascontiguousarray(asked),
            options.box(m),
            np.ascontiguousarray(starts),
            _CRITERIA.index(options.criterion),
            options.season_start == "shrunk",
            rows.max_evaluations,
            parameters,
            states,
            flags,
            blank.evaluations,
        )
        _explain(flags, options, blank)
        form = parameters[:, kernels.FORM]
        seasonal = np.isfinite(form) & (form != NONE)
        return blank.fitted(rows, options, parameters, *kept(states, np.where(seasonal, states.shape[1], 2)))

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        n, options = len(fitted.rows), fitted.hyperparameters
        assert isinstance(options, CesHyperparameters)
        z = ndtri(np.asarray(quantiles, dtype=np.float64))
        mean, table = np.full((n, horizon), np.nan), np.full((n, horizon, len(z)), np.nan)
        kernels.forecast_rows(
            np.ascontiguousarray(fitted.parameters),
            np.ascontiguousarray(fitted.states),
            np.ascontiguousarray(fitted.state_offsets),
            z,
            options.parameter_uncertainty,
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


def _explain(flags: Int64Array, options: CesHyperparameters, blank: Blank) -> None:
    short = [] if options.season == "none" else [(kernels.SHORT_SEASON, LESS_THAN_TWO_SEASONS)]
    reasons = [
        *short,
        (kernels.CONSTANT, CONSTANT),
        (kernels.LIMIT, EVALUATION_LIMIT),
        (kernels.SHORT, SHORT_HISTORY),
        (kernels.ONE_OBSERVATION, ONE_OBSERVATION),
        (kernels.NO_OBSERVATION, NO_OBSERVATIONS),
    ]
    simpler = kernels.SHORT | kernels.ONE_OBSERVATION
    if options.season not in ("auto", "none"):
        simpler |= kernels.SHORT_SEASON
    blank.explain(flags, reasons, fallback=simpler, timeout=kernels.LIMIT, failed=kernels.NO_OBSERVATION)
