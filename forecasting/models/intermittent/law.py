"""Laws of the demand in one period, given its mean: exact quantiles, no sampling, never below zero.

*Counts.* Whole multiples of a unit (the greatest common divisor of the values: pieces, or packs of six) that vary at
least as much as Poisson counts follow a negative binomial law in that unit, with the mean of the forecast and the
history's ratio of variance to mean.

*Everything else* follows the history: no demand with probability 1 - p, and else one of the past demands, each as
likely as the next, with p the mean over the mean size. Where the mean exceeds the mean size p is 1 and the sizes are
scaled up to the mean.

With negative values among the history no demand is special: the values are shifted to the mean.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.models.weighted import TIE, read_off

AUTO, COUNT, EMPIRICAL = range(3)
MOST_UNITS = 10_000.0
"""Values of more units than this are not counts: their steps no longer show."""
LARGEST_MEAN = 200.0
"""Above this mean, in units, the law of counts is as good as continuous and the history's own law is used."""


@numba.njit(cache=True)
def unit_of(y: FloatArray, n: int) -> float:
    """The greatest common divisor of y[:n] >= 0, by Euclid; 0 where there is none worth the name."""
    largest = 0.0
    for i in range(n):
        largest = max(largest, y[i])
    unit = 0.0
    for i in range(n):
        a, b = y[i], unit
        while b > 0.0:
            a, b = b, a % b
        unit = a
        if 0.0 < unit < largest / MOST_UNITS:
            return 0.0
    return unit


@numba.njit(cache=True)
def count_quantiles(mean: float, dispersion: float, levels: FloatArray, out: FloatArray) -> None:
    """Quantiles of the negative binomial law with this mean and variance dispersion * mean (Poisson for 1): the
    smallest count whose distribution function reaches the level."""
    ratio = 1.0 - 1.0 / dispersion
    shape = mean / (dispersion - 1.0) if ratio > 1e-9 else np.inf
    mass = math.exp(-mean if ratio <= 1e-9 else -shape * math.log(dispersion))
    reached, count = mass, 0
    for q in range(len(levels)):  # in ascending order
        while reached < levels[q] - TIE and mass > 0.0:
            mass *= mean / (count + 1.0) if ratio <= 1e-9 else ratio * (count + shape) / (count + 1.0)
            count += 1
            reached += mass
        out[q] = count


@numba.njit(cache=True)
def log_count_mass(count: float, mean: float, dispersion: float) -> float:
    """log of the probability of a count under the law of `count_quantiles`; -inf for what is no count."""
    if count < 0.0 or count != math.floor(count):
        return -np.inf
    if 1.0 - 1.0 / dispersion <= 1e-9:
        return float(count * math.log(mean) - mean - math.lgamma(count + 1.0))
    shape = mean / (dispersion - 1.0)
    ways = math.lgamma(count + shape) - math.lgamma(shape) - math.lgamma(count + 1.0)
    return float(ways - shape * math.log(dispersion) + count * math.log(1.0 - 1.0 / dispersion))


@numba.njit(cache=True)
def count_law(y: FloatArray, n: int, mean: float, which: int) -> tuple[float, float]:
    """Unit and dispersion of the law of counts that holds after y[:n]; unit 0 where another law does."""
    average, smallest = 0.0, np.inf
    for i in range(n):
        average += y[i] / n
        smallest = min(smallest, y[i])
    if smallest < 0.0 or not mean > 0.0 or which == EMPIRICAL:
        return 0.0, 1.0
    unit = unit_of(y, n)
    if not unit > 0.0 or mean > LARGEST_MEAN * unit:
        return 0.0, 1.0
    squares = 0.0
    for i in range(n):
        squares += (y[i] - average) ** 2
    dispersion = squares / max(n - 1, 1) / average / unit
    if dispersion >= 1.0 or which == COUNT:
        return unit, max(dispersion, 1.0)
    return 0.0, 1.0


@numba.njit(cache=True)
def law_quantiles(
    y: FloatArray, n: int, mean: float, which: int, levels: FloatArray, sizes: FloatArray, running: FloatArray
) -> FloatArray:
    """Quantiles [Q] at ascending levels of the demand with this mean, after the history y[:n], n >= 1.

    sizes, running: [>= n + 1] scratch.
    """
    out = np.zeros(len(levels))
    average, smallest = 0.0, np.inf
    for i in range(n):
        average += y[i] / n
        smallest = min(smallest, y[i])
    if smallest < 0.0:
        sizes[:n] = y[:n]
        sizes[:n].sort()
        for i in range(n):
            sizes[i] += mean - average
            running[i] = i + 1.0
        read_off(sizes[:n], running[:n], levels, out)
        return out
    if not mean > 0.0:
        return out
    unit, dispersion = count_law(y, n, mean, which)
    if unit > 0.0:
        count_quantiles(mean / unit, dispersion, levels, out)
        out *= unit
        return out
    count, total = 1, 0.0
    for i in range(n):
        if y[i] > 0.0:
            sizes[count] = y[i]
            total += y[i]
            count += 1
    share = min(mean * (count - 1) / total, 1.0)
    factor = mean * (count - 1) / total if share >= 1.0 else 1.0
    sizes[0] = 0.0
    sizes[:count].sort()
    running[0] = 1.0 - share
    for i in range(1, count):
        sizes[i] *= factor
        running[i] = 1.0 - share + share * i / (count - 1)
    read_off(sizes[:count], running[:count], levels, out)
    return out
