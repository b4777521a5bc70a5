"""The Box-Cox transform of positive series, for the families that model the transformed values by a normal law.

Box and Cox (1964), "An analysis of transformations": with y in units of its mean, x = (y^power - 1) / power, or log y
for a power of 0. What ends the transform's range, x = -1 / power, ends the law too. With a power above 0 it is y = 0,
which gets the probability that the normal law has beyond it. With one below 0 it is y = infinity, and the law is cut
there: its quantiles stay finite. From -1 to 0 it has no mean then (P(Y > y) falls as y^power), so the second-order one
is held to the quantiles 0.05 and 0.95. So it is with any power: where it leaves them, the deviation is far too large
for two orders.
"""

from __future__ import annotations

import math
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt
from scipy.special import boxcox, inv_boxcox, log_ndtr, ndtri, ndtri_exp

from forecasting.batch import FloatArray, offsets_of, read_only
from forecasting.frequency import Int64Array
from forecasting.models.contract import Rows
from forecasting.models.densities import normal_log_density

SMALLEST_POWER, LARGEST_POWER = -2.0, 2.0
LARGEST = 1e100
"""Values, in units of the series' mean, and transformed ones: far beyond any forecast, below the largest number."""
LARGEST_SUM = 1e3
_OUTER = 0.95


Power = float | Literal["auto"] | None
"""The hyperparameter: a power, auto for Guerrero's choice in [0, 2], or null for no transform."""


def check_power(power: Power) -> None:
    """Raises ValueError for a power outside [SMALLEST_POWER, LARGEST_POWER]."""
    if isinstance(power, float) and not SMALLEST_POWER <= power <= LARGEST_POWER:
        raise ValueError(f"box_cox is {power}; it must lie between {SMALLEST_POWER:g} and {LARGEST_POWER:g}")


@numba.njit(cache=True, error_model="numpy")
def transformed(y: float, power: float) -> float:
    """x of a positive y."""
    return math.log(y) if power == 0.0 else math.expm1(power * math.log(y)) / power


@numba.njit(cache=True, error_model="numpy")
def guerrero(y: FloatArray, n: int, m: int) -> float:
    """The power in [0, 2] whose transform makes the spread of subseries of a season least dependent on their level:
    the smallest coefficient of variation of s / mean^(1 - power). Guerrero (1993), "Time-series analysis supported by
    power transformations". y [n], positive, may have gaps.

    R begins at -1. Laws of powers from -1 to 0 have no mean, and forecast worse: see docs/models.md.
    """
    span = max(m, 2)
    blocks = n // span
    best, best_power = np.inf, 1.0
    for step in range(41):
        power = 0.05 * step
        total, square, count = 0.0, 0.0, 0
        for b in range(blocks):
            s1, s2, seen = 0.0, 0.0, 0
            for t in range(n - (blocks - b) * span, n - (blocks - b - 1) * span):
                if not math.isnan(y[t]):
                    s1 += y[t]
                    s2 += y[t] * y[t]
                    seen += 1
            if seen < 2:
                continue
            mean = s1 / seen
            ratio = math.sqrt(max(s2 - seen * mean * mean, 0.0) / (seen - 1)) / mean ** (1.0 - power)
            total += ratio
            square += ratio * ratio
            count += 1
        if count < 2 or not total > 0.0:
            return 1.0
        mean = total / count
        variation = math.sqrt(max(square / count - mean * mean, 0.0)) / mean
        if variation < best:
            best, best_power = variation, power
    return best_power


