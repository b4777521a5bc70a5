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
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.likelihood import SMALLEST_MEAN

BLOCK = 8  # rows gathered before the matrix of products is touched


class Series(NamedTuple):
    """What is fitted: values [>= n] on a scale of about 1, n points, n_obs of them observed, season length m.

    The first and the last of the n points are observed.
    """

    y: FloatArray
    n: int
    n_obs: int
    m: int


class Work(NamedTuple):
    """Buffers that are allocated once and used for every series; W is at least the number of parameters plus 4."""

    matrices: FloatArray  # [3, W, W] products of two points, and what a step is solved from
    lanes: FloatArray  # [BLOCK + 8, W] BLOCK rows, then the vectors named below
    season: FloatArray  # [m, W] derivatives of the seasonal terms
    history: FloatArray  # [longest + 2 m] seasonal terms, then the response of the mean to the first of them


DRIFT, D_LEVEL, D_SLOPE, STEP, TRIAL, START, SMALL, BOX = range(BLOCK, BLOCK + 8)  # rows of Work.lanes


@numba.njit(cache=True)
def workspace(longest: int, m: int) -> Work:
    """Buffers for series of at most `longest` points with seasons of at most m."""
    w = max((m + 13) // 4 * 4, 24)
    return Work(np.zeros((3, w, w)), np.zeros((BLOCK + 8, w)), np.zeros((m, w)), np.zeros(longest + 2 * m))


@numba.njit(cache=True)
def _accumulate(rows: FloatArray, products: FloatArray, width: int) -> None:
    """Add the products of all pairs of columns of eight rows to the lower triangle of `products`."""
    r0, r1, r2, r3 = rows[0], rows[1], rows[2], rows[3]
    r4, r5, r6, r7 = rows[4], rows[5], rows[6], rows[7]
    for i in range(width):
        a0, a1, a2, a3, a4, a5, a6, a7 = r0[i], r1[i], r2[i], r3[i], r4[i], r5[i], r6[i], r7[i]
        line = products[i]
        for j in range((i + 4) & ~3):
            line[j] += ((a0 * r0[j] + a1 * r1[j]) + (a2 * r2[j] + a3 * r3[j])) + (
                (a4 * r4[j] + a5 * r5[j]) + (a6 * r6[j] + a7 * r7[j])
            )


@numba.njit(cache=True)
def _level_pass(
    y: FloatArray, n: int, error: int, alpha: float, l: float, products: FloatArray, drift: FloatArray
) -> tuple[float, float]:
    """Models without trend and season: columns alpha, initial level."""
    da, dl = 0.0, 1.0
    aa, la, ll, ea, el, total, ha, hl = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    logs, product, keep = 0.0, 1.0, 1.0 - alpha
    for t in range(n):
        if math.isnan(y[t]):
            continue
        e = y[t] - l
        eps, ua, ul = e, da, dl
        if error == 1:
            if l < SMALLEST_MEAN:
                return np.inf, 0.0
            inverse = 1.0 / l
            eps = e * inverse
            w = y[t] * inverse * inverse
            ua, ul = w * da, w * dl
            ha += da * inverse
            hl += dl * inverse
            product *= l
            if product > 1e100 or product < 1e-100:
                logs += math.log(product)
                product = 1.0
        total += eps * eps
        aa += ua * ua
        la += ul * ua
        ll += ul * ul
        ea += eps * ua
        el += eps * ul
        l += alpha * e
        da = keep * da + e
        dl = keep * dl
    products[0, 0], products[1, 0], products[1, 1] = aa, la, ll
    products[2, 0], products[2, 1] = ea, el
    drift[0], drift[1] = ha, hl
    return total, logs + math.log(product)


@numba.njit(cache=True)
def _trend_pass(
    y: FloatArray,
    n: int,
    error: int,
    damped: int,
    alpha: float,
    share: float,
    phi: float,
    b: float,
    l: float,
    products: FloatArray,
    drift: FloatArray,
) -> tuple[float, float]:
    """Models with a trend and no season: columns alpha, b, [phi], initial slope, initial level."""
    beta, keep = alpha * share, 1.0 - alpha
    la, lb, lp, l0, l1 = 0.0, 0.0, 0.0, 0.0, 1.0  # derivatives of the level
    ba, bb, bp, b0, b1 = 0.0, 0.0, 0.0, 1.0, 0.0  # and of the slope
    aa, ab, ap, a0, a1, xa = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    cb, cp, c0, c1, xb = 0.0, 0.0, 0.0, 0.0, 0.0
    pp, p0, p1, xp = 0.0, 0.0, 0.0, 0.0
    z0, z1, x0, o1, x1 = 0.0, 0.0, 0.0, 0.0, 0.0
    ha, hb, hp, h0, h1 = 0.0, 0.0, 0.0, 0.0, 0.0
    total, logs, product = 0.0, 0.0, 1.0
    for t in range(n):
        mu = l + phi * b
        ma, mb, mp = la + phi * ba, lb + phi * bb, lp + phi * bp + b
        m0, m1 = l0 + phi * b0, l1 + phi * b1
        if math.isnan(y[t]):
            la, lb, lp, l0, l1 = ma, mb, mp, m0, m1
            ba, bb, bp, b0, b1 = phi * ba, phi * bb, phi * bp + b, phi * b0, phi * b1
            l, b = mu, phi * b
            continue
        e = y[t] - mu
        eps, ua, ub, up, u0, u1 = e, ma, mb, mp, m0, m1
        if error == 1:
            if mu < SMALLEST_MEAN:
                return np.inf, 0.0
            inverse = 1.0 / mu
            eps = e * inverse
            w = y[t] * inverse * inverse
            ua, ub, up, u0, u1 = w * ma, w * mb, w * mp, w * m0, w * m1
            ha += ma * inverse
            hb += mb * inverse
            hp += mp * inverse
            h0 += m0 * inverse
            h1 += m1 * inverse
            product *= mu
            if product > 1e100 or product < 1e-100:
                logs += math.log(product)
                product = 1.0
        total += eps * eps
        aa += ua * ua
        ab += ua * ub
        a0 += ua * u0
        a1 += ua * u1
        xa += ua * eps
        cb += ub * ub
        c0 += ub * u0
        c1 += ub * u1
        xb += ub * eps
        z0 += u0 * u0
        z1 += u0 * u1
        x0 += u0 * eps
        o1 += u1 * u1
        x1 += u1 * eps
        if damped == 1:
            ap += ua * up
            cp += ub * up
            pp += up * up
            p0 += up * u0
            p1 += up * u1
            xp += up * eps
            bp = phi * bp - beta * mp + b
            lp = keep * mp
        la = keep * ma + e
        lb, l0, l1 = keep * mb, keep * m0, keep * m1
        ba = phi * ba - beta * ma + share * e
        bb = phi * bb - beta * mb + alpha * e
        b0 = phi * b0 - beta * m0
        b1 = phi * b1 - beta * m1
        l = mu + alpha * e
        b = phi * b + beta * e
    products[0, 0], products[1, 0], products[1, 1] = aa, ab, cb
    drift[0], drift[1] = ha, hb
    i = 2
    if damped == 1:
        products[2, 0], products[2, 1], products[2, 2] = ap, cp, pp
        products[3, 2], products[4, 2], products[5, 2] = p0, p1, xp
        drift[2] = hp
        i = 3
    products[i, 0], products[i, 1], products[i, i] = a0, c0, z0
    products[i + 1, 0], products[i + 1, 1], products[i + 1, i], products[i + 1, i + 1] = a1, c1, z1, o1
    products[i + 2, 0], products[i + 2, 1], products[i + 2, i], products[i + 2, i + 1] = xa, xb, x0, x1
    drift[i], drift[i + 1] = h0, h1
    return total, logs + math.log(product)


@numba.njit(cache=True)
def _additive_pass(
    series: Series, error: int, trend: int, p: FloatArray, l: float, products: FloatArray, work: Work
) -> tuple[float, float]:
    """Models with an additive season.

    Without gaps (`regular`) a seasonal term first used at step j acts like the first one, j steps later: its
    derivatives are those of the first one, shifted, and one lane serves all m.
    """
    y, n, m = series.y, series.n, series.m
    regular = series.n_obs == n
    rows, drift, dl, db, ds = work.lanes, work.lanes[DRIFT], work.lanes[D_LEVEL], work.lanes[D_SLOPE], work.season
    ring, response = work.history[:m], work.history[m:]
    nt = 2 + trend  # smoothing parameters: alpha, g, [b], [phi]
    first = nt + (1 if trend > 0 else 0)  # first seasonal column
    width = first + m
    alpha, g = p[0], p[1]
    gamma, keep = (1.0 - alpha) * g, 1.0 - alpha
    share = p[2] if trend > 0 else 0.0
    phi = p[3] if trend == 2 else 1.0
    beta = alpha * share
    b = p[nt] if trend > 0 else 0.0
    lanes = first + 1 if regular else width
    for c in range(lanes):
        dl[c] = 0.0
        db[c] = 0.0
    for j in range(m):
        ring[j] = p[width - 1 - j]
        response[j] = 0.0
        line = ds[j]
        for c in range(lanes):
            line[c] = 0.0
        if not regular:
            line[width - 1 - j] = 1.0
    if regular:
        ds[0, first] = 1.0
    if trend > 0:
        db[nt] = 1.0
    total, logs, product, filled, position = 0.0, 0.0, 1.0, 0, 0
    for t in range(n):
        q = l + phi * b
        line = ds[position]
        if trend == 2:
            dl[3] += b
        if math.isnan(y[t]):
            for c in range(lanes):
                dl[c] += phi * db[c]
                db[c] *= phi
            if trend == 2:
                db[3] += b
            l, b = q, phi * b
            position = position + 1 if position + 1 < m else 0
            continue
        mu = q + ring[position]
        e = y[t] - mu
        eps, w, inverse = e, 1.0, 0.0
        if error == 1:
            if mu < SMALLEST_MEAN:
                return np.inf, 0.0
            inverse = 1.0 / mu
            eps = e * inverse
            w = y[t] * inverse * inverse
            product *= mu
            if product > 1e100 or product < 1e-100:
                logs += math.log(product)
                product = 1.0
        total += eps * eps
        row = rows[filled]
        for c in range(lanes):
            slope = phi * db[c]
            dq = dl[c] + slope
            dmu = dq + line[c]
            row[c] = dmu
            dl[c] = dq - alpha * dmu
            db[c] = slope - beta * dmu
            line[c] -= gamma * dmu
        if regular:
            response[m - 1 + t] = row[first]
            past = response[t : t + m]
            target = row[first : first + m]
            for j in range(m):
                target[j] = past[j]
        if error == 1:
            for c in range(width):
                drift[c] += inverse * row[c]
                row[c] *= w
        row[width] = eps
        dl[0] += e
        db[0] += share * e
        line[0] -= g * e
        line[1] += keep * e
        if trend > 0:
            db[2] += alpha * e
        if trend == 2:
            db[3] += b
        l, b = q + alpha * e, phi * b + beta * e
        ring[position] += gamma * e
        position = position + 1 if position + 1 < m else 0
        filled += 1
        if filled == BLOCK or t == n - 1:  # the last point is always an observation
            for i in range(filled, BLOCK):
                for c in range(width + 1):
                    rows[i, c] = 0.0
            _accumulate(rows, products, width + 1)
            filled = 0
    return total, logs + math.log(product)


@numba.njit(cache=True)
def _multiplicative_pass(
    series: Series, error: int, trend: int, p: FloatArray, l: float, products: FloatArray, work: Work
) -> tuple[float, float]:
    """Models with a multiplicative season."""
    y, n, m = series.y, series.n, series.m
    rows, drift, dl, db, ds = work.lanes, work.lanes[DRIFT], work.lanes[D_LEVEL], work.lanes[D_SLOPE], work.season
    ring = work.history[:m]
    nt = 2 + trend
    first = nt + (1 if trend > 0 else 0)
    width = first + m
    alpha, g = p[0], p[1]
    keep = 1.0 - alpha
    gamma = keep * g
    share = p[2] if trend > 0 else 0.0
    phi = p[3] if trend == 2 else 1.0
    beta = alpha * share
    b = p[nt] if trend > 0 else 0.0
    for c in range(width):
        dl[c] = 0.0
        db[c] = 0.0
    for j in range(m):
        ring[j] = p[width - 1 - j]
        line = ds[j]
        for c in range(width):
            line[c] = 0.0
        line[width - 1 - j] = 1.0
    if trend > 0:
        db[nt] = 1.0
    total, logs, product, filled, position = 0.0, 0.0, 1.0, 0, 0
    for t in range(n):
        q = l + phi * b
        line = ds[position]
        if trend == 2:
            dl[3] += b
        if math.isnan(y[t]):
            for c in range(width):
                dl[c] += phi * db[c]
                db[c] *= phi
            if trend == 2:
                db[3] += b
            l, b = q, phi * b
            position = position + 1 if position + 1 < m else 0
            continue
        s = ring[position]
        mu = q * s
        if q < SMALLEST_MEAN or s < SMALLEST_MEAN or mu < SMALLEST_MEAN:
            return np.inf, 0.0
        eps, w, inverse = y[t] - mu, 1.0, 0.0
        by_season, by_level = 1.0 / s, 1.0 / q
        if error == 1:
            inverse = by_season * by_level
            eps *= inverse
            w = y[t] * inverse * inverse
            product *= mu
            if product > 1e100 or product < 1e-100:
                logs += math.log(product)
                product = 1.0
        total += eps * eps
        adjusted, ratio = y[t] * by_season, y[t] * by_level
        from_level, from_season = gamma * ratio * by_level, alpha * adjusted * by_season
        slope_season = beta * adjusted * by_season
        hold, wq, ws = 1.0 - gamma, w * q, w * s
        row = rows[filled]
        for c in range(width):
            slope = phi * db[c]
            dq = dl[c] + slope
            dseason = line[c]
            row[c] = ws * dq + wq * dseason
            dl[c] = keep * dq - from_season * dseason
            db[c] = slope - beta * dq - slope_season * dseason
            line[c] = hold * dseason - from_level * dq
        if error == 1:
            unweighted = inverse / w
            for c in range(width):
                drift[c] += unweighted * row[c]
        row[width] = eps
        level_error, season_error = adjusted - q, ratio - s
        dl[0] += level_error
        db[0] += share * level_error
        line[0] -= g * season_error
        line[1] += keep * season_error
        if trend > 0:
            db[2] += alpha * level_error
        if trend == 2:
            db[3] += b
        l, b = q + alpha * level_error, phi * b + beta * level_error
        ring[position] = s + gamma * season_error
        position = position + 1 if position + 1 < m else 0
        filled += 1
        if filled == BLOCK or t == n - 1:  # the last point is always an observation
            for i in range(filled, BLOCK):
                for c in range(width + 1):
                    rows[i, c] = 0.0
            _accumulate(rows, products, width + 1)
            filled = 0
    return total, logs + math.log(product)


@numba.njit(cache=True)
def evaluate(
    series: Series, form: int, p: FloatArray, level: float, width: int, products: FloatArray, work: Work
) -> tuple[float, float]:
    """L* and S at parameters `p` [width]; `products` gets J'J / R^2 (lower triangle) and, in row `width`, -J'r / R^2.

    level: the fixed initial level of a seasonal form. Both results are infinite where a one-step mean of a
    multiplicative model is not positive.
    """
    error, trend, season = form // 9, (form % 9) // 3, form % 3
    n_obs, drift = series.n_obs, work.lanes[DRIFT]
    for i in range(width + 1):
        line = products[i]
        for j in range((i + 4) & ~3):
            line[j] = 0.0
        drift[i] = 0.0
    if season == 0:
        if trend == 0:
            total, logs = _level_pass(series.y, series.n, error, p[0], p[1], products, drift)
        else:
            damped = trend - 1
            phi = p[2] if damped == 1 else 1.0
            total, logs = _trend_pass(
                series.y, series.n, error, damped, p[0], p[1], phi, p[2 + damped], p[3 + damped], products, drift
            )
    elif season == 1:
        total, logs = _additive_pass(series, error, trend, p, level, products, work)
    else:
        total, logs = _multiplicative_pass(series, error, trend, p, level, products, work)
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
