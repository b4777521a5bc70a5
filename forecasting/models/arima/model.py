"""The ARIMA family behind the contract of models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from forecasting.batch import FloatArray, offsets_of, read_only
from forecasting.covariates import regressors
from forecasting.frequency import Int64Array
from forecasting.models import box_cox
from forecasting.models.arima import layout, paths
from forecasting.models.arima.fourier import CHOOSE, KEPT, LEFT_OUT
from forecasting.models.arima.options import SEARCH_SPACE, ArimaHyperparameters
from forecasting.models.arima.rows import fit_rows
from forecasting.models.arima.taken_apart import take_apart
from forecasting.models.contract import Blank, Components, Fitted, Model, RawForecast, Rows, kept
from forecasting.models.densities import WIDE, moments
from forecasting.models.reasons import (
    CONSTANT,
    EVALUATION_LIMIT,
    LESS_THAN_TWO_SEASONS,
    NO_OBSERVATIONS,
    NOT_POSITIVE,
    ONE_OBSERVATION,
)

FEWER_REGRESSORS = "fewer_regressors"
MANY_MISSING = "many_missing"

_CONSTANTS = ("never", "always", "auto")
_CRITERIA = ("aicc", "aic", "bic")


_REASONS = (
    (layout.SHORT_SEASON, LESS_THAN_TWO_SEASONS),
    (layout.MANY_MISSING, MANY_MISSING),
    (layout.FEWER_COLUMNS, FEWER_REGRESSORS),
    (layout.NOT_POSITIVE, NOT_POSITIVE),
    (layout.CONSTANT_SERIES, CONSTANT),
    (layout.LIMIT, EVALUATION_LIMIT),
    (layout.ONE_OBSERVATION, ONE_OBSERVATION),
    (layout.NO_OBSERVATION, NO_OBSERVATIONS),
)


class Arima(Model):
    """Seasonal ARIMA(p, d, q)(P, D, Q)m with regressors, by exact maximum likelihood.

    parameters: orders, the season of the seasonal factors, mean (of scaled values, with a difference their drift), the
    errors' deviation sigma (of scaled values, degrees of freedom taken off), log-likelihood and criterion of values
    (transformed ones with a Box-Cox transform), how values were scaled (divided by unit, transformed, less offset,
    divided by scale), gap (periods since the last observation), observations, the mean's standard error over sigma,
    coefficients.
    states: see `paths`.
    """

    name = "arima"
    cost = 20.0
    Hyperparameters = ArimaHyperparameters
    search_space = SEARCH_SPACE
    parameter_names = layout.NAMES
    uses_related = True

    def cost_per_point(self, season_length: int) -> float:
        return 10.0 if season_length == 1 else 20.0 + 4.0 * min(season_length, 24)

    def fit(self, rows: Rows, hyperparameters: ArimaHyperparameters) -> Fitted:
        terms = np.full(len(rows), CHOOSE)
        return _fit(rows, hyperparameters, np.empty((0, layout.N_PARAMETERS)), terms)

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Each row keeps its orders and starts from its coefficients; a row without an estimate is fitted anew."""
        assert isinstance(fitted.hyperparameters, ArimaHyperparameters)
        return _fit(rows, fitted.hyperparameters, np.array(fitted.parameters), _terms(fitted))

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        options, power = fitted.hyperparameters, fitted.parameters[:, layout.BOX_COX]
        assert isinstance(options, ArimaHyperparameters)
        z = ndtri(np.asarray(quantiles, dtype=np.float64))
        if np.isnan(power).all():
            return _at(fitted, horizon, z)
        raw = _at(fitted, horizon, np.r_[z, 0.0, WIDE])
        mean, deviation = moments(raw.quantiles[..., -2:])
        unit, bias_adjust = fitted.parameters[:, layout.UNIT], options.bias_adjust
        return RawForecast(*box_cox.back(mean, deviation, raw.quantiles[..., :-2], unit, power, bias_adjust))

    def problems(self, hyperparameters: ArimaHyperparameters, related: Mapping[str, bool], horizon: int) -> list[str]:
        """As every family's, and logarithms of what is no related series."""
        unknown = [name for name in hyperparameters.log_regressors if name not in related]
        listed = sorted(related) or "none"
        return super().problems(hyperparameters, related, horizon) + [
            f"log_regressors: {name!r} is not a related series of the data; there are {listed}" for name in unknown
        ]

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray:
        """Normal, for the transformed values where there is a Box-Cox transform (see `box_cox.log_density`)."""
        mean, deviation = moments(_at(fitted, actual.shape[1], np.array([0.0, WIDE])).quantiles)
        unit, power = fitted.parameters[:, layout.UNIT], fitted.parameters[:, layout.BOX_COX]
        return box_cox.log_density(mean, deviation, actual, unit, power)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        assert isinstance(fitted.hyperparameters, ArimaHyperparameters)
        parameters, states = fitted.parameters.copy(), fitted.states.copy()
        new_points = rows.first_step - fitted.rows.first_step
        paths.advance_rows(
            rows.batch.values,
            rows.end - new_points,
            rows.end,
            rows.series,
            design(rows, fitted.hyperparameters),
            parameters,
            states,
            np.ascontiguousarray(fitted.state_offsets),
        )
        return replace(fitted, rows=rows, parameters=parameters, states=states)

    def components(self, fitted: Fitted, horizon: int) -> Components:
        """level (what the errors of the regression were expected to be, constant included), a part a regressor,
        holiday and Fourier season, remainder (one-step errors). With a Box-Cox transform each is what it adds to those
        before it.

        One-step errors come from the final gain run from the row's begin, so the first season's are rough.
        """
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, ArimaHyperparameters)
        columns = design(rows, options, horizon)
        own = regressors(rows.batch, options)
        seasons = options.fourier(rows.season_length)
        labels = [*own.base, *(f"season_{period:g}" for period, order in seasons for _ in range(2 * order))]
        parts = tuple(dict.fromkeys(labels))
        names = ("level", *parts, "remainder")
        offsets = offsets_of(rows.end - rows.begin + horizon)
        values = np.full((int(offsets[-1]), len(names)), np.nan)
        take_apart(
            rows.batch.values,
            rows.begin,
            rows.end,
            rows.series,
            columns,
            np.array([1 + parts.index(label) for label in labels], dtype=np.int64),
            np.ascontiguousarray(fitted.parameters),
            np.ascontiguousarray(fitted.states),
            np.ascontiguousarray(fitted.state_offsets),
            _at(fitted, horizon, np.zeros(1)).mean,
            values,
            offsets,
        )
        unit, power = fitted.parameters[:, layout.UNIT], fitted.parameters[:, layout.BOX_COX]
        if not np.isnan(power).all():
            mean = self.predict(fitted, horizon, (0.5,)).mean
            box_cox.rows_back(rows, unit, power, mean, values, offsets)
        return Components(names, values, offsets)


