"""A row as the likelihood takes it: scaled, transformed, its gaps named, its regressors in columns, differenced."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.layout import Columns


@numba.njit(cache=True, error_model="numpy")
def standardise(y: FloatArray, n: int, centred: bool) -> tuple[float, float]:
    """Bring y [n], with gaps, to deviation 1 in place; returns what was subtracted and divided by (0: constant)."""
    first, count, total = 0.0, 0, 0.0
    for t in range(n):
        if not math.isnan(y[t]):
            if count == 0:
                first = y[t]
            total += y[t] - first
            count += 1
    mean = first + total / count
    variance, size = 0.0, 0.0
    for t in range(n):
        if not math.isnan(y[t]):
            variance += (y[t] - mean) ** 2 / count
            size = max(size, abs(y[t]))
    scale = math.sqrt(variance)
    if not scale > 1e-13 * size:
        return mean, 0.0
    offset = mean if centred else 0.0
    if not centred:
        scale = max(scale, abs(mean))
    for t in range(n):
        y[t] = (y[t] - offset) / scale
    return offset, scale


@numba.njit(cache=True, error_model="numpy")
def regressor(columns: Columns, series: int, k: int, t: int) -> float:
    """Column k of a series at position t of the flat values."""
    i = t - columns.series_begin[series]
    n_own = columns.own.shape[1]
    if k < n_own:
        return float(columns.own[columns.own_offsets[series] + i, k])
    k -= n_own
    season = 0
    while k >= 2 * columns.orders[season]:
        k -= 2 * columns.orders[season]
        season += 1
    period = columns.periods[season]
    turns = ((columns.starts[series] + i) * (k // 2 + 1)) % period / period
    return math.sin(2.0 * math.pi * turns) if k % 2 == 0 else math.cos(2.0 * math.pi * turns)


@numba.njit(cache=True, error_model="numpy")
def _period(columns: Columns, k: int) -> float:
    """Periods in the season of Fourier column k."""
    season = 0
    while k >= 2 * columns.orders[season]:
        k -= 2 * columns.orders[season]
        season += 1
    return float(columns.periods[season])


@numba.njit(cache=True, error_model="numpy")
def load_regressors(
    columns: Columns,
    series: int,
    begin: int,
    n: int,
    n_columns: int,
    most: int,
    left_out: int,
    out: FloatArray,
    factors: FloatArray,
) -> int:
    """Columns of the n periods from `begin`, centred and of deviation 1, into out [.., n].

    Constant ones are left out, Fourier terms of a season that the row has not seen twice, and the first `left_out`
    Fourier columns.

    factors [2, n_columns]: what each was divided by, 0 for one left out, and what was subtracted. At most `most` are
    taken. Returns how many were.
    """
    taken = 0
    for k in range(n_columns):
        factors[0, k] = 0.0
        factors[1, k] = 0.0
        term = k - columns.own.shape[1]
        if taken >= most or (term >= 0 and (term < left_out or n < 2.0 * _period(columns, term))):
            continue
        line = out[taken]
        total = 0.0
        for t in range(n):
            line[t] = regressor(columns, series, k, begin + t)
            total += line[t] - line[0]
        mean = line[0] + total / n
        variance, size = 0.0, 0.0
        for t in range(n):
            size = max(size, abs(line[t]))
            variance += (line[t] - mean) ** 2 / n
        scale = math.sqrt(variance)
        if not scale > 1e-10 * size:
            continue
        for t in range(n):
            line[t] = (line[t] - mean) / scale
        factors[0, k], factors[1, k] = scale, mean
        taken += 1
    return taken


@numba.njit(cache=True, error_model="numpy")
def without_regressors(y: FloatArray, x: FloatArray, k: int, n: int, normal: FloatArray, out: FloatArray) -> None:
    """Least-squares residuals of y on a constant and k columns, for the choice of differences."""
    mean = 0.0
    for t in range(n):
        mean += y[t] / n
    for i in range(k):
        for j in range(i + 1):
            normal[i, j] = np.dot(x[i, :n], x[j, :n])
        normal[i, i] += 1e-8 * n
        s = 0.0
        for t in range(n):
            s += x[i, t] * (y[t] - mean)
        normal[k, i] = s
    for i in range(k):
        for j in range(i + 1):
            s = normal[i, j]
            for h in range(j):
                s -= normal[i, h] * normal[j, h]
            normal[i, j] = math.sqrt(max(s, 1e-12 * n)) if i == j else s / normal[j, j]
        s = normal[k, i]
        for h in range(i):
            s -= normal[i, h] * normal[k, h]
        normal[k, i] = s / normal[i, i]
    for i in range(k - 1, -1, -1):
        s = normal[k, i]
        for h in range(i + 1, k):
            s -= normal[h, i] * normal[k, h]
        normal[k, i] = s / normal[i, i]
    for t in range(n):
        s = y[t]
        for i in range(k):
            s -= normal[k, i] * x[i, t]
        out[t] = s


@numba.njit(cache=True, error_model="numpy")
def difference_into(y: FloatArray, n: int, d: int, sd: int, m: int, out: FloatArray) -> int:
    """Differences of y into out, which is as long; returns how many there are."""
    for t in range(n):
        out[t] = y[t]
    left = n
    for k in range(d + sd):
        lag = m if k < sd else 1
        for t in range(left - lag):
            out[t] = out[t + lag] - out[t]
        left -= lag
    return left


@numba.njit(cache=True, error_model="numpy")
def first_nonzero(line: FloatArray, n: int) -> int:
    """The first place that is not 0, n for none."""
    for t in range(n):
        if line[t] != 0.0:
            return t
    return n


@numba.njit(cache=True, error_model="numpy")
def mark_missing(y: FloatArray, n: int, most: int, places: Int64Array) -> int:
    """Places of the last `most` missing values, in order; returns how many there are in all."""
    count = 0
    for t in range(n):
        if math.isnan(y[t]):
            count += 1
    skip, seen, kept = max(count - most, 0), 0, 0
    for t in range(n):
        if math.isnan(y[t]):
            if seen >= skip:
                places[kept] = t
                kept += 1
            seen += 1
    return count
