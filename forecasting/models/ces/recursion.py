"""The recursion of complex exponential smoothing, several parameter vectors at once.

Svetunkov, Kourentzes and Ord, "Complex exponential smoothing", Naval Research Logistics 69 (2022), section 3. A level
l and an information potential c with the complex smoothing parameter alpha_0 + i alpha_1:

    y_t = l_{t-1} + s_{t-m} + e_t
    l_t = l_{t-1} - (1 - alpha_1) c_{t-1} + (alpha_0 - alpha_1) e_t
    c_t = l_{t-1} + (1 - alpha_0) c_{t-1} + (alpha_0 + alpha_1) e_t

none has no s. partial: s_t = s_{t-m} + beta_0 e_t. full: s and its own potential d follow the equations of l and c
with beta_0 + i beta_1, m periods apart. simple: l and c themselves are m periods apart, and there is no s.

The states before the first point are found by backcasting: forwards over the data, backwards and forwards again, each
time from where the pass before would have gone on (one period for l and c, one season for s and d). A missing value
is an error of zero.

Lane 0 holds the parameters, lanes 1 to 4 the same with one of them moved, so that one pass over the data gives the
sum of squared errors and its derivatives by differences. The lanes do not depend on each other: they fill the time
that each would wait for its own last step.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray

NONE, SIMPLE, PARTIAL, FULL = range(4)
N_FORMS = 4
LANES = 5
STEP = 1e-6
"""How far a lane's parameter is moved."""


class Work(NamedTuple):
    """Buffers that are allocated once and used for every series."""

    gains: FloatArray  # [8, LANES] 1 - alpha_1, 1 - alpha_0, alpha_0 - alpha_1, alpha_0 + alpha_1, the same of beta
    level: FloatArray  # [2, LANES] l and c
    season: FloatArray  # [m, 2, LANES] s and d of every phase (simple: l and c)
    error: FloatArray  # [LANES]
    products: FloatArray  # [6, LANES] sums of products of lane 0's errors and their derivatives
    season_start: FloatArray  # [m]
    counts: FloatArray  # [m] observations behind each seasonal term
    kept: FloatArray  # [1] the share of season_start that partial seasonality begins with
    ahead: FloatArray  # [m, 2] scratch


@numba.njit(cache=True)
def workspace(m: int) -> Work:
    """Buffers for seasons of at most m periods."""
    return Work(
        np.zeros((8, LANES)),
        np.zeros((2, LANES)),
        np.zeros((m, 2, LANES)),
        np.zeros(LANES),
        np.zeros((6, LANES)),
        np.zeros(m),
        np.zeros(m),
        np.ones(1),
        np.zeros((m, 2)),
    )


@numba.njit(cache=True)
def n_smoothing(form: int) -> int:
    """How many of alpha_0, alpha_1, beta_0, beta_1 the form has."""
    return max(2, form + 1)


@numba.njit(cache=True)
def _off_average(y: FloatArray, t: int, m: int) -> float:
    """y[t] less the moving average over a season centred on it."""
    half, sums, weights = m // 2, 0.0, 0.0
    for j in range(-half, half + 1):
        weight = 0.5 if m % 2 == 0 and abs(j) == half else 1.0
        if not math.isnan(y[t + j]):
            sums += weight * y[t + j]
            weights += weight
    return float(y[t] - sums / weights)


@numba.njit(cache=True)
def start_season(y: FloatArray, n: int, m: int, work: Work) -> None:
    """Seasonal terms [m] by classical decomposition: mean differences from a centred moving average over a season."""
    total, count, half = work.season_start, work.counts, m // 2
    total[:] = 0.0
    count[:] = 0.0
    for t in range(half, n - half):
        if not math.isnan(y[t]):
            total[t % m] += _off_average(y, t, m)
            count[t % m] += 1.0
    mean = 0.0
    for j in range(m):
        if count[j] > 0.0:
            total[j] /= count[j]
        mean += total[j] / m
    for j in range(m):
        total[j] -= mean


