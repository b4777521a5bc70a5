"""The search over alpha: a coarse grid, then Brent's method around its best point."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba

from forecasting.batch import FloatArray
from forecasting.models.theta.recursion import DSTM, gather, solve

N_GRID = 10
_GOLDEN = 0.3819660112501051


class Problem(NamedTuple):
    """A centred series [n] with its lines: a, b before each point, static (two entries) and dynamic, and room."""

    y: FloatArray
    n: int
    static: FloatArray
    a: FloatArray
    b: FloatArray
    sums: FloatArray


@numba.njit(cache=True)
def total_at(problem: Problem, form: int, alpha: float) -> float:
    """The best sum of squares of a form at an alpha."""
    if form >= DSTM:
        gather(problem.y, problem.n, alpha, True, problem.a, problem.b, problem.sums)
    else:
        gather(problem.y, problem.n, alpha, False, problem.static[:1], problem.static[1:], problem.sums)
    return solve(problem.sums, form % 2 == 1)[0]


@numba.njit(cache=True)
def refine(
    problem: Problem, form: int, low: float, x: float, fx: float, high: float, passes: int
) -> tuple[float, float, int]:
    """Brent's minimum between low and high from x inside (Brent 1973, chapter 5): alpha, sum of squares, passes."""
    w, v, fw, fv = x, x, fx, fx
    step, last, spent = 0.0, 0.0, 0
    while spent < passes:
        middle = 0.5 * (low + high)
        tolerance = 1e-5 * x + 1e-9
        if abs(x - middle) <= 2.0 * tolerance - 0.5 * (high - low):
            break
        parabola = False
        if abs(last) > tolerance:
            r, q = (x - w) * (fx - fv), (x - v) * (fx - fw)
            p = (x - v) * q - (x - w) * r
            q = 2.0 * (q - r)
            if q > 0.0:
                p = -p
            q = abs(q)
            before, last = last, step
            if abs(p) < abs(0.5 * q * before) and q * (low - x) < p < q * (high - x):
                parabola = True
                step = p / q
                u = x + step
                if u - low < 2.0 * tolerance or high - u < 2.0 * tolerance:
                    step = math.copysign(tolerance, middle - x)
        if not parabola:
            last = (low if x >= middle else high) - x
            step = _GOLDEN * last
        u = x + (step if abs(step) >= tolerance else math.copysign(tolerance, step))
        fu = total_at(problem, form, u)
        spent += 1
        if fu <= fx:
            if u >= x:
                low = x
            else:
                high = x
            v, fv, w, fw, x, fx = w, fw, x, fx, u, fu
        else:
            if u < x:
                low = u
            else:
                high = u
            if fu <= fw or w == x:
                v, fv, w, fw = w, fw, u, fu
            elif fu <= fv or v in (x, w):
                v, fv = u, fu
    return x, fx, spent


@numba.njit(cache=True)
def best_alpha(
    problem: Problem, form: int, low: float, high: float, start: float, max_passes: int
) -> tuple[float, float, int]:
    """alpha, sum of squares and passes of one form; start: an alpha to begin at instead of the grid, NaN for none."""
    if low >= high:
        return low, total_at(problem, form, low), 1
    best, best_total, spent = low, math.inf, 0
    width = (high - low) / (N_GRID - 1)
    if math.isnan(start):
        for k in range(N_GRID):
            if spent >= max_passes:
                break
            alpha = low + k * width
            total = total_at(problem, form, alpha)
            spent += 1
            if total < best_total:
                best, best_total = alpha, total
    else:
        best = min(max(start, low), high)
        best_total = total_at(problem, form, best)
        spent = 1
    found, total, more = refine(
        problem, form, max(best - width, low), best, best_total, min(best + width, high), min(max_passes - spent, 30)
    )
    return found, total, spent + more
