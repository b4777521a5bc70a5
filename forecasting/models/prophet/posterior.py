"""What the fit leaves open: how sure level and slope are at the end of the history.

Prophet's intervals take the maximum a posteriori for the truth. Here the trend's coefficients in use have the normal
approximation of their posterior at the maximum, given the features (with Fourier terms that the grid cannot tell from
a constant, a level alone is not to be known): precision H = Z'Z / sigma^2 + diag(prior precision). Residuals that
hang together hold less information than their number: the covariance is multiplied by (1 + r) / (1 - r), r their first
autocorrelation, the long-run variance of a first-order autoregression, and by n / (n - d), d the terms in use.
"""

from __future__ import annotations

import math

import numba

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.prophet.descent import LOGISTIC, Work

MOST_AUTOCORRELATION = 0.95


@numba.njit(cache=True)
def _forward(factor: FloatArray, n: int, x: FloatArray) -> None:
    """Solve L z = x in place."""
    for i in range(n):
        total = x[i]
        for k in range(i):
            total -= factor[i, k] * x[k]
        x[i] = total / factor[i, i]


@numba.njit(cache=True)
def _factorise(g: FloatArray, p: int, terms: Int64Array, n_terms: int, sigma: float, w: Work) -> None:
    """The Cholesky factor of H over the terms, in w.m; a term that repeats others gets a huge precision."""
    for i in range(n_terms):
        a = terms[i]
        for j in range(i + 1):
            b = terms[j]
            total = g[min(a, b), max(a, b)] / sigma**2
            if i == j and a < p:
                total += w.precision[a]
            whole = total
            for k in range(j):
                total -= w.m[i, k] * w.m[j, k]
            if i == j:
                w.m[i, i] = math.sqrt(total) if total > 1e-12 * whole else 1e12 * math.sqrt(whole + 1e-300)
            else:
                w.m[i, j] = total / w.m[j, j]


@numba.njit(cache=True)
def _long_run(n: int, w: Work) -> float:
    """(1 + r) / (1 - r) of the residuals, at least 1."""
    cross, square = 0.0, 1e-300
    before = 0.0
    for i in range(n):
        residual = w.y[i] - w.fit[i]
        cross += residual * before
        square += residual * residual
        before = residual
    r = min(max(cross / square, 0.0), MOST_AUTOCORRELATION)
    return (1.0 + r) / (1.0 - r)


@numba.njit(cache=True)
def openness(
    n: int, p: int, width: int, base: int, growth: int, sigma: float, terms: Int64Array, w: Work, out: FloatArray
) -> None:
    """out [3]: at the end of the history the variance of the (logistic's argument's) level, its covariance with the
    slope, and the slope's variance, of the scaled model.

    w.g, w.theta, w.y, w.fit: as the fit left them. terms: workspace [width]."""
    n_terms = base
    for i in range(base):
        terms[i] = i
    for i in range(p, width):
        if w.theta[i] != 0.0:
            terms[n_terms] = i
            n_terms += 1
    _factorise(w.g, p, terms, n_terms, sigma, w)
    level, slope = w.trial, w.target
    for i in range(n_terms):
        level[i], slope[i] = 0.0, 0.0
    level[0] = -w.theta[1] if growth == LOGISTIC else 1.0
    if base == 2:
        level[1] = 1.0 - w.theta[0] if growth == LOGISTIC else 1.0
        slope[1] = 1.0
    for i in range(base, n_terms):
        level[i], slope[i] = 1.0 - w.bends[terms[i] - p], 1.0
    _forward(w.m, n_terms, level)
    _forward(w.m, n_terms, slope)
    factor = n / max(n - n_terms, 1.0) * _long_run(n, w)
    out[:] = 0.0
    for i in range(n_terms):
        out[0] += factor * level[i] ** 2
        out[1] += factor * level[i] * slope[i]
        out[2] += factor * slope[i] ** 2
