"""Rows that can be used, the reason for each that cannot, times in every spelling, and aggregation to periods."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

import pytest

from forecasting.frequency import Frequency
from udfs import grid
from udfs.cleaning import ORDINAL, REASON, REASONS, ROW, TIME, clean, grouped
from udfs.config import load_config
from udfs.errors import InputError
from udfs.roles import Role, roles_of
from udfs.sources import CORRUPT, SOURCE

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]


@pytest.fixture
def new_york(spark: SparkSession) -> Iterator[SparkSession]:
    """The session with a time zone that has daylight-saving days."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    yield spark
    spark.conf.set("spark.sql.session.timeZone", before)


def role_of(make_config: MakeConfig, name: str = "target", **sections: Any) -> Role:
    return next(r for r in roles_of(load_config(make_config(**sections))) if r.name == name)


def raw_rows(spark: SparkSession, ddl: str, rows: list[tuple[Any, ...]]) -> DataFrame:
    from pyspark.sql import functions as F

    return spark.createDataFrame(rows, ddl).withColumn(SOURCE, F.lit("s"))


def test_every_reason(spark: SparkSession, make_config: MakeConfig) -> None:
    role = role_of(make_config, dimensions=["store"])
    good, when = ("a", "x", "2024-01-01"), "2024-01-01"
    cases = [
        ((*good, "1", "a,x"), "corrupt_row"),
        ((None, "x", when, "1", None), "null_item_id"),
        ((" ", "x", when, "1", None), "null_item_id"),
        (("a", None, when, "1", None), "null_dimension"),
        (("a", "x", None, "1", None), "missing_timestamp"),
        (("a", "x", " ", "1", None), "missing_timestamp"),
        (("a", "x", "01/02/2024", "1", None), "bad_timestamp"),
        (("a", "x", "2024-02-30", "1", None), "bad_timestamp"),
        (("a", "x", "9999-12-31", "1", None), "bad_timestamp"),
        (("a", "x", "12:30", "1", None), "bad_timestamp"),
        ((*good, "many", None), "not_a_number"),
        ((*good, "1d", None), "not_a_number"),
        ((*good, "1,5", None), "not_a_number"),
        ((*good, "-Infinity", None), "infinite"),
        ((*good, "1e400", None), "infinite"),
        ((*good, "1e100", None), "infinite"),
        ((*good, None, None), None),
        ((*good, "NaN", None), None),
        ((*good, " n/a ", None), None),
        ((*good, "-1.5e3", None), None),
        (("😀'\"\\\x1f", "x", when, " 2 ", None), None),
    ]
    ddl = f"item_id string, store string, timestamp string, target string, `{CORRUPT}` string"
    rows = raw_rows(spark, ddl, [row for row, _ in cases])
    found = clean(rows, role, Frequency.parse("D"), None, with_row=True).collect()
    assert [row[REASON] for row in found] == [reason for _, reason in cases]
    assert {reason for _, reason in cases if reason} <= REASONS.keys()
    assert [row["target"] for row in found][-5:] == [None, None, None, -1500.0, 2.0]
    assert found[-1]["item_id"] == "😀'\"\\\x1f"
    assert json.loads(found[6][ROW]) == {"item_id": "a", "store": "x", "timestamp": "01/02/2024", "target": "1"}
    assert json.loads(found[0][ROW]) == {"line": "a,x"}


