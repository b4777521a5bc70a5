"""Metrics as sums: the ratios that the sums of additive statistics give.

A row is one series in one backtest window (or one series whose actuals arrived). `row_statistics` turns it into
additive numbers, `COLUMNS` says which; the numbers of any group (item, segment, window, step, total) are the sum of
its rows' numbers, and `ratios` turns sums into metrics. So one pass over the rows serves every grouping, and a metric
of a group is a real ratio, never a mean of ratios.

Which point forecast is judged: WAPE, MAPE, sMAPE, MASE and OWA take the median, the forecast that minimises absolute
error; where level 0.5 is not among the levels they take the mean, and `Layout.point_forecast` says so. RMSE, RMSSE and
bias judge the mean. WAPE_mean judges the mean, as Amazon Forecast's WAPE did.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forecasting.batch import FloatArray
from forecasting.evaluation.layout import COLUMNS, Column, Kind, Layout
from forecasting.evaluation.row_statistics import row_statistics
from forecasting.evaluation.scales import mase_scale, rmsse_scale
from forecasting.levels import quantile_column

__all__ = ["COLUMNS", "Column", "Kind", "Layout", "mase_scale", "owa", "ratios", "rmsse_scale", "row_statistics"]


def ratios(sums: FloatArray, levels: Sequence[float]) -> dict[str, FloatArray]:
    """Metrics of summed rows: name to float64 [*S] for sums [*S, C]. Undefined is NaN, to be stored as NULL.

    wQL_p10, …: 2 sum pinball / sum |y| (Amazon Forecast's weighted quantile loss), undefined where all actuals are 0;
    the numerator stays in the sums. mean_wQL: their plain mean. pinball_p10, …: mean over points, in the unit of the
    data. CRPS: 2 x the pinball losses averaged with `Layout.weights` (Gneiting and Ranjan 2011, "Comparing density
    forecasts", equation 11: CRPS is twice the integral of the pinball loss over the levels; here by the midpoint
    rule), mean over points. WAPE, WAPE_mean: sum |error| / sum |y|. RMSE: root of the mean over points. MAPE: mean
    over points with an actual other than 0, a share. sMAPE: mean over points in per cent, 0 to 200 (Makridakis and
    Hibon 2000). MASE: mean over rows with a scale. RMSSE: mean over rows with a squared scale (M5 competitors' guide).
    MSIS_80, …: mean over rows with a scale of the interval score, width + 2 / a x distance outside, a = 1 - nominal
    coverage, over the scale (M4 competitors' guide; Gneiting and Raftery 2007, equation 43). coverage_p10, …: share of
    points at or below the quantile. coverage_80, …: share inside the interval. width_80, …: mean upper minus lower.
    bias: mean of forecast mean minus actual. log_loss: mean of -log density over points that have one. cost_under,
    cost_over, cost: sums of money, undefined where no point has unit costs.
    """
    layout = Layout.of(levels)
    total = {c.name: layout.part(np.asarray(sums, dtype=np.float64), c.name) for c in COLUMNS}
    n, size = total["n_points"], total["abs_actual"]
    losses = _divide(2.0 * total["pinball"], size[..., None])
    pinball = _divide(total["pinball"], n[..., None])
    out = {f"wQL_{quantile_column(q)}": losses[..., i] for i, q in enumerate(layout.levels)}
    out["mean_wQL"] = losses.mean(axis=-1)
    out |= {f"pinball_{quantile_column(q)}": pinball[..., i] for i, q in enumerate(layout.levels)}
    out["CRPS"] = 2.0 * (pinball * np.array(layout.weights)).sum(axis=-1)
    out["WAPE"] = _divide(total["abs_error_median"], size)
    out["WAPE_mean"] = _divide(total["abs_error_mean"], size)
    out["RMSE"] = np.sqrt(_divide(total["squared_error"], n))
    out["MAPE"] = _divide(total["ape"], n - total["n_zero_actual"])
    out["sMAPE"] = _divide(total["sape"], n)
    out["MASE"] = _divide(total["mase"], total["n_mase"])
    out["RMSSE"] = _divide(total["rmsse"], total["n_rmsse"])
    out["bias"] = _divide(total["bias"], n)
    out["log_loss"] = _divide(total["log_loss_sum"], total["n_log_loss"])
    some = total["n_cost"] > 0
    out |= {name: np.where(some, total[name], np.nan) for name in ("cost_under", "cost_over")}
    out["cost"] = out["cost_under"] + out["cost_over"]
    covered, inside = _divide(total["covered"], n[..., None]), _divide(total["inside"], n[..., None])
    width, msis = _divide(total["width"], n[..., None]), _divide(total["msis"], total["n_mase"][..., None])
    out |= {f"coverage_{quantile_column(q)}": covered[..., i] for i, q in enumerate(layout.levels)}
    for name, values in (("coverage", inside), ("width", width), ("MSIS", msis)):
        out |= {f"{name}_{interval}": values[..., i] for i, interval in enumerate(layout.interval_names)}
    return out


def owa(sums: FloatArray, reference: FloatArray, levels: Sequence[float]) -> FloatArray:
    """The overall weighted average of the M4 competition, float64 [*S]: the mean of sMAPE and MASE, each relative to a
    reference forecast's (M4 competitors' guide 2018; Makridakis and others 2020, section 2.3).

    sums, reference: [*S, C], a model's and the reference's on the same points. NaN where the two were not scored on as
    many points and rows, and where the reference's sMAPE or MASE is 0 or undefined.
    """
    layout = Layout.of(levels)
    counts = ("n_rows", "n_points", "n_missing", "n_mase")
    same = np.all([layout.part(sums, c) == layout.part(reference, c) for c in counts], axis=0)
    mine, theirs = ratios(sums, levels), ratios(reference, levels)
    relative = [_divide(mine[name], theirs[name]) for name in ("sMAPE", "MASE")]
    return np.where(same, (relative[0] + relative[1]) / 2.0, np.nan)


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The ratio, NaN where the denominator is not above 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    out = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.broadcast_to(denominator > 0, shape))
    return out
