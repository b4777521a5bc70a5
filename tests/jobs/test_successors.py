"""Products and what replaced them, from a table of links to forecasts with the season of the predecessor."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.describe import describe
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.run import run
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
SEASON = 100 + 60 * np.sin(np.arange(12) * 2 * np.pi / 12)
MONTHS = [str(m) for m in np.arange("2018-01", "2024-05", dtype="M8[M]")]

PRICES = {f"2024-{month:02d}": 10.0 + month for month in range(1, 11)}
"""Of the new product, known six months ahead."""


def sold(item: str, store: str, begin: str, end: str, times: float) -> list[str]:
    """A row a month from `begin` to `end`: the season, `times` as much."""
    months = [m for m in MONTHS if begin <= m <= end]
    return [f"{item},{store},{m}-01,{times * SEASON[int(m[5:]) - 1]:.6f}" for m in months]


LINKS = [
    "old,new,,",
    "x1,x2,2,",
    "x2,x3,1.5,2023-11-15",
    "old,planned,0.5,",
    "nobody,new2,,",
    "old,twice,,",
    "x1,twice,,",
    "old,odd,minus one,",
    "old,,,",
    "old,when,1,never",
]
REFUSED = {"unknown_item": 1, "duplicate": 2, "bad_scale": 1, "null_item_id": 1, "bad_date": 1}


@pytest.fixture
def content(make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    found = make_config(
        frequency="MS",
        horizon=6,
        dimensions=["store"],
        models={"seasonal_naive": {}},
        backtest={"windows": 1},
        limits={"max_failed_share": 0.5},
        lifecycle={
            "successors": {"path": str(tmp_path / "links.csv"), "columns": {"scale": "ratio", "switch_date": "at"}}
        },
    )
    found["data"]["items"] = [
        {"path": str(tmp_path / "items.csv"), "key": ["item_id", "store"], "attributes": ["kind"]}
    ]
    rows = [
        *sold("old", "s1", "2018-01", "2023-12", 1.0), *sold("old", "s2", "2018-01", "2023-12", 3.0),
        *sold("new", "s1", "2024-01", "2024-04", 2.5), *sold("new", "s2", "2024-01", "2024-04", 3.0),
        *sold("x1", "s1", "2018-01", "2020-12", 1.0), *sold("x2", "s1", "2021-01", "2023-12", 2.0),
        *sold("x1", "s2", "2018-01", "2020-12", 1.0), *sold("x2", "s2", "2021-01", "2024-04", 2.0),
        *sold("x3", "s1", "2024-02", "2024-04", 3.0), *sold("alone", "s1", "2018-01", "2024-04", 1.0),
        *(row for item in ("new2", "twice", "odd", "when") for row in sold(item, "s1", "2020-01", "2024-04", 1.0)),
    ]  # fmt: skip
    Path(found["data"]["target"]["path"]).write_text("\n".join(["item_id,store,timestamp,target", *rows]))
    found["data"]["related"] = [{"path": str(tmp_path / "prices.csv"), "series": {"price": {"known_in_future": True}}}]
    prices = [f"new,s1,{m}-01,{PRICES[m]}" for m in PRICES] + [f"old,s1,{m}-01,7" for m in MONTHS if m < "2024-01"]
    (tmp_path / "prices.csv").write_text("\n".join(["item_id,store,timestamp,price", *prices]))
    (tmp_path / "items.csv").write_text("item_id,store,kind\nplanned,s1,a\n")
    (tmp_path / "links.csv").write_text("\n".join(["predecessor,successor,ratio,at", *LINKS]))
    return found


def test_a_successor_goes_on_from_its_predecessor(
    spark: SparkSession, content: dict[str, Any], tmp_path: Path
) -> None:
    config = load_config(content)
    lake = Lake.of(spark, config)
    report = run(config, spark)
    linked = lake.read("successors").collect()
    rows = {(r["item_id"], r["store"], r["position"]): r for r in linked}
    assert len(rows) == len(linked)
    expected = {
        ("new", "s1", 1): ("old", 2.5, "season", 6), ("new", "s2", 1): ("old", 1.0, "season", 6),
        ("x2", "s1", 1): ("x1", 2.0, "given", 0), ("x2", "s2", 1): ("x1", 2.0, "given", 0),
        ("x3", "s1", 1): ("x2", 1.5, "given", 0),
        ("x3", "s1", 2): ("x1", 3.0, "given", 0), ("planned", "s1", 1): ("old", 0.5, "given", 0),
    }  # fmt: skip
    assert rows.keys() == expected.keys()
    for key, (predecessor, scale, made_of, periods) in expected.items():
        row = rows[key]
        assert (row["predecessor"], row["scale_from"], row["scale_periods"]) == (predecessor, made_of, periods)
        assert row["scale"] == pytest.approx(scale, rel=1e-6)
    assert str(rows["x3", "s1", 1]["switch_date"]) == "2023-11-01 00:00:00"
    refused = lake.read("rejects").where("role = 'successors'").groupBy("reason").count().collect()
    assert {r["reason"]: r["count"] for r in refused} == REFUSED
    assert dict(describe(config, spark).successors) == {"season": 2, "given": 4}
    # The forecast from May 2024 on has the season of the old product at the level of the new one.
    found = lake.read("forecasts").where(f"run_id = '{report.run.run_id}'").orderBy("step").collect()
    ahead = SEASON[[4, 5, 6, 7, 8, 9]]
    for item, store, times in (("new", "s1", 2.5), ("new", "s2", 3.0), ("x3", "s1", 3.0), ("planned", "s1", 0.5)):
        means = [r["mean"] for r in found if (r["item_id"], r["store"]) == (item, store)]
        assert means == pytest.approx(list(times * ahead), rel=1e-5), item
    results = lake.read("results").where(f"run_id = '{report.run.run_id}'").collect()
    final = {(r["item_id"], r["store"]): r for r in results if r["stage"] == "forecast"}
    assert (final["new", "s1"]["n_obs"], final["new", "s1"]["n_filled"]) == (4, 72)
    assert (final["x3", "s1"]["n_obs"], final["x3", "s1"]["n_filled"]) == (3, 36 + 34)  # not after the switch
    assert (final["planned", "s1"]["n_obs"], final["planned", "s1"]["n_filled"]) == (0, 72)
    assert (final["alone", "s1"]["n_obs"], final["alone", "s1"]["n_filled"]) == (76, 0)
    # The cutoff of the backtest is October 2023: no successor is known there, and none is scored.
    tested = {(r["item_id"], r["store"]): r for r in results if r["stage"] == "backtest"}
    assert {tested[key]["status"] for key in (("new", "s1"), ("x3", "s1"), ("planned", "s1"))} == {"skipped"}
    assert tested["x2", "s1"]["status"] == "ok"
    assert tested["x2", "s1"]["n_filled"] == 36
    assert np.isfinite(tested["x2", "s1"]["actuals"]).sum() == 2  # what it sold itself, in November and December
    # Other links: the same sources, another table of successors.
    (tmp_path / "links.csv").write_text("predecessor,successor,ratio\nold,new,10\n")
    changed = load_config(content, ["lifecycle.successors.columns={scale: ratio}"])
    assert ingest(changed, spark).changed
    (row,) = lake.read("successors").where("store = 's1'").collect()
    assert (row["item_id"], row["scale"]) == ("new", 10.0)
    assert lake.read("rejects").where("role = 'successors'").count() == 0
    assert not ingest(changed, spark).changed
    again = forecast(changed, spark, model="seasonal_naive")
    priced = forecast(changed, spark, model="user_models:known_price", items=["new/s1"])
    rows = lake.read("forecasts").where(f"run_id = '{priced.run_id}'").orderBy("step").collect()
    assert [r["mean"] for r in rows] == [PRICES[f"2024-{month:02d}"] for month in range(5, 11)]
    means = lake.read("forecasts").where(f"run_id = '{again.run_id}' AND item_id = 'new' AND store = 's1'")
    assert means.where("step = 1").collect()[0]["mean"] == pytest.approx(10 * SEASON[4], rel=1e-5)


def test_a_cycle_is_refused_by_name_and_nothing_is_written(
    spark: SparkSession, content: dict[str, Any], tmp_path: Path
) -> None:
    links = ["a,b", "b,c", "c,a", "old,new"]
    (tmp_path / "links.csv").write_text("\n".join(["predecessor,successor", *links]))
    content["lifecycle"]["successors"]["columns"] = {}
    config = load_config(content)
    with pytest.raises(InputError, match=r"1 cycle.*(a -> b -> c -> a|b -> c -> a -> b|c -> a -> b -> c)"):
        ingest(config, spark)
    assert Lake.of(spark, config).info() is None
    (tmp_path / "links.csv").write_text("predecessor,succesor\na,b\n")
    with pytest.raises(InputError, match="did you mean 'succesor'"):
        ingest(config, spark)
