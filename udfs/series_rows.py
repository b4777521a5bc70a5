"""The numbers of all rows of a series in one row: which model and window each is of, and the numbers, packed.

A series' rows lie together as a task wrote them, so most are brought together before Spark moves anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import FloatArray
from forecasting.frequency import Int64Array
from udfs.arrow import ArrowStep
from udfs.packed_numbers import unpacked_rows
from udfs.row_numbers import STEP

ALL_WINDOWS = -1
NAMES = "names"
"""Beside `numbers`: the model and window of each of their rows, as JSON. The same text for most series."""
_GATHERED_BYTES = 32 * 2**20
_PIECE_ROWS = 2048


def gathered(step: ArrowStep, key: Sequence[str]) -> ArrowStep:
    """The rows of `row_numbers.statistics_step` or `stored_step` with the numbers of each series (or step), as many as
    are met within a bounded size, in one value: key, `bucket`, STEP, NAMES, `numbers`."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in step(batches):
            if not len(batch):
                continue
            waiting.append(batch)
            size += int(batch.column("numbers").nbytes)
            if size > _GATHERED_BYTES:
                yield _together(waiting, key)
                waiting, size = [], 0
        if waiting:
            yield _together(waiting, key)

    return run


def _together(waiting: Sequence[pa.RecordBatch], key: Sequence[str]) -> pa.RecordBatch:
    rows = pa.Table.from_batches(waiting).combine_chunks().to_batches()[0]
    owner = [*key, "bucket", STEP]
    group = codes(rows, owner)
    order = np.argsort(group, kind="stable")
    begins = np.flatnonzero(np.diff(group[order], prepend=-1))
    ends = np.append(begins, len(order))
    columns = rows.select(owner).take(pa.array(order[begins])).columns
    names = pa.array(_names(rows, order, ends), pa.string())
    numbers = rows.column("numbers").take(pa.array(order))
    _, offsets, values = numbers.buffers()
    bounds = np.frombuffer(offsets, dtype=np.int32, count=len(order) + 1)[ends].copy()
    joined = pa.Array.from_buffers(pa.binary(), len(begins), [None, pa.py_buffer(bounds), values])
    return pa.RecordBatch.from_arrays([*columns, names, joined], names=[*owner, NAMES, "numbers"])


def codes(rows: pa.RecordBatch, columns: Sequence[str]) -> Int64Array:
    """Numbers from 0 that are equal where the columns are."""
    code = np.zeros(len(rows), dtype=np.int64)
    for name in columns:
        encoded = rows.column(name).dictionary_encode(null_encoding="encode")
        both = code * len(encoded.dictionary) + encoded.indices.to_numpy()
        code = np.unique(both, return_inverse=True)[1].reshape(-1)
    return code


def _names(rows: pa.RecordBatch, order: Int64Array, ends: Int64Array) -> npt.NDArray[np.object_]:
    """What rows order[ends[g]:ends[g + 1]] are of, as text. Made once for each that there is."""
    code = codes(rows, ["model", "window"])
    _, first = np.unique(code, return_index=True)
    of_code = rows.take(pa.array(first))
    known = list(zip(of_code.column("model").to_pylist(), of_code.column("window").to_pylist(), strict=True))
    code, out = code[order], np.empty(len(ends) - 1, dtype=object)
    counts = np.diff(ends)
    for count in np.unique(counts).tolist():
        mine = np.flatnonzero(counts == count)
        lists, which = np.unique(code[ends[mine, None] + np.arange(count)], axis=0, return_inverse=True)
        texts = [json.dumps([known[c] for c in row], separators=(",", ":")) for row in lists.tolist()]
        out[mine] = np.array(texts, dtype=object)[which.reshape(-1)]
    return out


@dataclass(frozen=True)
class Listed:
    """R rows taken apart. place: int64 [R], position of the list. models: names; model: int64 [R], position in them.
    window: int64 [R]. numbers: [R, K]."""

    place: Int64Array
    models: tuple[str, ...]
    model: Int64Array
    window: Int64Array
    numbers: FloatArray

    @classmethod
    def of(cls, column: pa.Array, width: int) -> Listed:
        """column: lists of (NAMES, numbers). width: K."""
        lists = np.diff(column.offsets.to_numpy())
        values = column.flatten()
        numbers, counts = unpacked_rows(values.field("numbers"), width)
        encoded = values.field(NAMES).dictionary_encode()
        named = [json.loads(text) for text in encoded.dictionary.to_pylist()]
        models = tuple(dict.fromkeys(name for rows in named for name, _ in rows))
        position = {name: i for i, name in enumerate(models)}
        flat = [(position[name], window) for rows in named for name, window in rows]
        table = np.array(flat, dtype=np.int64).reshape(-1, 2)
        begins = np.cumsum([0, *(len(rows) for rows in named)], dtype=np.int64)
        which = encoded.indices.to_numpy()
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        model, window = table[np.repeat(begins[which], counts) + within].T
        place = np.repeat(np.repeat(np.arange(len(column)), lists), counts)
        return cls(place, models, model, window, numbers)


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
    listed = Listed.of(batch.column("rows"), width)
    known = tuple(models) if models is not None else tuple(sorted(listed.models))
    position = {name: i for i, name in enumerate(known)}
    code = np.array([position.get(name, -1) for name in listed.models], dtype=np.int64)
    model = code[listed.model] if len(code) else listed.model
    order = np.lexsort((listed.window, model, listed.place))
    order = order[model[order] >= 0]
    return _with_all_windows(known, listed.place[order], model[order], listed.window[order], listed.numbers[order])


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
