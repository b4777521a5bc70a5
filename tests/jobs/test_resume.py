"""Killed for real: the driver between waves, a Python worker inside a task. The tables end the same."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from chispa import assert_df_equality
from series_table import history, record, write_series

from jobs.backtest import backtest
from udfs import runs
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
TESTS = Path(__file__).resolve().parents[1]
SERIES = 40
DRIVER = """
import json, os, signal, sys
from jobs.backtest import backtest

def die_after_the_second_wave(done, total):
    calls.append(done)
    if len(calls) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

calls = []
backtest(json.loads(sys.argv[1]), on_progress=die_after_the_second_wave)
"""


def compared(lake: Lake, run_id: str) -> DataFrame:
    from pyspark.sql import functions as F

    rows = lake.read("results").where(F.col("run_id") == run_id)
    return rows.drop("run_id", "seconds", "unit", "step_statistics")


def test_a_killed_driver_is_resumed(spark: SparkSession, make_config: Callable[..., dict[str, Any]]) -> None:
    content = make_config(
        models={"naive": {}, "npts": {}},
        limits={"unit_seconds": 5e-4},
        seed=2,
        spark={"conf": {"spark.sql.shuffle.partitions": 2, "spark.driver.memory": "1g"}, "master": "local[1,4]"},
    )
    config = load_config(content)
    records = [record(f"i{k}", history(k, 60)) for k in range(SERIES)]
    lake = write_series(spark, config, records)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
    environment.pop("PYSPARK_GATEWAY_PORT", None)
    killed = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(content)], env=environment, capture_output=True, check=False,
        timeout=240,
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    (begun,) = runs.newest(lake)
    assert begun.state == runs.RUNNING
    half = lake.read("results").select("item_id").distinct().count()
    assert 0 < half < SERIES
    longer = [record(r["item_id"], [*r["target"], 1.0]) for r in records]
    write_series(spark, config, longer)  # new data meanwhile: the run goes on with what it began with
    seen: list[int] = []
    resumed = backtest(config, spark, resume=True, on_progress=lambda done, _: seen.append(done))
    assert resumed.run_id == begun.run_id
    assert resumed.plan == begun.plan
    assert seen[0] == half
    assert seen[-1] == SERIES
    write_series(spark, config, records)
    whole = backtest(config, spark)
    assert whole.run_id != resumed.run_id
    assert_df_equality(
        compared(lake, resumed.run_id), compared(lake, whole.run_id), ignore_row_order=True, allow_nan_equality=True
    )
    assert compared(lake, resumed.run_id).count() == SERIES * 2 * 2
    version = lake.version("results")
    backtest(config, spark, resume=True, run_id=resumed.run_id)
    assert lake.version("results") == version


def test_a_killed_worker_is_retried(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    marker = tmp_path / "killed"
    models = {"user_models:dies_once": {"marker": str(marker)}, "naive": {}}
    config = load_config(make_config(models=models, backtest={"windows": 1}))
    lake = write_series(spark, config, [record(f"i{k}", history(k, 30)) for k in range(6)])
    run = backtest(config, spark)
    assert marker.exists()
    rows = lake.read("results").where(f"run_id = '{run.run_id}'").collect()
    assert sorted((r["item_id"], r["model"]) for r in rows) == sorted((f"i{k}", m) for k in range(6) for m in models)
    assert {r["status"] for r in rows} == {"ok"}
