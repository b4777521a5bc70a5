"""Forecasts from the numbers of a fit, and moving those numbers over newer points.

A fit's state is, in this order: the r predicted elements of the ARMA state (Harvey's form, see `polynomials`), the
d + m D latest values of the errors, newest first, and one coefficient a regressor. Variances are those of the infinite
past, sigma^2 sum psi_j^2 with psi of the whole polynomial, differences included (Brockwell and Davis 1991, "Time
series: theory and methods", section 9.5), and what an estimated mean or drift adds: its generalised least squares
estimate has the variance (sigma mean_error)^2, and a drift that is off by one is off by h after h periods. The
coefficients of regressors count as known.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.layout import (
    AR,
    BOX_COX,
    COEFFICIENTS,
    CONSTANT,
    GAP,
    MA,
    MEAN_ERROR,
    N_OBS,
    OFFSET,
    SCALE,
    SEASON_LENGTH,
    SEASONAL_AR,
    SEASONAL_D,
    SEASONAL_MA,
    SIGMA,
    UNIT,
    Columns,
    D,
)
from forecasting.models.arima.polynomials import MAX_FREE, MAX_LAGS, MAX_SEASONAL, differencing, multiply_out
from forecasting.models.arima.prepare import regressor
from forecasting.models.box_cox import transformed

MOST_POINTS = 500
"""After so many points of ones a filter has come to rest."""
ORDER_PLACES = (AR, MA, SEASONAL_AR, SEASONAL_MA)
FACTOR_PLACES = (0, MAX_LAGS, 2 * MAX_LAGS, 2 * MAX_LAGS + MAX_SEASONAL)


@numba.njit(cache=True, error_model="numpy")
def unfold(p: FloatArray, phi: FloatArray, theta: FloatArray, diff: FloatArray) -> tuple[int, int]:
    """Expand stored coefficients; returns sizes of the ARMA state and of the differencing. All buffers are zeroed."""
    orders, c = np.zeros(4, dtype=np.int64), np.zeros(MAX_FREE)
    at = 0
    for f in range(4):
        orders[f] = int(p[ORDER_PLACES[f]])
        for j in range(orders[f]):
            c[at + j] = p[COEFFICIENTS + FACTOR_PLACES[f] + j]
        at += orders[f]
    m = int(p[SEASON_LENGTH])
    r = multiply_out(orders, m, c, phi, theta)
    return r, differencing(int(p[D]), int(p[SEASONAL_D]), m, diff)


@numba.njit(cache=True, error_model="numpy")
def buffer_size(p: FloatArray) -> int:
    """A size that every polynomial of these parameters [R, ...] fits into."""
    largest = 4
    for r in range(len(p)):
        if not math.isnan(p[r, SIGMA]):
            m = p[r, SEASON_LENGTH]
            arma = max(p[r, AR] + m * p[r, SEASONAL_AR], p[r, MA] + m * p[r, SEASONAL_MA])
            largest = max(largest, int(arma), int(p[r, D] + m * p[r, SEASONAL_D]))
    return int(largest + 2)


@numba.njit(cache=True, error_model="numpy")
def step(
    innovation: float,
    r: int,
    phi: FloatArray,
    theta: FloatArray,
    diff: FloatArray,
    size: int,
    mean: float,
    s: FloatArray,
) -> float:
    """Move the state over one period with this innovation; returns the level that the errors get."""
    w = s[0] + innovation
    level = mean + w
    for j in range(size):
        level += diff[j] * s[r + j]
    for i in range(r):
        after = s[i + 1] if i < r - 1 else 0.0
        s[i] = after + phi[i] * w + theta[i] * innovation
    for j in range(size - 1, 0, -1):
        s[r + j] = s[r + j - 1]
    if size > 0:
        s[r] = level
    return float(level)


@numba.njit(cache=True, error_model="numpy")
def _regression(columns: Columns, series: int, t: int, beta: FloatArray) -> float:
    total = 0.0
    for k in range(len(beta)):
        if beta[k] != 0.0:
            total += beta[k] * regressor(columns, series, k, t)
    return float(total)


@numba.njit(cache=True, error_model="numpy")
def _mean_moves(n: int, r: int, phi: FloatArray, theta: FloatArray, s: FloatArray) -> None:
    """How the ARMA state [r] after n points changes with the mean: less the state of a series of ones, by the final
    gain."""
    for _ in range(min(n, MOST_POINTS)):
        innovation = 1.0 - s[0]
        for i in range(r):
            after = s[i + 1] if i < r - 1 else 0.0
            s[i] = after + phi[i] + theta[i] * innovation
    for i in range(r):
        s[i] = -s[i]


@numba.njit(cache=True, error_model="numpy")
def forecast_rows(
    end: Int64Array,
    series: Int64Array,
    columns: Columns,
    p: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    z: FloatArray,
    mean_uncertainty: bool,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Fill mean [R, H] and quantiles [R, H, Q] at normal deviates z [Q] for the periods after each row's end: of the
    transformed values where there is a Box-Cox transform."""
    horizon, n_size = mean.shape[1], buffer_size(p)
    longest = 0
    for r in range(len(p)):
        longest = max(longest, offsets[r + 1] - offsets[r])
    phi, theta, diff = np.zeros(n_size + 2), np.zeros(n_size + 2), np.zeros(n_size + 2)
    s, response, moved = np.zeros(longest + 1), np.zeros(longest + 1), np.zeros(longest + 1)
    for row in range(len(p)):
        q = p[row]
        if math.isnan(q[SIGMA]):
            continue
        r, size = unfold(q, phi, theta, diff)
        length = offsets[row + 1] - offsets[row]
        s[:length] = states[offsets[row] : offsets[row + 1]]
        beta = s[r + size : length]
        response[: r + size] = 0.0
        moved[: r + size] = 0.0
        unsure = q[MEAN_ERROR] if mean_uncertainty else 0.0
        if unsure > 0.0:
            _mean_moves(int(q[N_OBS]) - size, r, phi, theta, moved)
        gap, total = int(q[GAP]), 0.0
        for h in range(gap + horizon):
            psi = step(1.0 if h == 0 else 0.0, r, phi, theta, diff, size, 0.0, response)
            total += psi * psi
            change = unsure * step(0.0, r, phi, theta, diff, size, 1.0, moved) if unsure > 0.0 else 0.0
            level = step(0.0, r, phi, theta, diff, size, q[CONSTANT], s)
            if h < gap:
                continue
            level += _regression(columns, series[row], end[row] + h - gap, beta)
            middle = q[OFFSET] + q[SCALE] * level
            deviation = q[SCALE] * q[SIGMA] * math.sqrt(total + change * change)
            mean[row, h - gap] = middle
            for j in range(len(z)):
                quantiles[row, h - gap, j] = middle + z[j] * deviation


