"""The pass with derivatives of `derivatives`, for models without a season: every lane a local variable."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.likelihood import SMALLEST_MEAN


@numba.njit(cache=True)
def level_pass(
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
def trend_pass(
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
