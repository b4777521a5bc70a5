"""Stock-outs and an opening calendar, from rows to forecasts: not filled, not scored, closed days forecast as 0."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.backtest import backtest
from jobs.evaluate import evaluate
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.select import select
from udfs.config import ConfigError, load_config
from udfs.lake import Lake
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
MakeConfig = Callable[..., dict[str, Any]]
DAYS = np.arange("2024-01-01", "2024-04-08", dtype="M8[D]")  # Monday to Sunday, 14 weeks
WEEKDAY = (DAYS.astype(np.int64) + 3) % 7
SUNDAY = 6


def written(path: Path, header: str, rows: list[str]) -> str:
    path.write_text("\n".join([header, *rows]))
    return str(path)


def sold(seed: int, low: float = 20.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.round(low + 5 * np.sin(np.arange(len(DAYS)) * 2 * np.pi / 7) + rng.normal(0, 1, len(DAYS)), 2)


def test_a_stock_out_is_no_zero(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Sales are 0 while an item is out of stock; days without a row sold nothing. Later rows score the forecast."""
    sales, stock = sold(1), np.ones(len(DAYS))
    stock[20:30] = 0
    stock[-12:-8] = 0  # inside the scored week of the second window
    seen = np.where(stock == 1, sales, 0.0)
    nothing = [40, 50]  # no row
    rows = [f"a,{d},{v}" for t, (d, v) in enumerate(zip(DAYS, seen, strict=True)) if t not in nothing]
    related = [f"a,{d},{s:g}" for d, s in zip(DAYS, stock, strict=True)]
    related += [f"a,{DAYS[-1] + k},{0 if k < 3 else 1}" for k in (1, 2, 3)]
    target = written(tmp_path / "target.csv", "item_id,timestamp,target", rows)
    path = written(tmp_path / "stock.csv", "item_id,timestamp,in_stock", related)
    content = make_config(
        models={"mean": {}},
        fill={"target": {"middle": "zero", "back": "zero"}, "mask": {"in_stock": {"missing_where": 0}}},
        evaluation={"score_filled": True},
        data={"target": {"path": target}, "related": [{"path": path, "series": {"in_stock": {}}}]},
    )
    config = load_config(content)
    ingest(config, spark)
    lake = Lake.of(spark, config)
    profile = lake.read("series").first()["profile"]  # type: ignore[index]
    assert (profile["n_obs"], profile["n_missing"], profile["n_zero"]) == (len(DAYS) - 2 - 14, 2, 0)
    assert profile["mean"] == pytest.approx(np.delete(seen, nothing)[np.delete(stock, nothing) == 1].mean())
    run = backtest(config, spark)
    select(config, spark)
    run = forecast(config, spark)
    results = {r["window"]: r for r in lake.read("results").where("stage <> 'selection'").collect()}
    filled = seen.copy()
    filled[nothing] = 0.0
    open_ = stock == 1
    assert results[0]["mean"] == pytest.approx([filled[open_].mean()] * 7)
    assert (results[0]["n_obs"], results[0]["n_filled"]) == (len(DAYS) - 16, 2)
    assert (results[0]["n_masked"], results[0]["n_closed"]) == (14, 0)
    for window, begin in ((1, len(DAYS) - 7), (2, len(DAYS) - 14)):
        row, steps = results[window], slice(begin, begin + 7)
        want = np.where(open_[steps], filled[steps], np.nan)
        np.testing.assert_allclose(row["actuals"], want)
        assert row["n_masked"] == (~open_[:begin]).sum()
        assert row["mean"] == pytest.approx([filled[:begin][open_[:begin]].mean()] * 7)
    register_views(spark, lake)
    ledger = spark.sql("SELECT sum(n_masked) AS m, sum(n_closed) AS c FROM ledger").first()
    assert ledger is not None
    assert (ledger["m"], ledger["c"]) == (14 + 14 + 10, 0)
    more = written(
        tmp_path / "more.csv", "item_id,timestamp,target", [f"a,{DAYS[-1] + k},{5 * (k - 1)}" for k in (1, 2, 3)]
    )
    later = load_config(content | {"data": content["data"] | {"target": {"path": [target, more]}}})
    ingest(later, spark)
    arrived = evaluate(later, spark, run_id=run.run_id).arrival
    assert arrived is not None
    assert arrived.n_points == 1, "two of the three new days were out of stock"


