"""Rows of forecasts and actuals into their additive statistics, all of them in one pass over the points."""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.evaluation.density import RESOLUTION, log_density, tail_factors
from forecasting.evaluation.layout import SCALARS, Layout
from forecasting.evaluation.step_sums import StepSums, add_points
from forecasting.frequency import Int64Array


def row_statistics(
    mean: FloatArray,
    quantiles: FloatArray,
    actual: FloatArray,
    mase_scale: npt.ArrayLike,
    levels: Sequence[float],
    *,
    rmsse_scale: npt.ArrayLike | None = None,
    log_density: FloatArray | None = None,
    under: npt.ArrayLike | None = None,
    over: npt.ArrayLike | None = None,
    steps: StepSums | None = None,
    group: npt.ArrayLike | None = None,
) -> FloatArray:
    """The additive numbers of every row, float64 [*S, C], columns as in `Layout.of(levels).names`.

    mean: [*S, H]. quantiles: [*S, H, Q]. actual: [*S, H], NaN is missing. mase_scale: [*S], NaN or 0 where MASE is
    undefined. rmsse_scale: [*S], squared, likewise. log_density: [*S, H], the model's own log density of the actual;
    where it is not finite (or None), that of the quantiles is taken. under, over: [*S], money a unit of error costs,
    NaN for none. steps: gets each step's numbers added, group: int64 [*S], to which of its groups, 0 on.
    S is any leading shape, such as [N, W]. Only points with an actual and with a finite mean and quantiles are
    scored; the others are counted. Raises ValueError when the shapes disagree.
    """
    layout = Layout.of(levels)
    lead, horizon, n_levels = actual.shape[:-1], actual.shape[-1], len(layout.levels)
    of_row = [_of_rows(given, lead) for given in (mase_scale, rmsse_scale, under, over)]
    density = np.full((*lead, 0), np.nan) if log_density is None else log_density
    index = np.broadcast_to(np.int64(0), lead) if group is None else np.asarray(group, dtype=np.int64)
    got = (mean.shape, quantiles.shape, *(given.shape for given in of_row), density.shape, index.shape)
    expected = (
        *((*lead, horizon), (*lead, horizon, n_levels), *[lead] * 4),
        *((*lead, 0 if log_density is None else horizon), lead),
    )
    if got != expected:
        raise ValueError(
            f"got mean, quantiles, mase_scale, rmsse_scale, under, over, log_density and group of shapes {got}, "
            f"expected {expected} for actuals of shape {actual.shape} and {n_levels} levels"
        )
    n = int(np.prod(lead, dtype=np.int64))
    out = np.zeros((n, len(layout)))
    empty = np.zeros((0, 0, len(layout)))
    high, low = (empty, empty) if steps is None else steps.arrays(int(index.max(initial=-1)) + 1, horizon)
    _statistics(
        _flat(mean, (n, horizon)),
        _flat(quantiles, (n, horizon, n_levels)),
        _flat(actual, (n, horizon)),
        _flat(density, (n, density.shape[-1])),
        _flat(np.stack(of_row, axis=-1), (n, len(of_row))),
        np.array(layout.levels),
        -1 if layout.median is None else layout.median,
        np.array(layout.intervals, dtype=np.int64).reshape(-1, 2),
        tail_factors(np.array(layout.levels)),
        read_only(np.ascontiguousarray(index.reshape(-1))),
        high,
        low,
        np.zeros((horizon, len(layout))),
        out,
    )
    return out.reshape(*lead, len(layout))


def _of_rows(given: npt.ArrayLike | None, lead: tuple[int, ...]) -> FloatArray:
    return np.full(lead, np.nan) if given is None else np.asarray(given, dtype=np.float64)


