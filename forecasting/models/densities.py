"""Log densities of predictive laws that are known in closed form."""

from __future__ import annotations

import numpy as np

from forecasting.batch import FloatArray

WIDE = 1024.0
"""A deviate at which a kernel is asked for a quantile, so that its distance to the mean gives the deviation: far out,
so that a small deviation beside a large mean keeps its digits, and a power of two, so that dividing by it is exact."""
_HALF_LOG_2_PI = 0.5 * np.log(2.0 * np.pi)


def normal_log_density(mean: FloatArray, deviation: FloatArray, actual: FloatArray) -> FloatArray:
    """log of the normal density at `actual`, all [R, H]. NaN without an actual or a forecast, and where the deviation
    is 0 or not finite: a point has no density."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        z = (actual - mean) / deviation
        out = -0.5 * z * z - np.log(deviation) - _HALF_LOG_2_PI
    return np.asarray(np.where((deviation > 0) & np.isfinite(deviation) & np.isfinite(mean), out, np.nan))


def moments(wide: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Mean and deviation [R, H] from normal quantiles [R, H, 2] at the deviates 0 and WIDE."""
    with np.errstate(invalid="ignore", over="ignore"):
        return wide[..., 0], np.abs(wide[..., 1] - wide[..., 0]) / WIDE
