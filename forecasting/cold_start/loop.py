"""The forecast of each target from its neighbours, compiled; see `model` for what it does and why."""

from __future__ import annotations

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.cold_start.kernels import (
    launch_profile,
    mixture_quantile,
    nearest,
    samples,
    season_profiles,
    without_season,
)
from forecasting.cold_start.own_error import own_error
from forecasting.frequency import Int64Array
from forecasting.seeds import UInt64Array

_MOST_LOG_ERROR = 6.0
"""An error of the level by more than a factor of 400 is no information."""


@numba.njit(cache=True)
def _own_level(
    values: FloatArray,
    begin: int,
    end: int,
    start: int,
    launch: FloatArray,
    profiles: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    additive: bool,
) -> float:
    """The mean of an item's own observations without season and launch; it was launched at ordinal `start`."""
    total, n = 0.0, 0
    for t in range(begin, end):
        if np.isnan(values[t]):
            continue
        x = without_season(values[t], start + t - begin, profiles, first, seasons, len(seasons), additive)
        age = t - begin
        if age < len(launch):
            if additive:
                x -= launch[age]
            elif launch[age] > 0.0:
                x /= launch[age]
        total += x
        n += 1
    return total / n


@numba.njit(cache=True)
def forecast_targets(
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
        own_level = 0.0
        if seen:
            own_level = _own_level(
                own_values, own_begin[i], own_end[i], own_start[i], launch, profiles, seasons, first, additive
            )
        if total > 0.0 and not any_alive:
            found = np.sort(own_values[own_begin[i] : own_end[i]])[:seen] / own_level
            cumulative, middle, within = np.arange(seen + 1) / seen, found.mean(), found.var()
        doubt = variance[i]
        w = 0.0
        if seen and doubt > 0.0:
            mistrust = own_error(
                chosen, weight, values, begin, ends, start, level, profiles, seasons, first, additive, seen, horizon
            )
            if np.isnan(mistrust):  # no neighbour is long enough to be tried
                mistrust = within * (1.0 + correlation) / (1.0 - correlation) / seen
            w = doubt / (doubt + mistrust)
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
