"""Further pieces of packed series: increments, joined by the rule of `udfs.pieces`, are one packing of everything."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.dense import LATE, RELATED, Appended, PackSpec, pack_batches

SPEC = PackSpec(key=("item_id",), frequency="D", columns={0: {"target": "sum"}, 1: {"price": "last"}}, common_end=30)
TYPES = {
    "item_id": pa.string(), "#hash": pa.int64(), "#kind": pa.int32(), "#ordinal": pa.int64(), "#sequence": pa.int32(),
    "target": pa.float64(), "target#n": pa.int64(), "price": pa.float64(), "price#n": pa.int64(), "#mark": pa.string(),
}  # fmt: skip
Row = tuple[str, int, int, float | None]
"""Item, kind (0 target, 1 price), period, value."""


def long(rows: list[tuple[Row, int]], begins: list[dict[str, Any]]) -> pa.RecordBatch:
    """Rows with their source's sequence, and pieces that are there, as the packer reads them."""
    made = []
    for (item, kind, ordinal, value), sequence in rows:
        name = "price" if kind else "target"
        made.append({
            "item_id": item, "#hash": ord(item), "#kind": kind, "#ordinal": ordinal, "#sequence": sequence,
            name: value, f"{name}#n": 0 if value is None else 1,
        })  # fmt: skip
    made += [{**begin, "#hash": ord(begin["item_id"]), "#kind": -2} for begin in begins]
    made.sort(key=lambda r: r["#hash"])
    return pa.RecordBatch.from_pylist(made, schema=pa.schema(TYPES.items()))


def packed(spec: PackSpec, batch: pa.RecordBatch) -> dict[str, dict[str, Any]]:
    batches = pack_batches(spec, iter([batch.slice(i, 3) for i in range(0, batch.num_rows, 3)]))
    return {row["item_id"]: row for out in batches for row in out.to_pylist()}


def whole(pieces: list[dict[str, Any]]) -> tuple[int, list[float], list[float]]:
    """Start, target and price of a series from its pieces, its price without NaN behind the last known value."""
    begun = [piece for piece in pieces if piece["n"]]
    target = [v for piece in pieces for v in piece["target"]]
    price: list[float] = []
    for piece in pieces[:-1]:
        price += (piece["price"] + [math.nan] * piece["n"])[: piece["n"]]
    price += pieces[-1]["price"]
    known = np.flatnonzero(~np.isnan(np.asarray(price, float)))
    return begun[0]["start_ordinal"], target, price[: known[-1] + 1 if len(known) else 0]


VALUES = st.one_of(st.none(), st.integers(-3, 9).map(float))
ROWS = st.tuples(st.sampled_from("abc"), st.sampled_from([0, 0, 1]), st.integers(0, 9), VALUES)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(ROWS, max_size=12), min_size=1, max_size=4))
def test_increments_joined_are_one_packing(days: list[list[Row]]) -> None:
    # Days go forward in time, with an overlap that makes some rows late; one row a key, kind, period and source.
    every: list[tuple[Row, int]] = []
    pieces: dict[str, list[dict[str, Any]]] = {}
    for sequence, day in enumerate(days):
        unique = {(item, kind, ordinal + 6 * sequence): value for item, kind, ordinal, value in day}
        fresh: list[tuple[Row, int]] = [((*at, value), sequence) for at, value in unique.items()]
        every += fresh
        begins = []
        for item, held in pieces.items():
            end = held[-1]["start_ordinal"] + held[-1]["n"]
            begins.append({"item_id": item, "#ordinal": end, "#sequence": len(held) - 1, "#mark": item.upper()})
        spec = replace(SPEC, appended=Appended(("#mark",), sequence))
        # Related rows of all sources, as a piece has to know what was known of its time before.
        batch = long(fresh + [r for r in every if r[0][1] == 1 and r not in fresh], begins)
        late = set()
        for item, row in packed(spec, batch).items():
            if row[LATE]:
                late.add(item)
            elif row["n"] or row[RELATED]:
                assert row["#mark"] == (item.upper() if item in pieces else None)
                assert row["#sequence"] == (len(pieces[item]) - 1 if item in pieces else None)
                if item in pieces or row["n"]:
                    pieces.setdefault(item, []).append(row)
        again = packed(SPEC, long([r for r in every if r[0][0] in late], []))
        pieces.update({item: [row] for item, row in again.items()})
    expected = packed(SPEC, long(every, []))
    assert pieces.keys() == expected.keys()
    for item, row in expected.items():
        start, target, price = whole(pieces[item])
        assert start == row["start_ordinal"]
        assert np.array_equal(target, np.asarray(row["target"], float), equal_nan=True)
        assert np.array_equal(price, np.asarray(row["price"], float), equal_nan=True)
