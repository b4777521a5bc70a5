"""Where descents start: the optima of related forms, and rough states from the first points."""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ets.workspace import Series

N_FORMS = 18  # with an additive trend or none
N_CODES = 2 * N_FORMS  # and those with a multiplicative one; the codes 18 + 0, 1, 2 and 18 + 9, 10, 11 stand for none
EARLIER = N_CODES + 2  # row of `Fits` for an earlier fit
LITTLE_DAMPING = 0.98  # phi of starting points with the mean growth, which a smaller one would soon take away
SMALLEST_GROWTH, LARGEST_GROWTH = 0.5, 2.0  # where a slope is taken for a growth
ROUGH_STARTS = ((0.1, 0.1, 0.05, 0.95), (0.5, 0.1, 0.3, 0.95), (0.02, 0.02, 0.02, 0.95))  # alpha, g, b, phi


class Fits(NamedTuple):
    """Optima of one series, by form; then rough starts of forms ANN and ANA, and a row for an earlier fit.

    p: [N_CODES + 3, W]. level: [N_CODES + 3], the fixed initial level of seasonal forms. score: [N_CODES], L*,
    infinite where a form was not fitted. earlier: [1], the form of an earlier fit, negative for none.
    """

    p: FloatArray
    level: FloatArray
    score: FloatArray
    earlier: Int64Array


@numba.njit(cache=True)
def _growth(slope: float, source: FloatArray, i: int, s_season: int, s_level: float, m: int) -> float:
    """An additive slope as a share of the first level (whose parameters begin at source[i]), plus 1."""
    level = float(source[i])
    if s_season > 0:
        mean = 0.0
        for j in range(m):
            mean += source[i + j] / m
        level = s_level + mean if s_season == 1 else s_level  # slope and level of a multiplicative one share its scale
    if level < 1e-6:
        return 1.0
    return min(max(1.0 + slope / level, SMALLEST_GROWTH), LARGEST_GROWTH)


@numba.njit(cache=True)
def carry_over(
    source: FloatArray,
    s_form: int,
    s_level: float,
    form: int,
    m: int,
    target: FloatArray,
    theta: FloatArray,
) -> float:
    """Starting point for `form` in `target` from another form's optimum; returns the fixed level.

    theta [4]: alpha, g, b, phi that stand in for what the source lacks; negative entries of it keep the source's.
    """
    s_trend, s_season = (s_form % 9) // 3, s_form % 3
    trend, season = (form % 9) // 3, form % 3
    i = 1
    alpha, g, b, phi, slope = source[0], 0.1, 0.1, 0.95, 0.0
    if s_season > 0:
        g = source[i]
        i += 1
    if s_trend > 0:
        b = source[i]
        i += 1
    if s_trend == 2:
        phi = source[i]
        i += 1
    if s_trend > 0:
        slope = source[i]
        i += 1
    if theta[0] > 0.0:
        alpha = theta[0]
    if theta[1] > 0.0:
        g = theta[1]
    if theta[2] > 0.0:
        b = theta[2]
    if theta[3] > 0.0:
        phi = theta[3]
    k = 1
    target[0] = alpha
    if season > 0:
        target[k] = g
        k += 1
    if trend > 0:
        target[k] = b
        k += 1
    if trend == 2:
        target[k] = phi
        k += 1
    if trend > 0:
        if form >= N_FORMS and s_form < N_FORMS:
            slope = _growth(slope, source, i, s_season, s_level, m)
        target[k] = slope
        k += 1
    if season == 0:
        target[k] = source[i]
        return 0.0
    if season == s_season:
        for j in range(m):
            target[k + j] = source[i + j]
        return s_level
    shift = 0.0
    for j in range(m):
        shift += source[i + j] / m
    level = s_level + shift
    for j in range(m):
        target[k + j] = max(1.0 + (source[i + j] - shift) / level, 0.05) if level > 1e-6 else 1.0
    return level if level > 1e-6 else 0.5


