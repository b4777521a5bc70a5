"""Terms that do not just add up, by Gauss-Newton steps; the exact objective for all.

Multiplicative features and logistic growth are linearised at the current estimate; each linearisation is a problem of
`penalised.minimise`, and a step is taken as far as it lowers the exact objective.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.prophet.design import Columns
from forecasting.models.prophet.penalised import gram, minimise, noise

LINEAR, LOGISTIC, FLAT = 0, 1, 2
_GAIN = 1e-9
_HALVINGS = 14


class Settings(NamedTuple):
    """growth: LINEAR, LOGISTIC or FLAT. given: int64, changepoints in microseconds where `placed` is False."""

    growth: int
    placed: bool
    n_changepoints: int
    changepoint_range: float
    given: Int64Array
    tau: float
    minmax: bool
    max_evaluations: int


class Work(NamedTuple):
    """Workspace: z [n + 4, width + 1]; t, y, fit, trend, gain, cap [n]; at int64 [n]; the rest by width."""

    z: FloatArray
    t: FloatArray
    y: FloatArray
    fit: FloatArray
    trend: FloatArray
    gain: FloatArray
    cap: FloatArray
    at: Int64Array
    g: FloatArray
    m: FloatArray
    factor: FloatArray
    theta: FloatArray
    trial: FloatArray
    target: FloatArray
    precision: FloatArray
    centre: FloatArray
    sign: FloatArray
    step: FloatArray
    active: Int64Array
    columns: Int64Array
    bends: FloatArray
    terms: Int64Array


def workspace(n: int, n_columns: int, n_bends: int) -> Work:
    """Room for rows of up to n observations."""
    width = 2 + n_columns + n_bends
    return Work(
        z=np.zeros((n + 4, width + 1)),
        t=np.zeros(n),
        y=np.zeros(n),
        fit=np.zeros(n),
        trend=np.zeros(n),
        gain=np.zeros(n),
        cap=np.zeros(n),
        at=np.zeros(n, dtype=np.int64),
        g=np.zeros((width + 1, width + 1)),
        m=np.zeros((width + 1, width + 1)),
        factor=np.zeros((n_bends + 1, n_bends + 1)),
        theta=np.zeros(width + 1),
        trial=np.zeros(width + 1),
        target=np.zeros(width + 1),
        precision=np.zeros(width + 1),
        centre=np.zeros(width + 1),
        sign=np.zeros(width + 1),
        step=np.zeros(width + 1),
        active=np.zeros(n_bends + 1, dtype=np.int64),
        columns=np.zeros(n_columns + 1, dtype=np.int64),
        bends=np.zeros(n_bends + 1),
        terms=np.zeros(width + 1, dtype=np.int64),
    )


@numba.njit(cache=True)
def trend_line(t: float, level: float, slope: float, bends: FloatArray, deltas: FloatArray, n_bends: int) -> float:
    """level + slope t + sum of delta (t - s)+ : piecewise linear and continuous, bends sorted."""
    z = level + slope * t
    for j in range(n_bends):
        if t <= bends[j]:
            break
        z += deltas[j] * (t - bends[j])
    return z


@numba.njit(cache=True)
def logistic(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0.0 else 1.0 - 1.0 / (1.0 + math.exp(z))


@numba.njit(cache=True)
def objective(
    theta: FloatArray,
    sigma: float,
    squares: float,
    n: int,
    p: int,
    width: int,
    tau: float,
    precision: FloatArray,
    centre: FloatArray,
) -> float:
    """Minus the log posterior, up to a constant."""
    total = n * math.log(sigma) + 0.5 * squares / (sigma * sigma) + 2.0 * sigma * sigma
    for i in range(p):
        total += 0.5 * precision[i] * (theta[i] - centre[i]) ** 2
    for i in range(p, width):
        total += abs(theta[i]) / tau
    return total


@numba.njit(cache=True)
def evaluate(
    theta: FloatArray, n: int, p: int, base: int, n_bends: int, growth: int, level: float,
    multiplicative: Int64Array, x: FloatArray, w: Work,
) -> float:  # fmt: skip
    """The fit, trend and gain (the multiplicative features' sum) at theta; the sum of squared residuals.

    The target w.y has `level` taken away, and so has theta[0] without logistic growth."""
    squares = 0.0
    slope = theta[1] if base == 2 else 0.0
    for i in range(n):
        if growth == LOGISTIC:
            z = trend_line(w.t[i], -slope * theta[0], slope, w.bends, theta[p:], n_bends)
            w.trend[i] = w.cap[i] * logistic(z)
        else:
            w.trend[i] = trend_line(w.t[i], theta[0], slope, w.bends, theta[p:], n_bends)
        plus, times = 0.0, 0.0
        for j in range(base, p):
            if multiplicative[w.columns[j - base]] == 1:
                times += x[i, j] * theta[j]
            else:
                plus += x[i, j] * theta[j]
        w.gain[i] = times
        w.fit[i] = w.trend[i] + (w.trend[i] + level) * times + plus
        squares += (w.y[i] - w.fit[i]) ** 2
    return squares


@numba.njit(cache=True)
def _linearise(
    theta: FloatArray, n: int, p: int, width: int, base: int, growth: int, level: float,
    multiplicative: Int64Array, x: FloatArray, w: Work,
) -> None:  # fmt: skip
    """Columns of derivatives in w.z and, as its last, the target that the linear problem has at theta."""
    for i in range(n):
        rate = 1.0 + w.gain[i]
        if growth == LOGISTIC:
            share = w.trend[i] / w.cap[i]
            rate *= w.trend[i] * (1.0 - share)
            w.z[i, 0], w.z[i, 1] = -theta[1] * rate, (w.t[i] - theta[0]) * rate
        else:
            w.z[i, 0] = rate
            if base == 2:
                w.z[i, 1] = w.t[i] * rate
        for j in range(base, p):
            times = multiplicative[w.columns[j - base]] == 1
            w.z[i, j] = x[i, j] * (w.trend[i] + level) if times else x[i, j]
        for j in range(p, width):
            w.z[i, j] = max(w.t[i] - w.bends[j - p], 0.0) * rate
        target = w.y[i] - w.fit[i]
        for j in range(width):
            target += w.z[i, j] * theta[j]
        w.z[i, width] = target


@numba.njit(cache=True)
def _start(theta: FloatArray, n: int, width: int, base: int, growth: int, w: Work) -> None:
    """Logistic growth through the first and last point, as Prophet starts; else a line by least squares."""
    for i in range(width):
        theta[i] = 0.0
    if growth == LOGISTIC:
        low = max(0.01 * w.cap[0], min(0.99 * w.cap[0], w.y[0]))
        high = max(0.01 * w.cap[n - 1], min(0.99 * w.cap[n - 1], w.y[n - 1]))
        a, b = w.cap[0] / low, w.cap[n - 1] / high
        if abs(a - b) <= 0.01:
            a *= 1.05
        a, b = math.log(a - 1.0), math.log(b - 1.0)
        theta[0], theta[1] = a / (a - b), a - b
    elif base == 2:
        mean = 0.0
        for i in range(n):
            mean += w.t[i] / n
        cross, square = 0.0, 0.0
        for i in range(n):
            cross += (w.t[i] - mean) * w.y[i]
            square += (w.t[i] - mean) ** 2
        theta[1] = cross / square
        theta[0] = -theta[1] * mean


@numba.njit(cache=True)
def descend(
    n: int, p: int, width: int, base: int, n_bends: int, level: float, sigma: float, least: float,
    columns: Columns, settings: Settings, x: FloatArray, w: Work,
) -> tuple[float, float, int]:  # fmt: skip
    """Gauss-Newton with a line search on the exact objective: sigma, objective and rounds spent; theta in w.theta."""
    times, growth = columns.multiplicative, settings.growth
    _start(w.theta, n, width, base, growth, w)
    squares = evaluate(w.theta, n, p, base, n_bends, growth, level, times, x, w)
    sigma = min(sigma, noise(squares, n, least)) if growth != LOGISTIC else noise(squares, n, least)
    value = objective(w.theta, sigma, squares, n, p, width, settings.tau, w.precision, w.centre)
    rounds = 1
    for _ in range(100):
        if rounds >= settings.max_evaluations:
            break
        _linearise(w.theta, n, p, width, base, growth, level, times, x, w)
        gram(w.z, n, width + 1, w.g)
        for i in range(width):
            w.target[i] = w.theta[i]
        _, spent = minimise(
            w.g, n, p, width, w.precision, w.centre, settings.tau, sigma, least,
            min(12, settings.max_evaluations - rounds), w.target, w.m, w.sign, w.active, w.factor, w.step,
        )  # fmt: skip
        rounds += spent
        share, gained = 1.0, 0.0
        for _ in range(_HALVINGS):
            for i in range(width):
                w.trial[i] = w.theta[i] + share * (w.target[i] - w.theta[i]) if share < 1.0 else w.target[i]
            squares = evaluate(w.trial, n, p, base, n_bends, growth, level, times, x, w)
            tried = noise(squares, n, least)
            new = objective(w.trial, tried, squares, n, p, width, settings.tau, w.precision, w.centre)
            rounds += 1
            if new < value:
                gained, value, sigma = value - new, new, tried
                for i in range(width):
                    w.theta[i] = w.trial[i]
                break
            share *= 0.5
        if gained <= _GAIN * (1.0 + abs(value)):
            break
    return sigma, value, rounds
