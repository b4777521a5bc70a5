"""The ETS family behind the contract of models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.special import ndtri

from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models import box_cox
from forecasting.models.contract import Blank, Components, Fitted, Model, RawForecast, Rows, kept
from forecasting.models.densities import WIDE, moments
from forecasting.models.ets import paths, search
from forecasting.models.ets import rows as kernels
from forecasting.models.ets.options import SEARCH_SPACE, EtsHyperparameters
from forecasting.models.ets.starts import N_FORMS
from forecasting.models.ets.taken_apart import last_parts, take_apart
from forecasting.models.reasons import (
    CONSTANT,
    EVALUATION_LIMIT,
    LESS_THAN_TWO_SEASONS,
    NO_OBSERVATIONS,
    NOT_POSITIVE,
    ONE_OBSERVATION,
    SHORT_HISTORY,
)

OUTSIDE_BOUNDS = "outside_bounds"

_CRITERIA = ("aicc", "aic", "bic")
_METHODS = ("auto", "exact", "simulated")
_WIDE = np.array([0.5, 0.75]), np.array([0.0, WIDE])
"""Levels and deviates whose quantiles give mean and deviation (`densities.moments`)."""


def form_name(code: float) -> str:
    """The name of a form's code in the parameter `form`, such as "MAdM"; "" for NaN."""
    if np.isnan(code):
        return ""
    form = int(code)
    return "AM"[form // 9 % 2] + (("N", "A", "Ad"), ("", "M", "Md"))[form // 18][form % 9 // 3] + "NAM"[form % 3]


class Ets(Model):
    """Exponential smoothing in innovations state space form, chosen by an information criterion.

    parameters: the form's code (`form_name`), natural smoothing parameters, the error's deviation sigma (relative for
    multiplicative errors), log-likelihood, criterion (of L*, so comparable within a series), the season length in use,
    gap (periods since the last observation), observations, initial level and slope (with a multiplicative trend the
    growth, about 1).
    states: level, slope or growth and, with a season, the m coming seasonal terms, as of the last observation; then
    the m initial ones.
    """

    name = "ets"
    cost = 11.0
    Hyperparameters = EtsHyperparameters
    search_space = SEARCH_SPACE
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
        "unit",
        "box_cox",
    )

    def cost_per_point(self, season_length: int) -> float:
        return 3.0 if season_length == 1 else 7.0 + 0.4 * season_length

    def fit(self, rows: Rows, hyperparameters: EtsHyperparameters) -> Fitted:
        nothing = np.empty((0, kernels.N_PARAMETERS)), np.empty(0), np.zeros(1, dtype=np.int64)
        return _fit(rows, hyperparameters, *nothing)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        options = fitted.hyperparameters
        assert isinstance(options, EtsHyperparameters)
        levels = np.asarray(quantiles, dtype=np.float64)
        raw = self._at(fitted, horizon, levels, ndtri(levels), options.interval)
        unit, power = _transform(fitted)
        if np.isnan(power).all():
            return raw
        wide = self._at(fitted, horizon, *_WIDE, "exact").quantiles
        return RawForecast(*box_cox.back(raw.mean, moments(wide)[1], raw.quantiles, unit, power, options.bias_adjust))

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray:
        """Normal with exact moments, before it ends at zero where errors are multiplicative, and for the transformed
        values where there is a Box-Cox transform. NaN for rows whose quantiles are those of simulated paths."""
        options = fitted.hyperparameters
        assert isinstance(options, EtsHyperparameters)
        form = np.nan_to_num(fitted.parameters[:, kernels.FORM])
        growing, relative = form >= N_FORMS, form // 9 % 2 == 1
        law = replace(fitted, parameters=fitted.parameters.copy())
        law.parameters[growing | ((form % 3 == 2) & ~relative), kernels.FORM] = np.nan  # no exact moments
        # Any method but "exact" would simulate here, for a row that is far from its mean.
        wide = self._at(law, actual.shape[1], *_WIDE, "exact").quantiles
        mean, deviation = moments(wide)
        if options.interval == "simulated":
            deviation[:] = np.nan
        with np.errstate(invalid="ignore"):
            far = ~(deviation <= paths.NORMAL_LIMIT * mean) if options.interval == "auto" else ~(mean > 0)
        deviation[relative & far.any(axis=1)] = np.nan
        return box_cox.log_density(mean, deviation, actual, *_transform(fitted))

    def _at(self, fitted: Fitted, horizon: int, levels: FloatArray, z: FloatArray, interval: str) -> RawForecast:
        """Mean and quantiles at levels [Q], with the normal deviates z [Q]."""
        n, options = len(fitted.rows), fitted.hyperparameters
        assert isinstance(options, EtsHyperparameters)
        mean, table = np.full((n, horizon), np.nan), np.full((n, horizon, len(levels)), np.nan)
        paths.forecast_rows(
            np.ascontiguousarray(fitted.parameters),
            np.ascontiguousarray(fitted.states),
            np.ascontiguousarray(fitted.state_offsets),
            fitted.rows.seeds,
            levels,
            z,
            _METHODS.index(interval),
            options.n_paths + options.n_paths % 2,
            mean,
            table,
        )
        return RawForecast(mean=mean, quantiles=table)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        parameters, states = fitted.parameters.copy(), fitted.states.copy()
        new_points = rows.first_step - fitted.rows.first_step
        values, begin, end = rows.batch.values, rows.end - new_points, rows.end
        unit, power = _transform(fitted)
        if not np.isnan(power).all():
            values, begin, end = box_cox.bent(values, begin, end, unit, power)
        kernels.advance_rows(values, np.array(begin), end, parameters, states, fitted.state_offsets)
        return replace(fitted, rows=rows, parameters=parameters, states=states)

    def refit(self, fitted: Fitted, rows: Rows) -> Fitted:
        """Each row keeps its form and starts from its earlier parameters and initial states; a row without an
        estimate (too short, constant, without observations) is fitted anew."""
        options = fitted.hyperparameters
        assert isinstance(options, EtsHyperparameters)
        # Copies, so that arrays read back from a table have the one type that the kernel is compiled for.
        return _fit(rows, options, fitted.parameters.copy(), fitted.states.copy(), fitted.state_offsets.copy())

    def components(self, fitted: Fitted, horizon: int) -> Components:
        """level, trend, season_<m>, remainder; see `taken_apart`."""
        rows, (unit, power) = fitted.rows, _transform(fitted)
        offsets = offsets_of(rows.end - rows.begin + horizon)
        parts = np.full((int(offsets[-1]), 4), np.nan)
        mean = self.predict(fitted, horizon, (0.5,)).mean
        numbers = fitted.parameters.copy(), fitted.states.copy(), fitted.state_offsets.copy()
        if np.isnan(power).all():
            take_apart(rows.batch.values, rows.begin, rows.end, *numbers, mean, parts, offsets)
        else:
            data = box_cox.bent(rows.batch.values, rows.begin, rows.end, unit, power)
            take_apart(*data, *numbers, self._at(fitted, horizon, *_WIDE, "exact").mean, parts, offsets)
            box_cox.rows_back(rows, unit, power, mean, parts, offsets, last_parts(fitted.parameters))
        names = "level", "trend", f"season_{rows.season_length}", "remainder"
        if rows.season_length == 1:
            return Components((*names[:2], names[3]), np.delete(parts, 2, axis=1), offsets)
        return Components(names, parts, offsets)


