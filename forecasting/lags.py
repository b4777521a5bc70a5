"""Lags and rolling statistics of the target, for models that learn over all series at once.

The features of period t use values before t only. To forecast h steps ahead without feeding forecasts back, take lags
of at least h and an `ahead` of h for windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.frequency import Int64Array

Statistic = Literal["mean", "std", "min", "max"]
STATISTICS: tuple[Statistic, ...] = ("mean", "std", "min", "max")
BoolArray = npt.NDArray[np.bool_]


def target_lags(batch: SeriesBatch, lags: Sequence[int]) -> tuple[FloatArray, BoolArray]:
    """The value `lag` periods before each period, float64 [T, L], and whether it was observed, bool [T, L].

    T: all periods of the batch in the order of its values. What was not observed (missing, or before the series
    begins) is 0. Raises ValueError for a lag below 1: that would be the value itself.
    """
    steps = np.asarray(lags, dtype=np.int64)
    if steps.ndim != 1 or (steps < 1).any():
        raise ValueError(f"got lags {list(lags)}; expected whole numbers of at least 1")
    values = np.zeros((len(batch.values), len(steps)))
    mask = np.zeros(values.shape, dtype=np.bool_)
    _lags(batch.values, batch.offsets, steps, values, mask)
    return values, mask


def rolling_target(
    batch: SeriesBatch, window: int, statistics: Sequence[Statistic] = ("mean",), ahead: int = 1, least: int = 1
) -> tuple[FloatArray, BoolArray]:
    """Statistics of the `window` periods that end `ahead` periods before each period, float64 [T, S], and whether at
    least `least` of them were observed, bool [T, S].

    std is that of a sample (n - 1) and needs two observations. What is not there is 0. Raises ValueError for window,
    ahead or least below 1, or an unknown statistic.
    """
    if min(window, ahead, least) < 1:
        raise ValueError(f"got window {window}, ahead {ahead} and least {least}; expected at least 1 of each")
    unknown = [name for name in statistics if name not in STATISTICS]
    if unknown:
        raise ValueError(f"got statistics {unknown}; expected some of {', '.join(STATISTICS)}")
    table = np.zeros((len(batch.values), len(STATISTICS)))
    count = np.zeros(len(batch.values), dtype=np.int64)
    _rolling(batch.values, batch.offsets, window, ahead, table, count)
    chosen = [STATISTICS.index(name) for name in statistics]
    needed = np.array([max(least, 2) if name == "std" else least for name in statistics])
    mask = count[:, None] >= needed
    return np.where(mask, table[:, chosen], 0.0), mask


@numba.njit(cache=True)
def _lags(values: FloatArray, offsets: Int64Array, lags: Int64Array, out: FloatArray, mask: BoolArray) -> None:
    for i in range(len(offsets) - 1):
        for t in range(offsets[i], offsets[i + 1]):
            for k in range(len(lags)):
                s = t - lags[k]
                if s >= offsets[i] and np.isfinite(values[s]):
                    out[t, k], mask[t, k] = values[s], True


@numba.njit(cache=True)
def _rolling(
    values: FloatArray, offsets: Int64Array, window: int, ahead: int, out: FloatArray, count: Int64Array
) -> None:
    """out [T, 4]: mean, std, min and max of the observed values in the window; count [T]: how many there are."""
    for i in range(len(offsets) - 1):
        for t in range(offsets[i], offsets[i + 1]):
            total, squares, low, high, n = 0.0, 0.0, np.inf, -np.inf, 0
            for s in range(max(t - ahead - window + 1, offsets[i]), t - ahead + 1):
                if np.isfinite(values[s]):
                    total += values[s]
                    low, high = min(low, values[s]), max(high, values[s])
                    n += 1
            count[t] = n
            if n == 0:
                continue
            mean = total / n
            for s in range(max(t - ahead - window + 1, offsets[i]), t - ahead + 1):
                if np.isfinite(values[s]):
                    squares += (values[s] - mean) ** 2
            out[t, 0], out[t, 2], out[t, 3] = mean, low, high
            out[t, 1] = np.sqrt(squares / (n - 1)) if n > 1 else 0.0
