"""Maximum a posteriori estimates of every row.

Where trend and features only add up, one Gram matrix and `penalised.minimise` give the optimum; `descent` does the
rest. Target and time are scaled as Prophet scales them.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.prophet.descent import FLAT, LOGISTIC, Settings, Work, descend, evaluate, objective
from forecasting.models.prophet.design import Columns, Grid
from forecasting.models.prophet.penalised import gram, minimise, noise
from forecasting.models.prophet.posterior import openness

K, M, SIGMA, SCALE, FLOOR, START, SPAN, N_BENDS, LOG_POSTERIOR, N_OBS, LEVEL_VARIANCE = range(11)
N_PARAMETERS = 13  # the covariance of level and slope and the slope's variance follow
NO_OBSERVATION, ONE_OBSERVATION, CONSTANT, LIMIT, INTERPOLATED, BAD_CAP = 1, 2, 4, 8, 16, 32

PRIOR_K = PRIOR_M = 1.0 / 25.0  # k and m have normal priors of deviation 5
LEAST_SIGMA = 1e-5
"""The smallest noise, relative to the deviation of the scaled data: the posterior of data that can be interpolated
grows without end as sigma falls to 0."""
LEAST_SIGMA_OF_FEW = 0.25
"""The same where it is interpolated because there are not twice as many observations as smooth terms."""


@numba.njit(cache=True)
def place_changepoints(at: Int64Array, n: int, t: FloatArray, grid: Grid, settings: Settings, out: FloatArray) -> int:
    """The bends in scaled time, sorted, and how many.

    Placed as Prophet places them: evenly over the first part of the observations, the first left out."""
    if settings.growth == FLAT:
        return 0
    if not settings.placed:
        start, span = grid.labels[at[0]], grid.labels[at[n - 1]] - grid.labels[at[0]]
        count = 0
        for label in settings.given:
            if 0 <= label - start <= span:
                out[count] = (label - start) / span
                count += 1
        return count
    inside = math.floor(n * settings.changepoint_range)
    count = min(settings.n_changepoints, inside - 1)
    if count <= 0:
        return 0
    step = (inside - 1) / count
    for j in range(1, count + 1):
        place = inside - 1 if j == count else int(np.rint(j * step))
        out[j - 1] = t[place]
    return count


@numba.njit(cache=True)
def _choose_columns(columns: Columns, grid: Grid, shift: int, n: int, w: Work, moments: FloatArray) -> int:
    """The feature columns in use, written to w.columns; moments [C - F, 2]: what each is centred and divided by."""
    span = float(grid.labels[w.at[n - 1]] - grid.labels[w.at[0]])
    closest = np.inf
    for i in range(1, n):
        closest = min(closest, float(grid.labels[w.at[i]] - grid.labels[w.at[i - 1]]))
    used = 0
    for c in range(len(columns.component)):
        if c < columns.n_fourier:
            b = columns.component[c]
            keep = span >= columns.min_span[b] and closest < columns.max_step[b] and n >= columns.min_count[b]
        else:
            k = c - columns.n_fourier
            keep = _own_moments(grid.own, shift, w.at, n, k, columns.standardize[c], moments)
        if keep:
            w.columns[used] = c
            used += 1
    return used


@numba.njit(cache=True)
def _own_moments(
    own: FloatArray, shift: int, at: Int64Array, n: int, k: int, standardize: int, moments: FloatArray
) -> bool:
    """Whether a related series or holiday varies over the observations; its mean and deviation where standardised."""
    moments[k, 0], moments[k, 1] = 0.0, 1.0
    first, varies, binary, total = own[at[0] + shift, k], False, True, 0.0
    for i in range(n):
        x = own[at[i] + shift, k]
        varies |= x != first
        binary &= x in (0.0, 1.0)
        total += x - first
    if not varies:
        return False
    if standardize == 1 or (standardize == 2 and not binary):
        mean = first + total / n
        squares = 0.0
        for i in range(n):
            squares += (own[at[i] + shift, k] - mean) ** 2
        moments[k, 0], moments[k, 1] = mean, math.sqrt(squares / (n - 1))
        return bool(moments[k, 1] > 0.0)
    return True


@numba.njit(cache=True)
def feature(columns: Columns, grid: Grid, at: int, shift: int, c: int, moments: FloatArray) -> float:
    """Feature column c at the period `at` of the grid, as the regression sees it."""
    if c < columns.n_fourier:
        return float(grid.fourier[at, c])
    k = c - columns.n_fourier
    return float((grid.own[at + shift, k] - moments[k, 0]) / moments[k, 1])


@numba.njit(cache=True)
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    position: Int64Array,
    shift: Int64Array,
    columns: Columns,
    grid: Grid,
    settings: Settings,
    start_sigma: FloatArray,
    w: Work,
    x: FloatArray,
    n_bends_most: int,
    parameters: FloatArray,
    states: FloatArray,
    flags: Int64Array,
    evaluations: Int64Array,
) -> None:
    """Fit every row.

    position: int64 [R], the place of each row's begin in the grid. shift: int64 [R], from a place in the grid to one
    in the series' own columns. start_sigma: [R], where to start the noise, NaN for unknown. x: workspace for the
    features of a row. states: [R, 2 n_bends_most + C + 2 (C - F)]: bends in scaled time, their changes of slope,
    coefficients, then mean and deviation of each own column."""
    n_columns = len(columns.component)
    n_own = n_columns - columns.n_fourier
    moments = np.zeros((n_own, 2))
    for r in range(len(begin)):
        n = 0
        for i in range(begin[r], end[r]):
            if np.isfinite(values[i]):
                w.y[n], w.at[n] = values[i], position[r] + i - begin[r]
                n += 1
        flags[r] = _scale(n, shift[r], grid, settings, w, parameters[r])
        if flags[r] & (NO_OBSERVATION | BAD_CAP | CONSTANT):
            continue
        n_bends = place_changepoints(w.at, n, w.t, grid, settings, w.bends)
        used = _choose_columns(columns, grid, shift[r], n, w, moments)
        base = 1 if settings.growth == FLAT else 2
        p, width = base + used, base + used + n_bends
        level = _prepare(n, p, base, shift[r], columns, grid, settings, moments, w, x)
        variance = 0.0
        for i in range(n):
            variance += w.y[i] ** 2 / n
        nonlinear = settings.growth == LOGISTIC
        for j in range(used):
            nonlinear |= columns.multiplicative[w.columns[j]] == 1
        least = LEAST_SIGMA * math.sqrt(variance)
        sigma = math.sqrt(variance)
        if start_sigma[r] > 0.0:
            sigma = max(min(sigma, start_sigma[r]), least)
        sigma, value, spent = _estimate(
            n, p, width, base, n_bends, level, sigma, least, nonlinear, columns, settings, x, w
        )  # fmt: skip
        if sigma <= least * (1.0 + 1e-6):
            flags[r] |= INTERPOLATED
            if n <= 2 * p:
                least = LEAST_SIGMA_OF_FEW * math.sqrt(variance)
                sigma, value, again = _estimate(
                    n, p, width, base, n_bends, level, math.sqrt(variance), least, nonlinear, columns, settings, x, w
                )  # fmt: skip
                spent += again
        evaluations[r] = spent
        if spent >= settings.max_evaluations:
            flags[r] |= LIMIT
        parameters[r, LEVEL_VARIANCE : LEVEL_VARIANCE + 3] = 0.0
        if n > 2 * p or flags[r] & INTERPOLATED == 0:
            openness(
                n,
                p,
                width,
                base,
                settings.growth,
                sigma,
                w.terms,
                w,
                parameters[r, LEVEL_VARIANCE : LEVEL_VARIANCE + 3],
            )
        _keep(
            p, base, n_bends, level, sigma, value, n_columns, n_bends_most, moments, w,
            parameters[r], states[r],
        )  # fmt: skip


@numba.njit(cache=True)
def _estimate(
    n: int, p: int, width: int, base: int, n_bends: int, level: float, sigma: float, least: float, nonlinear: bool,
    columns: Columns, settings: Settings, x: FloatArray, w: Work,
) -> tuple[float, float, int]:  # fmt: skip
    """sigma, minus the log posterior and the rounds spent; the coefficients in w.theta, the fit in w.fit."""
    if nonlinear:
        sigma, value, spent = descend(n, p, width, base, n_bends, level, sigma, least, columns, settings, x, w)
        evaluate(w.theta, n, p, base, n_bends, settings.growth, level, columns.multiplicative, x, w)
        return sigma, value, spent
    for i in range(n):
        for j in range(n_bends):
            x[i, p + j] = max(w.t[i] - w.bends[j], 0.0)
        x[i, width] = w.y[i]
    gram(x, n, width + 1, w.g)
    for i in range(width):
        w.theta[i] = 0.0
    sigma, spent = minimise(
        w.g, n, p, width, w.precision, w.centre, settings.tau, sigma, least, settings.max_evaluations,
        w.theta, w.m, w.sign, w.active, w.factor, w.step,
    )  # fmt: skip
    squares = evaluate(w.theta, n, p, base, n_bends, settings.growth, level, columns.multiplicative, x, w)
    sigma = noise(squares, n, least)
    value = objective(w.theta, sigma, squares, n, p, width, settings.tau, w.precision, w.centre)
    return sigma, value, spent


@numba.njit(cache=True)
def _scale(n: int, shift: int, grid: Grid, settings: Settings, w: Work, parameters: FloatArray) -> int:
    """Scale target and time as Prophet does: w.y, w.t, w.cap and the row's scale, floor, start, span. Flags."""
    parameters[N_OBS] = n
    if n == 0:
        return NO_OBSERVATION
    low, high = w.y[0], w.y[0]
    for i in range(n):
        low, high = min(low, w.y[i]), max(high, w.y[i])
    parameters[START] = grid.labels[w.at[0]]
    parameters[SPAN] = grid.labels[w.at[n - 1]] - grid.labels[w.at[0]]
    flag = 0
    if settings.growth == LOGISTIC:
        highest, lowest = -np.inf, np.inf
        for i in range(n):
            w.cap[i], floor = grid.bounds[w.at[i] + shift, 0], grid.bounds[w.at[i] + shift, 1]
            if not w.cap[i] > floor:
                return BAD_CAP
            highest, lowest = max(highest, w.cap[i]), min(lowest, floor)
            w.cap[i] -= floor
            w.y[i] -= floor
        scale = 0.0
        for i in range(n):
            scale = max(scale, abs(w.y[i]))
        if settings.minmax:
            scale = highest - lowest
        parameters[FLOOR] = np.nan  # by period
        flag = ONE_OBSERVATION if n == 1 else 0
    else:
        parameters[FLOOR] = low if settings.minmax else 0.0
        scale = high - low if settings.minmax else max(abs(low), abs(high))
    if low == high:
        flag = ONE_OBSERVATION | CONSTANT if n == 1 else CONSTANT
        parameters[FLOOR] = 0.0
        parameters[SCALE], parameters[K], parameters[M], parameters[SIGMA] = 1.0, 0.0, low, 0.0
        return flag
    parameters[SCALE] = scale if scale > 0.0 else 1.0
    for i in range(n):
        w.t[i] = (grid.labels[w.at[i]] - parameters[START]) / parameters[SPAN]
        w.cap[i] /= parameters[SCALE]
        if settings.growth == LOGISTIC:
            w.y[i] /= parameters[SCALE]
    return flag


