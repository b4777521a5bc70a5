"""Long rows to packed series, in a Spark task: Arrow in, Arrow out, nothing loops over series.

Rows arrive with all rows of a key beside each other (sorted by a hash of the key). A row is of one *kind*: 0 target,
1 to R one of the related sources, -1 metadata. Rows of the same key, kind and period come from several sources and are
combined; periods without a row are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.batch import FloatArray, SeriesBatch
from forecasting.closures import Mask, OpeningHours
from forecasting.frequency import Frequency, Int64Array
from forecasting.lifecycle import SilenceRule
from udfs.arrow import ragged_lists, timestamps
from udfs.described import described
from udfs.observing import hidden_periods
from udfs.profile_columns import counts_without, shape_columns

KEY_HASH, KIND, ORDINAL, SEQUENCE = "#hash", "#kind", "#ordinal", "#sequence"
TARGET_KIND, ITEMS_KIND, BEGIN_KIND = 0, -1, -2
LATE, RELATED, ITEM = "#late", "#related", "#item"
"""Columns of further pieces: new rows lie before the end, new related values came, a row of metadata is there."""
BATCH_ROWS = 65_536
BATCH_VALUES = 4_000_000
"""Numbers in one dense array at most: 32 MB."""


@dataclass(frozen=True)
class Appended:
    """How a further piece is packed. A row of kind -2 is a piece that is there already: its period is the one behind
    its end (NULL without history), its sequence the number of the piece. The columns `carried` of a key's last such
    row are given on. new_from: sequence of the first source that is new.
    """

    carried: tuple[str, ...]
    new_from: int


@dataclass(frozen=True)
class PackSpec:
    """What a packing task needs to know; goes to the workers.

    columns: of each kind, name -> aggregation; the target's is called `target`. A column c has its weight in `c#n`.
    common_end: ordinal of the last period of the whole data set. per_series: silence is judged from each series' own
    end. missing_is_zero: for the class of demand, a period without a row had none. bare: only the related columns are
    packed, each key from its first period (tables keyed by a part of the key). first, last: periods before and after
    have no target (see `udfs.periods`); None: all have. masks, week, open_column: what is no observation and does not
    count in the profile (see `udfs.observing`). silence: when it is long. appended: what is packed are further pieces
    of series, see `udfs.appending`. fixed: columns that hold one number in all rows and are not sent.
    """

    key: tuple[str, ...]
    frequency: str
    columns: Mapping[int, Mapping[str, str]]
    attributes: tuple[str, ...] = ()
    common_end: int = 0
    per_series: bool = False
    missing_is_zero: bool = False
    bare: bool = False
    first: int | None = None
    last: int | None = None
    masks: tuple[Mask, ...] = ()
    week: OpeningHours | None = None
    open_column: str | None = None
    silence: SilenceRule = field(default_factory=SilenceRule)
    appended: Appended | None = None
    fixed: Mapping[str, int] = field(default_factory=dict)

    @property
    def related(self) -> tuple[tuple[int, str], ...]:
        """Related columns with their kind."""
        return tuple((kind, name) for kind, names in self.columns.items() if kind > TARGET_KIND for name in names)


def pack_batches(spec: PackSpec, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Packed rows from batches of long rows; a key may reach over several batches."""
    waiting: list[pa.RecordBatch] = []
    rows, enough = 0, BATCH_ROWS
    for batch in batches:
        waiting.append(batch)
        rows += batch.num_rows
        if rows < enough:
            continue
        table = pa.Table.from_batches(waiting)
        hashes = table.column(KEY_HASH).to_numpy()
        changes = np.flatnonzero(hashes[1:] != hashes[:-1])
        if not len(changes):
            enough *= 2  # one long series: wait for more
            continue
        cut = int(changes[-1]) + 1
        yield from _pack(spec, table.slice(0, cut))
        waiting = table.slice(cut).to_batches()
        rows, enough = len(table) - cut, BATCH_ROWS
    if rows:
        yield from _pack(spec, pa.Table.from_batches(waiting))


def _pack(spec: PackSpec, table: pa.Table) -> Iterator[pa.RecordBatch]:
    """Pack whole keys, in pieces whose arrays stay small."""
    for name, number in spec.fixed.items():
        table = table.append_column(name, pa.array(np.full(len(table), number, dtype=np.int32)))
    table, first = _keys_apart(table, spec.key)
    spans = _span(table, first)
    pieces = np.cumsum(spans) // BATCH_VALUES
    cuts = np.flatnonzero(np.diff(pieces)) + 1
    bounds = np.append(first, len(table))
    for begin, end in zip([0, *cuts], [*cuts, len(first)], strict=True):
        piece = table.slice(bounds[begin], bounds[end] - bounds[begin])
        yield _pack_piece(spec, piece, bounds[begin:end] - bounds[begin])


