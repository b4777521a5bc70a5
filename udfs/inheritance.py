"""The histories that a task's series inherit from what they replaced, from Arrow to the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from forecasting.batch import RelatedSeries, SeriesBatch, offsets_of
from forecasting.frequency import Int64Array
from forecasting.inheritance import Ancestors, joined_in_front
from udfs.arrow import label_microseconds, list_buffers

if TYPE_CHECKING:
    from udfs.spec import TaskSpec

INHERITED = "life:inherited"
"""Column beside a series: its predecessors, nearest first, as structs of position, scale, scale_periods, until (an
ordinal), start, target and the related series by name; NULL for none."""
_FAR = np.iinfo(np.int64).max // 4


def with_predecessors(piece: pa.RecordBatch, batch: SeriesBatch) -> SeriesBatch:
    """The batch with the histories of each series' predecessors in front of its own."""
    if INHERITED not in piece.schema.names or piece.column(INHERITED).null_count == len(piece):
        return batch
    column = piece.column(INHERITED)
    owner = np.repeat(np.arange(len(piece)), _lengths(column))
    rows = column.flatten()
    position = rows.field("position").to_numpy()
    for level in np.unique(position):
        batch = joined_in_front(batch, _ancestors(rows, owner, np.flatnonzero(position == level), batch))
    return batch


def inherits(piece: pa.RecordBatch, positions: Int64Array) -> npt.NDArray[np.bool_]:
    """Which series have a predecessor, bool [N]."""
    if INHERITED not in piece.schema.names:
        return np.zeros(len(positions), dtype=bool)
    return np.asarray(_lengths(piece.column(INHERITED))[positions] > 0)


def _lengths(column: pa.Array) -> Int64Array:
    return np.asarray(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _ancestors(rows: pa.Array, owner: Int64Array, chosen: Int64Array, batch: SeriesBatch) -> Ancestors:
    """Some of the structs, one a series at most, laid beside the batch."""
    mine, n = rows.take(pa.array(chosen)), len(batch)
    at = owner[chosen]  # increasing, as the rows are

    def spread(name: str) -> tuple[np.ndarray[tuple[int], np.dtype[np.float64]], Int64Array]:
        values, offsets = list_buffers(mine.field(name))
        lengths = np.zeros(n, dtype=np.int64)
        lengths[at] = np.diff(offsets)
        return values, offsets_of(lengths)

    values, offsets = spread("target")
    start, until = np.zeros(n, dtype=np.int64), np.full(n, _FAR, dtype=np.int64)
    start[at] = batch.frequency.ordinals(label_microseconds(mine.field("start")))
    until[at] = mine.field("until").fill_null(_FAR).to_numpy(zero_copy_only=False)
    scale = np.ones(n)
    scale[at] = mine.field("scale").to_numpy(zero_copy_only=False)
    related = {name: RelatedSeries(*spread(name)) for name in batch.related}
    return Ancestors(values, offsets, start, scale, until, related)


def known_by(piece: pa.RecordBatch, own: Int64Array, spec: TaskSpec) -> Int64Array:
    """Visible periods of their own [N, W], 0 where a window sees less of a successor than its scale was learnt from:
    such a window must not be given the scaled history."""
    if INHERITED not in piece.schema.names or piece.column(INHERITED).null_count == len(piece):
        return own
    column = piece.column(INHERITED)
    needed = np.full(len(piece), spec.min_history, dtype=np.int64)
    owner = np.repeat(np.arange(len(piece)), _lengths(column))
    np.maximum.at(needed, owner, column.flatten().field("scale_periods").to_numpy().astype(np.int64))
    return np.where(own < needed[:, None], np.minimum(own, 0), own)
