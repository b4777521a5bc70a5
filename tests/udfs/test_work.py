"""The cut into work units: complete, even, and each unit in a task of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.placement import looked_up, numbers_for, placed, placed_by_hash, spark_hash
from udfs.spec import ModelSpec
from udfs.work import RunPlan, StagePlan, cut, expected_microseconds, places, slots, waves

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@given(
    costs=st.dictionaries(st.integers(0, 199), st.floats(1e-6, 30.0), min_size=1, max_size=120),
    cores=st.integers(1, 16),
    unit_seconds=st.floats(0.01, 50.0),
)
@settings(max_examples=150, deadline=None)
def test_units_hold_everything_once_and_are_even(costs: dict[int, float], cores: int, unit_seconds: float) -> None:
    cells = np.array(sorted(costs))
    seconds = np.array([costs[int(c)] for c in cells])
    series = np.arange(1, len(cells) + 1)
    plan = cut(cells, series, seconds, cores=cores, unit_seconds=unit_seconds, n_cells=200)
    assert plan.cuts[0] == 0
    assert plan.cuts[-1] == 200
    assert list(plan.cuts) == sorted(set(plan.cuts))
    assert sum(plan.series) == series.sum()
    assert all(plan.series)
    for unit in range(len(plan)):
        inside = (cells >= plan.cells(unit).start) & (cells < plan.cells(unit).stop)
        assert plan.series[unit] == series[inside].sum()
        assert plan.seconds[unit] == pytest.approx(seconds[inside].sum(), abs=1e-5)
    assert max(plan.seconds) <= unit_seconds + seconds.max() + 1e-5


def test_small_work_is_few_units_and_big_work_three_a_core() -> None:
    cells, series = np.arange(1000), np.ones(1000, dtype=np.int64)

    def units(total: float) -> int:
        return len(cut(cells, series, np.full(1000, total / 1000), cores=2, unit_seconds=20.0, n_cells=1000))

    assert units(0.5) == 1
    assert units(4.0) == 4
    assert units(30.0) == 6
    assert units(400.0) == 20
    assert waves(range(20), 2) == [tuple(range(8)), tuple(range(8, 16)), tuple(range(16, 20))]


def test_cost_is_length_times_models_times_windows() -> None:
    from forecasting.models.registry import get_model

    one = expected_microseconds([ModelSpec("naive")], 1, 7)
    three = expected_microseconds([ModelSpec("naive"), ModelSpec("seasonal_naive")], 3, 7)
    assert three[0] == 6 * one[0]
    assert three[1] == pytest.approx(3 * (get_model("naive").cost + get_model("seasonal_naive").cost))


def test_a_long_season_costs_more_unless_the_model_is_told_another() -> None:
    week, year = (expected_microseconds([ModelSpec("ets")], 1, m)[1] for m in (7, 52))
    assert year > 2 * week
    assert expected_microseconds([ModelSpec("ets", {"season_length": 7})], 1, 52)[1] == week
    assert expected_microseconds([ModelSpec("naive")], 1, 7) == expected_microseconds([ModelSpec("naive")], 1, 52)


def test_a_plan_is_stored_and_read_back() -> None:
    plan = RunPlan(
        "D", 3, 9, 4, False, 12, 7.5, items=("a",), stages={"backtest": StagePlan((0, 3, 9), (5, 7), (1.0, 2.0))}
    )
    assert RunPlan.from_dict(plan.as_dict()) == plan


def test_places_of_units_that_are_left() -> None:
    plan = StagePlan((0, 3, 5, 9), (1, 1, 1), (1.0, 1.0, 1.0))
    first, position = places(plan, (2, 0))
    assert first == 0
    assert position.tolist() == [1, 1, 1, -1, -1, 0, 0, 0, 0]
    assert slots(16) * 16 == 16_384
    assert slots(4096) >= 1


@pytest.mark.spark
def test_hash_is_sparks(spark: SparkSession) -> None:
    from pyspark.sql import functions as F

    rows = spark.range(0, 500).select(F.hash(F.col("id").cast("int")).alias("h")).toPandas()["h"]
    assert spark_hash(np.arange(500)).tolist() == rows.tolist()


@pytest.mark.spark
@pytest.mark.parametrize("place", [placed, placed_by_hash])
def test_every_unit_is_one_task_under_adaptive_execution(spark: SparkSession, place: object) -> None:
    from pyspark.sql import functions as F

    assert spark.conf.get("spark.sql.adaptive.enabled") == "true"
    n = 13
    rows = spark.range(0, 26).withColumn("place", looked_up(np.arange(n), (F.col("id") % n).cast("int")))
    found = place(rows, n).select("place", F.spark_partition_id().alias("task")).distinct().collect()  # type: ignore[operator]
    assert sorted((r["place"], r["task"]) for r in found) == [(k, k) for k in range(n)]
    assert len(set(numbers_for(n).tolist())) == n
