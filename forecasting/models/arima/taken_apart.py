"""The parts of a fit and of its forecast: expected level of the errors, regressors, and what is left."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.layout import BOX_COX, CONSTANT, OFFSET, SCALE, SIGMA, UNIT, Columns
from forecasting.models.arima.paths import buffer_size, step, unfold
from forecasting.models.arima.prepare import regressor
from forecasting.models.box_cox import transformed


@numba.njit(cache=True, error_model="numpy")
def take_apart(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    series: Int64Array,
    columns: Columns,
    part: Int64Array,
    p: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    mean: FloatArray,
    out: FloatArray,
    out_offsets: Int64Array,
) -> None:
    """Fill out [T, C]: level first, column k of the regression in part[k], the remainder last: parts of the
    transformed values, whose mean is `mean`, where there is a Box-Cox transform.

    Periods without enough observations before them to difference by have the level alone and no remainder but 0.
    """
    horizon, n_size, last = mean.shape[1], buffer_size(p), out.shape[1] - 1
    phi, theta, diff = np.zeros(n_size + 2), np.zeros(n_size + 2), np.zeros(n_size + 2)
    s = np.zeros(2 * n_size + 4)
    for row in range(len(p)):
        q = p[row]
        if math.isnan(q[SIGMA]):
            continue
        r, size = unfold(q, phi, theta, diff)
        beta = states[offsets[row] + r + size : offsets[row + 1]]
        s[:] = 0.0
        seen = 0
        for t in range(begin[row], end[row] + horizon):
            line = out[out_offsets[row] + t - begin[row]]
            line[:] = 0.0
            total = 0.0
            for k in range(len(beta)):
                if beta[k] != 0.0:
                    effect = q[SCALE] * beta[k] * regressor(columns, series[row], k, t)
                    line[part[k]] += effect
                    total += effect
            if t >= end[row]:
                line[0] = mean[row, t - end[row]] - total
                continue
            expected = s[0] + q[CONSTANT]
            for j in range(size):
                expected += diff[j] * s[r + j]
            y = values[t]
            if not math.isnan(q[BOX_COX]):
                y = transformed(y / q[UNIT], q[BOX_COX]) if y > 0.0 else np.nan
            if math.isnan(y):
                line[0] = q[OFFSET] + q[SCALE] * expected
                line[last] = np.nan
                innovation = 0.0
            elif seen < size:
                line[0] = y - total
                level = (y - total - q[OFFSET]) / q[SCALE]
                for j in range(size - 1, 0, -1):
                    s[r + j] = s[r + j - 1]
                s[r] = level
                if seen == 0:
                    s[r : r + size] = level
                seen += 1
                continue
            else:
                line[0] = q[OFFSET] + q[SCALE] * expected
                line[last] = y - line[0] - total
                innovation = line[last] / q[SCALE]
            step(innovation, r, phi, theta, diff, size, q[CONSTANT], s)
