"""Rows of numbers as one binary value, which Spark moves as it is where it takes an array number by number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from udfs.arrow import list_buffers


def packed(table: FloatArray, counts: Int64Array | None = None) -> pa.Array:
    """float64 [R, K] as binary values: Spark moves them as they are, and an array number by number.

    counts: rows of each value, which add up to R; None: one each.
    """
    rows, width = table.shape
    ends = np.arange(rows + 1) if counts is None else np.concatenate([[0], np.cumsum(counts)])
    offsets = (8 * width * ends).astype(np.int32)
    values = np.ascontiguousarray(table, dtype=np.float64)
    return pa.Array.from_buffers(pa.binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def unpacked(column: pa.Array, width: int) -> FloatArray:
    """`packed` back to float64 [R, width], a row each."""
    return unpacked_rows(column, width)[0].reshape(len(column), width)


def unpacked_rows(column: pa.Array, width: int) -> tuple[FloatArray, Int64Array]:
    """`packed` back to float64 [R, width] and the rows of each value."""
    if not len(column) or not width:
        return np.empty((0, width)), np.zeros(len(column), dtype=np.int64)
    _, offsets, values = column.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32, count=len(column) + 1, offset=4 * column.offset).astype(np.int64)
    table = np.frombuffer(values, dtype=np.uint8)[ends[0] : ends[-1]].view(np.float64)
    return table.reshape(-1, width), np.diff(ends) // (8 * width)


def dense(column: pa.Array, width: int = 0) -> FloatArray:
    """A list column as [R, width] (0: the longest list), NaN where a list is NULL or ends early."""
    values, offsets = list_buffers(column)
    lengths = np.diff(offsets)
    columns = width or int(lengths.max(initial=0))
    if (lengths == columns).all():
        return values.reshape(len(column), columns)
    out = np.full((len(column), columns), np.nan)
    within = np.arange(columns) < lengths[:, None]
    source = offsets[:-1, None] + np.arange(columns)
    out[within] = values[source[within]]
    return out
