"""The loops of cold start, one target at a time: nothing depends on what else is in a batch.

A donor's value divided by the donor's level (in additive mode: less the level) is called *normal* here: 1 (or 0) on
average.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.seeds import UInt64Array

MOST_SAMPLES = 32
"""Values of a neighbour that stand for its distribution, spread evenly over its latest ones."""
_LONG_SEASON = 200
"""From this length on, neighbouring positions of a season are averaged: a day of the year, not a month."""
_AROUND = 3
_LEAST_LAUNCHES = 3
_MOST_AUTOCORRELATION = 0.8


@numba.njit(cache=True)
def nearest(
    codes: Int64Array,
    numbers: FloatArray,
    mine: Int64Array,
    my_numbers: FloatArray,
    column: FloatArray,
    hashes: UInt64Array,
    my_hash: np.uint64,
    count: int,
    sharpness: float,
) -> tuple[Int64Array, FloatArray]:
    """The `count` donors nearest to an item, and their weights, sum 1. codes, numbers: of the donors, [U, A], [U, B].
    column: [A + B], what a column counts. Of donors equally near a hash of both keys decides, so that not all items
    lean on the same few."""
    n, width, extra = len(codes), codes.shape[1], numbers.shape[1]
    distance, tie = np.zeros(n), np.empty(n, dtype=np.uint64)
    for u in range(n):
        far = 0.0
        for a in range(width):
            if mine[a] < 0 or codes[u, a] != mine[a]:
                far += column[a]
        for b in range(extra):
            gap = abs(numbers[u, b] - my_numbers[b])
            far += column[width + b] * (1.0 if np.isnan(gap) else min(gap / 3.0, 1.0))
        distance[u] = far
        mixed = (hashes[u] ^ my_hash) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
        tie[u] = mixed ^ (mixed >> np.uint64(32))
    order = np.argsort(tie, kind="mergesort")
    order = order[np.argsort(distance[order], kind="mergesort")]
    chosen = order[: min(count, n)]
    weight = np.empty(len(chosen))
    for j in range(len(chosen)):
        weight[j] = math.exp(-(distance[chosen[j]] - distance[chosen[0]]) * sharpness)
    weight /= weight.sum()
    return chosen, weight


@numba.njit(cache=True)
def _normal(value: float, level: float, additive: bool) -> float:
    return value - level if additive else value / level


@numba.njit(cache=True)
def _shrunken_profile(total: FloatArray, squares: FloatArray, weight: FloatArray, weight2: FloatArray) -> FloatArray:
    """Weighted means by position, each drawn to their common mean as far as noise explains how they differ.

    total, squares, weight, weight2: by position, sums of w x, w x^2, w and w^2. A position without any has the mean.
    """
    n = len(total)
    all_weight, grand, within, freedom = 0.0, 0.0, 0.0, 0.0
    for p in range(n):
        all_weight += weight[p]
        grand += total[p]
    if all_weight <= 0.0:
        return np.full(n, np.nan)
    grand /= all_weight
    filled = 0
    for p in range(n):
        if weight[p] > 0:
            filled += 1
            within += max(squares[p] - total[p] * total[p] / weight[p], 0.0)
            freedom += max(weight[p] - weight2[p] / weight[p], 0.0)
    if filled < 2 or freedom <= 0.0:
        return np.full(n, grand)
    variance = within / freedom
    spread, noise = 0.0, 0.0
    for p in range(n):
        if weight[p] > 0:
            away = total[p] / weight[p] - grand
            spread += away * away
            noise += variance * weight2[p] / (weight[p] * weight[p])
    true = max((spread - noise) / filled, 0.0)
    out = np.full(n, grand)
    for p in range(n):
        if weight[p] > 0 and true > 0.0:
            error = variance * weight2[p] / (weight[p] * weight[p])
            out[p] = grand + (total[p] / weight[p] - grand) * true / (true + error)
    return out


@numba.njit(cache=True)
def _relative(profile: FloatArray, additive: bool) -> FloatArray:
    """A profile about its mean: 1 on average, in additive mode 0. None known: no profile."""
    middle = profile.mean()
    if np.isnan(middle) or (not additive and middle <= 0.0):
        return np.full(len(profile), 0.0 if additive else 1.0)
    out = np.empty(len(profile))
    for p in range(len(profile)):
        out[p] = profile[p] - middle if additive else profile[p] / middle
    return out


@numba.njit(cache=True)
def _smooth(profile: FloatArray) -> FloatArray:
    n = len(profile)
    out = np.empty(n)
    for p in range(n):
        total = 0.0
        for k in range(-_AROUND, _AROUND + 1):
            total += profile[(p + k) % n]
        out[p] = total / (2 * _AROUND + 1)
    return out


@numba.njit(cache=True)
def without_season(
    x: float, ordinal: int, profiles: FloatArray, first: Int64Array, seasons: Int64Array, known: int, additive: bool
) -> float:
    """A normal value less the first `known` profiles."""
    for s in range(known):
        index = profiles[first[s] + ordinal % seasons[s]]
        if additive:
            x -= index
        elif index > 0.0:
            x /= index
    return x


@numba.njit(cache=True)
def plain_value(
    value: float,
    level: float,
    ordinal: int,
    profiles: FloatArray,
    first: Int64Array,
    seasons: Int64Array,
    known: int,
    additive: bool,
) -> float:
    """A value against its series' level, less the first `known` profiles."""
    return without_season(_normal(value, level, additive), ordinal, profiles, first, seasons, known, additive)


