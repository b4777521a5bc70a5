"""Surges of one row: levels that come and go within a few periods, such as the demand of some months of 2020.

The unit of the values is the noise scale; positions and lengths count observed values.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.level_shifts import mean_period

SURGE_LENGTH = 12
"""Observed values in a row that can be a surge; what lasts longer is two level shifts."""
SHORTEST = 3
"""Observed values of the shortest surge; fewer are outliers."""

_NEIGHBOURS = 5  # observed values in the medians before and after
_SETTLED = 3  # observed values that there are before and after: fewer do not show where the level is
_PART = 3  # surges are at most one in so many values of a row: beyond it they are how the row is


@numba.njit(cache=True)
def find_surges(
    z: FloatArray,
    when: Int64Array,
    n: int,
    threshold: float,
    penalty: float,
    longest: int,
    sizes: FloatArray,
    last: Int64Array,
) -> int:
    """Put value minus expected of each value of a surge into sizes (0 elsewhere) and the position of the last value
    of its surge into last; returns how many values that are, 0 where they are too large a part of the row.

    A run of SHORTEST to `longest` values is a surge if all lie beyond the medians of the five values before and after
    it, to the same side, by half the threshold and on average by the threshold; if its squared mean times its length
    is worth two changes, 2 penalty; if the values next to it are at least half way back, and the two medians
    differ by at most half its mean. Of the runs that begin at one value the one with the largest such product counts.
    """
    for j in range(n):
        sizes[j] = 0.0
    small = np.empty(_NEIGHBOURS)
    after = np.empty(n)  # the median of the values from j on
    for j in range(n):
        after[j] = median_from(z, j, min(j + _NEIGHBOURS, n), small)
    total, j = 0, _SETTLED
    while j <= n - _SETTLED - SHORTEST:
        before = after[j - _NEIGHBOURS] if j >= _NEIGHBOURS else median_from(z, 0, j, small)
        end = _surge_end(z, n, j, before, after, threshold, penalty, longest)
        if end == j:
            j += 1
            continue
        fill_surge(z, when, n, j, end, sizes)
        last[j:end] = end - 1
        total += end - j
        j = end
    if total * _PART > n:
        for j in range(n):
            sizes[j] = 0.0
        return 0
    return total


@numba.njit(cache=True)
def _surge_end(
    z: FloatArray,
    n: int,
    begin: int,
    before: float,
    after: FloatArray,
    threshold: float,
    penalty: float,
    longest: int,
) -> int:
    """Where the best surge from `begin` on ends (the position after it); `begin` for none."""
    sign = 1.0 if z[begin] > before else -1.0
    total, least, gain, chosen = 0.0, np.inf, 0.0, begin
    for end in range(begin + 1, min(begin + longest, n - _SETTLED) + 1):
        beyond = sign * (z[end - 1] - before)
        if beyond <= threshold / 2:
            break
        total, least = total + beyond, min(least, beyond)
        length = end - begin
        if length < SHORTEST:
            continue
        drift = sign * (after[end] - before)
        edge = max(drift, 0.0)
        mean = total / length - edge
        half = sign * before + edge + mean / 2
        worth = mean * mean * length
        if (
            mean > threshold
            and least - edge > threshold / 2
            and worth > 2 * penalty
            and worth > gain
            and abs(drift) <= mean / 2
            and sign * z[begin - 1] < half
            and sign * z[end] < half
        ):
            gain, chosen = worth, end
    return chosen


@numba.njit(cache=True)
def fill_surge(z: FloatArray, when: Int64Array, n: int, begin: int, end: int, sizes: FloatArray) -> None:
    """Put what z[begin:end] has beyond the line through the medians before and after into sizes[begin:end]."""
    small = np.empty(_NEIGHBOURS)
    first, final = max(begin - _NEIGHBOURS, 0), min(end + _NEIGHBOURS, n)
    before, after = median_from(z, first, begin, small), median_from(z, end, final, small)
    left, right = mean_period(when, first, begin), mean_period(when, end, final)
    slope = (after - before) / (right - left)
    for i in range(begin, end):
        sizes[i] = z[i] - before - slope * (when[i] - left)


@numba.njit(cache=True)
def surge_pairs(found: Int64Array, sizes: FloatArray, n: int, surged: int, longest: int) -> npt.NDArray[np.bool_]:
    """Which shifts begin a surge whose end is the next one: of opposite sign, at most `longest` values later, and so
    large that at most half of the smaller stays. None where surges would be too large a part of n values; surged:
    values that lie in other surges already."""
    paired = np.zeros(len(found), dtype=np.bool_)
    total, k = surged, 0
    while k < len(found) - 1:
        length = found[k + 1] - found[k]
        smaller = min(abs(sizes[k]), abs(sizes[k + 1]))
        if length <= longest and sizes[k] * sizes[k + 1] < 0.0 and abs(sizes[k] + sizes[k + 1]) <= smaller / 2:
            paired[k] = True
            total += length
            k += 2
        else:
            k += 1
    if total * _PART > n:
        paired[:] = False
    return paired


@numba.njit(cache=True)
def median_from(z: FloatArray, begin: int, end: int, small: FloatArray) -> float:
    """The median of z[begin:end]; small: room for its values."""
    count = end - begin
    for i in range(count):
        value, at = z[begin + i], i
        while at > 0 and small[at - 1] > value:
            small[at] = small[at - 1]
            at -= 1
        small[at] = value
    return float((small[(count - 1) // 2] + small[count // 2]) / 2)
