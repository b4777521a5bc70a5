"""Buffers of a row, and its columns in them as the likelihood takes them."""

from __future__ import annotations

from typing import NamedTuple

import numba

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from forecasting.models.arima.likelihood import Data
from forecasting.models.arima.prepare import difference_into, first_nonzero


class Room(NamedTuple):
    """Buffers of a row. N: longest row, K: regressors."""

    y: FloatArray  # [N] scaled, with gaps
    filled: FloatArray  # [N]
    regressors: FloatArray  # [K, N]
    normal: FloatArray  # [K + 1, K + 1]
    factors: FloatArray  # [2, K]
    scratch: FloatArray  # [4, N]
    phases: FloatArray  # [2, m]
    places: Int64Array  # [MOST_MISSING]
    columns: FloatArray  # [C, N]
    first: Int64Array  # [C]
    differencing: FloatArray  # [max_d + m max_D]


@numba.njit(cache=True, error_model="numpy")
def differenced_columns(
    n: int, d: int, sd: int, m: int, n_missing: int, n_regressors: int, nearest: float, room: Room
) -> Data:
    """All columns, differenced; the constant comes last."""
    left = difference_into(room.filled, n, d, sd, m, room.columns[0])
    room.first[0] = 0
    at = 1
    for k in range(n_missing):
        room.scratch[3, :n] = 0.0
        room.scratch[3, room.places[k]] = 1.0
        difference_into(room.scratch[3], n, d, sd, m, room.columns[at])
        room.first[at] = first_nonzero(room.columns[at], left)
        at += 1
    for k in range(n_regressors):
        difference_into(room.regressors[k], n, d, sd, m, room.columns[at])
        room.first[at] = first_nonzero(room.columns[at], left)
        at += 1
    room.columns[at, :left] = 1.0
    room.first[at] = 0
    return Data(room.columns, room.first, n_missing, at + 1, left, m, nearest)
