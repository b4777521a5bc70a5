"""The point forecasts of intermittent demand, each a mean per period, in compiled code.

All work on the observed values in their order (missing periods are left out) and smooth by simple exponential
smoothing that starts at its first value: l_1 = x_1, l_{t+1} = alpha x_t + (1 - alpha) l_t.

- Croston (1972) smooths the sizes of demand and the periods between demands; Syntetos and Boylan (2005) multiply the
  ratio by 1 - alpha / 2, alpha that of the intervals, against the bias of one over a smoothed interval.
- TSB (Teunter, Syntetos and Babai 2011) smooths the sizes and, every period, whether there was demand.
- ADIDA (Nikolopoulos, Syntetos, Boylan, Petropoulos and Assimakopoulos 2011) smooths sums over blocks as long as the
  mean interval and spreads the forecast evenly.
- IMAPA (Petropoulos and Kourentzes 2015) is the mean of such forecasts over all block lengths from 1 to that one.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

LOW, HIGH = 0.1, 0.3
"""Where a smoothing parameter is searched for: the range that these methods' authors and libraries use."""
_GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
_TOLERANCE = 1e-9

CROSTON, TSB, ADIDA, IMAPA = range(4)


@numba.njit(cache=True)
def smooth(x: FloatArray, n: int, alpha: float) -> float:
    """The level after x[:n], n at least 1."""
    level = x[0]
    for i in range(1, n):
        level = alpha * x[i - 1] + (1.0 - alpha) * level
    return float(alpha * x[n - 1] + (1.0 - alpha) * level) if n > 1 else float(level)


@numba.njit(cache=True)
def squared_errors(x: FloatArray, n: int, alpha: float) -> float:
    """The sum of squared one-step errors over x[1:n]."""
    level, total = x[0], 0.0
    for i in range(1, n):
        level = alpha * x[i - 1] + (1.0 - alpha) * level
        total += (x[i] - level) ** 2
    return total


@numba.njit(cache=True)
def best_alpha(x: FloatArray, n: int) -> float:
    """The alpha in [LOW, HIGH] with the least squared errors, by golden sections; the middle where all are alike."""
    low, high = LOW, HIGH
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = squared_errors(x, n, left), squared_errors(x, n, right)
    if abs(at_left - at_right) <= 1e-12 * at_left:
        return 0.5 * (low + high)
    while high - low > _TOLERANCE:
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = squared_errors(x, n, left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = squared_errors(x, n, right)
    return 0.5 * (low + high)


@numba.njit(cache=True)
def _level(x: FloatArray, n: int, alpha: float) -> float:
    """The level with alpha as given, or the best one where it is NaN."""
    return smooth(x, n, best_alpha(x, n) if math.isnan(alpha) else alpha)


@numba.njit(cache=True)
def _blocks(y: FloatArray, n: int, length: int, sums: FloatArray) -> int:
    """Sums over blocks of `length` counted from the end; what is left over in front is not used."""
    count = n // length
    first = n - count * length
    for k in range(count):
        total = 0.0
        for i in range(first + k * length, first + (k + 1) * length):
            total += y[i]
        sums[k] = total
    return count


@numba.njit(cache=True)
def demand_rate(
    method: int, y: FloatArray, n: int, alpha_size: float, alpha_rate: float, spare: FloatArray
) -> tuple[float, float]:
    """The mean demand per period after y[:n], and the one that the quantiles go by. n >= 1, y >= 0, not all 0.

    They differ for Croston only: an estimate that moves at demands alone does not fall while there are none, so the
    quantiles take the share of periods with demand smoothed over every period. spare: [2, >= n] scratch.
    """
    sizes, other = spare[0], spare[1]
    count, previous, positions = 0, -1, 0
    for i in range(n):
        if y[i] > 0.0:
            sizes[count], other[count] = y[i], i - previous
            previous = i
            positions = i + 1
            count += 1
    if method >= ADIDA:
        longest = max(int(np.rint(positions / count)), 1)
        total, first = 0.0, longest if method == ADIDA else 1
        for length in range(first, longest + 1):
            blocks = _blocks(y, n, length, sizes)
            total += _level(sizes, blocks, alpha_rate) / length
        rate = total / (longest - first + 1)
        return rate, rate
    size = _level(sizes, count, alpha_size)
    croston = 0.0
    if method == CROSTON:
        alpha = best_alpha(other, count) if math.isnan(alpha_rate) else alpha_rate
        croston = size / smooth(other, count, alpha)
        if count < n:  # without a zero every interval is 1, and one over it has no bias
            croston *= 1.0 - 0.5 * alpha
    for i in range(n):
        other[i] = 1.0 if y[i] > 0.0 else 0.0
    rate = size * _level(other, n, alpha_rate)
    return (croston, rate) if method == CROSTON else (rate, rate)
