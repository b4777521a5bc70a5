"""From rows to forecasts: weather by region, prices and their changes, a calendar, moving feasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from jobs.backtest import backtest
from jobs.ingest import ingest
from jobs.run import run
from udfs.config import load_config
from udfs.config.load import ConfigError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MakeConfig = Callable[..., dict[str, Any]]
DAYS = pd.date_range("2023-01-01", "2024-06-30")
AHEAD = pd.date_range("2023-01-01", "2024-07-14")
STEPS = pd.date_range("2024-07-01", "2024-07-14")
FEASTS = pd.to_datetime(["2023-01-22", "2024-02-10"])


def write_files(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Ice cream in the south sells by the south's temperature, nails nowhere; bread reacts to changes of its price,
    whose list ends before the horizon does. Returns the expected forecasts."""
    rng = np.random.default_rng(8)
    warm = {region: 15 + rng.normal(0, 5, len(AHEAD)).round(1) for region in ("north", "south")}
    price = 10.0 + rng.integers(-2, 3, len(AHEAD))
    change = np.r_[0.0, price[1:] / price[:-1] - 1]
    n = len(DAYS)
    sales = {
        ("ice", "s1"): 100 + 6 * (warm["south"] - 15),
        ("ice", "n1"): 100 + 0 * warm["north"],
        ("nails", "s2"): 50 + 0 * warm["south"],
        ("bread", "n1"): 80 - 100 * change,
        ("ice", "x"): 70 + 0 * warm["south"],
    }
    rows = [
        pd.DataFrame({"item_id": item, "store": store, "timestamp": DAYS, "target": y[:n] + rng.normal(0, 1, n)})
        for (item, store), y in sales.items()
    ]
    pd.concat(rows).to_csv(folder / "target.csv", index=False)
    stores = pd.DataFrame({"store": ["s1", "s2", "n1", "x"], "region": ["south", "south", "north", ""]})
    stores.to_csv(folder / "stores.csv", index=False)
    weather = [pd.DataFrame({"region": r, "timestamp": AHEAD, "temperature": t}) for r, t in warm.items()]
    weather.append(pd.DataFrame({"region": ["mars"], "timestamp": [AHEAD[5]], "temperature": [-60.0]}))
    pd.concat(weather).to_csv(folder / "weather.csv", index=False)
    listed = len(AHEAD) - 10  # known for 4 of the 14 days
    frames = [
        pd.DataFrame({"item_id": "bread", "store": "n1", "timestamp": AHEAD[:listed], "price": price[:listed]}),
    ]
    pd.concat(frames).to_csv(folder / "prices.csv", index=False)
    expected = {f"{item}/{store}": y[n:] for (item, store), y in sales.items()}
    expected["bread/n1"] = 80 - 100 * np.where(np.arange(14) < 4, change[n:], 0.0)
    return expected


def config_of(make_config: MakeConfig, folder: Path, **sections: Any) -> dict[str, Any]:
    plain = {"weekly_seasonality": False, "yearly_seasonality": False, "n_changepoints": 0}
    return make_config(
        dimensions=["store"],
        horizon=14,
        data={
            "target": {"path": str(folder / "target.csv")},
            "related": [
                {"path": str(folder / "weather.csv"), "key": ["region"],
                 "series": {"temperature": {"known_in_future": True}}},
                {"path": str(folder / "prices.csv"), "series": {"price": {"known_in_future": True}}},
            ],
            "items": [{"path": str(folder / "stores.csv"), "key": ["store"], "attributes": ["region"]}],
        },
        features={"derived": {"price_change": {"of": "price", "transform": "relative_change"}}},
        models={"prophet": plain | {"regressors": ["temperature", "price_change"]}},
        backtest={"windows": 1},
    ) | sections  # fmt: skip


