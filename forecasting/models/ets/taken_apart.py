"""The parts of a fit and of its forecast: level, slope and season before each period, and what is left."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ets.growth import HELD_SHARE, grown
from forecasting.models.ets.rows import ALPHA, BETA, FORM, GAMMA, LEVEL_0, PHI, SEASON_LENGTH, SLOPE_0
from forecasting.models.ets.starts import N_FORMS

LEVEL, TREND, SEASON, REMAINDER = range(4)
CLOSE = 1e-6


@numba.njit(cache=True)
def take_apart(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    mean: FloatArray,
    out: FloatArray,
    out_offsets: Int64Array,
) -> None:
    """Fill out [T, 4] over each row's periods and the horizon of `mean` [R, H].

    A period's level and trend are l_{t-1} and phi b_{t-1} or what a growth adds to the level, its season s_{t-m} or,
    where that multiplies, what it adds to their sum; the remainder is the one-step error. Periods before the first
    observation and remainders of missing values are NaN. Over the horizon what the mean has beyond the states' own
    path goes to the last of the parts that the form has. A row whose states do not follow from its initial ones and
    the values (as when the history begins later than it did in the fit) stays NaN.
    """
    horizon, longest = mean.shape[1], 1
    for r in range(len(begin)):
        if not math.isnan(parameters[r, FORM]):
            longest = max(longest, int(parameters[r, SEASON_LENGTH]))
    ring = np.zeros(longest)
    for r in range(len(begin)):
        low, high = out_offsets[r], out_offsets[r + 1]
        out[low:high, :] = np.nan
        p = parameters[r]
        if math.isnan(p[FORM]):
            continue
        form, m, state = int(p[FORM]), int(p[SEASON_LENGTH]), states[offsets[r] : offsets[r + 1]]
        trend, season, growing = (form % 9) // 3, form % 3, form >= N_FORMS
        beta = 0.0 if math.isnan(p[BETA]) else p[BETA]
        gamma = 0.0 if math.isnan(p[GAMMA]) else p[GAMMA]
        phi = 1.0 if math.isnan(p[PHI]) else p[PHI]
        l, b = p[LEVEL_0], 0.0 if math.isnan(p[SLOPE_0]) else p[SLOPE_0]
        if season > 0:
            ring[:m] = state[2 + m : 2 + 2 * m]
        first, last = end[r], end[r]
        for t in range(begin[r], end[r]):
            if not math.isnan(values[t]):
                first = min(first, t)
                last = t
        position, reached, size = 0, True, 0.0
        for t in range(first, end[r] + horizon):
            line = out[low + t - begin[r]]
            factor = grown(b, phi) if growing else phi * b
            q, s = l * factor if growing else l + factor, ring[position] if season > 0 else 0.0
            mu = q * s if season == 2 else q + s
            line[LEVEL], line[TREND], line[SEASON] = l, q - l, mu - q if season == 2 else s
            y = values[t] if t < end[r] else np.nan
            if t >= end[r]:
                line[REMAINDER] = 0.0
                rest = mean[r, t - end[r]] - l
                if season > 0:
                    line[SEASON] = rest - line[TREND]
                elif trend > 0:
                    line[TREND] = rest
                else:
                    line[LEVEL] = l + rest
            if math.isnan(y):
                l, b = q, factor
            else:
                e = y - mu
                line[REMAINDER] = e
                size = max(size, abs(y))
                innovation = y / s - q if season == 2 else e
                if season > 0:
                    ring[position] = s + gamma * (y / q - s if season == 2 else e)
                if growing:
                    b = max(factor + beta * innovation / l, HELD_SHARE * factor)
                    l = max(q + p[ALPHA] * innovation, HELD_SHARE * q)
                else:
                    l, b = q + p[ALPHA] * innovation, factor + beta * innovation
            if t == last:
                reached = abs(l - state[0]) <= CLOSE * size and abs(b - state[1]) <= CLOSE * (1.0 if growing else size)
            if season > 0:
                position = position + 1 if position + 1 < m else 0
        if not reached:
            out[low:high, :] = np.nan


def last_parts(parameters: FloatArray) -> Int64Array:
    """The last of level, trend and season that the form of each row has, [R]; level for a row without a form."""
    form = np.nan_to_num(parameters[:, FORM]).astype(np.int64)
    return np.where(form % 3 > 0, SEASON, np.where(form % 9 // 3 > 0, TREND, LEVEL))
