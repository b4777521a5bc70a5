"""An end that is known: the forecast declines towards it as the forecasts of ended items did."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobs.forecast import forecast
from jobs.ingest import ingest
from udfs.config import load_config
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
END = date(2024, 7, 18)
CURVE = [0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9]
"""What the made items sold with 0, 1, … days to live, of their level."""


def day(back: int) -> str:
    return str(END - timedelta(days=back))


def test_a_known_end_is_approached_as_ended_items_approached_theirs(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    rows, items = [], []
    for n in range(6):
        ended = 10 + n  # days before the end of the data
        level = 10.0 * (n + 1)
        items.append(f"old{n},a,{day(ended)}")
        rows += [f"old{n},{day(b)},{level * (CURVE[b - ended] if b < ended + 7 else 1.0)}" for b in range(ended, 80)]
    for item, segment, end in (("closing", "a", day(-5)), ("later", "b", day(-9)), ("stays", "a", "")):
        items.append(f"{item},{segment},{end}")
        rows += [f"{item},{day(b)},20" for b in range(80)]
    content = make_config(
        models={"naive": {}},
        backtest={"windows": 0},
        segments=[{"name": "a", "where": {"kind": "a"}, "models": {"naive": {}}}],
        lifecycle={"end_date": "last_day", "phase_out": {"strength": 2.0}},
    )
    content["data"]["items"] = [{"path": str(tmp_path / "items.csv"), "attributes": ["kind", "last_day"]}]
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *rows]))
    (tmp_path / "items.csv").write_text("\n".join(["item_id,kind,last_day", *items]))
    config = load_config(content)
    ingest(config, spark)
    run = forecast(config, spark)
    found = Lake.of(spark, config).read("forecasts").where(f"run_id = '{run.run_id}'").orderBy("step").collect()
    means = {i: [r["mean"] for r in found if r["item_id"] == i] for i in ("closing", "later", "stays", "old0")}
    of_all = [(6 * c + 2) / 8 for c in CURVE]  # six items against a strength of two
    of_a = [(6 * c + 2 * f) / 8 for c, f in zip(CURVE, of_all, strict=True)]
    kept = {(r["segment"], r["periods_to_end"]): r for r in Lake.of(spark, config).read("phase_out").collect()}
    assert kept.keys() == {(name, left) for name in ("a", "") for left in range(7)}
    for left in range(7):
        assert kept["", left]["factor"] == pytest.approx(of_all[left])
        assert kept["a", left]["factor"] == pytest.approx(of_a[left])
        assert (kept["a", left]["n_items"], kept["a", left]["run_id"]) == (6, run.run_id)
    assert means["stays"] == [20.0] * 7
    assert means["old0"] == [0.0] * 7
    assert means["closing"] == pytest.approx([20 * of_a[left] / of_a[5] for left in (4, 3, 2, 1, 0)] + [0.0, 0.0])
    assert means["later"] == pytest.approx([20.0, 20.0] + [20 * of_all[left] for left in (6, 5, 4, 3, 2)])
    flags = {i: [r["lifecycle"] for r in found if r["item_id"] == i] for i in ("closing", "later")}
    assert flags["closing"] == ["phase_out"] * 5 + ["ended"] * 2
    assert flags["later"] == ["phase_out"] * 7
    wide = [(r["p90"] - r["p10"]) / r["mean"] for r in found if r["item_id"] == "closing" and r["mean"]]
    assert wide == pytest.approx([0.0] * 5)  # constant series: quantiles are scaled with the mean
    assert all(r["p10"] <= r["p50"] <= r["p90"] for r in found)