def _fit(
    rows: Rows, options: EtsHyperparameters, earlier: FloatArray, states_before: FloatArray, offsets_before: np.ndarray
) -> Fitted:
    n, m = len(rows), rows.season_length
    blank = Blank.of(n)
    parameters, states = np.full((n, kernels.N_PARAMETERS), np.nan), np.zeros((n, 2 + 2 * m))
    flags = np.zeros(n, dtype=np.int64)
    data, unit, power, refused = _bent(rows, options, earlier)
    kernels.fit_rows(
        *data,
        m,
        options.forms(),
        options.limits(m),
        _CRITERIA.index(options.criterion),
        rows.max_evaluations,
        earlier,
        states_before,
        offsets_before,
        parameters,
        states,
        flags,
        blank.evaluations,
    )
    parameters[:, kernels.UNIT], parameters[:, kernels.BOX_COX] = unit, power
    flags[refused] |= search.NOT_POSITIVE
    _explain(flags, options, blank)
    return blank.fitted(rows, options, parameters, *kept(states, _widths(parameters, states.shape[1])))


def _bent(
    rows: Rows, options: EtsHyperparameters, earlier: FloatArray
) -> tuple[tuple[FloatArray, Int64Array, Int64Array], FloatArray, FloatArray, np.ndarray]:
    """What to fit (values, and where rows begin and end), unit and power of each row's transform, and whether its
    values refused one, [R]. A row keeps the transform of an earlier estimate; that is struck out (its criterion, in
    place) where newer values refuse it."""
    n, data = len(rows), (rows.batch.values, rows.begin, rows.end)
    unit, power, refused = np.full(n, np.nan), np.full(n, np.nan), np.zeros(n, dtype=np.bool_)
    if options.box_cox is None:
        return data, unit, power, refused
    settled = np.zeros(n, dtype=np.bool_)
    if len(earlier):
        settled = ~np.isnan(earlier[:, kernels.CRITERION])
        unit, power = earlier[:, kernels.UNIT].copy(), earlier[:, kernels.BOX_COX].copy()
    bent_before = settled & ~np.isnan(power)
    given = options.box_cox if isinstance(options.box_cox, float) else np.nan
    box_cox.choose_rows(*data, rows.season_length, given, settled, unit, power, refused)
    if len(earlier):
        earlier[bent_before & refused, kernels.CRITERION] = np.nan
    return box_cox.bent(*data, unit, power), unit, power, refused


def _transform(fitted: Fitted) -> tuple[FloatArray, FloatArray]:
    """Unit and power of each row's transform [R]."""
    return fitted.parameters[:, kernels.UNIT], fitted.parameters[:, kernels.BOX_COX]


def _widths(parameters: FloatArray, n_states: int) -> Int64Array:
    """The states that each row has: none without a form, no seasonal places without a season."""
    form = parameters[:, kernels.FORM]
    season = np.nan_to_num(form) % 3
    return np.where(np.isnan(form), 0, np.where(season > 0, n_states, 2)).astype(np.int64)


def _explain(flags: Int64Array, options: EtsHyperparameters, blank: Blank) -> None:
    season, free = options.form[-1], options.form[-1] == "Z" or options.box_cox is not None
    short = [] if season == "N" else [(kernels.SHORT_SEASON, LESS_THAN_TWO_SEASONS)]
    reasons = [
        *short,
        (search.NOT_POSITIVE, NOT_POSITIVE),
        (kernels.CONSTANT, CONSTANT),
        (kernels.LIMIT, EVALUATION_LIMIT),
        (kernels.SHORT, SHORT_HISTORY),
        (search.INADMISSIBLE, OUTSIDE_BOUNDS),
        (kernels.ONE_OBSERVATION, ONE_OBSERVATION),
        (kernels.NO_OBSERVATION, NO_OBSERVATIONS),
    ]
    simpler = search.CHANGED | kernels.SHORT | kernels.ONE_OBSERVATION | (0 if free else search.NOT_POSITIVE)
    blank.explain(flags, reasons, fallback=simpler, timeout=kernels.LIMIT, failed=kernels.NO_OBSERVATION)