@numba.njit(cache=True)
def share_of_season(y: FloatArray, n: int, m: int, work: Work) -> float:
    """Which share of the terms of `start_season` to keep, 0 to 1: the shrinkage of James and Stein (1961) towards
    their mean, as Miller and Williams ("Shrinkage estimators of time series seasonal factors", International Journal
    of Forecasting 19, 2003) use it: 1 - (m - 3) (mean squared standard error of a term) / (sum of their squares)."""
    squares, seen, size, errors = 0.0, 0.0, 0.0, 0.0
    for t in range(m // 2, n - m // 2):
        if not math.isnan(y[t]):
            squares += (_off_average(y, t, m) - work.season_start[t % m]) ** 2
            seen += 1.0
    for j in range(m):
        size += work.season_start[j] ** 2
        errors += squares / max(seen - m, 1.0) / max(work.counts[j], 1.0) / m
    if not size > 0.0 or m <= 3:
        return 1.0
    return float(max(1.0 - (m - 3.0) * errors / size, 0.0))


@numba.njit(cache=True)
def _start(y: FloatArray, n: int, form: int, m: int, work: Work) -> None:
    """States before any backcast, the same in all lanes: l the mean of the first season (none: of the first ten
    points), c = l / 1.1, s from `season_start` (partial: the share `kept` of it), d = s / 1.1."""
    total, count = 0.0, 0
    for t in range(min(m if form != NONE else 10, n)):
        if not math.isnan(y[t]):
            total += y[t]
            count += 1
    if count == 0:
        total, count = y[n - 1], 1
    level = total / count
    work.level[0], work.level[1] = level, level / 1.1
    if form == NONE:
        return
    for j in range(m):
        s = work.season_start[j]
        if form == PARTIAL:
            s *= work.kept[0]
        if form == SIMPLE:
            s = level
            for t in range(j, n, m):
                if not math.isnan(y[t]):
                    s = y[t]
                    break
        work.season[j, 0], work.season[j, 1] = s, s / 1.1


@numba.njit(cache=True)
def _gains(form: int, p: FloatArray, work: Work) -> None:
    """The lanes' coefficients: lane k has parameter k - 1 moved by STEP."""
    for lane in range(LANES):
        a0, a1 = p[0] + STEP * (lane == 1), p[1] + STEP * (lane == 2)
        b0, b1 = 0.0, 0.0
        if form >= PARTIAL:
            b0 = p[2] + STEP * (lane == 3)
        if form == FULL:
            b1 = p[3] + STEP * (lane == 4)
        g = work.gains
        g[0, lane], g[1, lane], g[2, lane], g[3, lane] = 1.0 - a1, 1.0 - a0, a0 - a1, a0 + a1
        if form == FULL:
            g[4, lane], g[5, lane], g[6, lane], g[7, lane] = 1.0 - b1, 1.0 - b0, b0 - b1, b0 + b1
        elif form == PARTIAL:
            g[4, lane], g[5, lane], g[6, lane], g[7, lane] = 0.0, 0.0, b0, 0.0


@numba.njit(cache=True)
def _go_on(form: int, m: int, work: Work) -> None:
    """Move the states on without an error: l and c by a period, each phase of the season by a season."""
    g, level, season = work.gains, work.level, work.season
    if form != SIMPLE:
        for k in range(LANES):
            l, c = level[0, k], level[1, k]
            level[0, k], level[1, k] = l - g[0, k] * c, l + g[1, k] * c
    if form == SIMPLE or form == FULL:
        i = 0 if form == SIMPLE else 4
        for j in range(m):
            for k in range(LANES):
                l, c = season[j, 0, k], season[j, 1, k]
                season[j, 0, k], season[j, 1, k] = l - g[i, k] * c, l + g[i + 1, k] * c


@numba.njit(cache=True)
def _sweep(y: FloatArray, n: int, backwards: bool, form: int, m: int, last: bool, work: Work) -> None:
    """One pass over y[:n] in all lanes; the last one sums the products."""
    g, level, season, error, products = work.gains, work.level, work.season, work.error, work.products
    phase = (n - 1) % m if backwards else 0
    for i in range(n):
        v = y[n - 1 - i] if backwards else y[i]
        seen = not math.isnan(v)
        if form < PARTIAL:
            state = level if form == NONE else season[phase]
            for k in range(LANES):
                l, c = state[0, k], state[1, k]
                e = v - l if seen else 0.0
                state[0, k] = l - g[0, k] * c + g[2, k] * e
                state[1, k] = l + g[1, k] * c + g[3, k] * e
                error[k] = e
        elif form == PARTIAL:
            state = season[phase]
            for k in range(LANES):
                l, c, s = level[0, k], level[1, k], state[0, k]
                e = v - l - s if seen else 0.0
                level[0, k] = l - g[0, k] * c + g[2, k] * e
                level[1, k] = l + g[1, k] * c + g[3, k] * e
                state[0, k] = s + g[6, k] * e
                error[k] = e
        else:
            state = season[phase]
            for k in range(LANES):
                l, c, s, d = level[0, k], level[1, k], state[0, k], state[1, k]
                e = v - l - s if seen else 0.0
                level[0, k] = l - g[0, k] * c + g[2, k] * e
                level[1, k] = l + g[1, k] * c + g[3, k] * e
                state[0, k] = s - g[4, k] * d + g[6, k] * e
                state[1, k] = s + g[5, k] * d + g[7, k] * e
                error[k] = e
        if last and seen:
            e = error[0]
            products[0, 0] += e * e
            for k in range(1, LANES):
                error[k] -= e
                products[0, k] += e * error[k]
                for q in range(1, k + 1):
                    products[q, k] += error[q] * error[k]
        if backwards:
            phase = phase - 1 if phase > 0 else m - 1
        else:
            phase = phase + 1 if phase + 1 < m else 0


@numba.njit(cache=True)
def evaluate(y: FloatArray, n: int, form: int, m: int, p: FloatArray, work: Work) -> float:
    """The sum of squared errors over y[:n] at p; `products` gets half its gradient and J'J, times STEP and STEP^2.

    Afterwards lane 0 of level and season holds the states after the last point, the season by phase t mod m.
    """
    _start(y, n, form, m, work)
    _gains(form, p, work)
    work.products[:] = 0.0
    for k in range(3):  # one place to call the passes from: compiled once, not thrice
        if k > 0:
            _go_on(form, m, work)
        _sweep(y, n, k == 1, form, m, k == 2, work)
    return float(work.products[0, 0])