@pytest.mark.spark
def test_weather_by_region_and_price_changes(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    expected = write_files(tmp_path)
    content = config_of(make_config, tmp_path)
    done = run(content, spark).run
    lake = Lake.of(spark, load_config(content))
    series = {f"{r['item_id']}/{r['store']}": r for r in lake.read("series").collect()}
    assert series["ice/s1"]["metadata"]["region"] == "south"
    assert series["ice/s1"]["related"]["temperature"] == series["nails/s2"]["related"]["temperature"]
    assert series["ice/s1"]["related"]["temperature"] != series["ice/n1"]["related"]["temperature"]
    assert len(series["ice/s1"]["related"]["temperature"]) == len(AHEAD)
    assert series["ice/x"]["related"]["temperature"] == []  # no region
    refused = lake.read("rejects").collect()
    assert [(r["role"], r["reason"]) for r in refused] == [("related:0", "unknown_item")]
    assert lake.read("related").where("role = 'related:0'").count() == 2 * len(AHEAD)
    rows = lake.read("forecasts").where(f"run_id = '{done.run_id}'").toPandas().sort_values("step")
    for key, truth in expected.items():
        item, store = key.split("/")
        mean = rows[(rows.item_id == item) & (rows.store == store)]["mean"].to_numpy()
        assert np.abs(mean - truth).max() < 3, key

    # A store that moves to another region takes that region's weather at the next ingest.
    stores = pd.read_csv(tmp_path / "stores.csv")
    stores.loc[stores.store == "s2", "region"] = "north"
    stores.to_csv(tmp_path / "stores.csv", index=False)
    ingest(content, spark)
    moved = {f"{r['item_id']}/{r['store']}": r for r in lake.read("series").collect()}
    assert moved["nails/s2"]["related"]["temperature"] == moved["ice/n1"]["related"]["temperature"]
    assert moved["ice/s1"] == series["ice/s1"]


@pytest.mark.spark
def test_calendar_columns_and_moving_feasts(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    """Sales of a week by day, and the days around Lunar New Year, which moves: the holidays and the calendar together,
    in a backtest whose window holds the feast."""
    rng = np.random.default_rng(9)
    days = pd.date_range("2022-01-01", "2024-02-16")
    feast = pd.to_datetime(["2022-02-01", "2023-01-22", "2024-02-10"])
    level = np.array([50, 60, 70, 80, 90, 120, 30.0])[days.dayofweek]
    target = level + 200.0 * days.isin(feast) + 90.0 * days.isin(feast - pd.Timedelta(days=1))
    frame = pd.DataFrame({"item_id": "gifts", "timestamp": days, "target": target + rng.normal(0, 1, len(days))})
    frame.to_csv(tmp_path / "target.csv", index=False)
    content = make_config(
        horizon=14, backtest={"windows": 1},
        holidays={"feasts": ["Lunar New Year"], "windows": {"Lunar New Year": [1, 0]}},
        features={"calendar": ["day_of_week"], "encoding": "one_hot"},
        models={"prophet": {"weekly_seasonality": False, "yearly_seasonality": False, "n_changepoints": 0,
                            "holidays_prior_scale": 1000.0}},
    )  # fmt: skip
    ingest(content, spark)
    made = backtest(content, spark)
    row = Lake.of(spark, load_config(content)).read("results").where(f"run_id = '{made.run_id}'").collect()[0]
    off = np.asarray(row["mean"]) - target[-14:]
    assert np.abs(off).max() < 8
    assert target[-14:].max() > 280


def test_wrong_features_are_named(make_config: MakeConfig, tmp_path: Path) -> None:
    wrong = config_of(
        make_config, tmp_path,
        features={
            "derived": {
                "price": {"of": "price", "transform": "log"},
                "cost_change": {"of": "cost", "transform": "relative_change"},
                "old": {"of": "price", "transform": "lag", "periods": 0},
                "squared": {"of": "price", "transform": "square"},
            },
            "calendar": ["hour_of_day", "week_of_moon"],
        },
    )  # fmt: skip
    wrong["data"]["related"][0]["key"] = ["zone"]
    with pytest.raises(ConfigError) as error:
        load_config(wrong)
    said = str(error.value)
    for part in (
        "features.derived.old.periods: got 0",
        "features.derived.squared.transform",
    ):
        assert part in said, said
    del wrong["features"]["derived"]["old"], wrong["features"]["derived"]["squared"]
    with pytest.raises(ConfigError) as error:
        load_config(wrong)
    said = str(error.value)
    for part in (
        "data.related[0].key has ['zone']; the key is ['item_id', 'store'], metadata columns are ['region']",
        "features.derived.price: the name is taken",
        "features.derived.cost_change.of: no related series 'cost' in the data; there are price, temperature",
        "features.calendar: hour_of_day is the same in all periods of D; usable are day_of_week",
        "features.calendar: 'week_of_moon' is not one of minute_of_hour",
        "regressor 'price_change' is not a related series of the data",
    ):
        assert part in said, said
    unread = make_config(features={"calendar": ["day_of_week"]}, models={"ets": {}})
    with pytest.raises(ConfigError, match="no model reads related series"):
        load_config(unread)
    ahead = config_of(make_config, tmp_path)
    ahead["data"]["related"][1]["series"]["price"]["known_in_future"] = False
    with pytest.raises(ConfigError, match="regressor 'price_change' is not known in the future"):
        load_config(ahead)
    ahead["features"]["derived"]["price_change"] = {"of": "price", "transform": "lag", "periods": 14}
    load_config(ahead)
