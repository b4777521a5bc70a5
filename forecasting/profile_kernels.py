"""Compiled loops of `profiles`: counts and demand, strengths by STL, entropy and peaks of the periodogram.

Every series is first scaled by the power of two that brings its largest absolute value below 1, which rounds nothing
and keeps squares from overflowing or vanishing.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.mstl.loess import fill_bank, new_bank, smooth
from forecasting.models.mstl.stl import Plan, stl

BoolArray = npt.NDArray[np.bool_]

MIN_OBSERVATIONS = 8
"""Two years of quarters. Below, a class, a strength or a spectrum would be chance."""
N_PERIODS = 3
ROUNDING = 1e-12
"""What is smaller than this share of the largest absolute value is rounding."""
SEASONAL_WINDOW = 11
LOESS_SHARE = 2.0 / 3.0
"""The share of the span in the loess window of a series without season, the usual one of lowess (Cleveland 1979)."""
LONGEST_LOESS_WINDOW = 201
SIGNIFICANCE = 0.01
MIN_SHARE = 0.01
"""The least share of the variance that makes a peak one worth naming, in however long a series."""
_TIE = 1.0 + 1e-9
_PLAN = Plan(0, 1, False, 2, 0)


@numba.njit(cache=True)
def _exponent(values: FloatArray, begin: int, end: int) -> int:
    """The exponent e for which the largest absolute value is in [0.5, 1) times 2 ** e."""
    peak = 0.0
    for t in range(begin, end):
        if math.isfinite(values[t]):
            peak = max(peak, abs(values[t]))
    return math.frexp(peak)[1]


@numba.njit(cache=True)
def count_rows(values: FloatArray, offsets: Int64Array, counts: Int64Array, demand: FloatArray) -> None:
    """counts [3, N]: observed, missing and zero periods. demand [2, N]: ADI and CV2, left alone where undefined."""
    for i in range(len(offsets) - 1):
        begin, end = offsets[i], offsets[i + 1]
        n_obs, n_zero = 0, 0
        e = _exponent(values, begin, end)
        first, total, peak = 0.0, 0.0, 0.0
        for t in range(begin, end):
            if not math.isfinite(values[t]):
                continue
            n_obs += 1
            if values[t] == 0.0:
                n_zero += 1
                continue
            size = math.ldexp(values[t], -e)
            if n_obs - n_zero == 1:
                first = size
            total += size - first
            peak = max(peak, abs(size))
        counts[0, i], counts[1, i], counts[2, i] = n_obs, end - begin - n_obs, n_zero
        n_demand = n_obs - n_zero
        if n_demand == 0:
            continue
        demand[0, i] = n_obs / n_demand
        mean, square = first + total / n_demand, 0.0
        if abs(mean) <= ROUNDING * peak:
            continue
        for t in range(begin, end):
            if math.isfinite(values[t]) and values[t] != 0.0:
                square += (math.ldexp(values[t], -e) - mean) ** 2
        demand[1, i] = square / n_demand / (mean * mean)


@numba.njit(cache=True)
def _prepare(values: FloatArray, begin: int, n: int, y: FloatArray, seen: FloatArray) -> tuple[int, float]:
    """y[:n]: the values from `begin` on, scaled, less their mean, gaps interpolated; the first and last are observed.

    seen[:n]: 1 where observed, else 0. Returns the observations and the standard deviation below which all is
    rounding, or 0 and 0 for a constant.
    """
    e = _exponent(values, begin, begin + n)
    first, total, n_obs, peak = math.ldexp(values[begin], -e), 0.0, 0, 0.0
    for t in range(n):
        seen[t] = 1.0 if math.isfinite(values[begin + t]) else 0.0
        if seen[t] > 0.0:
            y[t] = math.ldexp(values[begin + t], -e)
            n_obs += 1
            total += y[t] - first
            peak = max(peak, abs(y[t]))
    mean, largest, before = first + total / n_obs, 0.0, 0
    for t in range(n):
        if seen[t] > 0.0:
            y[t] -= mean
            largest = max(largest, abs(y[t]))
            for j in range(before + 1, t):
                y[j] = y[before] + (y[t] - y[before]) * (j - before) / (t - before)
            before = t
    floor = ROUNDING * peak
    return (0, 0.0) if largest <= floor else (n_obs, floor)


@numba.njit(cache=True)
def _detrend(y: FloatArray, n: int, out: FloatArray) -> float:
    """out[:n]: y less its least-squares line; returns its standard deviation."""
    centre, mean, tilt, spread = 0.5 * (n - 1), 0.0, 0.0, 0.0
    for t in range(n):
        mean += y[t] / n
    for t in range(n):
        tilt += (t - centre) * (y[t] - mean)
        spread += (t - centre) ** 2
    square = 0.0
    for t in range(n):
        out[t] = y[t] - mean - tilt / spread * (t - centre)
        square += out[t] * out[t]
    return math.sqrt(square / n)


@numba.njit(cache=True)
def _strength(part: FloatArray, remainder: FloatArray, n: int, seen: FloatArray, floor: float) -> float:
    """max(0, 1 - Var(R) / Var(part + R)) over what is seen; 0 where part + R does not vary."""
    count, r_mean, s_mean, r_square, s_square = 0.0, 0.0, 0.0, 0.0, 0.0
    for t in range(n):
        if seen[t] > 0.0:
            count += 1.0
            dr, ds = remainder[t] - r_mean, part[t] + remainder[t] - s_mean
            r_mean += dr / count
            s_mean += ds / count
            r_square += dr * (remainder[t] - r_mean)
            s_square += ds * (part[t] + remainder[t] - s_mean)
    if s_square <= count * floor * floor:
        return 0.0
    return max(0.0, 1.0 - r_square / s_square)


@numba.njit(cache=True)
def loess_window(n: int) -> int:
    """The smallest odd window of at least two thirds of n points, at most LONGEST_LOESS_WINDOW."""
    window = math.ceil(LOESS_SHARE * n)
    return min(window + 1 if window % 2 == 0 else window, LONGEST_LOESS_WINDOW)


@numba.njit(cache=True)
def decompose_rows(
    values: FloatArray,
    offsets: Int64Array,
    m: int,
    strengths: FloatArray,
    spans: Int64Array,
    flat: BoolArray,
    levelled: FloatArray,
) -> None:
    """Strengths of trend and season, and the series as their spectra are taken.

    strengths [2, N]: left alone where undefined. spans [2, N]: from the first observation to after the last, counted
    from offsets[0]. flat [2, N]: whether the series, and the detrended series, is too short or does not vary.
    levelled [2, T]: in those spans the series less its mean and less its line.
    """
    longest, n_series = 0, len(offsets) - 1
    for i in range(n_series):
        longest = max(longest, offsets[i + 1] - offsets[i])
    seen, trend, seasonal, remainder = np.empty(longest), np.empty(longest), np.empty(longest), np.empty(longest)
    for i in range(n_series):
        first, last, n_obs, floor = offsets[i], offsets[i + 1], 0, 0.0
        while first < last and not math.isfinite(values[first]):
            first += 1
        while last > first and not math.isfinite(values[last - 1]):
            last -= 1
        n, at = last - first, first - offsets[0]
        spans[0, i], spans[1, i] = at, at + n
        flat[:, i] = True
        if n < MIN_OBSERVATIONS:
            continue
        y = levelled[0, at : at + n]
        n_obs, floor = _prepare(values, first, n, y, seen)
        if n_obs < MIN_OBSERVATIONS:
            continue
        flat[0, i] = False
        flat[1, i] = _detrend(y, n, levelled[1, at : at + n]) <= floor
        seasons = m > 1 and n >= 2 * m and n_obs >= m + 2
        if seasons:
            stl(y, n, m, SEASONAL_WINDOW, _PLAN, seen[:n], n_obs == n, trend, seasonal)
        else:
            seasonal[:n] = 0.0
            window = loess_window(n)
            bank = new_bank(n, window)
            fill_bank(n, window, 1, n_obs < n, bank)
            smooth(y, n, window, 1, bank, n_obs < n, seen, trend)
        for t in range(n):
            remainder[t] = y[t] - trend[t] - seasonal[t]
        strengths[0, i] = _strength(trend, remainder, n, seen, floor)
        if seasons:
            strengths[1, i] = _strength(seasonal, remainder, n, seen, floor)


@numba.njit(cache=True)
def _periodogram(spectrum: npt.NDArray[np.complex128], n: int, power: FloatArray) -> float:
    """power[1:k + 1], k = n // 2: the one-sided periodogram up to a factor; the highest frequency of an even number
    of points has no mirror image and counts once. Returns the sum."""
    total = 0.0
    for j in range(1, n // 2 + 1):
        power[j] = spectrum[j].real ** 2 + spectrum[j].imag ** 2
        if 2 * j < n:
            power[j] *= 2.0
        total += power[j]
    return total


@numba.njit(cache=True)
def dominating(power: FloatArray, n: int, taken: BoolArray, periods: FloatArray) -> None:
    """The periods n / j of the largest peaks of the periodogram power[1:n // 2 + 1] of n points, largest first.

    A peak is larger than its neighbours. It counts with MIN_SHARE of the variance and where Fisher's test finds it
    too large for white noise at the level SIGNIFICANCE: with g its share of the q ordinates that are left,
    q (1 - g)^(q - 1), the first term of the series of Fisher (1929), "Tests of significance in harmonic analysis",
    and above the sum of the others. For the next peak the ordinate and its two neighbours, over which a wave between
    two frequencies spreads, are left out (after Whittle 1952, who leaves out the ordinate alone). Each peak goes with
    the same test, so that a series with an irregular slow movement may have long periods here. The wave as long as
    the series is tested and left out likewise but not named: seen once, it is no period. The ordinate of period 2
    varies less than the others in noise, so the test is on the safe side there.
    """
    k, found, total = n // 2, 0, 0.0
    taken[: k + 1] = False
    for j in range(1, k + 1):
        total += power[j]
    while found < N_PERIODS:
        best, q, left = 0, 0, 0.0
        for j in range(1, k + 1):
            if taken[j]:
                continue
            q += 1
            left += power[j]
            rises = j == 1 or power[j] > power[j - 1] * _TIE
            falls = j == k or power[j] * _TIE >= power[j + 1]
            if rises and falls and (best == 0 or power[j] > power[best] * _TIE):
                best = j
        if best == 0 or power[best] < MIN_SHARE * total:
            return
        if q * (1.0 - power[best] / left) ** (q - 1) >= SIGNIFICANCE:
            return
        if best > 1:
            periods[found] = n / best
            found += 1
        taken[best - 1 : best + 2] = True


@numba.njit(cache=True)
def spectrum_rows(
    spectra: npt.NDArray[np.complex128],
    offsets: Int64Array,
    spans: Int64Array,
    flat: BoolArray,
    entropy: FloatArray,
    periods: FloatArray,
) -> None:
    """entropy [N] and periods [N, 3] from the Fourier transforms [2, *] of the series less its mean and less its
    line; left alone where the series is flat."""
    longest = 0
    for i in range(len(entropy)):
        longest = max(longest, spans[1, i] - spans[0, i])
    power, taken = np.empty(longest // 2 + 1), np.empty(longest // 2 + 1, dtype=np.bool_)
    for i in range(len(entropy)):
        if flat[0, i]:
            continue
        n = spans[1, i] - spans[0, i]
        total, bits = _periodogram(spectra[0, offsets[i] : offsets[i + 1]], n, power), 0.0
        for j in range(1, n // 2 + 1):
            share = power[j] / total
            if share > 0.0:
                bits -= share * math.log(share)
        entropy[i] = min(max(bits / math.log(n // 2), 0.0), 1.0)
        if not flat[1, i]:
            _periodogram(spectra[1, offsets[i] : offsets[i + 1]], n, power)
            dominating(power, n, taken, periods[i])