@numba.njit(cache=True, error_model="numpy")
def choose_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    m: int,
    given: float,
    settled: npt.NDArray[np.bool_],
    unit: FloatArray,
    power: FloatArray,
    refused: npt.NDArray[np.bool_],
) -> None:
    """Unit (the mean) and power of every row values[begin:end] of at least two different values: NaN, and `refused`,
    where the transform does not admit its values, for not all are positive or some are as good as zero.

    given: the power, NaN to choose it per row (`guerrero`, for seasons of m). settled: rows that keep the unit and
    power that are there, or their being untransformed, if they can.
    """
    for r in range(len(begin)):
        first, last, count, low, high = end[r], begin[r], 0, np.inf, -np.inf
        for t in range(begin[r], end[r]):
            if not math.isnan(values[t]):
                first = min(first, t)
                last = t + 1
                count += 1
                low, high = min(low, values[t]), max(high, values[t])
        if count == 0 or low == high or not settled[r]:
            unit[r], power[r] = np.nan, np.nan
        if count == 0 or low == high:
            continue
        if settled[r] and math.isnan(power[r]):
            refused[r] = not low > 0.0
            continue
        if low > 0.0 and not settled[r]:
            mean = 0.0
            for t in range(first, last):
                if not math.isnan(values[t]):
                    mean += values[t] / count
            unit[r], power[r] = mean, given
            if math.isnan(given):
                y = values[first:last] / mean
                power[r] = guerrero(y, len(y), m)
        sound = low > 0.0 and unit[r] > 0.0
        sound = sound and abs(transformed(low / unit[r], power[r])) < LARGEST
        if not (sound and abs(transformed(high / unit[r], power[r])) < LARGEST):
            unit[r], power[r], refused[r] = np.nan, np.nan, True


@numba.njit(cache=True, error_model="numpy")
def _bend(
    values: FloatArray, begin: Int64Array, offsets: Int64Array, unit: FloatArray, power: FloatArray, out: FloatArray
) -> None:
    for r in range(len(begin)):
        for i in range(offsets[r + 1] - offsets[r]):
            y = values[begin[r] + i]
            if not math.isnan(y) and not math.isnan(power[r]):
                y = transformed(y / unit[r], power[r]) if y > 0.0 else np.nan
                if not abs(y) < LARGEST:
                    y = np.nan
            out[offsets[r] + i] = y


def bent(
    values: FloatArray, begin: Int64Array, end: Int64Array, unit: FloatArray, power: FloatArray
) -> tuple[FloatArray, Int64Array, Int64Array]:
    """Copies of the rows values[begin:end] with their transform, one behind the other, and where they begin and end.

    unit, power [R]: NaN for rows that stay as they are. Values that the transform does not admit are missing.
    """
    offsets = offsets_of(end - begin)
    out = np.empty(int(offsets[-1]))
    _bend(values, begin, offsets, np.ascontiguousarray(unit), np.ascontiguousarray(power), out)
    return read_only(out), read_only(offsets[:-1].copy()), read_only(offsets[1:].copy())


