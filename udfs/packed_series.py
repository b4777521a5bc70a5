"""The table `series` in numpy: all pieces of all series joined, without Spark (for the GPU job).

The rules are those of `udfs.pieces`: a piece begins where the one before it ends, the related values of a later piece
stand in for what an earlier one has behind its own end, and what holds for a series is what its last piece says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray, offsets_of
from forecasting.frequency import Int64Array
from udfs.arrow import RELATED_PREFIX, label_microseconds, list_buffers, ragged_lists, timestamps
from udfs.delta_files import read_files

if TYPE_CHECKING:
    from deltalake import DeltaTable

METADATA_PREFIX = "metadata:"
"""Metadata `brand` is the column `metadata:brand` of a batch."""
LIFECYCLE, DEMAND = "lifecycle", "demand_class"
_VALUES_AT_ONCE = 4_000_000
_LARGEST = np.iinfo(np.int32).max

Ragged = tuple[FloatArray, Int64Array]


@dataclass(frozen=True)
class PackedSeries:
    """N series in the order of their keys. facts: N values of each key column, of `bucket`, `lifecycle` and
    `demand_class`, and of the metadata by their prefixed names. start: int64 [N], microseconds. target, related: flat
    values with offsets [N + 1]."""

    facts: Mapping[str, pa.Array]
    start: Int64Array
    target: Ragged
    related: Mapping[str, Ragged]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> Int64Array:
        """Periods of each series."""
        return np.diff(self.target[1])

    def only(self, chosen: npt.NDArray[np.bool_]) -> PackedSeries:
        """Some of the series."""
        rows = np.flatnonzero(chosen)
        pick = pa.array(rows)
        return replace(
            self,
            facts={name: column.take(pick) for name, column in self.facts.items()},
            start=self.start[rows],
            target=_some(self.target, rows),
            related={name: _some(held, rows) for name, held in self.related.items()},
        )

    def batch(self, begin: int, end: int) -> pa.RecordBatch:
        """Rows `begin` to `end` as a task gets them: facts, start, target and `related:<name>`."""
        columns: dict[str, pa.Array] = {name: column.slice(begin, end - begin) for name, column in self.facts.items()}
        columns["start"] = timestamps(self.start[begin:end])
        columns["target"] = _lists(self.target, begin, end)
        columns |= {RELATED_PREFIX + name: _lists(held, begin, end) for name, held in self.related.items()}
        return pa.RecordBatch.from_pydict(columns)

    @property
    def most_values(self) -> int:
        """Values in the longest flat array."""
        return max(int(offsets[-1]) for _, offsets in (self.target, *self.related.values()))


def read_series(
    table: DeltaTable,
    key: Sequence[str],
    related: Sequence[str],
    metadata: Sequence[str],
    where: Mapping[str, Collection[Any]] | None = None,
) -> PackedSeries:
    """The series of the table `series`: all, or those whose partition columns have one of the values of `where`."""
    wanted = [*key, "bucket", "segment", "start", "target", LIFECYCLE, f"profile.{DEMAND}"]
    wanted += [*(f"related.{name}" for name in related), *(f"metadata.{name}" for name in metadata)]
    facts: dict[str, list[pa.Array]] = {}
    start, flat = [], {name: ([], []) for name in ("target", *related)}  # type: ignore[var-annotated]
    for rows in read_files(table, wanted, where):
        one = {name: _whole(rows.column(name)) for name in rows.column_names}
        n = rows.num_rows
        texts = {k: one[k] for k in key} | {LIFECYCLE: one[LIFECYCLE], DEMAND: _field(one, "profile", DEMAND, n)}
        texts |= {METADATA_PREFIX + name: _field(one, "metadata", name, n) for name in metadata}
        found = {name: column.cast(pa.string()) for name, column in texts.items()}
        found |= {name: one[name].cast(pa.int32()) for name in ("bucket", "segment")}
        for name, column in found.items():
            facts.setdefault(name, []).append(column)
        start.append(label_microseconds(one["start"]))
        lists = {name: _field(one, "related", name, n, pa.list_(pa.float64())) for name in related}
        for name, column in ({"target": one["target"]} | lists).items():
            values, offsets = list_buffers(column)
            flat[name][0].append(values)
            flat[name][1].append(np.diff(offsets))
    names = [*key, LIFECYCLE, DEMAND, *(METADATA_PREFIX + name for name in metadata)]
    kinds = dict.fromkeys(names, pa.string()) | dict.fromkeys(("bucket", "segment"), pa.int32())
    together = {name: pa.chunked_array(facts.get(name, []), kind).combine_chunks() for name, kind in kinds.items()}
    ragged = {name: (_joined(parts), offsets_of(_joined(sizes, np.int64))) for name, (parts, sizes) in flat.items()}
    target = ragged.pop("target")
    pieces = PackedSeries(together, _joined(start, np.int64), target, ragged)
    return join_pieces(pieces, key)


def join_pieces(pieces: PackedSeries, key: Sequence[str]) -> PackedSeries:
    """One row a series, in the order of the keys, from one a piece in any order. The facts have `segment`."""
    names = [*key, "segment"]
    columns = pa.table({name: pieces.facts[name] for name in names})
    order = pc.sort_indices(columns, sort_keys=[(name, "ascending") for name in names])
    rows = order.to_numpy().astype(np.int64)
    if not len(rows):
        kept = {name: column for name, column in pieces.facts.items() if name != "segment"}
        return replace(pieces, facts=kept)
    new = np.ones(len(rows), dtype=bool)
    new[1:] = False
    for name in key:
        column = pieces.facts[name].take(order)
        new[1:] |= pc.not_equal(column.slice(1), column.slice(0, len(rows) - 1)).to_numpy(zero_copy_only=False)
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(rows)) - 1
    n = pieces.lengths[rows]
    is_last = np.zeros(len(rows), dtype=bool)
    is_last[last] = True
    with_period = np.minimum.reduceat(np.where(n > 0, np.arange(len(rows)), len(rows)), first)
    begins = np.where(with_period < len(rows), with_period, last)
    ends = pa.array(rows[last])
    return PackedSeries(
        facts={name: column.take(ends) for name, column in pieces.facts.items() if name != "segment"},
        start=pieces.start[rows[begins]],
        target=_gathered(pieces.target, rows, n, first),
        related={
            name: _gathered(held, rows, np.where(is_last, np.diff(held[1])[rows], n), first)
            for name, held in pieces.related.items()
        },
    )


def _gathered(held: Ragged, rows: Int64Array, sizes: Int64Array, first: Int64Array) -> Ragged:
    """The first `sizes` values of each row, NaN behind its own, joined from each of `first` on."""
    values, offsets = held
    out_offsets = offsets_of(sizes)
    out = np.full(int(out_offsets[-1]), np.nan)
    ends = np.append(out_offsets[first], out_offsets[-1])
    if not len(out):
        return out, ends
    begin, there = offsets[:-1][rows], np.diff(offsets)[rows]
    cuts = np.searchsorted(out_offsets, np.arange(0, len(out), _VALUES_AT_ONCE))
    for low, high in zip(cuts, [*cuts[1:], len(rows)], strict=True):
        length = np.minimum(sizes[low:high], there[low:high])
        within = np.arange(int(length.sum())) - np.repeat(offsets_of(length)[:-1], length)
        out[np.repeat(out_offsets[low:high], length) + within] = values[np.repeat(begin[low:high], length) + within]
    return out, ends


def _some(held: Ragged, rows: Int64Array) -> Ragged:
    return _gathered(held, rows, np.diff(held[1])[rows], np.arange(len(rows)))


def _lists(held: Ragged, begin: int, end: int) -> pa.Array:
    values, offsets = held
    mine = offsets[begin : end + 1]
    if mine[-1] - mine[0] > _LARGEST:
        raise ValueError(f"{mine[-1] - mine[0]} values are more than a batch can hold")
    return ragged_lists(values[mine[0] : mine[-1]], mine - mine[0])


def _whole(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole


def _field(columns: Mapping[str, pa.Array], struct: str, name: str, n: int, kind: Any = None) -> pa.Array:
    """A field of a struct column, NULL where the file has no such column or field."""
    kind = kind or pa.string()
    column = columns.get(struct)
    if column is None or column.type.get_field_index(name) < 0:
        return pa.nulls(n, kind)
    return pc.struct_field(column, name)


def _joined(parts: Sequence[npt.NDArray[Any]], kind: Any = np.float64) -> npt.NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=kind)
