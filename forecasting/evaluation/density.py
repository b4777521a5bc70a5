"""The density that a few quantiles imply, at one point: what log loss takes where a model has none of its own.

Between neighbouring quantiles the mass is spread evenly: density = mass / width. Beyond the outermost quantile lies an
exponential tail that holds the mass which is left; its scale is that of the exponential through the two outermost
quantiles, |x1 - x2| / log(p2 / p1), as in Park and others (2022), "Learning quantile functions without quantile
crossing", section 3. Equal quantiles are a point mass.

The density is taken at a resolution d: it is the mass within d / 2 of the point, over d. That is the density itself
wherever no quantile is nearer than d / 2; a point mass m counts as the density m / d; the integral stays 1. No tail is
shorter than d, so the density is above 0 everywhere.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

RESOLUTION = 0.01
"""The resolution as a share of a series' scale (the seasonal naive error that scales MASE), which is the same for all
models; where there is none, of the mean |actual| of the row, and of 1 where that is 0 too."""


def tail_factors(levels: FloatArray) -> tuple[float, float]:
    """What turns the width of the outermost cells into the scale of the tails: (lower, upper), NaN for one level."""
    if len(levels) < 2:
        return np.nan, np.nan
    return float(1.0 / np.log(levels[1] / levels[0])), float(1.0 / np.log((1.0 - levels[-2]) / (1.0 - levels[-1])))


@numba.njit(cache=True)
def log_density(
    y: float, x: FloatArray, p: FloatArray, lower_factor: float, upper_factor: float, resolution: float
) -> float:
    """The log of the density at y, in 1 / unit; NaN for fewer than two quantiles.

    x: [Q], quantiles that do not decrease, at levels p: [Q]. lower_factor, upper_factor: `tail_factors` of p.
    resolution: above 0, in the unit of y.
    """
    last = len(x) - 1
    if last < 1:
        return math.nan
    half = 0.5 * resolution
    low, high = y - half, y + half
    if high < x[0]:
        scale = max((x[1] - x[0]) * lower_factor, resolution)
        below: float = math.log(p[0] / scale * _smoothed(half / scale)) - (x[0] - y) / scale
        return below
    if low >= x[last]:
        scale = max((x[last] - x[last - 1]) * upper_factor, resolution)
        above: float = math.log((1.0 - p[last]) / scale * _smoothed(half / scale)) - (y - x[last]) / scale
        return above
    for i in range(last):
        if x[i] <= low < x[i + 1]:
            if high <= x[i + 1]:
                return math.log((p[i + 1] - p[i]) / (x[i + 1] - x[i]))
            break
    lower_scale = max((x[1] - x[0]) * lower_factor, resolution)
    upper_scale = max((x[last] - x[last - 1]) * upper_factor, resolution)
    mass = _cumulative(high, x, p, lower_scale, upper_scale) - _cumulative(low, x, p, lower_scale, upper_scale)
    return math.log(mass / resolution)


@numba.njit(cache=True)
def _smoothed(u: float) -> float:
    """sinh(u) / u for 0 < u <= 0.5: the mean of an exponential over an interval, relative to its middle."""
    return 1.0 + u * u / 6.0 * (1.0 + u * u / 20.0 * (1.0 + u * u / 42.0))


@numba.njit(cache=True)
def _cumulative(y: float, x: FloatArray, p: FloatArray, lower_scale: float, upper_scale: float) -> float:
    last = len(x) - 1
    if y < x[0]:
        below: float = p[0] * math.exp((y - x[0]) / lower_scale)
        return below
    if y >= x[last]:
        above: float = 1.0 - (1.0 - p[last]) * math.exp((x[last] - y) / upper_scale)
        return above
    i = last - 1
    while x[i] > y:
        i -= 1
    inside: float = p[i] + (p[i + 1] - p[i]) * (y - x[i]) / (x[i + 1] - x[i])
    return inside
