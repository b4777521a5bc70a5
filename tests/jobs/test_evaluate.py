"""Stored forecasts against the actuals that arrive later."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import result_table as made
from rich.console import Console
from series_table import record

from jobs.evaluate import evaluate, render
from jobs.select import select
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def arrive(lake: Lake) -> None:
    """Two more periods: a new piece of A, B's second one missing, nothing of C, D or E."""
    later = {"A": [11.0, 15.0], "B": [6.0, float("nan")]}
    rows = made.series_records() + [
        record(item, values, made.FORECAST_START, segment=1, store="s1", metadata={"kind": made.KINDS[item]})
        for item, values in later.items()
    ]
    frame = lake.rows("series", rows).drop("bucket").withColumn("bucket", lake.bucket(2))
    lake.replace("series", frame, {})


def test_arrived_actuals_score_the_published_forecasts(spark: SparkSession, tmp_path: Path) -> None:
    fill = {"target": {"back": "zero"}}
    config, lake = made.new_lake(spark, tmp_path, fill=fill, evaluation={"score_filled": True})
    early = evaluate(config, spark)
    assert early.arrival is None
    assert not lake.exists("metrics"), "nothing has arrived, nothing is written"
    out = io.StringIO()
    render(early, Console(file=out, width=100))
    assert "has arrived yet" in out.getvalue()
    with pytest.raises(InputError, match="no run 'nobody'"):
        evaluate(config, spark, run_id="nobody")

    arrive(lake)
    done = evaluate(config, spark)
    assert done.arrival is not None
    # A: 11 and 15 against 12 and 13; B: 6 against 5, then back fill 0 against 7; C: 0, 0; D: 0, 0 against -7; E: none.
    errors = {"A": [1.0, 2.0], "B": [1.0, 7.0], "C": [0.0, 0.0], "=D": [7.0, 7.0]}
    assert (done.arrival.n_series, done.arrival.n_forecast) == (4, 5)
    assert done.arrival.n_points == 8
    metrics = lake.read("metrics")
    assert {row["window"] for row in metrics.collect()} == {0}
    items = {r["item_id"]: r for r in metrics.where("scope = 'item' AND model <> 'selected'").collect()}
    assert {item: row["model"] for item, row in items.items()} == made.CHOSEN, "the model that made the forecast"
    for item, own in errors.items():
        assert items[item]["sums"]["abs_error_median"] == pytest.approx(sum(own))
        assert (items[item]["n_points"], items[item]["n_missing"]) == (2, 1)
    assert items["A"]["MASE"] == pytest.approx(1.5 / made.SCALES["A"]), "the scale kept with the forecast"
    total = {row["model"]: row for row in done.totals}
    assert set(total) == {"naive", "seasonal_naive", "selected"}
    assert total["selected"]["WAPE"] == pytest.approx(sum(map(sum, errors.values())) / (11 + 15 + 6))
    out = io.StringIO()
    render(done, Console(file=out, width=160))
    assert "4 of 5 series have actuals" in out.getvalue()

    before = metrics.count()
    evaluate(config, spark)
    assert lake.read("metrics").count() == before, "again replaces"
    select(config, spark)
    assert lake.read("metrics").where("window = 0").count() == before, "backtests leave it alone"
    of_steps = 3 * 3 * made.H  # models with `selected`, windows with all of them
    assert lake.read("metrics").where("window <> 0").count() == 81 + of_steps


def test_filled_periods_are_not_scored_unless_asked(spark: SparkSession, tmp_path: Path) -> None:
    config, lake = made.new_lake(spark, tmp_path, fill={"target": {"back": "zero"}})
    arrive(lake)
    done = evaluate(config, spark)
    assert done.arrival is not None
    assert (done.arrival.n_series, done.arrival.n_points) == (2, 3)
    assert done.arrival.n_missing == 3 + 3 + 3 + 3 + 3 - 3


def test_a_run_without_forecasts(spark: SparkSession, tmp_path: Path) -> None:
    config = made.config_for(tmp_path)
    lake = Lake.of(spark, config)
    lake.identify(config, "D")
    with pytest.raises(InputError, match="no run is published"):
        evaluate(config, spark)
    made.write_rows(lake, "series", made.series_records(), "series")
    made.write_rows(lake, "results", made.backtest_results(), "results")
    made.write_run(lake, config)
    with pytest.raises(InputError, match="has no forecasts"):
        evaluate(config, spark)
