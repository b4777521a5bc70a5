"""Real data as they come: orange_juice (Dominick's Finer Foods), beside a plain loop in pandas.

Price, offers and advertising are known ahead, the metadata are keyed by store and not by item, weeks without a row are
missing and not zero, and some series end before the common cutoff and are forecast to the common horizon all the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from jobs.forecast import forecast
from jobs.ingest import ingest
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H = 8
KEY = ["item_id", "store_id"]
WEEK = np.timedelta64(7, "D")


def test_stores_prices_and_missing_weeks(spark: SparkSession, shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "orange_juice"
    known = ("price", "deal", "feat")
    content: dict[str, Any] = {
        "dataset_group": "orange_juice",
        "frequency": "W-THU",
        "horizon": H,
        "dimensions": ["store_id"],
        "quantiles": [0.1, 0.5, 0.9],
        "data": {
            "target": {"path": str(folder / "train.parquet")},
            "related": [
                {
                    "path": str(folder / "related.parquet"),
                    "series": {name: {"known_in_future": True} for name in known},
                }
            ],
            "items": [
                {"path": str(folder / "items.parquet"), "key": ["store_id"], "attributes": ["INCOME", "SSTRVOL"]}
            ],
        },
        "models": {"arima": {"regressors": ["deal"], "season_length": 1}},
        "forecast_start": "global",
        "cold_start": False,
        "limits": {"max_failed_share": 0.1},
        "lake": {"path": str(tmp_path / "lake"), "buckets": 2},
    }
    config = load_config(content)
    report = ingest(config, spark)
    assert report.n_rejected == 0
    lake = Lake.of(spark, config)
    series = {(r["item_id"], r["store_id"]): r for r in lake.read("series").collect()}

    train = pd.read_parquet(folder / "train.parquet")
    related = pd.read_parquet(folder / "related.parquet").set_index([*KEY, "timestamp"])
    stores = pd.read_parquet(folder / "items.parquet").astype({"store_id": str}).set_index("store_id")
    last = train["timestamp"].max()
    groups = {(str(k[0]), str(k[1])): rows for k, rows in train.groupby(KEY)}
    assert series.keys() == groups.keys()
    assert len(groups) == 913
    early = [key for key, rows in groups.items() if rows["timestamp"].max() < last]
    assert len(early) == 44
    for key, rows in groups.items():
        row, begin, end = series[key], rows["timestamp"].min(), rows["timestamp"].max()
        weeks = int((end - begin) / WEEK) + 1
        profile = row["profile"]
        assert (row["n"], profile["n_obs"], profile["n_missing"]) == (weeks, len(rows), weeks - len(rows)), key
        assert profile["n_zero"] == int((rows["target"] == 0).sum())
        assert float(row["metadata"]["INCOME"]) == pytest.approx(stores.loc[key[1], "INCOME"])
    for key in (("oj_01", "100"), early[0], early[-1]):
        begin = groups[key]["timestamp"].min()
        truth = related.loc[key]["price"].sort_index()
        truth = truth[truth.index >= begin]
        prices = np.array(series[key]["related"]["price"])
        at = ((truth.index - begin) / WEEK).astype(int)
        np.testing.assert_allclose(prices[at], truth.to_numpy())
        assert np.isnan(np.delete(prices, at)).all()

    done = forecast(config, spark, model="arima")
    rows = lake.read("forecasts").where(f"run_id = '{done.run_id}'").toPandas()
    ahead = [last + WEEK * step for step in range(1, H + 1)]
    assert len(rows) == 913 * H
    for _, made in rows.groupby(KEY):
        assert sorted(made["timestamp"]) == ahead
        assert np.isfinite(made[["mean", "p10", "p50", "p90"]].to_numpy()).all()
    # An offer sells more, and the offers of the horizon are known: where one is, the forecast lies higher.
    deal = related["deal"].rename("deal").reset_index()
    both = rows.merge(deal.astype({"store_id": str}), on=[*KEY, "timestamp"])
    relative = both["mean"] / both.groupby(KEY)["mean"].transform("mean")
    assert relative[both["deal"] == 1].mean() > 1.1 * relative[both["deal"] == 0].mean()
