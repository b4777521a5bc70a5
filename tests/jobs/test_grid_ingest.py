"""Timestamps as they come, from rows to series: steps, alignment, partial periods, daylight-saving days."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from forecasting.resolution import codes
from jobs.forecast import forecast
from jobs.ingest import ingest
from udfs import resolution
from udfs.config import Config, load_config
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
Rows = Sequence[tuple[str, str, float]]


def written(content: dict[str, Any], rows: Rows) -> Config:
    lines = [f"{item},{time},{value}" for item, time, value in rows]
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *lines]))
    return load_config(content)


def daily(item: str, first: str, last: str, value: float = 1.0) -> Rows:
    return [(item, str(d), value) for d in np.arange(first, np.datetime64(last) + 1, dtype="M8[D]")]


def series_of(spark: SparkSession, config: Config) -> dict[str, tuple[str, list[float]]]:
    rows = Lake.of(spark, config).read("series").collect()
    return {r["item_id"]: (str(r["start"]), list(r["target"])) for r in rows}


def test_codes_are_those_of_arrays(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    rng = np.random.default_rng(3)
    days = np.arange("2023-12-20", "2024-03-10", dtype="M8[D]").astype("M8[us]").astype(np.int64)
    times = np.concatenate([rng.integers(-(10**15), 4 * 10**15, 300), days])
    rows = spark.createDataFrame([(int(t),) for t in times], "t bigint")
    found = [r[0] for r in rows.select(resolution.code(F.col("t"))).collect()]
    np.testing.assert_array_equal(found, codes(times))


def test_a_frequency_finer_than_the_data_is_noted_or_refused(spark: SparkSession, make_config: MakeConfig) -> None:
    weeks = np.arange("2023-01-02", "2023-09-01", 7, dtype="M8[D]")
    rows = [(f"w{i}", str(d + i), 1.0) for i in range(9) for d in weeks] + list(daily("d", "2023-01-02", "2023-03-01"))
    strict = make_config(ingest={"frequency_check": {"otherwise": "error"}})
    config = written(strict, rows)
    with pytest.raises(InputError, match=r"only 10.0%.*W 90.0%, D 10.0%"):
        ingest(config, spark)
    assert not Lake.of(spark, config).exists("target")
    elsewhere = f"lake.path={strict['lake']['path']}_quiet"
    quiet = load_config(strict, ["ingest.frequency_check.otherwise=ignore", elsewhere])
    assert not ingest(quiet, spark).notes
    report = ingest(load_config(strict, ["ingest.frequency_check.otherwise=warn"]), spark)
    assert [note for note in report.notes if "W 90.0%, D 10.0%" in note]


@pytest.mark.parametrize("aggregation", ["sum", "first"])
def test_hourly_rows_under_days_are_said_to_be_aggregated(
    spark: SparkSession, make_config: MakeConfig, aggregation: str
) -> None:
    hours = np.arange("2024-01-01", "2024-01-06", dtype="M8[h]")
    content = make_config()
    content["data"]["target"]["aggregation"] = aggregation
    report = ingest(written(content, [("a", str(h) + ":00", 1.0) for h in hours]), spark)
    assert [note for note in report.notes if f"(h 100.0%) and were aggregated by {aggregation}" in note]


def test_series_of_two_steps_are_named(spark: SparkSession, make_config: MakeConfig) -> None:
    rows = list(daily("a", "2024-01-01", "2024-03-01")) + list(daily("b", "2024-01-01", "2024-03-01"))
    rows += [("m", f"2023-{m:02d}-01", 1.0) for m in range(1, 13)]
    content = make_config(frequency="MS", ingest={"frequency_check": {"min_share": 0.5}})
    assert [n for n in ingest(written(content, rows), spark).notes if "D 66.7%, MS 33.3%" in n]


def test_a_sample_of_series_says_the_same(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Many files: series are sampled, and all of them asked where the sample has too few."""
    folder = tmp_path / "days"
    folder.mkdir()
    for day in np.arange("2024-01-01", "2024-01-21", dtype="M8[D]"):
        lines = [f"i{k},{day},{k}" for k in range(60 if day < np.datetime64("2024-01-18") else 3)]
        (folder / f"{day}.csv").write_text("\n".join(["item_id,timestamp,target", *lines]))
    content = make_config(data={"target": {"path": str(folder)}}, frequency="h")
    report = ingest(load_config(content), spark)
    assert [note for note in report.notes if "of the 60 series" in note or "D 100.0%" in note]
    assert report.rows == {"target": 17 * 60 + 3 * 3}


