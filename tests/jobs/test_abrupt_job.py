"""From rows to forecasts with abrupt changes of known size: what each treatment makes of them, and what is told."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from jobs.backtest import backtest
from jobs.describe import describe, render
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.select import select
from udfs.config import load_config
from udfs.config.load import ConfigError
from udfs.lake import Lake
from udfs.views import register_views

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MakeConfig = Callable[..., dict[str, Any]]
MONTHS = pd.date_range("2018-01-01", periods=48, freq="MS")
AHEAD = pd.date_range("2022-01-01", periods=12, freq="MS")


def truth(months: pd.DatetimeIndex, level: float = 100.0) -> np.ndarray[Any, Any]:
    return np.asarray(level + 20 * np.sin(2 * np.pi * (months.month - 1) / 12))


TREATMENTS = ("none", "dampen", "after_shift", "regressors")
LEVELS = {"surge": 100.0, "spike": 100.0, "shift": 190.0, "steady": 100.0}


def write_months(path: Path) -> None:
    """Monthly sales of four years: demand surges for five months of 2020; a spike in one month; a level that shifts
    for good; nothing; spare parts. All of it once for each treatment."""
    rng = np.random.default_rng(2020)
    made = {}
    for item in LEVELS:
        made[item] = truth(MONTHS) + rng.normal(0, 3, 48)
    made["surge"][26:31] += [70, 110, 100, 80, 60]
    made["spike"][44] += 300
    made["shift"][20:] += 90
    made["parts"] = np.where(np.arange(48) % 4 == 1, 10.0, 0.0)
    made["parts"][25] = 200.0
    frames = [
        pd.DataFrame({"item_id": item, "how": how, "timestamp": MONTHS, "target": values})
        for item, values in made.items()
        for how in TREATMENTS
    ]
    pd.concat(frames).to_csv(path, index=False)


@pytest.mark.spark
def test_a_surge_like_2020_does_not_poison_the_years_after(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    write_months(tmp_path / "target.csv")
    models: dict[str, Any] = {"arima": {}}
    segments = [
        {"name": how, "where": {"how": how}, "models": models, "abrupt": {"treatment": how}} for how in TREATMENTS[1:]
    ]
    content = make_config(
        dimensions=["how"], frequency="MS", horizon=12, models=models, segments=segments, backtest={"windows": 1}
    )
    ingest(content, spark)
    lake = Lake.of(spark, load_config(content))
    run = forecast(content, spark, model="arima")
    rows = lake.read("forecasts").toPandas().sort_values(["how", "item_id", "step"]).set_index(["how", "item_id"])
    off: dict[str, dict[str, float]] = {}
    width: dict[str, dict[str, float]] = {}
    for how in TREATMENTS:
        by_item = {item: rows.loc[(how, item)] for item in LEVELS}
        off[how] = {i: float(np.abs(r["mean"] - truth(AHEAD, LEVELS[i])).mean()) for i, r in by_item.items()}
        width[how] = {i: float((r["p90"] - r["p10"]).mean()) for i, r in by_item.items()}
    assert off["none"]["surge"] > 8
    assert off["dampen"]["surge"] < 3
    assert off["regressors"]["surge"] < 5
    assert width["dampen"]["surge"] < width["none"]["surge"] / 4
    assert width["regressors"]["surge"] < width["none"]["surge"] / 2
    assert off["dampen"]["spike"] < 3 < off["none"]["spike"]
    assert width["dampen"]["spike"] < width["none"]["spike"] / 4
    for how in ("after_shift", "regressors"):
        assert off[how]["shift"] < 6 < off["none"]["shift"]
        assert width[how]["shift"] < width["none"]["shift"] / 3
    for how in TREATMENTS:
        assert off[how]["steady"] == pytest.approx(off["none"]["steady"], rel=1e-9)

    register_views(spark, lake, "abrupt_")
    ledger = spark.table("abrupt_ledger").toPandas().set_index(["how", "item_id"])
    found = {place: (row.treatment, row.n_treated) for place, row in ledger.iterrows()}
    assert {item: found["dampen", item] for item in (*LEVELS, "parts")} == {
        "surge": ("dampened", 5), "spike": ("dampened", 1), "shift": ("untouched", 0), "steady": ("untouched", 0),
        "parts": ("exempt", 0),
    }  # fmt: skip
    assert found["after_shift", "shift"] == ("cut", 20)
    assert found["after_shift", "surge"] == ("untouched", 0)
    assert found["regressors", "shift"] == ("regressors", 1)
    assert found["none", "surge"][0] is None

    events = lake.read("events").toPandas()
    assert set(events.run_id) == {run.run_id}
    assert set(events.how) == set(TREATMENTS[1:])  # nothing is looked for where the section is not
    mine = events[events.how == "dampen"].set_index("item_id")
    assert sorted(mine.index) == ["shift", "spike", "surge"]
    assert (str(mine.timestamp["surge"])[:7], str(mine.until["surge"])[:7]) == ("2020-03", "2020-07")
    assert mine["size"]["surge"] == pytest.approx(84, abs=6)
    assert (mine.kind["shift"], str(mine.timestamp["shift"])[:7]) == ("level_shift", "2019-09")
    assert mine["size"]["shift"] == pytest.approx(90, abs=6)
    assert (mine.kind["spike"], mine.sign["spike"]) == ("outlier", 1)
    told = describe(content, spark)
    assert told.events == {"level_shift": 3, "outlier": 3, "surge": 3}
    out = io.StringIO()
    render(told, Console(file=out, width=200))
    assert "3 level_shift, 3 outlier, 3 surge" in out.getvalue()

    forecast(content, spark, run_id=run.run_id, model="arima")  # nothing is left to do: the tables are derived anew
    order = ["how", "item_id"]
    again = lake.read("events").toPandas().sort_values(order).reset_index(drop=True)
    pd.testing.assert_frame_equal(again, events.sort_values(order).reset_index(drop=True))


@pytest.mark.spark
def test_backtests_steps_and_segments(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Weekly sales with a shift in the middle: prophet follows it by a step; another segment only tells of it."""
    rng = np.random.default_rng(7)
    weeks = pd.date_range("2019-01-07", periods=180, freq="W-MON")
    shifted = 100 + rng.normal(0, 3, 180) + 80 * (np.arange(180) >= 150)
    frames = [pd.DataFrame({"item_id": i, "timestamp": weeks, "target": shifted}) for i in ("told", "stepped")]
    pd.concat(frames).to_csv(tmp_path / "target.csv", index=False)
    pd.DataFrame({"item_id": ["told", "stepped"], "group": ["b", "a"]}).to_csv(tmp_path / "items.csv", index=False)
    models = {"prophet": {"n_changepoints": 0, "yearly_seasonality": False}}
    content = make_config(
        frequency="W-MON", horizon=8, models=models, backtest={"windows": 2},
        data={"target": {"path": str(tmp_path / "target.csv")},
              "items": [{"path": str(tmp_path / "items.csv"), "attributes": ["group"]}]},
        abrupt={"treatment": "regressors"},
        segments=[{"name": "b", "where": {"group": "b"}, "models": models, "abrupt": {"treatment": "report"}}],
    )  # fmt: skip
    ingest(content, spark)
    run = backtest(content, spark)
    select(content, spark, run_id=run.run_id)
    forecast(content, spark, run_id=run.run_id)
    lake = Lake.of(spark, load_config(content))
    rows = lake.read("results").where("stage <> 'selection'").toPandas()
    done = {(r.item_id, r.stage, r.window): (r.treatment, r.n_treated) for r in rows.itertuples()}
    assert done["stepped", "backtest", 1] == done["stepped", "backtest", 2] == ("regressors", 1)
    assert done["stepped", "forecast", 0] == ("regressors", 1)
    assert done["told", "forecast", 0][0] is None
    off = {r.item_id: np.abs(np.asarray(r.mean) - np.asarray(r.actuals)).mean()
           for r in rows.itertuples() if r.stage == "backtest" and r.window == 1}  # fmt: skip
    assert off["stepped"] < 5 < off["told"]
    events = lake.read("events").toPandas()
    assert sorted(zip(events.item_id, events.kind, strict=True)) == [
        ("stepped", "level_shift"), ("told", "level_shift"),
    ]  # fmt: skip


