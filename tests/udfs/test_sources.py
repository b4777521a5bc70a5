"""Every kind of source: what is read, what it is called, and when it counts as changed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from forecasting.frequency import Frequency
from udfs.cleaning import REASON, TIME, clean
from udfs.config import load_config
from udfs.errors import InputError
from udfs.roles import roles_of
from udfs.sources import CORRUPT, SOURCE, Located, encodings, locate, read

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
NANOS = "spark.sql.legacy.parquet.nanosAsLong"
HOURS = pd.to_datetime(["2024-03-10T02:30:00.123456789", "1969-12-31T23:59:59.5"], format="ISO8601")


def located(spark: SparkSession, make_config: MakeConfig, frame: DataFrame | None = None, **source: Any) -> Located:
    config = load_config(make_config(data={"target": source}), frames=frame is not None)
    return locate(spark, roles_of(config)[:1], {} if frame is None else {"target": frame})[0]


def test_csv_files_of_a_glob(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    folder = tmp_path / "a b+c%20é"
    folder.mkdir()
    (folder / "1.csv").write_text('item_id,timestamp,target,note\n"a ""x"", b",2024-01-01,1,007\nb,2024-01-01\n')
    (folder / "2.csv").write_text("item_id,timestamp,target,note\nc,2024-01-01,2,\n")
    found = located(spark, make_config, path=str(folder / "*.csv"))
    assert sorted(found.parts) == [str(folder / "1.csv"), str(folder / "2.csv")]
    rows = {r["item_id"]: r.asDict() for r in read(spark, found, found.parts).collect()}
    assert rows['a "x", b']["note"] == "007"
    assert {k: r[CORRUPT] for k, r in rows.items()} == {'a "x", b': None, "b": "b,2024-01-01", "c": None}
    assert rows["c"][SOURCE] == str(folder / "2.csv")
    one = read(spark, found, [str(folder / "2.csv")])
    assert [r["item_id"] for r in one.collect()] == ["c"]
    again = located(spark, make_config, path=str(folder))
    assert again.parts == found.parts
    os.utime(folder / "2.csv", (1, 1))
    changed = located(spark, make_config, path=str(folder))
    assert [k for k in found.parts if changed.parts[k] != found.parts[k]] == [str(folder / "2.csv")]


def test_other_text(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("item_id\ttimestamp\ttarget\na\t2024-01-01\t1\n")
    (tmp_path / "t.jsonl").write_text('{"item_id": 7, "timestamp": "2024-01-01", "target": "x"}\n{"item_id": \n')
    (tmp_path / "k.csv").write_bytes("상품;날짜;수량\n사과;2024-01-01;3\n".encode("cp949"))
    tabs = located(spark, make_config, path=str(tmp_path / "t.tsv"))
    assert read(spark, tabs, tabs.parts).first()["target"] == "1"  # type: ignore[index]
    lines = located(spark, make_config, path=str(tmp_path / "t.jsonl"))
    rows = read(spark, lines, lines.parts).collect()
    assert [(r["item_id"], r["target"], r[CORRUPT]) for r in rows] == [("7", "x", None), (None, None, '{"item_id": ')]
    columns = {"item_id": "상품", "timestamp": "날짜", "target": "수량"}
    options = {"sep": ";", "encoding": "CP949"}
    korean = located(spark, make_config, path=str(tmp_path / "k.csv"), columns=columns, options=options)
    with encodings(spark, [korean]):
        found = clean(read(spark, korean, korean.parts), korean.role, Frequency.parse("D"), None).first()
    assert spark.conf.get("spark.sql.legacy.javaCharsets") == "false"
    assert found is not None
    assert (found["item_id"], found["target"], found[REASON]) == ("사과", 3.0, None)


@pytest.mark.parametrize("unit", ["ns", "us", "ms"])
def test_parquet_of_pandas(spark: SparkSession, make_config: MakeConfig, tmp_path: Path, unit: str) -> None:
    frame = pd.DataFrame({"item_id": ["a", "b"], "timestamp": HOURS.as_unit(unit), "target": [1, 2]})
    frame.to_parquet(tmp_path / "t.parquet", version="2.6")
    found = located(spark, make_config, path=str(tmp_path / "t.parquet"))
    assert spark.conf.get(NANOS, None) in (None, "false")
    rows = clean(read(spark, found, found.parts), found.role, Frequency.parse("h"), None)
    assert spark.conf.get(NANOS, None) in (None, "false")  # the session is as it was, and the rows can still be read
    expected = [int(v) for v in HOURS.as_unit(unit).as_unit("us").astype("int64")]
    assert {r["item_id"]: r[TIME] for r in rows.collect()} == dict(zip("ab", expected, strict=True))


def test_delta_tables_are_pinned(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    path = str(tmp_path / "delta_without_suffix")
    ddl = "item_id string, timestamp timestamp_ntz, target int"
    rows = spark.createDataFrame([("a", datetime(2024, 1, 1), 1)], ddl)
    rows.write.format("delta").save(path)
    before = located(spark, make_config, path=path)
    assert (list(before.parts), before.format) == ([path], "delta")
    rows.write.format("delta").mode("append").save(path)
    after = located(spark, make_config, path=path)
    assert before.parts[path] != after.parts[path]
    assert (read(spark, before, [path]).count(), read(spark, after, [path]).count()) == (1, 2)


def test_views_queries_and_frames_are_known_by_their_content(spark: SparkSession, make_config: MakeConfig) -> None:
    data = [("a", "2024-01-01", 1.0), ("b", "2024-01-01", None), ("c", None, 2.0)]
    ddl = "item_id string, timestamp string, target double"
    rows = spark.createDataFrame(data, ddl)
    rows.createOrReplaceTempView("some_rows")
    sql = "SELECT * FROM some_rows ORDER BY item_id;"
    view = located(spark, make_config, table="some_rows")
    query = located(spark, make_config, sql=sql)
    frame = located(spark, make_config, frame=spark.createDataFrame(data[::-1], ddl))
    assert list(view.parts) == ["some_rows"]
    assert list(frame.parts) == ["dataframe"]
    assert next(iter(query.parts)).startswith("sql:")
    assert len({fingerprint for each in (view, query, frame) for fingerprint in each.parts.values()}) == 1
    assert {r[SOURCE] for r in read(spark, view, view.parts).collect()} == {"some_rows"}
    for other in (data + data[:1], [("a", "2024-01-01", None), ("b", "2024-01-01", 1.0), data[2]]):
        changed = located(spark, make_config, frame=spark.createDataFrame(other, ddl))
        assert changed.parts != frame.parts


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"path": "nowhere.csv"}, r"data.target: \S*/nowhere.csv does not exist"),
        ({"path": "nowhere/*.csv"}, r"data.target: \S*/nowhere/\*.csv does not exist"),
        ({"path": "no.parquet"}, r"data.target: \S*/no.parquet is not a Parquet file"),
        ({"path": "empty.csv"}, r"data.target: \S*/empty.csv is empty"),
        ({"path": "empty.parquet"}, r"data.target: \S*/empty.parquet is empty"),
        ({"path": "folder"}, r"data.target: \S*/folder is empty"),
        ({"path": "x.bin"}, r"do not tell its format .*set format"),
        ({"path": "x.bin", "format": "delta"}, "is not a Delta table"),
        ({"table": "no_such_table"}, "data.target: no_such_table is not a table or view"),
        ({"sql": "SELECT * FROM no_such_table"}, "data.target: no_such_table is not a table or view"),
        ({"sql": "DROP TABLE x"}, "data.target"),
        ({"sql": "SELECT 1 AS item_id"}, "the result of its sql has no column 'timestamp' and has no column 'target'"),
    ],
)
def test_what_is_not_there(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, source: dict[str, Any], expected: str
) -> None:
    (tmp_path / "folder").mkdir()
    for name, content in (("no.parquet", b"PAR?"), ("empty.csv", b""), ("empty.parquet", b""), ("x.bin", b"\x00")):
        (tmp_path / name).write_bytes(content)
    if "path" in source:
        source = source | {"path": str(tmp_path / source["path"])}

    def opened() -> None:
        found = located(spark, make_config, **source)
        read(spark, found, found.parts)

    with pytest.raises(InputError, match=expected) as error:
        opened()
    assert len(str(error.value).splitlines()) == 1
