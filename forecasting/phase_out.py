"""How sales decline before an end that is known: learnt from items that have reached theirs.

Each ended item gives, for each of its last K periods, the ratio of its value to its level before them. The curve is
the median of these ratios over items, divided by the median ratio in the periods before (which is below 1 for skewed
demand), shrunk towards no decline: few items say little, and a segment's curve leans on that of all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array

LARGEST = 3.0
"""What a factor may be at most: sales may also rise before the end."""
_LEAST_BASE, _LEAST_NOW = 0.2, 0.1


@dataclass(frozen=True)
class Curves:
    """factors: [G + 1, K], what the last, the last but one, … period of a life is multiplied by; the last row is that
    of all items, for series of other segments. items: [G + 1, K], ended items behind each factor."""

    segments: tuple[str, ...]
    factors: FloatArray
    items: FloatArray

    def rows_of(self, names: list[str | None]) -> Int64Array:
        """The row of each segment name."""
        place = {name: row for row, name in enumerate(self.segments)}
        return np.array([place.get(name or "", len(self.segments)) for name in names], dtype=np.int64)


def fading(curves: Curves, row: Int64Array, cutoff: Int64Array, end: Int64Array, horizon: int) -> FloatArray:
    """What forecasts of N series are multiplied by, [N, H].

    row: of `curves`. cutoff, end: int64 [N], the last period seen and the last one of the life. A series whose decline
    has begun has it in its level already, so that the factor is relative to that of the last period seen.
    """
    periods = curves.factors.shape[1]
    padded = np.concatenate([curves.factors, np.ones((len(curves.factors), 1))], axis=1)

    def at(left: Int64Array) -> FloatArray:
        place = np.where((left >= 0) & (left < periods), left, periods)
        return np.asarray(padded[row.reshape(-1, *(1,) * (left.ndim - 1)), place])

    now = np.maximum(at(end - cutoff), _LEAST_NOW)
    left = end[:, None] - cutoff[:, None] - np.arange(1, horizon + 1)
    factor = np.where(left >= 0, at(left) / now[:, None], 1.0)
    return np.clip(factor, 0.0, LARGEST)


def end_ratios(
    values: FloatArray,
    offsets: Int64Array,
    start: Int64Array,
    end: Int64Array,
    periods: int,
    before: int,
    *,
    zero: bool,
) -> FloatArray:
    """Ratios of N ended items to their level before, [N, K + 1], NaN where nothing is known.

    Column j < K is the period with j more to live, column K the median of the `before` periods that the level is the
    mean of. zero: a missing value is zero.
    """
    out = np.full((len(start), periods + 1), np.nan)
    floats = read_only(np.ascontiguousarray(values, dtype=np.float64))
    whole = [read_only(np.ascontiguousarray(a, dtype=np.int64)) for a in (offsets, start, end)]
    _ratios(floats, whole[0], whole[1], whole[2], before, zero, out)
    return out


@numba.njit(cache=True)
def _ratios(
    values: FloatArray,
    offsets: Int64Array,
    start: Int64Array,
    end: Int64Array,
    before: int,
    zero: bool,
    out: FloatArray,
) -> None:
    periods = out.shape[1] - 1
    for i in range(len(start)):
        n = offsets[i + 1] - offsets[i]
        seen = np.empty(before)
        count, total = 0, 0.0
        for back in range(periods, periods + before):
            t = end[i] - back - start[i]
            if t < 0:
                break
            y = values[offsets[i] + t] if t < n else np.nan
            if np.isnan(y) and zero:
                y = 0.0
            if not np.isnan(y):
                seen[count] = y
                count += 1
                total += y
        if count < 3 or total <= 0.0:
            continue
        level = total / count
        out[i, periods] = np.median(seen[:count]) / level
        for back in range(periods):
            t = end[i] - back - start[i]
            y = values[offsets[i] + t] if 0 <= t < n else np.nan
            if np.isnan(y) and zero:
                y = 0.0
            if not np.isnan(y):
                out[i, back] = y / level


def shrunk_curve(median: FloatArray, count: FloatArray, parent: FloatArray, strength: float) -> FloatArray:
    """A curve from the medians [K + 1] of `end_ratios` over `count` [K + 1] items, shrunk towards `parent` [K]."""
    base, known = median[-1], np.isfinite(median[:-1])
    if not np.isfinite(base) or base < _LEAST_BASE:  # mostly zero before: a median tells nothing of a decline
        return parent
    own = np.clip(np.where(known, median[:-1] / base, 1.0), 0.0, LARGEST)
    weight = np.where(known, count[:-1], 0.0)
    return np.asarray((weight * own + strength * parent) / np.maximum(weight + strength, 1e-12))
