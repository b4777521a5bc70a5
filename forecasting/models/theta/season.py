"""Whether a series has a season, and its classical decomposition, with missing values inside.

The test is that of Fiorucci et al. (2016, section 4): the autocorrelation at the season against its standard error
under a moving average of lower order, at 90 % on both sides. The decomposition is the classical one by moving averages
(Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd edition, section 3.4).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

NO_SEASON, ADDITIVE, MULTIPLICATIVE = 0, 1, 2
CRITICAL = 1.6448536269514722  # normal, 95 %
SMALLEST_FACTOR = 0.01


@numba.njit(cache=True)
def has_season(y: FloatArray, n: int, n_obs: int, m: int, room: FloatArray) -> bool:
    """The autocorrelation test; missing values are left out of the products. room: [n]."""
    mean = 0.0
    for i in range(n):
        if not math.isnan(y[i]):
            mean += y[i]
    mean /= n_obs
    variance = 0.0
    for i in range(n):
        room[i] = 0.0 if math.isnan(y[i]) else y[i] - mean
        variance += room[i] * room[i]
    if variance <= 0.0:
        return False
    squares, r = 0.0, 0.0
    for lag in range(1, m + 1):
        c0, c1, c2, c3 = 0.0, 0.0, 0.0, 0.0
        i, last = 0, n - lag
        while i + 4 <= last:
            c0 += room[i] * room[i + lag]
            c1 += room[i + 1] * room[i + 1 + lag]
            c2 += room[i + 2] * room[i + 2 + lag]
            c3 += room[i + 3] * room[i + 3 + lag]
            i += 4
        while i < last:
            c0 += room[i] * room[i + lag]
            i += 1
        r = ((c0 + c1) + (c2 + c3)) / variance
        if lag < m:
            squares += r * r
    return abs(r) > CRITICAL * math.sqrt((1.0 + 2.0 * squares) / n_obs)


@numba.njit(cache=True)
def decompose(y: FloatArray, n: int, m: int, kind: int, cycles: int, factors: FloatArray, counts: FloatArray) -> bool:
    """Seasonal factors of the m phases (of i % m) by the classical decomposition; a phase without a value is neutral.

    Only the last so many cycles count. The trend is the average over a season around each point (2 x m for even m),
    over the values there are. Returns False where no phase has a value.
    """
    factors[:m] = 0.0
    counts[:m] = 0.0
    half = m // 2
    for i in range(max(half, n - half - cycles * m), n - half):
        if math.isnan(y[i]):
            continue
        total, weight = 0.0, 0.0
        for j in range(i - half, i + half + 1):
            if not math.isnan(y[j]):
                share = 0.5 if m % 2 == 0 and (j == i - half or j == i + half) else 1.0
                total += share * y[j]
                weight += share
        trend = total / weight
        if kind == MULTIPLICATIVE:
            factors[i % m] += y[i] / trend
        else:
            factors[i % m] += y[i] - trend
        counts[i % m] += 1.0
    average, phases = 0.0, 0
    for k in range(m):
        if counts[k] > 0.0:
            factors[k] /= counts[k]
            average += factors[k]
            phases += 1
    if phases == 0:
        return False
    average /= phases
    for k in range(m):
        if counts[k] == 0.0:
            factors[k] = average
        factors[k] = factors[k] / average if kind == MULTIPLICATIVE else factors[k] - average
    return True


@numba.njit(cache=True)
def seasonal_factors(
    y: FloatArray, n: int, m: int, asked: int, cycles: int, factors: FloatArray, counts: FloatArray
) -> int:
    """Decompose as asked (MULTIPLICATIVE only where all is positive and no factor is near zero, else ADDITIVE);
    returns what was done."""
    kind = asked
    if kind == MULTIPLICATIVE:
        for i in range(n):
            if y[i] <= 0.0:
                kind = ADDITIVE
                break
    if kind == MULTIPLICATIVE:
        if not decompose(y, n, m, kind, cycles, factors, counts):
            return NO_SEASON
        if np.min(factors[:m]) >= SMALLEST_FACTOR:
            return kind
        kind = ADDITIVE
    return kind if decompose(y, n, m, kind, cycles, factors, counts) else NO_SEASON
