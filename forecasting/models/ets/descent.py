"""Levenberg-Marquardt descent of L* over smoothing parameters and initial states together.

Each pass of `derivatives.evaluate` gives L* and everything for the next step. The initial states are unbounded and
come last in the order of parameters, so they are eliminated first; what remains is a quadratic of at most four
smoothing parameters, minimised inside their box.
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.derivatives import Series, Work, evaluate

START_DAMPING = 1e-2
LARGEST_DAMPING = 1e7


@numba.njit(cache=True)
def counts(form: int, m: int) -> tuple[int, int]:
    """Smoothing parameters, and all parameters that a descent moves (initial states with them)."""
    trend, season = (form % 9) // 3, form % 3
    n_smooth = 1 + (1 if season > 0 else 0) + trend
    return n_smooth, n_smooth + (1 if trend > 0 else 0) + (m if season > 0 else 1)


@numba.njit(cache=True)
def _small_solve(a: FloatArray, rhs: FloatArray, k: int, held: FloatArray, x: FloatArray) -> None:
    """Solve the k by k system for the entries with held[i] == 0, the others being fixed at x[i]; lower triangle."""
    w = np.empty((4, 5))
    for i in range(k):
        for j in range(k):
            w[i, j] = a[i, j] if j <= i else a[j, i]
        w[i, 4] = rhs[i]
    for i in range(k):
        if held[i] != 0.0:
            for r in range(k):
                w[r, 4] -= w[r, i] * x[i]
                w[r, i] = 0.0
                w[i, r] = 0.0
            w[i, i] = 1.0
            w[i, 4] = x[i]
    for i in range(k):
        pivot = w[i, i] if w[i, i] > 1e-300 else 1e-300
        for r in range(i + 1, k):
            f = w[r, i] / pivot
            for j in range(i, k):
                w[r, j] -= f * w[i, j]
            w[r, 4] -= f * w[i, 4]
    for i in range(k - 1, -1, -1):
        s = w[i, 4]
        for j in range(i + 1, k):
            s -= w[i, j] * x[j]
        pivot = w[i, i] if w[i, i] > 1e-300 else 1e-300
        x[i] = s / pivot


@numba.njit(cache=True)
def solve_step(
    products: FloatArray,
    width: int,
    n_smooth: int,
    damping: float,
    p: FloatArray,
    low: FloatArray,
    high: FloatArray,
    a: FloatArray,
    step: FloatArray,
) -> float:
    """The damped Gauss-Newton step inside the box, in `step`; returns (-J'r)'step, its first-order gain."""
    for i in range(width):
        source, line = products[i], a[i]
        for j in range(i + 1):
            line[j] = source[j]
        line[i] += damping * line[i] + 1e-14
        a[width, i] = products[width, i]
    rhs = a[width]
    for k in range(width - 1, n_smooth - 1, -1):
        line = a[k]
        pivot = 1.0 / line[k]
        for i in range(k):
            f = line[i] * pivot
            rhs[i] -= f * rhs[k]
            target = a[i]
            for j in range(i + 1):
                target[j] -= f * line[j]
    held = np.zeros(4)
    for _ in range(n_smooth + 1):
        _small_solve(a, rhs, n_smooth, held, step)
        worst, which, bound = 1e-15, -1, 0.0
        for i in range(n_smooth):
            if held[i] == 0.0:
                over, under = p[i] + step[i] - high[i], low[i] - p[i] - step[i]
                if over > worst:
                    worst, which, bound = over, i, high[i] - p[i]
                if under > worst:
                    worst, which, bound = under, i, low[i] - p[i]
        if which < 0:
            break
        held[which] = 1.0
        step[which] = bound
    for k in range(n_smooth, width):
        s = rhs[k]
        line = a[k]
        for j in range(k):
            s -= line[j] * step[j]
        step[k] = s / line[k]
    gain = 0.0
    for i in range(width):
        gain += products[width, i] * step[i]
    return gain


@numba.njit(cache=True)
def descend(
    series: Series,
    form: int,
    p: FloatArray,
    level: float,
    low: FloatArray,
    high: FloatArray,
    max_passes: int,
    tolerance: float,
    work: Work,
) -> tuple[float, int]:
    """Improve `p` in place until a step promises less than `tolerance` in L*; returns L* and the passes spent.

    low, high: the box of the smoothing parameters of this form, in the order of `p`.
    """
    n_smooth, width = counts(form, series.m)
    step, trial = work.step, work.trial
    now = 0
    best, total = evaluate(series, form, p, level, width, work.products[0], work)
    passes, damping = 1, START_DAMPING
    if not best < np.inf:
        return np.inf, passes
    while passes < max_passes:
        gain = solve_step(work.products[now], width, n_smooth, damping, p, low, high, work.matrix, step)
        promise = series.n_obs * gain / total
        if promise < tolerance and damping <= START_DAMPING:
            break
        for i in range(width):
            trial[i] = p[i] + step[i]
        for i in range(n_smooth):
            trial[i] = min(max(trial[i], low[i]), high[i])
        found, found_total = evaluate(series, form, trial, level, width, work.products[1 - now], work)
        passes += 1
        if found < best:
            gained = best - found
            for i in range(width):
                p[i] = trial[i]
            best, total, now = found, found_total, 1 - now
            damping = max(damping * 0.1, 1e-9)
            if gained < 0.1 * tolerance:
                break
        else:
            damping = max(damping * 10.0, 1e-3)
            if damping > LARGEST_DAMPING or promise < tolerance:
                break
    return best, passes
