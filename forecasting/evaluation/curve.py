"""Kernels of a law that is known by its quantiles: x as a monotone piecewise cubic of the normal deviate z.

Between levels the cubic has Fritsch and Carlson's weighted harmonic slopes (1980, "Monotone piecewise cubic
interpolation"; the weights of Fritsch and Butland 1984); at and beyond the outermost levels it is the line through the
two outermost points, so its tails are normal. Bounds take what lies beyond them as a point mass.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

_STEPS = 80
_CLOSE = 1e-15
"""A deviate as close as this is found: a probability moves by less than a rounding."""


@numba.njit(cache=True)
def slopes(z: FloatArray, x: FloatArray, d: FloatArray) -> None:
    """dx / dz at the levels in d [Q]."""
    last = len(z) - 1
    d[0] = (x[1] - x[0]) / (z[1] - z[0])
    d[last] = (x[last] - x[last - 1]) / (z[last] - z[last - 1])
    for i in range(1, last):
        before, after = z[i] - z[i - 1], z[i + 1] - z[i]
        rise, next_rise = (x[i] - x[i - 1]) / before, (x[i + 1] - x[i]) / after
        if rise > 0.0 and next_rise > 0.0:
            near, far = 2.0 * after + before, after + 2.0 * before
            d[i] = (near + far) / (near / rise + far / next_rise)
        else:
            d[i] = 0.0


@numba.njit(cache=True)
def value(z: FloatArray, x: FloatArray, d: FloatArray, at: float) -> tuple[float, float]:
    """x and dx / dz at a deviate."""
    last = len(z) - 1
    if at <= z[0] or at >= z[last]:
        end = 0 if at <= z[0] else last
        return (x[end] + d[end] * (at - z[end]) if d[end] > 0.0 else x[end]), d[end]
    i = int(np.searchsorted(z, at, side="right")) - 1
    return _inside(z, x, d, i, at)


@numba.njit(cache=True)
def _inside(z: FloatArray, x: FloatArray, d: FloatArray, i: int, at: float) -> tuple[float, float]:
    """Hermite's cubic between levels i and i + 1."""
    width, rise = z[i + 1] - z[i], x[i + 1] - x[i]
    t = (at - z[i]) / width
    a, b = d[i] * width, d[i + 1] * width
    square, cube = a - 2.0 * rise + b, 3.0 * rise - 2.0 * a - b  # of t^3 and of t^2
    y = x[i] + t * (a + t * (cube + t * square))
    slope = (a + t * (2.0 * cube + t * 3.0 * square)) / width
    return min(max(y, x[i]), x[i + 1]), max(slope, 0.0)


@numba.njit(cache=True)
def deviate(z: FloatArray, x: FloatArray, d: FloatArray, y: float, inclusive: bool) -> float:
    """The largest z at which x <= y (inclusive), or the smallest at which x >= y: the normal probability below it is
    P(X <= y), or P(X < y)."""
    last = len(z) - 1
    if inclusive:
        i = int(np.searchsorted(x, y, side="right")) - 1  # the last level with x <= y
        if i >= 0 and x[i] == y:
            return np.inf if i == last and d[last] == 0.0 else z[i]
    else:
        i = int(np.searchsorted(x, y, side="left"))  # the first level with x >= y
        if i <= last and x[i] == y:
            return -np.inf if i == 0 and d[0] == 0.0 else z[i]
        i -= 1
    if i < 0 or i == last:
        end = 0 if i < 0 else last
        if d[end] > 0.0:
            return float(z[end] + (y - x[end]) / d[end])
        return -np.inf if i < 0 else np.inf
    # Newton's steps, kept inside a bracket that shrinks.
    low, high = z[i], z[i + 1]
    at = low + (high - low) * (y - x[i]) / (x[i + 1] - x[i])
    for _ in range(_STEPS):
        here, slope = _inside(z, x, d, i, at)
        if here < y:
            low = at
        elif here > y:
            high = at
        else:
            return float(at)
        newer = at - (here - y) / slope if slope > 0.0 else low
        if abs(newer - at) <= _CLOSE:
            break
        if not low < newer < high:
            newer = 0.5 * (low + high)
            if high - low <= _CLOSE:
                break
        at = newer
    return float(at)


@numba.njit(cache=True)
def _below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


@numba.njit(cache=True)
def _finite(x: FloatArray) -> bool:
    for number in x:
        if not math.isfinite(number):
            return False
    return True


@numba.njit(cache=True)
def probability_rows(
    z: FloatArray,
    x: FloatArray,
    low: FloatArray,
    high: FloatArray,
    lower: FloatArray,
    upper: FloatArray,
    out: FloatArray,
) -> None:
    """P(low <= X <= high) in out [R] for quantiles x [R, Q] at the deviates z [Q]; all others [R]. NaN for a row
    without all numbers."""
    d = np.empty(len(z))
    for r in range(len(x)):
        out[r] = np.nan
        if not _finite(x[r]) or math.isnan(low[r]) or math.isnan(high[r]):
            continue
        if low[r] > high[r] or high[r] < lower[r] or low[r] > upper[r]:
            out[r] = 0.0
            continue
        slopes(z, x[r], d)
        begin = -np.inf if low[r] <= lower[r] else deviate(z, x[r], d, low[r], False)
        end = np.inf if high[r] >= upper[r] else deviate(z, x[r], d, high[r], True)
        # Differences of the smaller tail, so that small probabilities keep their digits.
        mass = _below(-begin) - _below(-end) if begin > 0.0 else _below(end) - _below(begin)
        out[r] = min(max(mass, 0.0), 1.0)


@numba.njit(cache=True)
def quantile_rows(
    z: FloatArray, x: FloatArray, at: FloatArray, lower: FloatArray, upper: FloatArray, out: FloatArray
) -> None:
    """The value at deviate `at` in out [R] for quantiles x [R, Q] at the deviates z [Q]; all others [R]."""
    d = np.empty(len(z))
    for r in range(len(x)):
        out[r] = np.nan
        if _finite(x[r]) and not math.isnan(at[r]):
            slopes(z, x[r], d)
            y, _ = value(z, x[r], d, at[r])
            out[r] = min(max(y, lower[r]), upper[r])


@numba.njit(cache=True)
def trace(z: FloatArray, x: FloatArray, at: FloatArray, y: FloatArray, slope: FloatArray) -> None:
    """x and dx / dz of one law at the deviates `at` [K]."""
    d = np.empty(len(z))
    slopes(z, x, d)
    for k in range(len(at)):
        y[k], slope[k] = value(z, x, d, at[k])
