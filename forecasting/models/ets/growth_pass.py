"""The pass with derivatives of `derivatives`, for multiplicative trends (see `growth`), with and without a season.

Level and additive season are not interchangeable here, for only the level grows. So the parameters of an additive
season are theta_j = l_0 + s_j with seasonal terms that sum to zero: l_0 is their mean (beside the fixed level), and
there are m of them as in the other forms.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.growth import LEAST_SHARE, grown
from forecasting.models.ets.likelihood import SMALLEST_MEAN
from forecasting.models.ets.seasonal import accumulate
from forecasting.models.ets.workspace import BLOCK, D_LEVEL, D_SLOPE, DRIFT, Series, Work

LARGEST_MEAN = 1e10
"""One-step means, on data scaled to about 1, stay below this."""


@numba.njit(cache=True)
def _first_states(season: int, m: int, first: int, width: int, p: FloatArray, level: float, work: Work) -> float:
    """The initial level; seasonal terms and all their derivatives in the workspace."""
    dl, ds, ring = work.lanes[D_LEVEL], work.season, work.history[:m]
    if season == 0:
        dl[first] = 1.0
        return float(p[first])
    mean = 0.0
    if season == 1:
        for c in range(first, width):
            mean += p[c] / m
            dl[c] = 1.0 / m
    for j in range(m):
        ring[j] = p[width - 1 - j] - mean
        line = ds[j]
        for c in range(width):
            line[c] = -1.0 / m if season == 1 and c >= first else 0.0
        line[width - 1 - j] += 1.0
    return level + mean


@numba.njit(cache=True)
def growing_pass(
    series: Series, error: int, trend: int, season: int, p: FloatArray, level: float, products: FloatArray, work: Work
) -> tuple[float, float]:
    """Columns alpha, [g], b, [phi], initial growth, then the initial level or the m seasonal parameters."""
    y, n, m = series.y, series.n, series.m
    rows, drift, dl, db, ds = work.lanes, work.lanes[DRIFT], work.lanes[D_LEVEL], work.lanes[D_SLOPE], work.season
    ring = work.history[:m]
    at_share = 2 if season > 0 else 1
    at_phi, at_growth = at_share + 1, at_share + trend
    first = at_growth + 1
    width = first + (m if season > 0 else 1)
    alpha, share, b = p[0], p[at_share], p[at_growth]
    g = p[1] if season > 0 else 0.0
    phi = p[at_phi] if trend == 2 else 1.0
    beta, keep = alpha * share, 1.0 - alpha
    gamma = keep * g
    for c in range(width):
        dl[c] = 0.0
        db[c] = 0.0
    db[at_growth] = 1.0
    l = _first_states(season, m, first, width, p, level, work)
    if l < SMALLEST_MEAN or b < LEAST_SHARE:
        return np.inf, 0.0
    total, logs, product, filled, position = 0.0, 0.0, 1.0, 0, 0
    for t in range(n):
        r = grown(b, phi)
        q, by_b = l * r, phi * r / b
        if not (SMALLEST_MEAN < q < LARGEST_MEAN):
            return np.inf, 0.0
        if trend == 2:
            db[at_phi] += b * math.log(b) / phi  # by_b times it is d r / d phi
        if math.isnan(y[t]):
            for c in range(width):
                dr = by_b * db[c]
                dl[c] = r * dl[c] + l * dr
                db[c] = dr
            l, b = q, r
            if season > 0:
                position = position + 1 if position + 1 < m else 0
            continue
        line = ds[position] if season > 0 else ds[0]
        s = ring[position] if season > 0 else 0.0
        mu = q * s if season == 2 else q + s
        if (season == 2 and s < SMALLEST_MEAN) or ((error == 1 or season == 2) and mu < SMALLEST_MEAN):
            return np.inf, 0.0
        eps, w, inverse = y[t] - mu, 1.0, 0.0
        innovation = eps
        if error == 1:
            inverse = 1.0 / mu
            eps *= inverse
            w = y[t] * inverse * inverse
            product *= mu
            if product > 1e100 or product < 1e-100:
                logs += math.log(product)
                product = 1.0
        total += eps * eps
        row, by_level = rows[filled], 1.0 / l
        if season == 0:
            for c in range(width):
                dr, before = by_b * db[c], dl[c]
                dq = r * before + l * dr
                row[c] = dq
                dl[c] = keep * dq
                db[c] = dr - beta * by_level * (dq + innovation * by_level * before)
            season_error = 0.0
        elif season == 1:
            for c in range(width):
                dr, before = by_b * db[c], dl[c]
                dq = r * before + l * dr
                dmu = dq + line[c]
                row[c] = dmu
                dl[c] = dq - alpha * dmu
                db[c] = dr - beta * by_level * (dmu + innovation * by_level * before)
                line[c] -= gamma * dmu
            season_error = innovation
        else:
            adjusted, ratio = y[t] / s, y[t] / q
            innovation, season_error = adjusted - q, ratio - s
            by_season, by_mean = adjusted / s, gamma * ratio / q
            for c in range(width):
                dr, before, dseason = by_b * db[c], dl[c], line[c]
                dq = r * before + l * dr
                row[c] = s * dq + q * dseason
                lost = dq + by_season * dseason
                dl[c] = dq - alpha * lost
                db[c] = dr - beta * by_level * (lost + innovation * by_level * before)
                line[c] = (1.0 - gamma) * dseason - by_mean * dq
        if error == 1:
            for c in range(width):
                drift[c] += inverse * row[c]
                row[c] *= w
        row[width] = eps
        relative = innovation * by_level
        dl[0] += innovation
        db[0] += share * relative
        db[at_share] += alpha * relative
        if season > 0:
            line[0] -= g * season_error
            line[1] += keep * season_error
            ring[position] = s + gamma * season_error
            position = position + 1 if position + 1 < m else 0
        l, b = q + alpha * innovation, r + beta * relative
        if not (l > LEAST_SHARE * q and b > LEAST_SHARE * r):
            return np.inf, 0.0
        filled += 1
        if filled == BLOCK or t == n - 1:  # the last point is always an observation
            for i in range(filled, BLOCK):
                for c in range(width + 1):
                    rows[i, c] = 0.0
            accumulate(rows, products, width + 1)
            filled = 0
    return total, logs + math.log(product)
