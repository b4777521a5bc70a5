"""The families of intermittent demand behind the contract of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numba
import numpy as np
from pydantic import Field

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.contract import Blank, Fitted, Hyperparameters, Model, RawForecast, Rows, Status
from forecasting.models.intermittent.law import count_law, law_quantiles, log_count_mass
from forecasting.models.intermittent.smoothing import ADIDA, CROSTON, IMAPA, TSB, best_alpha, demand_rate, smooth
from forecasting.models.ranges import Choice, Number, SearchSpace
from forecasting.models.reasons import NO_OBSERVATIONS, ONE_OBSERVATION

NEGATIVE = "negative_values"
NO_ZEROS = "no_zeros"

_LAWS = ("auto", "count", "empirical")
Alpha = Annotated[float, Field(gt=0.0, le=1.0)]


class IntermittentHyperparameters(Hyperparameters):
    """What all families of intermittent demand share."""

    law: Literal["auto", "count", "empirical"] = "auto"
    """auto: negative binomial for counts that vary at least as much as Poisson ones, else the history's own law.
    count: for all counts (Poisson where they vary less). empirical: the history's own law for all."""


class SmoothingHyperparameters(IntermittentHyperparameters):
    """Croston's method and TSB: two smoothing parameters."""

    alpha_size: Alpha | None = 0.1
    """Smoothing of the sizes of demand; null searches for the best between 0.1 and 0.3."""
    alpha_rate: Alpha | None = 0.1
    """Smoothing of how often there is demand: the intervals of Croston's method, the share of periods of TSB; null
    searches as above."""


class BlockHyperparameters(IntermittentHyperparameters):
    """ADIDA and IMAPA: one smoothing parameter."""

    alpha: Alpha | None = None
    """Smoothing of the sums over blocks; null searches for the best between 0.1 and 0.3."""


LAWS = Choice(("auto", "count", "empirical"))
SMOOTHING_SPACE: SearchSpace = {
    "alpha_size": Number(0.01, 0.6, log=True),
    "alpha_rate": Number(0.01, 0.6, log=True),
    "law": LAWS,
}
BLOCK_SPACE: SearchSpace = {"alpha": Number(0.01, 0.6, log=True), "law": LAWS}


@numba.njit(cache=True)
def _look(values: FloatArray, begin: Int64Array, end: Int64Array) -> tuple[Int64Array, Int64Array, Int64Array]:
    """Observations, negative ones and zeros of each row, [R]."""
    n = len(begin)
    counts, negative, zeros = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    for r in range(n):
        for t in range(begin[r], end[r]):
            if not np.isnan(values[t]):
                counts[r] += 1
                negative[r] += values[t] < 0.0
                zeros[r] += values[t] == 0.0
    return counts, negative, zeros


@numba.njit(cache=True)
def _forecast_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    method: int,
    law: int,
    alpha_size: float,
    alpha_rate: float,
    levels: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Mean [R, H] and quantiles [R, H, Q], the same at every step; rows without an observation stay as they are."""
    longest = _longest(begin, end)
    y, spare = np.empty(longest), np.empty((2, longest + 1))
    for r in range(len(begin)):
        n, constant = _observed(values, begin[r], end[r], y)
        if n == 0:
            continue
        if constant:
            mean[r], quantiles[r] = y[0], y[0]
            continue
        point, rate = _expected(y, n, method, alpha_size, alpha_rate, spare)
        mean[r] = point
        quantiles[r] = law_quantiles(y, n, rate, law, levels, spare[0], spare[1])


@numba.njit(cache=True)
def _log_masses(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    method: int,
    law: int,
    alpha_size: float,
    alpha_rate: float,
    actual: FloatArray,
    out: FloatArray,
) -> None:
    """log of the law's mass per unit of the data, [R, H], at actual [R, H]; rows without a law of counts stay."""
    longest = _longest(begin, end)
    y, spare = np.empty(longest), np.empty((2, longest + 1))
    for r in range(len(begin)):
        n, constant = _observed(values, begin[r], end[r], y)
        if n == 0 or constant:
            continue
        _, rate = _expected(y, n, method, alpha_size, alpha_rate, spare)
        unit, dispersion = count_law(y, n, rate, law)
        if unit > 0.0:
            for h in range(actual.shape[1]):
                if not np.isnan(actual[r, h]):
                    out[r, h] = log_count_mass(actual[r, h] / unit, rate / unit, dispersion) - np.log(unit)


@numba.njit(cache=True)
def _longest(begin: Int64Array, end: Int64Array) -> int:
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    return int(longest)


@numba.njit(cache=True)
def _observed(values: FloatArray, begin: int, end: int, y: FloatArray) -> tuple[int, bool]:
    """The observations in y, how many there are, and whether they are all equal."""
    n, low, high = 0, np.inf, -np.inf
    for t in range(begin, end):
        if not np.isnan(values[t]):
            y[n] = values[t]
            low, high = min(low, y[n]), max(high, y[n])
            n += 1
    return n, low == high


