"""Old products and their successors: by what an old history is scaled, and the two as one.

The successor's own values always win: the predecessor's stand where it was not yet observed, multiplied by a scale,
and are marked as filled, so that they are fitted to and never scored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numba
import numpy as np
import numpy.typing as npt

from forecasting.batch import FloatArray, RelatedSeries, SeriesBatch, offsets_of, read_only
from forecasting.frequency import Int64Array

SCALE_FROM = ("none", "overlap", "season", "level")
"""What an estimated scale is made of, three values or pairs at least; none: too little is known, and it is 1."""


@dataclass(frozen=True)
class Ancestors:
    """The predecessors of N series. values, offsets, start: their histories as in a `SeriesBatch`, empty for none.

    scale: [N]. until: int64 [N], the first period that is not taken from them. related: as in the batch.
    """

    values: FloatArray
    offsets: Int64Array
    start: Int64Array
    scale: FloatArray
    until: Int64Array
    related: Mapping[str, RelatedSeries]


def joined_in_front(batch: SeriesBatch, old: Ancestors) -> SeriesBatch:
    """The batch with the predecessors' scaled histories before each series' first observation, marked in `filled`.

    Related columns take the predecessor's values before the series' start. A series without history ends where its
    predecessor's does. The batch itself where there is nothing to join.
    """
    first = _first_observed(batch.values, batch.offsets, batch.start)
    cut = np.minimum(first, old.until)
    usable = np.clip(cut - old.start, 0, np.diff(old.offsets))
    if not usable.any():
        return batch
    start = np.where(usable > 0, np.minimum(old.start, batch.start), batch.start)
    empty = batch.lengths == 0
    # Without a history of its own, a series that inherits nothing stays where it is.
    start = np.where(empty & (usable > 0), old.start, start)
    target = _column(batch.values, batch.offsets, batch.start)
    theirs = _column(old.values, old.offsets, old.start)
    values, offsets, mine = _spliced(target, theirs, start, cut, old.scale)
    mask = mine if batch.filled is None else _kept(batch, offsets, start, mine)
    ones, related = np.ones(len(batch)), {}
    for name, column in batch.related.items():
        own = _column(column.values, column.offsets, batch.start)
        before = old.related[name]
        parts = _spliced(own, _column(before.values, before.offsets, old.start), start, batch.start, ones)
        related[name] = replace(column, values=read_only(parts[0]), offsets=read_only(parts[1]))
    return replace(batch, values=values, offsets=offsets, start=start, filled=mask, related=related)


_Column = tuple[FloatArray, Int64Array, Int64Array]


def _column(values: FloatArray, offsets: Int64Array, start: Int64Array) -> _Column:
    return (
        read_only(np.ascontiguousarray(values, dtype=np.float64)),
        read_only(np.ascontiguousarray(offsets, dtype=np.int64)),
        read_only(np.ascontiguousarray(start, dtype=np.int64)),
    )


def _spliced(
    own: _Column, old: _Column, start: Int64Array, cut: Int64Array, scale: FloatArray
) -> tuple[FloatArray, Int64Array, npt.NDArray[np.uint8]]:
    """Own values from `start` on, before `cut` the old ones where it has none; and where they are old."""
    length, before = np.diff(own[1]), np.clip(cut - old[2], 0, np.diff(old[1]))
    end = np.where(length > 0, own[2] + length, start)
    end = np.maximum(end, np.where(before > 0, old[2] + before, end))
    offsets = offsets_of(np.maximum(end - start, 0))
    out, mask = np.full(offsets[-1], np.nan), np.zeros(offsets[-1], dtype=np.uint8)
    begin, stop, factor = (read_only(np.ascontiguousarray(a)) for a in (start, cut, scale.astype(np.float64)))
    _splice(own[0], own[1], own[2], old[0], old[1], old[2], begin, stop, factor, read_only(offsets), out, mask)
    return out, offsets, mask


@numba.njit(cache=True)
def _splice(
    own: FloatArray,
    own_offsets: Int64Array,
    own_start: Int64Array,
    old: FloatArray,
    old_offsets: Int64Array,
    old_start: Int64Array,
    start: Int64Array,
    cut: Int64Array,
    scale: FloatArray,
    offsets: Int64Array,
    out: FloatArray,
    mask: npt.NDArray[np.uint8],
) -> None:
    for i in range(len(start)):
        for j in range(offsets[i + 1] - offsets[i]):
            period = start[i] + j
            mine = period - own_start[i]
            if 0 <= mine < own_offsets[i + 1] - own_offsets[i]:
                out[offsets[i] + j] = own[own_offsets[i] + mine]
            theirs = period - old_start[i]
            if (
                period < cut[i]
                and 0 <= theirs < old_offsets[i + 1] - old_offsets[i]
                and np.isnan(out[offsets[i] + j])
                and not np.isnan(old[old_offsets[i] + theirs])
            ):
                out[offsets[i] + j] = old[old_offsets[i] + theirs] * scale[i]
                mask[offsets[i] + j] = 1


def _kept(
    batch: SeriesBatch, offsets: Int64Array, start: Int64Array, mask: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The new mask with the batch's own in it."""
    assert batch.filled is not None
    shift = np.repeat(offsets[:-1] + batch.start - start - batch.offsets[:-1], batch.lengths)
    mask[shift + np.arange(batch.offsets[0], batch.offsets[-1])] |= batch.filled
    return mask


