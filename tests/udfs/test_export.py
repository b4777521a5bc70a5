"""Files in the service's export layout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet
import pytest
import result_table as made

from jobs.export import export
from udfs.errors import InputError
from udfs.export import harmless, write_export

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

    from udfs.config import Config

pytestmark = pytest.mark.spark
HEADER = ["item_id", "store", "date", "p10", "p50", "p90", "mean"]


@pytest.fixture(scope="module")
def config(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Config:
    return made.derived_lake(spark, tmp_path_factory)[0]


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_one_csv_file(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    target = tmp_path / "forecast.csv"
    exported = export(config, target, spark, single=True)
    assert exported.run_id == made.RUN
    assert list(exported.columns) == HEADER
    rows = read(target)
    assert rows[0] == HEADER
    assert rows[1] == ["'=D", "s2", "2024-01-21T00:00:00Z", "-8.0", "-7.0", "-6.0", "-7.0"], "numbers stay"
    assert [row[0] for row in rows[1:]] == ["'=D"] * 3 + ["A"] * 3 + ["B"] * 2 + ["C"] * 3
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == ["forecast.csv"]
    before = target.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        export(config, target, spark, single=True)
    export(config, target, spark, single=True, overwrite=True)
    assert target.read_bytes() == before


def test_parts_and_parquet(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    target = tmp_path / "parts"
    export(config, target, spark)
    parts = [read(path) for path in sorted(target.glob("part-*.csv"))]
    assert all(part[0] == HEADER for part in parts)
    assert sum(len(part) - 1 for part in parts) == 11
    with pytest.raises(InputError, match="exists already"):
        export(config, target, spark, form="parquet")
    export(config, target, spark, form="parquet", overwrite=True)
    table = pyarrow.parquet.read_table(target)
    assert table.column_names == HEADER
    assert table.num_rows == 11
    assert table.column("item_id").to_pylist()[0] == "=D", "ids stay as they are where no spreadsheet reads"
    (target / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="other things in it"):
        export(config, target, spark, overwrite=True)
    with pytest.raises(InputError, match="is a folder"):
        export(config, target, spark, single=True, overwrite=True)


def test_what_cannot_be_exported(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run 'nobody'"):
        export(config, tmp_path / "x", spark, run_id="nobody")
    with pytest.raises(InputError, match="expected csv or parquet"):
        export(config, tmp_path / "x", spark, form="xlsx")  # type: ignore[arg-type]


TEXTS = {
    "=1+1": "'=1+1", "+cmd|' /C calc'!A0": "'+cmd|' /C calc'!A0", "-2+3": "'-2+3", "@SUM(A1)": "'@SUM(A1)",
    "\tx": "'\tx", "\rx": "'\rx", "-5": "-5", "+1.5": "+1.5", "a=b": "a=b", " =x": " =x", "": "",
    "O'Hare, \"ORD\"\n": "O'Hare, \"ORD\"\n",
}  # fmt: skip


def test_text_that_a_spreadsheet_would_run(spark: SparkSession, tmp_path: Path) -> None:
    rows = spark.createDataFrame([(text, -1.5) for text in TEXTS], "text string, number double")
    got = {row["text"]: row["out"] for row in rows.withColumn("out", harmless(rows["text"])).collect()}
    assert got == TEXTS
    write_export(rows, str(tmp_path / "out.csv"), "csv", single=True)
    assert sorted(read(tmp_path / "out.csv")[1:]) == sorted([text, "-1.5"] for text in TEXTS.values())
