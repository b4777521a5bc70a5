"""Compiled loops over rows: fit, move the states, forecast."""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.theta import season as seasons
from forecasting.models.theta.recursion import (
    DSTM,
    LINE_N,
    LINE_SIZE,
    LINE_T,
    LINE_TT,
    LINE_Y,
    N_FORMS,
    SKIPPED,
    STM,
    add_to_line,
    fit_lines,
    gather,
    run,
    slope_of,
    solve,
)
from forecasting.models.theta.search import Problem, best_alpha

FORM, ALPHA, THETA, INITIAL_LEVEL, INTERCEPT, SLOPE, ERROR, SIGMA, MSE, SEASON_LENGTH, SEASON, GAP, N_OBS = range(13)
N_PARAMETERS = 13

CENTRE, LEVEL, TIME, LINE = 0, 1, 2, 3
FIRST_FACTOR = LINE + LINE_SIZE
"""States: what was taken from the data, level, periods since the first observation, the running line, factors."""

NO_OBSERVATION, ONE_OBSERVATION, SHORT, CONSTANT, SHORT_SEASON, LIMIT = 1, 2, 4, 8, 16, 32
FEWEST = 8
"""Observations that a search needs."""


@numba.njit(cache=True)
def _criterion(total: float, k: int, n: int, which: int) -> float:
    """which 0: the sum of squares; 1, 2, 3: AICc, AIC, BIC of a normal likelihood."""
    if which == 0:
        return total
    value = n * math.log(max(total, 1e-300))
    if which == 3:
        return value + k * math.log(n)
    value += 2.0 * k
    if which == 1:
        value += 2.0 * k * (k + 1) / (n - k - 1) if n > k + 1 else math.inf
    return value


@numba.njit(cache=True)
def _trim(values: FloatArray, begin: int, end: int, y: FloatArray) -> tuple[int, int, int, bool]:
    """Copy a row from its first to its last observation; its length, observations, gap after it, whether constant."""
    first, last = begin, end
    while first < end and math.isnan(values[first]):
        first += 1
    while last > first and math.isnan(values[last - 1]):
        last -= 1
    n_obs, constant = 0, True
    for i in range(last - first):
        y[i] = values[first + i]
        if not math.isnan(y[i]):
            n_obs += 1
            constant = constant and y[i] == y[0]
    return last - first, n_obs, end - last, constant


@numba.njit(cache=True)
def _deseason(
    y: FloatArray, n: int, n_obs: int, m: int, kind: int, cycles: int, forced: bool, out: FloatArray, room: FloatArray
) -> tuple[int, int]:
    """Take the season from y where there is one; factors of the m phases after the end go to out.

    Returns the kind of season and the flags.
    """
    if m < 2 or kind == seasons.NO_SEASON:
        return seasons.NO_SEASON, 0
    if n < 2 * m or n_obs < m + 2:
        return seasons.NO_SEASON, SHORT_SEASON
    if not forced and (m < 4 or not seasons.has_season(y, n, n_obs, m, room)):
        return seasons.NO_SEASON, 0
    factors = room[:m]
    done = seasons.seasonal_factors(y, n, m, kind, cycles, factors, room[m : 2 * m])
    if done == seasons.NO_SEASON:
        return done, 0
    for i in range(n):
        y[i] = y[i] / factors[i % m] if done == seasons.MULTIPLICATIVE else y[i] - factors[i % m]
    for j in range(m):
        out[j] = factors[(n + j) % m]
    return done, 0


@numba.njit(cache=True)
def _short(y: FloatArray, n: int, n_obs: int, alpha: float, p: FloatArray, s: FloatArray) -> None:
    """Plain exponential smoothing where there is too little to estimate: theta = 1, as the line weighs nothing."""
    level, total = y[0], 0.0
    for i in range(n):
        if not math.isnan(y[i]):
            total += (y[i] - level) ** 2
            level += alpha * (y[i] - level)
    p[FORM], p[ALPHA], p[THETA], p[INITIAL_LEVEL] = STM, alpha, 1.0, y[0] + s[CENTRE]
    p[ERROR], p[SIGMA] = 0.0, math.sqrt(total / (n_obs - 1)) if n_obs > 1 else 0.0
    s[LEVEL] = level


