"""Ensemble weights that do not follow the errors of one window or of a few series.

A backtest window has causes that its series share, and a sum over series follows the largest: one selection over all
fits both. So it only says which models are of use. How much of each comes from cells, a window by a fold of the
series: each cell selects an ensemble from these models, and the cells' weights are averaged (bagging: Breiman 1996,
"Bagging predictors"; of ensemble selection, Caruana and others 2004, section 2.3, who bag models; of parts drawn
without replacement, Buhlmann and Yu 2002, "Analyzing bagging"). Where cells agree, the mean is what each of them says;
where they do not, it goes towards equal weights, by as much as they disagree.
"""

from __future__ import annotations

import numpy as np

from forecasting.batch import FloatArray
from forecasting.evaluation.ensemble import greedy_weights

CELL_SERIES = 5
"""Series of a cell, about: few enough for the largest series to decide in few cells, and for cells to differ."""


def bagged_weights(
    forecasts: FloatArray, actual: FloatArray, levels: FloatArray, scale: FloatArray, *, squared: bool = False
) -> FloatArray:
    """Weights of M models, float64 [M]; all zeros where nothing can be scored.

    forecasts: [S, M, W, H, L], quantiles of S series by M models in W windows of H steps. actual: [S, W, H], NaN is
    not scored. levels: [S, L]. scale: [S], what a series' loss is multiplied by, 0 to leave it out. squared: squared
    error in place of the quantile loss (levels are then ignored). Series are dealt to the folds of a window in their
    order, which must say nothing of them (that of a hash). A cell counts for as many series as it has. Points at which
    some model is not finite are left out.
    """
    n, models, _, _, width = forecasts.shape
    usable = np.isfinite(actual) & np.isfinite(forecasts).all(axis=(1, 4)) & (scale > 0)[:, None, None]
    if not usable.any():
        return np.zeros(models)
    happened = np.where(usable, actual, np.nan)
    whole = forecasts.reshape(n, models, -1, width)
    first = greedy_weights(whole, happened.reshape(n, -1), levels, scale, squared=squared)
    members = np.flatnonzero(first)
    if len(members) < 2:
        return first
    total = np.zeros(models)
    for window in range(forecasts.shape[2]):
        scored = np.flatnonzero(usable[:, window].any(axis=1))
        folds = max(1, round(len(scored) / CELL_SERIES))
        for fold in range(folds if len(scored) else 0):
            cell = scored[fold::folds]
            part = forecasts[:, :, window][np.ix_(cell, members)]
            chosen = greedy_weights(part, happened[cell, window], levels[cell], scale[cell], squared=squared)
            total[members] += len(cell) * chosen
    return np.asarray(total / total.sum())
