"""Simulated paths of models with a multiplicative trend, whose variances have no closed form (section 6.4)."""

from __future__ import annotations

import numba

from forecasting.batch import FloatArray
from forecasting.models.ets.growth import HELD_SHARE, grown
from forecasting.models.ets.likelihood import SMALLEST_ERROR
from forecasting.seeds import UInt64Array, next_normal

LARGEST_GROWTH, LARGEST_RATIO = 1e3, 1e100
"""A path's growth a period, and its level against the first one: far beyond any forecast, below the largest number."""


@numba.njit(cache=True)
def simulate_growing(
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
    crowd: FloatArray,
) -> None:
    """Fill paths [H, n], n even; each draw is used twice, with both signs.

    crowd [2 + m or more, n]: scratch, the states of all paths. They go forward period by period, so that a longer
    horizon begins with the paths of a shorter one.
    """
    horizon, n = paths.shape
    for k in range(2 + (m if season > 0 else 0)):
        crowd[k, :] = state[k]
    top, bottom, shock = LARGEST_RATIO * state[0], state[0] / LARGEST_RATIO, 0.0
    for h in range(gap + horizon):
        level, growth, terms = crowd[0], crowd[1], crowd[2 + h % m] if season > 0 else crowd[0]
        for i in range(n):
            shock = sigma * next_normal(seed) if i % 2 == 0 else -shock
            r = grown(growth[i], phi)
            q = min(level[i] * r, top)
            s = terms[i]
            mu = q * s if season == 2 else (q + s if season == 1 else q)
            e = max(mu, 0.0) * max(shock, SMALLEST_ERROR) if error == 1 else shock
            if h >= gap:
                y = mu + e
                paths[h - gap, i] = max(y, 0.0) if error == 1 else y
            of_level = e / s if season == 2 else e
            if season == 2:
                terms[i] = max(s + gamma * e / q, 1e-9)
            elif season == 1:
                terms[i] = s + gamma * e
            growth[i] = min(max(r + beta * of_level / level[i], HELD_SHARE * r, 1.0 / LARGEST_GROWTH), LARGEST_GROWTH)
            level[i] = max(q + alpha * of_level, HELD_SHARE * q, bottom)
