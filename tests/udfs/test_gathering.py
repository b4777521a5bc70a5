"""Rows gathered by some of their columns, beside a plain loop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from udfs import gathering

ROWS = [
    {"item": item, "shop": shop, "step": step, "model": f"m{i % 3}", "numbers": bytes([i])}
    for i, (item, shop, step) in enumerate(
        [("a", "x", None), ("b", "x", None), ("a", "y", None), ("a", "x", None), (None, None, 1), (None, None, 2)] * 3
    )
]
KIND = pa.schema(
    {"item": pa.string(), "shop": pa.string(), "step": pa.int32(), "model": pa.string(), "numbers": pa.binary()}
)


def as_they_are(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


@pytest.mark.parametrize(("cut", "piece"), [(18, 10**9), (4, 10**9), (4, 0), (1, 100)])
def test_each_group_has_its_rows_in_order(monkeypatch: pytest.MonkeyPatch, cut: int, piece: int) -> None:
    monkeypatch.setattr(gathering, "_PIECE_BYTES", piece)
    whole = pa.RecordBatch.from_pylist(ROWS, schema=KIND)
    batches = [whole.slice(i, cut) for i in range(0, len(ROWS), cut)] + [whole.slice(0, 0)]
    expected: dict[Any, list[Any]] = defaultdict(list)
    for row in ROWS:
        expected[row["item"], row["shop"], row["step"]].append({n: row[n] for n in ("model", "numbers")})
    found: dict[Any, list[Any]] = defaultdict(list)
    made = list(gathering.gathered(as_they_are, ("item", "shop", "step"))(iter(batches)))
    for batch in made:
        for row in batch.to_pylist():
            found[row["item"], row["shop"], row["step"]] += row["rows"]
    assert found == expected
    if piece == 10**9:
        assert [len(batch) for batch in made] == [len(expected)]