@numba.njit(cache=True)
def season_profiles(
    chosen: Int64Array,
    weight: FloatArray,
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    start: Int64Array,
    level: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    additive: bool,
) -> FloatArray:
    """The neighbours' profile by position in each season, one after the other, flat: season s at first[s].

    Position 0 is where the ordinal is a multiple of the season. The neighbours' weighted mean of each period is one
    observation of its position, so what they have in common in one year only (a promotion, a strike) counts as noise:
    a season must be seen to come again.
    """
    profiles = np.full(first[-1], 0.0 if additive else 1.0)
    low, high = np.int64(2**62), np.int64(-(2**62))
    for d in chosen:
        if end[d] > begin[d] and (additive or level[d] > 0.0):
            low = min(low, start[d])
            high = max(high, start[d] + end[d] - begin[d])
    for s in range(len(seasons)):
        length = int(seasons[s])
        if high - low <= length:
            continue
        total, plain = np.zeros(high - low), np.zeros(high - low)
        for j in range(len(chosen)):
            d = chosen[j]
            if not additive and level[d] <= 0.0:
                continue
            for t in range(begin[d], end[d]):
                if np.isnan(values[t]):
                    continue
                ordinal = start[d] + t - begin[d]
                x = plain_value(values[t], level[d], ordinal, profiles, first, seasons, s, additive)
                total[ordinal - low] += weight[j] * x
                plain[ordinal - low] += weight[j]
        for t in range(high - low):
            total[t] = total[t] / plain[t] if plain[t] > 0.0 else np.nan
        found = _shrunken_profile(*_by_position(total, int(low), length, additive))
        if length >= _LONG_SEASON:
            found = _smooth(found)
        profiles[first[s] : first[s] + length] = _relative(found, additive)
    return profiles


