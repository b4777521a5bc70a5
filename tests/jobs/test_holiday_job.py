"""The whole path on Spark and Delta: a price column, public holidays and a calendar of one's own, frozen and used."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import yaml

from jobs.backtest import backtest
from jobs.describe import describe
from jobs.run import run
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MakeConfig = Callable[..., dict[str, Any]]
DAYS = pd.date_range("2024-01-01", "2024-12-10")
AHEAD = pd.date_range("2024-01-01", "2024-12-31")
PROMOTIONS = pd.to_datetime(["2024-02-05", "2024-03-18", "2024-05-13", "2024-08-20", "2024-12-18"])
SUMMER = pd.to_datetime(["2024-04-02", "2024-06-11", "2024-07-16", "2024-12-16"])


def write_files(folder: Path) -> None:
    """Three items: prices move all of them, each region has promotions of its own, d has no country."""
    rng = np.random.default_rng(4)
    sales, prices = [], []
    for item, lift in (("a", PROMOTIONS), ("b", SUMMER), ("d", PROMOTIONS)):
        price = 10 + np.round(rng.normal(0, 1, len(AHEAD)), 2)
        level = 100 - 4 * (price[: len(DAYS)] - 10) + 60 * DAYS.isin(lift) + rng.normal(0, 1, len(DAYS))
        sales.append(pd.DataFrame({"item_id": item, "timestamp": DAYS, "target": level}))
        prices.append(pd.DataFrame({"item_id": item, "timestamp": AHEAD, "price": price}))
    pd.concat(sales).to_csv(folder / "target.csv", index=False)
    pd.concat(prices).to_csv(folder / "prices.csv", index=False)
    pd.DataFrame({"item_id": ["a", "b", "d"], "land": ["UK", "Narnia", ""]}).to_csv(folder / "items.csv", index=False)
    own = [("Promotion", d, "GB") for d in PROMOTIONS] + [("Promotion", d, "Narnia") for d in SUMMER]
    pd.DataFrame(own, columns=["name", "date", "region"]).to_csv(folder / "calendar.csv", index=False)


def config_of(make_config: MakeConfig, folder: Path, **holidays: Any) -> dict[str, Any]:
    section = {"countries": ["US"], "country_column": "land", "feasts": ["Easter"], "windows": {"Promotion": [0, 1]}}
    return make_config(
        horizon=14,
        data={
            "target": {"path": str(folder / "target.csv")},
            "related": [{"path": str(folder / "prices.csv"), "series": {"price": {"known_in_future": True}}}],
            "items": [{"path": str(folder / "items.csv"), "attributes": ["land"]}],
        },
        models={"prophet": {}},
        backtest={"windows": 1},
        holidays=section | {"calendar": str(folder / "calendar.csv")} | holidays,
    )


@pytest.mark.spark
def test_price_and_holidays_go_all_the_way(spark: SparkSession, make_config: MakeConfig, tmp_path: Path) -> None:
    write_files(tmp_path)
    config = config_of(make_config, tmp_path)
    done = run(config, spark).run
    lake = Lake.of(spark, run_config(config))
    table = lake.read("holidays").toPandas()
    assert {(c, r) for c, r in zip(table.country.fillna(""), table.region.fillna(""), strict=True)} == {
        ("US", ""), ("GB", ""), ("", ""), ("", "GB"), ("", "Narnia"),
    }  # fmt: skip
    assert set(table[table.country == "US"].date.map(lambda d: d.year)) == {2023, 2024, 2025}
    assert done.input_versions["holidays"] == done.plan.holidays

    rows = lake.read("forecasts").toPandas().sort_values(["item_id", "step"]).reset_index(drop=True)
    steps = pd.date_range("2024-12-11", "2024-12-24")
    prices = pd.read_csv(tmp_path / "prices.csv", parse_dates=["timestamp"]).set_index(["item_id", "timestamp"])
    for item, lift in (("a", PROMOTIONS), ("b", SUMMER), ("d", PROMOTIONS[:0])):
        price = prices.loc[item].loc[steps, "price"].to_numpy()
        mean = rows[rows.item_id == item]["mean"].to_numpy()
        expected = 100 - 4 * (price - 10) + 60 * steps.isin(lift)
        off = mean - expected
        if item == "d":  # its promotions are not known to anything: only the price is
            off -= off.mean()
        assert np.abs(off).max() < 12, item

    backtested = lake.read("results").where("stage = 'backtest'").toPandas()
    assert set(backtested.status) == {"ok"}
    told = describe(config, spark).holidays or ""
    assert "GB:" in told
    assert "feasts:" in told

    # A second run with other dates of one's own keeps what was frozen of the package, and pins its own version.
    frozen = table[table.source == "holidays"].sort_values(["country", "date", "name"]).reset_index(drop=True)
    pd.DataFrame({"name": ["Fair"], "date": ["2024-09-09"], "region": ["Narnia"]}).to_csv(
        tmp_path / "calendar.csv", index=False
    )
    later = backtest(config, spark, overrides=["holidays.windows={}"])
    after = lake.read("holidays").toPandas()
    still = after[after.source == "holidays"].sort_values(["country", "date", "name"]).reset_index(drop=True)
    pd.testing.assert_frame_equal(frozen, still)
    assert set(after[after.source.str.endswith("calendar.csv")].name) == {"Fair"}
    assert later.plan.holidays != done.plan.holidays
    assert len(lake.read("holidays", done.plan.holidays).toPandas()) == len(table)

    with pytest.raises(InputError, match="holiday 'Promotoin' is not known"):
        backtest(config, spark, overrides=["holidays.only=[Promotoin]", "holidays.windows={}"])
    pd.DataFrame({"name": ["Fair"], "date": ["soon"]}).to_csv(tmp_path / "calendar.csv", index=False)
    with pytest.raises(InputError, match="1 of 1 rows without a name or a date"):
        backtest(config, spark)
    pd.DataFrame({"name": ["Fair"], "date": ["2024-09-09"]}).to_csv(tmp_path / "calendar.csv", index=False)
    with pytest.raises(InputError, match="country 'Narnia' is not known"):
        backtest(config, spark, overrides=["holidays.windows={}"])


def run_config(config: dict[str, Any]) -> Any:
    from udfs.config import load_config

    return load_config(config)


def test_a_wrong_country_ends_with_exit_code_2(
    make_config: MakeConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from jobs.cli import app

    path = tmp_path / "config.yaml"
    config = config_of(make_config, tmp_path, countries=["UX"])
    config["models"]["prophet"] = {"regressors": ["prise"]}
    path.write_text(yaml.safe_dump(json.loads(json.dumps(config))), encoding="utf-8")
    with pytest.raises(SystemExit) as ended:
        app(["run", "--config", str(path)], standalone_mode=False)
    assert ended.value.code == 2
    told = capsys.readouterr().err
    assert "country 'UX' is not known; did you mean" in told
    assert "regressor 'prise' is not a related series of the data; there are ['price']" in told
