"""Arrow record batches to series batches and back.

A list column of Arrow is a values buffer and an offsets buffer, which is what a `SeriesBatch` is: the kernels read
Spark's own buffer. Nothing here loops over series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.api import Forecast
from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of, read_only
from forecasting.frequency import Frequency, Int64Array
from forecasting.models.contract import Status
from forecasting.seeds import KEY_SEPARATOR

ArrowStep = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
"""What Spark's mapInArrow takes."""
RELATED_PREFIX = "related:"
"""A related series `price` is the column `related:price` of a batch (mapInArrow takes no dots)."""

_STATUS_NAMES = pa.array([status.name.lower() for status in Status])


def list_buffers(column: pa.Array) -> tuple[FloatArray, Int64Array]:
    """The flat values (read-only) and offsets (int64 [N + 1], from 0) of a list column of numbers.

    A view of Arrow's buffer, also of a slice; copied only where the column holds nulls: a null list is an empty one, a
    null inside is NaN.
    """
    if column.null_count:
        values = pc.list_flatten(column)
        lengths = pc.fill_null(pc.list_value_length(column), 0)
        offsets = offsets_of(lengths.to_numpy(zero_copy_only=False))
    else:
        offsets = column.offsets.to_numpy().astype(np.int64)
        first = int(offsets[0]) if len(offsets) else 0
        values = column.values.slice(first, int(offsets[-1]) - first if len(offsets) else 0)
        offsets -= first
    if values.type != pa.float64():
        values = values.cast(pa.float64())
    return read_only(values.to_numpy(zero_copy_only=values.null_count == 0)), read_only(offsets)


def joined_keys(batch: pa.RecordBatch, key: Sequence[str]) -> list[str]:
    """The key of every row as one string, as `forecasting.seeds.series_key` makes it."""
    columns = [batch.column(name) for name in key]
    if len(columns) == 1:
        keys: list[str] = columns[0].to_pylist()
    else:
        keys = pc.binary_join_element_wise(*columns, KEY_SEPARATOR).to_pylist()
    return keys


def label_microseconds(column: pa.Array) -> Int64Array:
    """Timestamps as int64 microseconds since 1970-01-01, naive; 0 for null (a series without history)."""
    if column.type != pa.timestamp("us"):
        column = column.cast(pa.timestamp("us", tz=getattr(column.type, "tz", None)))
    whole = column.view(pa.int64())
    if whole.null_count:
        whole = pc.fill_null(whole, 0)
    return np.asarray(whole.to_numpy(), dtype=np.int64)


def to_series_batch(
    batch: pa.RecordBatch, key: Sequence[str], frequency: Frequency, known_in_future: Mapping[str, bool] | None = None
) -> SeriesBatch:
    """The series of a record batch with the key columns, `start` and `target`.

    known_in_future: related series to read, each a list column `related:<name>`, and whether its future is known.
    """
    values, offsets = list_buffers(batch.column("target"))
    return SeriesBatch(
        values=values,
        offsets=offsets,
        start=frequency.ordinals(label_microseconds(batch.column("start"))),
        frequency=frequency,
        keys=joined_keys(batch, key),
        related={
            name: RelatedSeries(*list_buffers(batch.column(RELATED_PREFIX + name)), known_in_future=known)
            for name, known in (known_in_future or {}).items()
        },
    )


def fixed_lists(table: npt.NDArray[np.float64]) -> pa.Array:
    """float64 [R, L] as R lists of L numbers; NaN stays NaN."""
    rows, length = table.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(length)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ascontiguousarray(table).reshape(-1)))


def ragged_lists(values: FloatArray, offsets: Int64Array) -> pa.Array:
    """Flat float64 values with offsets [R + 1] as R lists."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(np.ascontiguousarray(values)))


def timestamps(labels_us: Int64Array) -> pa.Array:
    """int64 microseconds as timestamps without a zone."""
    return pa.array(np.ascontiguousarray(labels_us)).view(pa.timestamp("us"))


def repeated(value: Any, kind: pa.DataType, rows: int) -> pa.Array:
    """A column of one value."""
    return pa.repeat(pa.scalar(value, kind), rows)


def nulls(kind: pa.DataType, rows: int) -> pa.Array:
    """A column of NULLs."""
    return pa.nulls(rows, kind)


def texts(values: npt.NDArray[np.object_]) -> pa.Array:
    """Short texts, most of them equal: encoded once each."""
    flat = values.reshape(-1)
    if len(flat) and (flat == "").all():
        return repeated("", pa.string(), len(flat))
    return pa.array(flat, pa.string())


def forecast_columns(forecast: Forecast, labels_us: Int64Array, seconds: FloatArray) -> dict[str, pa.Array]:
    """What every model writes for each row of a forecast [*S], rows in C order: the columns of `results` that hold it.

    labels_us: int64 [R], label of each row's first step. seconds: float64 [R], each row's share of the task's time.
    """
    rows = forecast.status.size
    return {
        "forecast_start": timestamps(labels_us),
        "mean": fixed_lists(forecast.mean.reshape(rows, -1)),
        "quantiles": fixed_lists(forecast.quantiles.reshape(rows, -1)),
        "status": _STATUS_NAMES.take(pa.array(forecast.status.reshape(-1))),
        "reason": texts(forecast.reason),
        "seconds": pa.array(np.ascontiguousarray(seconds)),
        "n_obs": pa.array(forecast.n_obs.reshape(-1)),
        "n_filled": pa.array(forecast.n_filled.reshape(-1)),
        "n_clipped": pa.array(forecast.n_clipped.reshape(-1)),
        "evaluations": pa.array(forecast.evaluations.reshape(-1)),
    }
