"""Forecasts of items with little or no history from their nearest donors.

An item's *level* comes from a regression of the donors' levels on their features (`levels`), its *shape* from its
nearest donors' seasons and launches, its *spread* from what those donors' values are around their own level and from
the error that the regression makes for donors that are left out. Own observations move the level by n / (n + k),
where k is the variance of one observation around its level, against that of the regression's error: the
Bayesian weight of both. Levels multiply, and their logarithm is what is regressed and blended, unless a donor has
values below 0; then they add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from forecasting.batch import FloatArray, offsets_of, read_only
from forecasting.cold_start.features import Features
from forecasting.cold_start.kernels import (
    launch_profile,
    mixture_quantile,
    nearest,
    samples,
    season_profiles,
    without_season,
)
from forecasting.cold_start.levels import LevelModel, fit_levels, importance
from forecasting.cold_start.pool import DonorPool
from forecasting.frequency import Frequency, Int64Array
from forecasting.seeds import UInt64Array

SHARPNESS = 4.0
"""A neighbour further away by a quarter of all that features tell weighs a factor e less."""
LEAST_WINDOW = 8
_MOST_AGES = 104
_MOST_LOG_ERROR = 6.0
"""An error of the level by more than a factor of 400 is no information."""


@dataclass(frozen=True)
class ColdTargets:
    """N items to forecast. Of item i, values[begin[i]:end[i]] may be seen, NaN is missing; start: int64 [N], ordinal
    of its first own period, used where it has any; first_step: int64 [N], ordinal of the first step. key_hash: uint64
    [N], of the key."""

    values: FloatArray
    begin: Int64Array
    end: Int64Array
    start: Int64Array
    first_step: Int64Array
    features: Features
    key_hash: UInt64Array


@dataclass(frozen=True)
class ColdForecast:
    """mean: [N, H]. quantiles: [N, H, Q]. neighbours: int64 [N, K], positions in the pool, nearest first, -1 for none.
    weights: [N, K]. level, error: [N], the level forecast and the standard deviation of the regression's error (of its
    logarithm where levels multiply). own: [N], the weight of the item's own history in its level."""

    mean: FloatArray
    quantiles: FloatArray
    neighbours: Int64Array
    weights: FloatArray
    level: FloatArray
    error: FloatArray
    own: FloatArray


@dataclass(frozen=True)
class ColdModel:
    """What is learnt from a pool as seen at one time. ends: int64 [D], positions behind the last value seen. usable:
    positions of the donors with history enough. level: [D]. column: [A + B], what each feature counts in nearness."""

    pool: DonorPool
    ends: Int64Array
    usable: Int64Array
    level: FloatArray
    levels: LevelModel
    column: FloatArray
    seasons: Int64Array
    window: int
    ages: int
    additive: bool

    @property
    def donors(self) -> int:
        """Donors that can be used."""
        return len(self.usable)

    def forecast(
        self, targets: ColdTargets, horizon: int, quantiles: Sequence[float], neighbours: int = 20
    ) -> ColdForecast:
        """Forecast items. Raises ValueError where the model has no donors."""
        if not self.donors:
            raise ValueError("there are no donors with history enough to forecast from")
        pool = self.pool
        expected, variance = self.levels.predict(targets.features)
        first = offsets_of(self.seasons)
        arrays = (
            pool.values, pool.offsets, self.ends, pool.start, pool.launched, self.level, self.usable,
            pool.features.codes[self.usable], pool.features.numbers[self.usable], self.column,
            pool.key_hash[self.usable], targets.values, targets.begin, targets.end, targets.start, targets.first_step,
            targets.features.codes, targets.features.numbers, targets.key_hash, expected, variance,
            self.levels.nodes, self.seasons, first, np.asarray(quantiles, dtype=np.float64),
        )  # fmt: skip
        fixed: tuple[Any, ...] = (
            self.window,
            self.ages,
            min(neighbours, self.donors),
            horizon,
            SHARPNESS,
            self.additive,
        )
        out = _forecast(*(read_only(np.ascontiguousarray(array)) for array in arrays), *fixed)
        return ColdForecast(*out)


def season_lengths(frequency: Frequency) -> Int64Array:
    """The seasons that shapes have: those of the frequency, but for one that a longer one holds already."""
    lengths = frequency.season_lengths
    kept = [s for i, s in enumerate(lengths) if not any(longer % s == 0 for longer in lengths[i + 1 :])]
    return np.array(kept, dtype=np.int64)


