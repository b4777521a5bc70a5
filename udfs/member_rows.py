"""The backtest rows of a series' members as one binary value, which Spark moves as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from udfs.arrow import ArrowStep
from udfs.packed_numbers import dense, packed, unpacked_rows
from udfs.series_rows import codes

PIECE_NUMBERS = 4_000_000
"""Numbers that a task holds at once."""
OTHERS, MEMBERS = "selected:others", "selected:members"
"""Columns beside a selection: for each window the weights of the contest's models that the other windows give, packed
[W M] (with one window, its own), and the models that these and the series' final weights name."""
_HEAD, _TAIL = 3, 3


@dataclass(frozen=True)
class RowForm:
    """What a packed row holds: model, window (from 0) and start; mean and quantiles; actuals; the model's own log
    density of them; the scales of MASE and RMSSE, and whether the forecast is a fallback's.

    horizon: H. levels: Q. density: whether the density is there.
    """

    horizon: int
    levels: int
    density: bool = False

    @property
    def numbers(self) -> int:
        """Numbers of a row."""
        return _HEAD + self.horizon * (2 + self.levels + self.density) + _TAIL


@dataclass(frozen=True)
class MemberRows:
    """Rows unpacked. model, window, start (microseconds): int64 [R]. forecast: [R, H (1 + Q)]. actual: [R, H].
    density: [R, H], or [R, 0] without. scales: [R, 2]. helped: bool [R]."""

    model: Int64Array
    window: Int64Array
    start: Int64Array
    forecast: FloatArray
    actual: FloatArray
    density: FloatArray
    scales: FloatArray
    helped: npt.NDArray[np.bool_]

    def take(self, mine: npt.NDArray[np.bool_]) -> MemberRows:
        """Some of the rows."""
        return MemberRows(*(getattr(self, f.name)[mine] for f in fields(self)))


def pack_step(key: Sequence[str], models: Sequence[str], form: RowForm) -> ArrowStep:
    """All numbers of a series' rows as one binary value, for as many rows as a task holds at once: Spark moves it as
    it is, and has a row a series in place of one a model and window."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[tuple[pa.RecordBatch, FloatArray]] = []
        for batch in batches:
            if len(batch):
                waiting.append((batch.select(list(key)), _row_numbers(batch, models, form)))
            if sum(numbers.size for _, numbers in waiting) > PIECE_NUMBERS:
                yield _by_series(waiting)
                waiting = []
        if waiting:
            yield _by_series(waiting)

    return run


def _row_numbers(batch: pa.RecordBatch, models: Sequence[str], form: RowForm) -> FloatArray:
    """The rows of a batch, [R, `form.numbers`]."""
    horizon, rows = form.horizon, len(batch)
    encoded = batch.column("model").dictionary_encode()
    code = np.array([models.index(name) for name in encoded.dictionary.to_pylist()])
    start = batch.column("forecast_start").cast(pa.timestamp("us")).view(pa.int64()).to_numpy()
    scales = [batch.column(n).to_numpy(zero_copy_only=False) for n in ("mase_scale", "rmsse_scale")]
    density = np.empty((rows, 0))
    if form.density:
        there = "log_density" in batch.schema.names
        density = dense(batch.column("log_density"), horizon) if there else np.full((rows, horizon), np.nan)
    parts = [
        np.column_stack([code[encoded.indices.to_numpy()], batch.column("window").to_numpy() - 1, start]),
        dense(batch.column("mean"), horizon),
        dense(batch.column("quantiles"), horizon * form.levels),
        dense(batch.column("actuals"), horizon),
        density,
        np.column_stack([*scales, batch.column("status").to_numpy(zero_copy_only=False) == "fallback"]),
    ]
    return np.concatenate(parts, axis=1, dtype=np.float64)


def _by_series(waiting: Sequence[tuple[pa.RecordBatch, FloatArray]]) -> pa.RecordBatch:
    """The key of each series and its rows' numbers, one behind the other."""
    keys = pa.Table.from_batches([batch for batch, _ in waiting]).combine_chunks().to_batches()[0]
    code = codes(keys, keys.schema.names)
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    numbers = np.concatenate([numbers for _, numbers in waiting])[np.argsort(code, kind="stable")]
    columns = keys.take(pa.array(first)).columns
    return pa.RecordBatch.from_arrays([*columns, packed(numbers, counts)], names=[*keys.schema.names, "numbers"])


def member_rows(lists: pa.ListArray, form: RowForm) -> tuple[Int64Array, MemberRows]:
    """The rows of N lists of binary values (NULL: none), and the position of the list that each comes from."""
    numbers, counts = unpacked_rows(lists.flatten(), form.numbers)
    values = pc.fill_null(lists.value_lengths(), 0).to_numpy()
    position = np.repeat(np.repeat(np.arange(len(lists)), values), counts)
    model, window, start = numbers[:, :_HEAD].T.astype(np.int64)
    ends = _HEAD + form.horizon * np.array([1 + form.levels, 2 + form.levels, 2 + form.levels + form.density])
    _, forecast, actual, density, tail = np.split(numbers, [_HEAD, *ends], axis=1)
    return position, MemberRows(model, window, start, forecast, actual, density, tail[:, :2], tail[:, 2] != 0.0)