def test_wrong_sections_are_named(make_config: MakeConfig) -> None:
    wrong = make_config(
        models={"ets": {}},
        abrupt={"treatment": "regressors", "surge_length": 2, "exempt": ["rare"], "penalty": 0, "treshold": 4},
        refit="never",
    )
    with pytest.raises(ConfigError) as error:
        load_config(wrong)
    said = str(error.value)
    for part in (
        "abrupt.surge_length: got 2; a surge has at least 3 periods",
        "abrupt.exempt: ['rare'] are no classes of demand",
        "abrupt.penalty: got 0",
        "abrupt.treshold: unknown key; did you mean 'threshold'?",
    ):
        assert part in said, said
    wrong = make_config(models={"ets": {}}, abrupt={"treatment": "regressors"}, refit="never")
    wrong["segments"] = [{"name": "s", "where": {"item_id": "a"}, "models": {"theta": {}}, "abrupt": {"treatment": "dampen"}}]  # fmt: skip  # noqa: E501
    wrong["backtest"] = {"windows": 2, "refit": "first"}
    with pytest.raises(ConfigError) as error:
        load_config(wrong)
    said = str(error.value)
    for part in (
        "abrupt.treatment is regressors and refit is never",
        "no model regresses: name prophet or arima",
        "segment 's': abrupt.treatment is dampen and backtest.refit is first",
    ):
        assert part in said, said