def _at(fitted: Fitted, horizon: int, z: FloatArray) -> RawForecast:
    """Mean and quantiles at normal deviates z [Q], of the values as they were fitted."""
    n, options = len(fitted.rows), fitted.hyperparameters
    assert isinstance(options, ArimaHyperparameters)
    mean, table = np.full((n, horizon), np.nan), np.full((n, horizon, len(z)), np.nan)
    paths.forecast_rows(
        fitted.rows.end,
        fitted.rows.series,
        design(fitted.rows, options, horizon),
        np.ascontiguousarray(fitted.parameters),
        np.ascontiguousarray(fitted.states),
        np.ascontiguousarray(fitted.state_offsets),
        z,
        options.mean_uncertainty,
        mean,
        table,
    )
    return RawForecast(mean=mean, quantiles=table)


def design(rows: Rows, options: ArimaHyperparameters, horizon: int = 0) -> layout.Columns:
    """The regressors of every series, over its history and the horizon."""
    batch = rows.batch
    own = regressors(batch, options, horizon, logarithms=options.log_regressors)
    fourier = options.fourier(rows.season_length)
    return layout.Columns(
        own=own.values,
        own_offsets=own.offsets,
        starts=batch.start,
        series_begin=read_only(np.ascontiguousarray(batch.offsets[:-1])),
        periods=read_only(np.array([period for period, _ in fourier], dtype=np.float64)),
        orders=read_only(np.array([order for _, order in fourier], dtype=np.int64)),
    )


