"""Arrow batches to series batches and back: views where possible, nulls and slices respected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import udfs.parts
from forecasting import Frequency
from forecasting.seeds import series_key
from udfs.arrow import fixed_lists, label_microseconds, list_buffers, ragged_lists, texts, timestamps, to_series_batch
from udfs.parts import pieces
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

DAY = 86_400_000_000
COLUMNS = ("item_id", "unit", "model", "window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale",
           "status", "reason", "n_obs", "evaluations", "parameters", "states", "bucket")  # fmt: skip
values = st.one_of(st.none(), st.floats(-1e6, 1e6, width=32))
lists = st.lists(st.one_of(st.none(), st.lists(values, max_size=6)), min_size=1, max_size=8)


def batch_of(histories: list[Any], **columns: Any) -> pa.RecordBatch:
    n = len(histories)
    given_columns = {
        "item_id": pa.array([f"i{k}" for k in range(n)]),
        "start": timestamps(np.arange(n, dtype=np.int64) * DAY),
        "target": pa.array(histories, pa.list_(pa.float64())),
        "bucket": pa.array(np.arange(n, dtype=np.int32)),
        "choice": pa.array(np.zeros(n, dtype=np.int32)),
        "place": pa.array(np.zeros(n, dtype=np.int32)),
        **columns,
    }
    return pa.RecordBatch.from_pydict(given_columns)


def spec(**changes: Any) -> TaskSpec:
    return TaskSpec(
        **{
            "stage": "backtest", "key": ("item_id",), "frequency": "D", "horizon": 3, "quantiles": (0.1, 0.5, 0.9),
            "windows": 2, "offset": 3, "forecast_start": "global", "global_start": 0, "global_end": 40,
            "choices": ((ModelSpec("naive"), ModelSpec("seasonal_naive")),), "columns": COLUMNS, **changes,
        }
    )  # fmt: skip


@given(rows=lists, begin=st.integers(0, 7), kind=st.sampled_from([pa.float64(), pa.float32()]))
@settings(max_examples=60, deadline=None)
def test_buffers_are_what_the_lists_say(rows: list[Any], begin: int, kind: pa.DataType) -> None:
    column = pa.array(rows, pa.list_(kind)).slice(min(begin, len(rows) - 1))
    flat, offsets = list_buffers(column)
    assert offsets[0] == 0
    assert len(flat) == offsets[-1]
    for i, wanted in enumerate(column.to_pylist()):
        expected = [np.nan if v is None else v for v in wanted or []]
        np.testing.assert_array_equal(flat[offsets[i] : offsets[i + 1]], np.array(expected, dtype=np.float64))
    assert not flat.flags.writeable


def test_a_slice_is_a_view_of_arrows_buffer() -> None:
    column = pa.array([[1.0, 2.0], [], [3.0, 4.0, 5.0], [6.0]], pa.list_(pa.float64()))
    address = column.values.buffers()[1].address
    for begin in range(3):
        part = column.slice(begin)
        flat, offsets = list_buffers(part)
        assert flat.__array_interface__["data"][0] == address + 8 * column.offsets[begin].as_py()
        assert offsets[-1] == len(flat)
    batch = to_series_batch(batch_of([[1.0, 2.0], [3.0]]).slice(1), ("item_id",), Frequency.parse("D"))
    assert batch.values.tolist() == [3.0]
    assert batch.start.tolist() == [1]
    assert list(batch.keys) == ["i1"]


def test_keys_of_several_parts_and_related_series() -> None:
    batch = batch_of([[1.0], [2.0]], **{"store": pa.array(["a", "b"]), "related:price": pa.array([[1.0, 2.0], None])})
    series = to_series_batch(batch, ("item_id", "store"), Frequency.parse("D"), {"price": True})
    assert list(series.keys) == [series_key("i0", "a"), series_key("i1", "b")]
    assert series.related["price"].known_in_future
    assert series.related["price"].offsets.tolist() == [0, 2, 2]


def test_timestamps_lists_and_texts_come_back() -> None:
    labels = np.array([0, -DAY, 5], dtype=np.int64)
    assert label_microseconds(timestamps(labels)).tolist() == labels.tolist()
    assert label_microseconds(pa.array([None], pa.timestamp("us"))).tolist() == [0]
    assert label_microseconds(pa.array([1], pa.timestamp("s"))).tolist() == [1_000_000]
    table = np.arange(6.0).reshape(2, 3)
    assert fixed_lists(table).to_pylist() == table.tolist()
    assert fixed_lists(np.empty((2, 0))).to_pylist() == [[], []]
    assert ragged_lists(np.arange(3.0), np.array([0, 1, 3])).to_pylist() == [[0.0], [1.0, 2.0]]
    assert texts(np.array(["", "why"], dtype=object)).to_pylist() == ["", "why"]
    assert texts(np.array(["", ""], dtype=object)).to_pylist() == ["", ""]


def test_pieces_bound_every_array_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    histories = [rng.normal(10, 2, rng.integers(0, 40)).tolist() for _ in range(23)]
    batch, task = batch_of(histories), spec()
    whole = pa.Table.from_batches(list(process(task, (5,), iter([batch]))))
    monkeypatch.setattr(udfs.parts, "PIECE_VALUES", 100)
    cut = list(pieces(batch, task))
    assert pa.Table.from_batches(cut).to_pylist() == batch.to_pylist()
    assert len(cut) > 5
    assert all(len(p) == 1 or len(p) * 41 <= 100 for p in cut)
    parts = pa.Table.from_batches(list(process(task, (5,), iter([batch]))))
    order = [("item_id", "ascending"), ("model", "ascending"), ("window", "ascending")]
    assert repr(parts.sort_by(order).to_pylist()) == repr(whole.sort_by(order).to_pylist())
    assert whole.num_rows == 23 * 2 * 2
    assert set(whole["unit"].to_pylist()) == {5}


def test_each_series_runs_its_own_list_of_models() -> None:
    choice = pa.array([1, 0, 1], pa.int32())
    task = spec(choices=((ModelSpec("naive"),), (ModelSpec("seasonal_naive", {"season_length": 2}),)), windows=1)
    rows = pa.Table.from_batches(
        list(process(task, (0,), iter([batch_of([[1.0] * 40] * 3, choice=choice)])))
    ).to_pylist()
    assert sorted((r["item_id"], r["model"]) for r in rows) == [
        ("i0", "seasonal_naive"), ("i1", "naive"), ("i2", "seasonal_naive")
    ]  # fmt: skip
    assert {r["item_id"]: r["bucket"] for r in rows} == {"i0": 0, "i1": 1, "i2": 2}


def test_a_model_that_raises_keeps_the_harm_to_one_series(monkeypatch: pytest.MonkeyPatch) -> None:
    from forecasting.models.baselines import Naive

    fit = Naive.fit

    def fragile(self: Naive, rows: Any, hyperparameters: Any) -> Any:
        if type(self) is Naive and (rows.batch.values == 666.0).any():
            raise ZeroDivisionError("poison")
        return fit(self, rows, hyperparameters)

    monkeypatch.setattr(Naive, "fit", fragile)
    histories = [[float(k)] * 40 for k in range(1, 100)] + [[666.0] * 40]
    task = spec(choices=((ModelSpec("naive"),),))
    batch = batch_of(histories, start=timestamps(np.zeros(100, dtype=np.int64)))
    rows = pa.Table.from_batches(list(process(task, (0,), iter([batch])))).to_pylist()
    assert len(rows) == 200
    hurt = [r for r in rows if r["status"] != "ok"]
    assert {(r["item_id"], r["status"], r["reason"]) for r in hurt} == {
        ("i99", "fallback", "ZeroDivisionError: poison")
    }
    assert [r["mean"] for r in hurt] == [[666.0] * 3] * 2
