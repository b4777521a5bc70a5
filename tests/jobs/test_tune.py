"""Tuning on Spark: the same trials as without it, resumed, and its settings compete in the next run."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from rich.console import Console
from series_table import local_batch, record, write_series

from forecasting import forecast as local_forecast
from forecasting.evaluation.metrics import mase_scale
from forecasting.evaluation.search import Budget, search
from forecasting.evaluation.search_sample import Sample
from forecasting.evaluation.windows import BacktestPlan, backtest_windows
from jobs.backtest import backtest
from jobs.estimate import estimate
from jobs.estimate import render as render_estimate
from jobs.forecast import forecast
from jobs.select import select
from jobs.tune import render, tune
from udfs import tuning as module
from udfs.config import load_config
from udfs.errors import InputError
from udfs.work import waves

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytest.importorskip("optuna", reason="the extra tune")
pytestmark = pytest.mark.spark
TRIALS = 9
NORTH, SOUTH = 9, 5


def jumped(seed: int, length: int = 160) -> list[float]:
    """A level of 10 that went to 50 a month before the end."""
    rng = np.random.default_rng(seed)
    return [float(v) for v in np.concatenate([rng.normal(10, 1, length - 32), rng.normal(50, 1, 32)])]


@pytest.fixture
def content(make_config: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    return make_config(
        dimensions=["store"],
        models={"mean": {}, "naive": {}},
        segments=[
            {"name": "south", "where": {"store": "s"}, "models": {"empirical": {}}},
            {"name": "nowhere", "where": {"store": "x"}, "models": {"tsb": {}}},
        ],
        selection={"mode": "best_per_series"},
        calibration={"method": "none"},
        backtest={"windows": 3},
        tuning={"trials": TRIALS, "sample": 6},
        seed=3,
    )


def records() -> list[dict[str, Any]]:
    return [
        *(record(f"i{k}", jumped(k), store="n") for k in range(NORTH)),
        *(record(f"i{k}", jumped(50 + k), store="s") for k in range(SOUTH)),
    ]


def test_a_tuning_and_its_effect(spark: SparkSession, content: dict[str, Any]) -> None:
    config = load_config(content)
    lake = write_series(spark, config, records())
    with pytest.raises(InputError, match="run `almanac tune` first"):
        backtest(config, spark)
    seen: list[tuple[int, int]] = []
    made = tune(config, spark, on_progress=lambda *done: seen.append(done))
    assert seen[0] == (0, 3)
    assert seen[-1] == (3, 3)
    south, nowhere, north = made.found
    assert [(f.segment, f.model) for f in made.found] == [("south", "empirical"), ("nowhere", "tsb"), ("", "mean")]
    assert (nowhere.trials, nowhere.chosen, nowhere.reason) == (1, None, "no_scored_points")
    assert south.trials == north.trials == TRIALS
    assert north.chosen is not None
    assert north.gain is not None
    assert north.gain > 0.5
    rows = lake.read("hpo_trials").collect()
    assert {(r["segment"], r["n_series"]) for r in rows} == {("south", SOUTH), ("nowhere", 0), ("", 6)}
    assert sum(r["chosen"] for r in rows) == sum(f.chosen is not None for f in made.found)

    # Spark makes the trials that a plain call makes of the same series.
    mine = [r for r in records() if r["store"] == "s"]
    batch = local_batch(config, sorted(mine, key=lambda r: r["item_id"]))
    windows = backtest_windows(batch, BacktestPlan(config.horizon, 3))
    first = np.broadcast_to(batch.offsets[:-1, None], windows.ends.shape)
    scale = mase_scale(batch.values, first, first + windows.ends, 7)
    sample = Sample(batch, windows.ends, windows.actuals(batch), scale)
    budget = Budget(TRIALS)
    plain = search(sample, "empirical", {}, quantiles=config.quantiles, budget=budget, study="south", seed=3)
    stored = sorted((r for r in rows if r["segment"] == "south"), key=lambda r: r["trial"])
    assert [json.loads(r["hyperparameters"]) for r in stored] == [t.hyperparameters for t in plain]
    assert [r["loss"] for r in stored] == [t.loss for t in plain]

    run = backtest(config, spark)
    assert run.plan.tuning == made.run_id
    models = {(r["store"], r["model"]) for r in lake.read("results").select("store", "model").distinct().collect()}
    tuned = {("s", "empirical+tuned")} if south.chosen is not None else set()
    assert models == {("n", "mean"), ("n", "naive"), ("n", "mean+tuned"), ("s", "empirical")} | tuned
    tune(config, spark, overrides=("tuning.trials=1",))  # a newer tuning, which finds nothing, is not this run's
    assert backtest(config, spark, resume=True).run_id == run.run_id
    select(config, spark, run_id=run.run_id)
    chosen = lake.read("selection").where("store = 'n'").collect()
    assert {r["model"] for r in chosen} == {"mean+tuned"}
    done = forecast(config, spark)
    assert done.run_id == run.run_id
    row = lake.read("forecasts").where("item_id = 'i2' AND store = 'n' AND step = 1").first()
    assert row is not None
    own = local_forecast(local_batch(config, records()[2:3]), "mean", config.horizon, config.quantiles, **north.chosen)
    assert (row["model"], row["p50"]) == ("mean+tuned", own.quantiles[0, 0, 1])

    longer = [record(r["item_id"], [*r["target"], 50.0], store=r["store"]) for r in records()]
    write_series(spark, config, longer)  # forecast again on newer data, by the same selection and tuning
    again = forecast(config, spark)
    assert again.run_id != run.run_id
    assert again.plan.tuning == made.run_id
    newest = lake.read("forecasts").where(f"run_id = '{again.run_id}' AND store = 'n'").select("model").distinct()
    assert [r["model"] for r in newest.collect()] == ["mean+tuned"]

    out = StringIO()
    render(made, Console(file=out, width=200))
    assert "mean" in out.getvalue()
    assert f"window_length {north.chosen['window_length']}" in out.getvalue()


def test_a_dry_run_counts_what_the_tuning_found(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]]
) -> None:
    content = make_config(
        data={"target": {}},
        models={"mean": {}, "naive": {}},
        backtest={"windows": 3},
        tuning={"trials": TRIALS},
        seed=3,
    )
    rows = [record(f"i{k}", jumped(k)) for k in range(NORTH)]
    points = [(r["item_id"], r["start"] + timedelta(days=t), y) for r in rows for t, y in enumerate(r["target"])]
    target = spark.createDataFrame(points, "item_id string, timestamp timestamp_ntz, target double")
    before = estimate(content, spark, target=target)
    assert (list(before.seconds), before.tuned, before.untuned) == (["mean", "naive"], {}, True)
    config = load_config(content, frames=True)
    write_series(spark, config, rows)
    chosen = tune(config, spark).found[0].chosen
    assert chosen is not None
    after = estimate(content, spark, target=target)
    assert list(after.seconds) == ["mean", "naive", "mean+tuned"]
    assert (after.tuned, after.untuned) == ({"mean+tuned": chosen}, False)
    for made, sentence in (
        (before, "a tuning would come first"),
        (after, f"mean+tuned, found by a tuning: window_length {chosen['window_length']}"),
    ):
        out = StringIO()
        render_estimate(made, Console(file=out, width=200))
        assert sentence in out.getvalue()


def test_a_tuning_that_was_cut_off_is_resumed(
    spark: SparkSession, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(content)
    lake = write_series(spark, config, records())
    monkeypatch.setattr(module, "waves", lambda units, cores: [(unit,) for unit in units])

    def cut_off(done: int, of: int) -> None:
        if done == 2:  # the segment without series, and one search
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(config, spark, on_progress=cut_off)
    half = lake.read("hpo_trials").collect()
    assert len({r["model"] for r in half}) == 2
    with pytest.raises(InputError, match="almanac tune"):  # what is not finished is not used
        backtest(config, spark)
    monkeypatch.setattr(module, "waves", waves)
    write_series(spark, config, records()[:-1])  # new data meanwhile
    resumed = tune(config, spark, resume=True)
    whole = lake.read("hpo_trials").collect()
    assert {r["run_id"] for r in whole} == {resumed.run_id} == {r["run_id"] for r in half}
    assert len({r["series_version"] for r in whole}) == 1
    assert all(row in whole for row in half)
    assert len(whole) == 2 * TRIALS + 1
    version = lake.version("hpo_trials")
    tune(config, spark, resume=True, run_id=resumed.run_id)
    assert lake.version("hpo_trials") == version
    with pytest.raises(InputError, match="exists already"):
        tune(config, spark, run_id=resumed.run_id)
    with pytest.raises(InputError, match="another config"):
        tune(config, spark, run_id=resumed.run_id, resume=True, overrides=("tuning.trials=2",))


def test_what_is_missing_is_said(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no section tuning"):
        tune(make_config(), spark)
    content = make_config(models={"mean": {}}, tuning={})
    with pytest.raises(InputError, match="the lake holds no series yet"):
        tune(content, spark)
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'almanac\[tune\]'"):
        tune(content, spark)
