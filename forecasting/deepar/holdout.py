"""The windows that say when a training has learned enough: the last ones of some series, chosen by their keys."""

from __future__ import annotations

import torch
from torch import Tensor

from forecasting.deepar.noise import Noise, seed_of
from forecasting.deepar.series_set import SeriesSet
from forecasting.deepar.settings import Settings
from forecasting.deepar.windows import Draw

_HORIZONS = 3
_PART = 4
"""One series in this many at most is held out, so that most are trained on to their end."""
_AT_ONCE = 256
_SEED = 13


def hold_out(series: SeriesSet, settings: Settings, seed: int, chunks: int = 1) -> tuple[list[Draw], Tensor]:
    """The last windows of some series, and how many points of each series are trained on, int64 [N].

    chunks: how many chunks the set is, each of which gives its share of `holdout_series`.
    """
    ends = series.length.clone()
    long = torch.nonzero(series.length >= _HORIZONS * series.horizon)[:, 0]
    if not settings.holdout_series or not len(long):
        return [], ends
    order = Noise(series.key_hash[long] + seed_of(seed, _SEED, 0)).bits()
    most = min(-(-settings.holdout_series // chunks), -(-len(series) // _PART))
    chosen = long[order.argsort(stable=True)[:most]]
    ends[chosen] -= series.horizon
    return [
        Draw(rows=part, ends=ends[part], begins=torch.zeros_like(part), unknown=None)
        for part in torch.split(chosen, _AT_ONCE)
    ], ends
