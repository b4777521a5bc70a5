"""The global model as a member of a run: rows written as its job writes them, by a plain loop and without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from series_table import START, history, local_batch, record, write_series

import forecasting
from jobs.backtest import backtest
from jobs.export import export
from jobs.forecast import forecast
from jobs.leaderboard import leaderboard
from jobs.select import select
from udfs.config import Config, load_config
from udfs.contest import Contest, contest_fields, standings
from udfs.deep_forecasts import find_forecasts
from udfs.delta_files import arrow_schema, replace_rows
from udfs.derive import derive_backtest
from udfs.derive_metrics import SELECTED
from udfs.derive_sums import series_sums
from udfs.lake import Lake
from udfs.schemas import RESULTS_DEEPAR
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest.importorskip("deltalake")
pytestmark = pytest.mark.spark
H, LENGTH, SECONDS = 7, 70, 0.25
SHIFT = (-3.0, 0.0, 3.0)
"""Of the quantiles from the mean."""
Numbers = Callable[[Any], list[float] | None]


def write_deepar(lake: Lake, run_id: str, made: list[Mapping[str, Any]], **columns: Any) -> None:
    """Replace a run's rows, as predict-deepar does. made: rows of `results`, changed."""
    schema = lake.schemas[RESULTS_DEEPAR]
    blank = {name: None for name in schema.names} | {"run_id": run_id, "unit": -1, "seconds": SECONDS} | columns
    blank |= {"model_id": "m", "series_version": columns.get("series_version", lake.version("series"))}
    rows = [{**blank, **row, "run_id": run_id} for row in made]
    table = pa.Table.from_pylist(rows, schema=arrow_schema(schema))
    replace_rows(str(lake.place.path), schema, iter(table.to_batches()), {"run_id": run_id})


def deepar_rows(lake: Lake, run_id: str, numbers: Numbers, beside: str = "naive", **columns: Any) -> list[Any]:
    """The rows of another model's backtests with the numbers of this one; none where there are none."""
    out = []
    for row in lake.read("results").where(f"run_id = '{run_id}' AND model = '{beside}' AND window > 0").collect():
        mean = numbers(row) if row["status"] != "skipped" else []
        if mean is not None:
            out.append(changed(row, mean) | columns)
    return out


def changed(row: Any, mean: list[float]) -> dict[str, Any]:
    """A row with these numbers, as the global model's."""
    kept = ("stage", "item_id", "window", "forecast_start", "actuals", "mase_scale", "rmsse_scale", "status", "bucket")
    counts = dict.fromkeys(("n_obs", "n_filled", "n_clipped", "evaluations"), 1)
    quantiles = [m + shift for m in mean for shift in SHIFT]
    facts = {name: row[name] for name in kept} | counts
    return facts | {"model": "deepar", "mean": mean, "quantiles": quantiles, "reason": "", "seconds": SECONDS}


def future(item: str, window: int = 0) -> list[float]:
    """What the global model says of an item's future."""
    return [1000.0 * (1 + int(item[1:])) + step + window for step in range(H)]


def forecast_rows(lake: Lake, run_id: str, without: tuple[str, ...], add: float = 0.0) -> list[dict[str, Any]]:
    rows = lake.read("results").where(f"run_id = '{run_id}' AND stage = 'forecast' AND mean IS NOT NULL").collect()
    made = [changed(row, [v + add for v in future(row["item_id"])]) for row in rows if row["item_id"] not in without]
    return [row | {"actuals": None} for row in made]


def chosen(lake: Lake, run_id: str) -> dict[str, Any]:
    return {row["item_id"]: row for row in lake.read("selection").where(f"run_id = '{run_id}'").collect()}


def forecasts(lake: Lake, run_id: str) -> dict[str, list[Any]]:
    out: dict[str, list[Any]] = {}
    for row in lake.read("forecasts").where(f"run_id = '{run_id}'").orderBy("step").collect():
        out.setdefault(row["item_id"], []).append(row)
    return out


