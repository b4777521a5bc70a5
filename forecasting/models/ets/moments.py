"""Exact means and variances of the forecasts, from the states at the forecast's origin.

Hyndman, Koehler, Ord and Snyder (2008), chapter 6. Writing c_j for the effect of an error on the mean j steps later,
mu_{T+h} has variance sigma^2 sum_{0<j<h} c_j^2 E_{h-j}, where E_i = 1 for additive errors (class 1, equations 6.9 to
6.11) and E_i = E[mu_{T+i}^2] for multiplicative ones (class 2, equations 6.12 and 6.13), and c_j = alpha + beta (phi +
... + phi^j) + gamma [m divides j]. The sum over level and slope is carried forward as a 2 x 2 covariance, so that h
steps cost h operations and not h^2; the season adds its few terms.

With a multiplicative season and multiplicative errors (class 3) the book gives a recursion over Kronecker products of
size 2 m. The same moments follow phase by phase: y_{T+h} needs level and slope z and one seasonal term s only, and s
changes at its own phase only, so E[s z] and E[s^2 z z'] are 2 and 2 x 2 numbers that are moved by
(1 + gamma eps)(F + eps g w') at that phase and by F + eps g w' elsewhere, eps normal. The mean is exact too: beyond
one season it is not the point forecast that follows from setting all errors to zero.
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray


@numba.njit(cache=True)
def linear_moments(
    state: FloatArray,
    error: int,
    season: int,
    m: int,
    alpha: float,
    beta: float,
    gamma: float,
    phi: float,
    variance: float,
    mean: FloatArray,
    spread: FloatArray,
    power: FloatArray,
    effect: FloatArray,
) -> None:
    """Mean and variance of y_{T+1}, ..., y_{T+H} in mean [H] and spread [H] without or with an additive season.

    power, effect: scratch [H + 1], E_i and c_i without the season.
    """
    l, b = state[0], state[1]
    p11, p12, p22 = 0.0, 0.0, 0.0
    damp, total = 1.0, 0.0
    for h in range(1, len(mean) + 1):
        damp *= phi
        total += damp
        effect[h] = alpha + beta * total
        point = l + b * total
        if season == 1:
            point += state[2 + (h - 1) % m]
        moved = p11 + 2.0 * phi * p12 + phi * phi * p22
        if season == 1:
            for k in range(m, h, m):
                moved += variance * gamma * (2.0 * effect[k] + gamma) * power[h - k]
        power[h] = point * point + moved if error == 1 else 1.0
        mean[h - 1] = point
        spread[h - 1] = moved + variance * power[h]
        shock = variance * power[h]
        level_slope = phi * (p12 + phi * p22)
        p11 = p11 + 2.0 * phi * p12 + phi * phi * p22 + alpha * alpha * shock
        p12 = level_slope + alpha * beta * shock
        p22 = phi * phi * p22 + beta * beta * shock


@numba.njit(cache=True)
def _move(
    z: FloatArray, alpha: float, beta: float, gamma: float, phi: float, variance: float, own_phase: bool
) -> None:
    """One step of z = E[s l], E[s b], E[s^2 l^2], E[s^2 l b], E[s^2 b^2]."""
    r1, r2, m11, m12, m22 = z[0], z[1], z[2], z[3], z[4]
    q1 = r1 + phi * r2
    # F M F', w = (1, phi): the level's row of F is w, so its products with w are what the shocks need too.
    f11 = m11 + 2.0 * phi * m12 + phi * phi * m22
    f12 = phi * (m12 + phi * m22)
    f22 = phi * phi * m22
    if not own_phase:
        z[0], z[1] = q1, phi * r2
        z[2] = f11 * (1.0 + variance * alpha * alpha)
        z[3] = f12 + variance * alpha * beta * f11
        z[4] = f22 + variance * beta * beta * f11
        return
    # A = F + eps A1 + eps^2 A2 with A1 = g w' + gamma F, A2 = gamma g w'; E eps^2 = v, E eps^4 = 3 v^2.
    z[0], z[1] = q1 * (1.0 + variance * gamma * alpha), phi * r2 + variance * gamma * beta * q1
    v, a1 = variance, alpha + gamma
    # A1 M A1': its rows are (alpha + gamma) w and beta w + gamma (0, phi).
    s11 = a1 * a1 * f11
    s12 = a1 * (beta * f11 + gamma * f12)
    s22 = beta * beta * f11 + 2.0 * beta * gamma * f12 + gamma * gamma * f22
    c11 = 2.0 * gamma * alpha * f11
    c12 = gamma * (beta * f11 + alpha * f12)
    c22 = 2.0 * gamma * beta * f12
    g = 3.0 * v * v * gamma * gamma * f11
    z[2] = f11 + v * (s11 + c11) + g * alpha * alpha
    z[3] = f12 + v * (s12 + c12) + g * alpha * beta
    z[4] = f22 + v * (s22 + c22) + g * beta * beta


@numba.njit(cache=True)
def multiplicative_moments(
    state: FloatArray,
    m: int,
    alpha: float,
    beta: float,
    gamma: float,
    phi: float,
    variance: float,
    mean: FloatArray,
    spread: FloatArray,
) -> None:
    """Mean and variance of y_{T+1}, ..., y_{T+H}: multiplicative season and errors."""
    steps = len(mean)
    z, branch = np.zeros(5), np.zeros(5)
    z[0], z[1] = state[0], state[1]
    z[2], z[3], z[4] = z[0] * z[0], z[0] * z[1], z[1] * z[1]
    for phase in range(1, min(m, steps) + 1):
        s = state[1 + phase]
        branch[:] = z
        for h in range(phase, steps + 1):
            own = (h - phase) % m == 0
            if own:
                point = s * (branch[0] + phi * branch[1])
                square = branch[2] + 2.0 * phi * branch[3] + phi * phi * branch[4]
                mean[h - 1] = point
                spread[h - 1] = max(s * s * (1.0 + variance) * square - point * point, 0.0)
                if h + m > steps:
                    break
            _move(branch, alpha, beta, gamma, phi, variance, own)
        _move(z, alpha, beta, gamma, phi, variance, False)
