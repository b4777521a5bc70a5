"""Metrics as sums: what is added up for each row, and the ratios that the sums give.

A row is one series in one backtest window (or one series whose actuals arrived). `row_statistics` turns it into
additive numbers, `COLUMNS` says which; the numbers of any group (item, segment, window, total) are the sum of its
rows' numbers, and `ratios` turns sums into metrics. So one pass over the rows serves every grouping, and a metric of
a group is a real ratio, never a mean of ratios.

Which point forecast is judged: WAPE, MAPE, sMAPE and MASE take the median, the forecast that minimises absolute
error; where level 0.5 is not among the levels they take the mean, and `Layout.point_forecast` says so. RMSE and bias
judge the mean. WAPE_mean judges the mean, as Amazon Forecast's WAPE did.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array
from forecasting.levels import percent, quantile_column

_SAME_LEVEL = 1e-9


class Kind(Enum):
    """How many numbers a column holds."""

    SCALAR = "scalar"
    PER_QUANTILE = "per_quantile"  # one a level, in level order
    PER_INTERVAL = "per_interval"  # one for each symmetric pair of levels, widest interval first


@dataclass(frozen=True)
class Column:
    """One additive statistic."""

    name: str
    kind: Kind
    meaning: str


COLUMNS = (
    Column("n_rows", Kind.SCALAR, "rows with at least one scored point"),
    Column("n_points", Kind.SCALAR, "scored points: actual known, forecast finite"),
    Column("n_missing", Kind.SCALAR, "steps without an actual"),
    Column("n_unforecast", Kind.SCALAR, "steps with an actual but without a finite mean and quantiles"),
    Column("abs_actual", Kind.SCALAR, "sum of |y|"),
    Column("abs_error_median", Kind.SCALAR, "sum of |y - point forecast|"),
    Column("abs_error_mean", Kind.SCALAR, "sum of |y - mean|"),
    Column("squared_error", Kind.SCALAR, "sum of (y - mean)^2"),
    Column("ape", Kind.SCALAR, "sum of |y - point forecast| / |y| over points with y != 0"),
    Column("n_zero_actual", Kind.SCALAR, "scored points with y = 0, which ape leaves out"),
    Column("sape", Kind.SCALAR, "sum of 200 |y - point forecast| / (|y| + |point forecast|), 0 where both are 0"),
    Column("mase", Kind.SCALAR, "sum over rows of mean |y - point forecast| / scale"),
    Column("n_mase", Kind.SCALAR, "rows with a scored point and a scale above 0"),
    Column("bias", Kind.SCALAR, "sum of mean - y"),
    Column("pinball", Kind.PER_QUANTILE, "sum of max(q (y - f), (1 - q) (f - y))"),
    Column("covered", Kind.PER_QUANTILE, "points with y <= quantile forecast"),
    Column("inside", Kind.PER_INTERVAL, "points with lower <= y <= upper of a symmetric pair of quantiles"),
)
"""What a row's statistics are, in the order of the matrix: the one list. Counts are whole numbers kept as floats."""

_SCALARS = tuple(column.name for column in COLUMNS if column.kind is Kind.SCALAR)


