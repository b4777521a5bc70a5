"""Rows gathered by series inside a task: Spark then shuffles a row a series in place of one a model and window.

Spark lists the rows of a group in a hash table of 128 groups and sorts what goes beyond it; a task that has gathered
its rows leaves little to sort.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa

from forecasting.frequency import Int64Array

ArrowStep = Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]
_PIECE_BYTES = 32 * 2**20


def gathered(step: ArrowStep, by: Sequence[str]) -> ArrowStep:
    """What a step yields as a row for each group of the columns `by`, the others in a list of structs, `rows`. A group
    has a row for each piece of its task."""

    def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        waiting: list[pa.RecordBatch] = []
        size = 0
        for batch in step(batches):
            if len(batch):
                waiting.append(batch)
                size += batch.nbytes
            if size > _PIECE_BYTES:
                yield _listed(waiting, by)
                waiting, size = [], 0
        if waiting:
            yield _listed(waiting, by)

    return run


def _listed(waiting: Sequence[pa.RecordBatch], by: Sequence[str]) -> pa.RecordBatch:
    whole = joined(waiting)
    order, first, counts = groups([whole.column(name) for name in by])
    rest = [name for name in whole.schema.names if name not in by]
    rows = pa.StructArray.from_arrays([whole.column(name).take(order) for name in rest], names=rest)
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    columns = [whole.column(name).take(first) for name in by]
    lists = pa.ListArray.from_arrays(pa.array(offsets), rows)
    return pa.RecordBatch.from_arrays([*columns, lists], names=[*by, "rows"])


def joined(batches: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches with some rows as one."""
    return batches[0] if len(batches) == 1 else pa.Table.from_batches(batches).combine_chunks().to_batches()[0]


def groups(columns: Sequence[pa.Array]) -> tuple[pa.Array, pa.Array, Int64Array]:
    """The rows by the values of some columns: their order, one row of each group, and the rows of each [G]. Rows of a
    group stay in order; NULL is a value."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        encoded = column.dictionary_encode(null_encoding="encode")
        both = code * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
        code = np.unique(both, return_inverse=True)[1].reshape(-1)
    _, first, counts = np.unique(code, return_index=True, return_counts=True)
    return pa.array(np.argsort(code, kind="stable")), pa.array(first), counts
