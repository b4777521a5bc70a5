"""The series batch: many series in one flat array, the only thing a model ever sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from forecasting.frequency import Frequency, Int64Array, to_microseconds
from forecasting.seeds import UInt64Array, key_hashes

FloatArray = npt.NDArray[np.float64]


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view. Arrow buffers are read-only, a type of its own for numba: with all batches so, each kernel
    compiles once."""
    view = array.view()
    view.flags.writeable = False
    return view


def offsets_of(sizes: npt.ArrayLike) -> Int64Array:
    """Where rows of these sizes begin and end in a flat array, int64 [R + 1]."""
    lengths = np.asarray(sizes, dtype=np.int64)
    offsets = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


@dataclass(frozen=True)
class RelatedSeries:
    """One related column for all series of a batch, in the layout of the target.

    values: flat float64, NaN is missing. offsets: int64 [N + 1]. Series i starts in the period in which its target
    starts and reaches as far as values are known, into the horizon where `known_in_future`.
    """

    values: FloatArray
    offsets: Int64Array
    known_in_future: bool = False


@dataclass(frozen=True)
class Holidays:
    """Holiday columns by period, for groups of series that keep the same calendar.

    names: K columns; a day k periods after a holiday is a column of its own, "Easter_+1" (before: "Easter_-1").
    base: K, the holiday a column belongs to. first: ordinal of the first period. values: float64 [G, T, K], how many
    days of the holiday a period holds (periods of a day or less: 0 or 1); 0 outside the T periods. group: int64 [N],
    the calendar of each series, -1 for none.
    """

    names: tuple[str, ...]
    base: tuple[str, ...]
    first: int
    values: FloatArray
    group: Int64Array