def test_periods_begin_where_time_alignment_says(spark: SparkSession, make_config: MakeConfig) -> None:
    content = make_config(frequency="MS", time_alignment={"day_of_month": 15}, models={"naive": {}}, horizon=2)
    config = written(content, daily("a", "2024-01-10", "2024-04-14"))
    report = ingest(config, spark)
    assert report.frequency == "MS@15"
    assert series_of(spark, config)["a"] == ("2023-12-15 00:00:00", [5.0, 31.0, 29.0, 31.0])
    run = forecast(config, spark)
    rows = Lake.of(spark, config).read("forecasts").where(f"run_id = '{run.run_id}'").orderBy("step").collect()
    assert [str(r["timestamp"]) for r in rows] == ["2024-04-15 00:00:00", "2024-05-15 00:00:00"]
    with pytest.raises(InputError, match="frequency is 'MS@20', the lake's is 'MS@15'"):
        ingest(load_config(content, ["time_alignment.day_of_month=20"]), spark)


def test_days_begin_at_six(spark: SparkSession, make_config: MakeConfig) -> None:
    hours = np.arange("2024-01-01T06", "2024-01-04T06", dtype="M8[h]")
    config = written(make_config(time_alignment={"hour": 6}), [("a", f"{h}:00", 1.0) for h in hours])
    ingest(config, spark)
    assert series_of(spark, config)["a"] == ("2024-01-01 06:00:00", [24.0, 24.0, 24.0])


