"""The exact Gaussian likelihood of a regression with ARMA errors, at O(r) a point.

The filter of Kalman for an ARMA model that starts in its stationary law has covariances whose successive differences
are of rank one: P_{t+1} - P_t = M_t L_t L_t'. Morf, Sidhu and Kailath (1974), "Some new algorithms for recursive
estimation in constant, linear, discrete-time systems", and Pearlman (1980), "An algorithm for the exact likelihood of
a high-order autoregressive-moving average process": with Z = (1, 0, ..., 0), K_t = T P_t Z',

    F_{t+1} = F_t + M_t l^2,   K_{t+1} = K_t + T L_t M_t l,   l = Z L_t
    L_{t+1} = T L_t - K_{t+1} l / F_{t+1},   M_{t+1} = M_t + M_t^2 l^2 / F_t
    L_1 = K_1,   M_1 = -1 / F_1

so only the first column of P_1 is needed. Once M L L' is negligible K and F stay.

Every column (the series, then missing values, the constant, regressors, all differenced) goes through the same filter;
its innovations divided by sqrt(F_t) are independent with variance sigma^2, so the coefficients are least squares ones
(generalised least squares of the data). A missing value is a column, 1 where it is missing before differencing:
integrating it out multiplies the density by |X' V^-1 X|^(-1/2), so that the likelihood is exactly that of the values
observed; with differencing, the diffuse one (Gomez, Maravall and Pena 1999, "Missing observations in ARIMA models:
skipping approach versus additive outlier approach").

With sigma^2 = S / n concentrated out, -2 log L = n log(2 pi S / n) + n + sum log F_t + log |X' V^-1 X|.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.polynomials import MAX_FREE, MAX_LAGS, factors, first_moments, multiply_out

STEADY = 1e-9
"""What is left of the filter's covariance, relative to the error's variance, once it counts as constant."""
SMALLEST_PIVOT = 1e-9
"""Part of a column that the columns before it must leave unexplained for its coefficient to be estimated."""


class Data(NamedTuple):
    """Differenced columns on a scale of about 1.

    columns [C, N]: the series, missing values (n_missing), then the constant and regressors. first [C]: the first
    place where a column is not 0. n_columns: of them in use. n: points in use. m: season length. nearest: modulus that
    roots stay beyond.
    """

    columns: FloatArray
    first: Int64Array
    n_missing: int
    n_columns: int
    n: int
    m: int
    nearest: float


class Work(NamedTuple):
    """Buffers of an evaluation. r: largest state. C, N as in `Data`, at least."""

    coefficients: FloatArray  # [MAX_FREE]
    polynomials: FloatArray  # [2, 2 r + 2]
    table: FloatArray  # [r + 1, r + 1]
    lines: FloatArray  # [4, 2 r + 4]
    state: FloatArray  # [C, r + 1]
    gain: FloatArray  # [2, r + 1] K and L
    filtered: FloatArray  # [C, N]
    normal: FloatArray  # [C, C]
    beta: FloatArray  # [C], coefficients; of column 0 unused
    spread: FloatArray  # [C], standard errors' squares over sigma^2 (not filled by every pass)
    residuals: FloatArray  # [MAX_FREE + 2, N]
    step: FloatArray  # [8, MAX_FREE]
    square: FloatArray  # [2, MAX_FREE, MAX_FREE + 1]


@numba.njit(cache=True, error_model="numpy")
def workspace(n: int, n_columns: int, r: int) -> Work:
    """Buffers for at most n points, n_columns columns and r states."""
    return Work(
        np.zeros(MAX_FREE),
        np.zeros((2, 2 * r + 2)),
        np.zeros((r + 1, r + 1)),
        np.zeros((4, 2 * r + 4)),
        np.zeros((n_columns, r + 1)),
        np.zeros((2, r + 1)),
        np.zeros((n_columns, n)),
        np.zeros((n_columns, n_columns)),
        np.zeros(n_columns),
        np.zeros(n_columns),
        np.zeros((MAX_FREE + 2, n)),
        np.zeros((8, MAX_FREE + 2 * MAX_LAGS)),
        np.zeros((2, MAX_FREE, MAX_FREE + 1)),
    )


@numba.njit(cache=True, error_model="numpy")
def _filter_on(data: Data, begin: int, r: int, phi: FloatArray, f: float, work: Work) -> None:
    """The rest of `_filter` once gain and variance stay, a column at a time."""
    k = work.gain[0]
    root = 1.0 / math.sqrt(f)
    inverse = root * root
    for c in range(data.n_columns):
        a, line, out = work.state[c], data.columns[c], work.filtered[c]
        first = max(begin, data.first[c])
        for t in range(begin, min(first, data.n)):
            out[t] = 0.0
        for t in range(first, data.n):
            a0 = a[0]
            v = line[t] - a0
            out[t] = v * root
            w = v * inverse
            for i in range(r):
                a[i] = a[i + 1] + phi[i] * a0 + k[i] * w


@numba.njit(cache=True, error_model="numpy")
def _filter(data: Data, r: int, phi: FloatArray, moments: FloatArray, work: Work) -> float:
    """Standardised innovations of every column into work.filtered; leaves the states after the last point and the
    last gain. Returns sum log F_t."""
    n, n_columns = data.n, data.n_columns
    k, l, state = work.gain[0], work.gain[1], work.state
    f = max(moments[0], 1.0)
    moments[r] = 0.0
    for i in range(r):
        k[i] = phi[i] * f + moments[i + 1]
        l[i] = k[i]
    k[r] = 0.0
    l[r] = 0.0
    for c in range(n_columns):
        for i in range(r + 1):
            state[c, i] = 0.0
    factor = -1.0 / f
    logs, product = 0.0, 1.0
    for t in range(n):
        root = 1.0 / math.sqrt(f)
        inverse = root * root
        product *= f
        if product > 1e200:
            logs += math.log(product)
            product = 1.0
        for c in range(n_columns):
            if t < data.first[c]:
                work.filtered[c, t] = 0.0
                continue
            a = state[c]
            a0 = a[0]
            v = data.columns[c, t] - a0
            work.filtered[c, t] = v * root
            w = v * inverse
            for i in range(r):
                a[i] = a[i + 1] + phi[i] * a0 + k[i] * w
        l0 = l[0]
        if l0 == 0.0:
            for i in range(r):
                l[i] = l[i + 1]
        else:
            weight = factor * l0
            f_next = max(f + weight * l0, 1.0)
            share = l0 / f_next
            for i in range(r):
                moved = l[i + 1] + phi[i] * l0
                k[i] += moved * weight
                l[i] = moved - k[i] * share
            factor += factor * factor * l0 * l0 / f
            f = f_next
        if t % 8 == 7:
            largest = 0.0
            for i in range(r):
                largest = max(largest, abs(l[i]))
            if -factor * largest * largest < STEADY:
                logs += (n - 1 - t) * math.log(f)
                _filter_on(data, t + 1, r, phi, f, work)
                break
    return logs + math.log(product)


@numba.njit(cache=True, error_model="numpy")
def _regress(data: Data, work: Work, out: FloatArray) -> tuple[float, float, int]:
    """Least squares of the filtered columns: coefficients in work.beta, what is left of the series in `out`.

    Returns its sum of squares, the log determinant of the missing values' columns and how many of them count. A column
    that those before it explain keeps coefficient 0.
    """
    n, k = data.n, data.n_columns - 1
    g, e, beta = work.normal, work.filtered, work.beta
    for i in range(k):
        begin = data.first[1 + i]
        for j in range(i + 1):
            g[i, j] = np.dot(e[1 + i, begin:n], e[1 + j, begin:n])
        beta[1 + i] = np.dot(e[1 + i, begin:n], e[0, begin:n])
    determinant, counted = 0.0, 0
    for i in range(k):
        whole = g[i, i]
        for j in range(i):
            s = g[i, j]
            if g[j, j] == 0.0:
                g[i, j] = 0.0
                continue
            for h in range(j):
                s -= g[i, h] * g[j, h]
            g[i, j] = s / g[j, j]
        s = whole
        for h in range(i):
            s -= g[i, h] * g[i, h]
        if s <= SMALLEST_PIVOT * whole or not whole > 1e-280:
            g[i, i] = 0.0
            beta[1 + i] = 0.0
            continue
        g[i, i] = math.sqrt(s)
        if i < data.n_missing:
            determinant += math.log(s)
            counted += 1
        s = beta[1 + i]
        for h in range(i):
            s -= g[i, h] * beta[1 + h]
        beta[1 + i] = s / g[i, i]
    for i in range(k - 1, -1, -1):
        if g[i, i] == 0.0:
            continue
        s = beta[1 + i]
        for h in range(i + 1, k):
            s -= g[h, i] * beta[1 + h]
        beta[1 + i] = s / g[i, i]
    for t in range(n):
        out[t] = e[0, t]
    for i in range(k):
        b = beta[1 + i]
        if b != 0.0:
            for t in range(data.first[1 + i], n):
                out[t] -= b * e[1 + i, t]
    total = 0.0
    for t in range(n):
        total += out[t] * out[t]
    return total, determinant, counted


@numba.njit(cache=True, error_model="numpy")
def evaluate(data: Data, orders: Int64Array, x: FloatArray, work: Work, out: FloatArray) -> tuple[float, float, int]:
    """One pass: (n log S + sum log F + log determinant, S, n) at partial autocorrelations x.

    out [N]: residuals that are scaled so that n log of their sum of squares is that first number. Infinite where the
    model cannot be evaluated.
    """
    factors(orders, data.m, data.nearest, x, work.coefficients)
    phi, theta = work.polynomials[0], work.polynomials[1]
    r = multiply_out(orders, data.m, work.coefficients, phi, theta)
    n_phi, n_theta = orders[0] + data.m * orders[2], orders[1] + data.m * orders[3]
    if not first_moments(n_phi, n_theta, r, phi, theta, work.table, work.lines):
        return np.inf, np.inf, 1
    logs = _filter(data, r, phi, work.lines[0], work)
    total, determinant, counted = _regress(data, work, out)
    n = max(data.n - counted, 1)
    total = max(total, n * 1e-24)
    scale = math.exp(0.5 * (logs + determinant) / n)
    for t in range(data.n):
        out[t] *= scale
    value = n * math.log(total) + logs + determinant
    if not math.isfinite(value):
        return np.inf, np.inf, 1
    return value, total, n


@numba.njit(cache=True, error_model="numpy")
def minus_two_log_likelihood(value: float, n: int) -> float:
    """-2 log L from `evaluate`'s first number."""
    return value + n * (math.log(2.0 * math.pi / n) + 1.0)