@dataclass(frozen=True)
class SeriesBatch:
    """N series on one time grid.

    values: flat float64, NaN is missing. offsets: int64 [N + 1], series i is values[offsets[i]:offsets[i + 1]].
    start: int64 [N], the ordinal of each series' first period. keys: N strings, the identity that seeds derive from.
    filled: uint8 like values, 1 where a value was filled and is not an observation; None when nothing was filled.
    holidays: the calendars of the series; None for none.
    """

    values: FloatArray
    offsets: Int64Array
    start: Int64Array
    frequency: Frequency
    keys: Sequence[str]
    related: Mapping[str, RelatedSeries] = field(default_factory=dict)
    filled: npt.NDArray[np.uint8] | None = None
    holidays: Holidays | None = None

    def __post_init__(self) -> None:
        n = len(self.offsets) - 1
        if n < 0 or len(self.start) != n or len(self.keys) != n:
            raise ValueError(f"got {len(self.start)} starts and {len(self.keys)} keys for {n} series; they must agree")
        if n >= 0 and (
            self.offsets[0] < 0 or self.offsets[-1] > len(self.values) or (np.diff(self.offsets) < 0).any()
        ):
            raise ValueError("offsets must not decrease and must lie inside values")
        for name, column in self.related.items():
            if len(column.offsets) != n + 1:
                raise ValueError(f"related series {name!r} has {len(column.offsets) - 1} rows for {n} series")
        if self.holidays is not None and len(self.holidays.group) != n:
            raise ValueError(f"holidays are given for {len(self.holidays.group)} of {n} series")
        object.__setattr__(self, "values", read_only(np.ascontiguousarray(self.values, dtype=np.float64)))
        object.__setattr__(self, "offsets", read_only(np.ascontiguousarray(self.offsets, dtype=np.int64)))
        object.__setattr__(self, "start", read_only(np.ascontiguousarray(self.start, dtype=np.int64)))
        if self.filled is not None:
            object.__setattr__(self, "filled", read_only(np.ascontiguousarray(self.filled, dtype=np.uint8)))

    @classmethod
    def from_arrays(
        cls,
        arrays: Sequence[npt.ArrayLike],
        start: str | np.datetime64 | Sequence[object],
        freq: str | Frequency,
        *,
        keys: Sequence[str] | None = None,
        related: Mapping[str, Sequence[npt.ArrayLike]] | None = None,
        known_in_future: Sequence[str] = (),
    ) -> SeriesBatch:
        """Build a batch from one array a series.

        start: one timestamp for all, or one a series. related: per column one array a series, from the series' start
        through the last known value. keys: identities for seeds, by default the positions. NaN is a missing value;
        an infinite one is a mistake of the caller's.
        Raises ValueError when the counts disagree or a target or related value is infinite.
        """
        n = len(arrays)
        single = isinstance(start, str | np.datetime64) or not hasattr(start, "__len__")
        labels = to_microseconds(np.full(n, start, dtype="M8[us]") if single else np.asarray(start))
        if len(labels) != n:
            raise ValueError(f"got {len(labels)} starts for {n} series; give one, or one a series")
        frequency = Frequency.parse(freq)
        if n:
            frequency = frequency.aligned_to(int(labels[0]))
        values, offsets = _flatten(arrays, "the target")
        columns = {}
        for name, column in (related or {}).items():
            if len(column) != n:
                raise ValueError(f"related series {name!r} has {len(column)} arrays for {n} series")
            columns[name] = RelatedSeries(
                *_flatten(column, f"related series {name!r}"), known_in_future=name in known_in_future
            )
        return cls(
            values=values,
            offsets=offsets,
            start=frequency.ordinals(labels),
            frequency=frequency,
            keys=list(keys) if keys is not None else [str(i) for i in range(n)],
            related=columns,
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @cached_property
    def lengths(self) -> Int64Array:
        """Points of each series, missing ones included, [N]."""
        return np.diff(self.offsets)

    @cached_property
    def key_hash(self) -> UInt64Array:
        """The stable hash of each key, [N]."""
        return key_hashes(self.keys)

    def series(self, index: int) -> FloatArray:
        """The values of one series, a view."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def take(self, index: npt.ArrayLike) -> SeriesBatch:
        """The series at the given positions (or where a mask [N] is true), copied."""
        chosen = np.asarray(index)
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        if ((rows < 0) | (rows >= len(self))).any() or (chosen.dtype == bool and len(chosen) != len(self)):
            raise IndexError(f"positions must lie between 0 and {len(self) - 1}, or be one truth value a series")
        values, offsets = _gather(self.values, self.offsets, rows)
        return SeriesBatch(
            values=values,
            offsets=offsets,
            start=self.start[rows],
            frequency=self.frequency,
            keys=[self.keys[i] for i in rows],
            related={
                name: RelatedSeries(*_gather(column.values, column.offsets, rows), column.known_in_future)
                for name, column in self.related.items()
            },
            filled=None if self.filled is None else _gather(self.filled, self.offsets, rows)[0],
            holidays=None if self.holidays is None else replace(self.holidays, group=self.holidays.group[rows]),
        )


def _flatten(arrays: Sequence[npt.ArrayLike], what: str) -> tuple[FloatArray, Int64Array]:
    parts = [np.asarray(a, dtype=np.float64).ravel() for a in arrays]
    offsets = offsets_of([len(p) for p in parts])
    values = np.concatenate(parts) if parts else np.empty(0)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        series = int(np.searchsorted(offsets, infinite[0], side="right")) - 1
        raise ValueError(
            f"{what} of series {series} is infinite at position {infinite[0] - offsets[series]}; "
            "give NaN for a missing value, or correct it"
        )
    return values, offsets


def _gather(values: npt.NDArray[Any], offsets: Int64Array, rows: Int64Array) -> tuple[npt.NDArray[Any], Int64Array]:
    lengths = offsets[rows + 1] - offsets[rows]
    out = offsets_of(lengths)
    index = np.repeat(offsets[rows] - out[:-1], lengths) + np.arange(out[-1])
    return values[index], out
