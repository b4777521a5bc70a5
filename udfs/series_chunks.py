"""The series of a lake for the GPU job, all at once or in chunks of whole buckets, read when they are asked for.

Buckets are hashes of the keys: a chunk is a random part of the series, and all pieces of a series are in the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from forecasting.frequency import Frequency
from udfs.delta_files import rows_by
from udfs.limits import ITEM_SEPARATOR
from udfs.packed_series import METADATA_PREFIX, PackedSeries, read_series

if TYPE_CHECKING:
    from deltalake import DeltaTable

    from udfs.layout import Layout

_BUCKET = "bucket"


@dataclass(frozen=True)
class Survey:
    """What is to be known of all series before any is used.

    n_series; longest: periods of the longest. first, last: ordinals of the first and last period of the data set, None
    where no series has any. values: those of each key column, and of the metadata that were asked for.
    """

    n_series: int
    longest: int
    first: int | None
    last: int | None
    values: Mapping[str, pa.Array]

    @classmethod
    def of(cls, chunks: Iterable[PackedSeries], frequency: Frequency, columns: Sequence[str]) -> Survey:
        """Look at each chunk once. columns: those whose values are wanted."""
        n, longest, first, last = 0, 0, [], []
        seen: dict[str, list[pa.Array]] = {name: [] for name in columns}
        for series in chunks:
            n += len(series)
            some = series.lengths > 0
            if some.any():
                begin, lengths = frequency.ordinals(series.start)[some], series.lengths[some]
                longest = max(longest, int(lengths.max()))
                first.append(int(begin.min()))
                last.append(int((begin + lengths - 1).max()))
            for name in columns:
                seen[name].append(pc.unique(series.facts[name]))
        values = {name: pc.unique(pa.chunked_array(parts, pa.string())) for name, parts in seen.items()}
        return cls(n, longest, min(first, default=None), max(last, default=None), values)


@dataclass(frozen=True)
class SeriesChunks:
    """`n` chunks of the series, and what is known of all. read: gives a chunk by its number. everything: gives all
    series at once, in the order of their keys."""

    read: Callable[[int], PackedSeries]
    everything: Callable[[], PackedSeries]
    n: int
    survey: Survey

    @classmethod
    def whole(cls, series: PackedSeries, frequency: Frequency, columns: Sequence[str] = ()) -> SeriesChunks:
        """Series that are at hand, as one chunk."""
        return cls(lambda _: series, lambda: series, 1, Survey.of([series], frequency, columns))

    @classmethod
    def stored(
        cls,
        table: DeltaTable,
        layout: Layout,
        frequency: Frequency,
        *,
        at_once: int | None = None,
        metadata: Sequence[str] = (),
        items: Sequence[str] | None = None,
    ) -> SeriesChunks:
        """The table `series`, about `at_once` series in a chunk (None: all).

        metadata: columns whose values are wanted in the survey, beside those of the key. items: only these, by their
        joined keys.
        """
        groups = [] if at_once is None else grouped(rows_by(table, _BUCKET), at_once)
        surveyed = [*layout.key, *(METADATA_PREFIX + name for name in metadata)]

        def read(related: Sequence[str], attributes: Sequence[str], k: int | None = None) -> PackedSeries:
            where = None if k is None else {_BUCKET: groups[k]}
            found = read_series(table, layout.key, related, attributes, where)
            return found if items is None else found.only(_named(found, layout.key, items))

        wanted = layout.related, layout.attributes
        if at_once is None:
            return cls.whole(read(*wanted), frequency, surveyed)
        survey = Survey.of((read((), metadata, k) for k in range(len(groups))), frequency, surveyed)
        return cls(partial(read, *wanted), lambda: read(*wanted), len(groups), survey)

    def __len__(self) -> int:
        return self.n

    def __iter__(self) -> Iterator[PackedSeries]:
        return map(self.read, range(self.n))


def grouped(rows: Mapping[Any, int], at_once: int) -> list[tuple[Any, ...]]:
    """Buckets in their order, together as long as they have no more than `at_once` rows; one bucket at least."""
    groups: list[list[Any]] = [[]]
    held = 0
    for bucket in sorted(rows):
        if groups[-1] and held + rows[bucket] > at_once:
            groups.append([])
            held = 0
        groups[-1].append(bucket)
        held += rows[bucket]
    return [tuple(group) for group in groups]


def item_names(columns: Sequence[Any]) -> Any:
    """What `--items` calls series: the parts of their keys joined, an Arrow array."""
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, ITEM_SEPARATOR)


def _named(series: PackedSeries, key: Sequence[str], items: Sequence[str]) -> npt.NDArray[np.bool_]:
    names = item_names([series.facts[name] for name in key])
    return np.asarray(pc.is_in(names, pa.array(list(items), pa.string())).to_numpy(zero_copy_only=False))


__all__ = ["SeriesChunks", "Survey", "grouped", "item_names"]
