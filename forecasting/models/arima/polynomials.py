"""Lag polynomials of seasonal ARMA models: stationary parameters, their products, autocovariances.

A model has four factors, in this order: AR (p), MA (q), seasonal AR (P), seasonal MA (Q). Each is carried as partial
autocorrelations in (-1, 1): Barndorff-Nielsen and Schou (1973), "On the parametrization of autoregressive models by
partial autocorrelations", and Monahan (1984), "A note on enforcing stationarity in ARMA models": the recursion of
Durbin and Levinson maps that box one to one to the stationary (invertible) region. A lag whose partial
autocorrelation is 0 is as good as absent, so that a larger model can start where a smaller one ended.

Signs: phi(B) = 1 - phi_1 B - ..., theta(B) = 1 + theta_1 B + ....
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

MAX_LAGS, MAX_SEASONAL = 8, 4
MAX_FREE = 2 * MAX_LAGS + 2 * MAX_SEASONAL
P, Q, SP, SQ = range(4)  # places of the four orders


@numba.njit(cache=True, error_model="numpy")
def to_coefficients(partial: FloatArray, n: int, out: FloatArray) -> None:
    """Coefficients of 1 - sum out_j B^j from n partial autocorrelations (Durbin-Levinson)."""
    for k in range(n):
        r = partial[k]
        out[k] = r
        for j in range(k // 2):
            a, b = out[j], out[k - 1 - j]
            out[j], out[k - 1 - j] = a - r * b, b - r * a
        if k % 2 == 1:
            out[k // 2] *= 1.0 - r


@numba.njit(cache=True, error_model="numpy")
def to_partial(coefficients: FloatArray, n: int, out: FloatArray) -> bool:
    """The inverse of `to_coefficients`; False, and `out` of no use, where the polynomial has a root inside or on the
    unit circle."""
    for j in range(n):
        out[j] = coefficients[j]
    for k in range(n - 1, -1, -1):
        r = out[k]
        if not abs(r) < 1.0:
            return False
        scale = 1.0 / (1.0 - r * r)
        for j in range(k // 2):
            a, b = out[j], out[k - 1 - j]
            out[j], out[k - 1 - j] = (a + r * b) * scale, (b + r * a) * scale
        if k % 2 == 1:
            out[k // 2] /= 1.0 - r
    return True


@numba.njit(cache=True, error_model="numpy")
def factors(orders: Int64Array, m: int, nearest: float, x: FloatArray, out: FloatArray) -> None:
    """Coefficients of the four factors, one after the other as in x, with the signs of the module.

    All roots have a modulus of more than `nearest`: B is replaced by B / nearest.
    """
    i = 0
    for f in range(4):
        n = orders[f]
        to_coefficients(x[i : i + n], n, out[i : i + n])
        shrink = nearest ** -(m if f > 1 else 1)
        power = 1.0 if f % 2 == 0 else -1.0
        for j in range(i, i + n):
            power *= shrink
            out[j] *= power
        i += n


@numba.njit(cache=True, error_model="numpy")
def partials(orders: Int64Array, m: int, nearest: float, c: FloatArray, x: FloatArray, line: FloatArray) -> None:
    """The inverse of `factors`; 0 for a factor with a root nearer. line [2 MAX_LAGS]."""
    i = 0
    for f in range(4):
        n = orders[f]
        stretch = nearest ** (m if f > 1 else 1)
        power = 1.0 if f % 2 == 0 else -1.0
        for j in range(n):
            power *= stretch
            line[j] = c[i + j] * power
        if not to_partial(line, n, line[MAX_LAGS:]):
            line[MAX_LAGS:] = 0.0
        for j in range(n):
            x[i + j] = line[MAX_LAGS + j]
        i += n


@numba.njit(cache=True, error_model="numpy")
def multiply_out(orders: Int64Array, m: int, c: FloatArray, phi: FloatArray, theta: FloatArray) -> int:
    """Expand the factors: phi[j] is the coefficient of y_{t-1-j}, theta[j] that of e_{t-1-j}; both zero beyond.

    Returns r = max(p + m P, q + m Q + 1), the size of the state.
    """
    p, q, sp, sq = orders[P], orders[Q], orders[SP], orders[SQ]
    n_phi, n_theta = p + m * sp, q + m * sq
    r = max(n_phi, n_theta + 1)
    for j in range(r + 1):
        phi[j] = 0.0
        theta[j] = 0.0
    for j in range(p):
        phi[j] = c[j]
    for j in range(q):
        theta[j] = c[p + j]
    at = p + q
    for k in range(sp):
        s = c[at + k]
        lag = m * (k + 1)
        phi[lag - 1] += s
        for j in range(p):
            phi[lag + j] -= s * c[j]
    at += sp
    for k in range(sq):
        s = c[at + k]
        lag = m * (k + 1)
        theta[lag - 1] += s
        for j in range(q):
            theta[lag + j] += s * c[p + j]
    return int(r)


@numba.njit(cache=True, error_model="numpy")
def first_moments(
    n_phi: int, n_theta: int, r: int, phi: FloatArray, theta: FloatArray, table: FloatArray, lines: FloatArray
) -> bool:
    """Covariances of the stationary state with the first value, in lines[0, :r], for unit error variance.

    State of Harvey (1989), "Forecasting, structural time series models and the Kalman filter", section 4.4: element i
    holds sum_{j >= i} phi_{j+1} y_{t-1-j+i} + theta_j e_{t-j+i}. The autocovariances of the AR part follow from its
    partial autocorrelations, those of the product from filtering them with theta both ways.
    table [>= n_phi + 1, >= n_phi], lines [4, >= n_phi + n_theta + 2]. False where phi is not stationary.
    """
    moments, gamma, own, psi = lines[0], lines[1], lines[2], lines[3]
    variance = 1.0
    for j in range(n_phi):
        table[n_phi, j] = phi[j]
    for k in range(n_phi, 0, -1):
        line, below = table[k], table[k - 1]
        a = line[k - 1]
        rest = 1.0 - a * a
        if not rest > 0.0:
            return False
        variance /= rest
        for j in range(k - 1):
            below[j] = (line[j] + a * line[k - 2 - j]) / rest
    gamma[0] = variance
    for k in range(1, n_phi + n_theta + 1):
        s = 0.0
        if k <= n_phi:
            below = table[k - 1]
            for j in range(k - 1):
                s += below[j] * gamma[k - 1 - j]
            a = table[k, k - 1]
            s += a * variance
            variance *= 1.0 - a * a
        else:
            for j in range(n_phi):
                if phi[j] != 0.0:
                    s += phi[j] * gamma[k - 1 - j]
        gamma[k] = s
    for k in range(n_theta + 1):
        s = theta[k - 1] if k > 0 else 1.0
        for j in range(n_theta - k):
            if theta[j] != 0.0:
                s += theta[j] * theta[j + k]
        own[k] = s
        psi[k] = theta[k - 1] if k > 0 else 1.0
        for j in range(min(k, n_phi)):
            if phi[j] != 0.0:
                psi[k] += phi[j] * psi[k - 1 - j]
    if n_theta > 0:
        for k in range(n_phi + 1):
            moments[k] = own[0] * gamma[k]
        for j in range(1, n_theta + 1):
            if own[j] != 0.0:
                for k in range(n_phi + 1):
                    moments[k] += own[j] * (gamma[k + j] + gamma[abs(k - j)])
        for k in range(n_phi + 1):
            gamma[k] = moments[k]
    for i in range(r):
        moments[i] = 0.0
    for j in range(n_phi):
        if phi[j] != 0.0:
            for i in range(j + 1):
                moments[i] += phi[j] * gamma[j - i + 1]
    for j in range(n_theta + 1):
        weight = theta[j - 1] if j > 0 else 1.0
        if weight != 0.0:
            for i in range(j + 1):
                moments[i] += weight * psi[j - i]
    return True


@numba.njit(cache=True, error_model="numpy")
def differencing(d: int, sd: int, m: int, out: FloatArray) -> int:
    """Coefficients of 1 - (1 - B)^d (1 - B^m)^D: y_t = w_t + sum out_j y_{t-1-j}. Returns their number d + m D."""
    size = d + m * sd
    full = np.zeros(size + 1)
    full[0] = 1.0
    for k in range(d + sd):
        lag = 1 if k < d else m
        for j in range(size, lag - 1, -1):
            full[j] -= full[j - lag]
    for j in range(size):
        out[j] = -full[j + 1]
    return size
