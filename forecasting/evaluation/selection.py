"""The best model of every series by its summed loss over the backtest windows.

The loss is a sum of the rows' additive statistics, not a ratio, so it is defined for series whose actuals are all
zero. Models are compared on the same points only: a model that left a point without a forecast has no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray
from forecasting.evaluation.metrics import Layout
from forecasting.frequency import Int64Array
from forecasting.models.contract import ObjectArray

SelectionMetric = Literal["mean_wQL", "WAPE", "RMSE", "MASE", "MAPE", "cost"]
SELECTION_METRICS: tuple[str, ...] = get_args(SelectionMetric)

BEST = "best"
ONLY_CANDIDATE = "only_candidate"
TIE_NO_FALLBACK = "tie_no_fallback"
TIE_CHEAPER = "tie_cheaper"
TIE_FIRST = "tie_first"
NO_SCORES = "no_scores"

TIE_TOLERANCE = 1e-9
"""Losses within this share of the smallest one are equal: sums that differ by rounding alone must not decide."""


@dataclass(frozen=True)
class Selection:
    """The choice for S series among M models; positions are columns of the loss.

    chosen: int64 [S]. score: float64 [S], the chosen model's loss, NaN where it has none. runner_up: int64 [S], the
    next best model with a score, -1 for none. runner_up_score: float64 [S]. margin: float64 [S], the share by which
    the score is below the runner-up's, 0 to 1, NaN without a runner-up. reason: object [S], one of
    best (the smallest loss), only_candidate (no other model has a score), tie_no_fallback (equal loss, fewer windows
    in which a fallback stood in), tie_cheaper (equal loss, lower cost), tie_first (equal in all that, first in the
    config), no_scores (no model has a score: the model that is best overall).
    """

    chosen: Int64Array
    score: FloatArray
    runner_up: Int64Array
    runner_up_score: FloatArray
    margin: FloatArray
    reason: ObjectArray


def selection_loss(sums: FloatArray, levels: Sequence[float], metric: str = "mean_wQL") -> FloatArray:
    """The loss that a metric compares models of one series by, float64 [S, M].

    sums: [S, M, C], `row_statistics` added up over a series' windows for each model; NaN for a model without rows.
    metric: mean_wQL is the quantile loss 2 sum pinball averaged over the levels, WAPE the summed absolute error (both
    without the denominator, which is the same for all models), RMSE, MASE and MAPE the metrics themselves, cost the
    money that the errors cost.
    NaN where the metric is undefined, and where a model has fewer scored points than another of the same series.
    Raises ValueError for an unknown metric.
    """
    layout = Layout.of(levels)
    total = np.asarray(sums, dtype=np.float64)
    points = layout.part(total, "n_points")
    with np.errstate(invalid="ignore", divide="ignore"):
        loss = _loss(total, layout, metric, points)
        asked = np.fmax(points, 0) + np.fmax(layout.part(total, "n_unforecast"), 0)
        complete = (points > 0) & (points >= asked.max(axis=1, keepdims=True, initial=0))
    return np.where(complete & np.isfinite(loss), loss, np.nan)


def _loss(total: FloatArray, layout: Layout, metric: str, points: FloatArray) -> FloatArray:
    if metric == "mean_wQL":
        return np.asarray(2.0 * layout.part(total, "pinball").mean(axis=-1))
    if metric == "WAPE":
        return layout.part(total, "abs_error_median")
    if metric == "RMSE":
        return np.sqrt(layout.part(total, "squared_error") / points)
    if metric == "MASE":
        return layout.part(total, "mase") / layout.part(total, "n_mase")
    if metric == "MAPE":
        return layout.part(total, "ape") / (points - layout.part(total, "n_zero_actual"))
    if metric == "cost":
        return layout.part(total, "cost_under") + layout.part(total, "cost_over")
    raise ValueError(f"got selection metric {metric!r}, expected one of {', '.join(SELECTION_METRICS)}")


def best_overall(loss: FloatArray, costs: Sequence[float]) -> int:
    """The model with the smallest summed loss over the series where all models that have any score have one.

    loss: [S, M], NaN is no score. costs: [M]. Where no series has all scores, models with more scores come first.
    Ties go to the cheaper model, then to the first; without a single score the cheapest model is returned.
    """
    values = _checked(loss, costs)
    defined = np.isfinite(values)
    counts = defined.sum(axis=0)
    shared = defined[:, counts > 0].all(axis=1)
    if counts.any() and shared.any():
        sums = np.where(counts > 0, np.where(defined, values, 0.0)[shared].sum(axis=0), np.inf)
    else:
        sums = np.where(counts == counts.max(initial=0), np.where(defined, values, 0.0).sum(axis=0), np.inf)
    tied = np.flatnonzero(sums <= _limit(sums.min()))
    return int(min(tied.tolist(), key=lambda m: (costs[m], m)))


def select_best(
    loss: FloatArray,
    costs: Sequence[float],
    n_fallback: npt.ArrayLike | None = None,
    overall: int | None = None,
) -> Selection:
    """The model with the smallest loss for every series.

    loss: [S, M], NaN where a model has no score. costs: [M], the models' static costs. n_fallback: [S, M], windows in
    which another forecast stood in: such a row counts with what stood in, and loses a tie to a model of its own.
    overall: the model for series without any score, from `best_overall` over the whole run; None takes it from this
    loss, which is right only where it holds the whole run. Raises ValueError when the shapes disagree.
    """
    values = _checked(loss, costs)
    n, models = values.shape
    fallbacks = np.zeros((n, models), dtype=np.int64) if n_fallback is None else np.asarray(n_fallback, np.int64)
    if fallbacks.shape != values.shape:
        raise ValueError(f"got n_fallback of shape {fallbacks.shape} for losses of shape {values.shape}")
    order = np.lexsort((np.arange(models), np.asarray(costs)))
    ranked = np.where(np.isfinite(values), values, np.inf)[:, order]
    fallbacks = fallbacks[:, order]
    first, tied = _winners(ranked, fallbacks)
    second = _runners_up(ranked, fallbacks, first)
    reason = _reasons(ranked, fallbacks, np.asarray(costs)[order], first, tied)
    unscored = ~np.isfinite(ranked).any(axis=1)
    chosen = order[first]
    if unscored.any():
        chosen[unscored] = best_overall(values, costs) if overall is None else overall
    runner_up = np.where(second >= 0, order[second], -1)
    score = values[np.arange(n), chosen]
    runner_up_score = np.where(second >= 0, values[np.arange(n), runner_up], np.nan)
    return Selection(chosen, score, runner_up, runner_up_score, _margin(score, runner_up_score), reason)


def _checked(loss: FloatArray, costs: Sequence[float]) -> FloatArray:
    values = np.asarray(loss, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(costs) or not len(costs):
        raise ValueError(f"got losses of shape {values.shape} and {len(costs)} costs, expected [series, models]")
    return values


def _limit(smallest: npt.ArrayLike) -> FloatArray:
    return np.asarray(np.asarray(smallest, dtype=np.float64) * (1.0 + TIE_TOLERANCE))


def _winners(ranked: FloatArray, fallbacks: Int64Array) -> tuple[Int64Array, npt.NDArray[np.bool_]]:
    """Position of the winner among columns in the order of cost, [S], and which models share its loss, [S, M]."""
    tied = ranked <= _limit(ranked.min(axis=1))[:, None]
    own = np.where(tied, fallbacks, np.iinfo(np.int64).max)
    return np.asarray(own.argmin(axis=1), dtype=np.int64), tied


def _runners_up(ranked: FloatArray, fallbacks: Int64Array, first: Int64Array) -> Int64Array:
    """Position of the next best model with a score, -1 for none, [S]."""
    if ranked.shape[1] == 1:
        return np.full(len(ranked), -1, dtype=np.int64)
    others = ranked.copy()
    others[np.arange(len(ranked)), first] = np.inf
    second, _ = _winners(others, fallbacks)
    return np.where(np.isfinite(others[np.arange(len(ranked)), second]), second, -1)


def _reasons(
    ranked: FloatArray,
    fallbacks: Int64Array,
    costs: FloatArray,
    first: Int64Array,
    tied: npt.NDArray[np.bool_],
) -> ObjectArray:
    scored = np.isfinite(ranked).sum(axis=1)
    own = fallbacks[np.arange(len(ranked)), first]
    level = tied & (fallbacks == own[:, None])
    level_and_cost = level & (costs == costs[first][:, None])
    out = np.full(len(ranked), BEST, dtype=object)
    out[tied.sum(axis=1) > 1] = TIE_NO_FALLBACK
    out[level.sum(axis=1) > 1] = TIE_CHEAPER
    out[level_and_cost.sum(axis=1) > 1] = TIE_FIRST
    out[scored == 1] = ONLY_CANDIDATE
    out[scored == 0] = NO_SCORES
    return out


def _margin(score: FloatArray, runner_up_score: FloatArray) -> FloatArray:
    out = np.where(np.isfinite(score) & np.isfinite(runner_up_score), 0.0, np.nan)
    np.divide(runner_up_score - score, runner_up_score, out=out, where=runner_up_score > 0)
    return np.where(np.isnan(out), np.nan, np.maximum(out, 0.0))
