"""The part of a series' profile that says what kind of demand it is, as columns beside the packed history."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import FloatArray, SeriesBatch, offsets_of
from forecasting.frequency import Frequency, Int64Array
from forecasting.profiles import profile
from udfs.arrow import ragged_lists, texts


def shape_columns(
    values: FloatArray,
    offsets: Int64Array,
    start: Int64Array,
    frequency: Frequency,
    missing_is_zero: bool,
    hidden: npt.NDArray[np.bool_] | None = None,
) -> dict[str, pa.Array]:
    """The fields of `series.profile` from `adi` on, for N packed series; NULL where undefined.

    missing_is_zero: a period without a row had no demand. hidden: like values, periods that are no observations.
    """
    n = len(start)
    told = np.where(np.isnan(values), 0.0, values) if missing_is_zero else values
    if hidden is not None:
        told = np.where(hidden, np.nan, told)
    found = profile(SeriesBatch(told, offsets, start, frequency, keys=[""] * n))
    numbers = ("adi", "cv2", "trend_strength", "seasonal_strength", "spectral_entropy")
    columns: dict[str, pa.Array] = {name: pa.array(getattr(found, name), from_pandas=True) for name in numbers}
    columns["demand_class"] = texts(found.demand_class)
    periods = found.dominating_periods
    known = np.isfinite(periods)
    columns["dominating_periods"] = ragged_lists(periods[known], offsets_of(known.sum(axis=1)))
    return columns


def counts_without(values: FloatArray, offsets: Int64Array, hidden: npt.NDArray[np.bool_]) -> dict[str, pa.Array]:
    """The counts and the mean of `series.profile` over the periods that are not hidden, bool like values."""
    n = len(offsets) - 1
    key = np.repeat(np.arange(n), np.diff(offsets))
    seen = ~np.isnan(values) & ~hidden
    n_obs = np.bincount(key[seen], minlength=n)
    n_missing = np.bincount(key[np.isnan(values) & ~hidden], minlength=n)
    n_zero = np.bincount(key[seen & (values == 0)], minlength=n)
    total = np.bincount(key[seen], weights=values[seen], minlength=n)
    return {
        "n_obs": pa.array(n_obs.astype(np.int32)),
        "n_missing": pa.array(n_missing.astype(np.int32)),
        "n_zero": pa.array(n_zero.astype(np.int32)),
        "mean": pa.array(total / np.maximum(n_obs, 1), mask=n_obs == 0),
    }
