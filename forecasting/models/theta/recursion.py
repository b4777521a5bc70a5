"""The theta recursion and its sum of squares, for all four forms in one pass.

Fiorucci, Pellegrini, Louzada, Petropoulos and Koehler (2016), "Models for optimising the theta method and their
relationship to state space models", International Journal of Forecasting 32, equations 4 to 8. With t = 1, 2, …,

    mu_t = l_{t-1} + w [(1 - alpha)^{t-1} A + (1 - (1 - alpha)^t) / alpha B],   l_t = alpha y_t + (1 - alpha) l_{t-1},

w = 1 - 1 / theta, and the line A + B t fitted by least squares: to the whole series (STM, OTM) or to what came before
t (dynamic: DSTM, DOTM). STM and DSTM keep theta = 2. The first three errors do not count, as the line has only begun.

The errors are linear in the initial level and in w, so both have a closed form for a given alpha: the search is over
alpha alone. Where y_t is missing, l_t = l_{t-1} + alpha (mu_t - l_{t-1}), still linear in both, and the line stays.
Data come centred; the model moves with its data, l_0 by (1 - w) of what they move.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

STM, OTM, DSTM, DOTM = 0, 1, 2, 3
N_FORMS = 4
SKIPPED = 3
"""Observations whose errors do not count."""
LARGEST_W = 1.0 - 1e-10
# The line's running least squares: observations, mean time, mean value, squares of time, products.
LINE_N, LINE_T, LINE_Y, LINE_TT, LINE_TY, LINE_SIZE = 0, 1, 2, 3, 4, 5


@numba.njit(cache=True)
def add_to_line(line: FloatArray, t: float, y: float) -> None:
    """One more point of the line's least squares."""
    n = line[LINE_N]
    dt, dy = t - line[LINE_T], y - line[LINE_Y]
    share = 1.0 / (n + 1.0)
    line[LINE_TT] += dt * dt * n * share
    line[LINE_TY] += dt * dy * n * share
    line[LINE_T] += dt * share
    line[LINE_Y] += dy * share
    line[LINE_N] = n + 1.0


@numba.njit(cache=True)
def slope_of(line: FloatArray) -> float:
    return line[LINE_TY] / line[LINE_TT] if line[LINE_TT] > 0.0 else 0.0


@numba.njit(cache=True)
def fit_lines(y: FloatArray, n: int, line: FloatArray, a: FloatArray, b: FloatArray) -> None:
    """Intercept a[i] and slope b[i] of the line through what comes before i (at 0: the first value, flat)."""
    line[:] = 0.0
    a[0], b[0] = y[0], 0.0
    for i in range(n):
        if i > 0:
            b[i] = slope_of(line)
            a[i] = line[LINE_Y] - b[i] * line[LINE_T]
        if not math.isnan(y[i]):
            add_to_line(line, i + 1.0, y[i])


@numba.njit(cache=True)
def gather(y: FloatArray, n: int, alpha: float, dynamic: bool, a: FloatArray, b: FloatArray, sums: FloatArray) -> None:
    """Products of the errors' parts r - l0 p - w g: sums gets rr, rp, rg, pp, pg, gg.

    a, b: the line before each point; a static form has one line, in the first entries.
    """
    keep, inverse = 1.0 - alpha, 1.0 / alpha
    level, p, q, seen = 0.0, 1.0, 0.0, 0
    rr, rp, rg, pp, pg, gg = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    power = 1.0
    a0, b0 = a[0], b[0]
    for i in range(n):
        if dynamic:
            a0, b0 = a[i], b[i]
        push = a0 * power + b0 * (1.0 - power * keep) * inverse
        power *= keep
        v = y[i]
        if math.isnan(v):
            q += alpha * push
            continue
        if seen >= SKIPPED:
            r, g = v - level, q + push
            rr += r * r
            rp += r * p
            rg += r * g
            pp += p * p
            pg += p * g
            gg += g * g
        seen += 1
        level = alpha * v + keep * level
        p *= keep
        q *= keep
    sums[0], sums[1], sums[2], sums[3], sums[4], sums[5] = rr, rp, rg, pp, pg, gg


@numba.njit(cache=True)
def solve(sums: FloatArray, free: bool) -> tuple[float, float, float]:
    """The best sum of squares, initial level and w; w is 1/2 unless it is free."""
    rr, rp, rg, pp, pg, gg = sums[0], sums[1], sums[2], sums[3], sums[4], sums[5]
    w = 0.5
    if free:
        determinant = pp * gg - pg * pg
        if determinant > 1e-11 * pp * gg and determinant > 0.0:
            w = min(max((pp * rg - pg * rp) / determinant, 0.0), LARGEST_W)
    level = (rp - w * pg) / pp if pp > 0.0 else 0.0
    total = rr - 2.0 * level * rp - 2.0 * w * rg + level * level * pp + 2.0 * level * w * pg + w * w * gg
    return max(total, 0.0), level, w


@numba.njit(cache=True)
def run(
    y: FloatArray,
    n: int,
    alpha: float,
    w: float,
    level: float,
    dynamic: bool,
    a: FloatArray,
    b: FloatArray,
    errors: FloatArray,
) -> tuple[float, float]:
    """One-step errors [n] at given parameters (NaN where missing); returns the last level and the sum of squares."""
    keep, inverse, power, seen, total = 1.0 - alpha, 1.0 / alpha, 1.0, 0, 0.0
    a0, b0 = a[0], b[0]
    for i in range(n):
        if dynamic:
            a0, b0 = a[i], b[i]
        mu = level + w * (a0 * power + b0 * (1.0 - power * keep) * inverse)
        power *= keep
        errors[i] = y[i] - mu
        if math.isnan(y[i]):
            level += alpha * (mu - level)
            continue
        if seen >= SKIPPED:
            total += errors[i] * errors[i]
        seen += 1
        level += alpha * (y[i] - level)
    return level, total


def residuals(y: FloatArray, form: int, initial_level: float, alpha: float, theta: float) -> FloatArray:
    """One-step errors [n] of a form (STM 0, OTM 1, DSTM 2, DOTM 3) at given parameters, in the unit of the data.

    y: float64 [n], NaN is missing, the first value observed.
    """
    values = np.ascontiguousarray(y, dtype=np.float64)
    n = len(values)
    line, a, b, errors = np.zeros(LINE_SIZE), np.zeros(n), np.zeros(n), np.zeros(n)
    fit_lines(values, n, line, a, b)
    if form < DSTM:
        b[0] = slope_of(line)
        a[0] = line[LINE_Y] - b[0] * line[LINE_T]
    run(values, n, alpha, 1.0 - 1.0 / theta, initial_level, form >= DSTM, a, b, errors)
    return errors
