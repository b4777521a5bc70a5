"""Many series in one call: fits, what became of each row, and states moved over newer points."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ets.descent import counts
from forecasting.models.ets.growth import run_growing
from forecasting.models.ets.likelihood import run
from forecasting.models.ets.region import Limits
from forecasting.models.ets.search import INADMISSIBLE, allowed, estimated, select
from forecasting.models.ets.starts import N_CODES, N_FORMS, Fits, earlier_start, rough_starts
from forecasting.models.ets.workspace import Series, workspace
from forecasting.models.scale import power_of_two

# What became of a row, in bits; `search` adds its own.
NO_OBSERVATION, ONE_OBSERVATION, CONSTANT, SHORT, SHORT_SEASON, LIMIT = 1, 2, 4, 8, 16, 128

# Columns of the parameters.
FORM, ALPHA, BETA, GAMMA, PHI, SIGMA, LOGLIK, CRITERION, SEASON_LENGTH, GAP, N_OBS, LEVEL_0, SLOPE_0 = range(13)
UNIT, BOX_COX = 13, 14  # of a transform, which the family puts there: kernels see transformed values
N_PARAMETERS = 15
SMALLEST_VARIANCE = 1e-24  # of errors, on data scaled to about 1


@numba.njit(cache=True)
def _store(series: Series, form: int, fits: Fits, scale: float, out: FloatArray, state: FloatArray) -> None:
    """The chosen form as numbers: natural parameters, and the initial states in `state`, in data units."""
    trend, season = (form % 9) // 3, form % 3
    n_smooth, width = counts(form, series.m)
    p = fits.p[form]
    alpha, beta, gamma, phi, i = p[0], 0.0, 0.0, 1.0, 1
    if season > 0:
        gamma = (1.0 - alpha) * p[i]
        i += 1
    if trend > 0:
        beta = alpha * p[i]
        i += 1
    if trend == 2:
        phi = p[i]
    i = n_smooth
    slope = 0.0
    if trend > 0:
        slope = p[i]
        i += 1
    level = p[i]
    if season > 0:  # seasonal terms that sum to zero (to m): the level takes the rest
        level, mean = fits.level[form], 0.0
        for j in range(series.m):
            mean += p[width - 1 - j] / series.m
        for j in range(series.m):
            state[2 + j] = p[width - 1 - j] - mean if season == 1 else p[width - 1 - j] / mean
        if season == 1:
            level += mean
        else:
            level *= mean
            slope = slope if form >= N_FORMS else slope * mean
    state[0], state[1] = level * scale, slope if form >= N_FORMS else slope * scale
    if season == 1:
        for j in range(series.m):
            state[2 + j] *= scale
    out[FORM], out[ALPHA], out[SEASON_LENGTH] = form, alpha, series.m if season > 0 else 1
    out[LEVEL_0] = state[0]
    if trend > 0:
        out[BETA], out[SLOPE_0] = beta, state[1]
    if season > 0:
        out[GAMMA] = gamma
    if trend == 2:
        out[PHI] = phi


@numba.njit(cache=True)
def _store_short(series: Series, alpha: float, scale: float, out: FloatArray, state: FloatArray) -> None:
    """Too few points to judge any form: level smoothing with a fixed alpha and the level fitted by least squares.

    e_t = c_t - w_t l_0 with w_t = (1 - alpha)^(t - 1) and c_t the error from a level of zero.
    """
    level, weight, num, den = 0.0, 1.0, 0.0, 0.0
    for t in range(series.n):
        if not math.isnan(series.y[t]):
            c = series.y[t] - level
            num += c * weight
            den += weight * weight
            level += alpha * c
            weight *= 1.0 - alpha
    state[0], state[1] = num / den * scale, 0.0
    out[FORM], out[ALPHA], out[LEVEL_0] = 0.0, alpha, state[0]


@numba.njit(cache=True)
def _run(
    values: FloatArray, begin: int, end: int, gap: int, form: int, error: int, out: FloatArray, state: FloatArray
) -> tuple[int, float, float]:
    """`likelihood.run` or `growth.run_growing` at stored parameters."""
    beta = 0.0 if math.isnan(out[BETA]) else out[BETA]
    gamma = 0.0 if math.isnan(out[GAMMA]) else out[GAMMA]
    phi = 1.0 if math.isnan(out[PHI]) else out[PHI]
    m = int(out[SEASON_LENGTH])
    if form >= N_FORMS:
        return run_growing(values, begin, end, gap, error, form % 3, m, out[ALPHA], beta, gamma, phi, state)
    return run(values, begin, end, gap, error, form % 3, m, out[ALPHA], beta, gamma, phi, state)


@numba.njit(cache=True)
def _finish(
    values: FloatArray, first: int, series: Series, k: int, scale: float, out: FloatArray, state: FloatArray
) -> None:
    """Keep the initial season behind the coming one, move the states through the history; deviation, log-likelihood.

    sigma^2 is the sum of squared errors over observations less the k estimated parameters, sigma among them.
    """
    m = series.m
    state[2 + m : 2 + 2 * m] = state[2 : 2 + m]
    form = int(out[FORM])
    error = form // 9 % 2
    _, total, logs = _run(values, first, first + series.n, 0, form, error, out, state)
    n_obs = series.n_obs
    unit = 1.0 if error == 1 else scale
    total = max(total, n_obs * SMALLEST_VARIANCE * unit * unit)
    out[SIGMA] = math.sqrt(total / max(n_obs - k, 1))
    out[LOGLIK] = -0.5 * n_obs * (math.log(2.0 * math.pi * total / n_obs) + 1.0) - logs


@numba.njit(cache=True)
def _resume(
    out: FloatArray, state: FloatArray, scale: float, series: Series, asked: FloatArray, fits: Fits, wanted: FloatArray
) -> None:
    """Forms to fit in `wanted`: those asked for, or only the form of an earlier fit that estimated one."""
    fits.earlier[0] = -1
    wanted[:] = asked
    if len(out) == 0 or math.isnan(out[CRITERION]):
        return
    form = int(out[FORM])
    if form % 3 > 0 and int(out[SEASON_LENGTH]) != series.m:
        return
    wanted[:] = 0.0
    wanted[form] = 1.0
    numbers = np.empty(6)
    for i in range(6):
        numbers[i] = out[(ALPHA, BETA, GAMMA, PHI, LEVEL_0, SLOPE_0)[i]]
    earlier_start(form, numbers, state[2 + series.m :], scale, series.m, fits)


@numba.njit(cache=True)
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    m: int,
    asked: FloatArray,
    limits: Limits,
    which: int,
    max_evaluations: int,
    earlier: FloatArray,
    earlier_states: FloatArray,
    earlier_offsets: Int64Array,
    parameters: FloatArray,
    states: FloatArray,
    flags: Int64Array,
    evaluations: Int64Array,
) -> None:
    """Fit every row values[begin:end].

    asked [36]: forms to choose from. which: the criterion. earlier [R or 0, N_PARAMETERS], with its flat states: fits
    to start from, whose form is kept. Fills parameters [R, N_PARAMETERS], states [R, 2 + 2 m] in data units as of the
    last observation and, behind them, the initial season; flags [R] (bits), evaluations [R].
    """
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    work = workspace(longest, m)
    w = work.lanes.shape[1]
    fits = Fits(np.zeros((N_CODES + 3, w)), np.zeros(N_CODES + 3), np.zeros(N_CODES), np.zeros(1, dtype=np.int64))
    y, mask, wanted = np.empty(longest), np.zeros(N_CODES), np.zeros(N_CODES)
    box, nothing = limits.box, np.empty(0)
    for r in range(len(begin)):
        out, state = parameters[r], states[r]
        out[:] = np.nan
        state[:] = 0.0
        first, last, n_obs, largest, positive, constant = end[r], begin[r] - 1, 0, 0.0, True, True
        for t in range(begin[r], end[r]):
            v = values[t]
            if not math.isnan(v):
                if n_obs == 0:
                    first = t
                constant = constant and v == values[first]
                last = t
                n_obs += 1
                largest = max(largest, abs(v))
                positive = positive and v > 0.0
        out[SEASON_LENGTH], out[N_OBS], out[GAP] = 1.0, n_obs, end[r] - 1 - last
        if n_obs == 0:
            flags[r] = NO_OBSERVATION
            continue
        if constant:
            flags[r] = ONE_OBSERVATION if n_obs == 1 else CONSTANT
            out[FORM], out[ALPHA], out[SIGMA], out[LEVEL_0] = 0.0, 1.0, 0.0, values[first]
            state[0] = values[first]
            continue
        scale = power_of_two(largest)
        n = last - first + 1
        for t in range(n):
            y[t] = values[first + t] / scale
        series = Series(y, n, n_obs, m)
        seasonal = m > 1 and n_obs >= 2 * m
        rough_starts(series, seasonal, fits)
        if len(earlier) > 0:
            tail = earlier_states[earlier_offsets[r] : earlier_offsets[r + 1]]
            _resume(earlier[r], tail, scale, series, asked, fits, wanted)
        else:
            _resume(nothing, nothing, scale, series, asked, fits, wanted)
        form, value, spent = -1, np.inf, 0
        for attempt in range(2):
            if attempt == 1:
                if form >= 0 or not seasonal or flags[r] & INADMISSIBLE:
                    break
                seasonal = False  # the season leaves too few points to judge it
            flags[r] = allowed(wanted, positive, seasonal, mask)
            if m > 1 and not seasonal:
                flags[r] |= SHORT_SEASON
            form, value, passes, bits = select(series, mask, limits, which, max_evaluations - spent, fits, work)
            flags[r] |= bits
            spent += passes
        evaluations[r] = spent
        if spent >= max_evaluations:
            flags[r] |= LIMIT
        k = 2
        if form < 0:
            flags[r] |= SHORT
            _store_short(series, min(max(0.5, box[0, 0]), box[1, 0]), scale, out, state)
        else:
            _store(series, form, fits, scale, out, state)
            k = estimated(form, m, box)
            out[CRITERION] = value + 2.0 * n_obs * math.log(scale)
        _finish(values, first, series, k, scale, out, state)


@numba.njit(cache=True)
def advance_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
) -> None:
    """Move states over values[begin:end] in place; the gap since the last observation counts first."""
    for r in range(len(begin)):
        out, state = parameters[r], states[offsets[r] : offsets[r + 1]]
        if math.isnan(out[FORM]):
            continue
        form, gap = int(out[FORM]), int(out[GAP])
        last = begin[r] - 1
        for t in range(begin[r], end[r]):
            if not math.isnan(values[t]):
                last = t
        out[GAP] = end[r] - 1 - last
        if last < begin[r]:
            out[GAP] += gap
            continue
        count, _, _ = _run(values, begin[r], last + 1, gap, form, 0, out, state)
        out[N_OBS] += count
