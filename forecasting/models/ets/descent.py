"""Levenberg-Marquardt descent of L* over smoothing parameters and initial states together.

Each pass of `derivatives.evaluate` gives L* and everything for the next step. The initial states are unbounded and
come last in the order of parameters, so they are eliminated first; what remains is a quadratic of at most four
smoothing parameters, minimised inside their box.
"""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.derivatives import evaluate
from forecasting.models.ets.region import RATIOS, Limits, bring_back, products_to_natural, to_natural, to_ratios
from forecasting.models.ets.workspace import NATURAL, SMALL, STEP, TRIAL, Series, Work

START_DAMPING = 1e-2
LARGEST_DAMPING = 1e7


@numba.njit(cache=True)
def counts(form: int, m: int) -> tuple[int, int]:
    """Smoothing parameters, and all parameters that a descent moves (initial states with them)."""
    trend, season = (form % 9) // 3, form % 3
    n_smooth = 1 + (1 if season > 0 else 0) + trend
    return n_smooth, n_smooth + (1 if trend > 0 else 0) + (m if season > 0 else 1)


@numba.njit(cache=True)
def _small_solve(a: FloatArray, rhs: FloatArray, k: int, held: FloatArray, x: FloatArray, w: FloatArray) -> None:
    """Solve the k by k system for the entries with held[i] == 0, the others being fixed at x[i]; lower triangle."""
    for i in range(k):
        for j in range(k):
            w[5 * i + j] = a[i, j] if j <= i else a[j, i]
        w[5 * i + 4] = rhs[i]
    for i in range(k):
        if held[i] != 0.0:
            for r in range(k):
                w[5 * r + 4] -= w[5 * r + i] * x[i]
                w[5 * r + i] = 0.0
                w[5 * i + r] = 0.0
            w[5 * i + i] = 1.0
            w[5 * i + 4] = x[i]
    for i in range(k):
        pivot = w[5 * i + i] if w[5 * i + i] > 1e-300 else 1e-300
        for r in range(i + 1, k):
            f = w[5 * r + i] / pivot
            for j in range(i, k):
                w[5 * r + j] -= f * w[5 * i + j]
            w[5 * r + 4] -= f * w[5 * i + 4]
    for i in range(k - 1, -1, -1):
        s = w[5 * i + 4]
        for j in range(i + 1, k):
            s -= w[5 * i + j] * x[j]
        pivot = w[5 * i + i] if w[5 * i + i] > 1e-300 else 1e-300
        x[i] = s / pivot


@numba.njit(cache=True)
def _solve_step(
    products: FloatArray,
    width: int,
    n_smooth: int,
    damping: float,
    p: FloatArray,
    low: FloatArray,
    high: FloatArray,
    work: Work,
) -> float:
    """The damped Gauss-Newton step inside the box, in work.step; returns (-J'r)'step, its first-order gain."""
    a, step = work.matrices[2], work.lanes[STEP]
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
    small = work.lanes[SMALL]  # the n_smooth by (n_smooth + 1) system, row by row, then a mark for each held entry
    held = small[20:]
    held[:4] = 0.0
    for _ in range(n_smooth + 1):
        _small_solve(a, rhs, n_smooth, held, step, small)
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
def _evaluate_natural(
    series: Series, form: int, p: FloatArray, level: float, width: int, products: FloatArray, work: Work
) -> tuple[float, float]:
    """`evaluate` at natural parameters, its products with respect to them."""
    ratios = work.lanes[NATURAL]
    for i in range(width):
        ratios[i] = p[i]
    to_ratios(form, ratios)
    found, total = evaluate(series, form, ratios, level, width, products, work)
    if found < np.inf:
        products_to_natural(form, width, p, products)
    return found, total


@numba.njit(cache=True)
def descend(
    series: Series,
    form: int,
    p: FloatArray,
    level: float,
    low: FloatArray,
    high: FloatArray,
    limits: Limits,
    max_passes: int,
    tolerance: float,
    work: Work,
) -> tuple[float, int]:
    """Improve `p` (ratios) in place until a step promises less than `tolerance` in L*; returns L* and passes spent.

    low, high: the box of the smoothing parameters of this form, in the order of `p`; in other regions than RATIOS of
    the natural ones. L* is infinite where no point of the region was found.
    """
    n_smooth, width = counts(form, series.m)
    natural = limits.region != RATIOS
    if natural:
        to_natural(form, p)
        if not bring_back(form, series.m, n_smooth, limits, low, high, low, p, work.region):
            return np.inf, 0
    step, trial = work.lanes[STEP], work.lanes[TRIAL]
    for i in range(width):
        trial[i] = p[i]
    best, total, now, passes, damping, promise = np.inf, 1.0, 0, 0, START_DAMPING, np.inf
    while passes < max_passes:
        if natural:
            found, found_total = _evaluate_natural(series, form, trial, level, width, work.matrices[1 - now], work)
        else:
            found, found_total = evaluate(series, form, trial, level, width, work.matrices[1 - now], work)
        passes += 1
        if found < best:
            gained = best - found
            for i in range(width):
                p[i] = trial[i]
            best, total, now = found, found_total, 1 - now
            if passes > 1:
                damping = max(damping * 0.1, 1e-9)
            if gained < 0.1 * tolerance:
                break
        else:
            damping = max(damping * 10.0, 1e-3)
            if passes == 1 or damping > LARGEST_DAMPING or promise < tolerance:
                break
        gain = _solve_step(work.matrices[now], width, n_smooth, damping, p, low, high, work)
        promise = series.n_obs * gain / total
        if promise < tolerance and damping <= START_DAMPING:
            break
        for i in range(width):
            trial[i] = p[i] + step[i]
        for i in range(n_smooth):
            trial[i] = min(max(trial[i], low[i]), high[i])
        if natural:
            bring_back(form, series.m, n_smooth, limits, low, high, p, trial, work.region)
    if natural:
        to_ratios(form, p)
    return best, passes
