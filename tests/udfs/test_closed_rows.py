"""Rows of a task for series with closed days and stock-outs: every family answers, nothing leaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from forecasting.closures import Mask, Observing, OpeningHours, closures
from forecasting.filling import FillRules, TargetFill
from forecasting.frequency import Frequency
from udfs.observing import FILL_GROUP
from udfs.schemas import Layout, table_schemas
from udfs.spec import ModelSpec, TaskSpec
from udfs.stage import FROM_SPARK
from udfs.task import process

DAYS = np.arange("2024-01-01", "2024-04-08", dtype="M8[D]")
N, H, W = len(DAYS), 10, 2
SUNDAYS = (DAYS.astype(np.int64) + 3) % 7 == 6
FIRST = int(DAYS[0].astype(np.int64))
GRID = Frequency.parse("D")
MODELS = ("naive", "seasonal_naive", "ets", "npts", "mean", "arima", "theta", "prophet", "mstl", "empirical", "ces")


def spec(stage: str, models: tuple[str, ...] = MODELS, **options: Any) -> TaskSpec:
    week = closures(GRID, FIRST, FIRST + N + H, OpeningHours((0, 1, 2, 3, 4, 5)))
    return TaskSpec(
        stage=stage,  # type: ignore[arg-type]
        key=("item_id",),
        frequency="D",
        horizon=H,
        quantiles=(0.1, 0.5, 0.9),
        windows=W,
        offset=H,
        forecast_start="global",
        global_start=FIRST,
        global_end=FIRST + N - 1,
        choices=(tuple(ModelSpec(name) for name in models),),
        columns=tuple(c for c in table_schemas(Layout())["results"].names if c not in FROM_SPARK),
        **{"fill": FillRules(TargetFill(middle="zero", back="zero")), "observing": observing(week), **options},
    )


def observing(week: Any) -> Observing:
    return Observing((Mask("stock", (0.0,)),), week)


def batch(arrays: list[np.ndarray], stock: list[np.ndarray], **more: pa.Array) -> pa.RecordBatch:
    n = len(arrays)
    lists, zero = pa.list_(pa.float64()), pa.array([0] * n, pa.int32())
    columns = {
        "item_id": pa.array([f"i{k}" for k in range(n)]),
        "start": pa.array([DAYS[0].astype("M8[us]")] * n),
        "target": pa.array([a.tolist() for a in arrays], lists),
        "related:stock": pa.array([s.tolist() for s in stock], lists),
        **dict.fromkeys(("bucket", "choice", "place"), zero),
        **more,
    }
    return pa.RecordBatch.from_pydict(columns)


def rows(task: TaskSpec, made: pa.RecordBatch) -> dict[tuple[str, str, int], dict[str, Any]]:
    found = [row for out in process(task, (0,), iter([made])) for row in out.to_pylist()]
    return {(row["item_id"], row["model"], row["window"]): row for row in found}


def sold(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(SUNDAYS, np.nan, 30 + 5 * np.sin(np.arange(N) * 2 * np.pi / 7) + rng.normal(0, 1, N))


@pytest.mark.parametrize("stage", ["backtest", "forecast"])
def test_every_family_answers_for_itself_and_closes_on_sundays(stage: str) -> None:
    gone = np.ones(N)
    gone[40:46] = 0
    found = rows(spec(stage), batch([sold(0), np.where(gone == 0, 0.0, sold(1))], [np.ones(N), gone]))
    assert {row["status"] for row in found.values()} == {"ok"}
    for (item, model, window), row in found.items():
        begin = N - H * window
        closed = ((FIRST + begin + np.arange(H)) + 3) % 7 == 6
        mean, quantiles = np.array(row["mean"]), np.array(row["quantiles"]).reshape(H, 3)
        assert (mean[closed] == 0).all()
        assert (quantiles[closed] == 0).all()
        assert (mean[~closed] > 20).all(), model
        hidden = SUNDAYS | (gone == 0) if item == "i1" else SUNDAYS
        assert (row["n_masked"], row["n_closed"]) == (hidden[:begin].sum(), closed.sum())
        assert row["n_obs"] == (~hidden[:begin]).sum()
        if stage == "backtest":
            assert np.isnan(np.array(row["actuals"])[closed]).all()
            assert not np.isnan(np.array(row["actuals"])[~closed]).any()


def test_what_comes_after_a_cutoff_changes_nothing_before_it() -> None:
    """Other sales, stock-outs and missing days in the last two weeks: the earlier window forecasts the same."""
    values, stock = sold(2), np.ones(N)
    values[N - H - 2 : N - H] = np.nan
    stock[N - 2 * H - 1] = 0
    later, gone = values.copy(), stock.copy()
    later[N - 2 * H :] = np.where(np.arange(2 * H) % 3 == 0, np.nan, 500.0)
    gone[N - 2 * H + 3 : N - H] = 0
    one, other = (rows(spec("backtest"), batch([v], [s])) for v, s in ((values, stock), (later, gone)))
    for model in MODELS:
        a, b = one["i0", model, 2], other["i0", model, 2]
        assert a["mean"] == b["mean"], model
        assert a["quantiles"] == b["quantiles"]
        assert (a["n_obs"], a["n_masked"], a["mase_scale"]) == (b["n_obs"], b["n_masked"], b["mase_scale"])


def test_each_series_is_filled_by_the_rules_of_its_group() -> None:
    values = np.full(N, 7.0)
    values[10:12] = np.nan  # a Thursday and a Friday
    sets = (FillRules(TargetFill(middle="zero")), FillRules(TargetFill(middle=3.0)), FillRules())
    made = batch([values] * 3, [np.ones(N)] * 3, **{FILL_GROUP: pa.array([2, 0, 1], pa.int32())})
    found = rows(spec("forecast", ("mean",), fill=sets, observing=Observing()), made)
    total = 7.0 * (N - 2)
    for item, want in (("i0", 7.0), ("i1", total / N), ("i2", (total + 6.0) / N)):
        np.testing.assert_allclose(found[item, "mean", 0]["mean"], want)
    assert [found[f"i{k}", "mean", 0]["n_filled"] for k in range(3)] == [0, 2, 2]
    assert all(row["n_masked"] == row["n_closed"] == 0 for row in found.values())
