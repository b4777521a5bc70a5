"""The grid in Spark agrees with `Frequency` on arrays, whatever the session's time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from forecasting.frequency import Frequency
from udfs import grid

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
FREQUENCIES = ["min", "15min", "h", "6h", "D", "3D@1970-01-02", "D@1970-01-01T06:00", "W-THU", "2W@2020-01-07", "MS",
               "ME", "QS-FEB", "QE-DEC", "YS-JAN", "YE-JUN", "4MS@1970-03", "MS@15",
               "QS-FEB@28", "YS-APR@06"]  # fmt: skip
TIMES = [
    "1699-12-31T23:59:59.999999", "1969-12-31T23:59:59.999999", "1970-01-01", "2000-02-29T12:00:00.000001",
    "2020-03-08T02:30", "2020-11-01T01:30", "2021-01-31", "2190-12-31T23:59:59.999999",
]  # fmt: skip


@pytest.fixture
def new_york(spark: SparkSession) -> Iterator[SparkSession]:
    """The session with a time zone that has daylight-saving days."""
    before = spark.conf.get("spark.sql.session.timeZone")
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    yield spark
    spark.conf.set("spark.sql.session.timeZone", before)


def test_ordinals_and_labels_agree_with_frequency(new_york: SparkSession) -> None:
    from pyspark.sql import functions as F

    rows = new_york.createDataFrame([(i, t) for i, t in enumerate(TIMES)], "i int, text string")
    time = F.col("text").cast("timestamp_ntz")
    grids = [Frequency.parse(f) for f in FREQUENCIES]
    columns = [c for g in grids for c in (grid.period_ordinal(g, time), grid.period_label(g, time))]
    found = rows.select("i", *(c.alias(f"c{i}") for i, c in enumerate(columns))).orderBy("i").collect()
    micros = np.asarray(TIMES, dtype="M8[us]").astype(np.int64)
    for position, g in enumerate(grids):
        ordinals = g.ordinals(micros)
        labels = g.labels(ordinals).astype("M8[us]").tolist()
        assert [row[1 + 2 * position] for row in found] == ordinals.tolist(), g.name
        assert [row[2 + 2 * position] for row in found] == labels, g.name


def test_microseconds_go_both_ways(new_york: SparkSession) -> None:
    from pyspark.sql import functions as F

    micros = np.asarray(TIMES, dtype="M8[us]").astype(np.int64).tolist()
    rows = new_york.createDataFrame([(m,) for m in micros], "us bigint")
    time = grid.timestamp_of(F.col("us"))
    found = rows.select(time.alias("t"), grid.microseconds(time).alias("us")).collect()
    assert [row["us"] for row in found] == micros
    assert [row["t"] for row in found] == [datetime.fromisoformat(t) for t in TIMES]


def test_zones_agree_with_zoneinfo(new_york: SparkSession) -> None:
    from pyspark.sql import functions as F

    zone = ZoneInfo("Europe/Paris")
    epoch = datetime(1970, 1, 1)
    walls = [datetime(2024, 3, 31, 1, 30), datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)]
    second = timedelta(microseconds=1)
    rows = new_york.createDataFrame([((w - epoch) // second,) for w in walls], "wall bigint")
    utc = grid.to_utc(F.col("wall"), zone.key)
    found = rows.select(utc.alias("utc"), grid.from_utc(utc, zone.key).alias("back"), "wall").collect()
    expected = [w.replace(tzinfo=zone).astimezone(timezone.utc).replace(tzinfo=None) for w in walls]
    assert [epoch + row["utc"] * second for row in found] == expected
    assert [row["back"] == row["wall"] for row in found] == [True, False, True]  # 02:30 was skipped in March
