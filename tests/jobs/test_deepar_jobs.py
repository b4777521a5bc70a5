"""The global model's jobs without Spark: series read and joined, train, resume, predict; and Spark reads the rows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deepar_lake import CUT, DAYS, H, changed, config_of, rows_of, truth, values, with_run, written
from series_table import history, record, write_series

deltalake = pytest.importorskip("deltalake")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.backtest import backtest  # noqa: E402
from jobs.forecast import forecast  # noqa: E402
from jobs.predict_deepar import check_unseen, predict  # noqa: E402
from jobs.select import select  # noqa: E402
from jobs.train_deepar import CHECKPOINT, train, training_set  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.deep_source import find_run, open_source  # noqa: E402
from udfs.delta_files import open_table  # noqa: E402
from udfs.errors import InputError  # noqa: E402
from udfs.lake import Lake  # noqa: E402
from udfs.packed_series import METADATA_PREFIX  # noqa: E402

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("one_torch_thread")
ROOT = Path(__file__).resolve().parents[2]
FIRST = np.datetime64("2024-01-01")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return written(tmp_path_factory.mktemp("deepar"))


@pytest.fixture(scope="module")
def honest(config: Config) -> Any:
    return train(config, before_backtests=True)


def results(config: Config, run_id: str = "first") -> dict[tuple[str, str, int, str], str]:
    """The rows, but for the time they took."""
    rows = [row for row in rows_of(config, "results_deepar") if row["run_id"] == run_id]
    found = {(r["stage"], r["item_id"], r["window"], r["model"]): repr({**r, "seconds": 0}) for r in rows}
    assert len(found) == len(rows)
    return found


def test_pieces_are_joined(config: Config) -> None:
    held = open_source(config).series
    assert held.facts["item_id"].to_pylist() == sorted([*truth(), "young", "never"])
    for item, (target, price) in truth().items():
        np.testing.assert_array_equal(values(held, "target", item), target)
        np.testing.assert_array_equal(values(held, "price", item), price)
    assert len(values(held, "target", "never")) == len(values(held, "price", "young")) == 0
    np.testing.assert_array_equal(values(held, "price", "never"), [2.0] * H)
    names = held.facts["item_id"].to_pylist()
    assert held.facts[METADATA_PREFIX + "region"][names.index("i01")].as_py() == "north"
    days = held.start.astype("M8[us]").astype("M8[D]")
    assert days[names.index("i00")] == FIRST
    assert days[names.index("young")] == FIRST + DAYS - 2
    part = held.only(np.array([name in ("i03", "young") for name in names]))
    np.testing.assert_array_equal(values(part, "target", "young"), [7.0, 9.0])
    np.testing.assert_array_equal(values(part, "target", "i03"), truth()["i03"][0])


def test_an_older_version_is_read(config: Config) -> None:
    older = open_source(config, version=0)
    target, price = truth()["i00"]
    np.testing.assert_array_equal(values(older.series, "target", "i00"), target[: DAYS - CUT])
    np.testing.assert_array_equal(values(older.series, "price", "i00"), [*price[: DAYS - CUT], 99.0, 99.0])
    assert open_source(config).end - older.end == CUT
    with pytest.raises(InputError, match="version 999"):
        open_source(config, version=999)


def test_the_training_set_is_filled_and_ends_before_the_backtests(config: Config) -> None:
    source = open_source(config, run=find_run(config, None))
    batch, metadata, ends = training_set(source, True)
    names = list(batch.keys)
    assert ends is not None
    assert ends[names.index("i00")] == DAYS - 2 * H
    assert ends[names.index("never")] == ends[names.index("young")] == 0
    south, north = (batch.values[batch.offsets[names.index(i)] + 5] for i in ("i00", "i01"))
    assert (south, north) == (0.0, 1.0), "each by the fill rules of its group"
    assert metadata.categories["region"][names.index("never")] == "west"
    assert np.isnan(np.asarray(metadata.numbers["area"])[names.index("never")])
    assert np.asarray(metadata.numbers["area"])[names.index("i07")] == 107
    assert batch.holidays is not None
    assert any(name.startswith("Martin Luther King") for name in batch.holidays.base)
    whole, _, everything = training_set(source, False)
    assert everything is None
    assert whole.lengths[names.index("i00")] == DAYS


def test_a_model_is_trained_and_registered(config: Config, honest: Any) -> None:
    found = next(row for row in rows_of(config, "models") if row["model_id"] == honest.model_id)
    assert found["n_series"] == 14
    assert found["left_out"] == 2 * H
    assert np.datetime64(found["trained_to"]) == FIRST + DAYS - 1 - 2 * H
    assert found["metrics"]["epochs"] == 2
    assert found["metrics"]["windows"] == 2 * 3 * 8
    assert found["windows_per_second"] > 0
    assert json.loads(found["settings"])["num_cells"] == 6
    assert (honest.folder / "weights.safetensors").exists()
    assert not (honest.folder.parent / CHECKPOINT).exists()


def test_an_interrupted_training_goes_on_as_if_it_had_not_been(config: Config, tmp_path: Path) -> None:
    place = tmp_path / "models"
    apart = changed(config, models=str(place))
    straight = train(apart)

    def stop(progress: Any, epochs: int) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(apart, on_epoch=stop)
    assert (place / CHECKPOINT).exists()
    with pytest.raises(InputError, match="without --before-backtests"):
        train(apart, before_backtests=True, resume=True)
    resumed = train(apart, resume=True)
    assert (straight.resumed, resumed.resumed) == (0, 1)
    assert (resumed.folder / "weights.safetensors").read_bytes() == (
        straight.folder / "weights.safetensors"
    ).read_bytes()
    assert resumed.row["metrics"] == straight.row["metrics"]
    (place / CHECKPOINT).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="delete it"):
        train(apart, resume=True)


def test_a_training_killed_before_its_row_was_written_leaves_one_model_and_one_row(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = changed(config, models=str(tmp_path / "models"))
    with monkeypatch.context() as patched:
        patched.setattr("jobs.train_deepar.replace_rows", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            train(apart)
    folders = [f.name for f in (tmp_path / "models").iterdir() if f.is_dir()]
    assert train(apart, resume=True).model_id == folders[0]
    assert [f.name for f in (tmp_path / "models").iterdir()] == folders
    assert sum(row["model_id"] == folders[0] for row in rows_of(config, "models")) == 1


def test_forecasts_join_the_run_and_a_second_time_adds_nothing(config: Config, honest: Any) -> None:
    done = predict(config, model=honest.model_id, backtest=True)
    assert done.run_id == "first"
    before = results(config)
    assert len(before) == 14 + 14 * 2 + 1
    assert ("backtest", "young", 1, "deepar+cold") in before, (
        "what cold start is compared on: it began in that horizon"
    )
    again = predict(config, model=str(honest.folder), backtest=True)
    assert again.version > done.version
    assert results(config) == before
    assert again.rows == done.rows
    assert done.rows["backtest", "skipped"] == 4, "what local models are too short for is left out here too"
    rows = rows_of(config, "results_deepar")
    for row in rows:
        item, window, step = row["item_id"], row["window"], row["forecast_start"]
        assert (row["run_id"], row["model_id"], row["series_version"]) == ("first", honest.model_id, 1)
        assert np.datetime64(step) == FIRST + DAYS - H * window
        assert row["seconds"] > 0
        if row["status"] == "skipped":
            continue
        assert len(row["mean"]) == H
        assert len(row["quantiles"]) == 3 * H
        assert min(row["quantiles"]) >= 0
        if row["stage"] == "backtest":
            whole = [*[np.nan] * (DAYS - 2), 7.0, 9.0] if item == "young" else truth()[item][0]
            expected = np.array(whole[DAYS - H * window :][:H])
            np.testing.assert_array_equal(row["actuals"], expected)  # a filled gap is no actual
    tests = [row for row in rows if row["stage"] == "backtest" and row["model"] == "deepar"]
    scored = [row for row in tests if row["status"] != "skipped"]
    actual = np.array([row["actuals"] for row in scored])
    middle = np.array([row["quantiles"][1::3] for row in scored])
    wape = np.nansum(np.abs(actual - middle)) / np.nansum(np.abs(actual))
    assert done.metrics["WAPE"] == pytest.approx(wape)
    assert done.metrics["coverage_p50"] == pytest.approx((actual <= middle).sum() / np.isfinite(actual).sum())
    # without backtests only the forecasts are replaced
    other = predict(changed(config, num_samples=10), model=honest.model_id, run_id="first")
    after = results(config)
    assert set(other.rows) == {("forecast", "ok")}
    assert not other.metrics
    assert after.keys() == before.keys()
    assert {k: v for k, v in after.items() if k[0] == "backtest"} == {
        k: v for k, v in before.items() if k[0] == "backtest"
    }


def test_todays_data_for_a_predictor(config: Config, honest: Any) -> None:
    done = predict(config, model=honest.model_id, predictor="first", run_id="tomorrow")
    assert done.run_id == "tomorrow"
    rows = [row for row in rows_of(config, "results_deepar") if row["run_id"] == "tomorrow"]
    assert {(row["stage"], row["series_version"]) for row in rows} == {("forecast", 1)}
    assert sorted(row["item_id"] for row in rows) == sorted([*truth(), "young", "never"])
    with pytest.raises(InputError, match="has no backtests"):
        predict(config, predictor="first", backtest=True)
    with pytest.raises(InputError, match="no run 'none'"):
        predict(config, predictor="none")
    with pytest.raises(InputError, match=r"made for horizon 4 .* asks for 3"):
        predict(config, predictor="first", overrides=["horizon=3"])


@pytest.mark.parametrize(("trained_to", "refused"), [(DAYS - 1 - 2 * H, False), (DAYS - 2 * H, True)])
def test_a_model_is_not_scored_on_what_it_has_seen(config: Config, trained_to: int, refused: bool) -> None:
    source = open_source(config, run=find_run(config, None))
    about = {"trained_to": str(FIRST + trained_to), "left_out": 0, "series_version": 1}
    if refused:
        with pytest.raises(InputError, match="would be flattered"):
            check_unseen(about, source)
    else:
        check_unseen(about, source)


def test_a_run_that_is_limited_to_items(honest: Any, tmp_path: Path) -> None:
    config = written(tmp_path)  # a lake that knows nothing of the model: it is given by its folder
    with_run(config, "some", items=("i02", "never"))
    done = predict(config, model=str(honest.folder))
    assert (done.run_id, done.model_id) == ("some", honest.model_id)
    assert sorted(row["item_id"] for row in rows_of(config, "results_deepar")) == ["i02", "never"]


def test_a_run_that_is_limited_by_a_condition(honest: Any, tmp_path: Path) -> None:
    config = written(tmp_path)
    with_run(config, "where", where="item_id LIKE 'i%'")
    with pytest.raises(InputError, match=r"item_id LIKE 'i%'.*has no rows yet.*--resume --run-id where"):
        predict(config, model=str(honest.folder))
    rows = {"run_id": ["where"] * 3 + ["other"], "item_id": ["i02", "i02", "young", "i05"], "bucket": [0, 0, 1, 1]}
    deltalake.write_deltalake(f"{config.lake.path}/results", pa.table(rows), partition_by=["run_id", "bucket"])
    predict(config, model=str(honest.folder))
    assert sorted(row["item_id"] for row in rows_of(config, "results_deepar")) == ["i02", "young"]


def test_what_cannot_be_done_is_said(config: Config, honest: Any, tmp_path: Path) -> None:
    seen = train(changed(config, epochs=1))
    with pytest.raises(InputError, match="--before-backtests"):
        predict(config, model=seen.model_id, run_id="first", backtest=True)
    with pytest.raises(InputError, match="there is no model 'other'"):
        predict(config, model="other")
    with pytest.raises(InputError, match="has no run"):
        predict(config, overrides=["seed=5"])
    with pytest.raises(InputError, match="no run 'second'"):
        predict(config, run_id="second")
    longer = config.model_copy(update={"horizon": H + 2})
    with_run(longer, "longer")
    with pytest.raises(InputError, match=f"the horizon is {H + 2}, the model was trained for at most {H}"):
        predict(longer, model=honest.model_id)
    empty = [f"lake.path={tmp_path / 'none'}"]
    for verb in (train, predict):
        with pytest.raises(InputError, match="is empty; run `almanac ingest`"):
            verb(config, overrides=empty)
    with pytest.raises(InputError, match=r"schema main\.deep of a catalog"):
        train(config_of(tmp_path, lake={"catalog": "main", "schema": "deep"}))
    with pytest.raises(InputError, match=r"the lake is s3a://bucket/lake: give deepar\.models"):
        train(config, overrides=["lake.path=s3a://bucket/lake/"])
    with pytest.raises(InputError, match=r"no metadata column 'colour'.*region, area"):
        config_of(tmp_path, deepar={"metadata": ["colour"]})
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="sees no GPU"):
            train(changed(config, device="cuda"))


def test_torch_that_is_missing_is_named(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.deepar_lake.find_spec", lambda name: None if name == "torch" else object())
    with pytest.raises(InputError, match=r"needs torch; install it: pip install 'almanac\[gpu\]'"):
        train(config)


def test_no_spark_is_loaded() -> None:
    code = "import sys, jobs.train_deepar, jobs.predict_deepar; assert not {'pyspark', 'py4j'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_deletion_vectors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deltalake.write_deltalake(str(tmp_path / "series"), pa.table({"x": [1]}))
    assert open_table(str(tmp_path), "series") is not None
    monkeypatch.setattr("udfs.delta_files._has_deletion_vectors", lambda table: True)
    with pytest.raises(InputError, match="REORG TABLE"):
        open_table(str(tmp_path), "series")


@pytest.mark.spark
def test_spark_reads_the_rows(config: Config, honest: Any, spark: SparkSession) -> None:
    predict(config, model=honest.model_id, run_id="first", backtest=True)
    lake = Lake.of(spark, config)
    for table in ("results_deepar", "models"):
        kinds = {f.name: f.dataType.simpleString() for f in lake.read(table).schema}
        assert kinds == {c.name: c.type.replace(", ", ",") for c in lake.schemas[table].columns}
        assert lake.read(table).count() == len(rows_of(config, table))
    rows = lake.read("results_deepar").where("run_id = 'first' AND stage = 'forecast' AND size(mean) = 4")
    assert rows.count() == 14


@pytest.mark.spark
def test_from_training_to_an_ensemble_of_some_series(spark: SparkSession, tmp_path: Path) -> None:
    more = {"models": {"naive": {}}, "selection": {"mode": "mean"}, "calibration": {"method": "none"}, "fill": {}}
    config = config_of(tmp_path, **more)
    place = {"region": "north", "area": "1"}
    records = [
        record(f"i{k}", history(k, DAYS), related={"price": [2.0] * (DAYS + H)}, metadata=place) for k in range(7)
    ]
    lake = write_series(spark, config, records)
    run = backtest(config, spark, where="item_id <> 'i6'").run_id
    train(config, before_backtests=True)
    predict(config, backtest=True)
    assert select(config, spark).models == {"ensemble": 6}
    assert forecast(config, spark).run_id == run
    ours = {r["item_id"]: r["mean"] for r in rows_of(config, "results_deepar") if r["stage"] == "forecast"}
    assert sorted(ours) == [f"i{k}" for k in range(6)]
    made = lake.read("results").where(f"run_id = '{run}' AND stage = 'forecast' AND model = 'ensemble'").collect()
    assert len(made) == 6
    for row in made:
        last = next(v for r in records if r["item_id"] == row["item_id"] for v in r["target"][::-1] if not np.isnan(v))
        np.testing.assert_allclose(row["mean"], (np.array(ours[row["item_id"]]) + last) / 2, rtol=1e-9)
