"""Cold start end to end: items that only the metadata know, young ones, neighbours, backtests, nothing from after."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from jobs.backtest import backtest
from jobs.forecast import forecast
from jobs.ingest import ingest
from jobs.run import run
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
H = 6
MONTHS = [str(m) + "-01" for m in np.arange("2020-01", "2024-01", dtype="M8[M]")]
NEW = 'new "\N{DANGO}" item\'s'
LEVEL = {"tea": 40.0, "coffee": 400.0}
SHAPE = 1 + 0.4 * np.sin(2 * np.pi * np.arange(12) / 12)
WEIGHTS = ("item_id", "rank", "neighbour_item_id", "weight")


def histories() -> dict[str, dict[int, float]]:
    """item -> month -> value: 24 old items, one two months old, one that began ten months ago."""
    rng = np.random.default_rng(7)
    out: dict[str, dict[int, float]] = {}
    for i in range(24):
        level = LEVEL["tea" if i % 2 else "coffee"] * np.exp(rng.normal(0, 0.2))
        noise = np.exp(rng.normal(0, 0.1, len(MONTHS)))
        out[f"old{i}"] = {t: float(level * SHAPE[t % 12] * noise[t]) for t in range(len(MONTHS))}
    out["young"] = {t: float(90 * SHAPE[t % 12]) for t in range(46, 48)}
    out["late"] = {t: float(30 * SHAPE[t % 12]) for t in range(38, 48)}
    return out


def kind(item: str) -> str:
    if item in ("young", "late", NEW):
        return "tea"
    return "unheard of" if item == "odd" else "tea" if int(item.removeprefix("old")) % 2 else "coffee"


def written(folder: Path, content: dict[str, Any], series: dict[str, dict[int, float]], seed: int = 0) -> Any:
    """The config with its sources written, rows in an order of their own."""
    rows = [f"{item},{MONTHS[t]},{value!r}" for item, values in series.items() for t, value in values.items()]
    mixed = np.random.default_rng(seed).permutation(len(rows))
    folder.mkdir(exist_ok=True)
    (folder / "target.csv").write_text("\n".join(["item_id,timestamp,target", *(rows[i] for i in mixed)]))
    quoted = ['"' + item.replace('"', '""') + '"' for item in [*series, NEW, "odd"]]
    listed = [f"{q},{kind(item)}" for q, item in zip(quoted, [*series, NEW, "odd"], strict=True)]
    (folder / "items.csv").write_text("\n".join(["item_id,kind", *listed]))
    content["data"] = {
        "target": {"path": str(folder / "target.csv")},
        "items": [{"path": str(folder / "items.csv"), "attributes": ["kind"], "options": {"escape": '"'}}],
    }
    content["lake"] = content["lake"] | {"path": str(folder / "lake")}
    return load_config(content)


def numbers(lake: Lake, run_id: str, stage: str) -> dict[tuple[str, str, int], Any]:
    rows = lake.read("results").where(f"run_id = '{run_id}' AND stage = '{stage}'").collect()
    names = ("mean", "quantiles", "status", "reason", "n_obs", "parameters", "states")
    return {(r["item_id"], r["model"], r["window"]): tuple(r[name] for name in names) for r in rows}


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # bit for bit, NaN included


def test_items_without_history(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    sections: dict[str, Any] = {
        "frequency": "MS", "horizon": H, "quantiles": [0.1, 0.5, 0.9], "models": {"seasonal_naive": {}, "naive": {}},
        "cold_start": {"neighbours": 5},
    }  # fmt: skip
    config = written(tmp_path / "a", make_config(**sections), histories())
    done = run(config, spark).run
    lake = Lake.of(spark, config)
    mine = f"run_id = '{done.run_id}'"

    # Forecasts of all, the three without history enough by cold start.
    made: dict[str, dict[int, Any]] = defaultdict(dict)
    for row in lake.read("forecasts").where(mine).collect():
        made[row["item_id"]][row["step"]] = row
    cold = {NEW, "odd", "young"}
    assert made.keys() == histories().keys() | cold
    assert {item for item, rows in made.items() if rows[1]["model"] == "cold_start"} == cold
    assert all(rows.keys() == set(range(1, H + 1)) for rows in made.values())
    shape = np.array([made[NEW][h]["mean"] for h in range(1, H + 1)])
    np.testing.assert_allclose(shape / shape.mean(), SHAPE[:H] / SHAPE[:H].mean(), atol=0.15)
    assert made[NEW][1]["p10"] < LEVEL["tea"] * SHAPE[0] < made[NEW][1]["p90"]
    assert abs(made["young"][1]["p50"] / 90 - 1) < abs(made[NEW][1]["p50"] / 90 - 1)  # its own two months count
    width = {item: made[item][1]["p90"] / made[item][1]["p10"] for item in cold}
    assert width["odd"] > 2 * width[NEW] > 2 * width["young"]

    # Recorded: selection, ledger, neighbours.
    chosen = {r["item_id"]: r for r in lake.read("selection").where(mine).collect()}
    assert {i: chosen[i]["reason"] for i in cold} == {
        NEW: "cold_start: 0 observations", "odd": "cold_start: 0 observations", "young": "cold_start: 2 observations",
    }  # fmt: skip
    assert all((row["model"] == "cold_start") == (item in cold) for item, row in chosen.items())
    tests, results = numbers(lake, done.run_id, "backtest"), numbers(lake, done.run_id, "forecast")
    assert {item for item, model, _ in results if model == "cold_start"} == cold
    assert results["young", "cold_start", 0][2:5] == ("ok", "cold_start: 2 observations", 2)
    near: dict[str, list[Any]] = defaultdict(list)
    for row in lake.read("neighbours").where(mine).orderBy("item_id", "rank").select(*WEIGHTS).collect():
        near[row["item_id"]].append(row)
    assert near.keys() == cold
    for item, rows in near.items():
        assert [r["rank"] for r in rows] == [1, 2, 3, 4, 5]
        assert sum(r["weight"] for r in rows) == pytest.approx(1.0)
        assert all(r["neighbour_item_id"].startswith("old") for r in rows)
        if item != "odd":
            assert {kind(r["neighbour_item_id"]) for r in rows} == {"tea"}
    assert lake.read("cold_pool").where(mine).count() == 24

    # Backtests: the one that began ten months ago had four months in window 1 and began within window 2's horizon, as
    # the young one did within window 1's.
    assert {(i, w) for i, m, w in tests if m == "cold_start"} == {("late", 1), ("late", 2), ("young", 1)}
    assert tests["late", "cold_start", 1][3] == "cold_start: 4 observations"
    assert tests["late", "cold_start", 2][3] == "cold_start: 0 observations"
    assert tests["late", "naive", 1][2:4] == ("skipped", "short_history")
    scored = lake.read("metrics").where(f"{mine} AND model = 'cold_start' AND item_id = 'late'")
    assert scored.count() > 0

    # Rows in another order, other buckets: the same bits.
    def moved(folder: str, series: dict[str, dict[int, float]]) -> tuple[Any, Lake]:
        content = make_config(**sections, lake={"path": "", "buckets": 3})
        other = written(tmp_path / folder, content, dict(reversed(series.items())), seed=1)
        ingest(other, spark)
        return other, Lake.of(spark, other)

    other, copy = moved("b", histories())
    again = forecast(other, spark, model="naive")
    found = numbers(copy, again.run_id, "forecast")
    for item in cold:
        assert same(found[item, "cold_start", 0], results[item, "cold_start", 0])
    rows = copy.read("neighbours").where(f"run_id = '{again.run_id}'").orderBy("item_id", "rank").select(*WEIGHTS)
    assert rows.collect() == [r for item in sorted(near, key=str.encode) for r in near[item]]

    # What the donors do after a cutoff changes no window before it.
    changed = histories()
    for item in changed:
        if item.startswith("old"):
            changed[item] |= {t: 1000.0 * (1 + t) for t in range(42, 48)}
    other, copy = moved("c", changed)
    found = numbers(copy, backtest(other, spark).run_id, "backtest")
    for item, window in (("late", 1), ("late", 2), ("young", 1)):
        assert same(found[item, "cold_start", window], tests[item, "cold_start", window])


def test_nobody_to_learn_from(spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    sections: dict[str, Any] = {
        "frequency": "MS", "horizon": H, "models": {"naive": {}}, "backtest": {"windows": 0},
        "limits": {"max_failed_share": 1.0},
    }  # fmt: skip
    series = {f"old{i}": {t: 5.0 + i for t in (45, 46, 47)} for i in range(3)}
    config = written(tmp_path / "a", make_config(**sections), series)
    ingest(config, spark)
    done = forecast(config, spark)
    lake = Lake.of(spark, config)
    results = numbers(lake, done.run_id, "forecast")
    assert {(status, reason) for _, _, status, reason, *_ in results.values()} == {("fallback", "no_donors")}
    assert lake.read("forecasts").where(f"run_id = '{done.run_id}'").count() == 5 * H
    off = load_config(config.model_dump(by_alias=True) | {"cold_start": False})
    by_model = forecast(off, spark)
    assert {model for _, model, _ in numbers(lake, by_model.run_id, "forecast")} == {"naive"}