@numba.njit(cache=True)
def _relative(
    y: FloatArray, n: int, n_obs: int, centre: float, errors: FloatArray, total: float
) -> tuple[float, float]:
    """Whether errors relative to the mean (1.0) are likelier than plain ones (0.0), and their sum of
    squares.

    Both are normal; where all values and means are positive the likelihoods compare as n log(sum of squares), with
    2 sum log(mean) added for relative errors.
    """
    squares, logs, seen = 0.0, 0.0, 0
    for i in range(n):
        if math.isnan(errors[i]):
            continue
        mu = y[i] + centre - errors[i]
        if y[i] + centre <= 0.0 or (mu <= 0.0 and seen >= SKIPPED):
            return 0.0, total
        if seen >= SKIPPED:
            squares += (errors[i] / mu) ** 2
            logs += math.log(mu)
        seen += 1
    if total <= 0.0 or squares <= 0.0:
        return 0.0, total
    gain = (n_obs - SKIPPED) * math.log(squares / total) + 2.0 * logs
    if gain >= 0.0:
        return 0.0, total
    return 1.0, squares


@numba.njit(cache=True)
def _fit_one(
    problem: Problem,
    n_obs: int,
    asked: FloatArray,
    low: float,
    high: float,
    which: int,
    start: float,
    limit: int,
    errors: FloatArray,
    p: FloatArray,
    s: FloatArray,
) -> tuple[int, bool]:
    """Choose a form and its parameters for a centred series; passes spent and whether the limit ended the search."""
    best_value, spent, limited, counted = math.inf, 0, False, n_obs - SKIPPED
    for form in range(N_FORMS):
        if asked[form] == 0.0 or (form % 2 == 0 and which == 0 and asked[form + 1] > 0.0):
            continue  # by the error alone, a special case of the next form is never the better one
        if limited and best_value < math.inf:
            break
        alpha, _, passes = best_alpha(problem, form, low, high, start, max(limit - spent, 1))
        spent += passes
        limited = spent >= limit
        dynamic, estimated = form >= DSTM, 2 + form % 2
        a, b = (problem.a, problem.b) if dynamic else (problem.static[:1], problem.static[1:])
        gather(problem.y, problem.n, alpha, dynamic, a, b, problem.sums)
        _, level, w = solve(problem.sums, form % 2 == 1)
        last, total = run(problem.y, problem.n, alpha, w, level, dynamic, a, b, errors)
        error, squares = _relative(problem.y, problem.n, n_obs, s[CENTRE], errors, total)
        value = _criterion(total, estimated, counted, which)
        if value < best_value or best_value == math.inf:
            best_value = value
            p[FORM], p[ALPHA], p[THETA] = form, alpha, 1.0 / (1.0 - w)
            p[INITIAL_LEVEL] = level + s[CENTRE] * (1.0 - w)
            p[ERROR], p[SIGMA], p[MSE] = error, math.sqrt(squares / (counted - estimated)), total / counted
            s[LEVEL] = last
    return spent, limited


