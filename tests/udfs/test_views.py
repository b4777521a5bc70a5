"""The views over a lake of hand-made results, and the lake's tables without a JVM."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow.dataset
import pytest
import result_table as made

from udfs.lake import Lake
from udfs.schemas import Layout
from udfs.views import VIEWS, quantile_levels, register_views, view_queries

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from udfs.config import Config

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def built(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Lake]:
    config, lake = made.derived_lake(spark, tmp_path_factory)
    names = register_views(spark, lake, prefix="v_")
    assert set(names) >= {f"v_{view}" for view in VIEWS} | {"v_series", "v_results"}
    return config, lake


@pytest.fixture
def lake(built: tuple[Config, Lake]) -> Lake:
    return built[1]


def test_forecasts_latest_is_the_published_run(spark: SparkSession, lake: Lake) -> None:
    rows = spark.table("v_forecasts_latest")
    values = ["mean", "p10", "p50", "p90", "lifecycle"]
    assert rows.columns == ["run_id", "item_id", "store", "step", "timestamp", "model", *values]
    assert rows.count() == lake.read("forecasts").count() == 11


def test_another_run_is_not_latest_until_it_is_published(spark: SparkSession, lake: Lake) -> None:
    """The view's SQL over temporary copies, so that the shared lake stays as it is."""
    queries = view_queries(lake, lambda table: f"copy_{table}", ("forecasts", "runs"))
    forecasts, runs = lake.read("forecasts"), lake.read("runs").select("run_id", "published")
    other = forecasts.selectExpr("*").replace({made.RUN: "other"}, subset=["run_id"])
    forecasts.unionByName(other).createOrReplaceTempView("copy_forecasts")
    for published in (made.RUN, "other"):
        spark.createDataFrame(
            [(made.RUN, published == made.RUN), ("other", published == "other")], runs.schema
        ).createOrReplaceTempView("copy_runs")
        rows = spark.sql(queries["forecasts_latest"])
        assert {row["run_id"] for row in rows.collect()} == {published}
        assert rows.count() == 11


def test_forecast_quantiles_are_long(spark: SparkSession) -> None:
    rows = spark.table("v_forecast_quantiles").where("item_id = 'A' AND step = 2").orderBy("quantile").collect()
    assert [(row["quantile"], row["value"]) for row in rows] == [(0.1, 12.0), (0.5, 13.0), (0.9, 14.0)]


def test_backtest_is_a_row_a_step(spark: SparkSession) -> None:
    rows = (
        spark.table("v_backtest").where("item_id = 'A' AND model = 'naive' AND window = 2").orderBy("step").collect()
    )
    start = made.FORECAST_START - timedelta(days=2 * made.H)
    expected = [
        (h + 1, start + timedelta(days=h), None if math.isnan(y) else y, 9.0, 8.0, 9.0, 10.0)
        for h, y in enumerate(made.ACTUALS["A", 2])
    ]
    got = ("step", "timestamp", "actual", "mean", "p10", "p50", "p90")
    assert [tuple(row[name] for name in got) for row in rows] == expected


def test_ledger_and_leaderboard(spark: SparkSession) -> None:
    ledger = spark.table("v_ledger")
    assert ledger.count() == len(made.MEANS) + len(made.FORECASTS)
    failed = ledger.where("status = 'failed' AND stage = 'backtest'").first()
    assert (failed["item_id"], failed["model"], failed["window"], failed["reason"]) == (
        "E", "seasonal_naive", 2, "no_observations",
    )  # fmt: skip
    board = {row["model"]: row for row in spark.table("v_leaderboard").collect()}
    assert [board[m]["rank"] for m in sorted(board, key=lambda m: board[m]["mean_wQL"])] == [1, 2, 3]
    assert board["selected"]["rank"] == 1
    assert {row["n_series"] for row in board.values()} == {5}
    assert board["naive"]["fallback_share"] == pytest.approx(1 / 10)
    assert board["naive"]["core_seconds_per_1000_series"] == pytest.approx(1000 * 10 * 0.25 / 5)
    assert board["selected"]["core_seconds_per_1000_series"] == pytest.approx(1000 * 20 * 0.25 / 5)


def test_a_quantile_that_a_run_did_not_ask_for_is_null(spark: SparkSession, built: tuple[Config, Lake]) -> None:
    config, lake = built
    wider = Lake(spark, lake.place, replace(lake.layout, quantiles=(0.025, 0.5, 0.9)))
    assert quantile_levels(wider, lake.read("forecasts").columns) == (0.025, 0.1, 0.5, 0.9)
    assert quantile_levels(Lake(spark, config.lake, Layout(dimensions=("p5",))), ["item_id", "p5"]) == (0.1, 0.5, 0.9)
    register_views(spark, wider, prefix="w_")
    for view in ("forecasts_latest", "backtest"):
        row = spark.table(f"w_{view}").where("item_id = 'A' AND step = 1").first()
        assert row["p2_5"] is None
        assert row["p90"] == row["p50"] + 1


def test_the_tables_are_read_without_a_jvm(lake: Lake) -> None:
    deltalake = pytest.importorskip("deltalake")
    duckdb = pytest.importorskip("duckdb")
    for name in lake.schemas:
        if not lake.exists(name):
            continue
        table = deltalake.DeltaTable(lake.absolute_location(name))
        assert "deletionVectors" not in (table.protocol().reader_features or [])
        files = table.file_uris()
        rows = pyarrow.dataset.dataset(files, format="parquet", partitioning="hive") if files else None
        assert (rows.count_rows() if rows is not None else 0) == lake.read(name).count(), name
    forecasts = deltalake.DeltaTable(lake.absolute_location("forecasts"))
    query = f"SELECT mean, p90 FROM read_parquet({forecasts.file_uris()!r}) WHERE item_id = 'A' ORDER BY step"
    assert duckdb.sql(query).fetchall() == [(12.0, 13.0), (13.0, 14.0), (14.0, 15.0)]
