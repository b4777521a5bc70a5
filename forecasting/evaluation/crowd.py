"""What a series' own scores are worth beside those of the series around it.

A few backtest windows rank models badly for one series and well for many. So each series' losses are made relative to
its best model, and then shrunk towards the average of its segment, which is shrunk towards the average of all: the
more windows stand behind a series, the more its own ranking counts (the weights of a normal-normal model; Efron and
Morris 1973, "Stein's estimation rule and its competitors").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array

WORST = 3.0
"""The largest log relative loss that counts, a factor of 20: one disaster must not decide for a whole segment."""
SEGMENT_SERIES = 20.0
"""Series that a segment needs to weigh as much as the average of all."""


def relative_loss(loss: FloatArray) -> FloatArray:
    """log(loss / the series' smallest loss), float64 [S, M], 0 to WORST; NaN where a model has no score.

    loss: [S, M], at least 0. Where the smallest loss is 0, models that share it get 0 and the others WORST.
    """
    best = np.fmin.reduce(loss, axis=1, keepdims=True, initial=np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        out = np.log(loss / best)
    out = np.where(loss == best, 0.0, np.where(np.isnan(out) & np.isfinite(loss), WORST, out))
    return np.asarray(np.where(np.isfinite(loss), np.clip(out, 0.0, WORST), np.nan))


def crowd_width(models: int) -> int:
    """Numbers in a row of `crowd_rows`."""
    return 2 + 3 * models


def crowd_rows(loss: FloatArray, ran: npt.NDArray[np.bool_]) -> FloatArray:
    """What each series adds to the numbers of its segment, float64 [S, 2 + 3 M].

    loss: [S, M], NaN is no score. ran: [S, M], the series' candidates. The parts: 1; whether all candidates have a
    score; per model 1 for a score, the relative loss, and the loss itself where all have one.
    """
    relative = relative_loss(loss)
    scored = np.asarray(np.isfinite(loss))
    complete = np.asarray((scored | ~ran).all(axis=1) & scored.any(axis=1))
    parts = [
        np.ones((len(loss), 1)),
        complete[:, None].astype(np.float64),
        scored.astype(np.float64),
        np.where(scored, relative, 0.0),
        np.where(complete[:, None], np.where(scored, loss, 0.0), 0.0),
    ]
    return np.concatenate(parts, axis=1)


def own_scores(sums: FloatArray) -> FloatArray:
    """Each segment's mean relative losses as they are, float64 [G, M], from the sums of `crowd_rows`; NaN for none."""
    models = (sums.shape[1] - 2) // 3
    return _ratio(sums[:, 2 + models : 2 + 2 * models], sums[:, 2 : 2 + models])


@dataclass(frozen=True)
class Crowd:
    """The scores of G segments for M models.

    scores: float64 [G, M], mean relative loss shrunk towards all segments', NaN for a model that no series of the
    segment ran. losses: [G, M], summed losses over the series that all models of the segment have scored; NaN as well.
    """

    scores: FloatArray
    losses: FloatArray

    @classmethod
    def of(cls, sums: FloatArray) -> Crowd:
        """From the sums of `crowd_rows` by segment, [G, 2 + 3 M]."""
        models = (sums.shape[1] - 2) // 3
        count, total, losses = (sums[:, 2 + i * models : 2 + (i + 1) * models] for i in range(3))
        overall = _ratio(total.sum(axis=0), count.sum(axis=0))
        shrunk = (total + SEGMENT_SERIES * np.nan_to_num(overall)) / (count + SEGMENT_SERIES)
        some = count > 0
        use = np.where((sums[:, 1] > 0)[:, None], losses, _ratio(total, count))
        return cls(np.where(some, shrunk, np.nan), np.where(some, use, np.nan))

    @property
    def overall(self) -> FloatArray:
        """The mean of the segments' scores, [M], for segments that have none."""
        return _ratio(np.nansum(self.scores, axis=0), np.isfinite(self.scores).sum(axis=0).astype(np.float64))


def shrunken(relative: FloatArray, windows: npt.ArrayLike, crowd: FloatArray, strength: float) -> FloatArray:
    """Each series' relative losses shrunk towards its segment's, float64 [S, M].

    relative: [S, M], NaN where a model has no score. windows: [S], windows behind a series' scores. crowd: [S, M], its
    segment's scores, NaN for a model that is no candidate there. strength: windows that the crowd counts for; with 0
    a series' own scores count alone where it has any. NaN where a model is no candidate.
    """
    own = np.asarray(windows, dtype=np.float64)[:, None]
    has = np.isfinite(relative) & (own > 0)
    whole = has | ~np.isfinite(crowd)
    mixed = (own * np.nan_to_num(relative) + strength * np.nan_to_num(crowd)) / np.maximum(own + strength, 1e-300)
    # A model without a score where others have one is known to be worse only by hearsay: the crowd's word, kept back.
    hearsay = np.where(has.any(axis=1, keepdims=True), np.nan, crowd)
    return np.asarray(np.where(has, mixed, np.where(whole, np.nan, hearsay)))


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    out = np.full(np.shape(numerator), np.nan)
    np.divide(numerator, denominator, out=out, where=denominator > 0)
    return out


def best_in_segment(crowd: Crowd, costs: npt.ArrayLike) -> Int64Array:
    """The model with the smallest summed loss of each segment, int64 [G]; ties to the cheaper, then to the first; -1
    where a segment has no candidates."""
    losses = np.where(np.isfinite(crowd.losses), crowd.losses, np.inf)
    order = np.lexsort((np.arange(losses.shape[1]), np.asarray(costs)))
    best = order[losses[:, order].argmin(axis=1)]
    return np.asarray(np.where(np.isfinite(losses).any(axis=1), best, -1), dtype=np.int64)
