"""The innovations state space models behind exponential smoothing: one pass over a series.

Notation of Hyndman, Koehler, Ord and Snyder (2008), "Forecasting with Exponential Smoothing", chapters 2 and 5. With
q_t = l_{t-1} + phi b_{t-1}, the one-step mean is mu_t = q_t (no season), q_t + s_{t-m} (additive) or q_t s_{t-m}
(multiplicative), and the states follow, whatever the error (table 2.1 and its error-correction forms),

    no season, additive    l_t = q_t + alpha e_t,  b_t = phi b_{t-1} + beta e_t,  s_t = s_{t-m} + gamma e_t
                           with e_t = y_t - mu_t
    multiplicative season  l_t = q_t + alpha (y_t / s_{t-m} - q_t),  b_t = phi b_{t-1} + beta (y_t / s_{t-m} - q_t),
                           s_t = s_{t-m} + gamma (y_t / q_t - s_{t-m})

The error is what differs: additive errors are eps_t = y_t - mu_t with variance sigma^2, multiplicative errors
eps_t = y_t / mu_t - 1. With sigma concentrated out (section 5.1, equation 5.3) minus twice the log-likelihood is,
up to a constant, L* = n log(sum eps_t^2) + 2 sum log |r_t|, with r_t = 1 or mu_t. A missing value moves the states
one step with no error and adds nothing to the sums.

Forms are coded error * 9 + trend * 3 + season: error 0 A, 1 M; trend 0 N, 1 A, 2 Ad; season 0 N, 1 A, 2 M. Those with
a multiplicative trend come after them, 18 more with M for A (`growth`).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray, read_only
from forecasting.models.ets.growth import run_growing

ADDITIVE, MULTIPLICATIVE = 1, 2  # season codes
SMALLEST_MEAN = 1e-10
"""One-step means of multiplicative models, on data scaled to about 1, stay above this."""
SMALLEST_ERROR = -1.0 + 1e-6
"""A multiplicative error keeps data positive: simulated errors stay above -1."""


@numba.njit(cache=True)
def run(
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
    """Move `state` over `gap` missing values and values[begin:end].

    Returns observations, sum of squared errors, sum of log r_t.

    state [2 + m] (or [2] without a season): level, slope, then the seasonal terms of the coming m periods in order.
    The sums are infinite where a one-step mean of a multiplicative model is not positive.
    """
    l, b = state[0], state[1]
    n, total, logs, product, position = 0, 0.0, 0.0, 1.0, 0
    for t in range(begin - gap, end):
        y = values[t] if t >= begin else np.nan
        q = l + phi * b
        s = state[2 + position] if season > 0 else 0.0
        if math.isnan(y):
            l, b = q, phi * b
        else:
            mu = q * s if season == MULTIPLICATIVE else q + s
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
            if season == MULTIPLICATIVE:
                innovation = y / s - q
                state[2 + position] = s + gamma * (y / q - s)
            else:
                innovation = e
                if season == ADDITIVE:
                    state[2 + position] = s + gamma * e
            l, b = q + alpha * innovation, phi * b + beta * innovation
        if season > 0:
            position = position + 1 if position + 1 < m else 0
    state[0], state[1] = l, b
    if position > 0:
        turned = state[2 : 2 + m].copy()
        for j in range(m):
            state[2 + j] = turned[(j + position) % m]
    return n, total, logs + math.log(product)


def log_likelihood(
    y: FloatArray,
    form: str,
    *,
    alpha: float,
    beta: float = 0.0,
    gamma: float = 0.0,
    phi: float = 1.0,
    level: float,
    slope: float = 0.0,
    seasonal: FloatArray | None = None,
) -> float:
    """Gaussian log-likelihood at given parameters and initial states, sigma^2 = sum eps^2 / n (equation 5.2).

    form: error and season letters around the trend's, such as "AAN" or "MAdM" ("Ad" and "A" differ through phi
    only). slope: the initial growth, about 1, with a multiplicative trend. seasonal: initial terms of the first m
    periods, in order. Minus infinity where a form of positive means or states leaves them.
    """
    y = np.ascontiguousarray(y, dtype=np.float64)
    season = "NAM".index(form[-1])
    terms = np.empty(0) if seasonal is None else np.asarray(seasonal, dtype=np.float64)
    state = np.concatenate([[level, slope], terms])
    error = "AM".index(form[0])
    move = run_growing if form[1] == "M" else run
    n, total, logs = move(read_only(y), 0, len(y), 0, error, season, len(terms), alpha, beta, gamma, phi, state)
    return -0.5 * n * (math.log(2.0 * math.pi * total / n) + 1.0) - logs
