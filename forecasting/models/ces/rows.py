"""Many series in one call: fits, states moved over newer points, and forecasts with their variances.

A form is a linear innovations state space model, so an error's effect c_j on the value j periods later follows from
the recursion by itself, and y_{T+h} is normal with variance sigma^2 (1 + c_1^2 + ... + c_{h-1}^2) (Hyndman, Koehler,
Ord and Snyder 2008, equations 6.9 to 6.11). `openness` adds that of the parameters.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ces.openness import openness
from forecasting.models.ces.recursion import (
    FULL,
    N_FORMS,
    NONE,
    PARTIAL,
    SIMPLE,
    evaluate,
    share_of_season,
    start_season,
    workspace,
)
from forecasting.models.ces.search import select, start_of
from forecasting.models.scale import power_of_two

# What became of a row, in bits.
NO_OBSERVATION, ONE_OBSERVATION, CONSTANT, SHORT, SHORT_SEASON, LIMIT = 1, 2, 4, 8, 16, 32

# Columns of the parameters.
FORM, ALPHA_0, ALPHA_1, BETA_0, BETA_1, SIGMA, LOGLIK, CRITERION, SEASON_LENGTH, GAP, N_OBS, LEVEL_VARIANCE = range(12)
N_PARAMETERS = 14  # the covariance of level and drift and the drift's variance follow
FEWEST = 6
"""Observations below which no form can be judged."""


@numba.njit(cache=True)
def fit_rows(
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    m: int,
    asked: FloatArray,
    box: FloatArray,
    starts: FloatArray,
    which: int,
    shrunk: bool,
    max_evaluations: int,
    parameters: FloatArray,
    states: FloatArray,
    flags: Int64Array,
    evaluations: Int64Array,
) -> None:
    """Fit every row values[begin:end].

    asked [R, 4]: forms to choose from. box [4, 2, 4]: each form's bounds of the smoothing parameters.
    starts [R, 4]: where the search begins, NaN for the usual place.
    shrunk: whether the season's start is shrunk, and counts among the parameters. Fills
    parameters [R, N_PARAMETERS], states [R, 2 + 2 m] (l, c, then s and d of the m coming phases) in data units as of
    the last observation, flags [R] (bits), evaluations [R].
    """
    longest = 1
    for r in range(len(begin)):
        longest = max(longest, end[r] - begin[r])
    work, y, spare = workspace(m), np.empty(longest), np.zeros((16, 6))
    forms, best, start_terms = np.zeros(N_FORMS), np.zeros(4), np.zeros(N_FORMS)
    for r in range(len(begin)):
        out, state = parameters[r], states[r]
        out[:], state[:] = np.nan, 0.0
        flags[r] = 0
        first, last, n_obs, largest, low, high = end[r], begin[r] - 1, 0, 0.0, np.inf, -np.inf
        for t in range(begin[r], end[r]):
            v = values[t]
            if not math.isnan(v):
                first, last = min(first, t), t
                n_obs += 1
                largest, low, high = max(largest, abs(v)), min(low, v), max(high, v)
        out[SEASON_LENGTH], out[N_OBS], out[GAP] = 1.0, n_obs, end[r] - 1 - last
        if n_obs == 0:
            flags[r] = NO_OBSERVATION
            continue
        if low == high:
            flags[r] = ONE_OBSERVATION if n_obs == 1 else CONSTANT
            out[FORM], out[ALPHA_0], out[ALPHA_1], out[SIGMA] = NONE, 1.3, 1.0, 0.0
            out[LEVEL_VARIANCE : LEVEL_VARIANCE + 3] = 0.0
            state[0] = low
            continue
        scale = power_of_two(largest)
        n = last - first + 1
        for t in range(n):
            y[t] = values[first + t] / scale
        seasonal = m > 1 and n_obs >= 2 * m
        for form in range(N_FORMS):
            forms[form] = asked[r, form]
            if not seasonal:
                forms[form] = 1.0 if form == NONE else 0.0
        if seasonal:
            start_season(y, n, m, work)
            if shrunk:
                work.kept[0] = share_of_season(y, n, m, work)
                start_terms[SIMPLE:] = m - 1.0
                start_terms[PARTIAL] *= work.kept[0]
        elif m > 1:
            flags[r] |= SHORT_SEASON
        form, value, spent = NONE, 0.0, 0
        if n_obs >= FEWEST:
            form, value, spent = select(
                y, n, n_obs, m, forms, box, starts[r], which, start_terms, max_evaluations, work, spare, best
            )
            out[CRITERION] = value + 2.0 * n_obs * math.log(scale)
        else:
            flags[r] |= SHORT
            start_of(NONE, best)
        if spent >= max_evaluations:
            flags[r] |= LIMIT
        evaluations[r] = spent
        total = evaluate(y, n, form, m, best, work)
        used = 3.0 if form < PARTIAL else form + 2.0  # components and the deviation
        used += start_terms[form] if shrunk or form == NONE else m - 1.0  # the season's start is fitted too
        out[FORM], out[ALPHA_0], out[ALPHA_1] = form, best[0], best[1]
        if form >= PARTIAL:
            out[BETA_0] = best[2]
        if form == FULL:
            out[BETA_1] = best[3]
        out[SEASON_LENGTH] = 1.0 if form == NONE else m
        out[SIGMA] = math.sqrt(total / max(n_obs - used - 1.0, 0.5 * n_obs)) * scale
        unsure = out[LEVEL_VARIANCE : LEVEL_VARIANCE + 3]
        openness(n, form, m, (out[SIGMA] / scale) ** 2, box[form], work, spare, unsure)
        unsure *= scale * scale
        out[LOGLIK] = -0.5 * n_obs * (math.log(2.0 * math.pi * max(total, 1e-300) / n_obs) + 1.0) - n_obs * math.log(
            scale
        )
        state[0], state[1] = work.level[0, 0] * scale, work.level[1, 0] * scale
        if form != NONE:
            for j in range(m):
                for i in range(2):
                    state[2 + 2 * j + i] = work.season[(n + j) % m, i, 0] * scale


@numba.njit(cache=True)
def _move(out: FloatArray, state: FloatArray, phase: int, v: float) -> float:
    """Move l, c and the season's phase over one value (NaN: missing); returns the mean expected before it."""
    form = int(out[FORM])
    at = 2 + 2 * phase
    i = at if form == SIMPLE else 0
    l, c = state[i], state[i + 1]
    s = state[at] if form >= PARTIAL else 0.0
    e = 0.0 if math.isnan(v) else v - l - s
    a0, a1 = out[ALPHA_0], out[ALPHA_1]
    state[i] = l - (1.0 - a1) * c + (a0 - a1) * e
    state[i + 1] = l + (1.0 - a0) * c + (a0 + a1) * e
    if form == PARTIAL:
        state[at] = s + out[BETA_0] * e
    elif form == FULL:
        d, b0, b1 = state[at + 1], out[BETA_0], out[BETA_1]
        state[at] = s - (1.0 - b1) * d + (b0 - b1) * e
        state[at + 1] = s + (1.0 - b0) * d + (b0 + b1) * e
    return float(l + s)


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
    longest = 1
    for r in range(len(begin)):
        if not math.isnan(parameters[r, SEASON_LENGTH]):
            longest = max(longest, int(parameters[r, SEASON_LENGTH]))
    copy = np.empty(2 * longest)
    for r in range(len(begin)):
        out, state = parameters[r], states[offsets[r] : offsets[r + 1]]
        if math.isnan(out[FORM]):
            continue
        m, gap = int(out[SEASON_LENGTH]), int(out[GAP])
        last = begin[r] - 1
        for t in range(begin[r], end[r]):
            if not math.isnan(values[t]):
                last = t
        out[GAP] = end[r] - 1 - last
        if last < begin[r]:
            out[GAP] += gap
            continue
        for i in range(gap):
            _move(out, state, i % m, np.nan)
        for t in range(begin[r], last + 1):
            _move(out, state, (gap + t - begin[r]) % m, values[t])
            out[N_OBS] += not math.isnan(values[t])
        if out[FORM] != NONE:
            first = (gap + last + 1 - begin[r]) % m
            copy[: 2 * m] = state[2:]
            for j in range(m):
                at = (first + j) % m
                state[2 + 2 * j], state[3 + 2 * j] = copy[2 * at], copy[2 * at + 1]


