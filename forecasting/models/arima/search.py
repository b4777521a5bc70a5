"""The choice of orders: Hyndman and Khandakar (2008), "Automatic time series forecasting: the forecast package for R".

Every candidate is estimated by the exact likelihood and starts where its nearest relative among the estimated ones
ended: partial autocorrelations nest, so most candidates need two or three steps. Descents that are clearly to end
above the best criterion so far are given up.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.descent import descend
from forecasting.models.arima.likelihood import Data, Work, minus_two_log_likelihood
from forecasting.models.arima.polynomials import MAX_FREE

MAX_MODELS = 400
STEPWISE_MODELS = 94  # R's nmodels
NEAREST_ROOT = 1.01
"""No root is closer to the unit circle."""
NO_SUPPORT = 10.0
"""By how much the criterion of a candidate whose likelihood is highest at that border must be lower. R refuses such a
candidate. In short series likelihoods pile up there by chance, and its forecasts are not stable; in long ones others
can be worse by so much that they have essentially no support (Burnham and Anderson 2002, "Model selection and
multimodel inference", section 2.6). After a seasonal difference a seasonal MA factor may be at the border at no cost:
likelihoods pile up there (Sargan and Bhargava 1983) where seasons are steady, which such a factor forecasts well."""
BORDER = 0.9999
"""Partial autocorrelation that counts as at the border."""
AICC, AIC, BIC = range(3)
ROUGH, FINE = 1e-2, 1e-7
_NEIGHBOURS = np.array(
    [
        (0, 0, -1, 0, 0),
        (0, 0, 0, -1, 0),
        (0, 0, 1, 0, 0),
        (0, 0, 0, 1, 0),
        (0, 0, -1, -1, 0),
        (0, 0, -1, 1, 0),
        (0, 0, 1, -1, 0),
        (0, 0, 1, 1, 0),
        (-1, 0, 0, 0, 0),
        (0, -1, 0, 0, 0),
        (1, 0, 0, 0, 0),
        (0, 1, 0, 0, 0),
        (-1, -1, 0, 0, 0),
        (-1, 1, 0, 0, 0),
        (1, -1, 0, 0, 0),
        (1, 1, 0, 0, 0),
        (0, 0, 0, 0, 1),
    ],
    dtype=np.int64,
)
"""Changes of p, q, P, Q and the constant that a step may take, in the order in which they are tried."""


class Space(NamedTuple):
    """What may be searched. most [4]: largest orders p, q, P, Q. total: largest sum of a full search. constant: 0
    never, 1 always, 2 chosen. full: whether all combinations are tried. criterion: AICC, AIC or BIC.
    seasonal_difference: whether the data are seasonal differences."""

    most: Int64Array
    total: int
    constant: int
    full: bool
    criterion: int
    seasonal_difference: bool


class Tried(NamedTuple):
    """Candidates so far: orders [M, 5] (p, q, P, Q, constant), x [M, MAX_FREE], score [M]."""

    orders: Int64Array
    x: FloatArray
    score: FloatArray


@numba.njit(cache=True, error_model="numpy")
def tried_none() -> Tried:
    """Room for the candidates of a series."""
    return Tried(
        np.zeros((MAX_MODELS, 5), dtype=np.int64), np.zeros((MAX_MODELS, MAX_FREE)), np.full(MAX_MODELS, np.inf)
    )


@numba.njit(cache=True, error_model="numpy")
def criterion(value: float, n: int, parameters: int, which: int) -> float:
    """AICc, AIC or BIC from -2 log L."""
    if which == BIC:
        return value + parameters * math.log(n)
    aic = value + 2.0 * parameters
    if which == AIC:
        return aic
    room = n - parameters - 1
    return aic + 2.0 * parameters * (parameters + 1) / room if room > 0 else np.inf


@numba.njit(cache=True, error_model="numpy")
def with_constant(data: Data, constant: int, constant_column: int) -> Data:
    """The data with or without its last column, the constant."""
    kept = data.n_columns if constant == 1 else constant_column
    return Data(data.columns, data.first, data.n_missing, kept, data.n, data.m, data.nearest)


@numba.njit(cache=True, error_model="numpy")
def _start(orders: Int64Array, tried: Tried, count: int, x: FloatArray) -> None:
    """Partial autocorrelations of the nearest estimated candidate; what it lacks begins slightly off zero, so that
    AR and MA terms do not cancel."""
    best, distance = -1, 1 << 30
    for i in range(count):
        if not tried.score[i] < np.inf:
            continue
        away = 0
        for f in range(4):
            more = orders[f] - tried.orders[i, f]
            away += more if more > 0 else -2 * more
        if away < distance or (away == distance and tried.score[i] < tried.score[best]):
            best, distance = i, away
    at, source = 0, 0
    for f in range(4):
        had = tried.orders[best, f] if best >= 0 else 0
        for j in range(orders[f]):
            x[at + j] = tried.x[best, source + j] * 0.98 if j < had else (0.1 if f % 2 == 0 else 0.05)
        at += orders[f]
        source += had


@numba.njit(cache=True, error_model="numpy")
def score_of(
    data: Data,
    orders: Int64Array,
    x: FloatArray,
    space: Space,
    tolerance: float,
    target: float,
    max_passes: int,
    work: Work,
) -> tuple[float, float, float, int, int]:
    """Estimate one candidate: criterion, -2 log L, sum of squares, n, passes. x is improved in place, less so where
    the criterion is clearly to end above `target`."""
    parameters = orders[0] + orders[1] + orders[2] + orders[3] + data.n_columns - 1 - data.n_missing + 1
    n = max(data.n - data.n_missing, 1)
    hopeless = target - criterion(minus_two_log_likelihood(0.0, n), n, parameters, space.criterion)
    value, total, n, passes = descend(data, orders[:4], x, tolerance, hopeless, max_passes, work)
    minus_two = minus_two_log_likelihood(value, n)
    return criterion(minus_two, n, parameters, space.criterion), minus_two, total, n, passes


@numba.njit(cache=True, error_model="numpy")
def _at_border(orders: Int64Array, x: FloatArray, seasonal_difference: bool) -> bool:
    """Whether a factor that may not be there freely has a root as near as `NEAREST_ROOT`."""
    at = 0
    for f in range(4):
        for j in range(at, at + orders[f]):
            if abs(x[j]) > BORDER and not (f == 3 and seasonal_difference):
                return True
        at += orders[f]
    return False


@numba.njit(cache=True, error_model="numpy")
def _try(
    data: Data,
    orders: Int64Array,
    space: Space,
    constant_column: int,
    tried: Tried,
    count: int,
    target: float,
    budget: int,
    work: Work,
) -> tuple[int, int]:
    """Estimate a candidate unless it was tried or cannot be; returns the number of candidates and passes spent.

    target: a criterion that it is to reach."""
    if count >= MAX_MODELS:
        return count, 0
    k = orders[0] + orders[1] + orders[2] + orders[3]
    for f in range(4):
        if orders[f] < 0 or orders[f] > space.most[f]:
            return count, 0
    if orders[4] < 0 or orders[4] > 1 or (space.constant < 2 and orders[4] != space.constant):
        return count, 0
    if space.full and k > space.total:
        return count, 0
    for i in range(count):
        same = True
        for f in range(5):
            same = same and tried.orders[i, f] == orders[f]
        if same:
            return count, 0
    if k + data.n_columns > data.n - data.n_missing - 1:
        return count, 0
    x = tried.x[count]
    _start(orders, tried, count, x)
    tried.orders[count] = orders
    seen = with_constant(data, orders[4], constant_column)
    score, _, _, _, passes = score_of(seen, orders, x, space, ROUGH, target, min(budget, 30 * (k + 2)), work)
    if score < np.inf and _at_border(orders, x, space.seasonal_difference):
        score += NO_SUPPORT
    tried.score[count] = score
    return count + 1, passes


@numba.njit(cache=True, error_model="numpy")
def _lowest(tried: Tried, count: int) -> float:
    best = np.inf
    for i in range(count):
        best = min(best, tried.score[i])
    return float(best)


@numba.njit(cache=True, error_model="numpy")
def search(
    data: Data, constant_column: int, space: Space, tried: Tried, max_passes: int, work: Work
) -> tuple[int, int, bool]:
    """Fill `tried`; returns the number of candidates, passes, and whether the limit ended the search.

    data: its last column is the constant where there may be one, and then n_columns counts it.
    """
    start = np.zeros(5, dtype=np.int64)
    constant = 1 if space.constant > 0 else 0
    count, passes = 0, 0
    tried.score[:] = np.inf
    if space.full:
        for p in range(space.most[0] + 1):
            for q in range(space.most[1] + 1):
                for sp in range(space.most[2] + 1):
                    for sq in range(space.most[3] + 1):
                        for c in range(2):
                            start[0], start[1], start[2], start[3], start[4] = p, q, sp, sq, c
                            if passes < max_passes:
                                target = _lowest(tried, count)
                                count, spent = _try(
                                    data,
                                    start,
                                    space,
                                    constant_column,
                                    tried,
                                    count,
                                    target,
                                    max_passes - passes,
                                    work,
                                )
                                passes += spent
        return count, passes, passes >= max_passes
    for which in range(5):
        ar = 1 if which == 2 else (2 if which == 4 else 0)
        ma = 1 if which == 3 else (2 if which == 4 else 0)
        start[0], start[1] = min(ar, space.most[0]), min(ma, space.most[1])
        start[2], start[3] = min(min(ar, 1), space.most[2]), min(min(ma, 1), space.most[3])
        start[4] = 0 if which == 1 and space.constant == 2 else constant
        target = _lowest(tried, count)
        count, spent = _try(data, start, space, constant_column, tried, count, target, max_passes - passes, work)
        passes += spent
    best = best_of(tried, count)
    moved = best >= 0
    orders = np.zeros(5, dtype=np.int64)
    while moved:
        moved = False
        for which in range(len(_NEIGHBOURS)):
            if passes >= max_passes or count >= STEPWISE_MODELS:
                return count, passes, passes >= max_passes
            for f in range(4):
                orders[f] = tried.orders[best, f] + _NEIGHBOURS[which, f]
            orders[4] = tried.orders[best, 4]
            if _NEIGHBOURS[which, 4] != 0:
                orders[4] = 1 - orders[4]
            before, target = count, tried.score[best]
            count, spent = _try(data, orders, space, constant_column, tried, count, target, max_passes - passes, work)
            passes += spent
            if count > before and tried.score[before] < tried.score[best]:
                best = before
                moved = True
                break
    return count, passes, False


@numba.njit(cache=True, error_model="numpy")
def best_of(tried: Tried, count: int) -> int:
    """Place of the lowest score; -1 for none."""
    best = -1
    for i in range(count):
        if tried.score[i] < np.inf and (best < 0 or tried.score[i] < tried.score[best]):
            best = i
    return best