def _keys_apart(table: pa.Table, key: Sequence[str]) -> tuple[pa.Table, Int64Array]:
    """The table, and the first row of each key; two keys with one hash are put apart."""
    new = _changes(table.column(KEY_HASH))
    by_key = np.logical_or.reduce([_changes(table.column(k)) for k in key])
    if (by_key & ~new).any():
        table = table.sort_by([(KEY_HASH, "ascending"), *((k, "ascending") for k in key)])
        new = _changes(table.column(KEY_HASH)) | np.logical_or.reduce([_changes(table.column(k)) for k in key])
    return table, np.flatnonzero(new)


def _changes(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Where a value differs from the one before; the first does."""
    whole = column.combine_chunks()
    later = pc.not_equal(whole[1:], whole[:-1]).to_numpy(zero_copy_only=False)
    return np.concatenate(([True], later.astype(bool)))


def _span(table: pa.Table, first: Int64Array) -> Int64Array:
    """Periods between the earliest and the latest row of each key: what its longest array can have."""
    if len(first) == 0:
        return np.zeros(0, dtype=np.int64)
    column = table.column(ORDINAL)
    low = np.minimum.reduceat(pc.fill_null(column, np.iinfo(np.int64).max).to_numpy(), first)
    high = np.maximum.reduceat(pc.fill_null(column, np.iinfo(np.int64).min).to_numpy(), first)
    return np.where(high >= low, high - low + 1, 0)


@dataclass
class _Points:
    """Values of one column: which key, which period, in that order, one a period; NaN is missing."""

    key: Int64Array
    ordinal: Int64Array
    value: FloatArray
    weight: FloatArray = field(repr=False)


def _pack_piece(spec: PackSpec, table: pa.Table, first: Int64Array) -> pa.RecordBatch:
    n = len(first)
    row_key = np.repeat(np.arange(n), np.diff(np.append(first, len(table))))
    kind = table.column(KIND).to_numpy()
    take = pa.array(first)
    columns = {k: table.column(k).combine_chunks().take(take) for k in spec.key}
    by_kind = {k: _rows_of(table, kind == k, row_key, names) for k, names in spec.columns.items()}
    if spec.bare:
        start = _own_start([p for points in by_kind.values() for p in points.values()], n)
        columns["start_ordinal"] = pa.array(start)
        for k, name in spec.related:
            columns[name] = ragged_lists(*_through_last_known(by_kind[k][name], start))
        return pa.RecordBatch.from_pydict(columns)
    with_rows = by_kind[TARGET_KIND]["target"]
    target = _between(with_rows, spec.first, spec.last)
    behind = None
    if spec.appended is not None:
        behind = pieces_before(table, kind, row_key, n)
        late = _late(table, kind, row_key, behind, spec.appended.new_from)
        target = _behind(target, behind)
    start, offsets = _extent(target, n, spec.common_end + 1, behind)
    dense = np.full(int(offsets[-1]), np.nan)
    dense[offsets[target.key] + target.ordinal - start[target.key]] = target.value
    frequency = Frequency.parse(spec.frequency)
    columns |= {
        "start": timestamps(frequency.labels(start)),
        "start_ordinal": pa.array(start),
        "n": pa.array(np.diff(offsets).astype(np.int32)),
        "target": ragged_lists(dense, offsets),
    }
    related = {name: _through_last_known(by_kind[k][name], start) for k, name in spec.related}
    columns |= {name: ragged_lists(*lists) for name, lists in related.items()}
    columns |= described(dense, offsets, start, frequency, spec)
    packed = SeriesBatch(dense, offsets, start, frequency, [""] * n)
    hidden = hidden_periods(spec.masks, spec.week, spec.open_column, packed, related)
    columns |= shape_columns(dense, offsets, start, frequency, spec.missing_is_zero, hidden)
    if hidden is not None:
        columns |= counts_without(dense, offsets, hidden)
    is_item = kind == ITEMS_KIND
    columns |= _latest_metadata(table, is_item, row_key, n, spec.attributes)
    known = np.zeros(n, dtype=bool)
    known[with_rows.key] = True
    known[row_key[is_item]] = True
    if spec.appended is not None and behind is not None:
        known |= behind.row >= 0
        columns |= late
        columns[ITEM] = pa.array(np.isin(np.arange(n), row_key[is_item]))
        last = pa.array(behind.row, mask=behind.row < 0)
        columns |= {c: table.column(c).combine_chunks().take(last) for c in (*spec.appended.carried, SEQUENCE)}
    batch = pa.RecordBatch.from_pydict(columns)
    return batch if known.all() else batch.filter(pa.array(known))


def _between(points: _Points, first: int | None, last: int | None) -> _Points:
    """The points of the periods from `first` to `last`, where these are given."""
    if first is None and last is None:
        return points
    inside = np.ones(len(points.key), dtype=bool)
    if first is not None:
        inside &= points.ordinal >= first
    if last is not None:
        inside &= points.ordinal <= last
    return _Points(*(column[inside] for column in vars(points).values()))


def _rows_of(
    table: pa.Table, mask: npt.NDArray[np.bool_], row_key: Int64Array, names: Mapping[str, str]
) -> dict[str, _Points]:
    """The points of each column of one kind, sources combined."""
    rows = table if mask.all() else table.filter(pa.array(mask))
    key = row_key if mask.all() else row_key[mask]
    ordinal = rows.column(ORDINAL).to_numpy()
    sequence = rows.column(SEQUENCE).to_numpy()
    order: Int64Array | None = None
    if not _is_sorted(key, ordinal, sequence):
        order = np.lexsort((sequence, ordinal, key))
        key, ordinal = key[order], ordinal[order]
    points = {}
    for name, how in names.items():
        value = _floats(rows.column(name))
        weight = _floats(rows.column(f"{name}#n"))
        if order is not None:
            value, weight = value[order], weight[order]
        points[name] = combine(key, ordinal, value, weight, how)
    return points


def _is_sorted(key: Int64Array, ordinal: Int64Array, sequence: npt.NDArray[np.int32]) -> bool:
    same_key = key[1:] == key[:-1]
    step = ordinal[1:] - ordinal[:-1]
    late = (step > 0) | ((step == 0) & (sequence[1:] >= sequence[:-1]))
    return bool((~same_key | late).all())


def _floats(column: pa.ChunkedArray) -> FloatArray:
    """Numbers as float64, NULL as NaN."""
    whole = column.combine_chunks()
    if whole.type != pa.float64():
        whole = whole.cast(pa.float64())
    return np.asarray(whole.to_numpy(zero_copy_only=False), dtype=np.float64)


def combine(key: Int64Array, ordinal: Int64Array, value: FloatArray, weight: FloatArray, how: str) -> _Points:
    """Partial aggregates of several sources as one value a key and period.

    The arrays are sorted by key, period and source sequence. sum adds, mean weighs by rows, first and last go by
    sequence (`none` like last: a later source corrects an earlier one). A missing part does not count.
    """
    if not len(key):
        return _Points(key, ordinal, value, weight)
    new = np.concatenate(([True], (key[1:] != key[:-1]) | (ordinal[1:] != ordinal[:-1])))
    if new.all():
        return _Points(key, ordinal, value, weight)
    at = np.flatnonzero(new)
    seen = ~np.isnan(value)
    known = np.logical_or.reduceat(seen, at)
    total = np.add.reduceat(np.where(seen, weight, 0.0), at)
    if how == "sum":
        joined = np.add.reduceat(np.where(seen, value, 0.0), at)
    elif how == "mean":
        joined = np.add.reduceat(np.where(seen, value * weight, 0.0), at) / np.where(total > 0, total, 1.0)
    elif how in ("min", "max"):
        joined = (np.fmin if how == "min" else np.fmax).reduceat(value, at)
    else:
        place = np.arange(len(value))
        if how == "first":
            chosen = np.minimum.reduceat(np.where(seen, place, len(value) - 1), at)
        else:
            chosen = np.maximum.reduceat(np.where(seen, place, 0), at)
        joined = value[chosen]
    return _Points(key[at], ordinal[at], np.where(known, joined, np.nan), total)


def _own_start(columns: Sequence[_Points], n: int) -> Int64Array:
    """The earliest period of each key over all columns."""
    start = np.full(n, np.iinfo(np.int64).max)
    for points in columns:
        np.minimum.at(start, points.key, points.ordinal)
    return start


@dataclass(frozen=True)
class _Behind:
    """Of each key the row of its last piece (-1: none), and the period behind its end where it has one (`there`)."""

    row: Int64Array
    ordinal: Int64Array
    there: npt.NDArray[np.bool_]


def pieces_before(table: pa.Table, kind: npt.NDArray[np.int32], row_key: Int64Array, n: int) -> _Behind:
    """What the rows of kind -2 say of each key."""
    rows = np.flatnonzero(kind == BEGIN_KIND)
    rows = rows[np.lexsort((table.column(SEQUENCE).to_numpy()[rows], row_key[rows]))]
    row = np.full(n, -1, dtype=np.int64)
    row[row_key[rows]] = rows  # the last of several wins
    ordinals = table.column(ORDINAL).combine_chunks()
    there = (row >= 0) & ordinals.is_valid().to_numpy(zero_copy_only=False)[row]
    return _Behind(row, np.where(there, pc.fill_null(ordinals, 0).to_numpy()[row], 0), there)


def _late(
    table: pa.Table, kind: npt.NDArray[np.int32], row_key: Int64Array, behind: _Behind, new_from: int
) -> dict[str, pa.Array]:
    """Whether a key has new rows that lie before the end of its last piece, and whether it has new related values."""
    fresh = (kind >= TARGET_KIND) & (table.column(SEQUENCE).to_numpy() >= new_from)
    ordinal = pc.fill_null(table.column(ORDINAL).combine_chunks(), 0).to_numpy()
    early = fresh & behind.there[row_key] & (ordinal < behind.ordinal[row_key])
    late, related = (np.zeros(len(behind.row), dtype=bool) for _ in range(2))
    late[row_key[early]] = True
    related[row_key[fresh & (kind > TARGET_KIND)]] = True
    return {LATE: pa.array(late), RELATED: pa.array(related)}


def _behind(points: _Points, behind: _Behind) -> _Points:
    """The points that do not lie before the end of the last piece."""
    used = ~behind.there[points.key] | (points.ordinal >= behind.ordinal[points.key])
    return (
        points if used.all() else _Points(*(getattr(points, f)[used] for f in ("key", "ordinal", "value", "weight")))
    )


def _extent(points: _Points, n: int, empty_start: int, behind: _Behind | None = None) -> tuple[Int64Array, Int64Array]:
    """Start ordinal and dense offsets of each key; a key without points is empty and starts at `empty_start`. behind:
    where a further piece begins."""
    bounds = np.searchsorted(points.key, np.arange(n + 1))
    some = np.diff(bounds) > 0
    start = np.full(n, empty_start, dtype=np.int64)
    length = np.zeros(n, dtype=np.int64)
    start[some] = points.ordinal[bounds[:-1][some]]
    if behind is not None:
        start = np.where(behind.there, behind.ordinal, start)
    length[some] = points.ordinal[bounds[1:][some] - 1] - start[some] + 1
    return start, np.concatenate(([0], np.cumsum(length)))


def _through_last_known(points: _Points, start: Int64Array) -> tuple[FloatArray, Int64Array]:
    """Dense values of each key from `start` through its last known value."""
    used = (points.ordinal >= start[points.key]) & ~np.isnan(points.value)
    key, position = points.key[used], points.ordinal[used] - start[points.key[used]]
    length = np.zeros(len(start), dtype=np.int64)
    np.maximum.at(length, key, position + 1)
    offsets = np.concatenate(([0], np.cumsum(length)))
    dense = np.full(int(offsets[-1]), np.nan)
    dense[offsets[key] + position] = points.value[used]
    return dense, offsets


def _latest_metadata(
    table: pa.Table, is_item: npt.NDArray[np.bool_], row_key: Int64Array, n: int, attributes: Sequence[str]
) -> dict[str, pa.Array]:
    """The metadata columns kept with the key itself: of each column the latest source's value."""
    if not attributes:
        return {}
    rows = np.flatnonzero(is_item)
    rows = rows[np.lexsort((table.column(SEQUENCE).to_numpy()[rows], row_key[rows]))]
    found = {}
    for name in attributes:
        column = table.column(name).combine_chunks()
        present = rows[column.take(pa.array(rows)).is_valid().to_numpy(zero_copy_only=False)]
        place = np.full(n, -1, dtype=np.int64)
        place[row_key[present]] = present  # the last of several wins
        found[name] = column.take(pa.array(place, mask=place < 0))
    return found