def _first_observed(values: FloatArray, offsets: Int64Array, start: Int64Array) -> Int64Array:
    """The ordinal of each series' first observation; of one without any the end of its history."""
    n = len(start)
    where = np.flatnonzero(~np.isnan(values[: offsets[-1]]))
    key = np.searchsorted(offsets, where, side="right") - 1
    position = np.diff(offsets).astype(np.int64)
    np.minimum.at(position, key, where - offsets[key])
    return np.asarray(start + position[:n], dtype=np.int64)


def link_scales(
    new: _Column, old: _Column, periods: int, season: int, bounds: tuple[float, float]
) -> tuple[FloatArray, npt.NDArray[np.int8]]:
    """By what to multiply each predecessor's history, [N], and the position in SCALE_FROM of what it is made of.

    new, old: values, offsets and starts. Only the first `periods` periods from the successor's first observation
    count, so that every cutoff that has seen them may know the scale. It is the first of these for which enough is
    known: the median ratio, where both were sold in at least half of these periods; the ratio of the new values to the
    old ones at the same place of the latest season before the successor; the ratio of the mean of its values to that
    of as many last ones of the old.
    """
    scale, code = np.ones(len(new[2])), np.zeros(len(new[2]), dtype=np.int8)
    columns = (*_column(*new), *_column(*old))
    _scale_all(*columns, max(periods, 0), season, scale, code)
    return np.clip(scale, *bounds), code


@numba.njit(cache=True)
def _scale_all(
    new: FloatArray,
    new_offsets: Int64Array,
    new_start: Int64Array,
    old: FloatArray,
    old_offsets: Int64Array,
    old_start: Int64Array,
    periods: int,
    season: int,
    scale: FloatArray,
    code: npt.NDArray[np.int8],
) -> None:
    for i in range(len(scale)):
        n, m = new_offsets[i + 1] - new_offsets[i], old_offsets[i + 1] - old_offsets[i]
        a = 0
        while a < n and np.isnan(new[new_offsets[i] + a]):
            a += 1
        last = min(n, a + periods)
        switch = new_start[i] + a - old_start[i]  # the successor's first observation on the old history
        ratios = np.empty(max(last - a, 0))
        both, paired, seen = 0, 0, 0
        sum_new, sum_old, level_new = 0.0, 0.0, 0.0
        for t in range(a, last):
            y = new[new_offsets[i] + t]
            if np.isnan(y):
                continue
            seen += 1
            level_new += y
            at = t - a + switch
            if 0 <= at < m and y > 0.0 and old[old_offsets[i] + at] > 0.0:
                ratios[both] = y / old[old_offsets[i] + at]
                both += 1
            before = at - ((at - switch) // season + 1) * season
            while before >= 0 and (before >= m or np.isnan(old[old_offsets[i] + before])):
                before -= season
            if before >= 0:
                paired += 1
                sum_new += y
                sum_old += old[old_offsets[i] + before]
        if both >= 3 and 2 * both >= last - a:
            scale[i], code[i] = np.median(ratios[:both]), 1
        elif paired >= 3 and sum_new > 0.0 and sum_old > 0.0:
            scale[i], code[i] = sum_new / sum_old, 2
        elif seen >= 3 and level_new > 0.0:
            count, level_old = 0, 0.0
            at = min(m, switch) - 1
            while at >= 0 and count < seen:
                if not np.isnan(old[old_offsets[i] + at]):
                    level_old += old[old_offsets[i] + at]
                    count += 1
                at -= 1
            if count >= 3 and level_old > 0.0:
                scale[i], code[i] = (level_new / seen) / (level_old / count), 3
