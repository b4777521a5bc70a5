"""Ensembles: quantiles of several models averaged with weights that the backtests found.

Averaging quantiles level by level (Vincent averaging; Lichtendahl, Grushka-Cockayne and Winkler 2013, "Is it better to
average probabilities or quantiles?") keeps the shape of its members. Weights are non-negative and sum to one. A
segment's come from greedy forward selection with replacement (Caruana and others 2004, "Ensemble selection from
libraries of models"), bagged (`forecasting.evaluation.bagging`); a series' from its scores; the two are averaged.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only

STEPS = 20
"""Draws of the greedy selection: weights are multiples of 1 / STEPS or coarser."""
GAIN = 1e-4
"""A further draw must lower the loss by this share, or the smaller ensemble stays."""
SHARPNESS = 10.0
"""A model whose loss is 10 % larger gets exp(-SHARPNESS log 1.1), two fifths, of the weight."""
BEND = 2.0
"""A model whose score is 0.1 worse for a series than for its segment gets exp(-0.1 BEND) of the segment's weight."""
TRIMMED = 0.25
"""Share of the models left out at each end of the trimmed mean."""


def greedy_weights(
    forecasts: FloatArray, actual: FloatArray, levels: FloatArray, scale: FloatArray, *, squared: bool = False
) -> FloatArray:
    """Weights of M models by greedy forward selection, float64 [M].

    forecasts: [S, M, T, L], quantiles of S series at T points (steps of all windows). actual: [S, T], NaN is not
    scored. levels: [S, L]. scale: [S], what a series' loss is multiplied by. squared: squared error in place of the
    quantile loss (levels are then ignored). Points at which some model is not finite are left out. All zeros where
    nothing can be scored.
    """
    n, models = forecasts.shape[:2]
    weights = np.zeros(models)
    if not n or not models:
        return weights
    f, y, q, s = (read_only(np.ascontiguousarray(a, dtype=np.float64)) for a in (forecasts, actual, levels, scale))
    counts = np.zeros(models, dtype=np.int64)
    _greedy(f, y, q, s, squared, STEPS, GAIN, counts)
    return np.asarray(counts / counts.sum()) if counts.any() else weights


@numba.njit(cache=True)
def _greedy(
    forecasts: FloatArray,
    actual: FloatArray,
    levels: FloatArray,
    scale: FloatArray,
    squared: bool,
    steps: int,
    gain: float,
    counts: npt.NDArray[np.int64],
) -> None:
    """counts [M], zeros on entry: how often each model was drawn into the best ensemble met."""
    n, models, points, width = forecasts.shape
    use = np.ones((n, points), dtype=np.bool_)
    for i in range(n):
        for t in range(points):
            if np.isnan(actual[i, t]):
                use[i, t] = False
            for m in range(models):
                for q in range(width):
                    if not np.isfinite(forecasts[i, m, t, q]):
                        use[i, t] = False
    current = np.zeros((n, points, width))
    drawn = np.zeros(models, dtype=np.int64)
    best = np.inf
    loss = np.empty(models)
    for step in range(steps):
        loss[:] = 0.0
        share = 1.0 / (step + 1)
        for i in range(n):
            for m in range(models):
                total = 0.0
                for t in range(points):
                    if use[i, t]:
                        for q in range(width):
                            f = current[i, t, q] + share * (forecasts[i, m, t, q] - current[i, t, q])
                            error = actual[i, t] - f
                            if squared:
                                total += error * error
                            else:
                                total += max(levels[i, q] * error, (levels[i, q] - 1.0) * error)
                loss[m] += scale[i] * total
        chosen = int(np.argmin(loss))
        drawn[chosen] += 1
        for i in range(n):
            for t in range(points):
                for q in range(width):
                    current[i, t, q] += share * (forecasts[i, chosen, t, q] - current[i, t, q])
        if step == 0 or loss[chosen] < best * (1.0 - gain):
            best = loss[chosen]
            counts[:] = drawn


def series_weights(scores: FloatArray, segment: FloatArray, crowd: FloatArray, smallest: float) -> FloatArray:
    """Weights of each series, float64 [S, M].

    scores: [S, M], shrunken relative losses, NaN for a model that is no candidate. segment: [S, M], the weights of the
    series' segment; all zeros where it has none. crowd: [S, M], the segment's scores, NaN for none. Half of the weight
    follows the scores, exp(-SHARPNESS score), half the segment, bent by what the series' own scores say beyond it,
    exp(-BEND (score - crowd)): the segment's weights are what is known beforehand, the difference what the series
    adds. smallest: weights below it are dropped, but never the largest. A series without scores at all takes its
    segment's weights, and all zeros where there are none.
    """
    candidate = np.isfinite(scores)
    low = np.fmin.reduce(scores, axis=1, keepdims=True, initial=np.inf)
    with np.errstate(invalid="ignore"):
        soft = np.where(candidate, np.exp(-SHARPNESS * (scores - low)), 0.0)
        bent = segment * np.where(candidate & np.isfinite(crowd), np.exp(-BEND * (scores - crowd)), 1.0)
    shared = np.where(candidate | ~candidate.any(axis=1, keepdims=True), bent, 0.0)
    weights = _normalised(_normalised(soft) + _normalised(shared))
    largest = weights.max(axis=1, keepdims=True, initial=0.0)
    return _normalised(np.where((weights >= smallest) | (weights == largest), weights, 0.0))


def _normalised(weights: FloatArray) -> FloatArray:
    total = np.zeros((len(weights), 1))
    for m in range(weights.shape[1]):  # in order, so that models without weight change nothing
        total += weights[:, m : m + 1]
    return np.asarray(np.divide(weights, total, out=np.zeros_like(weights), where=total > 0))


def blend(forecasts: FloatArray, weights: FloatArray) -> FloatArray:
    """The weighted mean over models, float64 [S, K]. forecasts: [S, M, K]; weights: [S, M].

    A model whose forecast is not finite anywhere in a row is left out of it and the others' weights grow; NaN where
    none is left. The sum runs in the order of the models.
    """
    usable = np.where(np.isfinite(forecasts).all(axis=2), weights, 0.0)
    share = _normalised(usable)
    out = np.zeros((len(forecasts), forecasts.shape[2]))
    for m in range(forecasts.shape[1]):
        some = share[:, m] > 0
        out[some] += share[some, m, None] * forecasts[some, m]
    out[~(share > 0).any(axis=1)] = np.nan
    return out


def middle(forecasts: FloatArray, weights: FloatArray, *, trimmed: bool) -> FloatArray:
    """The median over models with a weight above 0 and a finite forecast, or their trimmed mean; float64 [S, K].

    forecasts: [S, M, K]; weights: [S, M]. trimmed: the mean without TRIMMED of the models at each end, number by
    number (Jose and Winkler 2008, "Simple robust averages of forecasts"). NaN where none is left.
    """
    usable = np.isfinite(forecasts).all(axis=2) & (weights > 0)
    count = usable.sum(axis=1)
    ordered = np.sort(np.where(usable[..., None], forecasts, np.inf), axis=1)
    cut = (np.floor(TRIMMED * count) if trimmed else (count - 1) // 2).astype(np.int64)
    place = np.arange(forecasts.shape[1])
    inside = (place >= cut[:, None]) & (place < (count - cut)[:, None])
    total = np.where(inside[..., None], ordered, 0.0).sum(axis=1)
    out = np.full(total.shape, np.nan)
    np.divide(total, inside.sum(axis=1)[:, None], out=out, where=(count > 0)[:, None])
    return out
