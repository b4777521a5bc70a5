"""NPTS with related series in its kernel: each step weighs the observations anew, so laws are carried one by one."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.weighted import read_off, sort_pairs


@numba.njit(cache=True)
def _standardise(columns: FloatArray, n: int, m: int, weights: FloatArray, out: FloatArray) -> None:
    """out [m, K]: columns less their mean over the first n periods, in units of their deviation there, times weight.

    A column that is constant over those n, up to rounding, becomes 0.
    """
    for k in range(columns.shape[1]):
        mean, spread, largest = 0.0, 0.0, 0.0
        for i in range(n):
            mean += columns[i, k] / n
            largest = max(largest, abs(columns[i, k]))
        for i in range(n):
            spread += (columns[i, k] - mean) ** 2 / n
        deviation = math.sqrt(spread)
        factor = weights[k] / deviation if deviation > 1e-12 * largest else 0.0
        for i in range(m):
            out[i, k] = (columns[i, k] - mean) * factor


@numba.njit(cache=True)
def _apart(z: FloatArray, i: int, j: int) -> float:
    total = 0.0
    for k in range(z.shape[1]):
        total += abs(z[i, k] - z[j, k])
    return total


@numba.njit(cache=True)
def forecast_related(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    first_step: Int64Array,
    context: int,
    alpha: float,
    scaled: bool,
    table: Int64Array,
    origin: int,
    feature: FloatArray,
    columns: FloatArray,
    column_begin: Int64Array,
    weights: FloatArray,
    levels: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Kernel w(t, T) = exp(-alpha d(t, T) - sum_k weight_k |z_k(t) - z_k(T)|), z_k a related series, standardised over
    the row's visible periods.

    d is |T - t| within a phase and infinite between phases or, `scaled`, |T - t| / (n + H - 1) + |f(t) - f(T)|, with
    `feature` alpha f by phase. An earlier step is copied as what it
    copies itself, by equation (1) of `npts_kernels`. A step of a phase without observations takes all observations by
    their related series alone.

    columns [T', K]: row r's periods begin at column_begin[r] and reach through the horizon. Fills mean [R, H] and
    quantiles [R, H, Q]; rows without an observation become NaN.
    """
    n_rows, horizon = mean.shape
    longest, period = 1, len(table)
    for r in range(n_rows):
        longest = max(longest, min(end[r] - begin[r], context))
    z = np.empty((longest + horizon, len(weights)))
    phase = np.empty(longest + horizon, dtype=np.int64)
    y, w, spare_y, spare_w = np.empty(longest), np.empty(longest), np.empty(longest), np.empty(longest)
    place, logs = np.empty(longest, dtype=np.int64), np.empty(longest + horizon)
    law = np.empty((horizon, longest))
    for r in range(n_rows):
        n = min(end[r] - begin[r], context)
        low, first = end[r] - n, column_begin[r] + (end[r] - n - begin[r])
        _standardise(columns[first : first + n + horizon], n, n + horizon, weights, z)
        at = (first_step[r] - n - origin) % period
        count = 0
        for i in range(n + horizon):
            phase[i] = table[at]
            at = at + 1 if at + 1 < period else 0
            if i < n and not np.isnan(values[low + i]):
                y[count], w[count] = values[low + i], i
                count += 1
        if count == 0:
            mean[r, :] = np.nan
            quantiles[r, :, :] = np.nan
            continue
        sort_pairs(y[:count], w[:count], spare_y, spare_w)
        for i in range(count):
            place[i] = int(w[i])
        rate = alpha / max(n + horizon - 1, 1) if scaled else alpha
        for h in range(horizon):
            here, largest = n + h, -np.inf
            for i in range(count + h):
                t = place[i] if i < count else n + i - count
                gap = rate * (here - t) + _apart(z, t, here)
                if phase[t] != phase[here]:
                    gap = gap + abs(feature[phase[t]] - feature[phase[here]]) if scaled else np.inf
                logs[i] = -gap
                if i < count:
                    largest = max(largest, -gap)
            if not largest > -np.inf:
                for i in range(count + h):
                    logs[i] = -_apart(z, place[i], here) if i < count else -np.inf
                    largest = max(largest, logs[i])
            line = law[h]
            for i in range(count):
                line[i] = math.exp(logs[i] - largest)
            for j in range(h):
                weight = math.exp(logs[count + j] - largest) if logs[count + j] > -np.inf else 0.0
                if weight > 0.0:
                    for i in range(count):
                        line[i] += weight * law[j, i]
            total, centre, running = 0.0, 0.0, 0.0
            for i in range(count):
                total += line[i]
            for i in range(count):
                line[i] /= total
                centre += line[i] * y[i]
                running += line[i]
                w[i] = running
            mean[r, h] = min(max(centre, y[0]), y[count - 1])
            read_off(y[:count], w[:count], levels, quantiles[r, h])