def quality(row: Any) -> list[float] | None:
    """Perfect for four series and the last one, far off for two, nothing at all of one."""
    item = int(row["item_id"][1:])
    if item == 6:
        return None
    return [v + (500.0 if item in (4, 5) else 0.0) for v in row["actuals"]]


def test_deepar_is_a_model_of_the_run(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    records = [record(f"i{k}", [50.0 if np.isnan(v) else v for v in history(k, LENGTH)]) for k in range(8)]
    config = load_config(
        make_config(
            quantiles=[0.1, 0.5, 0.9],
            selection={"mode": "best_per_series", "crowd": 0},
            calibration={"method": "none"},
        )
    )
    lake = write_series(spark, config, records)
    first = backtest(config, spark).run_id
    select(config, spark)
    alone = {item: row["model"] for item, row in chosen(lake, first).items()}
    assert forecast(config, spark).run_id == first
    write_deepar(lake, first, [*deepar_rows(lake, first, quality), *forecast_rows(lake, first, ("i6", "i7"))])

    # --- selection: exactly where it is better; series that it has no rows for are not lost
    choice = select(config, spark)
    assert choice.models["deepar"] == 5
    found = chosen(lake, first)
    good = {"i0", "i1", "i2", "i3", "i7"}
    assert {item for item, row in found.items() if row["model"] == "deepar"} == good
    assert {i: row["model"] for i, row in found.items() if i not in good} == {i: alone[i] for i in ("i4", "i5", "i6")}
    assert found["i0"]["runner_up"] == alone["i0"]

    # --- metrics and the leaderboard with its cost
    board = {row["model"]: row for row in leaderboard(config, spark, run_id=first).rows}
    assert set(board) == {"deepar", "naive", "seasonal_naive", SELECTED}
    assert board["deepar"]["n_series"] == 7
    assert board["deepar"]["core_seconds_per_1000_series"] == pytest.approx(1000 * SECONDS * 2)
    assert board["deepar"]["chosen_share"] == pytest.approx(5 / 8)
    assert board[SELECTED]["mean_wQL"] < min(row["mean_wQL"] for name, row in board.items() if name != SELECTED)
    actual = [abs(v) for r in deepar_rows(lake, first, lambda row: row["actuals"]) for v in r["mean"]
              if r["item_id"] != "i6"]  # fmt: skip
    wape = 500.0 * 2 * 2 * H / sum(actual)
    assert board["deepar"]["WAPE"] == pytest.approx(wape)
    per_item = f"run_id = '{first}' AND model = 'deepar' AND scope = 'item' AND window = -1"
    assert {row["item_id"]: row["RMSE"] for row in lake.read("metrics").where(per_item).collect()} == {
        f"i{k}": pytest.approx(500.0 if k in (4, 5) else 0.0) for k in (0, 1, 2, 3, 4, 5, 7)
    }

    # --- the forecast is made again, since deepar came later, and takes its numbers; a runner-up where there are none
    done = forecast(config, spark)
    assert done.run_id != first
    assert done.published
    assert done.plan.deepar == first
    mine = forecasts(lake, done.run_id)
    for k in range(4):
        rows = mine[f"i{k}"]
        assert {row["model"] for row in rows} == {"deepar"}
        assert [row["mean"] for row in rows] == future(f"i{k}")
        assert [[row["p10"], row["p50"], row["p90"]] for row in rows] == [[m - 3, m, m + 3] for m in future(f"i{k}")]
    assert {item: mine[item][0]["model"] for item in ("i4", "i5", "i6", "i7")} == {
        item: alone[item] for item in ("i4", "i5", "i6", "i7")
    }
    assert done.counts["no_deepar_forecast"] == 1

    # --- views and exports
    register_views(spark, lake, "deep_")
    latest = spark.table("deep_forecasts_latest").where("item_id = 'i2'").orderBy("step").collect()
    assert [row["p50"] for row in latest] == future("i2")
    ledger = spark.table("deep_ledger")
    why = ledger.where(f"run_id = '{done.run_id}' AND stage = 'forecast'").collect()
    assert {row["item_id"]: row["reason"] for row in why if row["reason"]} == {"i7": "no_deepar_forecast"}
    assert {row["status"] for row in why} == {"ok"}
    assert ledger.where(f"run_id = '{first}' AND model = 'deepar'").count() == 7 * 2
    tests = spark.table("deep_backtest").where(f"run_id = '{first}' AND model = 'deepar' AND item_id = 'i1'")
    assert {row["mean"] - row["actual"] for row in tests.collect()} == {0.0}
    export(config, tmp_path / "backtests.csv", spark, what="backtest", single=True, run_id=first)
    lines = (tmp_path / "backtests.csv").read_text(encoding="utf-8").splitlines()
    assert sum(line.endswith(",deepar") for line in lines) == 7 * 2 * H
    assert sum(line.endswith(",naive") for line in lines) == 8 * 2 * H

    # --- a cost that is not known is NULL, the choice's too
    half = deepar_rows(lake, first, half_way, seconds=None)
    write_deepar(lake, first, half)
    blended = config.model_copy(update={"selection": config.selection.model_copy(update={"mode": "ensemble"})})
    derive_backtest(lake, first, blended)
    board = {row["model"]: row for row in leaderboard(config, spark, run_id=first).rows}
    assert [board[name]["core_seconds_per_1000_series"] for name in ("deepar", SELECTED)] == [None, None]
    assert board["naive"]["core_seconds_per_1000_series"] > 0

    # --- an ensemble, applied to today's data by a run of the predictor: what predict-deepar wrote for that run
    mixed = chosen(lake, first)
    assert all(sum(row["weights"].values()) == pytest.approx(1.0) for row in mixed.values())
    several = {item: row["weights"] for item, row in mixed.items() if 0 < row["weights"].get("deepar", 0) < 1}
    assert several
    assert "deepar" not in mixed["i6"]["weights"]
    write_deepar(lake, "today", forecast_rows(lake, done.run_id, ("i6",), add=0.5))
    today = forecast(config, spark, predictor=first, run_id="today")
    assert today.plan.deepar == "today"
    mine = forecasts(lake, "today")
    batch = local_batch(config, records)
    local = {m: forecasting.forecast(batch, m, horizon=H, quantiles=config.quantiles) for m in config.models}
    for item, weights in several.items():
        n = int(item[1:])
        parts = {m: local[m].mean[n] for m in weights if m != "deepar"} | {"deepar": np.array(future(item)) + 0.5}
        expected = sum(w * parts[m] for m, w in weights.items())
        np.testing.assert_allclose([row["mean"] for row in mine[item]], expected, rtol=1e-12)
        assert {row["model"] for row in mine[item]} == {"ensemble"}
    members = lake.read("results").where("run_id = 'today' AND model = 'deepar' AND stage = 'forecast'")
    assert {row["item_id"] for row in members.collect()} == {i for i, r in mixed.items() if "deepar" in r["weights"]}

    # --- rows of other data are not taken
    version = lake.version("series")
    assert find_forecasts(lake, first, version, ("none", "today"), ()).run_id == "today"
    assert find_forecasts(lake, first, version + 1, ("today",), ()).version is None

    # --- a model that is worse where it was asked does not win for all by having been asked less
    write_deepar(lake, first, deepar_rows(lake, first, lambda row: a_bit_worse(row, ("i0", "i1"))))
    contest = Contest.of(config, deepar=True)
    sums = series_sums(lake, first, config.quantiles).withColumn("segment", F.lit("all"))
    (found,) = standings(sums, contest, contest_fields)
    assert contest.models[found.best_of_all()] != "deepar"
    assert contest.models[found.best()["all"]] != "deepar"


def half_way(row: Any) -> list[float] | None:
    """As far from the truth as naive, on its other side: a blend of both is better than either."""
    return None if row["item_id"] == "i6" else [2 * a - m for a, m in zip(row["actuals"], row["mean"], strict=True)]


def a_bit_worse(row: Any, items: tuple[str, ...]) -> list[float] | None:
    """Naive's errors and a little more, for some items."""
    if row["item_id"] not in items:
        return None
    return [a + 3 * (m - a) for a, m in zip(row["actuals"], row["mean"], strict=True)]


def cold_config(make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> Config:
    return load_config(
        make_config(
            horizon=4,
            quantiles=[0.1, 0.5, 0.9],
            data={
                "target": {"path": str(tmp_path / "target.csv")},
                "items": [{"path": str(tmp_path / "items.csv"), "attributes": ["kind"]}],
            },
            selection={"segment_by": ["kind"]},
            calibration={"method": "none"},
            models={"naive": {}},
        )
    )


def test_deepar_takes_new_items_from_cold_start_where_it_was_better(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    config = cold_config(make_config, tmp_path)
    steps = config.horizon
    level = {"tea": 40.0, "coffee": 400.0}
    records = [
        record(f"old{k}", [level[kind] + v for v in history(k, LENGTH)], metadata={"kind": kind})
        for k, kind in enumerate(["tea", "coffee"] * 6)
    ]
    records += [
        record(f"{kind}{k}", [level[kind] + 5.0 * k] * 3, START + timedelta(days=LENGTH - 3), metadata={"kind": kind})
        for kind in level
        for k in range(4)
    ]
    lake = write_series(spark, config, records)
    run = backtest(config, spark).run_id
    far = {"tea": 0.0, "coffee": 900.0}

    def numbers(row: Any) -> list[float]:
        """The truth for new teas, far off for new coffees; as good as naive for old items."""
        kind = row["item_id"].rstrip("0123456789")
        if kind not in level:
            return [float(v) for v in row["mean"]]
        return [far[kind] + (level[kind] if np.isnan(v) else v) for v in row["actuals"]]

    cold = deepar_rows(lake, run, numbers, "cold_start", model="deepar+cold")
    assert {row["item_id"] for row in cold} == {f"{kind}{k}" for kind in level for k in range(4)}
    ahead = [
        changed(row, [77.0] * steps) | {"stage": "forecast", "window": 0, "status": "ok", "actuals": None}
        for row in lake.read("results").where(f"run_id = '{run}' AND model = 'naive' AND window = 1").collect()
        if row["item_id"] != "tea3"
    ]
    write_deepar(lake, run, [*deepar_rows(lake, run, numbers), *cold, *ahead])
    select(config, spark)
    board = {row["model"]: row for row in leaderboard(config, spark, run_id=run).rows}
    assert board["cold_start"]["n_series"] == board["deepar+cold"]["n_series"] == 8
    done = forecast(config, spark)
    assert done.run_id == run
    assert done.plan.deepar_cold == ("tea",)
    mine = forecasts(lake, run)
    new = {item: rows for item, rows in mine.items() if not item.startswith("old")}
    assert {item: rows[0]["model"] for item, rows in new.items()} == {
        **{f"tea{k}": "deepar" if k < 3 else "cold_start" for k in range(4)},
        **{f"coffee{k}": "cold_start" for k in range(4)},
    }
    assert [row["mean"] for row in mine["tea0"]] == [77.0] * steps
    found = chosen(lake, run)
    assert (found["tea0"]["model"], found["tea0"]["reason"]) == (
        "deepar", "deepar in place of cold_start: 3 observations",
    )  # fmt: skip
    assert found["tea3"]["reason"] == found["coffee0"]["reason"] == "cold_start: 3 observations"
    assert found["tea0"]["weights"] == {"deepar": 1.0}
    donors = lake.read("neighbours").where(f"run_id = '{run}'").select("item_id").distinct().collect()
    assert {row["item_id"] for row in donors} == {"tea3", *(f"coffee{k}" for k in range(4))}
