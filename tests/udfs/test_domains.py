"""Migrants' files: CSV without a header by its schema, spreadsheets' CSV, domains, metadata that are numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from forecasting.frequency import Frequency
from jobs.ingest import ingest
from udfs.cleaning import REASON, clean
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake
from udfs.numerals import as_text, plain
from udfs.roles import roles_of
from udfs.sources import CORRUPT, encodings, locate, read

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
RETAIL = [
    {"AttributeName": "timestamp", "AttributeType": "timestamp"},
    {"AttributeName": "item_id", "AttributeType": "string"},
    {"AttributeName": "demand", "AttributeType": "float"},
]


def cleaned(spark: SparkSession, content: dict[str, Any]) -> list[tuple[Any, ...]]:
    """item_id, target, reason of the target's rows, in the order of the items."""
    config = load_config(content)
    located = locate(spark, roles_of(config)[:1], {})[0]
    with encodings(spark, [located]):
        rows = clean(read(spark, located, located.parts), located.role, Frequency.parse("D"), None)
        found = rows.orderBy("item_id", "#ordinal").collect()
    return [(row["item_id"], row["target"], row[REASON]) for row in found]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_headerless_file_by_its_schema(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, mark: bytes
) -> None:
    # The exports of users carry .part or nothing: a schema means CSV.
    path = tmp_path / "demand.part"
    path.write_bytes(mark + b'2024-01-01 00:00:00,"a, b",1.5\n2024-01-02 00:00:00,c,\n2024-01-03 00:00:00,d,x\n')
    target = {"path": str(path), "schema": {"Attributes": RETAIL}}
    content = make_config(domain="RETAIL", data={"target": target})
    expected = [("a, b", 1.5, None), ("c", None, None), ("d", None, "not_a_number")]
    assert cleaned(spark, content) == expected
    # A file that has a header after all: say so, and the schema still names the columns.
    path.write_bytes(mark + b"when,what,how many\n" + path.read_bytes().removeprefix(mark))
    assert cleaned(spark, make_config(domain="RETAIL", data={"target": target | {"options": {"header": True}}})) == (
        expected
    )


@pytest.mark.parametrize(("line", "fields"), [(b"2024-01-01,a\n", 2), (b"2024-01-01,a,1,x,y\n", 5)])
def test_a_schema_of_another_width(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, line: bytes, fields: int
) -> None:
    (tmp_path / "t.csv").write_bytes(line)
    content = make_config(data={"target": {"path": str(tmp_path / "t.csv"), "schema": RETAIL}})
    with pytest.raises(InputError, match=rf"the schema has 3 attributes \(timestamp, item_id, demand\) .* {fields}"):
        cleaned(spark, content)


@pytest.mark.parametrize(
    ("encoding", "mark", "options", "end"),
    [
        ("utf-8", b"\xef\xbb\xbf", {}, "\r\n"),
        ("cp949", b"", {"encoding": "CP949"}, "\r\n"),
        ("euc-kr", b"", {"encoding": "EUC-KR"}, "\n"),
        ("utf-16", b"", {"encoding": "UTF-16"}, "\r\n"),  # with its own mark, as spreadsheets write "Unicode text"
        ("utf-16-le", b"\xff\xfe", {"encoding": "UTF-16LE"}, "\n"),
    ],
)
def test_a_spreadsheets_file_in_hangul(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, encoding: str, mark: bytes, options: dict[str, Any],
    end: str,
) -> None:  # fmt: skip
    lines = ["상품;날짜;수량", "사과;01.02.2024;1.234,50", "배;01.02.2024;-0,5", "감;02.02.2024;1.5", "밤;02.02.2024;"]
    (tmp_path / "t.csv").write_bytes(mark + (end.join(lines) + end).encode(encoding))
    target = {
        "path": str(tmp_path / "t.csv"),
        "columns": {"item_id": "상품", "timestamp": "날짜", "target": "수량"},
        "options": {"sep": ";"} | options,
        "timestamp_format": "dd.MM.yyyy",
        "decimal": ",",
        "thousands": ".",
    }
    found = sorted(cleaned(spark, make_config(data={"target": target})), key=str)
    assert found == sorted(
        [("사과", 1234.5, None), ("배", -0.5, None), ("감", None, "not_a_number"), ("밤", None, None)], key=str
    )