@numba.njit(cache=True)
def forecast_rows(
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    z: FloatArray,
    unsure: bool,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Mean [R, H] and normal quantiles [R, H, Q] at the standard normal ones z. Rows without a fit stay as is.

    unsure: whether the parameters' uncertainty is in them."""
    horizon, longest = mean.shape[1], 4
    for r in range(len(parameters)):
        longest = max(longest, offsets[r + 1] - offsets[r])
    state, effect = np.empty(longest), np.empty(longest)
    for r in range(len(parameters)):
        out = parameters[r]
        if math.isnan(out[FORM]):
            continue
        size = offsets[r + 1] - offsets[r]
        state[:size] = states[offsets[r] : offsets[r + 1]]
        m, gap = int(out[SEASON_LENGTH]), int(out[GAP])
        effect[:] = 0.0
        power = 1.0
        for h in range(gap + horizon):
            # The error of the first period moves the same states: what it adds later are its effects.
            point = _move(out, state, h % m, np.nan)
            follows = _move(out, effect, h % m, 1.0 if h == 0 else np.nan)
            if h > 0:
                power += follows * follows
            if h < gap:
                continue
            mean[r, h - gap] = point
            variance = out[SIGMA] ** 2 * power
            if unsure:
                level, both, drift = out[LEVEL_VARIANCE], out[LEVEL_VARIANCE + 1], out[LEVEL_VARIANCE + 2]
                variance += max(level + h * (2.0 * both + h * drift), 0.0)
            spread = math.sqrt(variance)
            for k in range(len(z)):
                quantiles[r, h - gap, k] = point + z[k] * spread