def test_closed_sundays_and_holidays(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """No rows on Sundays, nor on Good Friday and Easter Monday, but some on New Year's Day; a calibrated ensemble."""
    easter = [int(np.flatnonzero(np.datetime64(d) == DAYS)[0]) for d in ("2024-03-29", "2024-04-01")]
    shut = (WEEKDAY == SUNDAY) | np.isin(np.arange(len(DAYS)), easter)
    rows = [f"i{k},{d},{v}" for k in range(4) for d, v, c in zip(DAYS, sold(k), shut, strict=True) if not c]
    target = written(tmp_path / "target.csv", "item_id,timestamp,target", rows)
    content = make_config(
        models={"seasonal_naive": {}, "ets": {}, "mean": {}, "npts": {}},
        horizon=14,
        backtest={"windows": 3},
        fill={"target": {"middle": "zero", "back": "zero"}},
        holidays={"countries": ["DE"]},
        opening={"weekdays": ["MON", "TUE", "WED", "THU", "FRI", "SAT"], "closed_on_holidays": True},
        data={"target": {"path": target}},
    )
    config = load_config(content)
    ingest(config, spark)
    lake = Lake.of(spark, config)
    for row in lake.read("series").collect():
        assert row["profile"]["n_missing"] == 2  # Easter's days: a run freezes holidays, ingest does not know them
        assert row["profile"]["demand_class"] == "smooth"
    backtest(config, spark)
    select(config, spark)
    forecast(config, spark)
    results = lake.read("results").collect()
    tests = [r for r in results if r["stage"] == "backtest"]
    assert {(r["model"], r["status"]) for r in tests} == {(m, "ok") for m in content["models"]}
    last_day = DAYS[~shut][-1]
    for row in results:
        steps = np.datetime64(row["forecast_start"], "D") + np.arange(14)
        closed = np.array([(d.astype(np.int64) + 3) % 7 == SUNDAY or str(d) in HOLIDAYS for d in steps])
        if row["mean"] is not None:
            assert (np.array(row["mean"])[closed] == 0).all(), row["model"]
            assert (np.array(row["mean"])[~closed] > 10).all(), row["model"]
            quantiles = np.array(row["quantiles"]).reshape(14, 3)
            assert (quantiles[closed] == 0).all()
            assert (quantiles[~closed] > 5).all()
        if row["actuals"] is not None:
            assert np.isnan(np.array(row["actuals"])[closed]).all()
            assert not np.isnan(np.array(row["actuals"])[~closed]).any()
        if row["stage"] != "selection":
            assert row["n_closed"] == closed.sum()
            before = DAYS[DAYS < steps[0]]
            assert row["n_masked"] == sum((d.astype(int) + 3) % 7 == SUNDAY or str(d) in HOLIDAYS for d in before)
    final = lake.read("forecasts").collect()
    assert len(final) == 4 * 14
    for row in final:
        day = np.datetime64(row["timestamp"], "D")
        zero = (day.astype(np.int64) + 3) % 7 == SUNDAY or str(day) in HOLIDAYS
        assert day > last_day
        assert ({row["p10"], row["p50"], row["p90"]} == {0.0}) is bool(zero)


HOLIDAYS = ("2024-01-01", "2024-03-29", "2024-04-01", "2024-05-01", "2024-05-09", "2024-05-20")
"""Germany's in the first half of 2024."""


def test_a_column_of_a_store_closes_and_fill_groups_differ(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    """Store n is closed on every fourth day, known in future; of its items kind x is filled with 0, kind y is not."""
    keys = [("x1", "n"), ("y1", "n"), ("x2", "s")]
    is_open = np.arange(len(DAYS) + 7) % 4 != 3
    gap = (30, 33)  # day 31 is closed in store n
    rows = []
    for item, store in keys:
        for t, day in enumerate(DAYS):
            if not (gap[0] <= t < gap[1]) and (store == "s" or is_open[t]):
                rows.append(f"{item},{store},{day},10")
    calendar = [f"n,{DAYS[0] + t},{int(o)}" for t, o in enumerate(is_open)]
    items = [f"{item},{item[0]}" for item, _ in keys]
    content = make_config(
        dimensions=["store"],
        models={"mean": {}},
        backtest={"windows": 1},
        fill={"target": {"middle": "nan"}, "groups": [{"where": {"kind": "x"}, "target": {"middle": "zero"}}]},
        opening={"column": "is_open"},
        data={
            "target": {"path": written(tmp_path / "t.csv", "item_id,store,timestamp,target", rows)},
            "related": [
                {
                    "path": written(tmp_path / "o.csv", "store,timestamp,is_open", calendar),
                    "key": ["store"],
                    "series": {"is_open": {"known_in_future": True}},
                }
            ],
            "items": [{"path": written(tmp_path / "i.csv", "item_id,kind", items), "attributes": ["kind"]}],
        },
    )
    config = load_config(content)
    ingest(config, spark)
    forecast(config, spark, model="mean")
    found = {r["item_id"]: r for r in Lake.of(spark, config).read("results").where("stage = 'forecast'").collect()}
    n = len(DAYS)
    closed_past, closed_next = (~is_open[:n]).sum(), ~is_open[n:]
    assert (found["x1"]["n_filled"], found["y1"]["n_filled"], found["x2"]["n_filled"]) == (2, 0, 3)
    assert (found["x1"]["n_masked"], found["y1"]["n_masked"], found["x2"]["n_masked"]) == (closed_past, closed_past, 0)
    days = n - closed_past
    for item, level in (("x1", 10 * (days - 2) / days), ("y1", 10.0), ("x2", 10 * (n - 3) / n)):
        want = np.where(closed_next & (item != "x2"), 0.0, level)
        np.testing.assert_allclose(found[item]["mean"], want)
        assert found[item]["n_closed"] == (0 if item == "x2" else closed_next.sum())


def test_opening_hours_on_the_clock_of_a_zone(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Open 9 to 20 in New York, over the change of the clocks on 10 March 2024; history holds only open hours."""
    from datetime import datetime, timedelta, timezone
    from zoneinfo import ZoneInfo

    york = ZoneInfo("America/New_York")
    begin = datetime(2024, 3, 4, 5, tzinfo=timezone.utc)
    hours = [begin + timedelta(hours=k) for k in range(24 * 10 - 1)]
    rows = [f"a,{h:%Y-%m-%dT%H:%M:%SZ},7" for h in hours if 9 <= h.astimezone(york).hour < 20]
    content = make_config(
        frequency="h",
        time_zone="America/New_York",
        horizon=24,
        models={"mean": {}},
        backtest={"windows": 1},
        opening={"hours": "09:00-20:00"},
        data={"target": {"path": written(tmp_path / "t.csv", "item_id,timestamp,target", rows)}},
    )
    config = load_config(content)
    ingest(config, spark)
    lake = Lake.of(spark, config)
    assert lake.read("series").first()["profile"]["n_missing"] == 0  # type: ignore[index]
    forecast(config, spark, model="mean")
    steps = lake.read("forecasts").orderBy("step").collect()
    for row in steps:
        local = row["timestamp"].replace(tzinfo=timezone.utc).astimezone(york)
        assert row["mean"] == (7.0 if 9 <= local.hour < 20 else 0.0), local
    assert {row["mean"] for row in steps} == {0.0, 7.0}


def test_what_cannot_be_is_said_at_once(make_config: MakeConfig) -> None:
    content = make_config(
        frequency="W",
        opening={"weekdays": ["MON"], "hours": "20:00-09:00", "closed_on_holidays": True, "column": "is_open"},
        fill={"mask": {"stock": {"missing_where": 0}, "gone": {}}, "related": {"price": {"back": "linear"}}},
        time_alignment={"hour": 25},
    )
    with pytest.raises(ConfigError) as caught:
        load_config(content)
    text = str(caught.value)
    for part in ("two times of one day", "give missing_where", "time_alignment.hour", "price.back is 'linear'"):
        assert part in text
    content = make_config(
        frequency="W-THU",
        opening={"weekdays": ["MON"], "closed_on_holidays": True, "column": "is_open"},
        fill={"mask": {"stock": {"missing_where": 0}}, "groups": [{"where": {"color": "red"}}]},
        time_alignment={"day_of_week": "FRIDAY"},
    )
    with pytest.raises(ConfigError) as caught:
        load_config(content)
    text = str(caught.value)
    for part in (
        "says itself where periods begin",
        "fill.mask.stock: no such related series",
        "weekdays and holidays close days, and frequency W-THU is coarser",
        "there is no section holidays",
        "no related series 'is_open'",
        "fill.groups[0]",
    ):
        assert part in text