@numba.njit(cache=True, error_model="numpy")
def advance_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    series: Int64Array,
    columns: Columns,
    p: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
) -> None:
    """Move p (gap, n_obs) and states over the points values[begin:end] of each row, with the filter's final gain.

    A missing value takes its forecast. Values that a Box-Cox transform cannot take count as missing.
    """
    n_size = buffer_size(p)
    phi, theta, diff = np.zeros(n_size + 2), np.zeros(n_size + 2), np.zeros(n_size + 2)
    for row in range(len(p)):
        q = p[row]
        if math.isnan(q[SIGMA]):
            continue
        r, size = unfold(q, phi, theta, diff)
        s = states[offsets[row] : offsets[row + 1]]
        beta = s[r + size :]
        for t in range(begin[row], end[row]):
            y = values[t]
            if math.isnan(y) or (not math.isnan(q[BOX_COX]) and y <= 0.0):
                q[GAP] += 1
                continue
            for _ in range(int(q[GAP])):
                step(0.0, r, phi, theta, diff, size, q[CONSTANT], s)
            q[GAP] = 0
            q[N_OBS] += 1
            y = y / q[UNIT]
            if not math.isnan(q[BOX_COX]):
                y = transformed(y, q[BOX_COX])
            level = (y - q[OFFSET]) / q[SCALE] - _regression(columns, series[row], t, beta)
            expected = s[0] + q[CONSTANT]
            for j in range(size):
                expected += diff[j] * s[r + j]
            step(level - expected, r, phi, theta, diff, size, q[CONSTANT], s)
