"""Fitted numbers in the lake: a second run with newer data goes on from them, chosen model by chosen model."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from series_table import START, history, local_batch, record, write_series

from forecasting import SeriesBatch, fit
from forecasting.models.registry import get_model
from jobs.forecast import forecast
from udfs import runs
from udfs.config import load_config
from udfs.config.load import ConfigError, config_hash
from udfs.derive_parameters import find_start
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.views import register_views
from udfs.work import RunPlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H, N, BEFORE, NOW = 7, 8, 70, 80


def items(length: int, n: int = N) -> list[dict[str, Any]]:
    return [record(f"i{k}", history(k, NOW)[:length]) for k in range(n)]


def by_item(lake: Lake, run_id: str) -> dict[str, Any]:
    rows = lake.read("results").where(f"run_id = '{run_id}' AND stage = 'forecast'")
    return {row["item_id"]: row for row in rows.collect()}


def test_a_second_run_goes_on_from_the_first(spark: SparkSession, make_config: Callable[..., dict[str, Any]]) -> None:
    config = load_config(make_config(models={"ets": {}, "seasonal_naive": {}}, backtest={"windows": 1}, seed=5))
    lake = write_series(spark, config, items(BEFORE))
    lake.ensure("selection", "runs")
    plan = RunPlan("D", 0, BEFORE - 1, 4, False, N, float(BEFORE))
    first = runs.new_run(config, plan, {"series": lake.version("series")}, "first")
    runs.create(lake, first)
    chosen = {f"i{k}": ("ets", "seasonal_naive")[k % 2] for k in range(N)}
    picks = [
        {"run_id": "first", "item_id": i, "model": m, "metric": "mean_wQL", "reason": "best", "bucket": 0}
        for i, m in chosen.items()
    ]
    lake.replace("selection", lake.rows("selection", picks).withColumn("bucket", lake.bucket(4)), {"run_id": "first"})
    assert forecast(config, spark).run_id == "first"

    before = {m: fit(local_batch(config, items(BEFORE)), m, seed=5) for m in config.models}
    table = {row["item_id"]: row for row in lake.read("parameters").collect()}
    for k, (item, model) in enumerate(chosen.items()):
        row, numbers = table[item], before[model].numbers
        np.testing.assert_array_equal(row["parameters"], numbers.parameters[k])
        assert row["names"] == list(get_model(model).parameter_names)
        assert (row["season_length"], row["n_obs"]) == (7, int(np.isfinite(history(k, NOW)[:BEFORE]).sum()))
        assert row["fitted_start"] == START
        assert row["fitted_end"] == START + timedelta(days=BEFORE - 1)
    register_views(spark, lake, prefix="p_")
    long = spark.table("p_parameter_values").where("item_id = 'i1'").collect()
    assert [(row["model"], row["name"], row["value"]) for row in long] == [
        ("seasonal_naive", "sigma", before["seasonal_naive"].numbers.parameters[1, 0])
    ]

    newer = items(NOW, N + 1)
    write_series(spark, config, newer)
    batch = local_batch(config, newer[:N])
    with pytest.raises(ConfigError, match="set refit: warm or never"):
        forecast(config, spark, overrides=["parameters_from=first"])
    with pytest.raises(InputError, match="no run 'nobody'"):
        forecast(config, spark, overrides=["refit=never", "parameters_from=nobody"])
    never = forecast(config, spark, overrides=["refit=never"])
    assert never.run_id != "first"
    assert (never.plan.refit, never.plan.parameters_from, never.published) == ("never", "first", True)
    assert never.counts["refit_never"] == N
    assert never.counts["refit_full_no_stored_parameters"] == 1
    check(lake, never.run_id, batch, chosen, {m: f.update(batch) for m, f in before.items()}, "never")

    # From the named run, not from the newer published one; cut off before any work, it goes on from what it was
    # pinned to although `parameters` has changed since.
    with pytest.raises(InterruptedError):
        forecast(config, spark, overrides=["refit=warm", "parameters_from=first"], on_progress=cut_off)
    nothing = lake.read("parameters").where("run_id = 'none'")
    lake.replace("parameters", nothing, {"run_id": ["first", never.run_id]})
    warm = forecast(config, spark, overrides=["refit=warm", "parameters_from=first"])
    assert len(runs.newest(lake)) == 3
    check(lake, warm.run_id, batch, chosen, {m: f.refit(batch) for m, f in before.items()}, "warm")
    assert warm.config_hash == config_hash(config)

    # Rows of `parameters` that were deleted are made again from `results`.
    lake.replace("parameters", nothing, {"run_id": warm.run_id})
    start = find_start(lake, load_config(config, ["refit=never"]))
    assert (start.run_id, start.version) == (warm.run_id, lake.version("parameters"))
    assert lake.read("parameters").where(f"run_id = '{warm.run_id}'").count() == N + 1


def cut_off(done: int, total: int) -> None:
    """Ends a run before its first series is done."""
    del done, total
    raise InterruptedError


def check(
    lake: Lake, run_id: str, batch: SeriesBatch, chosen: dict[str, str], fits: dict[str, Any], refit: str
) -> None:
    """Bit for bit what the local API gives; the new series is fitted anew."""
    rows = by_item(lake, run_id)
    assert len(rows) == len(chosen) + 1
    for k, (item, model) in enumerate(chosen.items()):
        row, expected = rows[item], fits[model].predict(H)
        assert (row["model"], row["refit"]) == (model, refit)
        assert row["mean"] == expected.mean[k].tolist()
        assert row["quantiles"] == expected.quantiles[k].ravel().tolist()
    assert rows[f"i{N}"]["refit"] == "full: no_stored_parameters"
    assert len(batch) == len(chosen)
