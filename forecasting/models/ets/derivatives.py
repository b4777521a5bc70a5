"""One pass over a series that also yields what a Gauss-Newton step needs.

L* of `likelihood` is n log of a sum of squares: n log sum (eps_t R)^2, with R the geometric mean of r_t. So its
minimum is a nonlinear least squares problem in the smoothing parameters and the initial states together. With
u_t = -d eps_t, h = mean d log r_t and S = sum eps_t^2, the Jacobian's row is R (-u_t + eps_t h) and

    J'J / R^2 = sum u u' - a h' - h a' + S h h',   -J'r / R^2 = a - S h,   a = sum eps_t u_t.

The derivatives of the states are carried forward beside the states, one lane a parameter. Lanes are summed over time
in order, so the result does not depend on how wide the machine's vectors are.

Parameters are ordered alpha, [g], [b], [phi], [initial slope], then the initial level, or the m initial seasonal terms
in reverse order of their first use. beta = alpha b and gamma = (1 - alpha) g put the usual region 0 < beta < alpha,
0 < gamma < 1 - alpha into a box. With a season the initial level stays fixed: shifting (scaling) level and seasonal
terms against each other leaves every mu_t as it is, so the season carries it.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.growth_pass import growing_pass
from forecasting.models.ets.plain import level_pass, trend_pass
from forecasting.models.ets.seasonal import additive_pass, multiplicative_pass
from forecasting.models.ets.starts import N_FORMS
from forecasting.models.ets.workspace import DRIFT, Series, Work


@numba.njit(cache=True)
def evaluate(
    series: Series, form: int, p: FloatArray, level: float, width: int, products: FloatArray, work: Work
) -> tuple[float, float]:
    """L* and S at parameters `p` [width]; `products` gets J'J / R^2 (lower triangle) and, in row `width`, -J'r / R^2.

    level: the fixed initial level of a seasonal form. Both results are infinite where a one-step mean of a
    multiplicative model is not positive, or the states of a multiplicative trend are not.
    """
    error, trend, season = form // 9 % 2, (form % 9) // 3, form % 3
    n_obs, drift = series.n_obs, work.lanes[DRIFT]
    for i in range(width + 1):
        line = products[i]
        for j in range((i + 4) & ~3):
            line[j] = 0.0
        drift[i] = 0.0
    if form >= N_FORMS:
        total, logs = growing_pass(series, error, trend, season, p, level, products, work)
    elif season == 0:
        if trend == 0:
            total, logs = level_pass(series.y, series.n, error, p[0], p[1], products, drift)
        else:
            damped = trend - 1
            phi = p[2] if damped == 1 else 1.0
            total, logs = trend_pass(
                series.y, series.n, error, damped, p[0], p[1], phi, p[2 + damped], p[3 + damped], products, drift
            )
    elif season == 1:
        total, logs = additive_pass(series, error, trend, p, level, products, work)
    else:
        total, logs = multiplicative_pass(series, error, trend, p, level, products, work)
    if not total < np.inf:
        return np.inf, np.inf
    if error == 1:
        cross = products[width]
        for i in range(width):
            drift[i] /= n_obs
        for i in range(width):
            line, hi, ai = products[i], drift[i], cross[i]
            for j in range(i + 1):
                line[j] += total * hi * drift[j] - ai * drift[j] - hi * cross[j]
        for i in range(width):
            cross[i] -= total * drift[i]
    floor = n_obs * 1e-24
    total = max(total, floor)
    return n_obs * math.log(total) + 2.0 * logs, total
