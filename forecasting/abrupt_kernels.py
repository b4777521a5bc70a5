"""Kernels of `forecasting.abrupt`: what one row goes through, from its observed values to its shifts and outliers.

Values are first put on the scale of the row, (value - middle of the range) / half the range, and after the season is
out on that of the noise, so that every constant below is free of units. Missing values are skipped: "neighbours" and
lengths of segments count observed values; lines and seasons count periods.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.level_shifts import find_shifts, mean_period
from forecasting.surge_kernels import SHORTEST, fill_surge, find_surges, median_from, surge_pairs

OUTLIER_THRESHOLD = 5.0
"""Noise scales by which an outlier lies beyond the medians of its neighbours on both sides."""
NEIGHBOURS = 5
"""Observed values in the running median on each side; up to two other outliers among them do no harm."""
LONGEST_RUN = 2
"""Observed values in a row that can be outliers; what lasts longer has not come back at once."""

_NORMAL_MAD = 1.482602218505602  # 1 / Phi^-1(3/4): the standard deviation of a normal over its MAD
_LEAST_LEFT = 0.01  # of the noise scale once outliers and surges are drawn in; less is none, as in rows of zeros
_LEAST_NOISE = 1e-6  # of half the range: keeps sums of squares exact to a share of one noise scale
_ROUNDING = 1e-12  # of the largest magnitude: a smaller range is what rounding leaves of a constant
_MOST_PERSISTENT = 0.9  # the largest autocorrelation that is allowed for
_CLIP, _PERSISTENCE_CLIP = 6.0, 3.0  # noise scales: differences count up to here in the second moments


@numba.njit(cache=True)
def find_abrupt(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    offsets: Int64Array,
    season_length: int,
    penalty: float,
    min_segment: int,
    threshold: float,
    surge_length: int,
    shifts: FloatArray,
    outliers: FloatArray,
    surges: FloatArray,
    until: Int64Array,
    noise: FloatArray,
    shift_noise: FloatArray,
) -> None:
    """Sizes of shifts, outliers and surges of each row, written into shifts, outliers and surges (flat, row r from
    offsets[r] on; 0 where there is none), the noise scale into noise [R] and that of shifts into shift_noise [R], all
    in the unit of values. until: flat, for each period of a surge the last one of it, counted from the row's begin.
    """
    longest = 0
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    y, z, work = np.empty(longest), np.empty(longest), np.empty(max(longest, 2 * season_length) + 1)
    when, last = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    for r in range(len(begin)):
        n, middle, half = _observed(values[begin[r] : end[r]], y, when)
        noise[r] = shift_noise[r] = 0.0
        if half == 0.0:
            continue
        span = end[r] - begin[r]
        for j in range(n):
            z[j] = (y[j] - middle) / half
        if season_length > 1 and span >= 2 * season_length:
            _remove_season(z, when, n, span, season_length, work)
        drift, scale = _noise_scale(z, n, work)
        for j in range(n):
            z[j] /= scale
        unit = half * scale
        noise[r] = unit
        first = offsets[r]
        surged = 0
        if surge_length >= SHORTEST:  # before outliers: the peak of a short surge must not be taken out of it
            level_penalty = penalty * math.log(max(n, 2)) * _long_run_variance(z, n, drift / scale)
            surged = find_surges(z, when, n, threshold, level_penalty, surge_length, work, last)
        if surged > 0:
            for j in range(n):
                if work[j] != 0.0:
                    surges[first + when[j]] = work[j] * unit
                    until[first + when[j]] = when[last[j]]
                    z[j] -= work[j]
        for j in range(n):
            work[j] = 0.0
        _find_outliers(z, when, n, threshold, work)
        drawn_in = surged
        for j in range(n):
            if work[j] != 0.0:
                outliers[first + when[j]] = work[j] * unit
                z[j] -= work[j]  # winsorised: the search below sees the expected value
                drawn_in += 1
        if drawn_in > 0:  # a huge value must not hide a shift: for these the noise is that of the others
            drift, scale = _noise_scale(z, n, work)
            if scale < _LEAST_LEFT:
                scale = 1.0
            for j in range(n):
                z[j] /= scale
            unit *= scale
        shift_noise[r] = unit
        level_penalty = penalty * math.log(max(n, 2)) * _long_run_variance(z, n, drift / scale)
        found, sizes = find_shifts(z[:n], when[:n], level_penalty, min_segment)
        paired = surge_pairs(found, sizes, n, surged, surge_length)
        k = 0
        while k < len(found):
            if paired[k]:
                fill_surge(z, when, n, found[k], found[k + 1], work)
                for j in range(found[k], found[k + 1]):
                    outliers[first + when[j]] = 0.0
                    surges[first + when[j]] = work[j] * unit
                    until[first + when[j]] = when[found[k + 1] - 1]
                k += 2
                continue
            shifts[first + when[found[k]]] = sizes[k] * unit
            k += 1


@numba.njit(cache=True)
def _observed(row: FloatArray, y: FloatArray, when: Int64Array) -> tuple[int, float, float]:
    """The count of finite values (put into y, their periods into when), the middle of their range and half of it.

    The half is 0 where the row has no two different values, or none that differ by more than rounding.
    """
    n, low, high = 0, np.inf, -np.inf
    for t in range(len(row)):
        if np.isfinite(row[t]):
            y[n], when[n] = row[t], t
            low, high = min(low, row[t]), max(high, row[t])
            n += 1
    if n < 3:
        return n, 0.0, 0.0
    half = high / 2 - low / 2
    if not half > _ROUNDING * max(abs(low), abs(high)):
        half = 0.0
    return n, low / 2 + high / 2, half


@numba.njit(cache=True)
def _median(work: FloatArray, n: int) -> float:
    """The median of work[:n], which is put in another order (quickselect: Hoare 1961, FIND)."""
    k, low, high = n // 2, 0, n - 1
    while low < high:
        pivot, i, j = work[k], low, high
        while i <= j:
            while work[i] < pivot:
                i += 1
            while pivot < work[j]:
                j -= 1
            if i <= j:
                work[i], work[j] = work[j], work[i]
                i += 1
                j -= 1
        if j < k:
            low = i
        if k < i:
            high = j
    if n % 2:
        return float(work[k])
    below = work[0]
    for i in range(1, k):
        below = max(below, work[i])
    return float((below + work[k]) / 2)


@numba.njit(cache=True)
def _remove_season(z: FloatArray, when: Int64Array, n: int, span: int, m: int, work: FloatArray) -> None:
    """Subtract from z what each position in the season of m periods has beyond the running median of m periods."""
    middle = np.empty(span)
    _running_median(z, when, n, span, m, work, middle)
    excess = np.full(span, np.nan)
    for j in range(n):
        excess[when[j]] = z[j] - middle[when[j]]
    pattern, gaps = np.zeros(m), np.zeros(m)
    pairs = 0
    for position in range(m):
        seen = 0
        for t in range(position, span, m):
            if not np.isnan(excess[t]):
                work[seen] = excess[t]
                seen += 1
        if seen >= 2:
            pattern[position] = _median(work, seen)
        if seen == 2:
            gaps[position] = abs(work[0] - work[1]) / 2
            work[m + pairs] = gaps[position]
            pairs += 1
    if pairs > 0:
        limit = OUTLIER_THRESHOLD * _median(work[m:], pairs)
        for position in range(m):
            if gaps[position] > limit:  # one of the two is an outlier: the one farther from 0
                nearer = max(abs(pattern[position]) - gaps[position], 0.0)
                pattern[position] = nearer if pattern[position] > 0.0 else -nearer
    for j in range(n):
        z[j] -= pattern[when[j] % m]


@numba.njit(cache=True)
def _running_median(
    z: FloatArray, when: Int64Array, n: int, span: int, m: int, work: FloatArray, out: FloatArray
) -> None:
    """The median of the m periods around each observed period, into out at that period.

    The window is one season, so that a pattern leaves its median where it is. Within half a season of an end, the
    median goes on along the line through the last whole window and that one season (or as much as there is) farther
    in: a trend must not enter the pattern there. It is NaN there if one of these two windows has no value.
    """
    kept, first, last = 0, 0, 0  # work[:kept] is sorted: the observed values z[first:last] of the window
    low, high = m // 2, span - m + m // 2  # the first and the last period around which a whole window lies
    reach = min(m, high - low)
    centres = np.full(4, np.nan)  # of the windows around low, low + reach, high - reach, high
    for t in range(low, high + 1):
        while last < n and when[last] < t - m // 2 + m:
            at = kept
            while at > 0 and work[at - 1] > z[last]:
                work[at] = work[at - 1]
                at -= 1
            work[at] = z[last]
            kept += 1
            last += 1
        while first < n and when[first] < t - m // 2:
            at = np.searchsorted(work[:kept], z[first])
            for i in range(at, kept - 1):
                work[i] = work[i + 1]
            kept -= 1
            first += 1
        if kept == 0:
            continue
        out[t] = (work[(kept - 1) // 2] + work[kept // 2]) / 2
        if t == low:
            centres[0] = out[t]
        if t == low + reach:
            centres[1] = out[t]
        if t == high - reach:
            centres[2] = out[t]
        if t == high:
            centres[3] = out[t]
    left, right = (centres[1] - centres[0]) / reach, (centres[3] - centres[2]) / reach
    for t in range(low):
        out[t] = centres[0] + left * (t - low)
    for t in range(high + 1, span):
        out[t] = centres[3] + right * (t - high)


@numba.njit(cache=True)
def _noise_scale(z: FloatArray, n: int, work: FloatArray) -> tuple[float, float]:
    """The median first difference d, and the noise scale: 1.4826 MAD of the differences / sqrt 2, at least
    sqrt(c / 2), where c is the mean of what later differences take back: (d_t - d)(d_t+k - d) where it is negative,
    of k = 1 and 2 the larger.

    Spikes of size s in a share p of the values have c = p s^2, shifts and trends almost none.
    """
    for j in range(n - 1):
        work[j] = z[j + 1] - z[j]
    drift = _median(work, n - 1)
    next_back, second_back = 0.0, 0.0
    one, two = 0.0, 0.0  # the latest difference and the one before it
    for j in range(n - 1):
        now = z[j + 1] - z[j] - drift
        next_back += max(-now * one, 0.0)
        second_back += max(-now * two, 0.0)
        one, two = now, one
        work[j] = abs(now)
    mad = _NORMAL_MAD * _median(work, n - 1) / math.sqrt(2.0)
    return drift, max(mad, math.sqrt(max(next_back, second_back) / (n - 1) / 2), _LEAST_NOISE)


@numba.njit(cache=True)
def _long_run_variance(z: FloatArray, n: int, drift: float) -> float:
    """The variance that means of z have, times their length, if z is noise of AR(1): v (1 + rho) / (1 - rho)^2 with v
    half the mean squared difference (at least 1, the noise scale) and rho = E(z_t+2 - z_t)^2 / E(z_t+1 - z_t)^2 - 1.

    Differences change little by a few shifts (Chakar, Lebarbier, Lévy-Leduc and Robin 2017, who take medians
    for the means: of counts, with many ties, these jump); they are clipped. rho lies between 0 and 0.9.
    """
    variance, near, far = 0.0, 0.0, 0.0
    for j in range(n - 2):
        one, two = abs(z[j + 1] - z[j] - drift), abs(z[j + 2] - z[j] - 2 * drift)
        variance += min(one, _CLIP) ** 2 / 2
        near += min(one, _PERSISTENCE_CLIP) ** 2
        far += min(two, _PERSISTENCE_CLIP) ** 2
    rho = min(max(far / near - 1.0, 0.0), _MOST_PERSISTENT) if near > 0.0 else 0.0
    return float(max(variance / max(n - 2, 1), 1.0) * (1.0 + rho) / (1.0 - rho) ** 2)


@numba.njit(cache=True)
def _find_outliers(z: FloatArray, when: Int64Array, n: int, threshold: float, sizes: FloatArray) -> None:
    """Put value minus expected of each outlier into sizes, which is 0 before.

    A run of at most LONGEST_RUN values is one of outliers if each lies beyond the median before the run and beyond
    that after it by more than the threshold to the same side, and if the values next to the run are at least half
    way back. The expected value is on the line through the two medians, each at the mean period of its values.
    """
    small = np.empty(NEIGHBOURS)
    after = np.empty(n)  # the median of the values from j on
    for j in range(n):
        after[j] = median_from(z, j, min(j + NEIGHBOURS, n), small)
    j = 1
    while j < n - 1:
        length = 1
        before = after[j - NEIGHBOURS] if j >= NEIGHBOURS else median_from(z, 0, j, small)
        while length <= LONGEST_RUN and j + length < n:
            if _is_run(z, j, j + length, before, after[j + length], threshold):
                left = mean_period(when, max(j - NEIGHBOURS, 0), j)
                right = mean_period(when, j + length, min(j + length + NEIGHBOURS, n))
                slope = (after[j + length] - before) / (right - left)
                for i in range(j, j + length):
                    sizes[i] = z[i] - before - slope * (when[i] - left)
                j += length - 1
                break
            length += 1
        j += 1


@numba.njit(cache=True)
def _is_run(z: FloatArray, begin: int, end: int, before: float, after: float, threshold: float) -> bool:
    sign = 1.0 if z[begin] > before else -1.0
    edge = max(sign * before, sign * after)
    least = np.inf
    for i in range(begin, end):
        least = min(least, sign * z[i] - edge)
    half_way = edge + least / 2
    return bool(least > threshold and sign * z[begin - 1] < half_way and sign * z[end] < half_way)