def level_window(seasons: Int64Array) -> int:
    """Latest periods that a donor's level is the mean of: a whole longest season."""
    return int(max(seasons.max(initial=0), LEAST_WINDOW))


def fit_cold(pool: DonorPool, frequency: Frequency, ends: Int64Array | None = None, *, enough: int = 1) -> ColdModel:
    """Learn from the pool.

    ends: int64 [D], values of each donor that may be seen, from its first; None: all. enough: observations among the
    latest season (at least 8 periods) that make a donor usable.
    """
    seasons = season_lengths(frequency)
    window = level_window(seasons)
    seen = pool.lengths if ends is None else np.clip(ends, 0, pool.lengths)
    stop = pool.offsets[:-1] + seen
    level, count, variation, zeros, lowest = _donor_facts(
        pool.values, pool.offsets, read_only(np.ascontiguousarray(stop)), window
    )
    usable = np.flatnonzero(count >= max(enough, 1))
    additive = bool((lowest[usable] < 0).any())
    sizes = _sizes(pool.features)
    regressed = usable if additive else usable[level[usable] > 0]
    y = level[regressed] if additive else np.log(level[regressed])
    of_those = pool.features.take(regressed)
    within = variation[regressed]
    weak = float((within**2).mean()) if additive and len(within) else 1.0
    levels = fit_levels(y, of_those, sizes, weak if weak > 0 else 1.0)
    scale = np.abs(level[regressed]).mean() if additive and len(regressed) else 1.0
    relative = within / (scale if scale > 0 else 1.0) if additive else within
    descriptors = np.column_stack([y, relative, zeros[regressed]])
    column = importance(descriptors, of_those, sizes)
    ages = int(min(window, _MOST_AGES))
    return ColdModel(pool, stop, usable, level, levels, column, seasons, window, ages, additive)


def _sizes(features: Features) -> tuple[int, ...]:
    return (
        tuple(int(s) + 1 for s in features.codes.max(axis=0, initial=-1))
        if len(features)
        else ((0,) * features.codes.shape[1])
    )


@numba.njit(cache=True)
def _donor_facts(
    values: FloatArray, offsets: Int64Array, stop: Int64Array, window: int
) -> tuple[FloatArray, Int64Array, FloatArray, FloatArray, FloatArray]:
    """Of each donor's latest values: mean, observations, standard deviation (relative to the mean where none is below
    0), share of zeros, smallest."""
    n = len(offsets) - 1
    level, count, variation = np.zeros(n), np.zeros(n, dtype=np.int64), np.zeros(n)
    zeros, lowest = np.zeros(n), np.full(n, np.inf)
    for d in range(n):
        total, square = 0.0, 0.0
        low = max(offsets[d], stop[d] - window)
        for t in range(low, stop[d]):
            y = values[t]
            if np.isnan(y):
                continue
            count[d] += 1
            total += y
            zeros[d] += y == 0.0
            lowest[d] = min(lowest[d], y)
        if count[d] == 0:
            continue
        level[d] = total / count[d]
        for t in range(low, stop[d]):
            if not np.isnan(values[t]):
                square += (values[t] - level[d]) ** 2
        variation[d] = np.sqrt(square / count[d])
        if lowest[d] >= 0.0 and level[d] > 0.0:
            variation[d] /= level[d]
        zeros[d] /= count[d]
    return level, count, variation, zeros, lowest


