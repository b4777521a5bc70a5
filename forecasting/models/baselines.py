"""Naive and seasonal naive forecasts: the benchmarks every model must beat and the fallback behind all of them.

Means and variances follow Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, section
5.5: a (seasonal) random walk whose variance grows by one residual variance a step (a season). Missing values widen
the step: a difference that spans g steps has variance g * sigma^2, so its square is divided by g.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, Status
from forecasting.models.densities import normal_log_density
from forecasting.models.reasons import NO_OBSERVATIONS, ONE_OBSERVATION, SHORT_SEASON


@numba.njit(cache=True)
def _fit_seasonal(
    values: FloatArray, begin: Int64Array, end: Int64Array, m: int, sigma: FloatArray, states: FloatArray
) -> npt.NDArray[np.int64]:
    """Latest value and its age in seasons for each of the m coming phases, and the residual deviation.

    states [R, 2, m]: values, ages (seasons since that value, 1 = the last one). Returns observations per row, [R],
    negated where some phase was never observed and took the latest observation instead.
    """
    counts = np.zeros(len(begin), dtype=np.int64)
    for r in range(len(begin)):
        latest, age = states[r, 0], states[r, 1]
        latest[:] = np.nan
        age[:] = 0.0
        total, n, n_obs, last = 0.0, 0, 0, np.nan
        phase = 0
        for t in range(begin[r], end[r]):
            y = values[t]
            age[phase] += 1.0
            if not np.isnan(y):
                if not np.isnan(latest[phase]):
                    total += (y - latest[phase]) ** 2 / age[phase]
                    n += 1
                latest[phase] = y
                age[phase] = 0.0
                last = y
                n_obs += 1
            phase = phase + 1 if phase + 1 < m else 0
        sigma[r] = np.sqrt(total / n) if n > 0 else 0.0
        _rotate(latest, phase, m)
        _rotate(age, phase, m)
        counts[r] = n_obs
        for j in range(m):
            age[j] += 1.0
            if np.isnan(latest[j]):
                latest[j] = last
                age[j] = 1.0
                counts[r] = -n_obs
    return counts


@numba.njit(cache=True)
def _rotate(ring: FloatArray, first: int, m: int) -> None:
    """Put entry `first` at position 0."""
    if first == 0:
        return
    copy = ring.copy()
    for j in range(m):
        ring[j] = copy[(j + first) % m]


@numba.njit(cache=True)
def _advance(values: FloatArray, begin: Int64Array, end: Int64Array, m: int, states: FloatArray) -> None:
    """Move states [R, 2, m] over the new points values[begin:end] of each row."""
    for r in range(len(begin)):
        latest, age = states[r, 0], states[r, 1]
        phase = 0
        for t in range(begin[r], end[r]):
            if np.isnan(values[t]):
                age[phase] += 1.0
            else:
                latest[phase] = values[t]
                age[phase] = 1.0
            phase = phase + 1 if phase + 1 < m else 0
        _rotate(latest, phase, m)
        _rotate(age, phase, m)


class SeasonalNaive(Model):
    """The value of the same phase one season ago, as a seasonal random walk.

    parameters: sigma, the residual deviation. states: for each coming phase its latest value and its age in seasons.
    """

    name = "seasonal_naive"
    cost = 0.01
    parameter_names = ("sigma",)

    def _season(self, rows: Rows) -> int:
        return rows.season_length

    def fit(self, rows: Rows, hyperparameters: Hyperparameters) -> Fitted:
        n, m = len(rows), self._season(rows)
        sigma, states = np.empty(n), np.empty((n, 2, m))
        counts = _fit_seasonal(rows.batch.values, rows.begin, rows.end, m, sigma, states)
        blank = Blank.of(n)
        if m > 1:
            blank.reason[counts < 0] = SHORT_SEASON
            blank.status[counts < 0] = Status.FALLBACK
        blank.reason[np.abs(counts) == 1] = ONE_OBSERVATION
        blank.reason[counts == 0] = NO_OBSERVATIONS
        blank.status[counts == 0] = Status.FAILED
        blank.evaluations[:] = 1
        return blank.fitted(rows, hyperparameters, sigma[:, None], states.ravel(), np.arange(n + 1) * (2 * m))

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        return gaussian(*self._moments(fitted, horizon), quantiles)

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray:
        """Normal, with the moments of the forecast."""
        return normal_log_density(*self._moments(fitted, actual.shape[1]), actual)

    def _moments(self, fitted: Fitted, horizon: int) -> tuple[FloatArray, FloatArray]:
        """Mean and deviation, [R, H]."""
        n, m = len(fitted.rows), self._season(fitted.rows)
        states = fitted.states.reshape(n, 2, m)
        step = np.arange(horizon)
        mean = np.ascontiguousarray(states[:, 0, step % m])
        seasons = states[:, 1, step % m] + step // m
        return mean, np.asarray(fitted.parameters[:, :1] * np.sqrt(seasons))

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        n, m = len(rows), self._season(rows)
        states = fitted.states.reshape(n, 2, m).copy()
        new_points = rows.first_step - fitted.rows.first_step
        _advance(rows.batch.values, rows.end - new_points, rows.end, m, states)
        return Fitted(
            rows=rows,
            hyperparameters=fitted.hyperparameters,
            parameters=fitted.parameters,
            states=states.ravel(),
            state_offsets=fitted.state_offsets,
            status=fitted.status,
            reason=fitted.reason,
            evaluations=fitted.evaluations,
        )


class Naive(SeasonalNaive):
    """The last observation, as a random walk: a seasonal naive forecast with a season of one."""

    name = "naive"

    def _season(self, rows: Rows) -> int:  # noqa: ARG002
        return 1


def gaussian(mean: FloatArray, deviation: FloatArray, quantiles: Sequence[float]) -> RawForecast:
    """Normal quantiles mean + deviation * z(q): mean and deviation [R, H], result quantiles [R, H, Q]."""
    z = ndtri(np.asarray(quantiles, dtype=np.float64))
    with np.errstate(invalid="ignore", over="ignore"):  # squares may have overflowed: the guard sees to it
        return RawForecast(mean=mean, quantiles=mean[:, :, None] + deviation[:, :, None] * z)
