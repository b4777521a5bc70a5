"""Where smoothing parameters may lie: boxes of ratios, the usual region, and the admissible one.

A descent moves alpha, g = gamma / (1 - alpha) and b = beta / alpha, in which the usual region 0 < beta < alpha,
0 < gamma < 1 - alpha is a box. Limits on beta and gamma themselves and the admissible region have no such form: there
the same passes are used and their products are carried over to alpha, gamma, beta by the chain rule, and a step that
leaves the region is brought back.

Admissible: the forecasts' weights on old observations die out (Hyndman, Koehler, Ord and Snyder 2008, chapter 10).
Without a season table 10.1: 1 - 1/phi < alpha < 1 + 1/phi and alpha (phi - 1) < beta < (1 + phi) (2 - alpha). With one
the roots of the characteristic polynomial (equation 10.8, the unit root of an unnormalised season taken out)

    z^(m+1) + (alpha + beta - phi) z^m + (alpha + beta - alpha phi) (z^(m-1) + ... + z^2)
            + (alpha + beta - alpha phi + gamma - 1) z + phi (1 - alpha - gamma)

lie inside the unit circle, together with the inequalities of theorem 10.1. beta = 0 takes the factor z - phi out of
it, and gamma = 0 leaves the condition without a season: a trend or season that does not move is no instability. Only
the part of the region with parameters that are not negative is used.

These are the conditions for a slope that enters the mean undamped; ours enters as phi b, so beta there is phi beta
here. R and statsforecast do not make that difference, and so refuse a little more where phi < 1.
"""

from __future__ import annotations

from typing import NamedTuple

import numba

from forecasting.batch import FloatArray

RATIOS, USUAL, ADMISSIBLE, BOTH = 0, 1, 2, 3
BISECTIONS = 14
NEAREST_TO_ONE = 1e-7  # of 1 - alpha with a season: g = gamma / (1 - alpha) must stay a number


class Limits(NamedTuple):
    """What the smoothing parameters must keep to.

    box: [2, 4] lower and upper ends of alpha, gamma, beta, phi (`region` RATIOS: of alpha, g, b, phi). region: RATIOS,
    USUAL, ADMISSIBLE or BOTH. most_g, most_b: largest gamma / (1 - alpha) and beta / alpha in USUAL and BOTH.
    """

    box: FloatArray
    region: int
    most_g: float
    most_b: float


@numba.njit(cache=True)
def admissible(alpha: float, beta: float, gamma: float, phi: float, m: int, c: FloatArray) -> bool:
    """Whether the parameters are admissible. m: season length, 1 without a season. c: scratch [2 m + 4].

    The roots are inside the unit circle when all reflection coefficients of the polynomial are (Schur and Cohn).
    """
    beta *= phi
    if m <= 1 or gamma == 0.0:
        return 1.0 - 1.0 / phi < alpha < 1.0 + 1.0 / phi and alpha * (phi - 1.0) <= beta < (1.0 + phi) * (2.0 - alpha)
    if gamma < max(1.0 - 1.0 / phi - alpha, 0.0) or gamma > 1.0 + 1.0 / phi - alpha:
        return False
    if alpha < 1.0 - 1.0 / phi - gamma * (1.0 - m + phi + phi * m) / (2.0 * phi * m):
        return False
    if beta < -(1.0 - phi) * (gamma / m + alpha):
        return False
    if beta == 0.0:
        n = m
        c[0] = alpha + gamma - 1.0
        for k in range(1, n):
            c[k] = alpha
    else:
        n = m + 1
        c[0] = phi * (1.0 - alpha - gamma)
        c[1] = alpha + beta - alpha * phi + gamma - 1.0
        for k in range(2, m):
            c[k] = alpha + beta - alpha * phi
        c[m] = alpha + beta - phi
    c[n] = 1.0
    spare = n + 1
    for degree in range(n, 0, -1):
        k = c[0]
        if abs(k) >= 1.0:
            return False
        scale = 1.0 / (1.0 - k * k)
        for i in range(degree):
            c[spare + i] = (c[i + 1] - k * c[degree - 1 - i]) * scale
        for i in range(degree):
            c[i] = c[spare + i]
    return True


@numba.njit(cache=True)
def places(form: int) -> tuple[int, int, int]:
    """Positions of gamma, beta and phi among the parameters of a form; -1 for none."""
    trend, season = (form % 9) // 3, form % 3
    gamma = 1 if season > 0 else -1
    beta = (2 if season > 0 else 1) if trend > 0 else -1
    return gamma, beta, beta + 1 if trend == 2 else -1


@numba.njit(cache=True)
def to_natural(form: int, p: FloatArray) -> None:
    """alpha, g, b in place to alpha, gamma, beta."""
    gamma, beta, _ = places(form)
    if gamma > 0:
        p[gamma] *= 1.0 - p[0]
    if beta > 0:
        p[beta] *= p[0]


