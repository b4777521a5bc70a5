"""Forecasts of items with little or no history from their nearest donors.

An item's *level* comes from a regression of the donors' levels on their features (`levels`), its *shape* from its
nearest donors' seasons and launches, its *spread* from what those donors' values are around their own level and from
the error that the regression makes for donors that are left out. Own observations move the level by the weight
v / (v + e): v is the variance of the regression's error, e the mean squared error that as many observations of a
neighbour make as the level of what follows them. Levels multiply, and their logarithm is what is regressed and
blended, unless a donor has values below 0; then they add.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np

from forecasting.batch import FloatArray, offsets_of, read_only
from forecasting.cold_start.features import Features
from forecasting.cold_start.levels import LevelModel, fit_levels, importance
from forecasting.cold_start.loop import forecast_targets
from forecasting.cold_start.pool import DonorPool
from forecasting.frequency import Frequency, Int64Array
from forecasting.seeds import UInt64Array

SHARPNESS = 4.0
"""A neighbour further away by a quarter of all that features tell weighs a factor e less."""
LEAST_WINDOW = 8
_NOTHING_KNOWN = 1e12
_MOST_AGES = 104


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
        if not self.levels.donors:  # no donor ever sold anything: the item's own level is all there is
            variance = np.full(len(expected), _NOTHING_KNOWN)
        first = offsets_of(self.seasons)
        arrays = (
            pool.values, pool.offsets, self.ends, pool.start, pool.launched, self.level, self.usable,
            pool.features.codes[self.usable], pool.features.numbers[self.usable], self.column,
            pool.key_hash[self.usable], targets.values, targets.begin, targets.end, targets.start, targets.first_step,
            targets.features.codes, targets.features.numbers, targets.key_hash, expected, variance,
            self.levels.nodes, self.seasons, first, np.asarray(quantiles, dtype=np.float64),
        )  # fmt: skip
        inputs: list[Any] = [read_only(np.ascontiguousarray(array)) for array in arrays]
        inputs += [self.window, self.ages, min(neighbours, self.donors), horizon, SHARPNESS, self.additive]
        out: tuple[Any, ...] = forecast_targets(*inputs)
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
