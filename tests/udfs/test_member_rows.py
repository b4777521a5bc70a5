"""Members' backtest rows packed a series at a time, and taken apart again, beside the rows that went in."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from udfs import member_rows as module
from udfs.member_rows import RowForm, member_rows, pack_step

H, LEVELS = 2, 3
MODELS = ["ets", "naive"]
START = datetime(2024, 3, 1)
KINDS = {"item_id": pa.string(), "shop": pa.string(), "model": pa.string(), "window": pa.int32()} | {
    "forecast_start": pa.timestamp("us"), "status": pa.string(), "mase_scale": pa.float64(),
    "rmsse_scale": pa.float64(),
    **dict.fromkeys(("mean", "quantiles", "actuals", "log_density"), pa.list_(pa.float64())),
}  # fmt: skip


def rows() -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    return [
        {
            "item_id": item, "shop": shop, "model": model, "window": window,
            "forecast_start": START + timedelta(days=10 * window), "status": "fallback" if window == 2 else "ok",
            "mase_scale": float(rng.random()), "rmsse_scale": None, "mean": rng.random(H).tolist(),
            "quantiles": rng.random(H * LEVELS).tolist(), "actuals": rng.random(H).tolist(),
            "log_density": None if model == "naive" else rng.random(H).tolist(),
        }
        for model in MODELS
        for item, shop in (("a", "x"), ("b", "x"), ("a", "y"))
        for window in (1, 2)
    ]  # fmt: skip


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("piece", [1, 10**6])
def test_rows_come_back_with_their_series(monkeypatch: pytest.MonkeyPatch, density: bool, piece: int) -> None:
    monkeypatch.setattr(module, "PIECE_NUMBERS", piece)
    form = RowForm(H, LEVELS, density)
    given = rows()
    columns = [pa.array([row[name] for row in given], kind) for name, kind in KINDS.items()]
    batch = pa.RecordBatch.from_arrays(columns, names=list(KINDS))
    batches = [batch.slice(0, 5), batch.slice(5, 0), batch.slice(5)]
    packed = list(pack_step(("item_id", "shop"), MODELS, form)(iter(batches)))
    assert len(packed) == (1 if piece > 1 else 2)
    keys = [("none", "x"), ("a", "x"), ("b", "x"), ("a", "y")]
    lists: list[list[bytes] | None] = [None]
    lists += [
        [r["numbers"] for p in packed for r in p.to_pylist() if (r["item_id"], r["shop"]) == k] for k in keys[1:]
    ]
    position, got = member_rows(pa.array(lists, pa.list_(pa.binary())), form)
    assert len(position) == len(given)
    for row in given:
        model, window = MODELS.index(row["model"]), row["window"] - 1
        mine = position == keys.index((row["item_id"], row["shop"]))
        at = np.flatnonzero(mine & (got.model == model) & (got.window == window))
        assert len(at) == 1
        i = at[0]
        assert np.datetime64(int(got.start[i]), "us").astype(datetime) == row["forecast_start"]
        np.testing.assert_array_equal(got.forecast[i], [*row["mean"], *row["quantiles"]])
        np.testing.assert_array_equal(got.actual[i], row["actuals"])
        np.testing.assert_array_equal(got.density[i], (row["log_density"] or [np.nan] * H) if density else [])
        np.testing.assert_array_equal(got.scales[i], [row["mase_scale"], np.nan])
        assert got.helped[i] == (row["status"] == "fallback")