def untransformed(x: FloatArray, power: FloatArray) -> FloatArray:
    """y in units of the mean, elementwise: 0 below the range of a power above 0, at most LARGEST."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        outside = power * x <= -1.0
        y = np.where(outside, np.where(power > 0.0, 0.0, LARGEST), inv_boxcox(np.where(outside, 0.0, x), power))
    return np.asarray(np.minimum(y, LARGEST))


def _cut(x: FloatArray, mean: FloatArray, deviation: FloatArray, power: FloatArray) -> FloatArray:
    """Quantiles of the normal law to those of the law cut at -1 / power, where the power is below 0; elementwise."""
    with np.errstate(invalid="ignore", divide="ignore"):
        room = (-1.0 / power - mean) / deviation
        z = ndtri_exp(log_ndtr((x - mean) / deviation) + log_ndtr(room))
    return np.asarray(np.where((power < 0.0) & (deviation > 0.0), mean + z * deviation, x))


def back(
    mean: FloatArray,
    deviation: FloatArray,
    quantiles: FloatArray,
    unit: FloatArray,
    power: FloatArray,
    bias_adjust: bool,
) -> tuple[FloatArray, FloatArray]:
    """Mean [R, H] and quantiles [R, H, Q] of y from the normal law of the transformed values.

    mean, deviation [R, H], quantiles [R, H, Q]: of the transformed values. unit, power [R]: NaN for untransformed
    rows, which come back as they are. bias_adjust: whether the mean is that of y, to second order (the term that R's
    forecast package adds), or its median.
    """
    rows = np.flatnonzero(~np.isnan(power))
    out_mean, out_quantiles = mean.copy(), quantiles.copy()
    lam, m, s = power[rows, None], mean[rows], deviation[rows]
    scale = unit[rows, None]
    x = _cut(quantiles[rows], m[..., None], s[..., None], lam[..., None])
    out_quantiles[rows] = scale[..., None] * untransformed(x, lam[..., None])
    if not bias_adjust:
        out_mean[rows] = scale * untransformed(_cut(m, m, s, lam), lam)
        return out_mean, out_quantiles
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        bend = lam * m + 1.0
        y = untransformed(m, lam) * np.where(bend > 0.0, 1.0 + s * s * (1.0 - lam) / (2.0 * bend * bend), 1.0)
    low, high = (untransformed(_cut(m + z * s, m, s, lam), lam) for z in ndtri((1.0 - _OUTER, _OUTER)))
    out_mean[rows] = scale * np.clip(y, low, high)
    return out_mean, out_quantiles


def _parts_back(parts: FloatArray, y: FloatArray, unit: float, power: float, horizon: int, rest: int) -> None:
    """The parts of a transformed row in place to parts of y: each is what it adds to the sum of those before it.

    parts [T, C]: the remainder last. y [T]: the values, then the mean of the `horizon` last periods, whose remainder
    is 0: what the mean has beyond the sum goes to part `rest`. Sums that the transform does not reach, or hardly, are
    held at LARGEST_SUM times the largest of y, so that the parts still add up.
    """
    sums = unit * untransformed(np.cumsum(parts[:, :-1], axis=1), np.array(power))
    sums = np.minimum(sums, LARGEST_SUM * np.nanmax(y))
    beyond = y - sums[:, -1]
    parts[:, :-1] = np.diff(sums, axis=1, prepend=0.0)
    parts[:-horizon, -1] = beyond[:-horizon]
    parts[-horizon:, rest] += beyond[-horizon:]


def rows_back(
    rows: Rows,
    unit: FloatArray,
    power: FloatArray,
    mean: FloatArray,
    parts: FloatArray,
    offsets: Int64Array,
    rest: npt.ArrayLike = 0,
) -> None:
    """The parts of the transformed rows in place to parts in the unit of the data; the other rows stay as they are.

    unit, power [R]: NaN for untransformed rows. mean [R, H], in the data's unit. parts [T, C]: row r has the periods
    parts[offsets[r]:offsets[r + 1]], its history and then the horizon, the remainder last. rest: for all rows or [R],
    the part that takes what the mean has beyond the sum of the parts.
    """
    place = np.broadcast_to(rest, len(rows))
    for r in np.flatnonzero(~np.isnan(power)):
        y = np.r_[rows.batch.values[rows.begin[r] : rows.end[r]], mean[r]]
        _parts_back(parts[offsets[r] : offsets[r + 1]], y, unit[r], power[r], mean.shape[1], place[r])


def log_density(
    mean: FloatArray, deviation: FloatArray, actual: FloatArray, unit: FloatArray, power: FloatArray
) -> FloatArray:
    """Log density of y at actual [R, H], from the normal law of the transformed values, and |dx / dy| (section 3).

    mean, deviation [R, H]. unit, power [R]: NaN for untransformed rows. A power above 0 leaves some probability at
    zero, and so at y = 0 this is the log of that probability.
    """
    plain = np.isnan(power)[:, None]
    lam, scale = np.where(plain, 1.0, power[:, None]), np.where(plain, 1.0, unit[:, None])
    y = actual / scale
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        above = np.where(y > 0, y, np.nan)
        slope = np.where(plain, 0.0, (lam - 1.0) * np.log(above))
        out = normal_log_density(mean, deviation, np.where(plain, y, boxcox(above, lam))) + slope - np.log(scale)
        end = (-1.0 / lam - mean) / deviation
        out -= np.where(lam < 0.0, log_ndtr(end), 0.0)
        at_zero = log_ndtr(end)
    mass = np.where((actual == 0) & (lam > 0), at_zero, -np.inf)
    fits = np.isfinite(mean) & (deviation > 0) & ~np.isnan(actual)
    return np.asarray(np.where(~plain & (actual <= 0) & fits, mass, out))
