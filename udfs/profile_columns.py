"""The part of a series' profile that says what kind of demand it is, as columns beside the packed history."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray, SeriesBatch, offsets_of
from forecasting.frequency import Frequency, Int64Array
from forecasting.profiles import profile
from udfs.arrow import ragged_lists, texts


def shape_columns(
    values: FloatArray, offsets: Int64Array, start: Int64Array, frequency: Frequency, missing_is_zero: bool
) -> dict[str, pa.Array]:
    """The fields of `series.profile` from `adi` on, for N packed series; NULL where undefined.

    missing_is_zero: a period without a row had no demand.
    """
    n = len(start)
    told = np.where(np.isnan(values), 0.0, values) if missing_is_zero else values
    found = profile(SeriesBatch(told, offsets, start, frequency, keys=[""] * n))
    numbers = ("adi", "cv2", "trend_strength", "seasonal_strength", "spectral_entropy")
    columns: dict[str, pa.Array] = {name: pa.array(getattr(found, name), from_pandas=True) for name in numbers}
    columns["demand_class"] = texts(found.demand_class)
    periods = found.dominating_periods
    known = np.isfinite(periods)
    columns["dominating_periods"] = ragged_lists(periods[known], offsets_of(known.sum(axis=1)))
    return columns