@numba.njit(cache=True)
def _expected(
    y: FloatArray, n: int, method: int, alpha_size: float, alpha_rate: float, spare: FloatArray
) -> tuple[float, float]:
    """The forecast and the mean that its law goes by."""
    smallest = np.inf
    for i in range(n):
        smallest = min(smallest, y[i])
    if smallest < 0.0:
        alpha = alpha_size if method <= TSB else alpha_rate
        point = smooth(y, n, best_alpha(y, n) if np.isnan(alpha) else alpha)
        return point, point
    point, rate = demand_rate(method, y, n, alpha_size, alpha_rate, spare)
    return point, rate


class _Intermittent(Model):
    """A mean per period, the same at every step, and a law of the demand in one period.

    There is nothing to store: the forecast is read off the history, whatever its end.
    """

    needs_history = True
    method: ClassVar[int]

    def fit(self, rows: Rows, hyperparameters: IntermittentHyperparameters) -> Fitted:
        blank = Blank.of(len(rows))
        counts, negative, zeros = _look(rows.batch.values, rows.begin, rows.end)
        blank.reason[zeros == 0] = NO_ZEROS
        blank.reason[negative > 0] = NEGATIVE
        blank.status[negative > 0] = Status.FALLBACK
        blank.reason[counts == 1] = ONE_OBSERVATION
        blank.reason[counts == 0] = NO_OBSERVATIONS
        blank.status[counts == 0] = Status.FAILED
        blank.evaluations[:] = 1
        return blank.without_numbers(rows, hyperparameters)

    def update(self, fitted: Fitted, rows: Rows) -> Fitted:
        options = fitted.hyperparameters
        assert isinstance(options, IntermittentHyperparameters)
        return self.fit(rows, options)

    def predict(self, fitted: Fitted, horizon: int, quantiles: Sequence[float]) -> RawForecast:
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, IntermittentHyperparameters)
        levels = np.asarray(quantiles, dtype=np.float64)
        mean = np.full((len(rows), horizon), np.nan)
        table = np.full((len(rows), horizon, len(levels)), np.nan)
        size, rate = self._alphas(options)
        _forecast_rows(
            rows.batch.values,
            rows.begin,
            rows.end,
            self.method,
            _LAWS.index(options.law),
            np.nan if size is None else size,
            np.nan if rate is None else rate,
            levels,
            mean,
            table,
        )
        return RawForecast(mean=mean, quantiles=table)

    def log_density(self, fitted: Fitted, actual: FloatArray) -> FloatArray:
        """For counts, the log of their probability, spread over the unit of the data so that it can be laid beside
        densities: for pieces the probability itself, for packs of six a sixth of it. NaN where the law is the
        history's own."""
        rows, options = fitted.rows, fitted.hyperparameters
        assert isinstance(options, IntermittentHyperparameters)
        out = np.full(actual.shape, np.nan)
        size, rate = self._alphas(options)
        _log_masses(
            rows.batch.values,
            rows.begin,
            rows.end,
            self.method,
            _LAWS.index(options.law),
            np.nan if size is None else size,
            np.nan if rate is None else rate,
            np.ascontiguousarray(actual, dtype=np.float64),
            out,
        )
        return out

    def _alphas(self, options: IntermittentHyperparameters) -> tuple[float | None, float | None]:
        if isinstance(options, SmoothingHyperparameters):
            return options.alpha_size, options.alpha_rate
        assert isinstance(options, BlockHyperparameters)
        return options.alpha, options.alpha


class CrostonSba(_Intermittent):
    """Croston's method with the correction of Syntetos and Boylan.

    The quantiles go by the share of periods with demand, smoothed every period, as in TSB: Croston's own rate stands
    still while there is no demand.
    """

    name = "croston_sba"
    cost = 0.02
    method = CROSTON
    Hyperparameters = SmoothingHyperparameters
    search_space = SMOOTHING_SPACE


class Tsb(_Intermittent):
    """The method of Teunter, Syntetos and Babai: falls while there is no demand."""

    name = "tsb"
    cost = 0.02
    method = TSB
    Hyperparameters = SmoothingHyperparameters
    search_space = SMOOTHING_SPACE


class Adida(_Intermittent):
    """Aggregate to blocks of the mean interval, smooth, disaggregate."""

    name = "adida"
    cost = 0.1
    method = ADIDA
    Hyperparameters = BlockHyperparameters
    search_space = BLOCK_SPACE


class Imapa(_Intermittent):
    """The mean of ADIDA's forecasts over all blocks up to the mean interval."""

    name = "imapa"
    cost = 0.2
    method = IMAPA
    Hyperparameters = BlockHyperparameters
    search_space = BLOCK_SPACE
