"""Compiled passes over the flat arrays: what is learned from a training set, and its layout on the device."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

Float32Array = npt.NDArray[np.float32]

NOT_INTEGER, NEGATIVE, ABOVE_ONE = 1, 2, 4


@numba.njit(cache=True)
def target_facts(values: FloatArray, begin: Int64Array, end: Int64Array) -> tuple[FloatArray, Int64Array, int]:
    """Mean absolute observation [N], NaN for none; observations [N]; what some value is (NOT_INTEGER, …)."""
    n = len(begin)
    scale, count = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
    flags = 0
    for i in range(n):
        total = 0.0
        for t in range(begin[i], end[i]):
            y = values[t]
            if not math.isfinite(y):
                continue
            count[i] += 1
            total += abs(y)
            if y != math.floor(y):
                flags |= NOT_INTEGER
            if y < 0.0:
                flags |= NEGATIVE
            if y > 1.0:
                flags |= ABOVE_ONE
        if count[i] > 0:
            scale[i] = total / count[i]
    return scale, count, flags


@numba.njit(cache=True)
def column_facts(values: FloatArray, offsets: Int64Array, begin: Int64Array, size: Int64Array) -> FloatArray:
    """Of one related column over the first size[i] periods of each series: mean, standard deviation, standard
    deviation around the series' own means, share missing, 1 where all values are 0 or 1, number of values, and the
    degrees of freedom of the third (values less one a series); [7]."""
    mean, moment, seen = 0.0, 0.0, 0  # Welford's recurrences
    within, degrees = 0.0, 0
    missing, expected = 0, 0
    binary = 1.0
    for i in range(len(begin)):
        known = offsets[i + 1] - offsets[i]
        own, own_moment, own_seen = 0.0, 0.0, 0
        for t in range(size[i]):
            expected += 1
            x = values[offsets[i] + t] if t < known else np.nan
            if not math.isfinite(x):
                missing += 1
                continue
            seen += 1
            delta = x - mean
            mean += delta / seen
            moment += delta * (x - mean)
            own_seen += 1
            delta = x - own
            own += delta / own_seen
            own_moment += delta * (x - own)
            if x != 0.0 and x != 1.0:
                binary = 0.0
        if own_seen > 1:
            within += own_moment
            degrees += own_seen - 1
    return np.array(
        [
            mean,
            math.sqrt(moment / seen) if seen > 0 else 0.0,
            math.sqrt(within / degrees) if degrees > 0 else 0.0,
            missing / expected if expected > 0 else 0.0,
            binary,
            float(seen),
            float(degrees),
        ]
    )


@numba.njit(cache=True)
def lay_out(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    offsets: Int64Array,
    out: Float32Array,
    running: Float32Array,
) -> None:
    """The observations of each series at out[offsets[i]:], NaN elsewhere; running: the mean absolute observation
    before each place, NaN for none."""
    for i in range(len(begin)):
        total, count = 0.0, 0
        for t in range(offsets[i + 1] - offsets[i]):
            place = offsets[i] + t
            running[place] = np.float32(total / count) if count > 0 else np.float32(np.nan)
            out[place] = np.float32(np.nan)
            if begin[i] + t < end[i]:
                y = values[begin[i] + t]
                if math.isfinite(y):
                    out[place] = np.float32(y)
                    total += abs(y)
                    count += 1


@numba.njit(cache=True)
def lay_out_column(
    values: FloatArray,
    column: Int64Array,
    offsets: Int64Array,
    visible: Int64Array,
    mean: float,
    deviation: float,
    limit: float,
    out: Float32Array,
    k: int,
) -> None:
    """Column k of out [E, K]: the first visible[i] periods of a related series, standardised, NaN where missing."""
    for i in range(len(offsets) - 1):
        known = min(column[i + 1] - column[i], visible[i])
        for t in range(offsets[i + 1] - offsets[i]):
            x = values[column[i] + t] if t < known else np.nan
            z = (x - mean) / deviation
            out[offsets[i] + t, k] = np.float32(min(max(z, -limit), limit)) if math.isfinite(z) else np.float32(np.nan)
