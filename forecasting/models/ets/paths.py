"""Forecast distributions: normal with exact moments where that is sound, simulated paths elsewhere."""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.ets.growth_paths import simulate_growing
from forecasting.models.ets.likelihood import SMALLEST_ERROR
from forecasting.models.ets.moments import linear_moments, multiplicative_moments
from forecasting.models.ets.rows import ALPHA, BETA, FORM, GAMMA, GAP, PHI, SEASON_LENGTH, SIGMA
from forecasting.models.ets.starts import N_FORMS
from forecasting.seeds import UInt64Array, next_normal

AUTO, EXACT, SIMULATED = 0, 1, 2
NORMAL_LIMIT = 0.25
"""Multiplicative errors: while the deviation stays below this share of the mean the normal law is close and loses
nothing below zero (4 deviations); beyond it the paths are simulated."""


@numba.njit(cache=True)
def _simulate(
    state: FloatArray,
    error: int,
    season: int,
    m: int,
    alpha: float,
    beta: float,
    gamma: float,
    phi: float,
    sigma: float,
    gap: int,
    seed: UInt64Array,
    paths: FloatArray,
    shocks: FloatArray,
    ring: FloatArray,
) -> None:
    """Fill paths [H, n], n even; each draw is used twice, with both signs."""
    horizon, n = paths.shape
    steps = gap + horizon
    for i in range(n):
        if i % 2 == 0:
            for h in range(steps):
                shocks[h] = sigma * next_normal(seed)
        else:
            for h in range(steps):
                shocks[h] = -shocks[h]
        l, b = state[0], state[1]
        if season > 0:
            ring[:m] = state[2 : 2 + m]
        position = 0
        for h in range(steps):
            q, s = l + phi * b, ring[position]
            if season == 2:
                q = max(q, 0.0)
                mu = q * s
            else:
                mu = q + s if season == 1 else q
            shock = shocks[h]
            if error == 1:
                shock = max(mu, 0.0) * max(shock, SMALLEST_ERROR)
            y = mu + shock
            if error == 1:
                y = max(y, 0.0)
            if h >= gap:
                paths[h - gap, i] = y
            if season == 2:
                relative = shock / s
                l, b = q + alpha * relative, phi * b + beta * relative
                if q > 0.0:
                    ring[position] = max(s + gamma * shock / q, 1e-9)
            else:
                l, b = q + alpha * shock, phi * b + beta * shock
                if season == 1:
                    ring[position] = s + gamma * shock
            if season > 0:
                position = position + 1 if position + 1 < m else 0


@numba.njit(cache=True)
def forecast_rows(
    parameters: FloatArray,
    states: FloatArray,
    offsets: Int64Array,
    seeds: UInt64Array,
    levels: FloatArray,
    z: FloatArray,
    method: int,
    n_paths: int,
    mean: FloatArray,
    quantiles: FloatArray,
) -> None:
    """Mean [R, H] and quantiles [R, H, Q] at `levels` (standard normal quantiles z). Rows without a fit stay as is."""
    horizon = mean.shape[1]
    longest, longest_season = 0, 1
    for r in range(len(parameters)):
        if not math.isnan(parameters[r, FORM]):
            longest = max(longest, int(parameters[r, GAP]))
            longest_season = max(longest_season, int(parameters[r, SEASON_LENGTH]))
    size = longest + horizon + 1
    point, spread, power, effect, shocks = (
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
        np.empty(size),
    )
    ring, seed = np.zeros(longest_season), np.zeros(1, dtype=np.uint64)
    paths, crowd = np.empty((0, 0)), np.empty((0, 0))
    for r in range(len(parameters)):
        out, state = parameters[r], states[offsets[r] : offsets[r + 1]]
        if math.isnan(out[FORM]):
            continue
        form, gap, m = int(out[FORM]), int(out[GAP]), int(out[SEASON_LENGTH])
        error, season, growing = form // 9 % 2, form % 3, form >= N_FORMS
        alpha, sigma = out[ALPHA], out[SIGMA]
        beta = 0.0 if math.isnan(out[BETA]) else out[BETA]
        gamma = 0.0 if math.isnan(out[GAMMA]) else out[GAMMA]
        phi = 1.0 if math.isnan(out[PHI]) else out[PHI]
        steps = gap + horizon
        known = not growing and (season < 2 or error == 1)
        if known and season < 2:
            linear_moments(
                state,
                error,
                season,
                m,
                alpha,
                beta,
                gamma,
                phi,
                sigma * sigma,
                point[:steps],
                spread[:steps],
                power,
                effect,
            )
        elif known:
            multiplicative_moments(state, m, alpha, beta, gamma, phi, sigma * sigma, point[:steps], spread[:steps])
        simulate = method == SIMULATED or not known
        if method == AUTO and known and error == 1:
            for h in range(gap, steps):
                simulate = simulate or not math.sqrt(spread[h]) <= NORMAL_LIMIT * point[h]
        if simulate:
            if paths.shape[0] == 0:
                paths = np.empty((horizon, n_paths))
            seed[0] = seeds[r]
            if growing:
                if crowd.shape[0] == 0:
                    crowd = np.empty((2 + longest_season, n_paths))
                simulate_growing(state, error, season, m, alpha, beta, gamma, phi, sigma, gap, seed, paths, crowd)
            else:
                _simulate(state, error, season, m, alpha, beta, gamma, phi, sigma, gap, seed, paths, shocks, ring)
            for h in range(horizon):
                draws = paths[h]
                draws.sort()
                mean[r, h] = point[gap + h] if known else draws.mean()
                for k in range(len(levels)):
                    place = levels[k] * (n_paths - 1)
                    below = min(int(place), n_paths - 2)
                    quantiles[r, h, k] = draws[below] + (place - below) * (draws[below + 1] - draws[below])
        else:
            for h in range(horizon):
                mean[r, h] = point[gap + h]
                deviation = math.sqrt(spread[gap + h])
                for k in range(len(levels)):
                    quantiles[r, h, k] = mean[r, h] + z[k] * deviation
        if error == 1:
            for h in range(horizon):
                mean[r, h] = max(mean[r, h], 0.0)
                for k in range(len(levels)):
                    quantiles[r, h, k] = max(quantiles[r, h, k], 0.0)
