"""The additive statistics of rows of `results`: a few dozen numbers a row, and the sums of each horizon step.

A backtest's task makes them while it has the arrays at hand and writes them beside these: STATISTICS of each row,
packed, and in one row of the task STEP_STATISTICS, as Arrow's stream. What comes of backtests is made of them alone.
Rows without (of earlier versions, of the global model), or where errors have a price, which may change, are read
with their arrays; so are those of a run that an item was forgotten of, whose share of a task's sums would stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.evaluation.layout import Layout
from forecasting.evaluation.row_statistics import row_statistics
from forecasting.evaluation.step_sums import StepSums
from forecasting.frequency import Int64Array
from udfs.arrow import ArrowStep, nulls
from udfs.error_costs import OVER, UNDER
from udfs.packed_numbers import dense, packed, unpacked
from udfs.results_schema import STATISTICS, STEP_STATISTICS

HEAD = ("n_series", "n_fallback", "seconds")
"""What stands before the statistics of `forecasting.evaluation.metrics` in the numbers of a row."""
STEP = "step"
"""The horizon step (1, 2, …) of rows that are sums over series; NULL in the rows of series."""
OF_ROWS = ("mean", "quantiles", "actuals", "mase_scale", "status", "seconds")
"""What `statistics_step` reads beside a row's identity."""
IF_THERE = ("rmsse_scale", "log_density", UNDER, OVER)
"""What it reads where it is there: results of earlier versions lack the first two, a run without costs the others."""
_STEP_LISTS = 64


def n_numbers(levels: Sequence[float]) -> int:
    """K, numbers of a row."""
    return len(HEAD) + len(Layout.of(levels))


def statistics_form(levels: Sequence[float]) -> str:
    """A digest of what the numbers of a row are, and in which order: those of another version are not read."""
    return hashlib.sha256(",".join((*HEAD, *Layout.of(levels).names)).encode()).hexdigest()[:16]


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


