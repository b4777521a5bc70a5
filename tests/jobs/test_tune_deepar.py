"""`tune-deepar`: trials on windows before the backtests, written one by one, gone on with, used by `train-deepar`."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deepar_lake import DAYS, SETTINGS, H, config_of, truth, written

pytest.importorskip("deltalake")
pytest.importorskip("optuna")
torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from jobs.train_deepar import train, training_set  # noqa: E402
from jobs.tune_deepar import judging, tune  # noqa: E402
from udfs.config import Config  # noqa: E402
from udfs.deep_source import open_source  # noqa: E402
from udfs.delta_files import arrow_schema, open_table, read_rows, replace_rows  # noqa: E402
from udfs.errors import InputError  # noqa: E402
from udfs.lake import Lake  # noqa: E402
from udfs.tuning_schema import tuning_schema  # noqa: E402

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.usefixtures("one_torch_thread")
SPENT = ("run_id", "seconds", "started_at")


def tuned_config(folder: Path, **tuning: Any) -> Config:
    return config_of(folder, deepar=SETTINGS | {"epochs": 9, "tuning": {"trials": 5, **tuning}})


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("tune_deepar")
    written(folder)
    return tuned_config(folder)


def rows_of(config: Config, run_id: str) -> list[dict[str, Any]]:
    table = open_table(str(config.lake.path), "hpo_trials")
    assert table is not None
    rows = [row for row in read_rows(table, tuning_schema().names) if row["run_id"] == run_id]
    return sorted(rows, key=lambda row: int(row["trial"]))


def bare(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in SPENT} for row in rows]


@pytest.fixture(scope="module")
def whole(config: Config) -> Any:
    return tune(config, run_id="whole")


def test_every_trial_is_in_the_table(config: Config, whole: Any) -> None:
    rows = rows_of(config, "whole")
    assert [row["trial"] for row in rows] == list(range(5))
    assert json.loads(rows[0]["hyperparameters"]) == {"context_length": 2 * H, "learning_rate": 0.001}
    assert {row["n_series"] for row in rows} == {12}, "the two without a history there are not judged on"
    complete = [row for row in rows if row["state"] == "complete"]
    assert [row["trial"] for row in rows if row["chosen"]] == [min(complete, key=lambda r: r["loss"])["trial"]]
    assert whole.best.number == next(row["trial"] for row in rows if row["chosen"])
    for row in rows:
        assert (row["loss"] is None) == (row["state"] != "complete")
        assert row["evaluations"] == 3 * (1, 3, 9)[len(row["curve"]) - 1]
    assert complete[0]["loss"] == complete[0]["curve"][-1]


def test_settings_are_judged_before_the_backtests(config: Config, whole: Any) -> None:
    """Mean wQL by hand, of a model trained by the other verb on the same periods."""
    source = judging(open_source(config))
    cut = DAYS - 2 * H  # where the earliest backtest window begins
    names = sorted([*truth(), "young", "never"])
    batch, _, ends = training_set(source, True)
    assert ends is not None
    assert ends[names.index("i00")] == cut - H
    plan = source.plan
    moved = config.model_copy(update={"backtest": source.config.backtest})
    trained = train(moved, before_backtests=True)
    from jobs.deepar_lake import open_model
    from udfs.deep_source import metadata_of

    model, _ = open_model(moved, trained.model_id, "cpu")
    made = source.batch(source.series, 0, len(source.series))
    metadata = metadata_of(made, np.arange(len(batch)), ["region"], ["area"])
    from udfs.parts import prepare

    part = prepare(made, source.spec("backtest"))
    found = model.predict(
        part.series, H, config.quantiles, metadata, ends=part.ends, seed=config.seed, bounds=config.bounds
    )
    numerator, denominator = np.zeros(3), 0.0
    for i, name in enumerate(names):
        if name not in truth():
            continue
        actual = truth()[name][0][cut - H : cut]
        for h, y in enumerate(actual):
            if np.isnan(y):
                continue
            denominator += abs(y)
            for q, level in enumerate(config.quantiles):
                x = found.quantiles[i, 0, h, q]
                numerator[q] += 2 * (level * max(y - x, 0) + (1 - level) * max(x - y, 0))
    assert plan.span == 3 * H
    assert rows_of(config, "whole")[0]["loss"] == pytest.approx((numerator / denominator).mean(), rel=1e-6)


def test_a_killed_tuning_goes_on_with_what_is_left(config: Config, whole: Any) -> None:
    def stop(trial: Any, trials: int) -> None:
        if trial.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune(config, run_id="killed", on_trial=stop)
    before = rows_of(config, "killed")
    assert len(before) == 3
    with pytest.raises(InputError, match="go on with it by --resume"):
        tune(config, run_id="killed")
    with pytest.raises(InputError, match="begun with another config"):
        tune(config, overrides=["deepar.epochs=4"], run_id="killed", resume=True)
    seen = []
    done = tune(config, resume=True, on_trial=lambda trial, _: seen.append(trial.number))
    assert (done.run_id, seen) == ("killed", [3, 4])
    after = rows_of(config, "killed")
    assert bare(after) == bare(rows_of(config, "whole")), "same seed, same trials, to the last digit"
    assert [r["seconds"] for r in after[:3]] == [r["seconds"] for r in before], "what was done was not done again"
    again = tune(config, run_id="killed", resume=True, on_trial=lambda *_: seen.append(-1))
    assert seen == [3, 4]
    assert again.best.number == whole.best.number


def test_train_takes_the_best_trial(config: Config, whole: Any) -> None:
    best = dict(whole.best.hyperparameters)
    assert best != dict(whole.trials[0].hyperparameters), "else this test shows nothing"
    settings = json.loads(train(config, tuned="whole").row["settings"])
    assert {name: settings[name] for name in best} == best
    with pytest.raises(InputError, match=r"no tuning .other. of the global model; there are: .*whole"):
        train(config, tuned="other")
    with pytest.raises(InputError, match="another horizon"):
        train(config, overrides=[f"horizon={H - 1}"], tuned="whole")


def test_steps_and_sample(config: Config, tmp_path: Path) -> None:
    written(tmp_path)
    found = tune(tuned_config(tmp_path, max_steps=30, sample=5, parameters=["num_cells"], windows=2))
    assert found.n_series == 5
    assert sum(trial.steps for trial in found.trials) <= 30
    assert found.trials[0].steps == 27
    assert all(set(trial.hyperparameters) == {"num_cells"} for trial in found.trials)
    none = tune(tuned_config(tmp_path, max_steps=20), run_id="none")
    assert none.best is None
    with pytest.raises(InputError, match="no complete trial"):
        train(tuned_config(tmp_path), tuned="none")


def test_histories_that_are_too_short_are_said(config: Config, tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(InputError, match="longest history"):
        tune(tuned_config(tmp_path, windows=13))


def test_a_table_of_an_older_version_gets_the_column_that_it_lacks(tmp_path: Path) -> None:
    written(tmp_path)
    config = tuned_config(tmp_path, trials=1)
    schema = tuning_schema()
    older = replace(schema, columns=tuple(column for column in schema.columns if column.name != "curve"))
    local = pa.RecordBatch.from_pylist([{"run_id": "local", "model": "ets", "trial": 0}], schema=arrow_schema(older))
    replace_rows(str(config.lake.path), older, iter([local]), {"run_id": "local"})
    tune(config, run_id="ours")
    assert [len(row["curve"]) for row in rows_of(config, "ours")] == [3]
    assert [row["curve"] for row in rows_of(config, "local")] == [None]


@pytest.mark.spark
def test_the_table_is_shared_with_spark(spark: SparkSession, tmp_path: Path) -> None:
    """Spark's table takes our rows, and Spark writes beside them."""
    written(tmp_path)
    config = tuned_config(tmp_path, trials=2)
    lake = Lake.of(spark, config)
    lake.ensure("hpo_trials")
    local = {
        "run_id": "local", "segment": "", "model": "ets", "trial": 0, "hyperparameters": "{}", "n_series": 1,
        "loss": 1.0, "loss_held_out": None, "evaluations": 1, "seconds": 0.1, "state": "complete", "reason": "",
        "chosen": False, "digest": "d", "config_hash": "h", "series_version": 0, "curve": None,
        "started_at": datetime.now(timezone.utc),
    }  # fmt: skip
    lake.append("hpo_trials", lake.rows("hpo_trials", [local]))
    tune(config, run_id="ours")
    lake.append("hpo_trials", lake.rows("hpo_trials", [local | {"trial": 1}]))
    tune(config, run_id="more")
    found = {(r["run_id"], r["model"], r["trial"]) for r in lake.read("hpo_trials").collect()}
    assert found == {("local", "ets", 0), ("local", "ets", 1)} | {
        (name, "deepar", trial) for name in ("ours", "more") for trial in (0, 1)
    }
