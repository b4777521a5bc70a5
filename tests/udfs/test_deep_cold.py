"""Series that begin after a cutoff, as the global model sees them: missing values in front, the dates unmoved."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forecasting import SeriesBatch
from forecasting.batch import offsets_of
from udfs.deep_cold import begun_by


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(-3, 8)), min_size=1, max_size=6))
def test_dates_and_values_stay(shapes: list[tuple[int, int, int]]) -> None:
    rng = np.random.default_rng(1)
    arrays = [rng.normal(size=length) for length, _, _ in shapes]
    price = [rng.normal(size=length + more) for length, more, _ in shapes]
    batch = SeriesBatch.from_arrays(
        arrays, "2024-01-10", "D", keys=[f"k{i}" for i in range(len(shapes))], related={"price": price}
    )
    filled = np.concatenate([np.ones(length, dtype=np.uint8) for length, _, _ in shapes])
    batch = SeriesBatch(**{**vars(batch), "filled": filled})  # type: ignore[arg-type]
    first = batch.start + np.array([at for _, _, at in shapes]) - 4
    made = begun_by(batch, first)
    assert (made.offsets == offsets_of(np.diff(made.offsets))).all()
    for i, (own, prices) in enumerate(zip(arrays, price, strict=True)):
        lead = max(int(batch.start[i] - first[i]), 0)
        front = [np.nan] * lead
        assert made.start[i] == batch.start[i] - lead
        mine = slice(made.offsets[i], made.offsets[i + 1])
        np.testing.assert_array_equal(made.values[mine], [*front, *own])
        assert made.filled is None or made.filled[mine].tolist() == [0] * lead + [1] * len(own)
        column = made.related["price"]
        np.testing.assert_array_equal(column.values[column.offsets[i] : column.offsets[i + 1]], [*front, *prices])
