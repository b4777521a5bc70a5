"""Metrics by horizon step, relative to a reference and in money, against plain loops over points."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import result_table as made

from forecasting.evaluation.layout import Layout
from udfs.derive import derive_forecasts, derive_metrics
from udfs.packed_numbers import unpacked
from udfs.row_numbers import HEAD, n_numbers, row_numbers, statistics_step
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

LISTS, LAYOUT = pa.list_(pa.float64()), Layout.of(made.LEVELS)
KIND = pa.schema(
    [
        *((name, pa.string()) for name in ("item_id", "model", "status")),
        *((name, pa.int32()) for name in ("bucket", "window")),
        *((name, pa.float64()) for name in ("mase_scale", "rmsse_scale", "seconds")),
        *((name, LISTS) for name in ("mean", "quantiles", "actuals", "log_density")),
    ]
)
GROUPS = [{"where": {"kind": "x"}, "under": 9.0, "over": 1.0}, {"where": {"store": "s2"}, "under": 1.0, "over": 1.0}]
PRICES = {"A": (9.0, 1.0), "B": (9.0, 1.0), "C": (1.0, 1.0), "=D": (1.0, 1.0), "E": (1.0, 1.0)}


def batch(rows: list[tuple[str, str, int]], **more: Any) -> pa.RecordBatch:
    """Rows of results for (item, model, window)."""
    records = []
    for item, model, window in rows:
        record = made.result(item, "s", model, window, made.MEANS[item, model, window]) | {"bucket": 0} | more
        records.append({name: record.get(name) for name in KIND.names})
    return pa.RecordBatch.from_pylist(records, schema=KIND)


def points(rows: list[tuple[str, str, int]], step: int) -> list[tuple[str, float, float]]:
    """(item, actual, forecast) of what can be scored at a step (from 0)."""
    out = []
    for item, model, window in rows:
        mean, y = made.MEANS[item, model, window], made.ACTUALS[item, window][step]
        if mean is not None and not math.isnan(y):
            out.append((item, y, mean[step]))
    return out


def test_a_task_adds_up_each_step_of_its_rows() -> None:
    """However the rows are cut into batches."""
    rows = list(made.MEANS)
    identity = ("item_id", "bucket", "model", "window")
    for cut in (len(rows), 3, 1):
        batches = [batch(rows[i : i + cut]) for i in range(0, len(rows), cut)]
        *of_series, steps = statistics_step(identity, made.LEVELS, ("item_id",))(iter(batches))
        assert sum(map(len, of_series)) == len(rows)
        assert all(b.column("step").null_count == len(b) for b in of_series)
        assert steps.column("item_id").null_count == len(steps) == 2 * 2 * made.H
        width = n_numbers(made.LEVELS)
        both = unpacked(steps.column("numbers"), 2 * width)
        totals = both[:, :width] + both[:, width:]
        for row, found in zip(steps.select(["model", "window", "step"]).to_pylist(), totals, strict=True):
            mine = [r for r in rows if (r[1], r[2]) == (row["model"], row["window"])]
            scored = points(mine, row["step"] - 1)
            got = found[len(HEAD) :]
            assert found[0] == len(mine)
            assert found[1] == mine.count(("E", "naive", 1))
            assert LAYOUT.part(got, "n_points") == len(scored)
            assert LAYOUT.part(got, "abs_error_median") == pytest.approx(sum(abs(y - f) for _, y, f in scored))
            scaled = [abs(y - f) / made.SCALES[i] for i, y, f in scored if made.SCALES[i] > 0]
            assert LAYOUT.part(got, "mase") == pytest.approx(sum(scaled))
            assert LAYOUT.part(got, "n_mase") == len(scaled)
            assert LAYOUT.part(got, "inside")[0] == sum(abs(y - f) <= 1 for _, y, f in scored)


def test_log_densities_that_are_null_or_not_there_leave_it_to_the_quantiles() -> None:
    rows = [("A", "naive", 1), ("A", "naive", 2), ("B", "naive", 1)]
    whole = batch(rows, log_density=[-1.0, -2.0, -3.0])
    numbers = {}
    for name, of in {
        "model": whole,
        "null": batch(rows, log_density=None),
        "absent": whole.drop_columns(["log_density", "rmsse_scale"]),
        "mixed": batch(rows, log_density=[-1.0, math.nan, -math.inf]),
    }.items():
        numbers[name] = row_numbers(of, made.LEVELS)[:, len(HEAD) :]
    part = {name: LAYOUT.part(table, "n_log_loss_model").tolist() for name, table in numbers.items()}
    assert part == {"model": [3, 2, 3], "null": [0] * 3, "absent": [0] * 3, "mixed": [1] * 3}
    assert LAYOUT.part(numbers["model"], "log_loss_sum").tolist() == [6.0, 4.0, 6.0]  # A's second actual is missing
    np.testing.assert_array_equal(numbers["null"], numbers["absent"])
    assert all(LAYOUT.part(table, "n_log_loss").tolist() == [3, 2, 3] for table in numbers.values())


def cost(item: str, y: float, mean: float) -> tuple[float, float]:
    """Money lost to too little and to too much, when the planning quantile was planned."""
    under, over = PRICES[item]
    plan = mean + np.interp(under / (under + over), made.LEVELS, (-1.0, 0.0, 1.0))
    return under * max(y - plan, 0), over * max(plan - y, 0)


@pytest.mark.spark
def test_steps_references_costs_and_the_plan(spark: SparkSession, tmp_path: Path) -> None:
    costs = {"under": 5.0, "over": 5.0, "groups": GROUPS}
    config, lake = made.new_lake(spark, tmp_path, evaluation={"error_cost": costs})
    derive_metrics(lake, made.RUN, config)
    metrics = [row for row in lake.read("metrics").collect() if row["model"] != "selected"]
    steps = {(r["model"], r["window"], r["step"]): r for r in metrics if r["scope"] == "step"}
    assert set(steps) == {(m, w, s) for m in ("naive", "seasonal_naive") for w in (-1, 1, 2) for s in (1, 2, 3)}
    for (model, window, step), row in steps.items():
        mine = [r for r in made.MEANS if r[1] == model and window in (-1, r[2])]
        scored = points(mine, step - 1)
        assert (row["n_points"], row["n_series"], row["seconds"]) == (len(scored), len(mine), None)
        size = sum(abs(y) for _, y, _ in scored)
        assert row["WAPE"] == pytest.approx(sum(abs(y - f) for _, y, f in scored) / size)
        assert row["RMSE"] == pytest.approx(math.sqrt(sum((y - f) ** 2 for _, y, f in scored) / len(scored)))
        assert row["interval_width"] == {"80": pytest.approx(2.0)}
        money = [cost(*point) for point in scored]
        assert row["cost_under"] == pytest.approx(sum(under for under, _ in money))
        assert row["cost_over"] == pytest.approx(sum(over for _, over in money))
        assert row["cost"] == pytest.approx(sum(map(sum, money)))
    assert all(row["step"] is None for row in metrics if row["scope"] != "step")
    assert {(row["point_forecast"], row["log_loss_source"]) for row in metrics if row["n_points"]} == {
        ("median", "quantiles")
    }
    _assert_owa(metrics)

    derive_forecasts(lake, made.RUN, config)
    names = register_views(spark, lake, prefix="plan_")
    assert "plan_forecast_plan" in names
    rows = spark.table("plan_forecast_plan").collect()
    assert len(rows) == lake.read("forecasts").count() == 11
    for row in rows:
        under, over = PRICES[row["item_id"]]
        mean = (made.FORECASTS[row["item_id"]] or [])[row["step"] - 1]
        assert row["plan_quantile"] == pytest.approx(under / (under + over))
        assert row["plan"] == pytest.approx(mean + np.interp(under / (under + over), made.LEVELS, (-1.0, 0.0, 1.0)))


def _assert_owa(metrics: list[Any]) -> None:
    """The reference is the run's seasonal_naive, in the same scope; NULL where it was scored on other points."""
    place = ("window", "scope", "item_id", "attribute", "value", "step")
    by_place = {(r["model"], *(r[name] for name in place)): r for r in metrics}
    judged = 0
    for (model, *scope), row in by_place.items():
        reference = by_place[("seasonal_naive", *scope)]
        same = row["n_points"] == reference["n_points"]
        defined = all(reference[name] not in (None, 0.0) for name in ("sMAPE", "MASE"))
        if not same or not defined:
            assert row["OWA"] is None, (model, scope)
            continue
        judged += 1
        expected = (row["sMAPE"] / reference["sMAPE"] + row["MASE"] / reference["MASE"]) / 2
        assert row["OWA"] == pytest.approx(expected)
        if model == "seasonal_naive":
            assert row["OWA"] == pytest.approx(1.0)
    assert judged > 20
