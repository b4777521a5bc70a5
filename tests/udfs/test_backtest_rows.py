"""What a task writes for windows that a series is too short for, and for rolling ones; on plain record batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from udfs.arrow import timestamps
from udfs.spec import ModelSpec, TaskSpec
from udfs.task import process

DAY, H, END = 86_400_000_000, 4, 49
COLUMNS = ("item_id", "model", "window", "forecast_start", "mean", "quantiles", "actuals", "mase_scale", "status",
           "reason", "n_obs", "evaluations", "parameters", "seconds")  # fmt: skip
LENGTHS = (50, 14, 9, 3, 0)
MODELS = (ModelSpec("naive"), ModelSpec("ets", {"form": "ANN"}), ModelSpec("npts"))


def history(i: int) -> np.ndarray:
    return np.random.default_rng(i).normal(50, 5, LENGTHS[i])


def rows_of(**settings: Any) -> dict[tuple[str, str, int], dict[str, Any]]:
    n = len(LENGTHS)
    spec = TaskSpec(
        **{"stage": "backtest", "key": ("item_id",), "frequency": "D", "horizon": H, "quantiles": (0.1, 0.5, 0.9),
           "windows": 3, "offset": 4, "stride": 2, "forecast_start": "global", "global_start": 0, "global_end": END,
           "choices": (MODELS,), "columns": COLUMNS, **settings}
    )  # fmt: skip
    zeros = pa.array([0] * n, pa.int32())
    start = np.array([END + 1 - length for length in LENGTHS], dtype=np.int64)
    batch = pa.RecordBatch.from_pydict(
        {"item_id": [f"i{k}" for k in range(n)], "bucket": zeros, "choice": zeros, "place": zeros,
         "start": timestamps(start * DAY),
         "target": pa.array([history(k).tolist() for k in range(n)], pa.list_(pa.float64()))}
    )  # fmt: skip
    rows = pa.Table.from_batches(process(spec, (0,), iter([batch]))).to_pylist()
    found = {(row["item_id"], row["model"], row["window"]): row for row in rows}
    assert len(found) == len(rows) == n * len(MODELS) * spec.windows
    return found


@pytest.mark.parametrize("refit", ["each", "first"])
def test_short_windows_are_skipped_and_the_others_are_what_they_were(refit: Any) -> None:
    every, some = rows_of(), rows_of(min_history=6, backtest_refit=refit)
    for (item, model, window), row in some.items():
        seen = max(LENGTHS[int(item[1:])] - 4 - 2 * (window - 1), 0)
        if seen < 6:
            assert (row["status"], row["reason"]) == ("skipped", "short_history")
            assert row["mean"] is row["quantiles"] is row["parameters"] is None
            assert (row["evaluations"], row["n_obs"]) == (0, seen)
            continue
        assert row["status"] in ("ok", "fallback")
        assert row["n_obs"] == seen
        if refit == "each" or model == "npts":  # whose fit is the history itself
            same = every[item, model, window]
            assert row["mean"] == same["mean"]
            assert row["quantiles"] == same["quantiles"]
    kept = {(item, window) for (item, _, window), row in some.items() if row["status"] != "skipped"}
    assert kept == {("i0", 1), ("i0", 2), ("i0", 3), ("i1", 1), ("i1", 2), ("i1", 3)}
    if refit == "first":
        spent = {window: some["i1", "ets", window]["evaluations"] for window in (1, 2, 3)}
        assert spent[3] > 0
        assert spent[1] == spent[2] == 0


def test_a_rolling_window_counts_and_scales_what_it_sees() -> None:
    rows = rows_of(history=6, min_history=6, mase_season_length=2)
    for window in (1, 2, 3):
        seen = history(0)[: 50 - 4 - 2 * (window - 1)][-6:]
        row = rows["i0", "naive", window]
        assert row["n_obs"] == 6
        assert row["mase_scale"] == pytest.approx(sum(abs(seen[t] - seen[t - 2]) for t in range(2, 6)) / 4)
        assert row["mean"] == [seen[-1]] * H


def test_fewer_actuals_than_the_horizon_are_scored_as_far_as_they_go() -> None:
    row = rows_of(horizon=6, offset=6, min_history=0)["i3", "naive", 1]
    actual = np.array(row["actuals"])
    assert np.isnan(actual[:3]).all()
    np.testing.assert_array_equal(actual[3:], history(3))