@numba.njit(cache=True)
def _prepare(
    n: int, p: int, base: int, shift: int, columns: Columns, grid: Grid, settings: Settings, moments: FloatArray,
    w: Work, x: FloatArray,
) -> float:  # fmt: skip
    """Features in x, priors by column; the target scaled and freed of its mean. Returns the scaled mean less floor.

    Without the mean, sums of squares keep their digits where the level is large beside what moves."""
    level = 0.0
    if settings.growth != LOGISTIC:
        first, mean, low, high = w.y[0], 0.0, w.y[0], w.y[0]
        for i in range(n):
            mean += (w.y[i] - first) / n
            low, high = min(low, w.y[i]), max(high, w.y[i])
        scale = high - low if settings.minmax else max(abs(low), abs(high))
        floor = low if settings.minmax else 0.0
        mean += first
        level = (mean - floor) / scale
        for i in range(n):
            w.y[i] = (w.y[i] - mean) / scale
    w.precision[0], w.centre[0] = PRIOR_M, -level
    w.precision[1], w.centre[1] = PRIOR_K, 0.0
    for i in range(n):
        x[i, 0] = 1.0
        if base == 2:
            x[i, 1] = w.t[i]
    for j in range(base, p):
        c = w.columns[j - base]
        w.precision[j], w.centre[j] = columns.precision[c], 0.0
        for i in range(n):
            x[i, j] = feature(columns, grid, w.at[i], shift, c, moments)
    return level


@numba.njit(cache=True)
def _keep(
    p: int, base: int, n_bends: int, level: float, sigma: float, value: float, n_columns: int,
    n_bends_most: int, moments: FloatArray, w: Work, parameters: FloatArray, states: FloatArray,
) -> None:  # fmt: skip
    parameters[M] = w.theta[0] + level
    parameters[K] = w.theta[1] if base == 2 else 0.0
    parameters[SIGMA] = sigma
    parameters[N_BENDS] = n_bends
    parameters[LOG_POSTERIOR] = -value
    for j in range(n_bends):
        states[j] = w.bends[j]
        states[n_bends_most + j] = w.theta[p + j]
    place = 2 * n_bends_most
    for j in range(base, p):
        states[place + w.columns[j - base]] = w.theta[j]
    place += n_columns
    for k in range(len(moments)):
        states[place + 2 * k], states[place + 2 * k + 1] = moments[k, 0], moments[k, 1]
