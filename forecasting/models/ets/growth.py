"""Multiplicative trends: the slope is a factor, about 1, by which the level grows.

Hyndman, Koehler, Ord and Snyder (2008), tables 2.2 and 2.3, the columns M and Md of trend. With r_t = b_{t-1}^phi and
q_t = l_{t-1} r_t, the one-step mean is mu_t = q_t, q_t + s_{t-m} or q_t s_{t-m} as in `likelihood`, and

    no season, additive    l_t = q_t + alpha e_t,  b_t = r_t + beta e_t / l_{t-1},  s_t = s_{t-m} + gamma e_t
    multiplicative season  l_t = q_t + alpha (y_t / s_{t-m} - q_t),  b_t = r_t + beta (y_t / s_{t-m} - q_t) / l_{t-1},
                           s_t = s_{t-m} + gamma (y_t / q_t - s_{t-m})

whatever the error. Level and growth stay positive: a fit whose states come near zero within one step is refused, and
states that newer data would take there are held above it.

Codes of forms: N_FORMS more than that of the form with an additive trend in its place, so that what counts and places
parameters (a trend, damped or not) need not know the difference.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray

LEAST_SHARE = 1e-6
"""What a step leaves at least of level and growth in a fit."""
HELD_SHARE = 1e-7
"""And in states that are moved by a given form: less, so that rounding never holds those of a fit."""


@numba.njit(cache=True)
def grown(b: float, phi: float) -> float:
    """r = b^phi, b itself without damping."""
    return b if phi == 1.0 else b**phi


@numba.njit(cache=True)
def run_growing(
    values: FloatArray,
    begin: int,
    end: int,
    gap: int,
    error: int,
    season: int,
    m: int,
    alpha: float,
    beta: float,
    gamma: float,
    phi: float,
    state: FloatArray,
) -> tuple[int, float, float]:
    """`likelihood.run` for a multiplicative trend; state[1] is the growth.

    The sums are infinite where a one-step mean of a multiplicative model is not positive, or level or growth had to be
    held.
    """
    l, b = state[0], state[1]
    n, total, logs, product, position = 0, 0.0, 0.0, 1.0, 0
    if not (l > 0.0 and b > 0.0):
        total = np.inf
    for t in range(begin - gap, end):
        y = values[t] if t >= begin else np.nan
        r = grown(b, phi)
        q = l * r
        s = state[2 + position] if season > 0 else 0.0
        if math.isnan(y):
            l, b = q, r
        else:
            mu = q * s if season == 2 else q + s
            e = y - mu
            eps = e
            if error == 1:
                if mu > 0.0:
                    eps = e / mu
                    product *= mu
                    if product > 1e100 or product < 1e-100:
                        logs += math.log(product)
                        product = 1.0
                else:
                    eps = np.inf
            total += eps * eps
            n += 1
            if season == 2:
                innovation = y / s - q
                state[2 + position] = s + gamma * (y / q - s)
            else:
                innovation = e
                if season == 1:
                    state[2 + position] = s + gamma * e
            level, growth = q + alpha * innovation, r + beta * innovation / l
            if not (level > HELD_SHARE * q and growth > HELD_SHARE * r):
                total = np.inf
            l, b = max(level, HELD_SHARE * q), max(growth, HELD_SHARE * r)
        if season > 0:
            position = position + 1 if position + 1 < m else 0
    state[0], state[1] = l, b
    if position > 0:
        turned = state[2 : 2 + m].copy()
        for j in range(m):
            state[2 + j] = turned[(j + position) % m]
    return n, total, logs + math.log(product)
