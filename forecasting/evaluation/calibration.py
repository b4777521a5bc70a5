"""Conformal calibration: intervals widened or narrowed until they would have held in the backtests.

For each symmetric pair of levels the score of a backtest point says by how much of the interval's unit the actual
lies outside (negative: inside), max(lower - y, y - upper) / unit; the adjustment is the score's quantile at the
nominal coverage (conformalized quantile regression; Romano, Patterson and Candes 2019, equations 5 to 8). Both ends
move by it, the median stays. What differs from the paper, and why:

- Scores are divided by the row's own unit, the width of its interval nearest to 80 %, so that series of all sizes
  share one distribution; it is kept as a histogram per segment, window and block of steps, which adds up over tasks.
- Errors of one window have causes in common. So each window gives an adjustment of its own, and their mean counts as
  far as they agree, with v the variance of that mean. Narrowing is shrunk by 1 - v / mean^2 (the positive-part rule of
  James and Stein 1961), and by a quarter more, for it is dearer when wrong than widening. One bad window asks for more
  widening than a good one for narrowing, so the mean of a few is high more often than low: widening is the mean less
  its standard error, v^(1/2). Both are shrunk by W / (W + 1), as if one more window had needed none.
- A series that misses more often than its segment takes the adjustment for a higher coverage; see `series_factors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.evaluation.metrics import Layout
from forecasting.frequency import Int64Array

BLOCKS = 4
"""Blocks of steps with adjustments of their own; between their middles the adjustment changes linearly."""
BINS = 256
_BELOW = 96
_SHARPEST = 20.0
_FIRST, _LAST = -4.0, 60.0
FACTORS = np.exp(np.linspace(-np.log(3.0), np.log(3.0), 13))
"""Multiples of the nominal share of misses for which adjustments are kept."""
NARROWING = 0.75
_UNIT_COVERAGE = 0.8


@dataclass(frozen=True)
class Intervals:
    """What of some quantile levels is calibrated over a horizon: I symmetric pairs, B blocks of steps."""

    levels: tuple[float, ...]
    horizon: int

    @classmethod
    def of(cls, levels: Sequence[float], horizon: int) -> Intervals:
        return cls(Layout.of(levels).levels, horizon)

    @cached_property
    def pairs(self) -> Int64Array:
        """Positions of lower and upper level, widest first, int64 [I, 2]."""
        return read_only(np.array(Layout.of(self.levels).intervals, dtype=np.int64).reshape(-1, 2))

    @cached_property
    def nominal(self) -> FloatArray:
        """The coverage that each pair promises, [I]."""
        levels = np.array(self.levels)
        return np.asarray(levels[self.pairs[:, 1]] - levels[self.pairs[:, 0]])

    @property
    def unit(self) -> int:
        """Position of the pair whose width is a row's unit."""
        return int(np.abs(self.nominal - _UNIT_COVERAGE).argmin()) if len(self.pairs) else -1

    @cached_property
    def block(self) -> Int64Array:
        """The block of each step, int64 [H]."""
        blocks = min(self.horizon, BLOCKS)
        return read_only(np.arange(self.horizon, dtype=np.int64) * blocks // self.horizon)

    @property
    def blocks(self) -> int:
        """B."""
        return int(self.block[-1]) + 1

    @cached_property
    def mixture(self) -> FloatArray:
        """How much of each block's adjustment a step takes, [H, B]: linear between the blocks' middles."""
        steps = np.arange(self.horizon)
        middles = [steps[self.block == b].mean() for b in range(self.blocks)]
        return np.stack([np.interp(steps, middles, np.eye(self.blocks)[b]) for b in range(self.blocks)], axis=1)

    @property
    def shape(self) -> tuple[int, int, int]:
        """[B, I, BINS], the shape of a histogram of one segment and window."""
        return self.blocks, len(self.pairs), BINS


def _edges() -> FloatArray:
    """The bins' edges, [BINS + 1]: fine near 0, which is one of them, and coarse far out."""
    below, above = np.arcsinh(_SHARPEST * np.array([_FIRST, _LAST]))
    grid = np.concatenate([np.linspace(below, 0.0, _BELOW + 1), np.linspace(0.0, above, BINS - _BELOW + 1)[1:]])
    return np.asarray(np.sinh(grid) / _SHARPEST)


def histograms(
    quantiles: FloatArray, actual: FloatArray, group: npt.ArrayLike, groups: int, intervals: Intervals
) -> FloatArray:
    """How many points of each group have which score, float64 [G, B, I, BINS].

    quantiles: [R, H, Q]. actual: [R, H], NaN is not counted. group: int [R], any numbering of segment and window. Rows
    whose unit is not above 0 are left out: there is nothing to stretch.
    """
    out = np.zeros((groups, *intervals.shape))
    if len(intervals.pairs) and len(quantiles):
        index = read_only(np.ascontiguousarray(group, dtype=np.int64))
        q, y, edges = (read_only(np.ascontiguousarray(a, dtype=np.float64)) for a in (quantiles, actual, _edges()))
        _count(q, y, edges, index, intervals.pairs, intervals.unit, intervals.block, out)
    return out


@numba.njit(cache=True)
def _count(
    quantiles: FloatArray,
    actual: FloatArray,
    edges: FloatArray,
    group: Int64Array,
    pairs: Int64Array,
    unit: int,
    block: Int64Array,
    out: FloatArray,
) -> None:
    last = len(edges) - 2
    for r in range(len(quantiles)):
        for h in range(quantiles.shape[1]):
            y = actual[r, h]
            width = quantiles[r, h, pairs[unit, 1]] - quantiles[r, h, pairs[unit, 0]]
            if np.isnan(y) or not width > 0.0:
                continue
            for i in range(len(pairs)):
                score = max(quantiles[r, h, pairs[i, 0]] - y, y - quantiles[r, h, pairs[i, 1]]) / width
                if not np.isnan(score):
                    place = np.searchsorted(edges, score, side="left") - 1
                    out[group[r], block[h], i, min(max(place, 0), last)] += 1.0


def adjustments(counts: FloatArray, intervals: Intervals) -> FloatArray:
    """The adjustment of G segments in units of a row's own, float64 [G, B, I, C] for the C of FACTORS.

    counts: [G, W, B, I, BINS], histograms of W windows, which may be none. 0 where nothing was counted.
    """
    missed = np.clip((1.0 - intervals.nominal)[:, None] * FACTORS, 1e-3, 0.99)
    each = _quantiles(counts, 1.0 - missed)
    seen = counts.sum(axis=-1)[..., None] > 0
    windows = seen.sum(axis=1)
    mean = np.where(seen, each, 0.0).sum(axis=1) / np.maximum(windows, 1)
    spread = np.where(seen, (each - mean[:, None]) ** 2, 0.0).sum(axis=1)
    variance = spread / np.maximum(windows * (windows - 1), 1)
    doubt = variance / np.maximum(mean**2, 1e-300) * (windows > 1)
    agreed = np.maximum(1.0 - np.where(mean > 0, np.sqrt(doubt), doubt), 0.0)
    shrunk = mean * agreed * windows / (windows + 1)
    return np.asarray(np.where(shrunk < 0, NARROWING * shrunk, shrunk))


def _quantiles(counts: FloatArray, probability: FloatArray) -> FloatArray:
    """Quantiles of histograms [.., I, BINS] at [I, C]: linear inside a bin, NaN for an empty one; [.., I, C]."""
    edges = _edges()
    total = counts.sum(axis=-1)
    flat, shape = counts.reshape(-1, *counts.shape[-2:]), counts.shape[:-1]
    out = np.full((len(flat), *probability.shape), np.nan)
    for r, (histogram, n) in enumerate(zip(flat, total.reshape(-1, shape[-1]), strict=True)):
        for i in range(shape[-1]):
            if n[i] > 0:
                below = np.concatenate([[0.0], np.cumsum(histogram[i])]) / n[i]
                keep = np.append(np.diff(below) > 0, True)  # of equal shares the right edge: an interval has no hole
                keep[:-1] |= np.append(np.diff(below)[1:] > 0, False) if len(below) > 2 else False
                out[r, i] = np.interp(probability[i], below[keep], edges[keep])
    return out.reshape(*shape, probability.shape[1])


def coverage(counts: FloatArray, shift: FloatArray) -> FloatArray:
    """The share of points inside their interval when both ends move by `shift`, float64 [G, B, I]; NaN without points.

    counts: [G, W, B, I, BINS]. shift: [G, W, B, I], in units of a row's own; 0 is exact, others to within a bin.
    """
    edges, total = _edges(), counts.sum(axis=(1, -1))
    below = np.concatenate([np.zeros((*counts.shape[:-1], 1)), np.cumsum(counts, axis=-1)], axis=-1)
    place = np.clip(np.searchsorted(edges, shift, side="right") - 1, 0, BINS - 1)[..., None]
    low, high = (np.take_along_axis(below, place + i, axis=-1)[..., 0] for i in (0, 1))
    within = (shift - edges[place[..., 0]]) / (edges[place[..., 0] + 1] - edges[place[..., 0]])
    inside = (low + np.clip(within, 0.0, 1.0) * (high - low)).sum(axis=1)
    return np.asarray(np.divide(inside, total, out=np.full(total.shape, np.nan), where=total > 0))


def calibrated(
    quantiles: FloatArray, table: FloatArray, group: npt.ArrayLike, factors: FloatArray, intervals: Intervals
) -> FloatArray:
    """The adjusted quantiles, float64 [R, H, Q], increasing over the levels.

    quantiles: [R, H, Q]. table: [G, B, I, C], `adjustments`. group: int [R], -1 for rows to be left as they are.
    factors: [R, I], each row's multiple of the nominal misses. Levels without a symmetric partner stay, and so does
    the median: no level crosses it.
    """
    if not len(intervals.pairs) or not len(table):
        return quantiles
    out = quantiles.copy()
    index = np.asarray(group, dtype=np.int64)
    rows = np.flatnonzero(index >= 0)
    own = _at_factors(table[index[rows]], factors[rows])
    moved = np.zeros((len(rows), len(intervals.mixture), own.shape[2]))
    for b in range(intervals.blocks):  # always in this order: einsum's depends on the number of rows
        moved += intervals.mixture[:, b, None] * own[:, b, None, :]
    lower, upper = intervals.pairs[:, 0], intervals.pairs[:, 1]
    part = quantiles[rows]
    unit = part[:, :, upper[intervals.unit]] - part[:, :, lower[intervals.unit]]
    shift = moved * np.maximum(unit, 0.0)[..., None]
    median = Layout.of(intervals.levels).median
    inner = part[:, :, lower[-1]] / 2 + part[:, :, upper[-1]] / 2 if median is None else part[:, :, median]
    changed = part.copy()
    changed[:, :, lower] = np.minimum(part[:, :, lower] - shift, inner[..., None])
    changed[:, :, upper] = np.maximum(part[:, :, upper] + shift, inner[..., None])
    out[rows] = np.sort(changed, axis=2)
    return out


def _at_factors(table: FloatArray, factors: FloatArray) -> FloatArray:
    """[R, B, I, C] at each row's factors [R, I]: linear in their logarithm; [R, B, I]."""
    grid = np.log(FACTORS)
    place = np.clip((np.log(factors) - grid[0]) / (grid[1] - grid[0]), 0.0, len(grid) - 1.0)
    low = np.minimum(place.astype(np.int64), len(grid) - 2)
    share = (place - low)[:, None, :]
    index = np.broadcast_to(low[:, None, :, None], (*table.shape[:3], 1))
    left = np.take_along_axis(table, index, axis=3)[..., 0]
    right = np.take_along_axis(table, index + 1, axis=3)[..., 0]
    return np.asarray(left + share * (right - left))


def covered(quantiles: FloatArray, actual: FloatArray, intervals: Intervals) -> tuple[FloatArray, FloatArray]:
    """Points of each row and how many of them lie inside each interval: [R] and [R, I]."""
    known = np.isfinite(actual) & np.isfinite(quantiles).all(axis=2)
    lower, upper = quantiles[:, :, intervals.pairs[:, 0]], quantiles[:, :, intervals.pairs[:, 1]]
    inside = (lower <= actual[..., None]) & (actual[..., None] <= upper) & known[..., None]
    return known.sum(axis=1).astype(np.float64), inside.sum(axis=1).astype(np.float64)


def series_factors(points: FloatArray, inside: FloatArray, intervals: Intervals, strength: float) -> FloatArray:
    """Each series' multiple of the nominal misses, float64 [S, I], from 1/3 to 3.

    points: [S], its backtest points. inside: [S, I], those inside its segment's intervals. strength: points for which
    the nominal share counts. A series that missed twice as often as it should is aimed at half of the misses: its
    share is (misses + strength nominal) / (points + strength), the posterior mean of a beta prior.
    """
    nominal = np.maximum(1.0 - intervals.nominal, 1e-6)
    share = (points[:, None] - inside + strength * nominal) / (points + strength)[:, None]
    return np.clip(nominal / np.maximum(share, 1e-12), FACTORS[0], FACTORS[-1])
