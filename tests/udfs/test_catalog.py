"""A lake made known to a catalog, and read there by a process that knows nothing of Almanac."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import result_table as made
from rich.console import Console

from jobs.register import register, render
from udfs.catalog import registration
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def spark_sql(folder: Path, *arguments: str) -> str:
    """A spark-sql shell with its metastore in a folder."""
    import pyspark

    script = Path(pyspark.__file__).parent / "bin" / "spark-sql"
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:{folder}/metastore;create=true",
        "spark.ui.enabled": "false",
        "spark.master": "local[1]",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    from udfs.jars import delta_coordinates, delta_jars_present

    if not delta_jars_present():
        settings["spark.jars.packages"] = delta_coordinates()
    flags = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    kept = {k: v for k, v in os.environ.items() if k not in ("SPARK_HOME", "PYSPARK_GATEWAY_PORT")}
    environment = kept | {"PYSPARK_PYTHON": sys.executable, "SPARK_HOME": str(script.parents[1])}
    done = subprocess.run(
        [str(script), *flags, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.timeout(600)
def test_a_fresh_shell_selects_from_the_printed_sql(
    spark: SparkSession, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One process runs the script that `register` prints, another one has only the catalog."""
    config, _ = made.derived_lake(spark, tmp_path_factory)
    script = tmp_path / "register.sql"
    with script.open("w") as file:
        render(register(config, spark, schema="planning"), Console(file=file, width=80))
    spark_sql(tmp_path, "-f", str(script))
    query = (
        "SELECT item_id, p50 FROM planning.forecasts_latest WHERE step = 2 ORDER BY item_id; "
        "SELECT model, rank FROM planning.leaderboard WHERE rank = 1; "
        "SELECT planning.quantile_loss(12D, 10D, 0.9D); SELECT count(*) FROM planning.backtest"
    )
    lines = [line.split("\t") for line in spark_sql(tmp_path, "-e", query).splitlines() if line]
    assert lines[:4] == [["=D", "-7.0"], ["A", "13.0"], ["B", "7.0"], ["C", "0.0"]]
    assert lines[4] == ["selected", "1"]
    assert float(lines[5][0]) == pytest.approx(2 * 0.9 * 2)
    assert lines[6] == [str(29 * made.H)]  # the models' rows and those of what was selected


def test_run_in_this_session(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> None:
    config, lake = made.derived_lake(spark, tmp_path_factory)
    try:
        for _ in range(2):  # again changes nothing
            done = register(config, spark, run=True)
        assert done.ran
        row = spark.sql("SELECT forecast_naive(series, 2)[1].mean AS x FROM hand_made.series_input").first()
        assert row is not None
        assert row["x"] is not None
        assert spark.table("hand_made.forecasts_latest").count() == lake.read("forecasts").count()
        kept = register(config, spark, catalog="main", wheel="/Volumes/main/x/almanac.whl").functions
        ets = next(sql for sql in kept if "forecast_ets" in sql)
        assert "`main`.`hand_made`.`forecast_ets`(series STRUCT<target: ARRAY<DOUBLE>" in ets
        assert "dependencies = '[\"/Volumes/main/x/almanac.whl\"]'" in ets
        law = next(sql for sql in kept if "`forecast_probability`" in sql)
        namespace: dict[str, Any] = {}
        exec(law.split("$$")[1], namespace)
        columns = ([[0.1, 0.9]], [[1.0, 3.0]], [None], [2.0])
        (answer,) = namespace["answer"](iter([tuple(pd.Series(column) for column in columns)]))
        assert list(answer) == pytest.approx([0.5])
        namespace = {}
        exec(ets.split("$$")[1], namespace)
        series = pd.DataFrame({"target": [[1.0, 2.0]], "start": [pd.Timestamp("2024-01-01")], "frequency": ["D"]})
        (answer,) = namespace["answer"](iter([(series, pd.Series([3]), pd.Series([None]))]))
        assert [step["step"] for step in answer[0]] == [1, 2, 3]
    finally:
        spark.sql("DROP SCHEMA IF EXISTS hand_made CASCADE")
    assert lake.read("forecasts").count() == 11, "dropping the catalog's tables leaves the lake's files"


def test_a_lake_in_a_schema_gets_views_beside_its_tables(spark: SparkSession, tmp_path: Path) -> None:
    config = made.config_for(tmp_path, lake={"schema": "almanac_views", "buckets": 2})
    lake = Lake.of(spark, config)
    try:
        with pytest.raises(InputError, match="the lake is empty"):
            registration(lake)
        lake.identify(config, "D")
        lake.ensure("forecasts", "runs")
        statements = registration(lake)
        assert not any("LOCATION" in statement for statement in statements)
        register(config, spark, run=True)
        assert spark.table("almanac_views.forecasts_latest").count() == 0
        with pytest.raises(InputError, match="the lake lives in"):
            registration(lake, catalog="elsewhere")
    finally:
        spark.sql("DROP SCHEMA IF EXISTS almanac_views CASCADE")
