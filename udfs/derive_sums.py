"""The additive statistics of a run's backtests, one row a series: what metrics and selection are made from.

The arrays in `results` are read once, by numba over Arrow's buffers; from then on a row is a few dozen numbers. The
sums of each horizon step are made in the same pass, over all series of a task: a few rows more, without a key.
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
from forecasting.evaluation.layout import Layout
from forecasting.evaluation.row_statistics import row_statistics
from forecasting.evaluation.step_sums import StepSums
from forecasting.frequency import Int64Array
from udfs.arrow import list_buffers, nulls
from udfs.config.evaluation import ErrorCost
from udfs.error_costs import OVER, UNDER, with_unit_costs
from udfs.lake import Lake, quoted
from udfs.results import BACKTEST, results_of

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

ArrowStep = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]

HEAD = ("n_series", "n_fallback", "seconds")
"""What stands before the statistics of `forecasting.evaluation.metrics` in the numbers of a row."""
ALL_WINDOWS = -1
SELECTED = "selected"
"""The pseudo-model that is each series' chosen one."""
STEP = "step"
"""The horizon step (1, 2, …) of rows that are sums over series; NULL in the rows of series."""
OF_ROWS = ("mean", "quantiles", "actuals", "mase_scale", "status", "seconds")
"""What `statistics_step` reads beside a row's identity."""
IF_THERE = ("rmsse_scale", "log_density", UNDER, OVER)
"""What it reads where it is there: results of earlier versions lack the first two, a run without costs the others."""
_PIECE_ROWS = 2048
_STEP_LISTS = 64


def series_sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None = None,
    stages: Sequence[str] = (BACKTEST,),
) -> DataFrame:
    """One row a series that the run has backtested: the key, `bucket` and `rows`, a list of (model, window, numbers).

    numbers: HEAD and then the statistics, in the order of `Layout.of(levels).names`, as `packed`. costs: what errors
    cost. stages: of the rows in `results`.
    """
    return _sums(lake, run_id, levels, costs, stages, steps=False).drop(STEP)


def step_and_series_sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None = None,
    stages: Sequence[str] = (BACKTEST,),
) -> DataFrame:
    """The rows of `series_sums` with the column STEP, and rows without a key: the sums of each horizon step over the
    series of some tasks. Their numbers are as many again: the sums and then what rounding lost."""
    return _sums(lake, run_id, levels, costs, stages, steps=True)


def of_series(sums: DataFrame) -> DataFrame:
    """Of `step_and_series_sums` (or `series_sums`) the rows of series."""
    return sums.where(f"{STEP} IS NULL").drop(STEP) if STEP in sums.columns else sums


def together(lake: Lake, *sums: DataFrame) -> DataFrame:
    """The rows of several sums of one run, one a series (or step) with all their models."""
    from pyspark.sql import functions as F

    union = sums[0]
    for more in sums[1:]:
        union = union.unionByName(more)
    rows = F.flatten(F.collect_list("rows")).alias("rows")
    return union.groupBy(*lake.layout.key, "bucket", STEP).agg(rows)


def _sums(
    lake: Lake,
    run_id: str,
    levels: Sequence[float],
    costs: ErrorCost | None,
    stages: Sequence[str],
    *,
    steps: bool,
) -> DataFrame:
    results = results_of(lake, run_id, *stages).where("status <> 'skipped'")
    return sums_of(lake, results, levels, costs, steps=steps)


def sums_of(
    lake: Lake, results: DataFrame, levels: Sequence[float], costs: ErrorCost | None, *, steps: bool = True
) -> DataFrame:
    """The sums of some rows of `results`, as `step_and_series_sums`; without steps their column is NULL."""
    key = lake.layout.key
    identity = (*key, "bucket", "model", "window")
    rows = with_unit_costs(lake, results, costs)
    wanted = rows.select(*identity, *OF_ROWS, *(quoted(c) for c in IF_THERE if c in rows.columns))
    step = statistics_step(identity, levels, key if steps else None)
    return grouped(wanted.mapInArrow(step, statistics_ddl(lake, identity)), key)


def grouped(statistics: DataFrame, key: Sequence[str]) -> DataFrame:
    """Rows of `statistics_step` as one row a series, or a step and some tasks."""
    from pyspark.sql import functions as F

    rows = F.collect_list(F.struct("model", "window", "numbers")).alias("rows")
    return statistics.groupBy(*key, "bucket", STEP).agg(rows)


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
    return ", ".join(f"{quoted(n)} {schema.column(n).type}" for n in identity) + f", {STEP} int, numbers binary"


