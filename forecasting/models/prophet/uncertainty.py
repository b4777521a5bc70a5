"""The predictive law: a bending trend and Gaussian noise.

After the history the trend bends at the points of a Poisson process of rate S per unit of scaled time, S the number
of changepoints, each time by a Laplace variable of scale lambda, the mean size of the fitted bends (Taylor and Letham
2018, section 3.1.4). Linear growth then lies h after the end off its line by a sum of Laplace variables times the time
left, whose characteristic function is

    exp(-S (h - arctan(lambda h u) / (lambda u))),

so that with the noise's exp(-sigma^2 u^2 / 2) the law's quantiles follow by inversion (Gil-Pelaez 1951): the limit of
infinitely many simulated paths. Logistic growth is simulated.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.prophet.descent import logistic
from forecasting.seeds import UInt64Array, next_normal, next_uniform

MOST_NODES = 600
_REACH = 6.2  # exp(-reach^2 / 2) is below 1e-8
_STREAM = np.uint64(0xD1342543DE82EF95)


@numba.njit(cache=True)
def characteristic(rate: float, scale: float, ahead: float, sigma: float, phi: FloatArray) -> tuple[int, float]:
    """The characteristic function at (j + 1/2) du, divided by j + 1/2: number of nodes and du.

    phi: workspace, [MOST_NODES]. Where the noise is much smaller than the trend's spread, more nodes than there are
    would be needed: the noise is then taken larger, at most to about a hundredth of that spread."""
    reach = scale * ahead
    spread = reach * math.sqrt(2.0 * rate * ahead / 3.0)
    width = 7.0 * sigma + 9.0 * reach + 7.0 * spread
    least = _REACH * width / (math.pi * MOST_NODES)
    noise = max(sigma, least)
    du = math.pi / width
    n = min(int(_REACH / (noise * du)) + 2, MOST_NODES)
    for j in range(n):
        u = (j + 0.5) * du
        bent = rate * (ahead - math.atan(reach * u) / (scale * u))
        phi[j] = math.exp(-bent - 0.5 * (noise * u) ** 2) / (j + 0.5)
    return n, du


@numba.njit(cache=True)
def _distribution(x: float, n: int, du: float, phi: FloatArray) -> tuple[float, float]:
    """Distribution function and density at x; sine and cosine by rotation."""
    step_cos, step_sin = math.cos(du * x), math.sin(du * x)
    c, s = math.cos(0.5 * du * x), math.sin(0.5 * du * x)
    total, density = 0.0, 0.0
    for j in range(n):
        total += s * phi[j]
        density += c * phi[j] * (j + 0.5)
        c, s = c * step_cos - s * step_sin, s * step_cos + c * step_sin
    return 0.5 + total / math.pi, density * du / math.pi


@numba.njit(cache=True)
def spread_quantile(
    level: float,
    normal: float,
    rate: float,
    scale: float,
    ahead: float,
    sigma: float,
    n: int,
    du: float,
    phi: FloatArray,
) -> float:
    """The quantile of the deviation from the mean; symmetric, so that only the upper half is solved for.

    normal: the standard normal quantile of the level, from which the search starts."""
    p = level if level > 0.5 else 1.0 - level
    if p == 0.5:
        return 0.0
    spread = math.sqrt(sigma**2 + (scale * ahead) ** 2 * 2.0 * rate * ahead / 3.0)
    low, high = 0.0, math.pi / du
    x = min(abs(normal) * spread, 0.5 * high)
    for _ in range(60):
        f, density = _distribution(x, n, du, phi)
        if f < p:
            low = x
        else:
            high = x
        step = (p - f) / density if density > 0.0 else 0.0
        following = x + step
        if step == 0.0 or following <= low or following >= high:
            following = 0.5 * (low + high)
        if abs(following - x) <= 1e-9 * spread:
            x = following
            break
        x = following
    return x if level > 0.5 else -x


@numba.njit(cache=True)
def simulate(
    seed: np.uint64,
    rate: float,
    scale: float,
    growing: bool,
    z: FloatArray,
    ahead: FloatArray,
    cap: FloatArray,
    times: FloatArray,
    plus: FloatArray,
    sigma: float,
    of_level: float,
    both: float,
    of_slope: float,
    since: float,
    state: UInt64Array,
    paths: FloatArray,
) -> None:
    """Paths [n, H] of trend * times + plus + noise.

    z: [H], the linear trend (or the logistic's argument, where `growing`). ahead: [H], scaled time after the history.
    of_level, both, of_slope: covariance of level and slope at the end of the fit, `since` before the history's end.
    Each path has a stream of its own, so that a longer horizon begins with the shorter one."""
    for i in range(len(paths)):
        state[0] = seed + np.uint64(i + 1) * _STREAM
        root = math.sqrt(of_level)
        shift = root * next_normal(state)
        tilt = both / root * (shift / root) if root > 0.0 else 0.0
        tilt += math.sqrt(max(of_slope - (both / root) ** 2 if root > 0.0 else of_slope, 0.0)) * next_normal(state)
        following = -math.log(next_uniform(state)) / rate if rate > 0.0 else np.inf
        bend, offset = 0.0, 0.0  # what the new bends add: bend * ahead + offset
        for h in range(len(z)):
            while following < ahead[h]:
                u = next_uniform(state) - 0.5
                size = -scale * math.log(1.0 - 2.0 * abs(u))
                size = size if u > 0.0 else -size
                bend += size
                offset -= size * following
                following -= math.log(next_uniform(state)) / rate
            trend = z[h] + bend * max(ahead[h], 0.0) + offset + shift + tilt * (ahead[h] + since)
            if growing:
                trend = cap[h] * logistic(trend)
            paths[i, h] = trend * times[h] + plus[h] + sigma * next_normal(state)


@numba.njit(cache=True)
def empirical(sorted_paths: FloatArray, level: float) -> float:
    """A quantile of sorted values, by linear interpolation."""
    place = level * (len(sorted_paths) - 1)
    below = int(place)
    above = min(below + 1, len(sorted_paths) - 1)
    return float(sorted_paths[below] + (place - below) * (sorted_paths[above] - sorted_paths[below]))
