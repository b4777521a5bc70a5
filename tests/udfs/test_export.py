"""Files in the service's export layout."""

from __future__ import annotations

import csv
import math
from datetime import timedelta
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
    with pytest.raises(InputError, match="expected forecasts, backtest, accuracy"):
        export(config, tmp_path / "x", spark, what="metrics")  # type: ignore[arg-type]


def close(text: str, number: float | None) -> bool:
    return text == "" if number is None else abs(float(text) - number) < 1e-12


def test_backtests(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    target = tmp_path / "backtest.csv"
    export(config, target, spark, what="backtest", single=True)
    header, *rows = read(target)
    assert header == [
        "item_id", "store", "timestamp", "target_value", "backtestwindow_start_time", "backtestwindow_end_time",
        "mean", "p10", "p50", "p90", "model",
    ]  # fmt: skip
    wanted = []
    for item, store in sorted(made.KEYS):
        for window in (1, 2):
            days = [made.FORECAST_START + timedelta(days=k - made.H * window) for k in range(made.H)]
            times = [f"{day:%Y-%m-%dT00:00:00Z}" for day in days]
            for model in ("naive", "seasonal_naive"):
                for k, mean in enumerate(made.MEANS[item, model, window] or []):
                    actual = made.ACTUALS[item, window][k]
                    known = "" if math.isnan(actual) else str(actual)
                    values = [str(v) for v in (mean, mean - 1, mean, mean + 1)]
                    shown = "'=D" if item == "=D" else item
                    wanted.append([shown, store, times[k], known, times[0], times[-1], *values, model])
    assert rows == wanted
    export(config, tmp_path / "parts", spark, what="backtest", form="parquet")
    table = pyarrow.parquet.read_table(tmp_path / "parts")
    assert table.num_rows == len(rows)
    assert table.column_names == header


def test_accuracy(spark: SparkSession, config: Config, tmp_path: Path) -> None:
    target = tmp_path / "accuracy.csv"
    export(config, target, spark, what="accuracy", single=True)
    header, *rows = read(target)
    assert header == [
        "item_id", "store", "backtest_window", "backtestwindow_start_time", "backtestwindow_end_time", "model",
        "wQL[0.1]", "wQL[0.5]", "wQL[0.9]", "Average wQL", "WAPE", "RMSE", "MAPE", "MASE",
    ]  # fmt: skip
    found = {tuple(row[k] for k in (0, 2, 3, 5)): dict(zip(header, row, strict=True)) for row in rows}
    assert len(found) == len(rows)
    spans = {1: ("18", "20"), 2: ("15", "17"), None: ("15", "20")}
    for item, _ in made.KEYS:
        for model in ("naive", "seasonal_naive"):
            for window, (first, last) in spans.items():
                kind = "Summary" if window is None else "Computed"
                shown = "'=D" if item == "=D" else item
                row = found.get((shown, kind, f"2024-01-{first}T00:00:00Z", model))
                if row is None:
                    assert made.MEANS[item, model, window or 1] is None
                    continue
                assert row["backtestwindow_end_time"] == f"2024-01-{last}T00:00:00Z"
                points = [
                    (y, m)
                    for w in ((window,) if window else (1, 2))
                    for y, m in zip(made.ACTUALS[item, w], made.MEANS[item, model, w] or [], strict=False)
                    if not math.isnan(y)
                ]
                size = sum(abs(y) for y, _ in points)
                errors = [abs(y - m) for y, m in points]
                losses = [
                    2 * sum(max(q * (y - f), (q - 1) * (y - f)) for y, f in ((y, m + shift) for y, m in points)) / size
                    if size else None
                    for q, shift in ((0.1, -1), (0.5, 0), (0.9, 1))
                ]  # fmt: skip
                for q, loss in zip(("0.1", "0.5", "0.9"), losses, strict=True):
                    assert close(row[f"wQL[{q}]"], loss)
                assert close(row["Average wQL"], sum(losses) / 3 if size else None)
                assert close(row["WAPE"], sum(errors) / size if size else None)
                assert close(row["RMSE"], math.sqrt(sum(e * e for e in errors) / len(errors)) if errors else None)
                shares = [e / abs(y) for e, (y, _) in zip(errors, points, strict=True) if y]
                assert close(row["MAPE"], sum(shares) / len(shares) if shares else None)
    assert found["C", "Computed", "2024-01-18T00:00:00Z", "naive"]["MASE"] == ""
    assert ("A", "Summary", "2024-01-15T00:00:00Z", "selected") in found
    export(config, tmp_path / "parts", spark, what="accuracy", form="parquet")
    assert pyarrow.parquet.read_table(tmp_path / "parts").column_names == header


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
