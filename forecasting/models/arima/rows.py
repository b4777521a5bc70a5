"""Fitting rows: one kernel over many, each on its own."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.differences import choose_differences, fill_gaps
from forecasting.models.arima.fourier import choose_regressors
from forecasting.models.arima.layout import (
    AR,
    BOX_COX,
    COEFFICIENTS,
    CONSTANT,
    CONSTANT_SERIES,
    CRITERION,
    FEWER_COLUMNS,
    GAP,
    LIMIT,
    LOG_LIKELIHOOD,
    MA,
    MANY_MISSING,
    MEAN_ERROR,
    MOST_MISSING,
    N_OBS,
    NO_OBSERVATION,
    NOT_POSITIVE,
    OFFSET,
    ONE_OBSERVATION,
    SCALE,
    SEASON_LENGTH,
    SEASONAL_AR,
    SEASONAL_D,
    SEASONAL_MA,
    SHORT_SEASON,
    SIGMA,
    UNIT,
    Columns,
    D,
    Plan,
)
from forecasting.models.arima.likelihood import Data, Work, evaluate, workspace
from forecasting.models.arima.polynomials import (
    MAX_FREE,
    MAX_LAGS,
    MAX_SEASONAL,
    differencing,
    factors,
    partials,
)
from forecasting.models.arima.prepare import mark_missing, standardise, without_regressors
from forecasting.models.arima.room import Room, differenced_columns
from forecasting.models.arima.search import (
    FINE,
    NEAREST_ROOT,
    Space,
    Tried,
    best_of,
    score_of,
    search,
    tried_none,
    with_constant,
)
from forecasting.models.box_cox import guerrero, transformed

ORDER_PLACES = (AR, MA, SEASONAL_AR, SEASONAL_MA)
FACTOR_PLACES = (0, MAX_LAGS, 2 * MAX_LAGS, 2 * MAX_LAGS + MAX_SEASONAL)


@numba.njit(cache=True, error_model="numpy")
def _trim(values: FloatArray, begin: int, end: int) -> tuple[int, int, int]:
    """First and one past the last observation, and how many there are."""
    first, last, count = end, begin, 0
    for t in range(begin, end):
        if not math.isnan(values[t]):
            first = min(first, t)
            last = t + 1
            count += 1
    return first, last, count


@numba.njit(cache=True, error_model="numpy")
def _load(values: FloatArray, first: int, last: int, plan: Plan, p: FloatArray, room: Room) -> int:
    """Scaled and transformed values into room.y, how into p; returns flags."""
    n, flags = last - first, 0
    low, total, count = np.inf, 0.0, 0
    for t in range(n):
        y = values[first + t]
        room.y[t] = y
        if not math.isnan(y):
            low = min(low, y)
            total += abs(y)
            count += 1
    p[UNIT], p[BOX_COX] = 1.0, np.nan
    if plan.box_cox > 0:
        if low > 0.0:
            p[UNIT] = total / count
            for t in range(n):
                room.y[t] /= p[UNIT]
            p[BOX_COX] = plan.power if plan.box_cox == 1 else guerrero(room.y, n, plan.m)
            for t in range(n):
                if not math.isnan(room.y[t]):
                    room.y[t] = transformed(room.y[t], p[BOX_COX])
        else:
            flags |= NOT_POSITIVE
    p[OFFSET], p[SCALE] = standardise(room.y, n, plan.constant > 0)
    return flags


@numba.njit(cache=True, error_model="numpy")
def _store(
    data: Data,
    orders: Int64Array,
    x: FloatArray,
    n: int,
    p: FloatArray,
    state: FloatArray,
    room: Room,
    work: Work,
) -> int:
    """Numbers of the best model, whose last evaluation is in `work`; returns the size of the state."""
    factors(orders, data.m, data.nearest, x, work.coefficients)
    at = 0
    for f in range(4):
        p[ORDER_PLACES[f]] = orders[f]
        for j in range(orders[f]):
            p[COEFFICIENTS + FACTOR_PLACES[f] + j] = work.coefficients[at + j]
        at += orders[f]
    d, sd = int(p[D]), int(p[SEASONAL_D])
    beta, missing = work.beta, data.n_missing
    constant = beta[data.n_columns - 1] if p[CONSTANT] == 1.0 else 0.0
    r = max(orders[0] + data.m * orders[2], orders[1] + data.m * orders[3] + 1)
    for i in range(r):
        s = work.state[0, i]
        for c in range(1, data.n_columns):
            s -= beta[c] * work.state[c, i]
        state[i] = s
    k_all = room.factors.shape[1]
    size = differencing(d, sd, data.m, room.differencing)
    at = 1 + missing
    raw = state[r + size : r + size + k_all]
    for k in range(k_all):
        raw[k] = 0.0
        if room.factors[0, k] != 0.0:
            raw[k] = beta[at] / room.factors[0, k]
            if size == 0:
                constant -= raw[k] * room.factors[1, k]
            at += 1
    for k in range(missing):
        room.filled[room.places[k]] -= beta[1 + k]
    for j in range(size):
        t = n - 1 - j
        s, at = room.filled[t], 0
        for k in range(k_all):
            if room.factors[0, k] != 0.0:
                s -= raw[k] * (room.regressors[at, t] * room.factors[0, k] + room.factors[1, k])
                at += 1
        state[r + j] = s
    p[CONSTANT] = constant
    return int(r + size + k_all)


@numba.njit(cache=True, error_model="numpy")
def _flat(level: float, p: FloatArray, state: FloatArray, n_columns: int) -> int:
    """A constant, or a single observation: a mean without spread."""
    p[AR], p[D], p[MA], p[SEASONAL_AR], p[SEASONAL_D], p[SEASONAL_MA] = 0, 0, 0, 0, 0, 0
    p[UNIT], p[OFFSET], p[SCALE], p[CONSTANT], p[SIGMA] = 1.0, level, 1.0, 0.0, 0.0
    p[MEAN_ERROR] = 0.0
    p[BOX_COX] = np.nan
    state[: 1 + n_columns] = 0.0
    return 1 + n_columns


@numba.njit(cache=True, error_model="numpy")
def _earlier(
    p: FloatArray, orders: Int64Array, m: int, nearest: float, x: FloatArray, c: FloatArray, line: FloatArray
) -> None:
    """Orders and partial autocorrelations of stored numbers."""
    at = 0
    for f in range(4):
        orders[f] = int(p[ORDER_PLACES[f]])
        for j in range(orders[f]):
            c[at + j] = p[COEFFICIENTS + FACTOR_PLACES[f] + j]
        at += orders[f]
    partials(orders[:4], m, nearest, c, x, line)
    orders[4] = 1 if p[CONSTANT] != 0.0 else 0


@numba.njit(cache=True, error_model="numpy")
def _fit_row(
    values: FloatArray,
    begin: int,
    end: int,
    series: int,
    columns: Columns,
    plan: Plan,
    most: Int64Array,
    before: FloatArray,
    terms: int,
    max_passes: int,
    p: FloatArray,
    state: FloatArray,
    room: Room,
    tried: Tried,
    work: Work,
) -> tuple[int, int, int]:
    """One row: flags, passes, size of the state. before: stored parameters of an earlier fit, or empty.
    terms: see `choose_regressors`."""
    n_all = room.factors.shape[1]
    first, last, n_obs = _trim(values, begin, end)
    p[N_OBS], p[GAP], p[SEASON_LENGTH] = n_obs, end - last, plan.m
    if n_obs == 0:
        p[GAP] = end - begin
        return NO_OBSERVATION, 0, 0
    if n_obs == 1:
        return ONE_OBSERVATION, 1, _flat(values[first], p, state, n_all)
    n = last - first
    flags = _load(values, first, last, plan, p, room)
    if p[SCALE] == 0.0:
        return CONSTANT_SERIES, 1, _flat(values[last - 1], p, state, n_all)
    fill_gaps(room.y, n, plan.m, room.phases, room.filled)
    count = mark_missing(room.y, n, MOST_MISSING, room.places)
    if count > MOST_MISSING:
        flags |= MANY_MISSING
    n_missing = min(count, MOST_MISSING)
    n_regressors, short_of, passes = choose_regressors(
        columns, series, first, n, n_obs, n_missing, terms, plan, most, max_passes, room, work
    )
    if short_of:
        flags |= FEWER_COLUMNS
    kept = len(before) > 0 and not math.isnan(before[CRITERION])
    without_regressors(room.filled, room.regressors, n_regressors, n, room.normal, room.scratch[3])
    d, sd = choose_differences(
        room.scratch[3],
        n,
        plan.m,
        int(before[D]) if kept else plan.d,
        int(before[SEASONAL_D]) if kept else plan.sd,
        plan.max_d,
        plan.max_sd,
        room.scratch,
    )
    if plan.m > 1 and n < 2 * plan.m:
        flags |= SHORT_SEASON
    while n_obs - d - plan.m * sd < 2 and d + sd > 0:
        if sd > 0:
            sd -= 1
        else:
            d -= 1
    p[D], p[SEASONAL_D] = d, sd
    data = differenced_columns(n, d, sd, plan.m, n_missing, n_regressors, 1.0 if plan.fixed else NEAREST_ROOT, room)
    constant = plan.constant
    if d + sd > 1:
        constant = 0
    elif d + sd == 0 and constant == 2:
        constant = 1
    space = Space(most, plan.total, constant, plan.full, plan.criterion, sd > 0)
    orders, limit = np.zeros(5, dtype=np.int64), False
    x = np.zeros(MAX_FREE)
    if kept:
        _earlier(before, orders, data.m, data.nearest, x, work.coefficients, work.step[7])
    elif plan.fixed:
        orders[:4] = most
        orders[4] = 1 if constant > 0 else 0
        x[:] = 0.1
    else:
        found, more, limit = search(data, data.n_columns - 1, space, tried, max_passes - passes, work)
        passes += more
        best = best_of(tried, found)
        if best >= 0:
            orders[:] = tried.orders[best]
            x[:] = tried.x[best]
        else:
            orders[4] = 1 if constant == 1 else 0
    while orders[0] + orders[1] + orders[2] + orders[3] > max(data.n - n_missing - n_regressors - 2, 0):
        orders[:4] = orders[:4] // 2  # a given or an earlier order that the history is too short for
    seen = with_constant(data, orders[4], data.n_columns - 1)
    score, minus_two, total, used, spent = score_of(
        seen, orders, x, space, FINE, np.inf, max(max_passes - passes, 1), work
    )
    evaluate(seen, orders[:4], x, work, work.residuals[1])  # leaves states and coefficients of the best point
    p[CONSTANT] = orders[4]
    last = seen.n_columns - 2  # of the regression's columns: the constant, whose variance the last pivot gives
    pivot = work.normal[last, last] if orders[4] == 1 else 0.0
    p[MEAN_ERROR] = 1.0 / pivot if pivot > 0.0 else 0.0
    n_free = orders[0] + orders[1] + orders[2] + orders[3] + seen.n_columns - 1 - n_missing
    # Back in the unit before scaling: the density of scaled values is that of the values times scale^n.
    change = 2.0 * used * math.log(p[SCALE])
    p[LOG_LIKELIHOOD], p[CRITERION] = -0.5 * (minus_two + change), score + change
    p[SIGMA] = math.sqrt(total / max(used - n_free, 1))
    size = _store(seen, orders[:4], x, n, p, state, room, work)
    return flags | (LIMIT if limit else 0), passes + spent + 1, size


@numba.njit(cache=True, error_model="numpy")
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    series: Int64Array,
    columns: Columns,
    plan: Plan,
    most: Int64Array,
    earlier: FloatArray,
    terms: Int64Array,
    max_passes: int,
    parameters: FloatArray,
    states: FloatArray,
    sizes: Int64Array,
    flags: Int64Array,
    passes: Int64Array,
) -> None:
    """Fill parameters [R, N_PARAMETERS], states [R, W], their sizes, flags and passes [R].

    most [4]: largest orders p, q, P, Q. earlier: parameters of an earlier fit [R, N_PARAMETERS], or [0, ...].
    terms [R]: see `choose_regressors`.
    """
    longest, k = 1, columns.own.shape[1]
    for s in range(len(columns.orders)):
        k += 2 * columns.orders[s]
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    m, c = plan.m, 2 + min(MOST_MISSING, longest) + k
    work = workspace(longest, c, max(most[0] + m * most[2], most[1] + m * most[3] + 1, 4))
    room = Room(
        np.zeros(longest),
        np.zeros(longest),
        np.zeros((k, longest)),
        np.zeros((k + 1, k + 1)),
        np.zeros((2, k)),
        np.zeros((4, longest)),
        np.zeros((2, m)),
        np.zeros(MOST_MISSING, dtype=np.int64),
        np.zeros((c, longest)),
        np.zeros(c, dtype=np.int64),
        np.zeros(max(plan.max_d, plan.d) + m * max(plan.max_sd, plan.sd) + 1),
    )
    tried = tried_none()
    for r in range(len(begin)):
        before = earlier[r] if len(earlier) > 0 else earlier[:, 0]
        flags[r], passes[r], sizes[r] = _fit_row(
            values,
            begin[r],
            end[r],
            series[r],
            columns,
            plan,
            most,
            before,
            terms[r],
            max_passes,
            parameters[r],
            states[r],
            room,
            tried,
            work,
        )
