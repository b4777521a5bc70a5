"""Rows of numbers brought together by series and taken apart again, beside a dictionary."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs import series_rows as module
from udfs.packed_numbers import packed
from udfs.series_rows import ALL_WINDOWS, gathered, series_rows

WIDTH = 3
KEY = ("item_id", "shop")
Row = tuple[str, str, str, int]

rows = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from(["naive", 'ets"+\n', "ünï"]),
        st.integers(1, 3),
    ),
    unique=True,
    max_size=30,
)


def batch_of(found: list[Row], first: int) -> pa.RecordBatch:
    """The rows with numbers by their place in all of them."""
    n = len(found)
    table = 10.0 * np.arange(first, first + n)[:, None] + np.arange(WIDTH)
    columns: dict[str, pa.Array] = {
        name: pa.array([row[i] for row in found], pa.string()) for i, name in enumerate((*KEY, "model"))
    }
    columns |= {
        "window": pa.array([row[3] for row in found], pa.int32()),
        "bucket": pa.array([ord(row[0]) for row in found], pa.int32()),
        "step": pa.nulls(n, pa.int32()),
        "numbers": packed(table.reshape(n, WIDTH)),
    }
    return pa.RecordBatch.from_pydict(columns)


@pytest.mark.parametrize("size", [1, 10**6])
@settings(max_examples=100, deadline=None)
@given(found=rows, cuts=st.lists(st.integers(0, 30), max_size=4))
def test_rows_come_back_whatever_the_batches(size: int, found: list[Row], cuts: list[int]) -> None:
    places = [0, *sorted(min(c, len(found)) for c in cuts), len(found)]
    batches = [batch_of(found[a:b], a) for a, b in itertools.pairwise(places)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_GATHERED_BYTES", size)
        out = list(gathered(iter, KEY)(iter(batches)))
    lists: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for batch in out:
        for row in batch.to_pylist():
            assert row["step"] is None
            assert row["bucket"] == ord(row["item_id"])
            lists.setdefault((row["item_id"], row["shop"]), []).append({k: row[k] for k in ("names", "numbers")})
    if size > 1:
        assert all(len(values) == 1 for values in lists.values())
    assert lists.keys() == {(item, shop) for item, shop, _, _ in found}
    kind = pa.list_(pa.struct([("names", pa.string()), ("numbers", pa.binary())]))
    owners = [*lists, ("nobody", "x")]
    whole = pa.RecordBatch.from_arrays([pa.array([[], *(lists.get(o, []) for o in owners)], kind)], ["rows"]).slice(1)
    expected = {row: 10.0 * i + np.arange(WIDTH) for i, row in enumerate(found)}
    taken = series_rows(whole, WIDTH)
    assert taken.models == tuple(sorted({row[2] for row in found}))
    seen = {}
    for series, model, window, numbers in zip(taken.series, taken.model, taken.window, taken.numbers, strict=True):
        seen[(*owners[series], taken.models[model], int(window))] = numbers
    single = {name: numbers for name, numbers in seen.items() if name[3] != ALL_WINDOWS}
    assert single.keys() == expected.keys()
    for name, numbers in single.items():
        np.testing.assert_array_equal(numbers, expected[name])
    for name in seen.keys() - single.keys():
        mine = [numbers for row, numbers in expected.items() if row[:3] == name[:3]]
        np.testing.assert_allclose(seen[name], np.sum(mine, axis=0), rtol=1e-15)


def test_models_that_are_not_asked_for_are_left_out() -> None:
    found: list[Row] = [("a", "x", name, 1) for name in ("ets", "naive", "theta")]
    (out,) = gathered(iter, KEY)(iter([batch_of(found, 0)]))
    kind = pa.list_(pa.struct([("names", pa.string()), ("numbers", pa.binary())]))
    values = [{k: row[k] for k in ("names", "numbers")} for row in out.to_pylist()]
    taken = series_rows(
        pa.RecordBatch.from_arrays([pa.array([values], kind)], ["rows"]), WIDTH, ("theta", "mean", "ets")
    )
    assert [(taken.models[m], w) for m, w in zip(taken.model, taken.window, strict=True)] == [
        ("theta", 1), ("ets", 1), ("theta", ALL_WINDOWS), ("ets", ALL_WINDOWS)
    ]  # fmt: skip
