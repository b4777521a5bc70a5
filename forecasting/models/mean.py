"""Forecasts without dynamics: the historic mean, and the plain distribution of the recent history."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numba
import numpy as np
from pydantic import Field
from scipy.special import ndtri

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.contract import Blank, Fitted, Model, RawForecast, Rows, Status
from forecasting.models.contract import Hyperparameters as Options
from forecasting.models.densities import WIDE, moments, normal_log_density
from forecasting.models.ranges import Number, SearchSpace
from forecasting.models.reasons import NO_OBSERVATIONS, ONE_OBSERVATION

OLDER_OBSERVATIONS = "no_recent_observations"
SHORTEST_WINDOW = 24


class MeanHyperparameters(Options):
    """The historic mean."""

    window_length: Annotated[int, Field(ge=1)] | None = None
    """Periods before the end that count; null takes the whole history."""


class EmpiricalHyperparameters(MeanHyperparameters):
    """The distribution of the recent history."""

    window_length: Annotated[int, Field(ge=1)] | None = None
    """Periods before the end that count; null takes two seasons, at least 24 periods."""


SEARCH_SPACE: SearchSpace = {"window_length": Number(4, 1000, log=True, whole=True)}


@numba.njit(cache=True)
def _window(values: FloatArray, begin: int, end: int, length: int, out: FloatArray) -> tuple[int, bool]:
    """Observed values of the last `length` periods in out, and whether that window had any; else the last value."""
    n = 0
    for t in range(max(begin, end - length), end):
        if not math.isnan(values[t]):
            out[n] = values[t]
            n += 1
    if n > 0:
        return n, True
    for t in range(end - 1, begin - 1, -1):
        if not math.isnan(values[t]):
            out[0] = values[t]
            return 1, False
    return 0, False


@numba.njit(cache=True)
def _describe(y: FloatArray, n: int) -> tuple[float, float]:
    """Mean and deviation (n - 1 degrees of freedom; 0 for one value) of y[:n], exact for a constant."""
    centre = y[0]
    drift = 0.0
    for i in range(n):
        drift += (y[i] - centre) / n
    centre += drift
    squares = 0.0
    for i in range(n):
        squares += (y[i] - centre) ** 2
    return centre, math.sqrt(squares / (n - 1)) if n > 1 else 0.0


@numba.njit(cache=True)
def _forecast_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    length: int,
    empirical: bool,
    levels: FloatArray,
    z: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> Int64Array:
    """Mean [R, H] and quantiles [R, H, Q], the same at every step. Returns observations used, [R], negated where the
    window had none and the last observation stands in."""
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    y, used = np.empty(longest), np.zeros(len(begin), dtype=np.int64)
    for r in range(len(begin)):
        n, recent = _window(values, begin[r], end[r], length, y)
        used[r] = n if recent else -n
        if n == 0:
            continue
        centre, deviation = _describe(y, n)
        mean[r] = centre
        if empirical:
            y[:n].sort()
        spread = deviation * math.sqrt(1.0 + 1.0 / n)
        for q in range(len(levels)):
            if empirical:
                place = levels[q] * (n - 1)
                below = min(int(place), n - 1)
                above = min(below + 1, n - 1)
                quantiles[r, :, q] = y[below] + (place - below) * (y[above] - y[below])
            else:
                quantiles[r, :, q] = centre + z[q] * spread
    return used


class Mean(Model):
    """The mean of the history (Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition,
    section 5.2), with normal quantiles of deviation s sqrt(1 + 1 / n), n observations of deviation s (section 5.5).

    There is nothing to store: the forecast is read off the history, whatever its end.
    """

    name = "mean"
    cost = 0.01
    Hyperparameters = MeanHyperparameters
    search_space = SEARCH_SPACE
    needs_history = True
    empirical = False

    def _length(self, rows: Rows, options: Options) -> int:
        assert isinstance(options, MeanHyperparameters)
        return options.window_length or max(int((rows.end - rows.begin).max(initial=1)), 1)

    def fit(self, rows: Rows, hyperparameters: Options) -> Fitted:
        blank = Blank.of(len(rows))
        _, used = self._run(rows, hyperparameters, 1, ())
        blank.reason[np.abs(used) == 1] = ONE_OBSERVATION
        blank.reason[used < 0] = OLDER_OBSERVATIONS
        blank.status[used < 0] = Status.FALLBACK
        blank.reason[used == 0] = NO_OBSERVATIONS
        blank.status[used == 0] = Status.FAILED
        blank.evaluations[:] = 1
        return blank.without_numbers(rows, hyperparameters)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        return self.fit(rows, fitted.hyperparameters)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        return self._run(fitted.rows, fitted.hyperparameters, horizon, quantiles)[0]

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray | None:
        """Normal, with the moments of the forecast."""
        if self.empirical:
            return None
        at = np.array([0.0, WIDE])
        wide = self._run(fitted.rows, fitted.hyperparameters, actual.shape[1], (0.5, 0.75), at)[0]
        return normal_log_density(*moments(wide.quantiles), actual)

    def _run(
        self, rows: Rows, options: Options, horizon: int, quantiles: Sequence[float], z: FloatArray | None = None
    ) -> tuple[RawForecast, Int64Array]:
        """Forecast and observations used. z: normal deviates to read off, None for those of the quantiles."""
        levels = np.asarray(quantiles, dtype=np.float64)
        z = ndtri(levels) if z is None else z
        mean = np.full((len(rows), horizon), np.nan)
        table = np.full((len(rows), horizon, len(levels)), np.nan)
        length = self._length(rows, options)
        used = _forecast_rows(rows.batch.values, rows.begin, rows.end, length, self.empirical, levels, z, mean, table)
        return RawForecast(mean=mean, quantiles=table), used


class Empirical(Mean):
    """The distribution of the last seasons, as it is: their mean and their quantiles, linear between observations."""

    name = "empirical"
    Hyperparameters = EmpiricalHyperparameters
    empirical = True

    def _length(self, rows: Rows, options: Options) -> int:
        assert isinstance(options, MeanHyperparameters)
        return options.window_length or max(2 * rows.season_length, SHORTEST_WINDOW)
