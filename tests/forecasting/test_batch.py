"""The series batch: layout, alignment to the grid, taking series out."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from forecasting import Frequency, RelatedSeries, SeriesBatch
from forecasting.models.contract import Rows
from forecasting.seeds import key_hashes

NAN = np.nan


@pytest.fixture
def batch() -> SeriesBatch:
    return SeriesBatch.from_arrays(
        [[1.0, 2.0, 3.0], [], [NAN, 5.0]],
        start=["2020-01-01", "2020-02-01", "2020-03-01"],
        freq="MS",
        keys=["a", "b", "c"],
        related={"price": [[1, 2, 3, 4], [9], [5, 6, 7]], "visits": [[7, 7, 7], [], [8, 8]]},
        known_in_future=["price"],
    )


def test_arrays_lie_flat_and_read_only(batch: SeriesBatch) -> None:
    np.testing.assert_array_equal(batch.values, [1, 2, 3, NAN, 5])
    assert list(batch.offsets) == [0, 3, 3, 5]
    assert list(batch.lengths) == [3, 0, 2]
    assert len(batch) == 3
    assert list(np.diff(batch.start)) == [1, 1]
    np.testing.assert_array_equal(batch.series(2), [NAN, 5])
    for array in (batch.values, batch.offsets, batch.start, batch.series(0)):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert batch.related["price"].known_in_future
    assert not batch.related["visits"].known_in_future
    np.testing.assert_array_equal(batch.key_hash, key_hashes(["a", "b", "c"]))


def test_the_callers_array_stays_writable_and_is_not_copied() -> None:
    mine = np.arange(4.0)
    made = SeriesBatch(mine, np.array([0, 4]), np.array([0]), Frequency.parse("D"), ["x"])
    assert np.shares_memory(mine, made.values)
    mine[0] = 5.0
    assert made.values[0] == 5.0


def test_a_slice_of_a_larger_buffer_is_a_batch() -> None:
    made = SeriesBatch(np.arange(9.0), np.array([2, 5, 9]), np.array([0, 0]), Frequency.parse("D"), ["x", "y"])
    np.testing.assert_array_equal(made.series(0), [2, 3, 4])
    rows = Rows.of(made, "naive")
    assert list(rows.begin) == [2, 5]
    assert list(rows.end) == [5, 9]


@pytest.mark.parametrize(
    "start", ["2024-02-01", np.datetime64("2024-02-01"), dt.datetime(2024, 2, 1), pd.Timestamp("2024-02-01")]
)
def test_one_start_for_all(start: object) -> None:
    made = SeriesBatch.from_arrays([[1.0], [2.0]], start=start, freq="W")  # type: ignore[arg-type]
    assert made.frequency.name == "W-THU"
    assert list(made.frequency.labels(made.start).astype("M8[us]").astype("M8[D]").astype(str)) == ["2024-02-01"] * 2


@pytest.mark.parametrize(
    "starts",
    [["2024-02-01", "2024-02-08"], pd.to_datetime(["2024-02-01", "2024-02-08"]),
     np.array(["2024-02-01", "2024-02-08"], dtype="M8[D]"), [dt.datetime(2024, 2, 1), dt.datetime(2024, 2, 8)]],
)  # fmt: skip
def test_a_start_for_each(starts: object) -> None:
    made = SeriesBatch.from_arrays([[1.0], [2.0]], start=starts, freq="W-THU")  # type: ignore[arg-type]
    assert made.start[1] - made.start[0] == 1


def test_no_series_at_all() -> None:
    made = SeriesBatch.from_arrays([], start="2020-01-01", freq="D")
    assert len(made) == 0
    assert len(made.take([])) == 0


def test_take_copies_series_in_the_order_asked(batch: SeriesBatch) -> None:
    filled = np.array([0, 1, 0, 0, 1], dtype=np.uint8)
    whole = SeriesBatch(
        batch.values, batch.offsets, batch.start, batch.frequency, batch.keys, batch.related, filled=filled
    )
    part = whole.take([2, 0, 2])
    assert list(part.keys) == ["c", "a", "c"]
    np.testing.assert_array_equal(part.values, [NAN, 5, 1, 2, 3, NAN, 5])
    np.testing.assert_array_equal(part.filled, [0, 1, 0, 1, 0, 0, 1])
    assert list(part.offsets) == [0, 2, 5, 7]
    assert list(part.start) == [whole.start[2], whole.start[0], whole.start[2]]
    price, visits = part.related["price"], part.related["visits"]
    np.testing.assert_array_equal(price.values, [5, 6, 7, 1, 2, 3, 4, 5, 6, 7])
    assert list(price.offsets) == [0, 3, 7, 10]
    assert price.known_in_future
    np.testing.assert_array_equal(visits.values, [8, 8, 7, 7, 7, 8, 8])
    assert not visits.known_in_future
    assert not np.shares_memory(part.values, whole.values)


def test_take_by_a_mask(batch: SeriesBatch) -> None:
    assert list(batch.take(np.array([True, False, True])).keys) == ["a", "c"]


@pytest.mark.parametrize("index", [[3], [-1], [0, 5], np.array([True, False])])
def test_take_refuses_positions_that_are_not_there(batch: SeriesBatch, index: object) -> None:
    with pytest.raises(IndexError, match="between 0 and 2"):
        batch.take(index)  # type: ignore[arg-type]


def test_counts_that_disagree_are_refused() -> None:
    with pytest.raises(ValueError, match="1 starts for 2 series"):
        SeriesBatch.from_arrays([[1.0], [2.0]], start=["2020-01-01"], freq="D")
    with pytest.raises(ValueError, match="'price' has 1 arrays for 2 series"):
        SeriesBatch.from_arrays([[1.0], [2.0]], start="2020-01-01", freq="D", related={"price": [[1.0]]})
    with pytest.raises(ValueError, match="3 keys for 2 series"):
        SeriesBatch.from_arrays([[1.0], [2.0]], start="2020-01-01", freq="D", keys=["a", "b", "c"])
    day, zero = Frequency.parse("D"), np.zeros(1, dtype=np.int64)
    for offsets in ([0, 3], [-1, 2], [2, 1]):
        with pytest.raises(ValueError, match="offsets must not decrease"):
            SeriesBatch(np.arange(2.0), np.array(offsets), zero, day, ["a"])
    related = {"price": RelatedSeries(np.arange(2.0), np.array([0, 1, 2]))}
    with pytest.raises(ValueError, match="'price' has 2 rows for 1 series"):
        SeriesBatch(np.arange(2.0), np.array([0, 2]), zero, day, ["a"], related)


def test_windows_are_rows_side_by_side(batch: SeriesBatch) -> None:
    rows = Rows.of(batch, "naive", [[3, 1], [0, 0], [2, 1]], season_length=4, seed=3)
    assert list(rows.series) == [0, 0, 1, 1, 2, 2]
    assert list(rows.begin) == [0, 0, 3, 3, 3, 3]
    assert list(rows.end) == [3, 1, 3, 3, 5, 4]
    assert rows.season_length == 4
    assert list(rows.first_step - batch.start[rows.series]) == [3, 1, 0, 0, 2, 1]
    assert rows.seeds[0] == rows.seeds[1] != rows.seeds[2]


@pytest.mark.parametrize("ends", [[[4], [0], [0]], [[-1], [0], [0]], [[1], [1], [1]], [1, 0, 1], [[1], [0]]])
def test_ends_outside_a_series_are_refused(batch: SeriesBatch, ends: object) -> None:
    with pytest.raises(ValueError, match="ends"):
        Rows.of(batch, "naive", ends)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_values_are_refused_and_found(value: float) -> None:
    with pytest.raises(ValueError, match="the target of series 2 is infinite at position 1"):
        SeriesBatch.from_arrays([[1.0], [], [2.0, value]], start="2020-01-01", freq="D")
    with pytest.raises(ValueError, match="'price' of series 0 is infinite at position 0"):
        SeriesBatch.from_arrays([[1.0]], start="2020-01-01", freq="D", related={"price": [[value]]})
