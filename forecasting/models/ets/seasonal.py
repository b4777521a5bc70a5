"""The pass with derivatives of `derivatives`, for models with a season: lanes side by side in memory."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.likelihood import SMALLEST_MEAN
from forecasting.models.ets.workspace import BLOCK, D_LEVEL, D_SLOPE, DRIFT, Series, Work


@numba.njit(cache=True)
def accumulate(rows: FloatArray, products: FloatArray, width: int) -> None:
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
def additive_pass(
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
            accumulate(rows, products, width + 1)
            filled = 0
    return total, logs + math.log(product)


@numba.njit(cache=True)
def multiplicative_pass(
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
            accumulate(rows, products, width + 1)
            filled = 0
    return total, logs + math.log(product)