class _TaskSums:
    """The sums of a task by model, window and step."""

    def __init__(self, levels: Sequence[float]) -> None:
        self.levels = levels
        self.names: dict[tuple[str, int], int] = {}
        self.sums = StepSums(Layout.of(levels))
        self.head = np.zeros((0, len(HEAD)))

    def add(self, batch: pa.RecordBatch) -> FloatArray:
        """The numbers of some rows, which count from now on."""
        group = self._groups(batch)
        numbers = row_numbers(batch, self.levels, self.sums, group)
        more = np.zeros((len(self.names) - len(self.head), len(HEAD)))
        self.head = np.concatenate([self.head, more])
        np.add.at(self.head[:, :2], group, numbers[:, :2])  # the seconds belong to no step
        return numbers

    def _groups(self, batch: pa.RecordBatch) -> Int64Array:
        """The group of each row: its model and window."""
        model, window = (batch.column(name).dictionary_encode() for name in ("model", "window"))
        models, windows = model.dictionary.to_pylist(), window.dictionary.to_pylist()
        code = model.indices.to_numpy().astype(np.int64) * max(len(windows), 1) + window.indices.to_numpy()
        unique, inverse = np.unique(code, return_inverse=True)
        found = [(models[c // len(windows)], windows[c % len(windows)]) for c in unique.tolist()]
        slots = np.array([self.names.setdefault(name, len(self.names)) for name in found], dtype=np.int64)
        return slots[inverse.reshape(-1)]

    def rows(self) -> pa.RecordBatch:
        """A row a group and step: model, window, STEP and `numbers`, as many again as those of a row of a series, the
        sums and then what rounding lost."""
        high, low = self.sums.parts
        horizon, width = high.shape[1:]
        head = np.repeat(self.head, horizon, axis=0)
        high, low = high.reshape(-1, width), low.reshape(-1, width)
        models, windows = zip(*self.names, strict=True)
        columns = {
            "model": pa.array(np.repeat(np.array(models, dtype=object), horizon), pa.string()),
            "window": pa.array(np.repeat(np.array(windows), horizon), pa.int32()),
            STEP: pa.array(np.tile(np.arange(1, horizon + 1), len(models)), pa.int32()),
            "numbers": packed(np.concatenate([head, high, np.zeros_like(head), low], axis=1)),
        }
        return pa.RecordBatch.from_pydict(columns)


# --- from arrays ---


def statistics_step(identity: Sequence[str], levels: Sequence[float], key: Sequence[str] | None = None) -> ArrowStep:
    """Rows with OF_ROWS and what there is of IF_THERE to identity, STEP and numbers, as `packed`.

    key: the key columns of `identity`: at its end a task adds the sums of each model, window and step, with NULL for
    these and one of a few numbers below 0 as bucket, so that many tasks' rows do not end up in one list. None: not.
    """

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        sums, some = _TaskSums(levels), None
        for batch in batches:
            some = batch
            numbers = row_numbers(batch, levels) if key is None else sums.add(batch)
            yield _of_series(batch, identity, packed(numbers))
        if some is not None and key is not None and sums.names:
            yield _of_steps(sums.rows(), some.schema, identity, key)

    return run


def _of_series(batch: pa.RecordBatch, identity: Sequence[str], numbers: pa.Array) -> pa.RecordBatch:
    columns = [*(batch.column(name) for name in identity), nulls(pa.int32(), len(batch)), numbers]
    return pa.RecordBatch.from_arrays(columns, names=[*identity, STEP, "numbers"])


def _of_steps(rows: pa.RecordBatch, schema: pa.Schema, identity: Sequence[str], key: Sequence[str]) -> pa.RecordBatch:
    """Rows of `_TaskSums` with NULL as key. schema: that of the rows they belong to."""
    n = len(rows)
    given = {name: rows.column(name) for name in rows.schema.names}
    given |= {name: nulls(schema.field(name).type, n) for name in key}
    given["bucket"] = pa.repeat(pa.scalar(-1 - _partition() % _STEP_LISTS, pa.int32()), n)
    names = [*identity, STEP, "numbers"]
    return pa.RecordBatch.from_arrays([given[name] for name in names], names=names)


def _partition() -> int:
    """The number of the Spark task that this process works on; 0 outside of Spark."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return 0 if context is None else int(context.partitionId())


# --- beside the arrays ---


def with_statistics(batches: Iterable[pa.RecordBatch], levels: Sequence[float]) -> Iterator[pa.RecordBatch]:
    """A task's rows of `results` with STATISTICS and, in the first row of its last batch, STEP_STATISTICS, where they
    have NULL. What was skipped has none."""
    sums, waiting = _TaskSums(levels), None
    for batch in batches:
        if waiting is not None:
            yield waiting
        waiting = _with(batch, STATISTICS, _statistics(batch, sums))
    if waiting is None:
        return
    if sums.names and len(waiting):
        blob = pa.array([_stream(sums.rows()), *[None] * (len(waiting) - 1)], pa.binary())
        waiting = _with(waiting, STEP_STATISTICS, blob)
    yield waiting


def no_statistics(rows: int) -> dict[str, pa.Array]:
    """The columns where nothing is known: what `with_statistics` fills, and what forecasts keep."""
    return dict.fromkeys((STATISTICS, STEP_STATISTICS), nulls(pa.binary(), rows))


def _with(batch: pa.RecordBatch, name: str, column: pa.Array) -> pa.RecordBatch:
    return batch.set_column(batch.schema.get_field_index(name), name, column)


def _statistics(batch: pa.RecordBatch, sums: _TaskSums) -> pa.Array:
    skipped = pc.equal(batch.column("status"), "skipped")
    if not pc.any(skipped).as_py():
        return packed(_untimed(sums.add(batch)))
    mine = np.flatnonzero(~skipped.to_numpy(zero_copy_only=False))
    if not len(mine):
        return nulls(pa.binary(), len(batch))
    place = np.full(len(batch), -1, dtype=np.int64)
    place[mine] = np.arange(len(mine))
    index = pa.array(place, mask=place < 0)
    return packed(_untimed(sums.add(batch.take(pa.array(mine))))).take(index)


def _untimed(numbers: FloatArray) -> FloatArray:
    """The numbers without the seconds, which have a column of their own: what is stored is the same each time."""
    numbers[:, HEAD.index("seconds")] = 0.0
    return numbers


def _stream(rows: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())


def stored_step(identity: Sequence[str], levels: Sequence[float], key: Sequence[str] | None = None) -> ArrowStep:
    """As `statistics_step`, of rows with STATISTICS and `seconds`; of steps where these have STEP_STATISTICS and `key`
    is given. levels: those of the run."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            scored = batch.filter(batch.column(STATISTICS).is_valid())
            numbers = unpacked(scored.column(STATISTICS), n_numbers(levels)).copy()
            numbers[:, HEAD.index("seconds")] = scored.column("seconds").to_numpy()
            yield _of_series(scored, identity, packed(numbers))
            if key is None:
                continue
            for blob in batch.column(STEP_STATISTICS).drop_null():
                with pa.ipc.open_stream(blob.as_buffer()) as stream:
                    for rows in stream:
                        yield _of_steps(rows, batch.schema, identity, key)

    return run
