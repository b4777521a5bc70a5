"""What errors are divided by so that series of any size compare: the scales of MASE, MSIS and RMSSE."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, read_only
from forecasting.frequency import Int64Array


def mase_scale(values: FloatArray, begin: npt.ArrayLike, end: npt.ArrayLike, m: int) -> FloatArray:
    """The scale of MASE of each row: the mean of |y[t] - y[t - m]| over its visible history, float64 [R].

    Hyndman and Koehler (2006), "Another look at measures of forecast accuracy", equation 3 with lag m. values: the
    flat array of a batch; row r is values[begin[r]:end[r]]; begin, end: int64, any one shape, which is the result's.
    Pairs with a missing value are skipped. A history of at most m periods takes lag 1. NaN where no pair is left.
    Raises ValueError when m is below 1.
    """
    if m < 1:
        raise ValueError(f"got a MASE season of {m} periods, expected at least 1")
    flat, first, last, shape = _rows(values, begin, end)
    out = np.empty(len(first))
    _seasonal_differences(flat, first, last, m, out)
    return out.reshape(shape)


def rmsse_scale(values: FloatArray, begin: npt.ArrayLike, end: npt.ArrayLike) -> FloatArray:
    """The squared scale of RMSSE of each row: the mean of (y[t] - y[t - 1])^2 over its visible history, float64 [R].

    The M5 competitors' guide (2020): lag 1 whatever the season, and from the first observation other than 0 on.
    Arguments as in `mase_scale`. NaN where no pair is left.
    """
    flat, first, last, shape = _rows(values, begin, end)
    out = np.empty(len(first))
    _squared_differences(flat, first, last, out)
    return out.reshape(shape)


def _rows(
    values: FloatArray, begin: npt.ArrayLike, end: npt.ArrayLike
) -> tuple[FloatArray, Int64Array, Int64Array, tuple[int, ...]]:
    first, last = np.broadcast_arrays(np.asarray(begin, dtype=np.int64), np.asarray(end, dtype=np.int64))
    flat = [read_only(np.ascontiguousarray(a.ravel())) for a in (first, last)]
    return read_only(np.ascontiguousarray(values)), flat[0], flat[1], first.shape


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


@numba.njit(cache=True)
def _squared_differences(values: FloatArray, begin: Int64Array, end: Int64Array, out: FloatArray) -> None:
    for r in range(len(begin)):
        first = begin[r]
        while first < end[r] and (np.isnan(values[first]) or values[first] == 0.0):
            first += 1
        total, n = 0.0, 0
        for t in range(first + 1, end[r]):
            difference = values[t] - values[t - 1]
            if not np.isnan(difference):
                total += difference * difference
                n += 1
        out[r] = total / n if n > 0 else np.nan
