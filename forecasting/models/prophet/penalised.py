"""Least squares with a normal prior on some coefficients, a Laplace prior on the others and the noise estimated.

Minimised, over coefficients theta = (smooth, bends) and the noise's deviation sigma:

    n log sigma + |y - Z theta|^2 / (2 sigma^2) + 2 sigma^2 + sum precision (smooth - centre)^2 / 2 + |bends|_1 / tau

which is minus Prophet's log posterior for additive terms (prophet.stan: sigma has a half normal prior of scale 0.5).
Everything is read from the Gram matrix of (Z, y), so that an iteration costs no pass over the data: for a given sigma
the smooth coefficients are eliminated, what is left is a lasso over the bends, solved exactly by an active set (in the
manner of Lee, Battle, Raina and Ng 2007); sigma follows in closed form, and its fixed point is found by secants.
"""

from __future__ import annotations

import math

import numba

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

MAX_ROUNDS = 60
TOLERANCE = 1e-9
_TINY_PIVOT = 1e-12


@numba.njit(cache=True)
def gram(z: FloatArray, n: int, width: int, out: FloatArray) -> None:
    """The upper triangle of z'z over the first n rows and `width` columns; four rows a pass, so that sums stay in
    registers and no order of addition depends on the machine."""
    for i in range(width):
        for j in range(i, width):
            out[i, j] = 0.0
    t = 0
    while t + 4 <= n:
        for i in range(width):
            a, b, c, d = z[t, i], z[t + 1, i], z[t + 2, i], z[t + 3, i]
            row = out[i, i:width]
            za, zb, zc, zd = z[t, i:width], z[t + 1, i:width], z[t + 2, i:width], z[t + 3, i:width]
            for j in range(width - i):
                row[j] += a * za[j] + b * zb[j] + (c * zc[j] + d * zd[j])
        t += 4
    while t < n:
        for i in range(width):
            a = z[t, i]
            row = out[i, i:width]
            za = z[t, i:width]
            for j in range(width - i):
                row[j] += a * za[j]
        t += 1


@numba.njit(cache=True)
def noise(sum_of_squares: float, n: int, least: float) -> float:
    """The sigma that minimises n log sigma + sum / (2 sigma^2) + 2 sigma^2, at least `least`."""
    root = math.sqrt(float(n) * n + 16.0 * sum_of_squares)
    return max(math.sqrt(2.0 * sum_of_squares / (n + root)), least)


@numba.njit(cache=True)
def _eliminate(
    g: FloatArray, p: int, width: int, precision: FloatArray, centre: FloatArray, variance: float, out: FloatArray
) -> None:
    """Gaussian elimination of the p smooth coefficients from the augmented normal equations [width + 1 columns].

    Rows p .. width - 1 of `out` are left with the Schur complement and its right-hand side."""
    for i in range(width + 1):
        for j in range(i, width + 1):
            out[i, j] = g[i, j]
    for i in range(p):
        out[i, i] += variance * precision[i]
        out[i, width] += variance * precision[i] * centre[i]
    for i in range(p):
        pivot = out[i, i]
        if pivot <= _TINY_PIVOT * (g[i, i] + variance * precision[i]):
            out[i, i] = 0.0  # a column that repeats others: its coefficient is 0
            continue
        above = out[i]
        for r in range(i + 1, width):
            factor = above[r] / pivot
            if factor != 0.0:
                source, target = above[r : width + 1], out[r, r : width + 1]
                for j in range(width + 1 - r):
                    target[j] -= factor * source[j]


@numba.njit(cache=True)
def _substitute(m: FloatArray, p: int, width: int, theta: FloatArray) -> None:
    """The smooth coefficients, given the bends in theta[p:]."""
    for i in range(p - 1, -1, -1):
        if m[i, i] == 0.0:
            theta[i] = 0.0
            continue
        rest = m[i, width]
        for j in range(i + 1, width):
            rest -= m[i, j] * theta[j]
        theta[i] = rest / m[i, i]


@numba.njit(cache=True)
def _solve_active(
    m: FloatArray,
    p: int,
    width: int,
    active: Int64Array,
    n_active: int,
    sign: FloatArray,
    penalty: float,
    factor: FloatArray,
    out: FloatArray,
) -> int:
    """Solve A x = b - penalty * sign over the active bends by Cholesky; the place of a vanishing pivot, or -1."""
    for i in range(n_active):
        a = active[i]
        for j in range(i + 1):
            b = active[j]
            total = m[p + min(a, b), p + max(a, b)]
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            if i == j:
                if total <= _TINY_PIVOT * m[p + a, p + a] * 10.0:
                    return i
                factor[i, i] = math.sqrt(total)
            else:
                factor[i, j] = total / factor[j, j]
        total = m[p + a, width] - penalty * sign[a]
        for k in range(i):
            total -= factor[i, k] * out[k]
        out[i] = total / factor[i, i]
    for i in range(n_active - 1, -1, -1):
        total = out[i]
        for k in range(i + 1, n_active):
            total -= factor[k, i] * out[k]
        out[i] = total / factor[i, i]
    return -1


