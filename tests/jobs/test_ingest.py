"""The verb `ingest`: from sources to tables, again and again, and what happens when something is wrong."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from chispa import assert_df_equality
from rich.console import Console

from forecasting.frequency import Frequency
from jobs.ingest import ingest, render
from udfs.changes import PENDING, UNKNOWN, Known, find_changes, when_done, while_working
from udfs.check import InputRows, choose_frequency
from udfs.config import load_config
from udfs.errors import InputError
from udfs.ingest import TABLES
from udfs.lake import Lake
from udfs.roles import Role, roles_of
from udfs.sources import Located, locate, read

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.timeout(900)]
MakeConfig = Callable[..., dict[str, Any]]
NAN = float("nan")
HEADER = "item_id,timestamp,target\n"
EMOJI = "😀'\"/\\\x1f"


def lake_of(spark: SparkSession, config: dict[str, Any]) -> Lake:
    return Lake.of(spark, load_config(config, frames=True))


def versions(lake: Lake) -> dict[str, int]:
    return {table: lake.version(table) for table in TABLES}


def histories(lake: Lake) -> dict[str, list[float]]:
    rows = lake.read("series").select("item_id", "target").collect()
    return {row["item_id"]: row["target"] for row in rows}


def same(found: list[float], expected: list[float]) -> bool:
    return np.array_equal(np.asarray(found, float), np.asarray(expected, float), equal_nan=True)


def test_sources_come_and_go(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    one, two = tmp_path / "in" / "1.csv", tmp_path / "in" / "2.csv"
    one.parent.mkdir()
    one.write_text(HEADER + "".join(f"{i},2024-01-0{d},{d}\n" for i in "abcdefgh" for d in (1, 3)))
    config = make_config(data={"target": {"path": str(one)}})
    lake = lake_of(spark, config)
    first = ingest(config, spark)
    assert (first.n_rows, first.n_rejected, first.n_series) == (16, 0, 8)
    assert first.sources == {"new": 1, "changed": 0, "unchanged": 0, "removed": 0}
    before = versions(lake)
    again = ingest(config, spark)
    assert not again.changed
    assert again.sources["unchanged"] == 1
    assert versions(lake) == before

    # A new source adds; as the end of the data stays, only the buckets of its rows are packed again.
    two.write_text(HEADER + "a,2024-01-03,10\na,2024-01-03T12:00,5\na,2024-01-02,\n")
    both = config | {"data": {"target": {"path": str(one.parent)}}}
    assert ingest(both, spark).sources == {"new": 1, "changed": 0, "unchanged": 1, "removed": 0}
    assert same(histories(lake)["a"], [1, NAN, 18])
    details = spark.sql(f"DESCRIBE HISTORY {lake.identifier('series')} LIMIT 1").first()
    bucket = lake.read("series").where("item_id = 'a'").first()
    assert details is not None
    assert bucket is not None
    assert f"IN ({bucket['bucket']})" in details["operationParameters"]["predicate"]

    full = ingest(config, spark, overrides=["ingest.mode=full"])
    assert full.sources == {"new": 0, "changed": 0, "unchanged": 1, "removed": 1}
    assert same(histories(lake)["a"], [1, NAN, 3])
    assert [row["source"] for row in lake.read("sources").collect()] == [str(one)]


def test_an_interrupted_ingest_is_repaired_by_the_next(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "a,2024-01-01,1\na,2024-01-03,3\nz,2024-01-02,1\n")
    config = make_config(data={"target": {"path": str(path)}})
    lake = lake_of(spark, config)
    ingest(config, spark)
    path.write_text(HEADER + "a,2024-01-01,2\na,2024-01-03,4\n")
    write = Lake.replace

    def killed(self: Lake, table: str, *arguments: Any) -> None:
        if table == "series":
            raise KeyboardInterrupt
        write(self, table, *arguments)

    monkeypatch.setattr(Lake, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        ingest(config, spark)
    monkeypatch.undo()
    assert histories(lake).keys() == {"a", "z"}  # z has no row in the target any more
    assert ingest(config, spark).sources["changed"] == 1
    assert histories(lake).keys() == {"a"}
    assert same(histories(lake)["a"], [2, NAN, 4])


def located_at(role: Role, **parts: str) -> Located:
    return Located(role, "csv", parts)


def test_what_has_to_be_read_again(make_config: MakeConfig) -> None:
    role = roles_of(load_config(make_config()))[0]
    known = [Known("target", name, i, f"v1 {name}", role.mapping) for i, name in enumerate("abc")]
    here = located_at(role, a="v1 a", b="v2 b", d="v1 d")
    partly = find_changes([here], known, "incremental")
    assert (partly.read, partly.removed, partly.stale) == ({"target": {"b", "d"}}, {}, ())
    assert find_changes([here], known, "full").removed == {"target": {"c"}}
    assert [k.fingerprint for k in while_working(partly)] == ["v1 a", PENDING, "v1 c", PENDING]
    done = when_done(partly, [here], {("target", "b"): (5, 2)})
    assert [(k.source, k.sequence, k.fingerprint) for k in done] == [
        ("a", 0, "v1 a"), ("b", 1, "v2 b"), ("c", 2, "v1 c"), ("d", 3, "v1 d")
    ]  # fmt: skip
    assert (done[1].n_rows, done[1].n_rejected) == (5, 2)
    assert find_changes([here], done, "incremental").nothing

    other = replace(role, mapping="other")
    stale = find_changes([located_at(other, a="v1 a")], known, "incremental")
    assert (stale.read, stale.stale) == ({"target": {"a"}}, ("b", "c"))
    half = find_changes([located_at(role, a="v1 a")], while_working(partly), "incremental")
    assert (half.read, half.interrupted, half.nothing) == ({}, True, False)
    assert {k.source: k.fingerprint for k in when_done(half, [], {})}["b"] == UNKNOWN
    assert not find_changes([located_at(role, a="v1 a")], when_done(half, [], {}), "incremental").interrupted


def test_all_kinds_of_data(spark: SparkSession, make_config: MakeConfig) -> None:
    days = [datetime(2024, 1, d) for d in range(1, 7)]
    ddl = "item_id string, store string, timestamp timestamp_ntz"
    target = [("a", "s1", day, float(i)) for i, day in enumerate(days)] + [(EMOJI, "s2", days[2], 5.0)]
    weather = [("s1", day, 10.0 * i) for i, day in enumerate(days)] + [("s2", days[4], 7.0), ("s9", days[0], 1.0)]
    price = [("a", "s1", days[5], 2.0), ("a", "s1", datetime(2024, 1, 8), 3.0), ("b", "s1", days[0], 1.0)]
    bad = [("a", None, days[0], 1.0), ("a", "s1", None, 1.0)]
    regions = [("s1", "north"), ("s2", "south"), ("s3", "x"), ("s3", "y")]
    colours = [("a", "s1", "red"), ("n", "s2", None)]
    frames = {
        "target": spark.createDataFrame(target, f"{ddl}, target double"),
        "related": [
            spark.createDataFrame(weather, "store string, timestamp timestamp_ntz, temp double"),
            spark.createDataFrame(price + bad, f"{ddl}, price double"),
        ],
        "items": [
            spark.createDataFrame(regions, "store string, region string"),
            spark.createDataFrame(colours, "item_id string, store string, colour string"),
        ],
    }  # fmt: skip
    config = make_config(
        dimensions=["store"],
        ingest={"max_rejected_share": 0.5},
        data={
            "target": {},
            "related": [{"key": ["store"], "series": ["temp"]}, {"series": {"price": {"known_in_future": True}}}],
            "items": [
                {"key": ["store"], "attributes": ["region"]},
                {"key": ["item_id", "store"], "attributes": ["colour"]},
            ],
        },
    )
    report = ingest(config, spark, **frames)
    assert report.rejected == {"duplicate": 2, "unknown_item": 2, "missing_timestamp": 1, "null_dimension": 1}
    assert (report.n_series, dict(report.lifecycle)) == (3, {"new": 3})
    lake = lake_of(spark, config)
    rejects = {(r["role"], r["reason"]): r["row"] for r in lake.read("rejects").collect()}
    assert rejects["related:0", "unknown_item"] == '{"store":"s9","timestamp":"2024-01-01T00:00:00.000","temp":1.0}'
    assert rejects["related:1", "null_dimension"].startswith('{"item_id":"a","store":null,')
    rows = {row["item_id"]: row for row in lake.read("series").collect()}
    a, emoji, new = rows["a"], rows[EMOJI], rows["n"]
    assert (a["target"], a["start"]) == ([0, 1, 2, 3, 4, 5], days[0])
    assert a["related"]["temp"] == [0, 10, 20, 30, 40, 50]
    assert same(a["related"]["price"], [NAN] * 5 + [2, NAN, 3])
    assert a["metadata"].asDict() == {"region": "north", "colour": "red"}
    assert (a["profile"]["n_obs"], a["profile"]["n_zero"], a["profile"]["mean"]) == (6, 1, 2.5)
    assert (emoji["start"], emoji["target"], emoji["related"]["price"]) == (days[2], [5], [])
    assert same(emoji["related"]["temp"], [NAN, NAN, 7])
    assert emoji["metadata"].asDict() == {"region": "south", "colour": None}
    assert (new["target"], new["n"], new["start"]) == ([], 0, datetime(2024, 1, 7))
    assert new["metadata"].asDict() == {"region": "south", "colour": None}
    assert lake.read("related").count() == 9  # as it came, not multiplied by the series that share it
    before = versions(lake)
    assert not ingest(config, spark, **frames).changed
    assert versions(lake) == before

    # The item that was unknown arrives: the related rows that waited for it are read again.
    frames["target"] = spark.createDataFrame([*target, ("b", "s1", days[0], 1.0)], f"{ddl}, target double")
    report = ingest(config, spark, **frames)
    assert report.rejected["unknown_item"] == 1
    assert report.rows == {"target": 8, "related:0": 8, "related:1": 5}
    b = lake.read("series").where("item_id = 'b'").first()
    assert b is not None
    assert b["related"]["price"] == [1.0]
    output = io.StringIO()
    render(report, Console(file=output, width=120))
    assert "1 unknown_item" in output.getvalue()
    assert "series: 4 on the grid D" in output.getvalue()

    expected = spark.createDataFrame(
        [("b", "s1", days[0], 1.0, 1, "dataframe")],
        f"{ddl}, target double, n_rows bigint, source string",
    )
    found = lake.read("target").where("item_id = 'b'").drop("bucket")
    assert_df_equality(found, expected, ignore_nullable=True, ignore_metadata=True)


BAD: list[tuple[str, bytes | None, dict[str, Any], str]] = [
    ("nowhere.csv", None, {}, "does not exist"),
    ("t.csv", b"", {}, "is empty"),
    ("t.csv", b"\xff\x00\xfe", {}, "has no column 'item_id'"),
    ("t.csv", HEADER.encode(), {}, "has no rows"),
    ("t.csv", HEADER.encode() + b"\x00\xff,\xfe\n" * 9, {}, "none of the 9 rows .* can be used"),
    ("t.csv", HEADER.encode() + b"a,2024-01-01,1\na,2024-01-02,x\n", {}, "1 of the 2 rows .*max_rejected"),
    ("t.csv", b"item_id,day\n", {"columns": {"timestamp": "Date"}}, "no column 'Date' .* for timestamp"),
    ("t.parquet", b"PAR1garbage", {}, "is not a Parquet file"),
    ("t.csv", HEADER.encode() + b"a,1.1.24,1\n", {"timestamp_format": "yyyy-bb"}, "timestamp_format"),
]


@pytest.mark.parametrize(("name", "content", "options", "expected"), BAD)
def test_bad_input_makes_no_lake(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path, name: str, content: bytes | None,
    options: dict[str, Any], expected: str,
) -> None:  # fmt: skip
    if content is not None:
        (tmp_path / name).write_bytes(content)
    config = make_config(data={"target": {"path": str(tmp_path / name), **options}})
    with pytest.raises(InputError, match=expected) as error:
        ingest(config, spark)
    assert str(error.value).startswith("data.target: ")
    assert str(tmp_path / name) in str(error.value)
    assert not (tmp_path / "lake").exists()


def test_bad_input_leaves_a_lake_as_it_was(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(HEADER + "a,2024-01-01,1\n")
    config = make_config(data={"target": {"path": str(path)}})
    ingest(config, spark)
    lake = lake_of(spark, config)
    before = versions(lake)
    path.write_text(HEADER + "a,2024-01-01,many\n")
    with pytest.raises(InputError, match="not_a_number"):
        ingest(config, spark)
    with pytest.raises(InputError, match="got 2 DataFrames for related"):
        ingest(config, spark, related=[None, None])
    with pytest.raises(InputError, match="expected a Spark DataFrame"):
        ingest(config, spark, target=[1, 2])  # type: ignore[arg-type]
    assert versions(lake) == before


@pytest.mark.parametrize(
    ("frequency", "days", "expected"),
    [
        ("W", ["2024-01-04", "2024-01-18"], "W-THU"),
        ("W", ["2024-01-04", "2024-01-05"], "W-MON"),
        ("2W", ["2024-01-04", "2024-01-11"], "2W@1970-01-08T00:00"),
        ("2D", ["2024-01-02", "2024-01-04"], "2D@1970-01-02T00:00"),
        ("QS", ["2024-02-01", "2024-05-01"], "QS-FEB"),
        ("QE", ["2024-02-29", "2024-05-31"], "QE-FEB"),
        ("QS", ["2024-01-01", "2024-02-01"], "QS-JAN"),
        ("D", ["2024-01-04"], "D"),
    ],
)
def test_the_phase_of_the_grid_comes_from_the_data(
    spark: SparkSession, make_config: MakeConfig, frequency: str, days: list[str], expected: str
) -> None:
    config = load_config(make_config(frequency=frequency, data={"target": {}}), frames=True)
    rows = spark.createDataFrame([("a", day, 1) for day in days], "item_id string, timestamp string, target int")
    found = locate(spark, roles_of(config), {"target": rows})[0]
    chosen = choose_frequency(config, [InputRows(found, found.parts, read(spark, found, found.parts))])
    assert chosen.anchored
    if frequency.startswith("2"):
        label = Frequency.parse(frequency).aligned_to(int(np.datetime64(days[0], "us").astype(np.int64)))
        assert chosen == label
    else:
        assert chosen.name == expected