@numba.njit(cache=True)
def source_of(form: int, which: int) -> int:
    """Forms whose optimum a form starts from, better ones first; negative where there is none.

    They come before the form in the order of visits: the same with additive errors, the next simpler trend, and for a
    multiplicative season the additive one. For a multiplicative trend the form with an additive one, too.
    """
    if form >= N_FORMS:
        return form - N_FORMS if which == 0 else (form - 3 if (form % 9) // 3 == 2 else form - N_FORMS - 3)
    error, trend, season = form // 9, (form % 9) // 3, form % 3
    simpler_trend = form - 3 if trend > 0 else -1
    if season == 2:
        other = form - 1 if error == 1 else form + 9
    else:
        other = form - 9 if error == 1 else (form - 6 if trend == 2 else -1)
    return other if which == 0 else simpler_trend


@numba.njit(cache=True)
def _first_states(series: Series, p: FloatArray) -> float:
    """Level and seasonal terms for an additive season, from the first cycles; into p [2 + m] of form ANA.

    Each of up to four cycles is taken relative to its own mean, so a trend does not leak into the season.
    """
    y, n, m = series.y, series.n, series.m
    cycles = min(4, n // m)
    first_level, levels = 0.0, 0
    for j in range(m):
        p[2 + j] = 0.0
    counts = np.zeros(m)
    for c in range(cycles):
        total, seen = 0.0, 0
        for j in range(m):
            if not math.isnan(y[c * m + j]):
                total += y[c * m + j]
                seen += 1
        if seen == 0:
            continue
        mean = total / seen
        if levels == 0:
            first_level = mean
        levels += 1
        for j in range(m):
            if not math.isnan(y[c * m + j]):
                p[1 + m - j] += y[c * m + j] - mean
                counts[j] += 1.0
    for j in range(m):
        if counts[j] > 0:
            p[1 + m - j] /= counts[j]
    return first_level


@numba.njit(cache=True)
def mean_growth(series: Series) -> float:
    """Growth a period between the means of the first and the last points, a season of each or a quarter of them."""
    n = series.n
    few = min(series.m, n // 2) if series.m > 1 else max(n // 4, 1)
    early, late, n_early, n_late = 0.0, 0.0, 0, 0
    for t in range(few):
        if not math.isnan(series.y[t]):
            early += series.y[t]
            n_early += 1
        if not math.isnan(series.y[n - 1 - t]):
            late += series.y[n - 1 - t]
            n_late += 1
    growth = math.pow(late / n_late / (early / n_early), 1.0 / (n - few))
    return min(max(growth, SMALLEST_GROWTH), LARGEST_GROWTH)


@numba.njit(cache=True)
def rough_starts(series: Series, seasonal: bool, fits: Fits) -> None:
    """Fill the starting points of a series that has no optimum yet."""
    total, seen = 0.0, 0
    for t in range(series.n):
        if not math.isnan(series.y[t]):
            total += series.y[t]
            seen += 1
        if seen == 10:
            break
    fits.p[N_CODES, 0], fits.p[N_CODES, 1] = 0.1, total / seen
    if seasonal:
        rough = fits.p[N_CODES + 1]
        rough[0], rough[1] = 0.1, 0.1
        fits.level[N_CODES + 1] = _first_states(series, rough)


@numba.njit(cache=True)
def earlier_start(form: int, out: FloatArray, state: FloatArray, scale: float, m: int, fits: Fits) -> None:
    """Turn stored numbers (see `rows`: alpha, beta, gamma, phi, level, slope; initial season) into a starting point.

    out [6]. state [m]: initial seasonal terms of the first m periods in order.
    """
    trend, season = (form % 9) // 3, form % 3
    p, k = fits.p[EARLIER], 1
    fits.earlier[0], fits.level[EARLIER] = form, 0.0
    p[0] = out[0]
    if season > 0:
        p[k] = out[2] / (1.0 - out[0])
        k += 1
    if trend > 0:
        p[k] = out[1] / out[0]
        k += 1
    if trend == 2:
        p[k] = out[3]
        k += 1
    if trend > 0:
        p[k] = out[5] if form >= N_FORMS else out[5] / scale
        k += 1
    if season == 0:
        p[k] = out[4] / scale
        return
    fits.level[EARLIER] = out[4] / scale
    unit = scale if season == 1 else 1.0
    for j in range(m):
        p[k + m - 1 - j] = state[j] / unit
