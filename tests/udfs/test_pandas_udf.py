"""The pandas UDF gives the numbers of the local API, bit for bit."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from forecasting import Bounds, SeriesBatch, forecast
from forecasting.filling import FillRules, TargetFill, extend, fill
from forecasting.seeds import series_key
from udfs.pandas_udf import forecast_udf, series_key_column

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H, LEVELS = 5, (0.2, 0.5, 0.8)
START = datetime(2024, 1, 1)


def histories(n: int) -> list[list[float]]:
    rng = np.random.default_rng(4)
    out = [(20 + 5 * np.sin(np.arange(60) / 3) + rng.normal(0, 1, 60)).tolist() for _ in range(n)]
    out[1][3] = float("nan")
    out[2] = out[2][:20]
    out[3] = []
    return out


@pytest.mark.parametrize(
    ("model", "options"),
    [("seasonal_naive", {"season_length": 3}), ("npts", {}), ("user_models:drift", {"weight": 0.5})],
)
def test_same_numbers_as_local(spark: SparkSession, model: str, options: dict[str, Any]) -> None:
    values = histories(9)
    rows = spark.createDataFrame(
        [(f"i{k}", "s", START, v) for k, v in enumerate(values)],
        "item_id string, store string, start timestamp_ntz, target array<double>",
    ).repartition(3)
    bounds = Bounds(lower=18.0)
    steps = forecast_udf(model, "D", H, LEVELS, seed=9, bounds=bounds, hyperparameters=options)
    key = series_key_column("item_id", "store")
    found = {
        r["item_id"]: r["steps"]
        for r in rows.select("item_id", steps(key, "start", "target").alias("steps")).collect()
    }
    keys = [series_key(f"i{k}", "s") for k in range(9)]
    local = forecast(SeriesBatch.from_arrays(values, START.isoformat(), "D", keys=keys), model, H, LEVELS, seed=9,
                     bounds=bounds, **options)  # fmt: skip
    for i in range(9):
        assert [s["step"] for s in found[f"i{i}"]] == list(range(1, H + 1))
        assert [s["mean"] for s in found[f"i{i}"]] == local.mean[i].tolist()
        assert [s["quantiles"] for s in found[f"i{i}"]] == local.quantiles[i].tolist()


def test_common_end_fill_and_missing(spark: SparkSession) -> None:
    rows = spark.createDataFrame(
        [("a", START, [1.0, None, 3.0]), ("b", START, [4.0]), ("c", None, None)],
        "item_id string, start timestamp_ntz, target array<double>",
    )
    rules = FillRules(target=TargetFill(middle="zero", back=7.0))
    udf = forecast_udf("naive", "D", 2, (0.5,), end=datetime(2024, 1, 5), rules=rules)
    found = {
        r["item_id"]: r["steps"]
        for r in rows.select("item_id", udf("item_id", "start", "target").alias("steps")).collect()
    }
    batch = SeriesBatch.from_arrays([[1.0, np.nan, 3.0], [4.0], []], START.isoformat(), "D", keys=list("abc"))
    end = int(batch.start[0]) + 4
    local = forecast(fill(extend(batch, end), rules, None, end), "naive", 2, (0.5,))
    assert (
        [[s["mean"] for s in found[k]] for k in "abc"] == local.mean.tolist() == [[7.0, 7.0], [7.0, 7.0], [0.0, 0.0]]
    )


def test_mistakes_are_told() -> None:
    with pytest.raises(ValueError, match="did you mean 'naive'"):
        forecast_udf("naiv", "D", 3)
    with pytest.raises(ValueError, match="season"):
        forecast_udf("naive", "D", 3, hyperparameters={"seasons": 3})
    with pytest.raises(ValueError, match="phase open"):
        forecast_udf("naive", "2D", 3)
    with pytest.raises(ValueError, match="wants related series"):
        forecast_udf("user_models:price_ahead", "D", 3)