@numba.njit(cache=True)
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    m: int,
    asked: FloatArray,
    starts: FloatArray,
    kind: int,
    cycles: int,
    forced: bool,
    alphas: FloatArray,
    which: int,
    max_evaluations: int,
    parameters: FloatArray,
    states: FloatArray,
    flags: npt.NDArray[np.int64],
    evaluations: npt.NDArray[np.int64],
) -> None:
    """Fit every row. asked [R, 4]: forms; starts [R]: alphas to begin at; alphas [2]: range. States [R, 8 + m]."""
    longest = 0
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    y, a, b, errors = np.empty(longest + 1), np.empty(longest + 1), np.empty(longest + 1), np.empty(longest + 1)
    room, static, sums = np.empty(max(longest, 2 * m) + 1), np.empty(2), np.empty(6)
    for r in range(len(begin)):
        p, s = parameters[r], states[r]
        n, n_obs, gap, constant = _trim(values, begin[r], end[r], y)
        if n_obs == 0:
            flags[r] = NO_OBSERVATION
            continue
        p[GAP], p[N_OBS], p[SEASON_LENGTH], p[SEASON] = gap, n_obs, 1.0, seasons.NO_SEASON
        if not constant:
            done, flag = _deseason(y, n, n_obs, m, kind, cycles, forced, s[FIRST_FACTOR:], room)
            flags[r] = flag
            p[SEASON] = done
            if done != seasons.NO_SEASON:
                p[SEASON_LENGTH] = m
        total = 0.0
        for i in range(n):
            if not math.isnan(y[i]):
                total += y[i] - y[0]
        s[CENTRE] = y[0] + total / n_obs
        for i in range(n):
            y[i] -= s[CENTRE]
        s[TIME] = n
        line = s[LINE : LINE + LINE_SIZE]
        fit_lines(y, n, line, a, b)
        static[1] = slope_of(line)
        static[0] = line[LINE_Y] - static[1] * line[LINE_T]
        p[SLOPE], p[INTERCEPT] = static[1], static[0] + s[CENTRE]
        low, high = alphas[0], alphas[1]
        if constant or n_obs < FEWEST:
            flags[r] |= ONE_OBSERVATION if n_obs == 1 else (CONSTANT if constant else SHORT)
            _short(y, n, n_obs, min(max(0.5, low), high), p, s)
            continue
        problem = Problem(y, n, static, a, b, sums)
        spent, limited = _fit_one(problem, n_obs, asked[r], low, high, which, starts[r], max_evaluations, errors, p, s)
        evaluations[r] = spent
        if limited:
            flags[r] |= LIMIT


@numba.njit(cache=True)
def _push(p: FloatArray, line: FloatArray, centre: float, power: float) -> float:
    """What the line adds to the level, over w; power is (1 - alpha)^(t - 1)."""
    alpha = p[ALPHA]
    if p[FORM] >= DSTM:
        slope = slope_of(line)
        intercept = line[LINE_Y] - slope * line[LINE_T]
    else:
        slope, intercept = p[SLOPE], p[INTERCEPT] - centre
    return float(intercept * power + slope * (1.0 - power * (1.0 - alpha)) / alpha)


@numba.njit(cache=True)
def advance_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
) -> None:
    """Move the states over values[begin:end] of each row; the season's factors stay."""
    for r in range(len(begin)):
        p, s = parameters[r], states[offsets[r] : offsets[r + 1]]
        if math.isnan(p[FORM]):
            continue
        line, m = s[LINE : LINE + LINE_SIZE], int(p[SEASON_LENGTH])
        w = 1.0 - 1.0 / p[THETA]
        factors = s[FIRST_FACTOR:]
        for t in range(begin[r], end[r]):
            if math.isnan(values[t]):
                p[GAP] += 1.0
                continue
            gap = int(p[GAP])
            for _ in range(gap):
                power = (1.0 - p[ALPHA]) ** s[TIME]
                s[LEVEL] += p[ALPHA] * w * _push(p, line, s[CENTRE], power)
                s[TIME] += 1.0
            v = values[t]
            if p[SEASON] > 0.0:
                factor = factors[gap % m]
                v = v / factor if p[SEASON] == seasons.MULTIPLICATIVE else v - factor
                _rotate(factors, (gap + 1) % m, m)
            v -= s[CENTRE]
            s[LEVEL] += p[ALPHA] * (v - s[LEVEL])
            s[TIME] += 1.0
            add_to_line(line, s[TIME], v)
            p[GAP] = 0.0
            p[N_OBS] += 1.0


@numba.njit(cache=True)
def _rotate(ring: FloatArray, first: int, m: int) -> None:
    """Put entry `first` at position 0."""
    if first == 0:
        return
    copy = ring[:m].copy()
    for j in range(m):
        ring[j] = copy[(j + first) % m]


