"""How far an item's own few observations may be trusted: measured on its neighbours."""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.cold_start.kernels import plain_value
from forecasting.frequency import Int64Array

_CUTS = 8
"""Times at which a neighbour is tried, the latest ones, a horizon apart."""


@numba.njit(cache=True)
def _mean(series: FloatArray, low: int, high: int) -> float:
    total, n = 0.0, 0
    for t in range(low, high):
        if not np.isnan(series[t]):
            total += series[t]
            n += 1
    return total / n if n else np.nan


@numba.njit(cache=True)
def own_error(
    chosen: Int64Array,
    weight: FloatArray,
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    start: Int64Array,
    level: FloatArray,
    profiles: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    additive: bool,
    seen: int,
    horizon: int,
) -> float:
    """The mean squared error, in units of the squared level, of the mean of `seen` periods as the level of the
    `horizon` periods that follow; NaN where no neighbour has so many.

    It holds the noise of the mean seen, how far levels move, and the noise of what follows: where values are wild, an
    item's own few count for less.
    """
    total, all_weight = 0.0, 0.0
    for j in range(len(chosen)):
        d = chosen[j]
        if not additive and level[d] <= 0.0:
            continue
        length = end[d] - begin[d]
        series = np.empty(length)
        for t in range(length):
            x = values[begin[d] + t]
            if not np.isnan(x):
                x = plain_value(x, level[d], start[d] + t, profiles, first, seasons, len(seasons), additive)
            series[t] = x
        for k in range(1, _CUTS + 1):
            cut = length - k * horizon
            if cut < seen:
                break
            away = _mean(series, cut - seen, cut) - _mean(series, cut, cut + horizon)
            if not np.isnan(away):
                total += weight[j] * away * away
                all_weight += weight[j]
    if all_weight <= 0.0:
        return np.nan
    return float(total / all_weight)
