"""A lake whose `results` are written by hand, for tests of what is derived from them and of what readers see.

Five series, two models, two windows of three steps. A likes naive, B seasonal_naive; C has only zeros as actuals; D
has no actual at all and an id that a spreadsheet would run; E has a fallback, and a window without a forecast.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from series_table import record

from udfs import runs
from udfs.config import Config, load_config
from udfs.derive import derive_backtest, derive_forecasts
from udfs.derive_parameters import derive_parameters
from udfs.lake import Lake
from udfs.work import RunPlan, StagePlan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

NAN = float("nan")
RUN = "20240121T000000Z-test"
H, LENGTH = 3, 20
START = datetime(2024, 1, 1)
FORECAST_START = START + timedelta(days=LENGTH)
LEVELS = (0.1, 0.5, 0.9)
KEYS = (("A", "s1"), ("B", "s1"), ("C", "s2"), ("=D", "s2"), ("E", "s2"))
KINDS = {"A": "x", "B": "x", "C": None, "=D": "y", "E": "y"}
SCALES = {"A": 2.0, "B": 0.5, "C": 0.0, "=D": 1.0, "E": NAN}
ACTUALS: dict[tuple[str, int], list[float]] = {
    ("A", 1): [10.0, 11.0, 12.0], ("A", 2): [9.0, NAN, 10.0],
    ("B", 1): [5.0, 7.0, 5.0], ("B", 2): [6.0, 6.0, 8.0],
    ("C", 1): [0.0, 0.0, 0.0], ("C", 2): [0.0, 0.0, 0.0],
    ("=D", 1): [NAN] * 3, ("=D", 2): [NAN] * 3,
    ("E", 1): [3.0, 4.0, 5.0], ("E", 2): [1.0, 1.0, 2.0],
}  # fmt: skip
MEANS: dict[tuple[str, str, int], list[float] | None] = {
    ("A", "naive", 1): [10.5, 10.5, 11.0], ("A", "naive", 2): [9.0, 9.0, 9.0],
    ("A", "seasonal_naive", 1): [2.0, 3.0, 4.0], ("A", "seasonal_naive", 2): [20.0, 20.0, 20.0],
    ("B", "naive", 1): [1.0, 1.0, 1.0], ("B", "naive", 2): [0.0, 0.0, 0.0],
    ("B", "seasonal_naive", 1): [5.0, 6.5, 5.0], ("B", "seasonal_naive", 2): [6.0, 6.5, 8.0],
    ("C", "naive", 1): [0.0, 0.0, 0.0], ("C", "naive", 2): [0.0, 0.0, 0.0],
    ("C", "seasonal_naive", 1): [1.0, 0.0, 0.0], ("C", "seasonal_naive", 2): [0.0, 0.0, 0.0],
    ("=D", "naive", 1): [7.0, 7.0, 7.0], ("=D", "naive", 2): [7.0, 7.0, 7.0],
    ("=D", "seasonal_naive", 1): [8.0, 8.0, 8.0], ("=D", "seasonal_naive", 2): [8.0, 8.0, 8.0],
    ("E", "naive", 1): [3.0, 3.0, 3.0], ("E", "naive", 2): [2.0, 2.0, 2.0],
    ("E", "seasonal_naive", 1): [3.0, 4.0, 5.0], ("E", "seasonal_naive", 2): None,
}  # fmt: skip
CHOSEN = {"A": "naive", "B": "seasonal_naive", "C": "naive", "=D": "naive", "E": "naive"}
FORECASTS: dict[str, list[float] | None] = {
    "A": [12.0, 13.0, 14.0], "B": [5.0, 7.0, NAN], "C": [0.0, 0.0, 0.0], "=D": [-7.0, -7.0, -7.0], "E": None,
}  # fmt: skip
_BUILT: dict[Any, tuple[Config, Lake]] = {}


def config_for(path: Path, **sections: Any) -> Config:
    """The config of the lake in a folder."""
    content: dict[str, Any] = {
        "dataset_group": "hand_made",
        "frequency": "D",
        "horizon": H,
        "quantiles": list(LEVELS),
        "dimensions": ["store"],
        "data": {
            "target": {"path": str(path / "target.csv")},
            "items": [{"path": str(path / "items.csv"), "attributes": ["kind"]}],
        },
        "models": {"naive": {}, "seasonal_naive": {}},
        "backtest": {"windows": 2},
        "selection": {"mode": "best_per_series", "crowd": 0},
        "calibration": {"method": "none"},
        "lake": {"path": str(path / "lake"), "buckets": 2},
    }
    return load_config(content | sections)


def quantiles_around(mean: Sequence[float]) -> list[float]:
    """One below and one above, step by step."""
    return [v for m in mean for v in (m - 1.0, m, m + 1.0)]


def result(item: str, store: str, model: str, window: int, mean: list[float] | None, **columns: Any) -> dict[str, Any]:
    """A row of `results`."""
    backtest = window > 0
    fell_back = (item, model, window) == ("E", "naive", 1)
    row = {
        "run_id": RUN, "stage": "backtest" if backtest else "forecast", "unit": 0, "item_id": item, "store": store,
        "model": model, "window": window, "forecast_start": FORECAST_START - timedelta(days=H * window), "mean": mean,
        "quantiles": None if mean is None else quantiles_around(mean),
        "actuals": ACTUALS[item, window] if backtest else None, "mase_scale": SCALES[item],
        "status": "failed" if mean is None else "fallback" if fell_back else "ok",
        "reason": "no_observations" if mean is None else "exploded" if fell_back else "", "seconds": 0.25, "n_obs": 10,
        "n_filled": 0, "n_clipped": 0, "evaluations": 1,
    }  # fmt: skip
    return row | columns


def backtest_results() -> list[dict[str, Any]]:
    """The rows of both windows."""
    stores = dict(KEYS)
    return [result(item, stores[item], model, w, mean) for (item, model, w), mean in MEANS.items()]


def forecast_results() -> list[dict[str, Any]]:
    """The rows of the forecast."""
    return [result(item, store, CHOSEN[item], 0, FORECASTS[item]) for item, store in KEYS]


def series_records(length: int = LENGTH) -> list[dict[str, Any]]:
    """Histories 0, 1, 2, … of all series; E came late."""
    return [
        record(
            item, [float(t) for t in range(length - (5 if item == "E" else 0))],
            START + timedelta(days=5 if item == "E" else 0), store=store, metadata={"kind": KINDS[item]},
        )
        for item, store in KEYS
    ]  # fmt: skip


def write_rows(lake: Lake, table: str, records: Sequence[dict[str, Any]], name: str) -> None:
    """Append records with the bucket of their key."""
    lake.ensure(table)
    rows = lake.rows(table, list(records)).drop("bucket").withColumn("bucket", lake.bucket(2))
    lake.append_once(table, rows, name)


def write_run(lake: Lake, config: Config, run_id: str = RUN, *, published: bool = True) -> None:
    """A finished run."""
    stages = {stage: StagePlan((0, 1), (len(KEYS),), (1.0,)) for stage in ("backtest", "forecast")}
    plan = RunPlan("D", 0, LENGTH - 1, 2, False, len(KEYS), float(LENGTH), stages=stages)
    run = runs.new_run(config, plan, {"series": 0}, run_id)
    runs.create(lake, replace(run, state=runs.FINISHED, published=published))


def new_lake(spark: SparkSession, path: Path, **sections: Any) -> tuple[Config, Lake]:
    """A lake with series, results and a published run; nothing is derived yet."""
    config = config_for(path, **sections)
    lake = Lake.of(spark, config)
    lake.identify(config, "D")
    write_rows(lake, "series", series_records(), "series")
    write_rows(lake, "results", [*backtest_results(), *forecast_results()], "results")
    write_run(lake, config)
    return config, lake


def derived_lake(spark: SparkSession, tmp_path_factory: Any) -> tuple[Config, Lake]:
    """The same with everything derived; made once for all tests, which only read it."""
    if spark not in _BUILT:
        config, lake = new_lake(spark, tmp_path_factory.mktemp("derived"))
        derive_backtest(lake, RUN, config)
        derive_forecasts(lake, RUN, config)
        derive_parameters(lake, RUN)
        lake.ensure("components")
        _BUILT[spark] = config, lake
    return _BUILT[spark]
