"""Stages on a real Spark session and Delta: the numbers of the local API, whatever the cut of the work."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chispa import assert_df_equality
from series_table import START, history, local_batch, record, write_series

from forecasting import Bounds, SeriesBatch, fit, forecast
from jobs.backtest import backtest
from jobs.forecast import forecast as forecast_job
from udfs import runs
from udfs.config import Config, load_config
from udfs.errors import InputError, ThresholdError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
H, LENGTH = 7, 90
NOT_COMPARED = ("run_id", "seconds", "unit", "bucket", "step_statistics")
"""What depends on the run, its clock, and how its work was cut."""


def results(lake: Lake, run_id: str) -> DataFrame:
    from pyspark.sql import functions as F

    rows = lake.read("results").where(F.col("run_id") == run_id)
    return rows.select(*(c for c in rows.columns if c not in NOT_COMPARED))


def assert_same(left: DataFrame, right: DataFrame) -> None:
    assert_df_equality(left, right, ignore_row_order=True, allow_nan_equality=True)


def items(n: int, length: int = LENGTH) -> list[dict[str, Any]]:
    return [record(f"i{k:02d}", history(k, length)) for k in range(n)]


def by_key(rows: DataFrame, *columns: str) -> dict[Any, Any]:
    return {tuple(r[c] for c in ("item_id", "model", "window")): r for r in rows.select("*", *columns).collect()}


@pytest.fixture
def ran(spark: SparkSession, make_config: MakeConfig) -> Callable[..., tuple[Config, Lake, runs.Run]]:
    """Write series, backtest them."""

    def run(records: Sequence[dict[str, Any]], options: dict[str, Any] | None = None, **sections: Any) -> Any:
        config = load_config(make_config(**sections))
        lake = write_series(spark, config, records)
        return config, lake, backtest(config, spark, **(options or {}))

    return run


def test_backtest_is_the_local_result_bit_for_bit(ran: Any) -> None:
    records = items(20)
    sections = {"models": {"naive": {}, "seasonal_naive": {}, "npts": {}}, "bounds": {"lower": 45.0}, "seed": 11}
    seen: list[tuple[int, int]] = []
    config, lake, run = ran(records, {"on_progress": lambda done, total: seen.append((done, total))}, **sections)
    rows = by_key(results(lake, run.run_id))
    assert len(rows) == 20 * 3 * 2
    batch = local_batch(config, records)
    ends = np.tile([LENGTH - H, LENGTH - 2 * H], (20, 1))
    for model in config.models:
        local = fit(batch, model, ends, seed=11).predict(H, config.quantiles, bounds=Bounds(lower=45.0))
        for i, item in enumerate(records):
            for w in range(2):
                row = rows[item["item_id"], model, w + 1]
                assert row["mean"] == local.mean[i, w].tolist()
                assert row["quantiles"] == local.quantiles[i, w].ravel().tolist()
                assert row["forecast_start"] == START + timedelta(days=LENGTH - (w + 1) * H)
                assert (row["status"], row["reason"]) == ("ok", "")
                assert (row["n_obs"], row["n_clipped"]) == (local.n_obs[i, w], local.n_clipped[i, w])
                actual = np.array(item["target"])[LENGTH - (w + 1) * H :][:H]
                np.testing.assert_array_equal(row["actuals"], actual)
                visible = np.array(item["target"])[: LENGTH - (w + 1) * H]
                scale = np.nanmean(np.abs(visible[7:] - visible[:-7]))
                assert row["mase_scale"] == pytest.approx(scale, rel=1e-12)
                assert row["states"] is None
    assert seen == [(0, 20), (20, 20)]
    assert run.state == runs.RUNNING
    assert run.counts["series"] == 20
    assert run.counts["backtest_ok"] == 120
    assert run.core_seconds is not None
    assert run.core_seconds > 0
    stored = runs.get(lake, run.run_id)
    assert json.loads(stored.config)["horizon"] == H
    assert stored == run


def test_the_cut_of_the_work_changes_nothing(ran: Any, spark: SparkSession, tmp_path: Any) -> None:
    records = [*items(30), record("short", [3.0]), record("none", [])]
    settings = {"models": {"naive": {}, "npts": {}}, "seed": 3}
    before = spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch")
    _, lake, run = ran(records, **settings)
    seen: list[int] = []
    other = {"path": str(tmp_path / "other"), "buckets": 3}
    _, fine_lake, fine = ran(
        records[::-1],
        {"on_progress": lambda d, _: seen.append(d)},
        lake=other,
        limits={"unit_seconds": 1e-3},
        **settings,
    )
    assert len(run.plan.stages["backtest"]) == 1
    assert len(fine.plan.stages["backtest"]) > 8  # more than a wave
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == 32
    assert_same(results(lake, run.run_id), results(fine_lake, fine.run_id))
    assert fine_lake.version("results") == len(seen) - 1  # made, then a commit a wave
    assert spark.conf.get("spark.sql.execution.arrow.maxRecordsPerBatch") == before


def test_global_and_per_series_starts_with_fill(ran: Any, tmp_path: Any) -> None:
    late = START + timedelta(days=30)
    records = [record("whole", history(1, 60)), record("ended", history(2, 30)), record("new", history(3, 30), late)]
    fill = {"target": {"middle": "zero", "back": "zero"}}
    _config, lake, run = ran(records, fill=fill, models={"naive": {}}, backtest={"windows": 1})
    rows = by_key(results(lake, run.run_id))
    starts = {key[0]: row["forecast_start"] for key, row in rows.items()}
    assert set(starts.values()) == {START + timedelta(days=53)}
    ended = rows["ended", "naive", 1]
    assert ended["mean"] == [0.0] * H
    assert ended["n_filled"] == 23 + np.isnan(records[1]["target"]).sum()
    assert np.isnan(ended["actuals"]).all()  # filled, not observed
    own = {"path": str(tmp_path / "own"), "buckets": 2}
    _, own_lake, per = ran(
        records, models={"naive": {}}, backtest={"windows": 1}, forecast_start="per_series", lake=own
    )
    rows = by_key(results(own_lake, per.run_id))
    assert rows["ended", "naive", 1]["forecast_start"] == START + timedelta(days=23)
    assert rows["new", "naive", 1]["forecast_start"] == late + timedelta(days=23)
    scored = {"path": str(tmp_path / "scored"), "buckets": 2}
    _, scored_lake, run = ran(
        records,
        fill=fill,
        models={"naive": {}},
        backtest={"windows": 1},
        evaluation={"score_filled": True},
        lake=scored,
    )
    assert by_key(results(scored_lake, run.run_id))["ended", "naive", 1]["actuals"] == [0.0] * H


def test_segments_dimensions_metadata_and_a_users_model_with_related_series(ran: Any) -> None:
    price = [float(k) for k in range(LENGTH + H)]
    records = [
        record("a", history(1, LENGTH), store="s1", metadata=("red",), related=(price, price)),
        record("b", history(2, LENGTH), store="s1", metadata=("blue",), related=(price, price)),
        record("b", history(3, LENGTH), store="s2", metadata=(None,), related=(price, price)),
    ]
    _config, lake, run = ran(
        records,
        dimensions=["store"],
        data={
            "target": {"path": "t"},
            "related": [{"path": "r", "series": {"price": {"known_in_future": True}, "traffic": {}}}],
            "items": [{"path": "i", "attributes": ["colour"]}],
        },
        models={"naive": {}},
        segments=[
            {"name": "reds", "where": {"colour": "red"}, "models": {"user_models:price_ahead": {"scale": 2.0}}},
            {"name": "store", "where": {"store": ["s2", "s3"], "item_id": "b"}, "models": {"seasonal_naive": {}}},
        ],
        backtest={"windows": 1},
    )
    rows = results(lake, run.run_id).collect()
    assert {(r["item_id"], r["store"]): r["model"] for r in rows} == {
        ("a", "s1"): "user_models:price_ahead", ("b", "s1"): "naive", ("b", "s2"): "seasonal_naive"
    }  # fmt: skip
    first = next(r for r in rows if r["item_id"] == "a")
    assert first["mean"] == [2.0 * p for p in price[LENGTH - H : LENGTH]]
    assert (first["status"], first["reason"]) == ("ok", "")


def test_models_by_class_of_demand_and_lifecycle(ran: Any) -> None:
    records = [
        record("steady", history(1, LENGTH), demand_class="smooth"),
        record("rare", [float(t % 5 == 0) for t in range(LENGTH)], demand_class="intermittent"),
        record("fresh", history(2, LENGTH), demand_class="smooth", lifecycle="new"),
        record("old_lake", history(3, LENGTH)),
    ]
    segments = [
        {"name": "fresh", "where": {"lifecycle": "new"}, "models": {"mean": {}}},
        {"name": "rare", "where": {"demand_class": ["intermittent", "lumpy"]}, "models": {"croston_sba": {}}},
    ]
    _, lake, run = ran(records, segments=segments, models={"seasonal_naive": {}})
    tried = {(r["item_id"], r["model"]) for r in results(lake, run.run_id).collect()}
    assert tried == {
        ("steady", "seasonal_naive"), ("rare", "croston_sba"), ("fresh", "mean"), ("old_lake", "seasonal_naive"),
    }  # fmt: skip


def test_a_poisoned_series_falls_back_and_the_threshold_is_told(ran: Any) -> None:
    records = [*items(19, 30), record("poison", [13.0] * 30)]
    sections = {"models": {"user_models:chokes_on_13": {}}, "backtest": {"windows": 1}}
    _, lake, run = ran(records, **sections)
    rows = by_key(results(lake, run.run_id))
    poisoned = rows["poison", "user_models:chokes_on_13", 1]
    assert poisoned["status"] == "fallback"
    assert "13 is in the data" in poisoned["reason"]
    assert poisoned["mean"] == [13.0] * H
    assert run.counts["backtest_fallback"] == 1
    with pytest.raises(ThresholdError, match="1 of 20 series"):
        ran(records, limits={"max_failed_share": 0.04}, **sections)
    assert len(runs.newest(lake)) == 2


def test_forecast_runs_the_chosen_model_once(ran: Any, spark: SparkSession) -> None:
    records = items(12)
    config, lake, run = ran(records, models={"naive": {}, "npts": {}}, backtest={"windows": 1}, seed=5)
    with pytest.raises(InputError, match="no run of this config has chosen models"):
        forecast_job(config, spark)
    lake.ensure("selection")
    chosen = {r["item_id"]: ("naive", "npts")[k % 2] for k, r in enumerate(records)}
    picks = [
        {"run_id": run.run_id, "item_id": i, "model": m, "metric": "mean_wQL", "reason": "best", "bucket": 0}
        for i, m in chosen.items()
    ]
    selection = lake.rows("selection", picks).withColumn("bucket", lake.bucket(4))
    lake.replace("selection", selection, {"run_id": run.run_id})
    done = forecast_job(config, spark)
    assert (done.run_id, done.state, done.published) == (run.run_id, runs.FINISHED, True)
    rows = {r["item_id"]: r for r in results(lake, run.run_id).where("stage = 'forecast'").collect()}
    assert {i: r["model"] for i, r in rows.items()} == chosen
    batch = local_batch(config, records)
    local = {m: forecast(batch, m, H, config.quantiles, seed=5) for m in config.models}
    numbers = fit(batch, "naive", seed=5).numbers
    for i, item in enumerate(records):
        row, mine = rows[item["item_id"]], local[chosen[item["item_id"]]]
        assert row["mean"] == mine.mean[i].tolist()
        assert row["quantiles"] == mine.quantiles[i].ravel().tolist()
        assert row["window"] == 0
        assert row["forecast_start"] == START + timedelta(days=LENGTH)
        assert row["actuals"] is None
        if row["model"] == "naive":
            assert row["parameters"] == numbers.parameters[i].tolist()
            assert row["states"] == numbers.states[numbers.state_offsets[i] : numbers.state_offsets[i + 1]].tolist()
    wide = lake.read("forecasts").where(f"run_id = '{run.run_id}'")
    assert wide.count() == 12 * H
    version = lake.version("results")
    assert forecast_job(config, spark).run_id == run.run_id  # nothing new: nothing to do
    assert lake.version("results") == version
    longer = [record(r["item_id"], [*r["target"], 50.0]) for r in records] + [record("new", history(99, 20))]
    write_series(spark, config, longer)
    fresh = forecast_job(config, spark)  # newer data: a run of its own, by the same selection
    assert fresh.run_id != run.run_id
    again = {r["item_id"]: r for r in results(lake, fresh.run_id).collect()}
    assert {i: again[i]["model"] for i in chosen} == chosen
    assert again["new"]["model"] == "naive"
    assert {r["forecast_start"] for r in again.values()} == {START + timedelta(days=LENGTH + 1)}
    assert [r["run_id"] for r in lake.read("runs").where("published").collect()] == [fresh.run_id]
    fixed = forecast_job(config, spark, model="seasonal_naive", items=["i03"])
    assert [r["model"] for r in results(lake, fixed.run_id).collect()] == ["seasonal_naive"]


def test_limits_name_series_and_mistakes_are_told(ran: Any, spark: SparkSession, make_config: MakeConfig) -> None:
    records = [record(f"i{k}", history(k, 30), store="s/1") for k in range(4)]
    records.append(record("i0", history(9, 45), store="s2"))
    options = {"where": "item_id > 'i0' AND store = 's/1'", "items": ["i1/s/1", "i0/s2", "i2/s/1"]}
    config, lake, run = ran(records, options, dimensions=["store"], models={"naive": {}}, backtest={"windows": 1})
    rows = results(lake, run.run_id).collect()
    assert sorted((r["item_id"], r["store"]) for r in rows) == [("i1", "s/1"), ("i2", "s/1")]
    assert {r["forecast_start"] for r in rows} == {START + timedelta(days=45 - H)}  # the end of all series
    for wrong, message in (
        ({"where": "item_id ="}, "cannot be used"),
        ({"where": "target IS NULL"}, "key columns item_id, store"),
        ({"where": "concat(item_id, store)"}, "not true or false"),
        ({"where": "item_id = 'nobody'"}, "no series meets"),
        ({"items": ["i1/s/1", "nobody/s2"]}, "1 of 2 items are not in the lake: nobody/s2"),
        ({"run_id": run.run_id}, "exists already"),
        ({"run_id": run.run_id, "resume": True}, "other limits"),
    ):
        with pytest.raises(InputError, match=message):
            backtest(config, spark, **wrong)
    with pytest.raises(InputError, match="cut off 49 periods"):
        backtest(config, spark, overrides=["backtest.windows=7"])
    with pytest.raises(InputError, match="another config"):
        backtest(config, spark, run_id=run.run_id, resume=True, overrides=["seed=1"])
    with pytest.raises(InputError, match="no series yet"):
        backtest(make_config(lake={"path": str(lake.place.path) + "_empty"}), spark)
    assert len(runs.newest(lake)) == 1


def test_a_history_in_pieces_is_joined(ran: Any, tmp_path: Any) -> None:
    whole = items(5)
    cut = 40
    parts = [
        record(r["item_id"], r["target"][:cut], START) for r in whole
    ] + [
        record(r["item_id"], r["target"][cut:], START + timedelta(days=cut), segment=1) for r in whole[:4]
    ] + [record("i04", whole[4]["target"][cut:], START + timedelta(days=cut), segment=1)]  # fmt: skip
    _, lake, run = ran(whole, models={"naive": {}})
    other = {"path": str(tmp_path / "pieces"), "buckets": 4}
    _, pieces, joined = ran(parts, models={"naive": {}}, lake=other)
    assert joined.plan.pieces
    assert joined.plan.n_series == 5
    assert_same(results(lake, run.run_id), results(pieces, joined.run_id))


def test_months_are_cut_on_the_calendar(ran: Any) -> None:
    records = [record("a", history(1, 30), datetime(2021, 1, 31)), record("b", history(2, 24), datetime(2021, 1, 31))]
    config, lake, run = ran(records, frequency="ME", horizon=3, models={"naive": {}}, backtest={"windows": 1})
    rows = results(lake, run.run_id).collect()
    assert {r["forecast_start"] for r in rows} == {datetime(2023, 4, 30)}
    assert run.plan.end - run.plan.start == 29
    assert isinstance(local_batch(config, records), SeriesBatch)