@dataclass(frozen=True)
class Layout:
    """Where the columns stand in a flat matrix [..., C] for given quantile levels.

    Raises ValueError unless the levels increase strictly and lie between 0 and 1.
    """

    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        inner = (0.0, *self.levels, 1.0)
        if not self.levels or any(b <= a for a, b in itertools.pairwise(inner)):
            raise ValueError(f"got quantile levels {list(self.levels)}, expected increasing ones between 0 and 1")

    @classmethod
    def of(cls, levels: Sequence[float]) -> Layout:
        return cls(tuple(float(level) for level in levels))

    @cached_property
    def intervals(self) -> tuple[tuple[int, int], ...]:
        """Positions of each symmetric pair of levels (lower, upper), widest first."""
        q = self.levels
        pairs = [(i, j) for i in range(len(q)) for j in range(i + 1, len(q)) if abs(q[i] + q[j] - 1) < _SAME_LEVEL]
        return tuple(sorted(pairs))

    @cached_property
    def interval_names(self) -> tuple[str, ...]:
        """The nominal coverage of each interval in per cent: "80" for 0.1 and 0.9, "95" for 0.025 and 0.975."""
        return tuple(percent(self.levels[j] - self.levels[i]) for i, j in self.intervals)

    @cached_property
    def median(self) -> int | None:
        """Position of level 0.5, None where it is not asked for."""
        return next((i for i, q in enumerate(self.levels) if abs(q - 0.5) < _SAME_LEVEL), None)

    @property
    def point_forecast(self) -> str:
        """What WAPE, MAPE, sMAPE and MASE judge: "median", or "mean" where level 0.5 is missing."""
        return "mean" if self.median is None else "median"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The flat column names, C of them: "n_points", "pinball_p10", "inside_80", …"""
        out: list[str] = []
        for column in COLUMNS:
            if column.kind is Kind.SCALAR:
                out.append(column.name)
            elif column.kind is Kind.PER_QUANTILE:
                out.extend(f"{column.name}_{quantile_column(level)}" for level in self.levels)
            else:
                out.extend(f"{column.name}_{name}" for name in self.interval_names)
        return tuple(out)

    def __len__(self) -> int:
        return len(self.names)

    def part(self, sums: FloatArray, column: str) -> FloatArray:
        """One column of a flat matrix [..., C], a view: [...] for a scalar, [..., Q] or [..., I] for the others."""
        if column in _SCALARS:
            return np.asarray(sums)[..., _SCALARS.index(column)]
        n = len(self.levels)
        blocks = {"pinball": (0, n), "covered": (n, n), "inside": (2 * n, len(self.intervals))}
        begin, size = blocks[column]
        return np.asarray(sums)[..., len(_SCALARS) + begin : len(_SCALARS) + begin + size]


def row_statistics(
    mean: FloatArray,
    quantiles: FloatArray,
    actual: FloatArray,
    mase_scale: npt.ArrayLike,
    levels: Sequence[float],
) -> FloatArray:
    """The additive numbers of every row, float64 [*S, C], columns as in `Layout.of(levels).names`.

    mean: [*S, H]. quantiles: [*S, H, Q]. actual: [*S, H], NaN is missing. mase_scale: [*S], NaN or 0 where MASE is
    undefined. S is any leading shape, such as [N, W]. Only points with an actual and with a finite mean and quantiles
    are scored; the others are counted. Raises ValueError when the shapes disagree.
    """
    layout = Layout.of(levels)
    lead, horizon, n_levels = actual.shape[:-1], actual.shape[-1], len(layout.levels)
    scale = np.asarray(mase_scale, dtype=np.float64)
    got = (mean.shape, quantiles.shape, scale.shape)
    expected = ((*lead, horizon), (*lead, horizon, n_levels), lead)
    if got != expected:
        raise ValueError(
            f"got mean, quantiles and mase_scale of shapes {got}, expected {expected} for actuals of shape "
            f"{actual.shape} and {n_levels} levels"
        )
    n = int(np.prod(lead, dtype=np.int64))
    out = np.zeros((n, len(layout)))
    _statistics(
        _flat(mean, (n, horizon)),
        _flat(quantiles, (n, horizon, n_levels)),
        _flat(actual, (n, horizon)),
        _flat(scale, (n,)),
        np.array(layout.levels),
        -1 if layout.median is None else layout.median,
        np.array(layout.intervals, dtype=np.int64).reshape(-1, 2),
        out,
    )
    return out.reshape(*lead, len(layout))


def _flat(array: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    return read_only(np.ascontiguousarray(array, dtype=np.float64).reshape(shape))


# The kernel's own column positions: they stand in this file because numba's cache watches only the file of a kernel.
_ROWS, _POINTS, _MISSING, _UNFORECAST, _ACTUAL, _MEDIAN, _MEAN, _SQUARED, _APE, _ZERO, _SAPE, _MASE, _N_MASE, _BIAS = (
    range(14)
)
_FIRST_QUANTILE = 14


@numba.njit(cache=True)
def _statistics(
    mean: FloatArray,
    quantiles: FloatArray,
    actual: FloatArray,
    scale: FloatArray,
    levels: FloatArray,
    median: int,
    intervals: Int64Array,
    out: FloatArray,
) -> None:
    """Fill out [R, C], zeros on entry."""
    for r in range(actual.shape[0]):
        for h in range(actual.shape[1]):
            y = actual[r, h]
            if np.isnan(y):
                out[r, _MISSING] += 1.0
            elif not (np.isfinite(mean[r, h]) and np.isfinite(quantiles[r, h]).all()):
                out[r, _UNFORECAST] += 1.0
            else:
                point = mean[r, h] if median < 0 else quantiles[r, h, median]
                _score_point(y, point, mean[r, h], out[r])
                _score_quantiles(y, quantiles[r, h], levels, intervals, out[r])
        if out[r, _POINTS] > 0.0:
            out[r, _ROWS] = 1.0
            if scale[r] > 0.0:
                out[r, _MASE] = out[r, _MEDIAN] / out[r, _POINTS] / scale[r]
                out[r, _N_MASE] = 1.0


@numba.njit(cache=True)
def _score_point(y: float, point: float, mean: float, out: FloatArray) -> None:
    error, size = abs(y - point), abs(y)
    out[_POINTS] += 1.0
    out[_ACTUAL] += size
    out[_MEDIAN] += error
    out[_MEAN] += abs(y - mean)
    out[_SQUARED] += (y - mean) ** 2
    out[_BIAS] += mean - y
    if size > 0.0:
        out[_APE] += error / size
    else:
        out[_ZERO] += 1.0
    if error > 0.0:
        out[_SAPE] += 200.0 * error / (size + abs(point))


@numba.njit(cache=True)
def _score_quantiles(
    y: float, quantiles: FloatArray, levels: FloatArray, intervals: Int64Array, out: FloatArray
) -> None:
    n = len(levels)
    for q in range(n):
        error = y - quantiles[q]
        out[_FIRST_QUANTILE + q] += max(levels[q] * error, (levels[q] - 1.0) * error)
        if error <= 0.0:
            out[_FIRST_QUANTILE + n + q] += 1.0
    for k in range(len(intervals)):
        if quantiles[intervals[k, 0]] <= y <= quantiles[intervals[k, 1]]:
            out[_FIRST_QUANTILE + 2 * n + k] += 1.0


def mase_scale(values: FloatArray, begin: npt.ArrayLike, end: npt.ArrayLike, m: int) -> FloatArray:
    """The scale of MASE of each row: the mean of |y[t] - y[t - m]| over its visible history, float64 [R].

    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", equation 3 with lag m. values: the
    flat array of a batch; row r is values[begin[r]:end[r]]; begin, end: int64, any one shape, which is the result's.
    Pairs with a missing value are skipped. A history of at most m periods takes lag 1. NaN where no pair is left.
    Raises ValueError when m is below 1.
    """
    if m < 1:
        raise ValueError(f"got a MASE season of {m} periods, expected at least 1")
    first, last = np.broadcast_arrays(np.asarray(begin, dtype=np.int64), np.asarray(end, dtype=np.int64))
    out = np.empty(first.size)
    flat = [read_only(np.ascontiguousarray(a.ravel())) for a in (first, last)]
    _seasonal_differences(read_only(np.ascontiguousarray(values)), flat[0], flat[1], m, out)
    return out.reshape(first.shape)


@numba.njit(cache=True)
def _seasonal_differences(values: FloatArray, begin: Int64Array, end: Int64Array, m: int, out: FloatArray) -> None:
    for r in range(len(begin)):
        lag = m if end[r] - begin[r] > m else 1
        total, n = 0.0, 0
        for t in range(begin[r] + lag, end[r]):
            difference = abs(values[t] - values[t - lag])
            if not np.isnan(difference):
                total += difference
                n += 1
        out[r] = total / n if n > 0 else np.nan


def ratios(sums: FloatArray, levels: Sequence[float]) -> dict[str, FloatArray]:
    """Metrics of summed rows: name to float64 [*S] for sums [*S, C]. Undefined is NaN, to be stored as NULL.

    wQL_p10, …: 2 sum pinball / sum |y| (Amazon Forecast's weighted quantile loss), undefined where all actuals are 0;
    the numerator stays in the sums. mean_wQL: their plain mean. WAPE, WAPE_mean: sum |error| / sum |y|. RMSE: root of
    the mean over points. MAPE: mean over points with an actual other than 0, a share. sMAPE: mean over points in per
    cent, 0 to 200 (Makridakis and Hibon 2000). MASE: mean over rows with a scale. coverage_p10, …: share of points at
    or below the quantile. coverage_80, …: share inside the interval. bias: mean of forecast mean minus actual.
    """
    layout = Layout.of(levels)
    total = {c.name: layout.part(np.asarray(sums, dtype=np.float64), c.name) for c in COLUMNS}
    n, size = total["n_points"], total["abs_actual"]
    losses = _divide(2.0 * total["pinball"], size[..., None])
    out = {f"wQL_{quantile_column(q)}": losses[..., i] for i, q in enumerate(layout.levels)}
    out["mean_wQL"] = losses.mean(axis=-1)
    out["WAPE"] = _divide(total["abs_error_median"], size)
    out["WAPE_mean"] = _divide(total["abs_error_mean"], size)
    out["RMSE"] = np.sqrt(_divide(total["squared_error"], n))
    out["MAPE"] = _divide(total["ape"], n - total["n_zero_actual"])
    out["sMAPE"] = _divide(total["sape"], n)
    out["MASE"] = _divide(total["mase"], total["n_mase"])
    out["bias"] = _divide(total["bias"], n)
    covered, inside = _divide(total["covered"], n[..., None]), _divide(total["inside"], n[..., None])
    out |= {f"coverage_{quantile_column(q)}": covered[..., i] for i, q in enumerate(layout.levels)}
    out |= {f"coverage_{name}": inside[..., i] for i, name in enumerate(layout.interval_names)}
    return out


def _divide(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """The ratio, NaN where the denominator is not above 0."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    out = np.full(shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.broadcast_to(denominator > 0, shape))
    return out
