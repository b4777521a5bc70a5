"""From rows to kinds of demand: what ingest says of each series, what `describe` shows and draws."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from jobs.backtest import backtest
from jobs.describe import describe, draw, render
from jobs.ingest import ingest
from udfs.config import load_config
from udfs.errors import InputError
from udfs.lake import Lake

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_kinds_are_ingested_shown_drawn_and_used(
    spark: SparkSession, make_config: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    days = [str(day) for day in np.arange("2024-01-01", "2024-04-01", dtype="M8[D]")]
    steady = 30 + 10 * np.sin(np.arange(len(days)) * 2 * np.pi / 7) + rng.normal(0, 1, len(days))
    rows = [f"steady,{day},{value:.3f}" for day, value in zip(days, steady, strict=True)]
    rows += [f"rare,{day},{5 if t % 20 else 60}" for t, day in enumerate(days) if t % 5 == 0]  # no row: no demand
    rows += [f"fresh,{days[-1]},1"]
    content = make_config(
        fill={"target": {"middle": "zero"}},
        segments=[{"name": "slow", "where": {"demand_class": ["intermittent", "lumpy"]}, "models": {"tsb": {}}}],
        models={"seasonal_naive": {}},
        backtest={"windows": 1},
    )
    Path(content["data"]["target"]["path"]).write_text("\n".join(["item_id,timestamp,target", *rows]))
    config = load_config(content)
    with pytest.raises(InputError, match="the lake is empty"):
        draw(config, tmp_path / "kinds.png", spark)
    ingest(config, spark)
    lake = Lake.of(spark, config)
    profiles = {r["item_id"]: r["profile"] for r in lake.read("series").collect()}
    assert {k: p["demand_class"] for k, p in profiles.items()} == {
        "steady": "smooth", "rare": "lumpy", "fresh": "unknown",
    }  # fmt: skip
    last = max(t for t in range(len(days)) if t % 5 == 0)
    assert profiles["rare"]["adi"] == pytest.approx((last + 1) / (last // 5 + 1))
    assert profiles["steady"]["seasonal_strength"] > 0.9
    assert min(abs(p - 7) for p in profiles["steady"]["dominating_periods"]) < 0.5
    found = describe(config, spark)
    assert found.series is not None
    assert dict(found.series.classes) == {"lumpy": 1, "smooth": 1, "unknown": 1}
    out = io.StringIO()
    render(found, Console(file=out, width=200))
    assert "1 lumpy, 1 smooth, 1 unknown" in out.getvalue()
    assert "seasonal_strength" in out.getvalue()
    picture = matplotlib.image.imread(draw(config, tmp_path / "kinds.png", spark))
    assert picture.shape[0] > 200
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 10
    with pytest.raises(InputError, match="png"):
        draw(config, tmp_path / "kinds.doc", spark)
    run = backtest(config, spark)
    tried = {(r["item_id"], r["model"]) for r in lake.read("results").where(f"run_id = '{run.run_id}'").collect()}
    assert tried == {("steady", "seasonal_naive"), ("rare", "tsb"), ("fresh", "seasonal_naive")}
