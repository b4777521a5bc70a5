"""Packing long rows: against a plain loop, over batch borders, with hash collisions, sources combined."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.frequency import Frequency
from udfs import dense
from udfs.dense import PackSpec, combine, pack_batches

NAN = float("nan")
SPEC = PackSpec(
    key=("item_id", "store"),
    frequency="D",
    columns={0: {"target": "sum"}, 1: {"price": "mean", "promo": "max"}},
    attributes=("colour",),
    common_end=20,
)
COLUMNS = ("target", "target#n", "price", "price#n", "promo", "promo#n", "colour")


def row(item: str, kind: int, ordinal: int | None, sequence: int = 0, **values: Any) -> dict[str, Any]:
    return {
        "item_id": item, "store": "s", "#hash": hash_of(item), "#kind": kind, "#ordinal": ordinal,
        "#sequence": sequence, **{c: values.get(c.replace("#n", "_n")) for c in COLUMNS},
    }  # fmt: skip


def hash_of(item: str) -> int:
    return ord(item[0]) if item[0] != "!" else 7  # keys that begin with "!" collide


def long_batch(rows: list[dict[str, Any]]) -> pa.RecordBatch:
    types = {
        "item_id": pa.string(), "store": pa.string(), "#hash": pa.int64(), "#kind": pa.int32(),
        "#ordinal": pa.int64(), "#sequence": pa.int32(), "target": pa.float64(), "target#n": pa.int64(),
        "price": pa.float64(), "price#n": pa.int64(), "promo": pa.float64(), "promo#n": pa.int64(),
        "colour": pa.string(),
    }  # fmt: skip
    return pa.RecordBatch.from_pylist(rows, schema=pa.schema(types.items()))


def packed(rows: list[dict[str, Any]], spec: PackSpec = SPEC, batch_rows: int = 3) -> dict[str, dict[str, Any]]:
    rows = sorted(rows, key=lambda r: r["#hash"])
    cuts = range(0, len(rows), batch_rows)
    batches = pack_batches(spec, iter([long_batch(rows[i : i + batch_rows]) for i in cuts]))
    return {r["item_id"]: r for batch in batches for r in batch.to_pylist()}


def same(found: list[float], expected: list[float]) -> bool:
    return np.array_equal(np.asarray(found), np.asarray(expected), equal_nan=True)


def test_a_series_is_dense_from_its_first_to_its_last_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BATCH_ROWS", 2)
    rows = [
        row("a", 0, 5, target=1.0, target_n=1), row("a", 0, 9, target=None, target_n=0),
        row("a", 0, 7, target=3.0, target_n=1),
        row("a", 1, 3, price=9.0, price_n=1), row("a", 1, 6, price=2.0, price_n=1, promo=None, promo_n=0),
        row("a", 1, 12, price=4.0, price_n=2), row("b", -1, None, colour="red"), row("c", 1, 5, price=1.0, price_n=1),
    ]  # fmt: skip
    found = packed(rows)
    assert found.keys() == {"a", "b"}  # c has neither a target nor metadata
    a, b = found["a"], found["b"]
    assert a["start"].isoformat() == "1970-01-06T00:00:00"
    assert same(a["target"], [1, NAN, 3, NAN, NAN])
    assert (a["n"], a["n_obs"], a["n_missing"], a["n_zero"], a["mean"]) == (5, 2, 3, 0, 2.0)
    assert a["last_observed"].isoformat() == "1970-01-08T00:00:00"
    assert same(a["price"], [NAN, 2, NAN, NAN, NAN, NAN, NAN, 4])  # from the series' start, past its end
    assert a["promo"] == []
    assert (b["target"], b["n"], b["colour"], b["lifecycle"]) == ([], 0, "red", "new")
    assert b["start"].isoformat() == "1970-01-22T00:00:00"  # the period after the common end
    assert (b["mean"], b["last_observed"], a["colour"]) == (None, None, None)


def test_keys_with_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BATCH_ROWS", 2)
    rows = [row(item, 0, t, target=float(t), target_n=1) for t in (1, 2, 3) for item in ("!x", "!y", "a")]
    found = packed(rows)
    assert {k: v["target"] for k, v in found.items()} == {key: [1.0, 2.0, 3.0] for key in ("!x", "!y", "a")}


def test_many_values_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dense, "BATCH_VALUES", 8)
    rows = [row(item, 0, t, target=1.0, target_n=1) for item in "abcd" for t in (0, 6)]
    spec = PackSpec(key=("item_id", "store"), frequency="D", columns={0: {"target": "sum"}})
    batches = list(pack_batches(spec, iter([long_batch(rows)])))
    assert len(batches) > 2
    assert [r["n"] for b in batches for r in b.to_pylist()] == [7] * 4


@pytest.mark.parametrize(
    ("how", "expected"),
    [("sum", 10.0), ("mean", 2.0), ("min", 1.0), ("max", 7.0), ("first", 2.0), ("last", 7.0), ("none", 7.0)],
)
def test_parts_of_several_sources_are_combined(how: str, expected: float) -> None:
    value, weight = np.array([NAN, 2.0, 1.0, 7.0, NAN]), np.array([0.0, 1.0, 4.0, 1.0, 0.0])
    if how == "mean":
        expected = (2 * 1 + 1 * 4 + 7 * 1) / 6
    points = combine(np.zeros(5, np.int64), np.full(5, 3), value, weight, how)
    assert (points.key.tolist(), points.ordinal.tolist()) == ([0], [3])
    assert points.value.tolist() == [expected]
    missing = combine(np.zeros(2, np.int64), np.zeros(2, np.int64), np.array([NAN, NAN]), np.zeros(2), how)
    assert math.isnan(missing.value[0])


@pytest.mark.parametrize(
    ("observed", "end", "lifecycle"),
    [
        (range(0, 21), 20, "active"),
        (range(0, 6), 5, "new"),  # six days of a season of seven
        (range(0, 21), 27, "active"),  # silent for a season, and not longer
        (range(0, 21), 28, "dormant"),
        (range(0, 21), 34, "dormant"),  # silent for two seasons, and not longer
        (range(0, 21), 35, "ended"),
        ([0, 1, 2, 3, 4, 5, 6, 20], 48, "active"),  # silent for twice its longest gap of 14
        ([0, 1, 2, 3, 4, 5, 6, 20], 62, "dormant"),  # silent for three times its longest gap of 14
        ([0, 1, 2, 3, 4, 5, 6, 20], 63, "ended"),
        ([0], 15, "ended"),
    ],
)
def test_lifecycle(observed: Any, end: int, lifecycle: str) -> None:
    spec = PackSpec(key=("item_id", "store"), frequency="D", columns={0: {"target": "sum"}}, common_end=end)
    rows = [row("a", 0, t, target=0.0, target_n=1) for t in observed]
    found = packed(rows, spec)["a"]
    assert (found["lifecycle"], found["n_zero"]) == (lifecycle, len(rows))


def test_silence_is_judged_from_the_series_own_end_where_asked() -> None:
    columns = {0: {"target": "sum"}}
    spec = PackSpec(key=("item_id", "store"), frequency="D", columns=columns, common_end=99, per_series=True)
    assert packed([row("a", 0, t, target=1.0, target_n=1) for t in range(9)], spec)["a"]["lifecycle"] == "active"


POINTS = st.lists(
    st.tuples(
        st.sampled_from("abc!"), st.integers(0, 8), st.integers(0, 2), st.sampled_from([None, -1.5, 0.0, 2.0, 4.25])
    ),
    max_size=40,
    unique_by=lambda p: p[:3],
)


@given(points=POINTS, batch_rows=st.integers(1, 9), how=st.sampled_from(["sum", "min", "max", "first", "last"]))
@settings(max_examples=60, deadline=None)
def test_packing_agrees_with_a_plain_loop(points: list[Any], batch_rows: int, how: str) -> None:
    cells: dict[str, dict[int, list[tuple[int, float]]]] = defaultdict(lambda: defaultdict(list))
    for item, ordinal, sequence, value in points:
        cells[item][ordinal] += [] if value is None else [(sequence, value)]
    choose = {"sum": sum, "min": min, "max": max, "first": lambda v: v[0], "last": lambda v: v[-1]}[how]
    expected = {
        item: [
            choose([v for _, v in sorted(found[t])]) if found.get(t) else NAN
            for t in range(min(found), max(found) + 1)
        ]
        for item, found in cells.items()
    }
    spec = PackSpec(key=("item_id", "store"), frequency="D", columns={0: {"target": how}}, common_end=8)
    rows = [row(i, 0, t, s, target=v, target_n=int(v is not None)) for i, t, s, v in points]
    found = packed(rows, spec, batch_rows)
    assert found.keys() == expected.keys()
    for item, values in expected.items():
        assert same(found[item]["target"], values)
        first = Frequency.parse("D").labels([min(cells[item])])[0]
        assert np.datetime64(found[item]["start"], "us").astype(np.int64) == first


@pytest.mark.parametrize("missing_is_zero", [False, True])
def test_a_packed_series_says_what_kind_of_demand_it_is(missing_is_zero: bool) -> None:
    rng = np.random.default_rng(1)
    steady, rare = 50 + rng.normal(0, 2, 40), np.tile([0.0, 0.0, 9.0, 0.0, 90.0], 8)
    rows = [row("steady", 0, t, target=float(v), target_n=1) for t, v in enumerate(steady)]
    rows += [row("rare", 0, t, target=float(v), target_n=1) for t, v in enumerate(rare) if v > 0 or t in (0, 39)]
    rows += [row("one", 0, 3, target=1.0, target_n=1)]
    found = packed(rows, replace(SPEC, missing_is_zero=missing_is_zero), batch_rows=200)
    assert found["steady"]["demand_class"] == "smooth"
    assert found["steady"]["adi"] == 1.0
    assert found["steady"]["cv2"] == pytest.approx(np.var(steady) / np.mean(steady) ** 2)
    positive = rare[rare > 0]
    assert found["rare"]["cv2"] == pytest.approx(np.var(positive) / np.mean(positive) ** 2)
    ends = sum(rare[t] == 0 for t in (0, 39))  # known zeros, the others have no row
    assert found["rare"]["adi"] == pytest.approx((40 if missing_is_zero else len(positive) + ends) / len(positive))
    assert found["rare"]["demand_class"] == ("lumpy" if missing_is_zero else "erratic")
    assert (found["one"]["demand_class"], found["one"]["trend_strength"]) == ("unknown", None)
    assert found["one"]["dominating_periods"] == []