def _plan(options: ArimaHyperparameters, season_length: int) -> tuple[layout.Plan, np.ndarray]:
    """What the kernels are told, and the largest orders [4]."""
    m = options.season_factor(season_length)
    most = [options.max_p, options.max_q, options.max_seasonal_p, options.max_seasonal_q]
    d, sd = options.d, options.seasonal_d
    if options.order is not None:
        p, d, q = options.order
        sp, sd, sq = options.seasonal_order or (0, 0, 0)
        most = [p, q, sp, sq]
    if m == 1:
        most[2:], sd = [0, 0], 0
    plan = layout.Plan(
        m=m,
        d=-1 if d is None else d,
        sd=-1 if sd is None else sd,
        max_d=options.max_d,
        max_sd=options.max_seasonal_d,
        constant=_CONSTANTS.index(options.constant),
        total=options.max_order,
        full=options.search == "full",
        criterion=_CRITERIA.index(options.criterion),
        fixed=options.order is not None,
        box_cox=0 if options.box_cox is None else (2 if options.box_cox == "auto" else 1),
        power=float(options.box_cox) if isinstance(options.box_cox, float) else 0.0,
        optional=options.optional_columns(season_length),
    )
    return plan, read_only(np.array(most, dtype=np.int64))


def _terms(fitted: Fitted) -> Int64Array:
    """What each row's fit did with the optional Fourier terms, [R]; their coefficients end its states."""
    options, season_length = fitted.hyperparameters, fitted.rows.season_length
    assert isinstance(options, ArimaHyperparameters)
    optional = options.optional_columns(season_length)
    after = 2 * sum(order for _, order in options.fourier(season_length))
    out = np.full(len(fitted.rows), CHOOSE)
    for r in np.flatnonzero(~np.isnan(fitted.parameters[:, layout.CRITERION])) if optional else ():
        end = int(fitted.state_offsets[r + 1])
        used = fitted.states[end - after : end - after + optional].any()
        out[r] = KEPT if used else LEFT_OUT
    return out


def _fit(rows: Rows, options: ArimaHyperparameters, earlier: FloatArray, terms: Int64Array) -> Fitted:
    n = len(rows)
    plan, most = _plan(options, rows.season_length)
    columns = design(rows, options)
    n_columns = columns.own.shape[1] + 2 * int(columns.orders.sum())
    arma = max(most[0] + plan.m * most[2], most[1] + plan.m * most[3] + 1)
    width = int(arma + max(plan.d, plan.max_d) + plan.m * max(plan.sd, plan.max_sd) + n_columns)
    blank = Blank.of(n)
    parameters, states = np.full((n, layout.N_PARAMETERS), np.nan), np.zeros((n, width))
    sizes, flags = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    fit_rows(
        rows.batch.values,
        rows.begin,
        rows.end,
        rows.series,
        columns,
        plan,
        most,
        earlier,
        terms,
        rows.max_evaluations,
        parameters,
        states,
        sizes,
        flags,
        blank.evaluations,
    )
    blank.explain(flags, _REASONS, fallback=layout.ONE_OBSERVATION, timeout=layout.LIMIT, failed=layout.NO_OBSERVATION)
    return blank.fitted(rows, options, parameters, *kept(states, sizes))
