"""Histories of predecessors in front of their successors', and what they are scaled by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.batch import RelatedSeries, SeriesBatch
from forecasting.frequency import Frequency
from forecasting.inheritance import SCALE_FROM, Ancestors, joined_in_front, link_scales

NAN = float("nan")
DAY = Frequency.parse("D")


def flat(arrays: list[list[float]], start: list[int]) -> tuple[Any, Any, Any]:
    values = np.concatenate([np.asarray(a, dtype=float) for a in arrays] or [np.empty(0)])
    return values, np.cumsum([0, *map(len, arrays)]), np.asarray(start, dtype=np.int64)


def batch_of(arrays: list[list[float]], start: list[int], price: list[list[float]] | None = None) -> SeriesBatch:
    values, offsets, begin = flat(arrays, start)
    related = {} if price is None else {"price": RelatedSeries(*flat(price, start)[:2], known_in_future=True)}
    return SeriesBatch(values, offsets, begin, DAY, [str(i) for i in range(len(arrays))], related)


VALUES = st.lists(st.sampled_from([NAN, 1.0, 2.0, 8.0]), max_size=8)


@given(
    own=st.lists(st.tuples(VALUES, st.integers(0, 12)), min_size=1, max_size=3),
    old=st.lists(st.tuples(VALUES, st.integers(0, 12)), min_size=3, max_size=3),
    until=st.sampled_from([4, 9, 10**9]),
)
@settings(max_examples=200, deadline=None)
def test_own_values_win_and_old_ones_stand_before_the_first(own: list[Any], old: list[Any], until: int) -> None:
    n = len(own)
    batch = batch_of([v for v, _ in own], [s for _, s in own])
    scale = np.array([0.5, 2.0, 1.0])[:n]
    parts = flat([v for v, _ in old[:n]], [s for _, s in old[:n]])
    joined = joined_in_front(batch, Ancestors(*parts, scale, np.full(n, until), {}))
    for i in range(n):
        mine = {own[i][1] + t: y for t, y in enumerate(own[i][0]) if y == y}
        first = min(mine, default=own[i][1] + len(own[i][0]))
        theirs = {old[i][1] + t: y * scale[i] for t, y in enumerate(old[i][0]) if y == y}
        expected = {t: y for t, y in theirs.items() if t < min(first, until)} | mine
        got = {int(joined.start[i]) + t: y for t, y in enumerate(joined.series(i)) if y == y}
        assert got == expected
        if joined.filled is not None:
            where = np.flatnonzero(joined.filled[joined.offsets[i] : joined.offsets[i + 1]]) + joined.start[i]
            assert set(where.tolist()) == expected.keys() - mine.keys()
        elif expected.keys() - mine.keys():
            raise AssertionError("inherited points are not marked")
        if len(own[i][0]):  # the end of the series is its own
            assert joined.start[i] + joined.lengths[i] == own[i][1] + len(own[i][0])


def test_related_columns_and_earlier_marks_come_along() -> None:
    batch = batch_of([[5.0, 6.0], [1.0]], [10, 3], price=[[2.0, 2.5, 3.0], []])
    batch = SeriesBatch(
        batch.values, batch.offsets, batch.start, DAY, batch.keys, batch.related, np.array([0, 1, 0], np.uint8)
    )
    target = flat([[3.0, NAN, 4.0], []], [7, 0])
    price = RelatedSeries(*flat([[9.0, 8.0, 7.0, 6.5, 1.0], []], [7, 0])[:2], known_in_future=True)
    joined = joined_in_front(batch, Ancestors(*target, np.array([10.0, 1.0]), np.full(2, 99), {"price": price}))
    assert joined.series(0).tolist()[:1] + joined.series(0).tolist()[2:] == [30.0, 40.0, 5.0, 6.0]
    assert joined.filled is not None
    assert joined.filled.tolist() == [1, 0, 1, 0, 1, 0]
    assert (joined.start[0], joined.series(1).tolist()) == (7, [1.0])
    column = joined.related["price"]
    assert column.values[: column.offsets[1]].tolist() == [9.0, 8.0, 7.0, 2.0, 2.5, 3.0]
    assert column.known_in_future


def test_nothing_to_join_leaves_the_batch_alone() -> None:
    batch = batch_of([[5.0]], [10])
    assert joined_in_front(batch, Ancestors(*flat([[]], [0]), np.ones(1), np.full(1, 99), {})) is batch
    assert joined_in_front(batch, Ancestors(*flat([[3.0]], [4]), np.ones(1), np.full(1, 4), {})) is batch


@pytest.mark.parametrize(
    ("new", "new_start", "old", "periods", "expected"),
    [
        ([4.0, 8.0, 12.0], 5, [1.0, 2.0, 3.0, 9.0, 9.0, 2.0, 4.0, 6.0], 9, (2.0, "overlap")),
        ([4.0, 8.0, 12.0, 1e9], 5, [1.0, 2.0, 3.0, 9.0, 9.0, 2.0, 4.0, 6.0], 3, (2.0, "overlap")),  # the first three
        ([20.0, 40.0, 60.0], 6, [1.0, 2.0, 3.0, 2.0, 4.0, 6.0], 9, (10.0, "season")),
        ([20.0, 40.0, 60.0], 12, [1.0, 2.0, 3.0, 2.0, 4.0, 6.0], 9, (10.0, "season")),  # a gap of two seasons
        ([30.0, 60.0, 90.0], 9, [2.0, 4.0, 6.0], 2, (1.0, "none")),
        ([30.0, 60.0], 3, [2.0, 4.0, 6.0], 9, (1.0, "none")),
        ([], 3, [2.0, 4.0, 6.0], 9, (1.0, "none")),
        ([1000.0] * 3, 3, [2.0, 4.0, 6.0], 9, (20.0, "season")),  # within bounds
        ([NAN, 1.0, 1.0, 4.0], 3, [NAN, NAN, 1.0, NAN], 9, (1.0, "none")),
        ([4.0, 4.0, 4.0], 9, [NAN, 8.0, NAN, NAN, 8.0, NAN, NAN, 8.0, NAN], 9, (0.5, "level")),
    ],
)
def test_scales(new: Any, new_start: int, old: Any, periods: int, expected: tuple[float, str]) -> None:
    scale, code = link_scales(flat([new], [new_start]), flat([old], [0]), periods, 3, (0.1, 20.0))
    assert (scale[0], SCALE_FROM[code[0]]) == (pytest.approx(expected[0]), expected[1])
