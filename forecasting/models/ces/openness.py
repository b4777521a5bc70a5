"""How unsure a forecast is because its smoothing parameters are estimated.

To first order they have the covariance sigma^2 (J'J)^-1, J the derivatives of the one-step errors (Hyndman, Koehler,
Ord and Snyder 2008, chapter 5); the box that they are searched in joins as a prior of a uniform law's variance. The
recursion's lanes give the derivatives of the last states too, with the backcast states they follow from, and moving
each lane on gives those of the forecasts. These change with the horizon almost in a line, by level and drift, so two
of them, whole seasons apart, stand for all.
"""

from __future__ import annotations

import math

import numba

from forecasting.batch import FloatArray
from forecasting.models.ces.recursion import FULL, NONE, SIMPLE, STEP, Work, n_smoothing

SHORTEST_SPAN = 4
LEAST_VARIANCE = 1e-26


@numba.njit(cache=True)
def _lane_forecasts(form: int, m: int, n: int, span: int, lane: int, work: Work) -> tuple[float, float]:
    """A lane's forecasts 1 and 1 + span periods after the last point."""
    g, season = work.gains, work.ahead
    l, c = work.level[0, lane], work.level[1, lane]
    for j in range(m):
        season[j, 0], season[j, 1] = work.season[j, 0, lane], work.season[j, 1, lane]
    first, point = 0.0, 0.0
    i = 0 if form == SIMPLE else 4
    for h in range(span + 1):
        at = season[(n + h) % m]
        s, d = at[0], at[1]
        point = s if form == SIMPLE else (l if form == NONE else l + s)
        if h == 0:
            first = point
        l, c = l - g[0, lane] * c, l + g[1, lane] * c
        if form == SIMPLE or form == FULL:
            at[0], at[1] = s - g[i, lane] * d, s + g[i + 1, lane] * d
    return first, point


@numba.njit(cache=True)
def openness(
    n: int, form: int, m: int, variance: float, box: FloatArray, work: Work, spare: FloatArray, out: FloatArray
) -> None:
    """out [3]: the variance of the first forecast, its covariance with the drift a period, and the drift's variance.

    work: as `evaluate` left it at the estimate. variance: of the errors, of data scaled to 1. box [2, 4]: the bounds.
    spare: [16, 6] scratch."""
    size = n_smoothing(form)
    span = SHORTEST_SPAN if form == NONE else m * ((SHORTEST_SPAN + m - 1) // m)
    a, level, drift = spare[6:10, :4], spare[10], spare[11]
    first, last = _lane_forecasts(form, m, n, span, 0, work)
    unit = STEP * STEP * max(variance, LEAST_VARIANCE)
    out[:] = 0.0
    for i in range(size):
        near, far = _lane_forecasts(form, m, n, span, i + 1, work)
        level[i] = (near - first) / STEP
        drift[i] = ((far - near) - (last - first)) / STEP / span
        for j in range(i + 1):
            total = work.products[j + 1, i + 1] / unit
            if i == j:
                total += 12.0 / (box[1, i] - box[0, i]) ** 2
            whole = total
            for k in range(j):
                total -= a[i, k] * a[j, k]
            a[i, j] = math.sqrt(max(total, 1e-12 * whole)) if i == j else total / a[j, j]
        for k in range(i):
            level[i] -= a[i, k] * level[k]
            drift[i] -= a[i, k] * drift[k]
        level[i] /= a[i, i]
        drift[i] /= a[i, i]
        out[0] += level[i] * level[i]
        out[1] += level[i] * drift[i]
        out[2] += drift[i] * drift[i]
