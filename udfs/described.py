"""What is said of each packed series: its state of life and plain counts, as columns of Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.frequency import Frequency, Int64Array
from udfs.arrow import timestamps
from udfs.life_states import state_columns

if TYPE_CHECKING:
    from udfs.dense import PackSpec


def described(
    dense: FloatArray, offsets: Int64Array, start: Int64Array, frequency: Frequency, spec: PackSpec
) -> dict[str, pa.Array]:
    """Lifecycle (see `forecasting.lifecycle`) and profile of each series."""
    n = len(start)
    length = np.diff(offsets)
    where = np.flatnonzero(~np.isnan(dense))
    key = np.searchsorted(offsets, where, side="right") - 1
    n_obs = np.bincount(key, minlength=n)
    position = where - offsets[key]
    last = np.full(n, -1, dtype=np.int64)
    np.maximum.at(last, key, position)
    observed = n_obs > 0
    end = start + length - 1 if spec.per_series else np.full(n, spec.common_end)
    total = np.bincount(key, weights=dense[where], minlength=n)
    labels = timestamps(frequency.labels(start + np.maximum(last, 0)))
    zeros = np.bincount(key, weights=dense[where] == 0, minlength=n)
    empty = pa.array(~observed)
    return {
        **state_columns(dense, offsets, start, end, spec.silence, frequency.season_length),
        "n_obs": pa.array(n_obs.astype(np.int32)),
        "n_missing": pa.array((length - n_obs).astype(np.int32)),
        "n_zero": pa.array(zeros.astype(np.int32)),
        "mean": pa.array(total / np.maximum(n_obs, 1), mask=~observed),
        "last_observed": pc.if_else(empty, pa.scalar(None, labels.type), labels),
    }
