"""`metrics`, `selection` and `forecasts` from hand-made results, against a plain loop over points."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
import result_table as made
from chispa import assert_df_equality
from hypothesis import given, settings
from hypothesis import strategies as st

from forecasting.evaluation.sums import GroupedSums
from forecasting.frequency import Frequency
from udfs.derive import derive_forecasts, derive_metrics, derive_selection
from udfs.lake import Lake
from udfs.packed_numbers import dense
from udfs.series_rows import series_rows
from udfs.steps import step_label

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

    from udfs.config import Config


@pytest.fixture(scope="module")
def lake(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return made.derived_lake(spark, tmp_path_factory)[1]


def plain_metrics(rows: list[tuple[str, str, int]]) -> dict[str, float | None]:
    """The metrics of some rows, point by point, straight from their definitions."""
    loss = {q: 0.0 for q in made.LEVELS}
    size = error = square = bias = percent = 0.0
    n = nonzero = missing = 0
    scaled = []
    covered = {q: 0 for q in made.LEVELS}
    for item, model, window in rows:
        mean, actual = made.MEANS[item, model, window], made.ACTUALS[item, window]
        own = []
        missing += sum(math.isnan(y) for y in actual)
        for h, y in enumerate(actual):
            if math.isnan(y) or mean is None:
                continue
            n += 1
            size += abs(y)
            error += abs(y - mean[h])
            own.append(abs(y - mean[h]))
            square += (y - mean[h]) ** 2
            bias += mean[h] - y
            if y != 0:
                percent += abs(y - mean[h]) / abs(y)
                nonzero += 1
            for q, shift in zip(made.LEVELS, (-1.0, 0.0, 1.0), strict=True):
                f = mean[h] + shift
                loss[q] += q * (y - f) if y >= f else (1 - q) * (f - y)
                covered[q] += y <= f
        if own and made.SCALES[item] > 0:
            scaled.append(sum(own) / len(own) / made.SCALES[item])
    weighted = {q: 2 * loss[q] / size for q in loss} if size > 0 else None
    return {
        "n_points": n,
        "n_missing": missing,
        "mean_wQL": sum(weighted.values()) / 3 if weighted else None,
        "WAPE": error / size if size > 0 else None,
        "RMSE": math.sqrt(square / n) if n else None,
        "MAPE": percent / nonzero if nonzero else None,
        "MASE": sum(scaled) / len(scaled) if scaled else None,
        "p90_covered": covered[0.9] / n if n else None,
        "p90_wQL": weighted[0.9] if weighted else None,
        "bias_sum": bias,
    }


def assert_metrics(row: Any, rows: list[tuple[str, str, int]]) -> None:
    expected = plain_metrics(rows)
    got = {name: row[name] for name in ("n_points", "n_missing", "mean_wQL", "WAPE", "RMSE", "MAPE", "MASE")}
    got |= {"p90_covered": row["coverage"]["p90"], "p90_wQL": row["wQL"]["p90"], "bias_sum": row["sums"]["bias"]}
    assert got == {
        name: value if value is None else pytest.approx(value, rel=1e-12) for name, value in expected.items()
    }
    assert row["n_series"] == len(rows)
    # What was selected costs what all models cost; the leaderboard adds that up.
    assert row["seconds"] == pytest.approx(0.0 if row["model"] == "selected" else 0.25 * len(rows))
    assert row["n_fallback"] == rows.count(("E", "naive", 1))


def members(scope: str, row: Any) -> list[tuple[str, str, int]]:
    """The rows of results behind a row of metrics."""
    windows = (1, 2) if row["window"] == -1 else (row["window"],)
    if scope == "item":
        items = [row["item_id"]]
    else:
        items = [i for i, _ in made.KEYS if scope == "total" or made.KINDS[i] == row["value"]]
    return [(i, made.CHOSEN[i] if row["model"] == "selected" else row["model"], w) for i in items for w in windows]


@pytest.mark.spark
@pytest.mark.parametrize(("scope", "count"), [("item", 5 * 3 * 3), ("segment", 3 * 3 * 3), ("total", 3 * 3)])
def test_metrics_are_those_of_a_plain_loop(lake: Lake, scope: str, count: int) -> None:
    rows = lake.read("metrics").where(f"scope = '{scope}'").collect()
    assert (
        len({(r["model"], r["window"], r["item_id"], r["attribute"], r["value"]) for r in rows}) == len(rows) == count
    )
    for row in rows:
        assert_metrics(row, members(scope, row))
        assert (row["item_id"] is None) == (scope != "item")
        assert row["attribute"] == ("kind" if scope == "segment" else None)


@pytest.mark.spark
def test_undefined_ratios_are_null_and_their_sums_are_kept(lake: Lake) -> None:
    zeros = lake.read("metrics").where("item_id = 'C' AND model = 'seasonal_naive' AND window = -1").first()
    assert zeros["mean_wQL"] is None
    assert zeros["WAPE"] is None
    assert zeros["wQL"] == {"p10": None, "p50": None, "p90": None}
    assert zeros["sums"]["abs_error_median"] == 1.0
    assert zeros["sums"]["n_zero_actual"] == 6.0


@pytest.mark.spark
def test_selection_is_the_smallest_summed_loss(lake: Lake) -> None:
    rows = {row["item_id"]: row for row in lake.read("selection").collect()}
    assert {item: row["model"] for item, row in rows.items()} == made.CHOSEN
    loss = plain_loss("A", "naive")
    assert rows["A"]["score"] == pytest.approx(loss)
    assert rows["A"]["runner_up"] == "seasonal_naive"
    assert rows["A"]["margin"] == pytest.approx(1 - loss / plain_loss("A", "seasonal_naive"))
    reasons = {item: row["reason"] for item, row in rows.items()}
    assert reasons == {"A": "best", "B": "best", "C": "best", "=D": "no_scores", "E": "only_candidate"}
    assert rows["=D"]["score"] is None
    assert rows["=D"]["runner_up"] is None
    assert rows["E"]["margin"] is None


def plain_loss(item: str, model: str) -> float:
    """Twice the pinball loss, averaged over the levels, of both windows."""
    total = 0.0
    for window in (1, 2):
        for y, m in zip(made.ACTUALS[item, window], made.MEANS[item, model, window] or (), strict=True):
            for q, f in zip(made.LEVELS, (m - 1, m, m + 1), strict=True):
                total += 0.0 if math.isnan(y) else 2 * max(q * (y - f), (q - 1) * (y - f)) / 3
    return total


@pytest.mark.spark
def test_forecasts_are_a_row_a_step(lake: Lake) -> None:
    rows = lake.read("forecasts").orderBy("item_id", "step").collect()
    expected = [
        (
            item,
            store,
            h + 1,
            made.FORECAST_START + timedelta(days=h),
            made.CHOSEN[item],
            value,
            value - 1,
            value,
            value + 1,
        )
        for item, store in sorted(made.KEYS)
        for h, value in enumerate(made.FORECASTS[item] or [])
        if not math.isnan(value)
    ]
    got = ("item_id", "store", "step", "timestamp", "model", "mean", "p10", "p50", "p90")
    assert [tuple(row[name] for name in got) for row in rows] == expected
    assert {(row["run_id"], row["scenario"]) for row in rows} == {(made.RUN, "baseline")}
    bucket = lake.read("series").select("item_id", "bucket").collect()
    assert {r["item_id"]: r["bucket"] for r in rows}.items() <= {r["item_id"]: r["bucket"] for r in bucket}.items()


@pytest.mark.spark
def test_deriving_again_gives_the_same_tables_and_leaves_other_runs(spark: SparkSession, tmp_path: Path) -> None:
    config, lake = made.new_lake(spark, tmp_path, backtest={"windows": 2}, mean=False)
    other = [made.result("A", "s1", "naive", w, [1.0, 2.0, 3.0], run_id="other") for w in (0, 1)]
    made.write_rows(lake, "results", other, "other")
    derive_metrics(lake, "other", config)  # before any selection: without the pseudo-model
    assert {row["model"] for row in lake.read("metrics").collect()} == {"naive"}
    tables = ("selection", "metrics", "forecasts")

    def derive() -> None:
        derive_selection(lake, made.RUN, config)
        derive_metrics(lake, made.RUN, config)
        derive_forecasts(lake, made.RUN, config)

    derive()
    derive_forecasts(lake, "other", config)
    first = {table: lake.version(table) for table in tables}
    derive()
    for table in tables:
        assert lake.version(table) > first[table]
        old, new = (_comparable(lake.read(table, version)) for version in (first[table], None))
        assert_df_equality(old, new, ignore_row_order=True)
    assert {r["run_id"] for r in lake.read("forecasts").collect()} == {made.RUN, "other"}
    assert {r["mean"] for r in lake.read("forecasts").collect()} == {None}, "mean: false"


def _comparable(rows: DataFrame) -> DataFrame:
    """Maps as lists: Spark compares no maps."""
    from pyspark.sql import functions as F

    maps = {name for name, kind in rows.dtypes if kind.startswith("map")}
    return rows.select(*(F.sort_array(F.map_entries(n)).alias(n) if n in maps else n for n in rows.columns))


@pytest.mark.spark
def test_a_run_without_windows_has_one_candidate_a_series(spark: SparkSession, tmp_path: Path) -> None:
    segment = {"name": "x", "where": {"kind": "x"}, "models": {"seasonal_naive": {}}}
    config: Config = made.config_for(tmp_path, models={"naive": {}}, segments=[segment], backtest={"windows": 0})
    lake = Lake.of(spark, config)
    lake.identify(config, "D")
    made.write_rows(lake, "series", made.series_records(), "series")
    derive_selection(lake, made.RUN, config)
    rows = lake.read("selection").collect()
    models = {"A": "seasonal_naive", "B": "seasonal_naive", "C": "naive", "=D": "naive", "E": "naive"}
    assert {row["item_id"]: row["model"] for row in rows} == models
    assert {row["reason"] for row in rows} == {"only_candidate"}


FREQUENCIES = ["15min", "h", "D", "3D", "W-THU", "2W", "MS", "ME", "3MS", "QE-NOV", "YS-APR", "YE"]


@pytest.mark.spark
def test_labels_in_sql_are_those_of_the_grid(spark: SparkSession) -> None:
    """Every kind of frequency, over leap years and month ends of all lengths."""
    asked, expected = [], []
    for name in FREQUENCIES:
        frequency = Frequency.parse(name)
        for first in frequency.labels(frequency.ordinals([_us("2023-11-30T00:00"), _us("2024-01-31T00:00")])):
            frequency = frequency.aligned_to(int(first))
            start = f"timestamp_ntz'{np.datetime64(int(first), 'us')}'"
            begin = frequency.ordinals([first])[0]
            asked.append(f"transform(sequence(0, 30), i -> {step_label(frequency, start, 'i')})")
            expected.append(frequency.labels(begin + np.arange(31)).astype("M8[us]").tolist())
    got = spark.sql(f"SELECT {', '.join(f'{sql} AS c{i}' for i, sql in enumerate(asked))}").first()
    assert list(got) == expected


def _us(text: str) -> int:
    return int(np.datetime64(text, "us").astype(np.int64))


def test_rows_of_a_slice_and_lists_that_end_early() -> None:
    def row(model: str, window: int, *numbers: float) -> dict[str, Any]:
        return {"names": json.dumps([[model, window]]), "numbers": np.array(numbers, dtype=np.float64).tobytes()}

    rows = [[row("b", 1, 1, 2)], [row("b", 2, 3, 4), row("a", 1, 5, 6), row("b", 1, 7, 8)]]
    kind = pa.list_(pa.struct({"names": pa.string(), "numbers": pa.binary()}))
    batch = pa.RecordBatch.from_arrays([pa.array(rows, kind)], ["rows"]).slice(1)
    out = series_rows(batch, 2)
    found = [(out.models[m], w, n) for m, w, n in zip(out.model, out.window, out.numbers.tolist(), strict=True)]
    assert found == [
        ("a", 1, [5.0, 6.0]), ("b", 1, [7.0, 8.0]), ("b", 2, [3.0, 4.0]),
        ("a", -1, [5.0, 6.0]), ("b", -1, [10.0, 12.0]),
    ]  # fmt: skip
    assert series_rows(batch, 2, ["a"]).numbers.tolist() == [[5.0, 6.0], [5.0, 6.0]]
    table = dense(pa.array([[1.0, 2.0], None, [3.0]]), 3)
    np.testing.assert_array_equal(table, [[1, 2, np.nan], [np.nan] * 3, [3, np.nan, np.nan]])


values = st.lists(st.floats(-1e12, 1e12, allow_nan=False).filter(lambda v: v == 0 or abs(v) > 1e-12), min_size=1)


@given(values, st.randoms(use_true_random=False), st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_sums_do_not_depend_on_order_or_parts(numbers: list[float], random: Any, parts: int) -> None:
    exact = math.fsum(numbers)
    shuffled = numbers.copy()
    random.shuffle(shuffled)
    whole = GroupedSums(1)
    for part in _split(shuffled, parts):
        task = GroupedSums(1)
        task.add(np.array(part)[:, None], np.zeros(len(part), dtype=np.int64))
        high, low = task.parts
        whole.add(high, np.zeros(len(high), dtype=np.int64), low)
    assert whole.totals[0, 0] == exact


def _split(numbers: list[float], parts: int) -> Iterator[list[float]]:
    for i in range(parts):
        if numbers[i::parts]:
            yield numbers[i::parts]