@numba.njit(cache=True)
def _spread(c: FloatArray, line: FloatArray, alpha: float, h: FloatArray, t: float, scale: float) -> float:
    """Variance of the mean one step ahead, in units of sigma^2, and the covariance c [3, 3] moved one step on over an
    error of variance `scale`.

    The model is linear in (level, mean of the line, products of the line): y = h x + e and x' = F x + g y, so that
    Var(h x) = h c h' and c' = (F + g h) c (F + g h)' + g g'.
    """
    n = line[LINE_N]
    g1, g2 = alpha, 1.0 / (n + 1.0)
    g3 = (t - line[LINE_T]) * n / (n + 1.0)
    # F + g h; F is the identity less alpha at (0, 0), g2 at (1, 1), g3 at (2, 1)
    m00, m01, m02 = 1.0 - alpha + g1 * h[0], g1 * h[1], g1 * h[2]
    m10, m11, m12 = g2 * h[0], 1.0 - g2 + g2 * h[1], g2 * h[2]
    m20, m21, m22 = g3 * h[0], -g3 + g3 * h[1], 1.0 + g3 * h[2]
    variance: float = 0.0
    for i in range(3):
        for j in range(3):
            variance += h[i] * h[j] * c[i, j]
    for j in range(3):
        x, y, z = c[0, j], c[1, j], c[2, j]
        c[0, j] = m00 * x + m01 * y + m02 * z
        c[1, j] = m10 * x + m11 * y + m12 * z
        c[2, j] = m20 * x + m21 * y + m22 * z
    for i in range(3):
        x, y, z = c[i, 0], c[i, 1], c[i, 2]
        c[i, 0] = m00 * x + m01 * y + m02 * z
        c[i, 1] = m10 * x + m11 * y + m12 * z
        c[i, 2] = m20 * x + m21 * y + m22 * z
    g = (g1, g2, g3)
    for i in range(3):
        for j in range(3):
            c[i, j] += g[i] * g[j] * scale
    return variance


@numba.njit(cache=True)
def forecast_rows(
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    z: FloatArray,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Means [R, H] and normal quantiles [R, H, Q] with the exact variances of the state space form."""
    horizon = mean.shape[1]
    line, c, h = np.empty(LINE_SIZE), np.zeros((3, 3)), np.zeros(3)
    for r in range(len(parameters)):
        p, s = parameters[r], states[offsets[r] : offsets[r + 1]]
        if math.isnan(p[FORM]):
            continue
        line[:] = s[LINE : LINE + LINE_SIZE]
        c[:] = 0.0
        alpha, w, level, gap, m = p[ALPHA], 1.0 - 1.0 / p[THETA], s[LEVEL], int(p[GAP]), int(p[SEASON_LENGTH])
        dynamic = p[FORM] >= DSTM
        variance, moved = 0.0, 0.0
        for k in range(gap + horizon):
            t = s[TIME] + k + 1.0
            power = (1.0 - alpha) ** (t - 1.0)
            mu = level + w * _push(p, line, s[CENTRE], power)
            scale = (mu + s[CENTRE]) ** 2 if p[ERROR] > 0.0 else 1.0
            if dynamic:
                h[0], h[1] = 1.0, w * power
                reach = (1.0 - power * (1.0 - alpha)) / alpha - power * line[LINE_T]
                h[2] = w * reach / line[LINE_TT] if line[LINE_TT] > 0.0 else 0.0
                variance = _spread(c, line, alpha, h, t, scale)
                add_to_line(line, t, mu)
            else:
                variance = moved
                moved += alpha * alpha * scale
            level += alpha * (mu - level)
            if k >= gap:
                deviation = p[SIGMA] * math.sqrt(scale + variance)
                centre, factor = mu + s[CENTRE], 1.0
                if p[SEASON] == seasons.MULTIPLICATIVE:
                    factor = s[FIRST_FACTOR + k % m]
                    centre *= factor
                elif p[SEASON] == seasons.ADDITIVE:
                    centre += s[FIRST_FACTOR + k % m]
                mean[r, k - gap] = centre
                for j in range(len(z)):
                    quantiles[r, k - gap, j] = centre + z[j] * deviation * factor
