"""Forecasts in SQL: the numbers of `forecasting.forecast`, and mistakes that are told."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from series_table import history

import udfs
from forecasting import Bounds, SeriesBatch, forecast
from udfs.functions import answers, family_function, read_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

H, N, LEVELS = 5, 4, (0.1, 0.5, 0.9)
START = datetime(2024, 1, 1)


def frame(**columns: Any) -> pd.DataFrame:
    rows = {
        "target": [np.array(history(k, 60)) for k in range(N)],
        "start": [pd.Timestamp(START)] * N,
        "frequency": ["D"] * N,
        "key": [f"i{k}" for k in range(N)],
    }
    return pd.DataFrame(rows | columns)


def batch(freq: str = "D") -> SeriesBatch:
    return SeriesBatch.from_arrays(
        [history(k, 60) for k in range(N)], START.isoformat(), freq, keys=[f"i{k}" for k in range(N)]
    )


def called(model: str, series: pd.DataFrame, horizon: list[int | None], *options: list[Any]) -> list[Any]:
    given = [pd.Series(values, dtype=object) for values in options]
    return list(family_function(model, LEVELS, 0)(series, pd.Series(horizon), *given))


def test_two_and_three_arguments_are_the_local_forecast() -> None:
    local = forecast(batch(), "npts", H)
    found = called("npts", frame(), [H] * N)
    for i in range(N):
        assert [s["mean"] for s in found[i]] == local.mean[i].tolist()
        assert [list(s["quantiles"].values()) for s in found[i]] == local.quantiles[i].tolist()
        assert [s["timestamp"] for s in found[i]] == [START + timedelta(days=60 + h) for h in range(H)]
        assert list(found[i][0]["quantiles"]) == ["p10", "p50", "p90"]
    options = {"season_length": "3", "quantiles": "[0.75, 0.025]", "upper": "52.5", "seed": "4"}
    local = forecast(batch(), "seasonal_naive", H, (0.025, 0.75), seed=4, bounds=Bounds(upper=52.5), season_length=3)
    found = called("seasonal_naive", frame(), [H] * N, [options] * N)
    assert [[list(s["quantiles"].values()) for s in steps] for steps in found] == local.quantiles.tolist()
    assert list(found[0][0]["quantiles"]) == ["p2_5", "p75"]


def test_calls_that_differ_by_row_and_rows_without_a_forecast() -> None:
    series = frame(frequency=["D", "W", "D", "D"], season=[3, None, 7, 7])
    series.at[2, "target"] = None
    series.at[3, "target"] = np.empty(0)
    found = called("seasonal_naive", series, [2, 3, H, 2], [None, '{"season_length": 1}', None, None])
    days = forecast(batch(), "seasonal_naive", 2, season_length=3)
    weeks = forecast(batch("W-MON"), "seasonal_naive", 3, season_length=1)
    assert [s["mean"] for s in found[0]] == days.mean[0].tolist()
    assert [s["mean"] for s in found[1]] == weeks.mean[1].tolist()
    assert found[1][0]["timestamp"] == START + timedelta(weeks=60)
    assert found[2] is None
    assert [s["mean"] for s in found[3]] == [0.0, 0.0]
    assert called("naive", frame(), [None] * N) == [None] * N


def test_related_series_are_handed_on() -> None:
    price = [float(k) for k in range(60 + H)]
    series = frame(related=[{"price": price, "traffic": price[:60]}] * N, known_in_future=[["price"]] * N)
    found = answers(["user_models:price_ahead"] * N, series, pd.Series([H] * N), [], LEVELS, 0)
    assert [s["mean"] for s in found[0]] == price[60:]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"sesaon_length": "3"},
            "option 'sesaon_length' is not known. Known options: quantiles, seed, .*season_length",
        ),
        ({"season_length": "many"}, "season_length is 'many'"),
        ("{season: 3}", "not JSON"),
        ("[3]", "expected a JSON object"),
        ({"quantiles": "[1.5]"}, "between 0 and 1"),
    ],
)
def test_wrong_options_are_told(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        called("naive", frame(), [H] * N, [options] * N)


def test_wrong_series_are_told() -> None:
    with pytest.raises(ValueError, match="lacks start, frequency"):
        called("naive", frame()[["target"]], [H] * N)
    assert read_options({"form": "ZZZ", "damped": "true", "n": "12"}) == {"form": "ZZZ", "damped": True, "n": 12}
    assert read_options({"weight": Decimal("0.5")}) == {"weight": 0.5}


@pytest.mark.spark
def test_in_a_session(spark: SparkSession) -> None:
    names = udfs.register(spark)
    assert {"forecast_ets", "forecast_npts", "forecast_model"} <= set(names)
    rows = [(f"i{k}", history(k, 60)) for k in range(N)]
    spark.createDataFrame([*rows, ("none", None)], "item_id string, target array<double>").createOrReplaceTempView(
        "sql_in"
    )
    one = "named_struct('target', target, 'start', timestamp_ntz'2024-01-01', 'frequency', 'D', 'key', item_id)"
    found = spark.sql(
        f"SELECT item_id, forecast_npts({one}, {H}) AS two, "
        f"forecast_model('user_models:drift', {one}, {H}, map('weight', 0.5)) AS model, "
        f"forecast_npts({one}, 2, '{{\"quantiles\": [0.25]}}')[1].quantiles.p25 AS text FROM sql_in ORDER BY item_id"
    ).collect()
    local = forecast(batch(), "npts", H)
    drift = forecast(batch(), "user_models:drift", H, weight=0.5)
    quarter = forecast(batch(), "npts", 2, (0.25,))
    for i in range(N):
        assert [s["mean"] for s in found[i]["two"]] == local.mean[i].tolist()
        assert [list(s["quantiles"].values()) for s in found[i]["two"]] == local.quantiles[i].tolist()
        assert [s["timestamp"] for s in found[i]["two"]] == [START + timedelta(days=60 + h) for h in range(H)]
        assert [s["mean"] for s in found[i]["model"]] == drift.mean[i].tolist()
        assert found[i]["text"] == quarter.quantiles[i, 1, 0]
    assert (found[N]["two"], found[N]["text"]) == (None, None)