@numba.njit(cache=True)
def to_ratios(form: int, p: FloatArray) -> None:
    """alpha, gamma, beta in place to alpha, g, b."""
    gamma, beta, _ = places(form)
    if gamma > 0:
        p[gamma] /= 1.0 - p[0]
    if beta > 0:
        p[beta] /= p[0]


@numba.njit(cache=True)
def products_to_natural(form: int, width: int, p: FloatArray, products: FloatArray) -> None:
    """J'J (lower triangle) and the row -J'r of `derivatives.evaluate` by the chain rule; p: the natural parameters."""
    gamma, beta, _ = places(form)
    by_g = p[gamma] / (1.0 - p[0]) ** 2 if gamma > 0 else 0.0  # d g / d alpha at constant gamma
    by_b = -p[beta] / p[0] ** 2 if beta > 0 else 0.0  # d b / d alpha at constant beta
    for i in range(width + 1):
        if i == 0 and width > 0:
            if gamma > 0:
                products[0, 0] += 2.0 * by_g * products[gamma, 0] + by_g * by_g * products[gamma, gamma]
            if beta > 0:
                products[0, 0] += 2.0 * by_b * products[beta, 0] + by_b * by_b * products[beta, beta]
            if gamma > 0 and beta > 0:
                products[0, 0] += 2.0 * by_g * by_b * products[max(gamma, beta), min(gamma, beta)]
            continue
        if gamma > 0:
            products[i, 0] += by_g * products[max(i, gamma), min(i, gamma)]
        if beta > 0:
            products[i, 0] += by_b * products[max(i, beta), min(i, beta)]
    for k in range(2):
        place = gamma if k == 0 else beta
        if place > 0:
            factor = 1.0 / (1.0 - p[0]) if k == 0 else 1.0 / p[0]
            for j in range(place):
                products[place, j] *= factor
            products[place, place] *= factor * factor
            for i in range(place + 1, width + 1):
                products[i, place] *= factor


@numba.njit(cache=True)
def _is_admissible(form: int, m: int, p: FloatArray, c: FloatArray) -> bool:
    gamma, beta, phi = places(form)
    return admissible(
        p[0],
        p[beta] if beta > 0 else 0.0,
        p[gamma] if gamma > 0 else 0.0,
        p[phi] if phi > 0 else 1.0,
        m if gamma > 0 else 1,
        c,
    )


@numba.njit(cache=True)
def bring_back(
    form: int,
    m: int,
    n_smooth: int,
    limits: Limits,
    low: FloatArray,
    high: FloatArray,
    inside: FloatArray,
    p: FloatArray,
    c: FloatArray,
) -> bool:
    """Move natural parameters `p` into the region in place; False where that is not possible.

    low, high: the box in the order of p. inside: a point that lies in the region (or its lower corner, to begin
    with): where p is not admissible the way to it is halved. c: scratch [n_smooth + 2 m + 4].
    """
    gamma, beta, _ = places(form)
    least, most = low[0], high[0]
    if limits.region != ADMISSIBLE:
        if beta > 0:
            least = max(least, low[beta] / limits.most_b)
        if gamma > 0:
            most = min(most, 1.0 - low[gamma] / limits.most_g)
    p[0] = min(max(p[0], least), most)
    if gamma > 0 and abs(1.0 - p[0]) < NEAREST_TO_ONE:
        p[0] = 1.0 - NEAREST_TO_ONE
    for i in range(1, n_smooth):
        top = high[i]
        if limits.region != ADMISSIBLE:
            if i == gamma:
                top = max(min(top, limits.most_g * (1.0 - p[0])), low[i])
            elif i == beta:
                top = max(min(top, limits.most_b * p[0]), low[i])
        p[i] = min(max(p[i], low[i]), top)
    if limits.region == USUAL:
        return True
    scratch = c[n_smooth:]
    if _is_admissible(form, m, p, scratch):
        return True
    wanted = c[:n_smooth]
    wanted[:] = p[:n_smooth]
    share, width = 0.0, 1.0
    for _ in range(BISECTIONS):
        width *= 0.5
        for i in range(n_smooth):
            p[i] = inside[i] + (share + width) * (wanted[i] - inside[i])
        if _is_admissible(form, m, p, scratch):
            share += width
    for i in range(n_smooth):
        p[i] = inside[i] + share * (wanted[i] - inside[i])
    if gamma > 0 and abs(1.0 - p[0]) < NEAREST_TO_ONE:
        p[0] = 1.0 - NEAREST_TO_ONE
    return share > 0.0 or _is_admissible(form, m, p, scratch)