@numba.njit(cache=True)
def _lasso(
    m: FloatArray,
    p: int,
    width: int,
    penalty: float,
    bends: FloatArray,
    sign: FloatArray,
    active: Int64Array,
    factor: FloatArray,
    step: FloatArray,
) -> None:
    """Minimise bends' A bends / 2 - b' bends + penalty |bends|_1, from the bends given; A, b lie in m from p on.

    An active set whose signs agree is solved exactly; on the way to its solution the first bend that would change its
    sign leaves the set. Then the bend whose gradient exceeds the penalty most joins, until none does."""
    s = width - p
    n_active = 0
    for j in range(s):
        sign[j] = 0.0
        if bends[j] != 0.0:
            sign[j] = 1.0 if bends[j] > 0.0 else -1.0
            active[n_active] = j
            n_active += 1
    for _ in range(20 * s + 20):
        while n_active > 0:
            bad = _solve_active(m, p, width, active, n_active, sign, penalty, factor, step)
            if bad >= 0:
                out = bad
                reach = 0.0
            else:
                out, reach = -1, 1.0
                for i in range(n_active):
                    j = active[i]
                    if step[i] * sign[j] <= 0.0:
                        share = bends[j] / (bends[j] - step[i]) if bends[j] != step[i] else 0.0
                        if share < reach or out < 0:
                            out, reach = i, min(share, reach)
                for i in range(n_active):
                    bends[active[i]] += reach * (step[i] - bends[active[i]])
            if out < 0:
                for i in range(n_active):
                    bends[active[i]] = step[i]
                break
            j = active[out]
            if bends[j] == 0.0 or bad >= 0:
                sign[j] = 2.0 if bends[j] == 0.0 or bad >= 0 else 0.0  # joined to no avail: stays out
            else:
                sign[j] = 0.0
            bends[j] = 0.0
            n_active -= 1
            for i in range(out, n_active):
                active[i] = active[i + 1]
        best, which, side = penalty * (1.0 + 1e-9), -1, 0.0
        for j in range(s):
            if sign[j] != 0.0:
                continue
            slope = m[p + j, width]
            for i in range(n_active):
                a = active[i]
                slope -= m[p + min(a, j), p + max(a, j)] * bends[a]
            if abs(slope) > best and m[p + j, p + j] > 0.0:
                best, which, side = abs(slope), j, 1.0 if slope > 0.0 else -1.0
        if which < 0:
            return
        sign[which] = side
        active[n_active] = which
        n_active += 1


@numba.njit(cache=True)
def residual_squares(g: FloatArray, width: int, theta: FloatArray) -> float:
    """|y - Z theta|^2 from the augmented Gram matrix; not negative."""
    total = g[width, width]
    for i in range(width):
        if theta[i] == 0.0:
            continue
        inner = g[i, i] * theta[i] - 2.0 * g[i, width]
        for j in range(i + 1, width):
            inner += 2.0 * g[i, j] * theta[j]
        total += theta[i] * inner
    return float(max(total, 0.0))


@numba.njit(cache=True)
def minimise(
    g: FloatArray,
    n: int,
    p: int,
    width: int,
    precision: FloatArray,
    centre: FloatArray,
    tau: float,
    sigma: float,
    least: float,
    max_rounds: int,
    theta: FloatArray,
    m: FloatArray,
    sign: FloatArray,
    active: Int64Array,
    factor: FloatArray,
    step: FloatArray,
) -> tuple[float, int]:
    """Coefficients in `theta` [width] and (sigma, rounds), from the bends theta[p:] and the sigma given.

    g: upper triangle of the Gram matrix of the columns and y, [width + 1, width + 1]. precision, centre: [p]. least:
    the smallest sigma. The other arrays are workspace."""
    here = math.log(sigma)
    before, gap_before = 0.0, 0.0
    for round_ in range(max_rounds):
        variance = math.exp(2.0 * here)
        _eliminate(g, p, width, precision, centre, variance, m)
        if width > p:
            _lasso(m, p, width, variance / tau, theta[p:width], sign, active, factor, step)
        _substitute(m, p, width, theta)
        target = math.log(noise(residual_squares(g, width, theta), n, least))
        gap = target - here
        if abs(gap) < TOLERANCE:
            return math.exp(target), round_ + 1
        following = target
        if round_ > 0 and gap != gap_before:
            secant = here - gap * (here - before) / (gap - gap_before)
            # A secant may go ahead of the fixed point's own step, not back and not far.
            if (secant - here) * gap > 0.0 and abs(secant - here) < 5.0 * abs(gap):
                following = secant
        before, gap_before = here, gap
        here = max(following, math.log(least))
    return math.exp(here), max_rounds
