"""The additive statistics of a run's backtests, one row a series: what metrics and selection are made from.

The arrays in `results` are read once, by numba over Arrow's buffers; from then on a row is a few dozen numbers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.evaluation.metrics import Layout, row_statistics
from forecasting.frequency import Int64Array
from udfs.arrow import list_buffers
from udfs.lake import Lake, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ArrowStep = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

HEAD = ("n_series", "n_fallback", "seconds")
"""What stands before the statistics of `forecasting.evaluation.metrics` in the numbers of a row."""
ALL_WINDOWS = -1
SELECTED = "selected"
"""The pseudo-model that is each series' chosen one."""
_PIECE_ROWS = 2048


def series_sums(lake: Lake, run_id: str, levels: Sequence[float]) -> DataFrame:
    """One row a series that the run has backtested: the key, `bucket` and `rows`, a list of (model, window, numbers).

    numbers: HEAD and then the statistics, in the order of `Layout.of(levels).names`, as `packed`.
    """
    from pyspark.sql import functions as F

    results = lake.read("results").where(
        (F.col("run_id") == run_id) & (F.col("stage") == "backtest") & (F.col("status") != "skipped")
    )
    key = lake.layout.key
    identity = (*key, "bucket", "model", "window")
    wanted = results.select(*identity, "mean", "quantiles", "actuals", "mase_scale", "status", "seconds")
    return grouped(wanted.mapInArrow(statistics_step(identity, levels), statistics_ddl(lake, identity)), key)


def grouped(statistics: DataFrame, key: Sequence[str]) -> DataFrame:
    """Rows of `statistics_step` as one row a series."""
    from pyspark.sql import functions as F

    rows = F.collect_list(F.struct("model", "window", "numbers")).alias("rows")
    return statistics.groupBy(*key, "bucket").agg(rows)


@contextmanager
def kept(rows: DataFrame) -> Iterator[DataFrame]:
    """The rows kept by the executors while the block runs; made anew for each use where a cluster keeps nothing."""
    try:
        stored = rows.persist()
    except Exception:  # serverless clusters refuse to keep data
        logging.getLogger(__name__).debug("rows are not kept", exc_info=True)
        yield rows
        return
    try:
        yield stored
    finally:
        stored.unpersist()


def statistics_ddl(lake: Lake, identity: Sequence[str]) -> str:
    """The schema of `statistics_step`'s rows."""
    schema = lake.schemas["results"]
    return ", ".join(f"{quoted(n)} {schema.column(n).type}" for n in identity) + ", numbers binary"


def statistics_step(identity: Sequence[str], levels: Sequence[float]) -> ArrowStep:
    """For mapInArrow: rows with mean, quantiles, actuals, mase_scale, status and seconds to identity and numbers."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            columns = [batch.column(name) for name in identity]
            columns.append(packed(row_numbers(batch, levels)))
            yield pa.RecordBatch.from_arrays(columns, names=[*identity, "numbers"])

    return run


def row_numbers(batch: pa.RecordBatch, levels: Sequence[float]) -> FloatArray:
    """The numbers of every row, [R, len(HEAD) + C]."""
    actual = dense(batch.column("actuals"))
    mean = dense(batch.column("mean"), actual.shape[1])
    actual = actual if actual.shape[1] else np.full_like(mean, np.nan)
    horizon = actual.shape[1]
    quantiles = dense(batch.column("quantiles"), horizon * len(levels)).reshape(-1, horizon, len(levels))
    scale = batch.column("mase_scale").to_numpy(zero_copy_only=False)
    statistics = row_statistics(mean, quantiles, actual, scale, levels)
    out = np.empty((len(batch), len(HEAD) + statistics.shape[1]))
    out[:, 0] = 1.0
    out[:, 1] = np.asarray(batch.column("status").to_numpy(zero_copy_only=False) == "fallback")
    out[:, 2] = batch.column("seconds").to_numpy(zero_copy_only=False)
    out[:, len(HEAD) :] = statistics
    return out


def packed(table: FloatArray) -> pa.Array:
    """float64 [R, K] as R binary values: Spark moves them as they are, and an array number by number."""
    rows, width = table.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * np.int32(8 * width)
    values = np.ascontiguousarray(table, dtype=np.float64)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(values)])


def unpacked(column: pa.Array, width: int) -> FloatArray:
    """`packed` back to float64 [R, width]."""
    rows = len(column)
    if not rows:
        return np.empty((0, width))
    _, offsets, values = column.buffers()
    first = int(np.frombuffer(offsets, dtype=np.int32, count=rows + 1, offset=4 * column.offset)[0])
    return (
        np.frombuffer(values, dtype=np.uint8)[first : first + 8 * rows * width].view(np.float64).reshape(rows, width)
    )


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


@dataclass(frozen=True)
class SeriesRows:
    """The rows of a batch of S series, ordered by series, model and window, with a row for all windows after them.

    series: int64 [R], position in the batch. model: int64 [R], position in `models`. window: int64 [R].
    numbers: [R, K].
    """

    models: tuple[str, ...]
    series: Int64Array
    model: Int64Array
    window: Int64Array
    numbers: FloatArray

    @property
    def over_windows(self) -> npt.NDArray[np.bool_]:
        """Which rows are sums over all windows, [R]."""
        return np.asarray(self.window == ALL_WINDOWS)


def series_rows(batch: pa.RecordBatch, width: int, models: Sequence[str] | None = None) -> SeriesRows:
    """Take the column `rows` apart. width: K. models: their order; None takes those that are there, by name."""
    column = batch.column("rows")
    lengths = np.diff(column.offsets.to_numpy())
    rows = column.flatten()
    encoded = rows.field("model").dictionary_encode()
    names = encoded.dictionary.to_pylist()
    known = tuple(models) if models is not None else tuple(sorted(names))
    position = {name: i for i, name in enumerate(known)}
    code = np.array([position.get(name, -1) for name in names], dtype=np.int64)
    series = np.repeat(np.arange(len(batch)), lengths)
    model = code[encoded.indices.to_numpy()] if len(code) else np.empty(0, dtype=np.int64)
    window = rows.field("window").to_numpy().astype(np.int64)
    order = np.lexsort((window, model, series))
    order = order[model[order] >= 0]
    numbers = unpacked(rows.field("numbers"), width)[order]
    return _with_all_windows(known, series[order], model[order], window[order], numbers)


def _with_all_windows(
    models: tuple[str, ...], series: Int64Array, model: Int64Array, window: Int64Array, numbers: FloatArray
) -> SeriesRows:
    """Add the sums over the backtest windows; they are added in the order of the windows."""
    changes = np.ones(len(series), dtype=bool)
    changes[1:] = (np.diff(series) != 0) | (np.diff(model) != 0)
    first = np.flatnonzero(changes & (window != 0))
    sums = np.add.reduceat(numbers, first, axis=0) if len(first) else numbers[:0]
    return SeriesRows(
        models=models,
        series=np.concatenate([series, series[first]]),
        model=np.concatenate([model, model[first]]),
        window=np.concatenate([window, np.full(len(first), ALL_WINDOWS)]),
        numbers=np.concatenate([numbers, sums]),
    )


def in_pieces(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The same rows in record batches of a bounded size."""
    for batch in batches:
        for begin in range(0, len(batch), _PIECE_ROWS):
            yield batch.slice(begin, _PIECE_ROWS)


def n_numbers(levels: Sequence[float]) -> int:
    """K, numbers of a row."""
    return len(HEAD) + len(Layout.of(levels))