def _flat(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return read_only(np.ascontiguousarray(array, dtype=np.float64).reshape(shape))


_ROWS, _POINTS, _MISSING, _UNFORECAST = (SCALARS.index(f"n_{c}") for c in ("rows", "points", "missing", "unforecast"))
_ZERO, _ZERO_ROWS = SCALARS.index("n_zero_actual"), SCALARS.index("n_zero_rows")
_ACTUAL, _MEDIAN, _MEAN = (SCALARS.index(f"abs_{c}") for c in ("actual", "error_median", "error_mean"))
_SQUARED, _BIAS, _APE, _SAPE = (SCALARS.index(c) for c in ("squared_error", "bias", "ape", "sape"))
_MASE, _N_MASE, _RMSSE, _N_RMSSE = (SCALARS.index(c) for c in ("mase", "n_mase", "rmsse", "n_rmsse"))
_LOG, _N_LOG, _N_MODEL = (SCALARS.index(c) for c in ("log_loss_sum", "n_log_loss", "n_log_loss_model"))
_UNDER, _OVER, _N_COST = (SCALARS.index(c) for c in ("cost_under", "cost_over", "n_cost"))
_FIRST_QUANTILE = len(SCALARS)


@numba.njit(cache=True)
def _statistics(
    mean: FloatArray,
    quantiles: FloatArray,
    actual: FloatArray,
    density: FloatArray,
    of_row: FloatArray,
    levels: FloatArray,
    median: int,
    intervals: Int64Array,
    tails: tuple[float, float],
    group: Int64Array,
    high: FloatArray,
    low: FloatArray,
    points: FloatArray,
    out: FloatArray,
) -> None:
    """Fill out [R, C], zeros on entry, and add to high, low [G, H, C] where these are not empty.

    of_row: [R, 4], scale, squared scale, under, over. points: [H, C], room for one row's points.
    """
    f = np.empty(len(levels))
    first_msis = _FIRST_QUANTILE + 2 * len(levels) + 2 * len(intervals)
    for r in range(actual.shape[0]):
        scale, squared_scale, under, over = of_row[r, 0], of_row[r, 1], of_row[r, 2], of_row[r, 3]
        inverse = 1.0 / scale if scale > 0.0 else 0.0
        inverse_root = 1.0 / np.sqrt(squared_scale) if squared_scale > 0.0 else 0.0
        resolution = RESOLUTION * (scale if scale > 0.0 else _mean_size(actual[r]))
        costs = under >= 0.0 and over >= 0.0 and under + over > 0.0
        place, share = _place(levels, under / (under + over)) if costs else (0, 0.0)
        points[...] = 0.0
        for h in range(actual.shape[1]):
            y, center = actual[r, h], mean[r, h]
            if np.isnan(y):
                points[h, _MISSING] = 1.0
                continue
            finite = np.isfinite(center)
            for q in range(len(f)):
                f[q] = quantiles[r, h, q]
                finite &= np.isfinite(f[q])
            if not finite:
                points[h, _UNFORECAST] = 1.0
                continue
            _score_point(y, center if median < 0 else f[median], center, inverse, inverse_root, points, h)
            _score_quantiles(y, f, levels, intervals, inverse, points, h)
            own = density[r, h] if density.shape[1] > 0 else np.nan
            if np.isfinite(own):
                points[h, _N_MODEL] = 1.0
            else:
                own = log_density(y, f, levels, tails[0], tails[1], resolution)
            if not np.isnan(own):
                points[h, _LOG] = -own
                points[h, _N_LOG] = 1.0
            if costs:
                points[h, _N_COST] = 1.0
                plan = f[place] if share == 0.0 else f[place] + share * (f[place + 1] - f[place])
                if y > plan:
                    points[h, _UNDER] = under * (y - plan)
                else:
                    points[h, _OVER] = over * (plan - y)
        for h in range(points.shape[0]):
            for c in range(points.shape[1]):
                out[r, c] += points[h, c]
        n = out[r, _POINTS]
        if n > 0.0:
            out[r, _ROWS] = 1.0
            out[r, _ZERO_ROWS] = 1.0 if out[r, _ZERO] == n else 0.0
            out[r, _MASE] /= n
            out[r, _N_MASE] = 1.0 if inverse > 0.0 else 0.0
            out[r, _RMSSE] = np.sqrt(out[r, _SQUARED] / n) * inverse_root
            out[r, _N_RMSSE] = 1.0 if inverse_root > 0.0 else 0.0
            for c in range(first_msis, out.shape[1]):
                out[r, c] /= n
        if high.shape[0] > 0:
            add_points(points, high[group[r]], low[group[r]])


@numba.njit(cache=True)
def _mean_size(actual: FloatArray) -> float:
    """The mean |y| of a row, 1 where that is 0 or nothing is known."""
    total, n = 0.0, 0
    for y in actual:
        if not np.isnan(y):
            total += abs(y)
            n += 1
    return total / n if total > 0.0 else 1.0


@numba.njit(cache=True)
def _place(levels: FloatArray, tau: float) -> tuple[int, float]:
    """Where level tau lies: the position of the level below and the share of the way to the next; the outermost
    level beyond them."""
    last = len(levels) - 1
    if tau <= levels[0]:
        return 0, 0.0
    for i in range(last):
        if tau <= levels[i + 1]:
            return i, (tau - levels[i]) / (levels[i + 1] - levels[i])
    return last, 0.0


@numba.njit(cache=True)
def _score_point(
    y: float, point: float, mean: float, inverse: float, inverse_root: float, out: FloatArray, h: int
) -> None:
    """out: [H, C], zeros on entry. inverse, inverse_root: 1 / scale, 1 / root of the squared scale; 0 for none."""
    error, size, off = abs(y - point), abs(y), mean - y
    out[h, _ROWS] = 1.0
    out[h, _POINTS] = 1.0
    out[h, _ACTUAL] = size
    out[h, _MEDIAN] = error
    out[h, _MEAN] = abs(off)
    out[h, _SQUARED] = off * off
    out[h, _BIAS] = off
    if size > 0.0:
        out[h, _APE] = error / size
    else:
        out[h, _ZERO] = 1.0
        out[h, _ZERO_ROWS] = 1.0
    if error > 0.0:
        out[h, _SAPE] = 200.0 * error / (size + abs(point))
    out[h, _MASE] = error * inverse
    out[h, _RMSSE] = abs(off) * inverse_root
    if inverse > 0.0:
        out[h, _N_MASE] = 1.0
    if inverse_root > 0.0:
        out[h, _N_RMSSE] = 1.0


@numba.njit(cache=True)
def _score_quantiles(
    y: float, quantiles: FloatArray, levels: FloatArray, intervals: Int64Array, inverse: float, out: FloatArray, h: int
) -> None:
    n, k = len(levels), len(intervals)
    covered, inside = _FIRST_QUANTILE + n, _FIRST_QUANTILE + 2 * n
    for q in range(n):
        error = y - quantiles[q]
        out[h, _FIRST_QUANTILE + q] = max(levels[q] * error, (levels[q] - 1.0) * error)
        if error <= 0.0:
            out[h, covered + q] = 1.0
    for i in range(k):
        lower, upper = quantiles[intervals[i, 0]], quantiles[intervals[i, 1]]
        width = upper - lower
        outside = max(lower - y, y - upper, 0.0)
        if outside == 0.0:
            out[h, inside + i] = 1.0
        out[h, inside + k + i] = width
        out[h, inside + 2 * k + i] = (width + outside / levels[intervals[i, 0]]) * inverse
