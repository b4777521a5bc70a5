"""The decomposition that a fit rests on, and how it goes on over the horizon."""

from __future__ import annotations

import numpy as np

from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from forecasting.models.contract import Components, Rows
from forecasting.models.mstl.states import Parts, visible


def components(
    rows: Rows, lengths: Int64Array, parts: Parts, history: FloatArray, mean: FloatArray, failed: FloatArray
) -> Components:
    """trend, season_<length> each and remainder.

    history: trend and seasons [1 + K, T] of the rows, NaN before the first and after the last observation. mean:
    [R, H], the forecast of the adjusted series. failed: [R], rows without a fit.
    """
    k, horizon = len(lengths), mean.shape[1]
    sizes = rows.end - rows.begin
    offsets = offsets_of(sizes + horizon)
    out = np.full((int(offsets[-1]), k + 2), np.nan)
    place = np.repeat(offsets[:-1] - offsets_of(sizes)[:-1], sizes) + np.arange(int(sizes.sum()))
    out[place, : k + 1] = history.T
    out[place, k + 1] = visible(rows) - history.sum(axis=0)
    ahead = offsets[1:, None] - horizon + np.arange(horizon)
    out[ahead, 0] = mean
    out[ahead, k + 1] = 0.0
    for i in range(k):
        out[ahead, 1 + i] = _one_season(parts, lengths, i, horizon)
    out[np.repeat(failed > 0.0, sizes + horizon)] = np.nan
    return Components(("trend", *(f"season_{m}" for m in lengths), "remainder"), out, offsets)


def _one_season(parts: Parts, lengths: Int64Array, i: int, horizon: int) -> FloatArray:
    """Season i over the horizon, [R, H]; 0 where it is not in use."""
    out = np.zeros((len(parts.counts), horizon))
    used = np.flatnonzero(parts.counts > i)
    place = parts.offsets[used] + int(lengths[:i].sum())
    out[used] = parts.patterns[place[:, None] + np.arange(horizon) % lengths[i]]
    return out
