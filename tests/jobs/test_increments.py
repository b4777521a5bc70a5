"""Increments: a lake that grew day by day holds, joined, what one read at once has, and forecasts the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from pyspark.sql import functions as F

from jobs.forecast import forecast
from jobs.ingest import ingest
from udfs.arrow import RELATED_PREFIX
from udfs.config import load_config
from udfs.lake import Lake
from udfs.pieces import joined, latest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [pytest.mark.spark, pytest.mark.timeout(1200)]
MakeConfig = Callable[..., dict[str, Any]]
TARGET, PRICE, ITEMS = "item_id,timestamp,target", "item_id,timestamp,price", "item_id,colour"
DAYS = [  # files of one ingest each: kind -> rows
    {
        "target": [f"{i},2024-01-{d:02},{d + ord(i)}" for i in "abcdef" for d in range(1, 11)],
        "price": [f"{i},2024-01-{d:02},{d}.5" for i in "ab" for d in range(1, 14)],
        "items": ["a,red", "b,blue", "new,green"],
    },
    {  # a day later, a new series, a gap, an explicit missing value, a price that replaces a known one by its mean
        "target": ["a,2024-01-11,1", "b,2024-01-12,2", "c,2024-01-11,", "g,2024-01-11,5", "g,2024-01-12,6"],
        "price": ["a,2024-01-12,9.5", "a,2024-01-15,7", "d,2024-01-12,3"],
    },
    {  # a late row, a corrected one, the first history of an item that had metadata only, metadata that change
        "target": ["a,2024-01-05,100", "d,2024-01-10,5", "b,2024-01-13,3", "new,2024-01-12,4", "new,2024-01-13,4"],
        "items": ["b,black", "c,white"],
    },
    {"price": ["b,2024-01-15,2", "a,2024-01-03,50"]},  # prices alone: of a future, and of the past
]  # fmt: skip


def config_of(make_config: MakeConfig, folder: Path, **more: Any) -> dict[str, Any]:
    return make_config(
        frequency="D",
        horizon=2,
        data={
            "target": {"path": str(folder / "target")},
            "related": [{"path": str(folder / "price"), "series": {"price": {"known_in_future": True}}}],
            "items": [{"path": str(folder / "items"), "attributes": ["colour"]}],
        },
        models={"ets": {}},
        limits={"max_failed_share": 1.0},  # some series are too short for a forecast of their own
        lake={"path": str(folder / "lake"), "buckets": 4},
        **more,
    )


def written(folder: Path, days: range) -> None:
    for day in days:
        for kind, rows in DAYS[day].items():
            (folder / kind).mkdir(parents=True, exist_ok=True)
            head = {"target": TARGET, "price": PRICE, "items": ITEMS}[kind]
            (folder / kind / f"{day}.csv").write_text("\n".join([head, *rows]) + "\n")


def content(lake: Lake) -> dict[str, tuple[Any, ...]]:
    """What readers see of every series: history and related values, metadata, counts."""
    rows = joined(lake.read("series"), ["item_id"], ["price"]).collect()
    found = {}
    for row in rows:
        price = np.asarray(row[RELATED_PREFIX + "price"], float)
        seen = np.flatnonzero(~np.isnan(price))
        price = price[: seen[-1] + 1 if len(seen) else 0]
        profile = row["profile"]
        counts = (profile["n_obs"], profile["n_missing"], profile["n_zero"], profile["last_observed"])
        start = row["start"] if row["target"] else None
        found[row["item_id"]] = (
            start, repr(row["target"]), repr(price.tolist()), row["metadata"]["colour"], row["bucket"], counts,
            None if profile["mean"] is None else round(profile["mean"], 9),
        )  # fmt: skip
    return found


def forecasts(spark: SparkSession, config: dict[str, Any], lake: Lake) -> list[tuple[Any, ...]]:
    run = forecast(config, spark)
    rows = lake.read("results").where(F.col("run_id") == run.run_id)
    columns = ("item_id", "forecast_start", "status", "n_obs", "mean", "quantiles")
    return sorted(tuple(map(repr, row)) for row in rows.select(*columns).collect())


def test_increments_are_one_ingest(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    steps, whole = tmp_path / "steps", tmp_path / "whole"
    config = config_of(make_config, steps)
    lake = Lake.of(spark, load_config(config))
    appended = []
    for day in range(len(DAYS)):
        written(steps, range(day, day + 1))
        ingest(config, spark)
        history = spark.sql(f"DESCRIBE HISTORY {lake.identifier('series')}").select("operationParameters").collect()
        appended.append(sum(row[0].get("mode") == "Append" for row in history))
    assert appended[1] > 0  # a day was appended and not packed again
    pieces = lake.read("series").groupBy("item_id").agg(F.count("*").alias("n")).collect()
    segments = {row["item_id"]: row["n"] for row in pieces}
    assert segments["g"] == 1  # a new series is one piece
    assert segments["b"] > 1

    written(whole, range(len(DAYS)))
    other = config_of(make_config, whole)
    ingest(other, spark)
    at_once = Lake.of(spark, load_config(other))
    expected = content(at_once)
    assert content(lake) == expected
    assert latest(lake.read("series"), ["item_id"]).count() == len(expected)
    assert forecasts(spark, config, lake) == forecasts(spark, other, at_once)

    # Pieces are packed again, a few buckets an ingest.
    (steps / "target" / "9.csv").write_text(TARGET + "\na,2024-01-14,1\n")
    (whole / "target" / "9.csv").write_text(TARGET + "\na,2024-01-14,1\n")
    compacted = config | {"ingest": {"compact_after": 2}}
    ingest(compacted, spark)
    ingest(other | {"ingest": {"mode": "full"}}, spark)
    assert content(lake) == content(at_once)


def written_table(spark: SparkSession, path: Path, rows: list[tuple[str, str, float]], mode: str = "append") -> None:
    frame = spark.createDataFrame(rows, "item_id string, timestamp string, target double")
    frame.coalesce(1).write.format("delta").mode(mode).save(str(path))


@pytest.mark.parametrize("feed", [False, True])
def test_a_delta_table_that_grew(spark: SparkSession, make_config: MakeConfig, tmp_path: Path, feed: bool) -> None:
    table = tmp_path / "in+t"
    first = [(i, f"2024-01-{d:02}", float(d)) for i in "abc" for d in range(1, 5)]
    written_table(spark, table, first)
    if feed:
        spark.sql(f"ALTER TABLE delta.`{table}` SET TBLPROPERTIES (delta.enableChangeDataFeed = true)")
    config = make_config(data={"target": {"path": str(table), "format": "delta"}})
    lake = Lake.of(spark, load_config(config))
    ingest(config, spark)
    written_table(spark, table, [("a", "2024-01-05", 5.0), ("b", "2024-01-02", 100.0)])
    report = ingest(config, spark)
    assert (report.n_rows, report.sources["new"], report.notes) == (2, 1, ())
    read = {row["source"].rpartition("@")[0] != "": row["n_rows"] for row in lake.read("sources").collect()}
    assert read == {False: 12, True: 2}
    history = {row["item_id"]: row["target"] for row in joined(lake.read("series"), ["item_id"], []).collect()}
    assert history == {"a": [1, 2, 3, 4, 5], "b": [1, 102, 3, 4], "c": [1, 2, 3, 4]}
    spark.sql(f"OPTIMIZE delta.`{table}`")
    assert not ingest(config, spark).changed

    # Rows were changed: the whole table in place of its parts, said so.
    spark.sql(f"DELETE FROM delta.`{table}` WHERE item_id = 'c'")
    report = ingest(config, spark)
    assert report.n_rows == 10
    assert "read whole again: rows were changed or deleted" in report.notes[0]
    assert lake.read("sources").count() == 1
    history = {row["item_id"]: row["target"] for row in joined(lake.read("series"), ["item_id"], []).collect()}
    assert history == {"a": [1, 2, 3, 4, 5], "b": [1, 102, 3, 4]}


def test_a_new_column_joins_the_tables(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    written(tmp_path, range(1))
    config = config_of(make_config, tmp_path)
    ingest(config, spark)
    lake = Lake.of(spark, load_config(config))
    target = lake.version("target")
    # The sources gained a column, and the config names it.
    (tmp_path / "items" / "0.csv").write_text("item_id,colour,size\na,red,9\nb,blue,\nnew,green,1\n")
    rows = [f"{i},2024-01-{d:02},{d}.5,{d % 2}" for i in "ab" for d in range(1, 14)]
    (tmp_path / "price" / "0.csv").write_text("\n".join([PRICE + ",promo", *rows]) + "\n")
    data = config["data"]
    data["related"][0]["series"]["promo"] = {}
    data["items"][0]["attributes"] = ["colour", "size"]
    ingest(config, spark)
    lake = Lake.of(spark, load_config(config))
    assert lake.version("target") == target  # the history was not touched
    found = {r["item_id"]: r for r in latest(lake.read("series"), ["item_id"]).collect()}
    assert found["a"]["metadata"].asDict() == {"colour": "red", "size": "9"}
    history = {r["item_id"]: r for r in joined(lake.read("series"), ["item_id"], ["price", "promo"]).collect()}
    assert history["a"][RELATED_PREFIX + "promo"] == [d % 2 for d in range(1, 14)]
    assert history["c"][RELATED_PREFIX + "promo"] == []


def test_related_series_of_a_part_of_the_key(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    days = [
        {
            "target": [f"a,{s},2024-01-0{d},{d}" for s in ("s1", "s2", "s3") for d in range(1, 5)],
            "weather": [f"{s},2024-01-0{d},1{d}" for s in ("s1", "s2") for d in range(1, 7)],
            "items": ["s1,north", "s2,south"],
        },
        {  # s3 gets its first weather, all of it late; s1 more of a future; s2 moves to another region
            "target": ["a,s1,2024-01-05,5", "b,s2,2024-01-05,6"],
            "weather": ["s1,2024-01-07,17", "s3,2024-01-02,32"],
            "items": ["s2,west"],
        },
        {"weather": ["s2,2024-01-07,27"], "target": ["a,s2,2024-01-06,7"]},
    ]
    heads = {"target": "item_id,store,timestamp,target", "weather": "store,timestamp,temp", "items": "store,region"}
    found = []
    for name, groups in (("steps", [[day] for day in days]), ("whole", [days])):
        folder = tmp_path / name
        config = make_config(
            dimensions=["store"],
            data={
                "target": {"path": str(folder / "target")},
                "related": [
                    {"path": str(folder / "weather"), "key": ["store"], "series": {"temp": {"known_in_future": True}}}
                ],
                "items": [{"path": str(folder / "items"), "key": ["store"], "attributes": ["region"]}],
            },
            lake={"path": str(folder / "lake"), "buckets": 2},
        )
        number = 0
        for group in groups:
            for day in group:
                for kind, rows in day.items():
                    (folder / kind).mkdir(parents=True, exist_ok=True)
                    (folder / kind / f"{number}.csv").write_text("\n".join([heads[kind], *rows]) + "\n")
                number += 1
            ingest(config, spark)
        lake = Lake.of(spark, load_config(config))
        rows = joined(lake.read("series"), ["item_id", "store"], ["temp"]).collect()
        found.append({
            (row["item_id"], row["store"]): (
                row["start"], repr(row["target"]), repr(row["related:temp"]), row["metadata"]["region"],
            )
            for row in rows
        })  # fmt: skip
    steps, whole = found
    assert steps == whole
    assert whole["a", "s1"][2:] == ("[11.0, 12.0, 13.0, 14.0, 15.0, 16.0, 17.0]", "north")
    assert whole["b", "s2"][3] == "west"
