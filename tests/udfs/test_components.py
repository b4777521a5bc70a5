"""The table `components`: what a run's fits and forecasts are made of."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from series_table import START, history, local_batch, record, write_series

from forecasting import fit
from jobs.forecast import forecast
from udfs.config import load_config
from udfs.config.load import ConfigError
from udfs.lake import Lake
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

H, LENGTH, N = 7, 70, 4
MakeConfig = Callable[..., dict[str, Any]]


def records() -> list[dict[str, Any]]:
    lengths = [LENGTH, LENGTH - 9, LENGTH, LENGTH]
    rows = [record(f"i{k}", history(k, n), START + timedelta(days=LENGTH - n)) for k, n in enumerate(lengths)]
    return [*rows, record("empty", [])]


@pytest.mark.spark
def test_components_add_up_and_are_made_on_request(spark: SparkSession, make_config: MakeConfig) -> None:
    config = load_config(
        make_config(models={"ets": {}}, backtest={"windows": 0}, seed=5, limits={"max_failed_share": 1})
    )
    lake = write_series(spark, config, records())
    run = forecast(config, spark)
    assert not lake.exists("components")
    again = forecast(config, spark, overrides=["components=[ets]"])  # the same run, taken apart afterwards
    assert again.run_id == run.run_id
    rows = lake.read("components").collect()
    assert {row["item_id"] for row in rows} == {f"i{k}" for k in range(N)}
    batch = local_batch(config, records()[:N])
    fitted = fit(batch, "ets", seed=5)
    expected, mean = fitted.components(H), fitted.predict(H).mean
    assert expected is not None
    assert {row["component"] for row in rows} == set(expected.names)
    for k in range(N):
        mine = {row["component"]: row for row in rows if row["item_id"] == f"i{k}"}
        part = expected.values[expected.offsets[k] : expected.offsets[k + 1]]
        for c, name in enumerate(expected.names):
            np.testing.assert_array_equal(mine[name]["values"], part[:, c])
        assert {row["start"] for row in mine.values()} == {START + timedelta(days=LENGTH - int(batch.lengths[k]))}
        assert {row["forecast_start"] for row in mine.values()} == {START + timedelta(days=LENGTH)}
        total = np.sum([row["values"] for row in mine.values()], axis=0)
        seen = np.isfinite(batch.series(k))
        np.testing.assert_allclose(total[:-H][seen], batch.series(k)[seen], rtol=1e-9)
        np.testing.assert_allclose(total[-H:], mean[k], rtol=1e-9)
    check_view(spark, lake, mean)


def check_view(spark: SparkSession, lake: Lake, mean: Any) -> None:
    register_views(spark, lake, prefix="c_")
    sums = spark.sql(
        "SELECT timestamp, sum(value) AS total FROM c_component_values WHERE item_id = 'i2' AND in_horizon "
        "GROUP BY timestamp ORDER BY timestamp"
    ).collect()
    assert [row["timestamp"] for row in sums] == [START + timedelta(days=LENGTH + h) for h in range(H)]
    np.testing.assert_allclose([row["total"] for row in sums], mean[2], rtol=1e-9)


def test_what_cannot_be_taken_apart_is_told(make_config: MakeConfig) -> None:
    with pytest.raises(ConfigError) as error:
        load_config(make_config(models={"naive": {}, "ets": {}}, components=["naive", "ests"]))
    assert error.value.problems == [
        "components: 'ests' is no model of this config",
        "components: 'naive' cannot take its forecasts apart; leave it out",
    ]