def test_partial_weeks_are_dropped_until_they_are_whole(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Weekly sums of daily rows: the first week has 3 days, the last one 2; a later file completes the last one."""
    drop = {"partial_periods": {"first": "drop", "last": "drop"}}
    content = make_config(frequency="W-MON", ingest=drop, forecast_start="global")
    config = written(content, [*daily("a", "2024-01-05", "2024-01-23"), *daily("late", "2024-01-22", "2024-01-23")])
    report = ingest(config, spark)
    assert series_of(spark, config) == {
        "a": ("2024-01-08 00:00:00", [7.0, 7.0]), "late": ("2024-01-22 00:00:00", []),
    }  # fmt: skip
    dropped = [note for note in report.notes if "is not complete" in note]
    assert len(dropped) == 2
    assert "first period of the data, 2024-01-01T00:00" in dropped[0]
    assert "points of 1 series" in dropped[0]
    assert "last period of the data, 2024-01-22T00:00" in dropped[1]
    assert "points of 2 series" in dropped[1]
    more = tmp_path / "more.csv"
    more.write_text(
        "\n".join(["item_id,timestamp,target", *(f"a,{d},{v}" for _, d, v in daily("a", "2024-01-24", "2024-01-28"))])
    )
    second = load_config(content | {"data": {"target": {"path": [content["data"]["target"]["path"], str(more)]}}})
    report = ingest(second, spark)
    assert series_of(spark, second) == {
        "a": ("2024-01-08 00:00:00", [7.0, 7.0, 7.0]), "late": ("2024-01-22 00:00:00", [2.0]),
    }  # fmt: skip
    assert len([note for note in report.notes if "is not complete" in note]) == 1


def test_partial_weeks_are_kept_unless_told(spark: SparkSession, make_config: MakeConfig) -> None:
    config = written(make_config(frequency="W-MON"), daily("a", "2024-01-05", "2024-01-23"))
    ingest(config, spark)
    assert series_of(spark, config)["a"] == ("2024-01-01 00:00:00", [3.0, 7.0, 7.0, 2.0])
    assert not Lake.of(spark, config).exists("source_times")


@pytest.mark.parametrize(("first", "hours"), [("2024-03-30", 23), ("2024-10-26", 25)])
def test_a_day_of_23_and_one_of_25_hours(spark: SparkSession, make_config: MakeConfig, first: str, hours: int) -> None:
    """Three local days around a change of the clocks in Paris, with a row an hour of real time."""
    from datetime import datetime, timedelta, timezone
    from zoneinfo import ZoneInfo

    paris = ZoneInfo("Europe/Paris")
    begin = datetime.fromisoformat(first).replace(tzinfo=paris).astimezone(timezone.utc)
    end = (datetime.fromisoformat(first) + timedelta(days=3)).replace(tzinfo=paris).astimezone(timezone.utc)
    n = int((end - begin) / timedelta(hours=1))
    assert n == 48 + hours
    rows = [("a", (begin + timedelta(hours=k)).strftime("%Y-%m-%dT%H:%M:%SZ"), float(k)) for k in range(n)]
    content = make_config(frequency="h", time_zone="Europe/Paris", models={"naive": {}}, horizon=2)
    hourly = written(content, rows)
    ingest(hourly, spark)
    start, values = series_of(spark, hourly)["a"]
    assert start == begin.strftime("%Y-%m-%d %H:%M:%S")
    assert values == [float(k) for k in range(n)]
    run = forecast(hourly, spark)
    made = Lake.of(spark, hourly).read("forecasts").where(f"run_id = '{run.run_id}'").orderBy("step").collect()
    assert [str(r["timestamp"]) for r in made] == [
        (end + timedelta(hours=k)).strftime("%Y-%m-%d %H:%M:%S") for k in range(2)
    ]
    lake = content["lake"] | {"path": content["lake"]["path"] + "_daily"}
    by_day = load_config(content | {"frequency": "D", "lake": lake})
    ingest(by_day, spark)
    sums = [sum(range(24)), sum(range(24, 24 + hours)), sum(range(24 + hours, n))]
    assert series_of(spark, by_day)["a"] == (f"{first} 00:00:00", [float(s) for s in sums])


def test_naive_hours_on_such_a_day_are_the_clock(spark: SparkSession, make_config: MakeConfig) -> None:
    """Without a time zone: the hour that is there twice is one point, the one that is skipped is missing."""
    autumn = [("a", f"2024-10-27T{h:02d}:00", 1.0) for h in (0, 1, 2, 2, 3)]
    spring = [("b", f"2024-03-31T{h:02d}:00", 1.0) for h in (0, 1, 3)]
    config = written(make_config(frequency="h"), [*autumn, *spring])
    report = ingest(config, spark)
    assert report.n_rejected == 0
    found = series_of(spark, config)
    assert found["a"][1] == [1.0, 1.0, 2.0, 1.0]
    np.testing.assert_array_equal(found["b"][1], [1.0, 1.0, np.nan, 1.0])


def test_duplicates_are_aggregated_or_refused_by_rule(spark: SparkSession, make_config: MakeConfig) -> None:
    rows = [*daily("a", "2024-01-01", "2024-01-30"), ("a", "2024-01-30", 5.0)]
    summed = written(make_config(), rows)
    ingest(summed, spark)
    assert series_of(spark, summed)["a"][1][-1] == 6.0
    content = make_config()
    content["lake"]["path"] += "_strict"
    content["data"]["target"]["aggregation"] = "none"
    strict = written(content, rows)
    report = ingest(strict, spark)
    assert report.rejected == {"duplicate": 2}
    assert len(series_of(spark, strict)["a"][1]) == 29
