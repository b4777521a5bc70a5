"""The verb `query` and the tables it prints."""

from __future__ import annotations

import io
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
import result_table as made
from rich.console import Console
from series_table import START, local_batch, record, write_series

from forecasting import forecast
from jobs.query import query, render
from jobs.tables import shown, table
from udfs.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    from pyspark.sql import DataFrame, SparkSession

    from udfs.config import Config


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return made.derived_lake(spark, tmp_path_factory)[0]


def printed(frame: DataFrame, form: str, limit: int = 50) -> str:
    out = io.StringIO()
    render(frame, form, limit, Console(file=out, width=120))  # type: ignore[arg-type]
    return out.getvalue()


@pytest.mark.spark
def test_a_query_and_its_renderings(spark: SparkSession, config: Config) -> None:
    sql = "SELECT item_id, step, p50 FROM forecasts_latest WHERE item_id IN ('A', '=D') ORDER BY item_id, step;"
    frame = query(config, sql, spark)
    assert [tuple(row) for row in frame.collect()][3] == ("A", 1, 12.0)
    text = printed(frame, "table", limit=2)
    assert "first 2 rows" in text
    assert text.count("=D") == 2
    assert "first" not in printed(frame, "table", limit=6)
    assert printed(frame, "csv").splitlines()[:2] == ["item_id,step,p50", "=D,1,-7.0"]
    lines = [json.loads(line) for line in printed(frame, "json").splitlines()]
    assert lines[-1] == {"item_id": "A", "step": 3, "p50": 14.0}
    assert len(lines) == 6


@pytest.mark.spark
def test_long_cells_stay_on_one_line_of_csv(spark: SparkSession) -> None:
    frame = spark.sql("SELECT repeat('x', 500) AS long, 'a,\"b\"' AS quoted, CAST(NULL AS INT) AS nothing")
    assert printed(frame, "csv").splitlines()[1] == f'{"x" * 500},"a,""b""",'
    assert json.loads(printed(frame, "json"))["nothing"] is None


@pytest.mark.spark
@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT * FROM forecast_latest", "forecasts_latest"),
        ("SELEC 1", "cannot be answered"),
        ("  ", "the query is empty"),
        ("DELETE FROM forecasts", "cannot be answered"),
        ("WITH x AS (SELECT 1) INSERT INTO runs SELECT * FROM x", "cannot be answered"),
        ("DROP TABLE IF EXISTS runs", "cannot be answered"),
    ],
)
def test_what_is_no_query(spark: SparkSession, config: Config, sql: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        query(config, sql, spark)
    assert query(config, "SELECT * FROM forecasts_latest", spark).count() == 11


@pytest.mark.spark
def test_forecasts_in_a_query(spark: SparkSession, config: Config) -> None:
    sql = "SELECT item_id, forecast_ets(series, 28) FROM series_input ORDER BY item_id LIMIT 3"
    text = printed(query(config, sql, spark), "table")
    assert "step 1" in text
    assert "… 28 values" in text
    records = [r for r in made.series_records() if r["item_id"] == "E"]
    local = forecast(local_batch(config, records), "ets", 4, config.quantiles, seed=config.seed)
    row = query(config, "SELECT forecast_ets(series, 4) AS f FROM series_input WHERE item_id = 'E'", spark).first()
    assert row is not None
    assert [step["mean"] for step in row["f"]] == local.mean[0].tolist()
    assert [list(step["quantiles"].values()) for step in row["f"]] == local.quantiles[0].tolist()
    assert row["f"][0]["timestamp"] == made.START + timedelta(days=made.LENGTH)
    wrong = query(config, "SELECT forecast_ets(series, 4, map('from', 'ANN')) FROM series_input", spark)
    for form in ("table", "csv", "json"):
        with pytest.raises(InputError, match=r"option 'from' is not known\. Known options: quantiles, seed"):
            printed(wrong, form)


@pytest.mark.spark
def test_a_history_in_pieces_is_one_series_of_a_query(spark: SparkSession, tmp_path: Path) -> None:
    config = made.config_for(tmp_path)
    values = [float(k % 5) for k in range(20)]
    parts = [
        record("a", values[:8], store="s", metadata={"kind": "x"}),
        record("a", values[8:], START + timedelta(days=8), segment=1, store="s", metadata={"kind": "x"}),
    ]
    write_series(spark, config, parts)
    rows = query(config, "SELECT store, series FROM series_input", spark).collect()
    assert [(row["store"], row["series"]["target"], row["series"]["start"]) for row in rows] == [("s", values, START)]
    assert (rows[0]["series"]["key"], rows[0]["series"]["season"]) == ("a\x1fs", 7)


@pytest.mark.spark
def test_statements_that_only_look(spark: SparkSession, config: Config) -> None:
    assert "p50" in {row["col_name"] for row in query(config, "DESCRIBE forecasts", spark).collect()}
    assert query(config, "-- the newest\nSELECT 1 AS one -- that is all", spark).columns == ["one"]


def test_values_as_a_reader_wants_them() -> None:
    values = {
        1.23456789: "1.235", 123456.7: "123,457", 0.00001234: "1.234e-05", 7: "7", True: "true", "[x]": "[x]",
        datetime(2024, 1, 2): "2024-01-02", datetime(2024, 1, 2, 3): "2024-01-02 03:00:00",
    }  # fmt: skip
    assert {value: shown(value) for value in values} == values
    assert shown({"p10": 0.25, "p50": None}) == "p10 0.25, p50 NULL"
    assert shown(list(range(10))) == "[0, 1, 2, 3, 4, 5, … 10 values]"
    out = io.StringIO()
    Console(file=out, width=60).print(table(("id", "n"), [("[red]a", 1), ("b", None)], "Title"))
    assert "[red]a" in out.getvalue()
    assert "NULL" in out.getvalue()
    assert "Title" in out.getvalue()
