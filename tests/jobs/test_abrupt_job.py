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


def write_months(path: Path) -> None:
    """Monthly sales of four years: demand surges for five months of 2020; a spike in one month; a level that shifts
    for good; nothing; spare parts."""
    rng = np.random.default_rng(2020)
    made = {}
    for item in ("surge", "spike", "shift", "steady"):
        made[item] = truth(MONTHS) + rng.normal(0, 3, 48)
    made["surge"][26:31] += [70, 110, 100, 80, 60]
    made["spike"][44] += 300
    made["shift"][20:] += 90
    made["parts"] = np.where(np.arange(48) % 4 == 1, 10.0, 0.0)
    made["parts"][25] = 200.0
    frames = [pd.DataFrame({"item_id": i, "timestamp": MONTHS, "target": v}) for i, v in made.items()]
    pd.concat(frames).to_csv(path, index=False)


@pytest.mark.spark
def test_a_surge_like_2020_does_not_poison_the_years_after(
    spark: SparkSession, make_config: MakeConfig, tmp_path: Path
) -> None:
    write_months(tmp_path / "target.csv")
    content = make_config(frequency="MS", horizon=12, models={"arima": {}}, backtest={"windows": 1})
    ingest(content, spark)
    lake = Lake.of(spark, load_config(content))
    off: dict[str, dict[str, float]] = {}
    width: dict[str, dict[str, float]] = {}
    found: dict[str, Any] = {}
    levels = {"surge": 100.0, "spike": 100.0, "shift": 190.0, "steady": 100.0}
    for name, section in {
        "none": None,
        "dampen": {"treatment": "dampen"},
        "after_shift": {"treatment": "after_shift"},
        "regressors": {"treatment": "regressors"},
    }.items():
        config = content | ({} if section is None else {"abrupt": section})
        run = forecast(config, spark, run_id=name, model="arima")
        rows = lake.read("forecasts").where(f"run_id = '{run.run_id}'").toPandas().sort_values(["item_id", "step"])
        by_item = {item: rows[rows.item_id == item] for item in levels}
        off[name] = {i: float(np.abs(r["mean"] - truth(AHEAD, levels[i])).mean()) for i, r in by_item.items()}
        width[name] = {i: float((r["p90"] - r["p10"]).mean()) for i, r in by_item.items()}
        ledger = lake.read("results").where(f"run_id = '{run.run_id}'").toPandas().set_index("item_id")
        found[name] = {i: (ledger.treatment[i], ledger.n_treated[i]) for i in (*levels, "parts")}
    assert off["none"]["surge"] > 8
    assert off["dampen"]["surge"] < 3
    assert off["regressors"]["surge"] < 5
    assert width["dampen"]["surge"] < width["none"]["surge"] / 4
    assert width["regressors"]["surge"] < width["none"]["surge"] / 2
    assert off["dampen"]["spike"] < 3 < off["none"]["spike"]
    assert width["dampen"]["spike"] < width["none"]["spike"] / 4
    for name in ("after_shift", "regressors"):
        assert off[name]["shift"] < 6 < off["none"]["shift"]
        assert width[name]["shift"] < width["none"]["shift"] / 3
    for name in ("dampen", "after_shift", "regressors"):
        assert off[name]["steady"] == off["none"]["steady"]
    assert found["dampen"] == {
        "surge": ("dampened", 5), "spike": ("dampened", 1), "shift": ("untouched", 0), "steady": ("untouched", 0),
        "parts": ("exempt", 0),
    }  # fmt: skip
    assert found["after_shift"]["shift"] == ("cut", 20)
    assert found["after_shift"]["surge"] == ("untouched", 0)
    assert found["regressors"]["shift"] == ("regressors", 1)
    assert found["none"]["surge"][0] is None

    events = lake.read("events").where("run_id = 'dampen'").toPandas().set_index("item_id")
    assert sorted(events.index) == ["shift", "spike", "surge"]
    assert (str(events.timestamp["surge"])[:7], str(events.until["surge"])[:7]) == ("2020-03", "2020-07")
    assert events["size"]["surge"] == pytest.approx(84, abs=6)
    assert (events.kind["shift"], str(events.timestamp["shift"])[:7]) == ("level_shift", "2019-09")
    assert events["size"]["shift"] == pytest.approx(90, abs=6)
    assert (events.kind["spike"], events.sign["spike"]) == ("outlier", 1)
    told = describe(content, spark)
    assert told.events == {"level_shift": 1, "outlier": 1, "surge": 1}
    out = io.StringIO()
    render(told, Console(file=out, width=200))
    assert "1 level_shift, 1 outlier, 1 surge" in out.getvalue()
    register_views(spark, lake, "abrupt_")
    seen = spark.sql("SELECT treatment, n_treated FROM abrupt_ledger WHERE run_id = 'dampen' AND item_id = 'surge'")
    assert [tuple(row) for row in seen.collect()] == [("dampened", 5)]

    # Once more, from the stored fit: the same rows of events.
    dampen = content | {"abrupt": {"treatment": "dampen"}, "refit": "never", "parameters_from": "dampen"}
    again = forecast(dampen, spark, model="arima", run_id="again")
    assert again.counts["refit_never"] >= 4
    same = lake.read("events").where("run_id = 'again'").toPandas().set_index("item_id")
    columns = ["timestamp", "until", "kind", "size", "sign", "score"]
    pd.testing.assert_frame_equal(same[columns].sort_index(), events[columns].sort_index())


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