def micros(text: str) -> int:
    return int((datetime.fromisoformat(text) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000


INSTANT = datetime(2024, 3, 31, 0, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("kind", "value", "options", "frequency", "zone", "expected"),
    [
        ("string", "2024-03-31T01:30:00Z", {}, "D", None, "2024-03-31T01:30"),
        ("string", "2024-03-31T01:30:00+09:00", {}, "h", None, "2024-03-31T01:30"),
        ("string", "2024-03", {}, "MS", None, "2024-03-01"),
        ("string", "31.03.2024 01:30", {"timestamp_format": "dd.MM.yyyy HH:mm"}, "h", None, "2024-03-31T01:30"),
        ("string", "10.03.2024 02:30", {"timestamp_format": "dd.MM.yyyy HH:mm"}, "h", None, "2024-03-10T02:30"),
        ("int", 20240331, {"timestamp_format": "yyyyMMdd"}, "D", None, "2024-03-31"),
        ("date", date(2024, 3, 31), {}, "D", None, "2024-03-31"),
        ("timestamp_ntz", datetime(2024, 3, 10, 2, 30), {}, "h", None, "2024-03-10T02:30"),
        ("timestamp", INSTANT, {}, "h", None, "2024-03-30T20:30"),  # as Spark shows it in New York
        # With a zone: UTC for hours, local dates for days.
        ("string", "2024-03-31 01:30", {}, "h", "Europe/Paris", "2024-03-31T00:30"),
        ("string", "2024-03-31 02:30", {}, "h", "Europe/Paris", None),  # the clocks skip it
        ("string", "2024-03-31 03:30", {}, "h", "Europe/Paris", "2024-03-31T01:30"),
        ("string", "2024-10-27 02:30", {}, "h", "Europe/Paris", "2024-10-27T00:30"),
        ("string", "2024-10-27 02:30+01:00", {}, "h", "Europe/Paris", "2024-10-27T01:30"),
        ("string", "2024-03-31T22:30:00Z", {}, "D", "Europe/Paris", "2024-04-01T00:30"),
        ("string", "2024-03-31 23:30", {}, "D", "Europe/Paris", "2024-03-31T23:30"),
        ("timestamp", INSTANT, {}, "h", "Europe/Paris", "2024-03-31T00:30"),
        ("timestamp", INSTANT, {}, "D", "Asia/Seoul", "2024-03-31T09:30"),
        ("date", date(2024, 3, 31), {}, "D", "Asia/Seoul", "2024-03-31"),
    ],
)
def test_times(
    new_york: SparkSession, make_config: MakeConfig, kind: str, value: Any, options: dict[str, Any], frequency: str,
    zone: str | None, expected: str | None,
) -> None:  # fmt: skip
    role = role_of(make_config, data={"target": {"path": "x.csv", **options}})
    rows = raw_rows(new_york, f"item_id string, timestamp {kind}, target int", [("a", value, 1)])
    found = clean(rows, role, Frequency.parse(frequency), zone).first()
    assert found is not None
    if expected:
        assert (found[TIME], found[REASON]) == (micros(expected), None)
    else:
        assert found[REASON] == "nonexistent_time"


def test_days_of_23_and_25_hours(new_york: SparkSession, make_config: MakeConfig) -> None:
    from pyspark.sql import functions as F

    role = role_of(make_config)
    hour = Frequency.parse("h")
    for day, hours in (("2024-03-31", 23), ("2024-10-27", 25)):
        start = new_york.sql(f"SELECT unix_timestamp('{day} 00:00:00 Europe/Paris', 'yyyy-MM-dd HH:mm:ss VV')").first()
        assert start is not None
        rows = new_york.range(48).select(
            F.lit("a").alias("item_id"), F.timestamp_seconds(F.col("id") * 1800 + start[0]).alias("timestamp"),
            F.lit(1).alias("target"), F.lit("s").alias(SOURCE),
        )  # fmt: skip
        local = F.from_utc_timestamp(grid.timestamp_of(F.col(TIME)), "Europe/Paris").cast("date").cast("string")
        points = clean(rows, role, hour, "Europe/Paris")
        assert points.select(ORDINAL).distinct().count() == 24
        everything = rows.withColumn("timestamp", F.col("timestamp") + F.expr("INTERVAL 2 HOURS")).unionByName(rows)
        new_york.conf.set("spark.sql.session.timeZone", "UTC")
        found = clean(everything, role, hour, "Europe/Paris").where(local == day).select(ORDINAL).distinct().count()
        new_york.conf.set("spark.sql.session.timeZone", "America/New_York")
        assert found == hours


def test_aggregation_and_what_it_does_not_resolve(spark: SparkSession, make_config: MakeConfig) -> None:
    names = ["sum", "mean", "min", "max", "first", "last"]
    series = {f"c_{how}": {"aggregation": how} for how in names}
    role = role_of(make_config, "related:0", data={
        "target": {"path": "x.csv"}, "related": [{"path": "y.csv", "series": series}],
    })  # fmt: skip
    columns = ", ".join(f"{c} double" for c in series)
    hours = [("2024-01-01T06:00", 5.0), ("2024-01-01T04:00", 1.0), ("2024-01-01T08:00", None), ("2024-01-02", 2.0)]
    torn = [("2024-01-03T04:00", 1.0), ("2024-01-03T04:00", 2.0), ("2024-01-04", 3.0), ("2024-01-04", 3.0)]
    rows = [("a", time, *[value] * 6) for time, value in hours + torn]
    raw = raw_rows(spark, f"item_id string, timestamp string, {columns}", rows)
    groups = grouped(clean(raw, role, Frequency.parse("D"), None), role).orderBy(ORDINAL).collect()
    assert [g["c_sum"] for g in groups] == [6.0, 2.0, 3.0, 6.0]
    assert {how: groups[0][f"c_{how}"] for how in names} == {
        "sum": 6.0, "mean": 3.0, "min": 1.0, "max": 5.0, "first": 1.0, "last": 5.0
    }  # fmt: skip
    assert (groups[0]["#rows"], groups[0]["c_sum#n"]) == (3, 2)
    assert [g["#ambiguous"] for g in groups] == [False, False, True, False]
    strict = role_of(make_config, data={"target": {"path": "x.csv", "aggregation": "none"}})
    raw = raw.withColumn("target", raw["c_sum"])
    found = grouped(clean(raw, strict, Frequency.parse("D"), None), strict).orderBy(ORDINAL).collect()
    assert [(g["target"], g["#ambiguous"]) for g in found] == [(5.0, True), (2.0, False), (2.0, True), (3.0, True)]


def test_metadata_rows_that_differ_are_ambiguous(spark: SparkSession, make_config: MakeConfig) -> None:
    role = role_of(make_config, "items:0", data={
        "target": {"path": "x.csv"}, "items": [{"path": "y.csv", "attributes": {"hue": "Colour", "size": "size"}}],
    })  # fmt: skip
    rows = [(1, "red", None), (1, "red", None), (2, "", 4), (2, "a", 4)]
    raw = raw_rows(spark, "item_id int, COLOUR string, size int", rows)
    groups = grouped(clean(raw, role, Frequency.parse("D"), None), role).orderBy("item_id").collect()
    assert [(g["item_id"], g["hue"], g["size"], g["#ambiguous"]) for g in groups] == [
        ("1", "red", None, False), ("2", None, "4", True)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("ddl", "expected"),
    [
        ("item_id string, timestamp bigint, target int", "set timestamp_format"),
        ("item_id string, timestamp double, target int", "holds double, which is no time"),
        ("item_id string, timestamp string, target date", "holds date; expected numbers"),
        ("Item string, timestamp string, target int", "no column 'item_id', did you mean 'Item'?; its columns are"),
    ],
)
def test_columns_that_cannot_be_used(spark: SparkSession, make_config: MakeConfig, ddl: str, expected: str) -> None:
    with pytest.raises(InputError, match=r"data\.target") as error:
        clean(raw_rows(spark, ddl, []), role_of(make_config), Frequency.parse("D"), None)
    assert expected in str(error.value)


def test_names_in_columns_that_mean_nothing(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match=r"'itemid', which it does not use; did you mean 'item_id'\?"):
        role_of(make_config, data={"target": {"path": "x.csv", "columns": {"itemid": "sku"}}})
