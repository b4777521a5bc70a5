"""How often a series is differenced: seasonal strength for D, the KPSS test for d.

Seasonal strength: Wang, Smith and Hyndman (2006), "Characteristic-based clustering for time series data": of a
decomposition into trend, season and remainder, 1 - var(remainder) / var(season + remainder); one seasonal difference
where it is above 0.64 (the rule of R's `nsdiffs`, forecast 8.0 and later). The decomposition is STL as R's `mstl`
asks for it: seasons by local constants over 11 cycles. A season of local lines, with two slopes to a phase, follows
noise and level shifts in short series, and would be called strong ten times as often on four years of months.

KPSS: Kwiatkowski, Phillips, Schmidt and Shin (1992), level stationarity at 5 % with trunc(3 sqrt(n) / 13) lags, the
rule of R's `ndiffs`. A second difference needs 2.5 % with a lag more: series of less than 19 points would get no lag,
and then the test takes any autocorrelation of the differences for a changing drift; a needless second difference makes
errors grow with the horizon to the power 3/2.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.mstl.stl import Plan, stl

STRONG_SEASON = 0.64
KPSS_CRITICAL = (0.463, 0.574)
"""5 % and 2.5 % (Table 1 of the paper)."""
SEASONAL_WINDOW = 11  # cycles
DECOMPOSITION = Plan(seasonal_degree=0, trend_degree=1, robust=False, inner=2, outer=0)


@numba.njit(cache=True, error_model="numpy")
def fill_gaps(y: FloatArray, n: int, m: int, phases: FloatArray, out: FloatArray) -> None:
    """Missing values by a straight line between their neighbours, on top of the mean of their phase.

    y [n] begins and ends with an observation. phases [2, >= m].
    """
    total, seen = 0.0, 0
    phases[0, :] = 0.0
    phases[1, :] = 0.0
    for t in range(n):
        if not math.isnan(y[t]):
            phases[0, t % m] += y[t]
            phases[1, t % m] += 1.0
            total += y[t]
            seen += 1
    if seen == n:
        out[:n] = y[:n]
        return
    for j in range(m):
        phases[0, j] = phases[0, j] / phases[1, j] - total / seen if phases[1, j] > 0 and n >= 2 * m else 0.0
    last = 0
    for t in range(n):
        if math.isnan(y[t]):
            continue
        out[t] = y[t]
        begin, end = y[last] - phases[0, last % m], y[t] - phases[0, t % m]
        for s in range(last + 1, t):
            out[s] = phases[0, s % m] + begin + (end - begin) * (s - last) / (t - last)
        last = t


@numba.njit(cache=True, error_model="numpy")
def seasonal_strength(y: FloatArray, n: int, m: int, work: FloatArray) -> float:
    """1 - var(remainder) / var(season + remainder), at least 0. n >= 2 m + 1; work [3, >= n]."""
    trend, season, seen = work[0], work[1], work[2]
    seen[:n] = 1.0
    stl(y, n, m, SEASONAL_WINDOW, DECOMPOSITION, seen, True, trend, season)
    s1, s2, r1, r2 = 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        whole, rest = y[t] - trend[t], y[t] - trend[t] - season[t]
        s1 += whole
        s2 += whole * whole
        r1 += rest
        r2 += rest * rest
    whole_variance, rest_variance = s2 / n - (s1 / n) ** 2, r2 / n - (r1 / n) ** 2
    return max(1.0 - rest_variance / whole_variance, 0.0) if whole_variance > 1e-20 else 0.0


@numba.njit(cache=True, error_model="numpy")
def kpss(y: FloatArray, n: int, more_lags: int) -> float:
    """The statistic of level stationarity, with more lags than the rule's; 0 for a constant."""
    mean = 0.0
    for t in range(n):
        mean += y[t] / n
    lags = min(int(3.0 * math.sqrt(n) / 13.0) + more_lags, n - 1)
    partial, total, variance, size = 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        e = y[t] - mean
        size = max(size, abs(y[t]))
        partial += e
        total += partial * partial
        variance += e * e
    for k in range(1, lags + 1):
        s = 0.0
        for t in range(k, n):
            s += (y[t] - mean) * (y[t - k] - mean)
        variance += 2.0 * (1.0 - k / (lags + 1.0)) * s
    if not variance > 1e-20 * n * max(size * size, 1e-20):
        return 0.0
    return total / (n * variance)


@numba.njit(cache=True, error_model="numpy")
def difference(y: FloatArray, n: int, lag: int) -> int:
    """Difference y in place; returns what is left of n."""
    for t in range(n - lag):
        y[t] = y[t + lag] - y[t]
    return n - lag


@numba.njit(cache=True, error_model="numpy")
def is_constant(y: FloatArray, n: int) -> bool:
    """Whether values, on a scale of about 1, do not differ."""
    low, high = np.inf, -np.inf
    for t in range(n):
        low, high = min(low, y[t]), max(high, y[t])
    return high - low <= 1e-11


@numba.njit(cache=True, error_model="numpy")
def choose_differences(
    y: FloatArray, n: int, m: int, d: int, sd: int, max_d: int, max_sd: int, work: FloatArray
) -> tuple[int, int]:
    """d and D of a series without gaps, which is spoiled; those asked for (not negative) are kept where the series is
    long enough for them. work [3, >= n]."""
    chosen = sd
    if sd < 0:
        strong = m > 1 and n >= 2 * m + 1 and max_sd > 0 and not is_constant(y, n)
        chosen = 1 if strong and seasonal_strength(y, n, m, work) > STRONG_SEASON else 0
    while chosen > 0 and n - m * chosen < 3:
        chosen -= 1
    left = n
    for _ in range(chosen):
        left = difference(y, left, m)
    if d >= 0:
        return min(d, max(left - 2, 0)), chosen
    found = 0
    while found < max_d and left > 3 and not is_constant(y, left):
        second = min(found, 1)
        if kpss(y, left, second) <= KPSS_CRITICAL[second]:
            break
        left = difference(y, left, 1)
        found += 1
    return found, chosen
