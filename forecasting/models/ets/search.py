"""Fitting every admissible form of a series and choosing by an information criterion.

Forms are visited from simple to rich, and each starts from the optima of simpler ones: the error's form, the trend
and the damping change the optimum little, so most descents begin near their end. A few fixed starting points join
them where local optima are known to matter.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ets.derivatives import BOX, START, Series, Work, workspace
from forecasting.models.ets.descent import counts, descend
from forecasting.models.ets.likelihood import run

N_FORMS = 18
RACE_PASSES = 4  # passes each starting point gets before the best of them goes on alone
MAX_PASSES = 50  # per form
TOLERANCE = 1e-3  # of L*, in a step's promise
SMALLEST_VARIANCE = 1e-24  # of errors, on data scaled to about 1
ROUGH_STARTS = ((0.1, 0.1, 0.05, 0.95), (0.5, 0.1, 0.3, 0.95), (0.02, 0.02, 0.02, 0.95))  # alpha, g, b, phi

# What became of a row: bits, read in this order.
NO_OBSERVATION, ONE_OBSERVATION, CONSTANT, SHORT, SHORT_SEASON, NOT_POSITIVE, CHANGED, LIMIT = (
    1,
    2,
    4,
    8,
    16,
    32,
    64,
    128,
)

# Columns of the parameters.
FORM, ALPHA, BETA, GAMMA, PHI, SIGMA, LOGLIK, CRITERION, SEASON_LENGTH, GAP, N_OBS, LEVEL_0, SLOPE_0 = range(13)
N_PARAMETERS = 13


@numba.njit(cache=True)
def _criterion(minus_two: float, k: int, n: int, which: int) -> float:
    """AICc (0), AIC (1) or BIC (2) of k parameters, sigma included (section 5.2)."""
    if which == 2:
        return minus_two + k * math.log(n)
    value = minus_two + 2.0 * k
    if which == 0:
        if n - k - 1 <= 0:
            return np.inf
        value += 2.0 * k * (k + 1) / (n - k - 1)
    return value


@numba.njit(cache=True)
def _carry_over(
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
def _source(form: int, which: int) -> int:
    """Forms whose optimum a form starts from, better ones first; negative where there is none.

    They come before the form in the order of visits: the same with additive errors, the next simpler trend, and for a
    multiplicative season the additive one.
    """
    error, trend, season = form // 9, (form % 9) // 3, form % 3
    simpler_trend = form - 3 if trend > 0 else -1
    if season == 2:
        other = form - 1 if error == 1 else form + 9
    else:
        other = form - 9 if error == 1 else (form - 6 if trend == 2 else -1)
    return other if which == 0 else simpler_trend


class Fits(NamedTuple):
    """Optima of one series, by form; the last two rows are rough starts of forms ANN and ANA.

    p: [N_FORMS + 2, W]. level: [N_FORMS + 2], the fixed initial level of seasonal forms. score: [N_FORMS], L*, infinite
    where a form was not fitted.
    """

    p: FloatArray
    level: FloatArray
    score: FloatArray


@numba.njit(cache=True)
def _fit_form(
    form: int, series: Series, fits: Fits, box: FloatArray, max_passes: int, work: Work
) -> int:
    """Optimise one form; its parameters go to fits. Returns the passes spent.

    Each starting point gets a few passes, and the best of them goes on: first the optima of related forms, then rough
    starts, three where no related form was fitted and one otherwise.
    """
    trend, season = (form % 9) // 3, form % 3
    low, high, theta = work.lanes[BOX][:4], work.lanes[BOX][4:8], work.lanes[BOX][8:12]
    n_smooth = 0
    for i in range(4):
        if i == 0 or (i == 1 and season > 0) or (i == 2 and trend > 0) or (i == 3 and trend == 2):
            low[n_smooth], high[n_smooth] = box[0, i], box[1, i]
            n_smooth += 1
    start, best = work.lanes[START], fits.p[form]
    score, spent, related = np.inf, 0, 0
    for which in range(6):
        passes_left = min(RACE_PASSES, max_passes - spent)
        if which < 2:
            source = _source(form, which)
            if source < 0 or not fits.score[source] < np.inf:
                continue
            related += 1
            theta[:] = -1.0
        elif which < 5:
            if related > 0 and which > 2:
                continue
            for i in range(4):
                theta[i] = ROUGH_STARTS[which - 2][i]
            source = N_FORMS + min(season, 1)
        else:
            if not score < np.inf:
                break
            theta[:] = -1.0
            source = form
            passes_left = min(MAX_PASSES, max_passes - spent)
        source_form = source if source < N_FORMS else source - N_FORMS
        level = _carry_over(fits.p[source], source_form, fits.level[source], form, series.m, start, theta)
        for i in range(n_smooth):
            start[i] = min(max(start[i], low[i]), high[i])
        found, passes = descend(series, form, start, level, low, high, passes_left, TOLERANCE, work)
        spent += passes
        if found < score:
            score, fits.level[form] = found, level
            best[:] = start
    fits.score[form] = score
    return spent


@numba.njit(cache=True)
def _order(i: int) -> int:
    """The i-th form to visit: no season, additive, then multiplicative; simple trends first."""
    season, rest = i // 6, i % 6
    error, trend = rest // 3, rest % 3
    if season == 2:
        error = 1 - error  # a multiplicative season goes with multiplicative errors first
    return error * 9 + trend * 3 + season


@numba.njit(cache=True)
def _allowed(asked: FloatArray, positive: bool, seasonal: bool, mask: FloatArray) -> int:
    """Forms to try for one series in `mask` [18]: those asked for that its data admit, else the nearest to them.

    Returns the bits that say what had to give way.
    """
    flags, left = 0, 0
    for form in range(N_FORMS):
        error, season = form // 9, form % 3
        fits = (positive or (error == 0 and season < 2)) and (seasonal or season == 0)
        mask[form] = 1.0 if asked[form] > 0.0 and fits else 0.0
        left += 1 if mask[form] > 0.0 else 0
    if left > 0:
        return flags
    for form in range(N_FORMS):
        if asked[form] > 0.0:
            error, trend, season = form // 9, (form % 9) // 3, form % 3
            if not seasonal and season > 0:
                season = 0
                flags |= CHANGED
            if not positive and (error == 1 or season == 2):
                error, season = 0, min(season, 1)
                flags |= CHANGED | NOT_POSITIVE
            mask[error * 9 + trend * 3 + season] = 1.0
    return flags


@numba.njit(cache=True)
def _rough_starts(series: Series, seasonal: bool, fits: Fits) -> None:
    """Fill the starting points of a series that has no optimum yet."""
    total, seen = 0.0, 0
    for t in range(series.n):
        if not math.isnan(series.y[t]):
            total += series.y[t]
            seen += 1
        if seen == 10:
            break
    fits.p[N_FORMS, 0], fits.p[N_FORMS, 1] = 0.1, total / seen
    if seasonal:
        rough = fits.p[N_FORMS + 1]
        rough[0], rough[1] = 0.1, 0.1
        fits.level[N_FORMS + 1] = _first_states(series, rough)


@numba.njit(cache=True)
def _select(
    series: Series, mask: FloatArray, box: FloatArray, which: int, max_evaluations: int, fits: Fits, work: Work
) -> tuple[int, float, int]:
    """Fit the forms of `mask`; the best by the criterion (-1: none can be judged), its value, passes spent."""
    best, best_value, spent = -1, np.inf, 0
    fits.score[:] = np.inf
    for i in range(N_FORMS):
        form = _order(i)
        k = counts(form, series.m)[1] + 1
        if mask[form] == 0.0 or series.n_obs <= k + 1 or spent >= max_evaluations:
            continue
        spent += _fit_form(form, series, fits, box, max_evaluations - spent, work)
        value = _criterion(fits.score[form], k, series.n_obs, which)
        if value < best_value:
            best, best_value = form, value
    return best, best_value, spent


@numba.njit(cache=True)
def _store(series: Series, form: int, fits: Fits, scale: float, out: FloatArray, state: FloatArray) -> None:
    """The chosen form as numbers: natural parameters, and the initial states in `state`, in data units."""
    error, trend, season = form // 9, (form % 9) // 3, form % 3
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
            level, slope = level * mean, slope * mean
    state[0], state[1] = level * scale, slope * scale
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
def _store_short(series: Series, scale: float, out: FloatArray, state: FloatArray) -> None:
    """Too few points to judge any form: level smoothing with alpha fixed at 0.5 and the level fitted by least squares.

    e_t = c_t - w_t l_0 with w_t = (1 - alpha)^(t - 1) and c_t the error from a level of zero.
    """
    alpha = 0.5
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
def _finish(
    values: FloatArray, first: int, series: Series, width: int, scale: float, out: FloatArray, state: FloatArray
) -> None:
    """Move the states through the history; error deviation and log-likelihood.

    sigma^2 is the sum of squared errors over observations less estimated parameters, as in R.
    """
    form = int(out[FORM])
    error, season = form // 9, form % 3
    beta = 0.0 if math.isnan(out[BETA]) else out[BETA]
    gamma = 0.0 if math.isnan(out[GAMMA]) else out[GAMMA]
    phi = 1.0 if math.isnan(out[PHI]) else out[PHI]
    _, total, logs = run(
        values, first, first + series.n, 0, error, season, int(out[SEASON_LENGTH]), out[ALPHA], beta, gamma, phi, state
    )
    n_obs = series.n_obs
    unit = 1.0 if error == 1 else scale
    total = max(total, n_obs * SMALLEST_VARIANCE * unit * unit)
    out[SIGMA] = math.sqrt(total / max(n_obs - width, 1))
    out[LOGLIK] = -0.5 * n_obs * (math.log(2.0 * math.pi * total / n_obs) + 1.0) - logs


@numba.njit(cache=True)
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    m: int,
    asked: FloatArray,
    box: FloatArray,
    which: int,
    max_evaluations: int,
    parameters: FloatArray,
    states: FloatArray,
    flags: Int64Array,
    evaluations: Int64Array,
) -> None:
    """Fit every row values[begin:end].

    asked [18]: forms to choose from. box [2, 4]: bounds of alpha, g, b, phi. which: the criterion. Fills parameters
    [R, N_PARAMETERS], states [R, 2 + m] in data units as of the last observation, flags [R] (bits), evaluations [R].
    """
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    work = workspace(longest, m)
    w = work.lanes.shape[1]
    fits = Fits(np.zeros((N_FORMS + 2, w)), np.zeros(N_FORMS + 2), np.zeros(N_FORMS))
    y, mask = np.empty(longest), np.zeros(N_FORMS)
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
        scale = 2.0 ** math.ceil(math.log2(largest))
        n = last - first + 1
        for t in range(n):
            y[t] = values[first + t] / scale
        series = Series(y, n, n_obs, m)
        seasonal = m > 1 and n_obs >= 2 * m
        _rough_starts(series, seasonal, fits)
        form, value, spent = -1, np.inf, 0
        for attempt in range(2):
            if attempt == 1:
                if form >= 0 or not seasonal:
                    break
                seasonal = False  # the season leaves too few points to judge it
            flags[r] = _allowed(asked, positive, seasonal, mask)
            if m > 1 and not seasonal:
                flags[r] |= SHORT_SEASON
            form, value, passes = _select(series, mask, box, which, max_evaluations - spent, fits, work)
            spent += passes
        evaluations[r] = spent
        if spent >= max_evaluations:
            flags[r] |= LIMIT
        width = 1
        if form < 0:
            flags[r] |= SHORT
            _store_short(series, scale, out, state)
        else:
            _store(series, form, fits, scale, out, state)
            width = counts(form, m)[1]
            out[CRITERION] = value + 2.0 * n_obs * math.log(scale)
        _finish(values, first, series, width, scale, out, state)


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
        beta = 0.0 if math.isnan(out[BETA]) else out[BETA]
        gamma = 0.0 if math.isnan(out[GAMMA]) else out[GAMMA]
        phi = 1.0 if math.isnan(out[PHI]) else out[PHI]
        season = form % 3
        length = int(out[SEASON_LENGTH])
        count, _, _ = run(values, begin[r], last + 1, gap, 0, season, length, out[ALPHA], beta, gamma, phi, state)
        out[N_OBS] += count