@numba.njit(cache=True)
def _by_position(
    series: FloatArray, low: int, length: int, additive: bool
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Sums by position in the season, for `_shrunken_profile`, of a series whose first ordinal is `low`.

    Seasons are counted back from the end; each older one is brought to the level of the latest over the positions
    that both have, so that growth is not taken for noise.
    """
    total, squares, plain = np.zeros(length), np.zeros(length), np.zeros(length)
    n = len(series)
    for block in range((n + length - 1) // length):
        begin = max(n - (block + 1) * length, 0)
        end = n - block * length
        mine, other, shared = 0.0, 0.0, 0
        for t in range(begin, end):
            latest = series[t + block * length]
            if not np.isnan(series[t]) and not np.isnan(latest):
                mine += series[t]
                other += latest
                shared += 1
        if shared == 0 or (not additive and (mine <= 0.0 or other <= 0.0)):
            continue
        for t in range(begin, end):
            if np.isnan(series[t]):
                continue
            x = series[t] + (other - mine) / shared if additive else series[t] * other / mine
            p = (low + t) % length
            total[p] += x
            squares[p] += x * x
            plain[p] += 1.0
    return total, squares, plain, plain


@numba.njit(cache=True)
def launch_profile(
    chosen: Int64Array,
    weight: FloatArray,
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    start: Int64Array,
    level: FloatArray,
    launched: Int64Array,
    profiles: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    ages: int,
    additive: bool,
) -> FloatArray:
    """What neighbours that were launched sold by age, against their later level: [ages], 1 (or 0) where launches show
    nothing or are too few."""
    flat = np.full(ages, 0.0 if additive else 1.0)
    total, squares, plain, plain2 = np.zeros(ages + 1), np.zeros(ages + 1), np.zeros(ages + 1), np.zeros(ages + 1)
    count = 0
    for j in range(len(chosen)):
        d = chosen[j]
        if launched[d] == 0 or (not additive and level[d] <= 0.0):
            continue
        count += 1
        for t in range(begin[d], end[d]):
            if np.isnan(values[t]):
                continue
            x = plain_value(
                values[t], level[d], start[d] + t - begin[d], profiles, first, seasons, len(seasons), additive
            )
            p = min(t - begin[d], ages)
            total[p] += weight[j] * x
            squares[p] += weight[j] * x * x
            plain[p] += weight[j]
            plain2[p] += weight[j] * weight[j]
    if count < _LEAST_LAUNCHES or plain[ages] <= 0.0:
        return flat
    later = total[ages] / plain[ages]
    if not additive and later <= 0.0:
        return flat
    found = _shrunken_profile(total[:ages], squares[:ages], plain[:ages], plain2[:ages])
    if np.isnan(found[0]):
        return flat
    for p in range(ages):
        found[p] = found[p] - later if additive else found[p] / later
    return found


@numba.njit(cache=True)
def samples(
    chosen: Int64Array,
    weight: FloatArray,
    values: FloatArray,
    begin: Int64Array,
    end: Int64Array,
    start: Int64Array,
    level: FloatArray,
    profiles: FloatArray,
    seasons: Int64Array,
    first: Int64Array,
    latest: int,
    additive: bool,
    alive: bool,
) -> tuple[FloatArray, FloatArray, float]:
    """The neighbours' latest normal values without season, increasing, with their weights, sum 1; and the lag-one
    correlation of such values. alive: the item has sold something, so neighbours that never did say nothing."""
    found, weights = np.empty(len(chosen) * MOST_SAMPLES), np.empty(len(chosen) * MOST_SAMPLES)
    n, product, square = 0, 0.0, 0.0
    for j in range(len(chosen)):
        d = chosen[j]
        empty = not additive and level[d] <= 0.0
        if empty and alive:
            continue
        low = max(begin[d], end[d] - 2 * latest)
        known = 0
        before = np.nan
        for t in range(low, end[d]):
            x = np.nan
            if not np.isnan(values[t]):
                known += 1
                if not empty:
                    x = plain_value(
                        values[t], level[d], start[d] + t - begin[d], profiles, first, seasons, len(seasons), additive
                    )
                    centre = x if additive else x - 1.0
                    square += weight[j] * centre * centre
                    if not np.isnan(before):
                        product += weight[j] * centre * before
                    x = centre
            before = x
        taken = min(known, MOST_SAMPLES)
        place, picked = 0, 0
        for t in range(low, end[d]):
            if np.isnan(values[t]):
                continue
            if place * taken // known >= picked:
                picked += 1
                x = 0.0
                if not empty:
                    x = plain_value(
                        values[t], level[d], start[d] + t - begin[d], profiles, first, seasons, len(seasons), additive
                    )
                found[n], weights[n] = x, weight[j] / taken
                n += 1
            place += 1
    order = np.argsort(found[:n], kind="mergesort")
    correlation = min(max(product / square, 0.0), _MOST_AUTOCORRELATION) if square > 0.0 else 0.0
    sorted_weights = weights[:n][order]
    return found[:n][order], sorted_weights / sorted_weights.sum(), correlation


@numba.njit(cache=True)
def _share_below(
    q: float, sorted_values: FloatArray, cumulative: FloatArray, errors: FloatArray, additive: bool
) -> float:
    """The share of the mixture at or below q."""
    total = 0.0
    for j in range(len(errors)):
        at = np.searchsorted(sorted_values, q - errors[j] if additive else q / errors[j], side="right")
        total += cumulative[at]
    return float(total / len(errors))


@numba.njit(cache=True)
def mixture_quantile(
    share: float, sorted_values: FloatArray, cumulative: FloatArray, errors: FloatArray, additive: bool
) -> float:
    """The smallest value that at least `share` of the mixture lies at or below: a sample times (in additive mode:
    plus) an error of the level, all errors equally likely. cumulative: [S + 1], weights before each sample."""
    if not additive and _share_below(0.0, sorted_values, cumulative, errors, additive) >= share:
        return 0.0
    ends = (sorted_values[0], sorted_values[-1])
    if additive:
        low, high = ends[0] + errors.min(), ends[1] + errors.max()
    else:
        low, high = 0.0, ends[1] * errors.max()
    high += 1e-9 * abs(high)
    for _ in range(60):
        middle = 0.5 * (low + high)
        if _share_below(middle, sorted_values, cumulative, errors, additive) >= share:
            high = middle
        else:
            low = middle
        if high - low <= 1e-10 * max(abs(high), abs(low)):
            break
    return float(high)
