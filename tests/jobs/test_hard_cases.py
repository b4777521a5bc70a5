"""The hard cases by name, from rows to forecasts: a lake of items whose truth is known, in one run.

Cases that need a grid or a table of their own are beside their topics; docs/data.md lists all of them.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.ingest import ingest
from jobs.run import run
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H = 14
DAYS = np.arange("2021-01-01", "2024-02-03", dtype="M8[D]")
AHEAD = np.arange("2021-01-01", "2024-02-17", dtype="M8[D]")
N = len(DAYS)
NEW_YEARS = np.array(["2021-02-12", "2022-02-01", "2023-01-22", "2024-02-10"], dtype="M8[D]")
WEEK = 20 * np.sin(2 * np.pi * (AHEAD.astype(np.int64) % 7) / 7)
ODD_NAME = 'mochi \N{DANGO} "soft", it\'s'
LEVEL = 100.0
CHEAP, DEAR = 8.0, 12.0
REGIONS = ("north", "south")
Values = dict[int, float]


def eve(days: Any) -> Any:
    """The five days before a Lunar New Year."""
    gap = (NEW_YEARS[:, None] - days).astype(int)
    return ((gap >= 1) & (gap <= 5)).any(axis=0)


PRICE = np.where(
    np.random.default_rng(3).integers(0, 2, len(AHEAD) // 3 + 1).repeat(3)[: len(AHEAD)] == 0, CHEAP, DEAR
)
"""Changes every few days, at no fixed distance."""


def stories() -> dict[str, tuple[str, Values]]:
    """item -> the segment that it is in, and its values by day."""
    rng = np.random.default_rng(11)
    days = np.arange(N)

    def usual(level: float = LEVEL) -> Any:
        return level + WEEK[:N] * level / LEVEL + rng.normal(0, 3, N)

    def some(values: Any, kept: Any) -> Values:
        return {int(t): float(values[t]) for t in days[kept]}

    every = np.ones(N, dtype=bool)
    month = DAYS.astype("M8[M]").astype(int) % 12
    shifted = usual() + np.where(days >= N - 60, 200.0, 0.0)
    spiked = usual() + np.where(days == N - 10, 5000.0, 0.0)
    return {
        "missing weeks": ("plain", some(usual(), (days < 500) | (days >= 521))),
        "stock-out": ("plain", some(np.where((days >= N - 40) & (days < N - 20), 0.0, usual()), every)),
        "new": ("plain", some(usual(), days >= N - 5)),
        "ended": ("plain", some(usual(), days < N - 400)),
        "predecessor": ("plain", some(usual(), days < N - 10)),
        "successor": ("plain", some(usual(3 * LEVEL), days >= N - 10)),
        "level shift": ("plain", some(shifted, every)),
        "one-day spike": ("treated", some(spiked, every)),
        "twice a day": ("plain", some(usual(), every)),
        "long cycle": ("rare", some(np.where(days % 180 == 90, 1.0, 0.0), every)),
        "one region": ("plain", some(usual(), every)),
        "summer only": ("plain", some(usual(), (month >= 5) & (month <= 7))),
        ODD_NAME: ("plain", some(usual(), every)),
        "Lunar New Year": ("regressed", some(usual() + 200 * eve(DAYS), every)),
        "price changes": ("regressed", some(usual() - 10 * (PRICE[:N] - 10), every)),
        "price ends early": ("regressed", some(usual() - 10 * (PRICE[:N] - 10), every)),
    }


def write(folder: Path) -> None:
    """target.csv, price.csv, stock.csv, items.csv and links.csv."""
    target, price, stock, items = [], [], [], []
    for item, (segment, values) in stories().items():
        items.append((item, "tea", segment))
        regions = REGIONS if item == "one region" else REGIONS[:1]
        for region in regions:
            for t, value in values.items():
                sold = 0.0 if region == "south" else value
                target += [(item, region, DAYS[t], repr(sold / 2))] * 2 if item == "twice a day" else [
                    (item, region, DAYS[t], repr(sold))
                ]  # fmt: skip
    known = {"price changes": len(AHEAD), "price ends early": N + 5}
    price = [(item, "north", AHEAD[t], PRICE[t]) for item, end in known.items() for t in range(end)]
    stock = [("stock-out", "north", DAYS[t], int(not N - 40 <= t < N - 20)) for t in range(N)]
    items += [("never sold", "tea", "plain"), ("unheard of", "no such kind", "plain")]
    tables = {
        "target": (("item_id", "region", "timestamp", "target"), target),
        "price": (("item_id", "region", "timestamp", "price"), price),
        "stock": (("item_id", "region", "timestamp", "in_stock"), stock),
        "items": (("item_id", "region", "kind", "family"), [(i, "north", k, s) for i, k, s in items]),
        "links": (("predecessor", "successor"), [("predecessor", "successor")]),
    }
    tables["items"][1].append(("one region", "south", "tea", "plain"))
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])


def content_of(folder: Path) -> dict[str, Any]:
    quotes = {"options": {"escape": '"'}}
    key = {"key": ["item_id", "region"]}
    prices = {"path": str(folder / "price.csv"), "series": {"price": {"known_in_future": True}}}
    stock = {"path": str(folder / "stock.csv"), "series": {"in_stock": {}}}
    regressed = {"prophet": {"regressors": ["price"]}}
    treated = {"models": {"ets": {}}, "abrupt": {"treatment": "dampen"}}
    return {
        "dataset_group": "hard_cases",
        "frequency": "D",
        "horizon": H,
        "dimensions": ["region"],
        "quantiles": [0.1, 0.5, 0.9],
        "data": {
            "target": {"path": str(folder / "target.csv"), "aggregation": "sum"} | quotes,
            "related": [prices, stock],
            "items": [{"path": str(folder / "items.csv"), "attributes": ["kind", "family"]} | key | quotes],
        },
        "fill": {"mask": {"in_stock": {"missing_where": 0}}},
        "holidays": {"feasts": ["Lunar New Year"], "windows": {"Lunar New Year": [5, 0]}},
        "lifecycle": {"successors": {"path": str(folder / "links.csv")}},
        "models": {"ets": {}},
        "segments": [
            {"name": "regressed", "where": {"family": "regressed"}, "models": regressed},
            {"name": "treated", "where": {"family": "treated"}} | treated,
            {"name": "rare", "where": {"family": "rare"}, "models": {"tsb": {}}},
        ],
        "backtest": {"windows": 1},
        "calibration": {"method": "none"},
        "lake": {"path": str(folder / "lake"), "buckets": 4},
    }  # fmt: skip


class World:
    """What the run left behind. series: by (item, region); forecasts: their rows by step."""

    def __init__(self, spark: SparkSession, folder: Path) -> None:
        write(folder)
        config = load_config(content_of(folder))
        self.report = run(config, spark)
        self.lake = Lake.of(spark, config)
        self.series = {(r["item_id"], r["region"]): r for r in self.lake.read("series").collect()}
        mine = f"run_id = '{self.report.run.run_id}'"
        self.forecasts: dict[tuple[str, str], list[Any]] = {}
        for row in self.lake.read("forecasts").where(mine).orderBy("step").collect():
            self.forecasts.setdefault((row["item_id"], row["region"]), []).append(row)
        self.events = self.lake.read("events").where(mine).collect() if self.lake.exists("events") else []

    def mean(self, item: str, region: str = "north") -> Any:
        return np.array([row["mean"] for row in self.forecasts[item, region]])


@pytest.fixture(scope="module")
def world(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(spark, tmp_path_factory.mktemp("cases"))


def expected(level: float = LEVEL) -> Any:
    return level + WEEK[N:] * level / LEVEL


@pytest.mark.parametrize(
    ("item", "level"),
    [("missing weeks", LEVEL), ("twice a day", LEVEL), (ODD_NAME, LEVEL), ("one region", LEVEL),
     ("stock-out", LEVEL), ("level shift", 3 * LEVEL), ("one-day spike", LEVEL), ("successor", 3 * LEVEL)],
)  # fmt: skip
def test_the_forecast_is_the_truth(world: World, item: str, level: float) -> None:
    truth = expected(level) if item != "level shift" else expected() + 200
    assert world.mean(item) == pytest.approx(truth, rel=0.12)


def test_every_series_has_a_whole_forecast(world: World) -> None:
    items = [(item, "north") for item in (*stories(), "never sold", "unheard of")]
    assert world.forecasts.keys() == {*items, ("one region", "south")}
    for key, rows in world.forecasts.items():
        assert [row["step"] for row in rows] == list(range(1, H + 1)), key
        assert [str(row["timestamp"])[:10] for row in rows] == [str(d) for d in AHEAD[N:]], key
        for row in rows:
            numbers = [row["mean"], row["p10"], row["p50"], row["p90"]]
            assert np.isfinite(numbers).all(), key
            assert row["p10"] <= row["p50"] <= row["p90"], key


def test_missing_weeks_are_missing_and_no_zeros(world: World) -> None:
    profile = world.series["missing weeks", "north"]["profile"]
    assert (profile["n_obs"], profile["n_missing"], profile["n_zero"]) == (N - 21, 21, 0)


def test_a_stock_out_is_no_demand_of_zero(world: World) -> None:
    profile = world.series["stock-out", "north"]["profile"]
    assert (profile["n_obs"], profile["n_zero"]) == (N - 20, 0)


def test_duplicates_of_a_day_are_added(world: World) -> None:
    values = stories()["twice a day"][1]
    assert world.series["twice a day", "north"]["target"] == pytest.approx([values[t] for t in range(N)])


def test_new_items_look_like_their_kind(world: World) -> None:
    """The kind `tea` sells between 100 and 300; an unknown category says less."""
    for item in ("new", "never sold", "unheard of"):
        row = world.forecasts[item, "north"][0]
        assert row["model"] == "cold_start", item
    assert world.mean("new") == pytest.approx(expected(), rel=0.4)  # five days of its own count
    width = {i: np.log(world.forecasts[i, "north"][0]["p90"] + 1) for i in ("new", "never sold", "unheard of")}
    low = {i: np.log(max(world.forecasts[i, "north"][0]["p10"], 0) + 1) for i in width}
    assert width["new"] - low["new"] < width["never sold"] - low["never sold"]
    assert width["never sold"] - low["never sold"] <= width["unheard of"] - low["unheard of"] + 1e-9


def test_an_ended_item_sells_nothing(world: World) -> None:
    assert world.series["ended", "north"]["lifecycle"] == "ended"
    assert (world.mean("ended") == 0).all()


def test_a_spike_and_a_shift_are_told(world: World) -> None:
    found = {(row["item_id"], row["kind"]): row for row in world.events}
    spike = found["one-day spike", "outlier"]
    assert str(spike["timestamp"])[:10] == str(DAYS[N - 10])
    assert spike["size"] == pytest.approx(5000, rel=0.02)


def test_a_long_replacement_cycle_goes_on(world: World) -> None:
    assert world.series["long cycle", "north"]["lifecycle"] != "ended"
    mean = world.mean("long cycle")
    assert ((mean > 0) & (mean < 0.1)).all()


def test_demand_in_one_region_only(world: World) -> None:
    assert world.mean("one region", "south") == pytest.approx(np.zeros(H))


def test_a_product_of_one_season_is_not_ended_between(world: World) -> None:
    assert world.series["summer only", "north"]["lifecycle"] != "ended"


def test_sales_before_a_lunar_new_year_that_moves(world: World) -> None:
    truth = expected() + 200 * eve(AHEAD)[N:]
    assert eve(AHEAD)[N:].sum() == 5
    assert world.mean("Lunar New Year") == pytest.approx(truth, rel=0.15)


def test_frequent_price_changes(world: World) -> None:
    truth = expected() - 10 * (PRICE[N:] - 10)
    assert len(set(PRICE[N:])) == 2
    assert world.mean("price changes") == pytest.approx(truth, rel=0.1)


def test_a_price_that_ends_before_the_horizon(world: World) -> None:
    """As far as it is known it counts; the rest of the horizon has a forecast all the same."""
    truth = expected() - 10 * (PRICE[N:] - 10)
    assert world.mean("price ends early")[:5] == pytest.approx(truth[:5], rel=0.1)


def test_one_row(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "target.csv").write_text("item_id,timestamp,target\na,2024-01-01,5\n")
    config = load_config(small(tmp_path))
    with pytest.raises(InputError, match=r"they cut off 14 periods, expected fewer than the 1 periods"):
        run(config, spark)
    config = load_config(small(tmp_path), ["backtest.windows=0"])
    done = run(config, spark).run
    rows = Lake.of(spark, config).read("forecasts").where(f"run_id = '{done.run_id}'").collect()
    assert [row["mean"] for row in rows] == [5.0] * H


@pytest.mark.parametrize("garbage", [b"\x00\xff\xfe", b"PK\x03", b"a,b"])
def test_three_bytes_of_garbage(spark: SparkSession, tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "target.csv").write_bytes(garbage)
    config = load_config(small(tmp_path))
    with pytest.raises(InputError, match=r"target"):
        ingest(config, spark)
    assert not Lake.of(spark, config).exists("series")


def small(folder: Path) -> dict[str, Any]:
    return {
        "dataset_group": "small",
        "frequency": "D",
        "horizon": H,
        "data": {"target": {"path": str(folder / "target.csv")}},
        "models": {"naive": {}},
        "backtest": {"windows": 1},
        "lake": {"path": str(folder / "lake"), "buckets": 2},
    }
