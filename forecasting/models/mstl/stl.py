"""STL, the seasonal-trend decomposition by loess (Cleveland et al. 1990, sections 2 and 3), and MSTL, which repeats it
for several seasons (Bandara, Hyndman and Bergmeir 2021, "MSTL: A Seasonal-Trend Decomposition Algorithm for Time
Series with Multiple Seasonal Patterns", algorithm 1).

A missing value has the weight 0 in every loess, so what stands in its place is never seen but where a whole window is
missing.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.mstl.loess import (
    bank_lines,
    dot,
    fill_bank,
    moving_average,
    new_bank,
    smooth,
    to_coefficients,
    tricube,
    weighted_fit,
)


class Plan(NamedTuple):
    """How to decompose: degrees of the seasonal and the trend loess, whether robust, passes inside and outside."""

    seasonal_degree: int
    trend_degree: int
    robust: bool
    inner: int
    outer: int


@numba.njit(cache=True)
def trend_window(m: int, seasonal: int) -> int:
    """The smallest odd window of at least 1.5 m / (1 - 1.5 / seasonal) (section 3.4)."""
    window = math.ceil(1.5 * m / (1.0 - 1.5 / seasonal))
    return window + 1 if window % 2 == 0 else window


@numba.njit(cache=True)
def low_pass_window(m: int) -> int:
    """The smallest odd window longer than the season."""
    return m + 1 if m % 2 == 0 else m + 2


@numba.njit(cache=True)
def _smooth_cycles(
    y: FloatArray,
    n: int,
    m: int,
    window: int,
    degree: int,
    banks: FloatArray,
    ahead: FloatArray,
    weighted: bool,
    rw: FloatArray,
    room: FloatArray,
    out: FloatArray,
) -> None:
    """Loess of each phase's values, one period beyond both ends (section 2.2, step 2): out [n + 2 m]."""
    for phase in range(m):
        k = (n - 1 - phase) // m + 1
        which = k - n // m
        part, smoothed, weights = room[0, :k], room[1], room[2, :k]
        for i in range(k):
            part[i] = y[i * m + phase]
            weights[i] = rw[i * m + phase]
        width = min(window, k)
        smooth(part, k, window, degree, banks[which], weighted, weights, smoothed[1 : k + 1])
        tail = k - width
        if weighted:
            first = weighted_fit(k, degree, -1.0, width, ahead[which], False, part, weights)
            last = weighted_fit(k, degree, -1.0, width, ahead[which], True, part[tail:], weights[tail:])
            smoothed[0] = smoothed[1] if math.isnan(first) else first
            smoothed[k + 1] = smoothed[k] if math.isnan(last) else last
        else:
            smoothed[0] = dot(ahead[which], part, width, False)
            smoothed[k + 1] = dot(ahead[which], part[tail:], width, True)
        for i in range(k + 2):
            out[i * m + phase] = smoothed[i]


@numba.njit(cache=True)
def robust_weights(
    y: FloatArray, n: int, seen: FloatArray, trend: FloatArray, seasonal: FloatArray, rw: FloatArray
) -> None:
    """Bisquare weights of the remainder within six median absolute values (section 2.4); 0 where missing."""
    absolute = np.empty(n)
    count = 0
    for i in range(n):
        if seen[i] > 0.0:
            absolute[count] = abs(y[i] - trend[i] - seasonal[i])
            count += 1
    ordered = np.sort(absolute[:count])
    bound = 3.0 * (ordered[count // 2] + ordered[count - count // 2 - 1])
    for i in range(n):
        r = abs(y[i] - trend[i] - seasonal[i])
        if bound == 0.0 or r <= 0.001 * bound:
            rw[i] = seen[i]
        elif r <= 0.999 * bound:
            u = r / bound
            rw[i] = seen[i] * (1.0 - u * u) ** 2
        else:
            rw[i] = 0.0


@numba.njit(cache=True)
def stl(
    y: FloatArray,
    n: int,
    m: int,
    window: int,
    plan: Plan,
    seen: FloatArray,
    complete: bool,
    trend: FloatArray,
    seasonal: FloatArray,
) -> None:
    """Trend and seasonal component [n] of y; seen: 1 where y is observed, else 0; needs n >= 2 m."""
    long_window, low_window, degree = trend_window(m, window), low_pass_window(m), plan.seasonal_degree
    k = n // m
    phases = np.empty((2, max(bank_lines(k, window), bank_lines(k + 1, window)), min(window, k + 1)))
    ahead = np.empty((2, min(window, k + 1)))
    trend_bank, low_bank = new_bank(n, long_window), new_bank(n, low_window)
    fill_bank(n, low_window, 1, False, low_bank)
    longer = np.empty((3, n + 2 * m))
    room = np.empty((3, k + 4))
    rw = seen.copy()
    trend[:n] = 0.0
    for outside in range(plan.outer + 1):
        weighted = outside > 0 or not complete
        if outside < 2:  # weights come in after the first round at the latest
            fill_bank(n, long_window, plan.trend_degree, weighted, trend_bank)
            for which in range(2):
                points = k + which
                width = min(window, points)
                fill_bank(points, window, degree, weighted, phases[which])
                tricube(points, window, -1.0, width, ahead[which])
                if not weighted:
                    to_coefficients(points, degree, -1.0, width, ahead[which])
        for _ in range(plan.inner):
            first, second, third = longer[0], longer[1], longer[2]
            for i in range(n):
                first[i] = y[i] - trend[i]
            _smooth_cycles(first, n, m, window, degree, phases, ahead, weighted, rw, room, second)
            count = moving_average(second, n + 2 * m, m, third)
            count = moving_average(third, count, m, first)
            moving_average(first, count, 3, third)
            smooth(third, n, low_window, 1, low_bank, False, seen, first)
            for i in range(n):
                seasonal[i] = second[m + i] - first[i]
                third[i] = y[i] - seasonal[i]
            smooth(third, n, long_window, plan.trend_degree, trend_bank, weighted, rw, trend)
        if outside < plan.outer:
            robust_weights(y, n, seen, trend, seasonal, rw)


@numba.njit(cache=True)
def mstl(
    y: FloatArray,
    n: int,
    lengths: Int64Array,
    windows: Int64Array,
    used: int,
    rounds: int,
    plan: Plan,
    seen: FloatArray,
    complete: bool,
    trend: FloatArray,
    seasonal: FloatArray,
) -> None:
    """Trend [n] and the first `used` seasons [used, n] of y, which is left without them; shortest season first."""
    for i in range(used):
        seasonal[i, :n] = 0.0
    for _ in range(rounds if used > 1 else 1):
        for i in range(used):
            season = seasonal[i]
            for t in range(n):
                y[t] += season[t]
            stl(y, n, lengths[i], windows[i], plan, seen, complete, trend, season)
            for t in range(n):
                y[t] -= season[t]
