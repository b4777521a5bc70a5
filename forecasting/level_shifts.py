"""Level shifts of one series without outliers: the search for changes in mean, and which of them are jumps.

The unit of the values is the noise scale.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

LOCAL = 12
"""Observed values on each side of a shift that must show it, too: a bend or a level that wanders has no jump there."""

_EXACT = 2000
"""Observed values up to which every position is a candidate; of longer rows about so many are, evenly spread."""
_PRUNE_EVERY = 8  # steps of the search between two prunings: pruning less often changes nothing but speed


@numba.njit(cache=True)
def find_shifts(z: FloatArray, when: Int64Array, penalty: float, min_segment: int) -> tuple[Int64Array, FloatArray]:
    """Positions in z at which a new level begins, and the sizes of the jumps there.

    when: the periods of z. The changes of `segment` count where lines on both sides leave a jump at the boundary:
    first lines over the two segments; then, with the other boundaries gone, lines over all segments that are
    stairs of one trend (`_reach`).
    """
    step = 1 + (len(z) - 1) // _EXACT
    bounds = segment(z, penalty, min_segment, step)
    if step > 1:
        _refine(z, bounds, min_segment, step)
    kept = np.empty(len(bounds), dtype=np.int64)
    sizes = np.empty(len(bounds))
    count = 0
    for k in range(1, len(bounds) - 1):
        if _jump(z, when, bounds[k - 1], bounds[k], bounds[k + 1], penalty)[0]:
            kept[count] = k
            count += 1
    found, least = 0, 0
    positions = np.empty(count, dtype=np.int64)
    for i in range(count):
        k = kept[i]
        most = kept[i + 1] if i + 1 < count else len(bounds) - 1
        left, right = _reach(z, when, bounds, k, least, -1), _reach(z, when, bounds, k, most, 1)
        real, size = _jump(z, when, left, bounds[k], right, penalty)
        if real:
            positions[found], sizes[found] = bounds[k], size
            found, least = found + 1, k
    return positions[:found], sizes[:found]


@numba.njit(cache=True)
def _reach(z: FloatArray, when: Int64Array, bounds: Int64Array, k: int, limit: int, step: int) -> int:
    """The farthest bound from bounds[k], towards bounds[limit], up to which one line leaves no larger squared errors
    than the means of the segments: the segments are stairs of one trend. At least the next bound."""
    at, stairs = k, 0.0
    while at != limit:
        begin, end = min(at, at + step), max(at, at + step)
        stairs += _squared_errors(z, when, bounds[begin], bounds[end])[0]
        line = _squared_errors(z, when, min(bounds[k], bounds[at + step]), max(bounds[k], bounds[at + step]))[1]
        if at != k and line > stairs:
            break
        at += step
    return int(bounds[at])


@numba.njit(cache=True)
def _squared_errors(z: FloatArray, when: Int64Array, begin: int, end: int) -> tuple[float, float]:
    """The sums of squared errors of z[begin:end] around its mean and around its line."""
    mean, _, _, gain = _line(z, when, begin, end, 0.0)
    squares = 0.0
    for i in range(begin, end):
        squares += (z[i] - mean) ** 2
    return squares, squares - gain


@numba.njit(cache=True)
def _jump(z: FloatArray, when: Int64Array, left: int, at: int, right: int, penalty: float) -> tuple[bool, float]:
    """Whether z jumps at position `at` beyond what lines over [left, at) and [at, right) explain, and by how much.

    A jump is one if its square exceeds penalty times the variance of the two lines there, per unit of noise. It is
    abrupt if the values next to it, LOCAL on each side, show it too: their means must differ as much by the same
    rule, and lines over them must leave half of it. Its size is the difference of the two means over [left, at) and
    [at, right), or that of the two lines where these gain more than BIC asks of two slopes.
    """
    border = (when[at - 1] + when[at]) / 2
    mean_before, line_before, variance_before, gain_before = _line(z, when, left, at, border)
    mean_after, line_after, variance_after, gain_after = _line(z, when, at, right, border)
    jump = line_after - line_before
    size = jump if gain_before + gain_after > 2 * math.log(right - left) else mean_after - mean_before
    if jump * jump <= penalty * (variance_before + variance_after):
        return False, size
    begin, end = max(left, at - LOCAL), min(right, at + LOCAL)
    mean_before, line_before, _, _ = _line(z, when, begin, at, border)
    mean_after, line_after, _, _ = _line(z, when, at, end, border)
    sign = 1.0 if size > 0.0 else -1.0
    near, local = sign * (mean_after - mean_before), sign * (line_after - line_before)
    enough = math.sqrt(penalty * (1 / (at - begin) + 1 / (end - at)))
    return bool(near > enough and local > sign * size / 2 and sign * jump > 0.0), size


@numba.njit(cache=True)
def _line(z: FloatArray, when: Int64Array, begin: int, end: int, at: float) -> tuple[float, float, float, float]:
    """Least squares over z[begin:end]: the mean, the line at period `at`, its variance per unit of noise and the sum
    of squares that the slope explains."""
    n = end - begin
    centre, mean = mean_period(when, begin, end), 0.0
    for i in range(begin, end):
        mean += z[i]
    mean /= n
    products, squares = 0.0, 0.0
    for i in range(begin, end):
        products += (when[i] - centre) * (z[i] - mean)
        squares += (when[i] - centre) ** 2
    slope = products / squares
    return mean, mean + slope * (at - centre), 1 / n + (at - centre) ** 2 / squares, slope * products


@numba.njit(cache=True)
def mean_period(when: Int64Array, begin: int, end: int) -> float:
    total = 0.0
    for i in range(begin, end):
        total += when[i]
    return total / (end - begin)


@numba.njit(cache=True)
def segment(z: FloatArray, penalty: float, min_segment: int, step: int = 1) -> Int64Array:
    """The bounds 0, ..., n of the segments that minimise squared errors around segment means + penalty a change, each
    of min_segment values at least: PELT (Killick, Fearnhead and Eckley 2012, section 3), the exact optimum.

    A candidate s is dropped once F(s) + C(s, t) > F(t) (their theorem 3.1 with K = 0). With a least length this holds
    for ends from t + min_segment on, as a change at t is allowed for these only. Linear in time where changes keep
    coming, quadratic in a row without any: with a step above 1 only its multiples can be bounds, and segments have
    min_segment values rounded up to one. Of equal optima the one whose last change is the earliest.
    """
    n = len(z)
    sums, squares = np.zeros(n + 1), np.zeros(n + 1)
    inverse = np.zeros(n + 1)
    for j in range(n):
        sums[j + 1] = sums[j] + z[j]
        squares[j + 1] = squares[j] + z[j] * z[j]
        inverse[j + 1] = 1.0 / (j + 1)
    base = np.full(n + 1, np.inf)  # F(t) minus the sum of squares before t
    base[0] = -penalty
    change = np.zeros(n + 1, dtype=np.int64)
    candidates = np.empty(n + 1, dtype=np.int64)
    count, unseen = 0, 0
    least = (min_segment + step - 1) // step * step
    for t in range(min(least, n), n + 1):
        if t % step != 0 and t != n:
            continue
        newest = max(t - least, 0) // step * step
        if newest >= unseen and (newest == 0 or newest >= least):
            candidates[count] = newest
            count, unseen = count + 1, newest + 1
            if t // step % _PRUNE_EVERY == 0:
                count = _pruned(candidates, count, newest, base, sums, inverse, penalty)
        best, chosen = np.inf, 0
        total = sums[t]
        for k in range(count):
            s = candidates[k]
            gain = total - sums[s]
            cost = base[s] - gain * gain * inverse[t - s]
            if cost < best:
                best, chosen = cost, s
        base[t] = best + penalty
        change[t] = chosen
    bounds = np.zeros(n // min_segment + 2, dtype=np.int64)
    at, place = n, len(bounds) - 1
    while at > 0:
        bounds[place] = at
        place -= 1
        at = change[at]
    return bounds[place:]


@numba.njit(cache=True)
def _refine(z: FloatArray, bounds: Int64Array, min_segment: int, step: int) -> None:
    """Move each inner bound, from the first on, to the best place less than a step away, its neighbours staying."""
    sums = np.zeros(len(z) + 1)
    for j in range(len(z)):
        sums[j + 1] = sums[j] + z[j]
    for k in range(1, len(bounds) - 1):
        left, right, best = bounds[k - 1], bounds[k + 1], -np.inf
        for at in range(max(bounds[k] - step + 1, left + min_segment), min(bounds[k] + step, right - min_segment + 1)):
            before, after = sums[at] - sums[left], sums[right] - sums[at]
            explained = before * before / (at - left) + after * after / (right - at)
            if explained > best:
                best, bounds[k] = explained, at


@numba.njit(cache=True)
def _pruned(
    candidates: Int64Array,
    count: int,
    t: int,
    base: FloatArray,
    sums: FloatArray,
    inverse: FloatArray,
    penalty: float,
) -> int:
    """Drop candidates that a change at t makes useless; the count of those that stay."""
    limit = base[t] + 1e-9 * penalty  # rounding must not decide
    kept = 0
    for k in range(count):
        s = candidates[k]
        step = sums[t] - sums[s]
        if base[s] - step * step * inverse[t - s] <= limit:
            candidates[kept] = s
            kept += 1
    return kept
