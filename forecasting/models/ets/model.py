"""The ETS family behind the contract of models."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.models.baselines import NO_OBSERVATIONS, ONE_OBSERVATION
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, Status
from forecasting.models.ets import paths, search
from forecasting.models.ets import rows as kernels
from forecasting.models.ets.starts import N_FORMS

LESS_THAN_TWO_SEASONS = "less_than_two_seasons"
CONSTANT = "constant"
SHORT_HISTORY = "short_history"
NOT_POSITIVE = "not_positive"
EVALUATION_LIMIT = "evaluation_limit"

_CRITERIA = ("aicc", "aic", "bic")
_METHODS = ("auto", "exact", "simulated")
_SPEC = re.compile(r"([AMZ])(N|Ad|A|Z)([NAMZ])")

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Box = tuple[Share, Share]


def form_name(code: float) -> str:
    """The name of a form's code in the parameter `form`, such as "MAdM"; "" for NaN."""
    if np.isnan(code):
        return ""
    form = int(code)
    return "AM"[form // 9] + ("N", "A", "Ad")[form % 9 // 3] + "NAM"[form % 3]


class EtsHyperparameters(Hyperparameters):
    """What an ETS model may be.

    Multiplicative trends are left out, as R and statsforecast leave them out of their search: they forecast poorly.
    The tight bounds keep beta below `tight_trend(season length)` of alpha and gamma below half of 1 - alpha. A slope
    or a season that follows single observations raises the likelihood and extrapolates noise: on ten public sets (M3,
    M4 weekly and hourly, retail, hospital, electricity) they lowered the mean quantile loss by up to 15 % and raised
    it on one, by 0.4 %. They were set on these sets.
    """

    form: str = "ZZZ"
    """Error, trend and season, each a letter or Z for "choose": error A or M, trend N, A or Ad, season N, A or M."""
    damped: bool | None = None
    """True keeps damped trends (form "A" then means "Ad"), False undamped ones, null what the form says."""
    restrict: bool = True
    """Leave out additive errors with a multiplicative season, whose forecast variance is infinite."""
    criterion: Literal["aicc", "aic", "bic"] = "aicc"
    """Which information criterion chooses the form."""
    bounds: Literal["tight", "usual"] = "tight"
    """usual: 0 < beta < alpha and 0 < gamma < 1 - alpha. tight: slopes and seasons that move slowly."""
    alpha: Box = (1e-4, 0.9999)
    """Range of the level's smoothing parameter."""
    phi: Box = (0.8, 0.98)
    """Range of the damping parameter."""
    interval: Literal["auto", "exact", "simulated"] = "auto"
    """auto: exact variances with the normal law where they are known and the deviation is below a quarter of the mean
    for multiplicative errors, else simulated paths. exact: wherever variances are known. simulated: always."""
    n_paths: Annotated[int, Field(ge=100, le=100_000)] = 1000
    """Simulated paths of a series."""

    @model_validator(mode="after")
    def _sensible(self) -> EtsHyperparameters:
        if _SPEC.fullmatch(self.form) is None:
            raise ValueError(
                f"form is {self.form!r}; expected error A, M or Z, trend N, A, Ad or Z, season N, A, M or Z, "
                "as in 'MAdM' or 'ZZZ'"
            )
        for name in ("alpha", "phi"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} is ({low}, {high}); the lower end must not exceed the upper one")
        if not self.forms().any():
            raise ValueError(
                f"form {self.form!r} with damped={self.damped} and restrict={self.restrict} leaves no form to fit; "
                "damped needs a trend, and an additive error with a multiplicative season needs restrict=False"
            )
        return self

    def forms(self) -> FloatArray:
        """Which of the 18 forms may be chosen, 1.0 or 0.0, [18]."""
        match = _SPEC.fullmatch(self.form)
        assert match is not None
        error, trend, season = match.groups()
        trends = {"N": "0", "A": "1", "Ad": "2", "Z": "012"}[trend]
        if self.damped is not None:
            if trend == "A" and self.damped:
                trends = "2"
            trends = "".join(t for t in trends if t == "0" or (t == "2") == self.damped)
            if self.damped and trend == "N":
                trends = ""
        asked = np.zeros(N_FORMS)
        for form in range(N_FORMS):
            e, t, s = form // 9, form % 9 // 3, form % 3
            fits = error in ("AM"[e], "Z") and str(t) in trends and season in ("NAM"[s], "Z")
            asked[form] = fits and not (self.restrict and e == 0 and s == 2)
        return asked

    def box(self, season_length: int) -> FloatArray:
        """Lower and upper ends of alpha, gamma / (1 - alpha), beta / alpha and phi, [2, 4]."""
        g, b = (0.5, tight_trend(season_length)) if self.bounds == "tight" else (0.9999, 0.9999)
        return np.array(
            [[self.alpha[0], 1e-4, 1e-4, self.phi[0]], [self.alpha[1], g, b, self.phi[1]]], dtype=np.float64
        )


def tight_trend(season_length: int) -> float:
    """The largest beta / alpha within tight bounds: 0.1 without a season, less for longer ones, at least 0.03."""
    return max(0.1 / float(np.sqrt(season_length)), 0.03)


class Ets(Model):
    """Exponential smoothing in innovations state space form, chosen by an information criterion.

    parameters: the form's code (`form_name`), natural smoothing parameters, the error's deviation sigma (relative for
    multiplicative errors), log-likelihood, criterion (of L*, so comparable within a series), the season length in use,
    gap (periods since the last observation), observations, initial level and slope.
    states: level, slope and, with a season, the m coming seasonal terms, as of the last observation.
    """

    name = "ets"
    cost = 11.0
    Hyperparameters = EtsHyperparameters
    parameter_names = (
        "form",
        "alpha",
        "beta",
        "gamma",
        "phi",
        "sigma",
        "log_likelihood",
        "criterion",
        "season_length",
        "gap",
        "n_obs",
        "initial_level",
        "initial_slope",
    )

    def cost_per_point(self, season_length: int) -> float:
        return 3.0 if season_length == 1 else 7.0 + 0.4 * season_length

    def fit(self, rows: Rows, hyperparameters: EtsHyperparameters) -> Fitted:
        n, m = len(rows), rows.season_length
        blank = Blank.of(n)
        parameters, states = np.full((n, kernels.N_PARAMETERS), np.nan), np.zeros((n, 2 + m))
        flags = np.zeros(n, dtype=np.int64)
        kernels.fit_rows(
            rows.batch.values,
            rows.begin,
            rows.end,
            m,
            hyperparameters.forms(),
            hyperparameters.box(m),
            _CRITERIA.index(hyperparameters.criterion),
            rows.max_evaluations,
            parameters,
            states,
            flags,
            blank.evaluations,
        )
        kept, offsets = _packed(parameters, states)
        _explain(flags, hyperparameters, blank)
        return Fitted(
            rows=rows,
            hyperparameters=hyperparameters,
            parameters=parameters,
            states=kept,
            state_offsets=offsets,
            status=blank.status,
            reason=blank.reason,
            evaluations=blank.evaluations,
        )

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        n = len(fitted.rows)
        options = fitted.hyperparameters
        assert isinstance(options, EtsHyperparameters)
        levels = np.asarray(quantiles, dtype=np.float64)
        mean, table = np.full((n, horizon), np.nan), np.full((n, horizon, len(levels)), np.nan)
        paths.forecast_rows(
            np.ascontiguousarray(fitted.parameters),
            np.ascontiguousarray(fitted.states),
            np.ascontiguousarray(fitted.state_offsets),
            fitted.rows.seeds,
            levels,
            ndtri(levels),
            _METHODS.index(options.interval),
            options.n_paths + options.n_paths % 2,
            mean,
            table,
        )
        return RawForecast(mean=mean, quantiles=table)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        parameters, states = fitted.parameters.copy(), fitted.states.copy()
        new_points = rows.first_step - fitted.rows.first_step
        kernels.advance_rows(
            rows.batch.values, rows.end - new_points, rows.end, parameters, states, fitted.state_offsets
        )
        return replace(fitted, rows=rows, parameters=parameters, states=states)


def _packed(parameters: FloatArray, states: FloatArray) -> tuple[FloatArray, np.ndarray]:
    """Drop the seasonal places of rows without a season: flat states and offsets."""
    form = parameters[:, kernels.FORM]
    season = np.where(np.isnan(form), 0, np.nan_to_num(form) % 3)
    sizes = np.where(np.isnan(form), 0, np.where(season > 0, states.shape[1], 2)).astype(np.int64)
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return states[np.arange(states.shape[1]) < sizes[:, None]], offsets


def _explain(flags: np.ndarray, options: EtsHyperparameters, blank: Blank) -> None:
    """Status and reason of each row from its flags; the gravest reason wins."""
    free = options.form[-1] == "Z"
    for bit, reason in (
        (kernels.SHORT_SEASON, LESS_THAN_TWO_SEASONS),
        (search.NOT_POSITIVE, NOT_POSITIVE),
        (kernels.CONSTANT, CONSTANT),
        (kernels.LIMIT, EVALUATION_LIMIT),
        (kernels.SHORT, SHORT_HISTORY),
        (kernels.ONE_OBSERVATION, ONE_OBSERVATION),
        (kernels.NO_OBSERVATION, NO_OBSERVATIONS),
    ):
        if bit == kernels.SHORT_SEASON and options.form[-1] == "N":
            continue
        blank.reason[flags & bit > 0] = reason
    simpler = search.CHANGED | kernels.SHORT | kernels.ONE_OBSERVATION
    if not free:
        simpler |= search.NOT_POSITIVE
    blank.status[flags & simpler > 0] = Status.FALLBACK
    blank.status[flags & kernels.LIMIT > 0] = Status.TIMEOUT
    blank.status[flags & kernels.NO_OBSERVATION > 0] = Status.FAILED
