"""Descent of the exact likelihood over partial autocorrelations: Levenberg-Marquardt on standardised innovations.

`evaluate` writes -2 log L as n log of a sum of squares, so its minimum is a nonlinear least squares problem; the
coefficients of the regression are eliminated in every pass (variable projection: Golub and Pereyra 1973). The Jacobian
is by forward differences, one pass a parameter.
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.likelihood import Data, Work, evaluate

LIMIT = 0.99999
"""Largest partial autocorrelation."""
DIFFERENCE = 1e-6
OPTIMISM = 3.0
"""How many times more than the quadratic approximation says a descent may gain."""


@numba.njit(cache=True, error_model="numpy")
def _solve(a: FloatArray, k: int) -> None:
    """Gauss elimination of the positive k by (k + 1) system in place; the solution ends in the last column."""
    for i in range(k):
        pivot = a[i, i] if a[i, i] > 1e-300 else 1e-300
        for row in range(i + 1, k):
            f = a[row, i] / pivot
            if f != 0.0:
                for j in range(i, k + 1):
                    a[row, j] -= f * a[i, j]
    for i in range(k - 1, -1, -1):
        s = a[i, k]
        for j in range(i + 1, k):
            s -= a[i, j] * a[j, k]
        a[i, k] = s / (a[i, i] if a[i, i] > 1e-300 else 1e-300)


@numba.njit(cache=True, error_model="numpy")
def _jacobian(data: Data, orders: Int64Array, x: FloatArray, k: int, work: Work) -> None:
    """J'J and -J'r at x, whose residuals are in work.residuals[0], into work.square[0]."""
    base, a = work.residuals[0], work.square[0]
    n = data.n
    for i in range(k):
        kept = x[i]
        h = -DIFFERENCE if kept > 0.0 else DIFFERENCE
        x[i] = kept + h
        line = work.residuals[2 + i]
        evaluate(data, orders, x, work, line)
        x[i] = kept
        for t in range(n):
            line[t] = (line[t] - base[t]) / h
    for i in range(k):
        line = work.residuals[2 + i]
        for j in range(i + 1):
            a[i, j] = np.dot(line[:n], work.residuals[2 + j, :n])
            a[j, i] = a[i, j]
        a[i, k] = -np.dot(line[:n], base[:n])


@numba.njit(cache=True, error_model="numpy")
def descend(
    data: Data, orders: Int64Array, x: FloatArray, tolerance: float, hopeless: float, max_passes: int, work: Work
) -> tuple[float, float, int, int]:
    """Improve x in place until a step promises less than `tolerance` in -2 log L. Gives
    up where -2 log L, as `evaluate` counts it, is clearly to end above `hopeless`.

    Returns `evaluate`'s numbers at x and passes spent.
    """
    k = orders[0] + orders[1] + orders[2] + orders[3]
    for i in range(k):
        x[i] = min(max(x[i], -LIMIT), LIMIT)
    best, total, n = evaluate(data, orders, x, work, work.residuals[0])
    passes = 1
    if k == 0 or not best < np.inf:
        return best, total, n, passes
    trial, held, damping = work.step[0], work.step[1], 1e-3
    a, b = work.square[0], work.square[1]
    while passes + k < max_passes:
        _jacobian(data, orders, x, k, work)
        passes += k
        scaled = 0.0
        for t in range(data.n):
            scaled += work.residuals[0, t] ** 2
        if not scaled > 1e-280:
            return best, total, n, passes  # nothing is left to explain
        moved = False
        while passes < max_passes:
            for i in range(k):
                held[i] = 0.0
                if abs(x[i]) >= LIMIT and a[i, k] * x[i] > 0.0:
                    held[i] = 1.0
            for i in range(k):
                for j in range(k + 1):
                    b[i, j] = a[i, j]
                b[i, i] += damping * a[i, i] + 1e-12 * scaled
                if held[i] != 0.0:
                    b[i, :] = 0.0
                    b[i, i] = 1.0
            for i in range(k):
                if held[i] != 0.0:
                    for j in range(k):
                        if j != i:
                            b[j, i] = 0.0
            _solve(b, k)
            gain = 0.0
            for i in range(k):
                gain += a[i, k] * b[i, k]
            promise = n * gain / scaled
            if promise < tolerance or best - OPTIMISM * promise - 2.0 > hopeless:
                return best, total, n, passes
            for i in range(k):
                step = b[i, k]
                room = LIMIT - abs(x[i]) if step * x[i] > 0.0 else LIMIT + abs(x[i])
                if abs(step) > room and room > 1e-7:
                    # Three quarters of the way to the border at a time: the likelihood bends sharply there.
                    step = np.sign(step) * (0.75 * room if room > 1e-3 else room)
                trial[i] = min(max(x[i] + step, -LIMIT), LIMIT)
            found, found_total, found_n = evaluate(data, orders, trial, work, work.residuals[1])
            passes += 1
            if found < best:
                gained = best - found
                for i in range(k):
                    x[i] = trial[i]
                for t in range(data.n):
                    work.residuals[0, t] = work.residuals[1, t]
                best, total, n = found, found_total, found_n
                damping = max(damping * 0.1, 1e-7)
                moved = gained > 0.3 * tolerance
                break
            damping = max(damping * 8.0, 1e-2)
            if damping > 1e8:
                break
        if not moved:
            break
    return best, total, n, passes
