"""Compiled loops over rows: decompose, and carry the seasonal patterns on."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.mstl.stl import Plan, mstl

N_SEASONS, LONGEST_SEASON, REMAINDER_SD, SEASON_STRENGTH = range(4)
N_PARAMETERS = 4


@numba.njit(cache=True)
def _span(values: FloatArray, begin: int, end: int) -> tuple[int, int, int, bool]:
    """First and last observation (exclusive), observations, whether they are all equal."""
    first, last = begin, end
    while first < end and math.isnan(values[first]):
        first += 1
    while last > first and math.isnan(values[last - 1]):
        last -= 1
    n_obs, constant = 0, True
    for i in range(first, last):
        if not math.isnan(values[i]):
            n_obs += 1
            constant = constant and values[i] == values[first]
    return first, last, n_obs, constant


@numba.njit(cache=True)
def _interpolate(y: FloatArray, n: int, seen: FloatArray) -> None:
    """Straight lines across the gaps; the first and last value are observed."""
    before = 0
    for i in range(n):
        if seen[i] > 0.0:
            for j in range(before + 1, i):
                y[j] = y[before] + (y[i] - y[before]) * (j - before) / (i - before)
            before = i


@numba.njit(cache=True)
def _strength(y: FloatArray, n: int, seen: FloatArray, trend: FloatArray, seasonal: FloatArray, p: FloatArray) -> None:
    """The remainder's deviation and the strength of all seasons together, max(0, 1 - Var(R) / Var(S + R))
    (Wang, Smith and Hyndman 2006, section 3.2); y is the seasonally adjusted series."""
    count, r_mean, s_mean, r_square, s_square = 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        if seen[t] > 0.0:
            r = y[t] - trend[t]
            s = r
            for i in range(len(seasonal)):
                s += seasonal[i, t]
            count += 1.0
            dr, ds = r - r_mean, s - s_mean
            r_mean += dr / count
            s_mean += ds / count
            r_square += dr * (r - r_mean)
            s_square += ds * (s - s_mean)
    p[REMAINDER_SD] = math.sqrt(r_square / max(count - 1.0, 1.0))
    p[SEASON_STRENGTH] = max(0.0, 1.0 - r_square / s_square) if s_square > 0.0 else 0.0


@numba.njit(cache=True)
def usual_window(cycles: int) -> int:
    """The seasonal window for so many cycles."""
    if cycles < 10:
        return 35
    return 7 if cycles < 100 else 11


@numba.njit(cache=True)
def decompose_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    lengths: Int64Array,
    windows: Int64Array,
    rounds: int,
    plan: Plan,
    offsets: Int64Array,
    parameters: FloatArray,
    adjusted: FloatArray,
    patterns: FloatArray,
    drift: FloatArray,
    parts: FloatArray,
) -> None:
    """Decompose every row.

    adjusted [T]: the rows without their seasons, at offsets [R + 1]. patterns [R, sum of lengths]: the next cycle of
    each season used, shortest first, from the row's end on. drift [R, K]: mean squared change of a season from one
    cycle to the next. parts: trend and seasons [1 + K, T], or of length 0 where not wanted.
    """
    longest, k = 0, len(lengths)
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    y, seen, trend, seasonal = np.empty(longest), np.empty(longest), np.empty(longest), np.empty((k, longest))
    chosen = windows.copy()
    for r in range(len(begin)):
        first, last, n_obs, constant = _span(values, begin[r], end[r])
        n, at, p = last - first, offsets[r], parameters[r]
        for t in range(begin[r], end[r]):
            adjusted[at + t - begin[r]] = values[t]
        p[N_SEASONS], p[LONGEST_SEASON], p[REMAINDER_SD], p[SEASON_STRENGTH] = 0.0, 1.0, np.nan, 0.0
        used = 0
        while used < k and not constant and n >= 2 * lengths[used] and n_obs >= lengths[used] + 2:
            used += 1
        if used == 0:
            if len(parts) > 0:
                for t in range(end[r] - begin[r]):
                    parts[0, at + t] = values[begin[r] + t]
                    parts[1:, at + t] = 0.0
            continue
        total = 0.0
        for i in range(n):
            v = values[first + i]
            seen[i] = 0.0 if math.isnan(v) else 1.0
            if seen[i] > 0.0:
                total += v - values[first]
        centre = values[first] + total / n_obs
        for i in range(n):
            y[i] = values[first + i] - centre
        if n_obs < n:
            _interpolate(y, n, seen)
        for i in range(used):
            chosen[i] = windows[i] if windows[i] > 0 else usual_window(n // lengths[i])
        mstl(y, n, lengths, chosen, used, rounds, plan, seen[:n], n_obs == n, trend, seasonal)
        p[N_SEASONS], p[LONGEST_SEASON] = used, lengths[used - 1]
        _strength(y, n, seen, trend, seasonal[:used], p)
        shift = at + first - begin[r]
        for i in range(n):
            if seen[i] > 0.0:
                adjusted[shift + i] = y[i] + centre
        _carry_on(seasonal, n, lengths, used, end[r] - last, p[REMAINDER_SD], patterns[r], drift[r])
        if len(parts) > 0:
            for i in range(n):
                parts[0, shift + i] = trend[i] + centre
                for j in range(k):
                    parts[1 + j, shift + i] = seasonal[j, i] if j < used else 0.0


@numba.njit(cache=True)
def _carry_on(
    seasonal: FloatArray,
    n: int,
    lengths: Int64Array,
    used: int,
    gap: int,
    noise: float,
    pattern: FloatArray,
    drift: FloatArray,
) -> None:
    """The last cycle of each season as the pattern of the steps that follow `gap` periods on, and its drift.

    An average over k cycles errs by a k-th of the noise's variance, and takes as much from the remainder: in terms of
    the remainder's variance, 1 / (k - 1) each.
    """
    place = 0
    for i in range(used):
        m, season = lengths[i], seasonal[i]
        for j in range(m):
            pattern[place + j] = season[n - m + (j + gap) % m]
        place += m
        total = 0.0
        for t in range(m, n):
            total += (season[t] - season[t - m]) ** 2
        drift[i] = total / max(n - m, 1) + 2.0 * noise * noise / (n // m - 1)


@numba.njit(cache=True)
def seasonal_steps(
    patterns: FloatArray,
    offsets: Int64Array,
    counts: npt.NDArray[np.int64],
    lengths: Int64Array,
    first: Int64Array,
    steps: Int64Array,
    out_offsets: Int64Array,
    out: FloatArray,
) -> None:
    """The sum of row r's patterns at steps first[r], first[r] + 1, …, counted from the fitted end (0 is the first
    step after it, negative ones lie before); steps[r] of them go to out from out_offsets[r] on."""
    for r in range(len(counts)):
        for j in range(steps[r]):
            total, place = 0.0, offsets[r]
            for i in range(counts[r]):
                m = lengths[i]
                total += patterns[place + (first[r] + j) % m]
                place += m
            out[out_offsets[r] + j] = total


@numba.njit(cache=True)
def rotate_rows(
    patterns: FloatArray, offsets: Int64Array, counts: npt.NDArray[np.int64], lengths: Int64Array, by: Int64Array
) -> None:
    """Move each row's patterns on by a number of periods."""
    for r in range(len(counts)):
        place = offsets[r]
        for i in range(counts[r]):
            m = lengths[i]
            old = patterns[place : place + m].copy()
            for j in range(m):
                patterns[place + j] = old[(j + by[r]) % m]
            place += m