def test_iso_8859_with_a_semicolon(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("Käse;2024-01-01;3,5\n".encode("iso-8859-15"))
    target = {"path": str(tmp_path / "t.csv"), "schema": [RETAIL[1], RETAIL[0], RETAIL[2]], "decimal": ",",
              "options": {"sep": ";", "encoding": "ISO-8859-15"}}  # fmt: skip
    assert cleaned(spark, make_config(data={"target": target})) == [("Käse", 3.5, None)]


def test_numbers_as_people_write_them(spark: SparkSession, make_config: MakeConfig) -> None:
    from pyspark.sql import functions as F

    cases: dict[tuple[str, str | None], list[tuple[str, float | None]]] = {
        (",", None): [("1,5", 1.5), ("-3", -3.0), (",5", 0.5), ("1,5E+3", 1500.0), ("1.5", None), ("1.234,5", None),
                      ("1,2,3", None), ("eins", None)],
        (",", "."): [("1.234.567,8", 1234567.8), ("1234,8", 1234.8), ("12.34", None), ("1.2345", None), ("1.5", None),
                     ("1.234", 1234.0)],
        (".", ","): [("1,234.5", 1234.5), ("-1,234", -1234.0), ("1,23", None), ("1.5", 1.5), ("+7.", 7.0)],
        (".", "'"): [("1'234'567.5", 1234567.5), ("1,5", None)],
        (",", " "): [("1 234,5", 1234.5), ("1\u00a0234,5", 1234.5), ("1\u202f234,5\u00a0", 1234.5), ("1 23", None)],
    }  # fmt: skip
    for (decimal, thousands), listed in cases.items():
        target = {"path": "t.csv", "decimal": decimal, "thousands": thousands}
        source = load_config(make_config(data={"target": target})).data.target
        rows = spark.createDataFrame([(i, text) for i, (text, _) in enumerate(listed)], "i int, t string")
        found = rows.select("i", plain(F.col("t"), source).try_cast("double")).orderBy("i").collect()
        assert [row[1] for row in found] == [number for _, number in listed], (decimal, thousands)
    # Words for a missing value have no digit, and stay words.
    words = spark.createDataFrame([("NaN",), (" n/a ",)], "t string")
    kept = load_config(make_config(data={"target": {"path": "t.csv", "decimal": ","}})).data.target
    assert [row[0] for row in words.select(plain(F.col("t"), kept)).collect()] == ["NaN", "n/a"]


def test_numbers_of_metadata(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "target.csv").write_text(
        "item_id,timestamp,target\n" + "".join(f"{k},2024-01-01,1\n" for k in "abcde")
    )
    lines = ["a;1.200,5;x", "b;12;y", "c;;z", "d;heavy;z", "e;1e3;z"]
    (tmp_path / "i.csv").write_text("item_id;weight;brand\n" + "\n".join(lines) + "\n")
    items = {"path": str(tmp_path / "i.csv"), "attributes": ["weight", "brand"], "types": {"weight": "number"},
             "options": {"sep": ";"}, "decimal": ",", "thousands": "."}  # fmt: skip
    content = make_config(
        data={"target": {"path": str(tmp_path / "target.csv")}, "items": [items]}, ingest={"max_rejected_share": 0.3}
    )
    report = ingest(content, spark)
    assert report.rejected == {"not_a_number": 1}
    rows = Lake.of(spark, load_config(content)).read("series").selectExpr("item_id", "metadata.weight AS w").collect()
    assert {r["item_id"]: r["w"] for r in rows} == {"a": "1200.5", "b": "12", "c": None, "d": None, "e": "1000"}


def test_numbers_come_back_from_their_text(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    values = [0.1, -7.0, 1e15, 123456789012345.0, 1e-9, 2.5e20, 1 / 3]
    rows = spark.createDataFrame([(v,) for v in values], "v double").select("v", as_text(F.col("v")).alias("t"))
    assert [float(r["t"]) for r in rows.collect()] == [r["v"] for r in rows.collect()] == values
    assert rows.where("v = -7").first()["t"] == "-7"  # type: ignore[index]


def test_what_a_domain_requires_is_named_all_at_once(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("type,timestamp,hosts\nx,2024-01-01,1\n")
    (tmp_path / "r.csv").write_text("instance_type,day,spot\nx,2024-01-01,1\n")
    data = {"target": {"path": str(tmp_path / "t.csv")}, "related": [{"path": str(tmp_path / "r.csv"),
            "series": {"price": {}}}]}  # fmt: skip
    with pytest.raises(InputError) as caught:
        ingest(make_config(domain="EC2_CAPACITY", data=data), spark)
    target, related = str(caught.value).splitlines()
    assert "no column 'instance_type' (named by domain EC2_CAPACITY for item_id)" in target
    assert "no column 'number_of_instances' (named by domain EC2_CAPACITY for target)" in target
    assert "no column 'timestamp'" in related
    assert "no column 'price'" in related
    assert not (tmp_path / "lake").exists()


def test_a_domains_file_needs_no_columns(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "workforce_type,timestamp,location,workforce_demand\nnurse,2024-01-01,x,3\nnurse,2024-01-01,y,4\n"
    )
    content = make_config(domain="WORK_FORCE", data={"target": {"path": str(tmp_path / "t.csv")}})
    ingest(content, spark)
    series = Lake.of(spark, load_config(content)).read("series").collect()
    assert [(s["item_id"], s["target"]) for s in series] == [("nurse", [7.0])]


def test_broken_lines_of_a_headerless_file_are_kept(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("2024-01-01,a,1\n2024-01-02,a\n")
    config = load_config(make_config(data={"target": {"path": str(tmp_path / "t.csv"), "schema": RETAIL}}))
    located = locate(spark, roles_of(config)[:1], {})[0]
    rows = read(spark, located, located.parts).orderBy("timestamp").collect()
    assert [r[CORRUPT] for r in rows] == [None, "2024-01-02,a"]