@numba.njit(cache=True)
def _forecast(
    values: FloatArray,
    offsets: Int64Array,
    ends: Int64Array,
    start: Int64Array,
    launched: Int64Array,
    level: FloatArray,
    usable: Int64Array,
    codes: Int64Array,
    numbers: FloatArray,
    column: FloatArray,
    hashes: UInt64Array,
    own_values: FloatArray,
    own_begin: Int64Array,
    own_end: Int64Array,
    own_start: Int64Array,
    first_step: Int64Array,
    my_codes: Int64Array,
    my_numbers: FloatArray,
    my_hash: UInt64Array,
    expected: FloatArray,
    variance: FloatArray,
    nodes: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    shares: FloatArray,
    window: int,
    ages: int,
    count: int,
    horizon: int,
    sharpness: float,
    additive: bool,
) -> tuple[FloatArray, FloatArray, Int64Array, FloatArray, FloatArray, FloatArray, FloatArray]:
    """The arrays of `ColdForecast`. The donors' arrays first; codes, numbers, hashes: of the usable ones; own_*, my_*:
    the targets'; expected, variance: of their levels, [N]; shares: [Q]."""
    n, levels = len(own_begin), len(shares)
    begin = offsets[:-1]
    mean, quantiles = np.empty((n, horizon)), np.empty((n, horizon, levels))
    neighbours, weights = np.full((n, count), -1, dtype=np.int64), np.zeros((n, count))
    final, error, own_weight = np.zeros(n), np.zeros(n), np.zeros(n)
    flat = 0.0 if additive else 1.0
    for i in range(n):
        near, weight = nearest(
            codes, numbers, my_codes[i], my_numbers[i], column, hashes, my_hash[i], count, sharpness
        )
        chosen = usable[near]
        neighbours[i], weights[i] = chosen, weight
        profiles = season_profiles(chosen, weight, values, begin, ends, start, level, seasons, first, additive)
        launch = launch_profile(
            chosen, weight, values, begin, ends, start, level, launched, profiles, seasons, first, ages, additive
        )
        seen, total = 0, 0.0
        for t in range(own_begin[i], own_end[i]):
            if not np.isnan(own_values[t]):
                seen += 1
                total += own_values[t]
        born = own_start[i] if seen else first_step[i]
        any_alive = False
        for d in chosen:
            any_alive = any_alive or additive or level[d] > 0.0
        alive = total > 0.0 and any_alive
        found, share, correlation = samples(
            chosen, weight, values, begin, ends, start, level, profiles, seasons, first, window, additive, alive
        )
        cumulative = np.zeros(len(found) + 1)
        middle = 0.0
        for s in range(len(found)):
            cumulative[s + 1] = cumulative[s] + share[s]
            middle += share[s] * found[s]
        cumulative /= cumulative[-1]
        within = 0.0
        for s in range(len(found)):
            within += share[s] * (found[s] - middle) ** 2
        if not additive and middle > 0.0:
            within /= middle * middle
        # The item's own level: its observations without season and launch.
        own_level = 0.0
        if seen:
            for t in range(own_begin[i], own_end[i]):
                if np.isnan(own_values[t]):
                    continue
                ordinal = own_start[i] + t - own_begin[i]
                x = without_season(own_values[t], ordinal, profiles, first, seasons, len(seasons), additive)
                age = ordinal - born
                if 0 <= age < ages:
                    if additive:
                        x -= launch[age]
                    elif launch[age] > 0.0:
                        x /= launch[age]
                own_level += x
            own_level /= seen
        doubt = variance[i]
        noise = within * (1.0 + correlation) / (1.0 - correlation)
        w = seen * doubt / (seen * doubt + noise) if seen and doubt > 0.0 else 0.0
        if additive:
            centre = (1.0 - w) * expected[i] + w * own_level
        elif own_level > 0.0:
            centre = np.exp((1.0 - w) * expected[i] + w * np.log(own_level))
        else:
            centre = np.exp(expected[i]) * (1.0 - w)
        left = np.sqrt(doubt * (1.0 - w))
        errors = np.empty(len(nodes))
        for j in range(len(nodes)):
            errors[j] = (
                left * nodes[j] if additive else np.exp(min(max(left * nodes[j], -_MOST_LOG_ERROR), _MOST_LOG_ERROR))
            )
        final[i], error[i], own_weight[i] = centre, left, w
        average = errors.mean()
        for q in range(levels):
            base = mixture_quantile(shares[q], found, cumulative, errors, additive)
            for h in range(horizon):
                quantiles[i, h, q] = base
        for h in range(horizon):
            ordinal = first_step[i] + h
            index = flat
            for s in range(len(seasons)):
                part = profiles[first[s] + ordinal % seasons[s]]
                index = index + part if additive else index * part
            age = ordinal - born
            if 0 <= age < ages:
                index = index + launch[age] if additive else index * launch[age]
            if additive:
                mean[i, h] = centre + index + middle + average
                for q in range(levels):
                    quantiles[i, h, q] += centre + index
            else:
                mean[i, h] = centre * index * middle * average
                for q in range(levels):
                    quantiles[i, h, q] *= centre * index
    return mean, quantiles, neighbours, weights, final, error, own_weight
