"""Fitting every admissible form of a series and choosing by an information criterion.

Forms are visited from simple to rich, and each starts from the optima of simpler ones: the error's form, the trend
and the damping change the optimum little, so most descents begin near their end. A few fixed starting points join
them where local optima are known to matter.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.ets.descent import counts, descend
from forecasting.models.ets.region import RATIOS, Limits
from forecasting.models.ets.starts import (
    EARLIER,
    LITTLE_DAMPING,
    N_CODES,
    N_FORMS,
    ROUGH_STARTS,
    Fits,
    carry_over,
    mean_growth,
    source_of,
)
from forecasting.models.ets.workspace import BOX, START, Series, Work

RACE_PASSES = 4  # passes each starting point gets before the best of them goes on alone
MAX_PASSES = 50  # per form
TOLERANCE = 1e-3  # of L*, in a step's promise
CHANGED, NOT_POSITIVE = 64, 32  # bits that `allowed` sets
INADMISSIBLE = 256  # bit that `select` sets


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
def _fit_form(form: int, series: Series, fits: Fits, limits: Limits, max_passes: int, work: Work) -> int:
    """Optimise one form; its parameters go to fits. Returns the passes spent.

    Each starting point gets a few passes, and the best of them goes on: first an earlier fit of this form, then the
    optima of related forms, then rough starts, three where no related form was fitted and one otherwise.

    With a multiplicative trend rough starts, but for one, have the mean growth and little damping; without a season
    and related forms there is no race, whose winner is often a trend that never moves. A damped one is descended once
    more from its optimum with the mean growth and the least damping: it may have come to rest where its growth dies
    out within a few periods.
    """
    trend, season = (form % 9) // 3, form % 3
    low, high, theta = work.lanes[BOX][:4], work.lanes[BOX][4:8], work.lanes[BOX][8:12]
    n_smooth, box = 0, limits.box
    for i in range(4):
        if i == 0 or (i == 1 and season > 0) or (i == 2 and trend > 0) or (i == 3 and trend == 2):
            low[n_smooth], high[n_smooth] = box[0, i], box[1, i]
            n_smooth += 1
    start, best = work.lanes[START], fits.p[form]
    growing = form >= N_FORMS and fits.earlier[0] != form
    growth = mean_growth(series) if growing else 1.0
    score, spent, related = np.inf, 0, 0
    for which in range(-1, 7 if growing and trend == 2 else 6):
        passes_left = min(RACE_PASSES, max_passes - spent)
        if which < 0:
            if fits.earlier[0] != form:
                continue
            source = EARLIER
            theta[:] = -1.0
        elif which < 2:
            source = source_of(form, which)
            if source < 0 or not fits.score[source] < np.inf:
                continue
            related += 1
            theta[:] = -1.0
        elif which < 5:
            if related > 0 and which > 2:
                continue
            for i in range(4):
                theta[i] = ROUGH_STARTS[which - 2][i]
            if growing and which != 3:
                theta[3] = LITTLE_DAMPING
            if growing and season == 0 and related == 0:
                passes_left = min(MAX_PASSES, max_passes - spent)
            source = N_CODES + min(season, 1)
        else:
            if not score < np.inf:
                break
            theta[:] = -1.0
            source = form
            passes_left = min(MAX_PASSES, max_passes - spent)
        source_form = source if source < N_CODES else (form if source == EARLIER else source - N_CODES)
        level = carry_over(fits.p[source], source_form, fits.level[source], form, series.m, start, theta)
        if growing and which in (2, 4, 6):
            start[n_smooth] = growth
        if which == 6:
            start[n_smooth - 1] = high[n_smooth - 1]
        if limits.region == RATIOS:
            for i in range(n_smooth):
                start[i] = min(max(start[i], low[i]), high[i])
        found, passes = descend(series, form, start, level, low, high, limits, passes_left, TOLERANCE, work)
        spent += passes
        if found < score:
            score, fits.level[form] = found, level
            best[:] = start
    fits.score[form] = score
    return spent


@numba.njit(cache=True)
def _order(i: int) -> int:
    """The i-th form to visit: no season, additive, then multiplicative; simple trends first; then growing ones so."""
    first = N_FORMS if i >= N_FORMS else 0
    season, rest = (i - first) // 6, (i - first) % 6
    error, trend = rest // 3, rest % 3
    if season == 2:
        error = 1 - error  # a multiplicative season goes with multiplicative errors first
    return first + error * 9 + trend * 3 + season


@numba.njit(cache=True)
def allowed(asked: FloatArray, positive: bool, seasonal: bool, mask: FloatArray) -> int:
    """Forms to try for one series in `mask` [36]: those asked for that its data admit, else the nearest to them.

    Returns the bits that say what had to give way.
    """
    flags, left = 0, 0
    for form in range(N_CODES):
        error, season = form // 9 % 2, form % 3
        fits = (positive or (error == 0 and season < 2 and form < N_FORMS)) and (seasonal or season == 0)
        mask[form] = 1.0 if asked[form] > 0.0 and fits else 0.0
        left += 1 if mask[form] > 0.0 else 0
    if left > 0:
        return flags
    for form in range(N_CODES):
        if asked[form] > 0.0:
            error, trend, season, growing = form // 9 % 2, (form % 9) // 3, form % 3, form >= N_FORMS
            if not seasonal and season > 0:
                season = 0
                flags |= CHANGED
            if not positive and (error == 1 or season == 2 or growing):
                error, season, growing = 0, min(season, 1), False
                flags |= CHANGED | NOT_POSITIVE
            mask[(N_FORMS if growing else 0) + error * 9 + trend * 3 + season] = 1.0
    return flags


@numba.njit(cache=True)
def estimated(form: int, m: int, box: FloatArray) -> int:
    """Parameters that are estimated, sigma among them and those fixed by the box not."""
    trend, season = (form % 9) // 3, form % 3
    k = counts(form, m)[1] + 1
    for i in range(4):
        used = i == 0 or (i == 1 and season > 0) or (i == 2 and trend > 0) or (i == 3 and trend == 2)
        if used and box[0, i] == box[1, i]:
            k -= 1
    return k


@numba.njit(cache=True)
def select(
    series: Series, mask: FloatArray, limits: Limits, which: int, max_evaluations: int, fits: Fits, work: Work
) -> tuple[int, float, int, int]:
    """Fit the forms of `mask`; the best by the criterion (-1: none can be judged), its value, passes spent, bits."""
    best, best_value, spent, judged = -1, np.inf, 0, 0
    fits.score[:] = np.inf
    for i in range(N_CODES):
        form = _order(i)
        if mask[form] == 0.0:
            continue
        k = estimated(form, series.m, limits.box)
        if series.n_obs <= k + 1 or spent >= max_evaluations:
            continue
        spent += _fit_form(form, series, fits, limits, max_evaluations - spent, work)
        judged += 1
        value = _criterion(fits.score[form], k, series.n_obs, which)
        if value < best_value:
            best, best_value = form, value
    return best, best_value, spent, INADMISSIBLE if best < 0 and judged > 0 else 0