def statistics_step(identity: Sequence[str], levels: Sequence[float], key: Sequence[str] | None = None) -> ArrowStep:
    """For mapInArrow: rows with OF_ROWS and what there is of IF_THERE to identity, STEP and numbers.

    key: the key columns of `identity`: at its end a task adds the sums of each model, window and step, with NULL for
    these and one of a few numbers below 0 as bucket, so that many tasks' rows do not end up in one list. None: not.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        names = [*identity, STEP, "numbers"]
        steps = None if key is None else _Steps(Layout.of(levels))
        kinds = {}
        for batch in batches:
            kinds = {name: batch.schema.field(name).type for name in identity}
            group = None if steps is None else steps.groups(batch)
            numbers = row_numbers(batch, levels, None if steps is None else steps.sums, group)
            if steps is not None and group is not None:
                steps.count(group, numbers)
            columns = [batch.column(name) for name in identity]
            yield pa.RecordBatch.from_arrays([*columns, nulls(pa.int32(), len(batch)), packed(numbers)], names=names)
        if steps is not None and key is not None and steps.names:
            made = steps.columns()
            made |= {name: nulls(kinds[name], len(made["numbers"])) for name in key}
            yield pa.RecordBatch.from_arrays([made[name] for name in names], names=names)

    return run


class _Steps:
    """The sums of a task by model, window and step."""

    def __init__(self, layout: Layout) -> None:
        self.names: dict[tuple[str, int], int] = {}
        self.sums = StepSums(layout)
        self.head = np.zeros((0, len(HEAD)))

    def groups(self, batch: pa.RecordBatch) -> Int64Array:
        """The group of each row: its model and window."""
        model, window = (batch.column(name).dictionary_encode() for name in ("model", "window"))
        models, windows = model.dictionary.to_pylist(), window.dictionary.to_pylist()
        code = model.indices.to_numpy().astype(np.int64) * max(len(windows), 1) + window.indices.to_numpy()
        unique, inverse = np.unique(code, return_inverse=True)
        found = [(models[c // len(windows)], windows[c % len(windows)]) for c in unique.tolist()]
        slots = np.array([self.names.setdefault(name, len(self.names)) for name in found], dtype=np.int64)
        return slots[inverse.reshape(-1)]

    def count(self, group: Int64Array, numbers: FloatArray) -> None:
        """Add the rows' HEAD but for the seconds, which belong to no step."""
        more = np.zeros((len(self.names) - len(self.head), len(HEAD)))
        self.head = np.concatenate([self.head, more])
        np.add.at(self.head[:, :2], group, numbers[:, :2])

    def columns(self) -> dict[str, pa.Array]:
        """All but the key: a row a group and step."""
        high, low = self.sums.parts
        horizon, width = high.shape[1:]
        head = np.repeat(self.head, horizon, axis=0)
        high, low = high.reshape(-1, width), low.reshape(-1, width)
        models, windows = zip(*self.names, strict=True)
        rows = len(high)
        return {
            "model": pa.array(np.repeat(np.array(models, dtype=object), horizon), pa.string()),
            "window": pa.array(np.repeat(np.array(windows), horizon), pa.int32()),
            "bucket": pa.array(np.full(rows, -1 - _partition() % _STEP_LISTS), pa.int32()),
            STEP: pa.array(np.tile(np.arange(1, horizon + 1), len(models)), pa.int32()),
            "numbers": packed(np.concatenate([head, high, np.zeros_like(head), low], axis=1)),
        }


def _partition() -> int:
    """The number of the Spark task that this process works on; 0 outside of Spark."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else int(context.partitionId())


def row_numbers(
    batch: pa.RecordBatch,
    levels: Sequence[float],
    steps: StepSums | None = None,
    group: Int64Array | None = None,
) -> FloatArray:
    """The numbers of every row, [R, len(HEAD) + C]. steps, group: see `row_statistics`."""
    actual = dense(batch.column("actuals"))
    mean = dense(batch.column("mean"), actual.shape[1])
    actual = actual if actual.shape[1] else np.full_like(mean, np.nan)
    horizon = actual.shape[1]
    quantiles = dense(batch.column("quantiles"), horizon * len(levels)).reshape(-1, horizon, len(levels))
    density = batch.column("log_density") if "log_density" in batch.schema.names else None
    statistics = row_statistics(
        mean,
        quantiles,
        actual,
        batch.column("mase_scale").to_numpy(zero_copy_only=False),
        levels,
        rmsse_scale=_numbers(batch, "rmsse_scale"),
        log_density=None if density is None or density.null_count == len(batch) else dense(density, horizon),
        under=_numbers(batch, UNDER),
        over=_numbers(batch, OVER),
        steps=steps,
        group=group,
    )
    out = np.empty((len(batch), len(HEAD) + statistics.shape[1]))
    out[:, 0] = 1.0
    out[:, 1] = np.asarray(batch.column("status").to_numpy(zero_copy_only=False) == "fallback")
    out[:, 2] = batch.column("seconds").to_numpy(zero_copy_only=False)
    out[:, len(HEAD) :] = statistics
    return out


def _numbers(batch: pa.RecordBatch, name: str) -> FloatArray | None:
    """A column of numbers, NaN for NULL; None where there is no such column."""
    if name not in batch.schema.names:
        return None
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)


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
