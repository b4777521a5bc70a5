"""A small lake for the global model, written by deltalake as Spark lays it out: pieces of series, a run, no JVM."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from forecasting.frequency import Frequency
from udfs.config import Config, load_config
from udfs.config.load import config_hash
from udfs.delta_files import open_table, read_rows
from udfs.lake import layout_of
from udfs.packed_series import PackedSeries
from udfs.schemas import SCHEMA_VERSION, table_schemas
from udfs.work import RunPlan

H, DAYS, CUT = 4, 56, 5
START = datetime(2024, 1, 1)
SETTINGS = {
    "epochs": 2, "batches_per_epoch": 3, "batch_size": 8, "num_cells": 6, "num_layers": 1, "num_samples": 20,
    "lags": [1, 7], "device": "cpu", "checkpoint_seconds": 0, "numbers": ["area"],
}  # fmt: skip
_NTZ, _LIST = pa.timestamp("us"), pa.list_(pa.float64())
SERIES = pa.schema(
    [
        ("item_id", pa.string()),
        ("segment", pa.int32()),
        ("start", _NTZ),
        ("n", pa.int32()),
        ("target", _LIST),
        ("related", pa.struct([("price", _LIST)])),
        ("metadata", pa.struct([("region", pa.string()), ("area", pa.string())])),
        ("lifecycle", pa.string()),
        ("profile", pa.struct([("n_obs", pa.int32()), ("demand_class", pa.string())])),
        ("bucket", pa.int32()),
    ]
)


def config_of(folder: Path, **more: Any) -> Config:
    return load_config(
        {
            "dataset_group": "deep",
            "frequency": "D",
            "horizon": H,
            "data": {
                "target": {"path": str(folder / "target.csv")},
                "related": [{"path": str(folder / "price.csv"), "series": {"price": {"known_in_future": True}}}],
                "items": [{"path": str(folder / "items.csv"), "attributes": ["region", "area"]}],
            },
            "holidays": {"countries": ["US"]},
            "fill": {
                "target": {"middle": "zero"},
                "groups": [{"where": {"region": "north"}, "target": {"middle": 1.0}}],
            },
            "bounds": {"lower": 0.0},
            "models": {"naive": {}},
            "backtest": {"windows": 2},
            "lake": {"path": str(folder / "lake"), "buckets": 2},
            "deepar": SETTINGS,
        }
        | more
    )


def truth() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """item -> its history of DAYS days, and its price through the horizon."""
    rng = np.random.default_rng(3)
    out = {}
    for i in range(12):
        t = np.arange(DAYS + H)
        price = 2.0 + (t // 9) % 2
        value = (10 + 5 * i) * (1 + 0.3 * np.sin(2 * np.pi * t / 7)) / price + rng.normal(0, 0.1, len(t))
        value[5::17] = np.nan
        out[f"i{i:02}"] = value[:DAYS], price
    return out


def _row(item: str, segment: int, first: int, target: Any, price: Any, region: str, area: str) -> dict[str, Any]:
    return {
        "item_id": item,
        "segment": segment,
        "start": START + timedelta(days=first),
        "n": len(target),
        "target": list(target),
        "related": {"price": list(price)},
        "metadata": {"region": region, "area": area},
        "lifecycle": "active",
        "profile": {"n_obs": 1, "demand_class": "smooth"},
        "bucket": sum(item.encode()) % 2,
    }


def written(folder: Path, items: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None, **more: Any) -> Config:
    """The lake of `truth`, or of other such items: of each item a first piece whose prices run past its end, and a
    second one that says otherwise; a young item and one without history."""
    from deltalake import write_deltalake

    config = config_of(folder, **more)
    lake, cut = folder / "lake", DAYS - CUT
    old, new = [], []
    for position, (item, (target, price)) in enumerate((items or truth()).items()):
        place = ("north" if position % 2 else "south", str(100 + position))
        old.append(_row(item, 0, 0, target[:cut], [*price[:cut], 99.0, 99.0], "unknown yet", "0"))
        new.append(_row(item, 1, cut, target[cut:], price[cut:], *place))
    new.append(_row("young", 0, DAYS - 2, [7.0, 9.0], [], "north", "103"))
    new.append(_row("never", 0, DAYS, [], [2.0] * H, "west", "much"))
    for rows in (old, new):
        table = pa.Table.from_pylist(rows[::-1], schema=SERIES)
        write_deltalake(str(lake / "series"), table, mode="append", partition_by=["bucket"])
    identity = {
        "dataset_group": "deep",
        "frequency": "D",
        "dimensions": [],
        "buckets": 2,
        "schema_version": SCHEMA_VERSION,
    }
    write_deltalake(str(lake / "lake"), pa.Table.from_pylist([identity], schema=_LAKE))
    write_deltalake(str(lake / "runs"), pa.Table.from_pylist([run_row("first", config)], schema=_RUNS))
    return config


_LAKE = pa.schema(
    [
        ("dataset_group", pa.string()),
        ("frequency", pa.string()),
        ("dimensions", pa.list_(pa.string())),
        ("buckets", pa.int32()),
        ("schema_version", pa.int32()),
    ]
)
_RUNS = pa.schema(
    [
        ("run_id", pa.string()),
        ("state", pa.string()),
        ("config_hash", pa.string()),
        ("plan", pa.string()),
        ("input_versions", pa.map_(pa.string(), pa.int64())),
        ("horizon", pa.int32()),
        ("quantiles", pa.list_(pa.float64())),
        ("started_at", pa.timestamp("us", "UTC")),
    ]
)


def run_row(run_id: str, config: Config, **limits: Any) -> dict[str, Any]:
    """A row of `runs` that has read the newest series."""
    first = int(Frequency.parse("D").ordinals([int(np.datetime64(START, "us").astype(np.int64))])[0])
    plan = RunPlan("D", first, first + DAYS - 1, 2, True, 14, 50.0, **limits)
    return {
        "run_id": run_id,
        "state": "finished",
        "config_hash": config_hash(config),
        "plan": json.dumps(plan.as_dict()),
        "input_versions": [("series", 1)],
        "horizon": config.horizon,
        "quantiles": list(config.quantiles),
        "started_at": datetime.now(timezone.utc),
    }


def with_run(config: Config, run_id: str, **limits: Any) -> None:
    """One more run of a config in the lake."""
    from deltalake import write_deltalake

    row = pa.Table.from_pylist([run_row(run_id, config, **limits)], schema=_RUNS)
    write_deltalake(f"{config.lake.path}/runs", row, mode="append")


def changed(config: Config, **section: Any) -> Config:
    """The config with other settings of the global model."""
    return config.model_copy(update={"deepar": config.deepar.model_copy(update=section)})


def rows_of(config: Config, table: str, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a table of the lake; columns: those of its schema unless given."""
    found = open_table(str(config.lake.path), table)
    assert found is not None
    return read_rows(found, columns or table_schemas(layout_of(config))[table].names)


def values(held: PackedSeries, name: str, item: str) -> np.ndarray:
    """The target, or a related series, of an item."""
    flat, offsets = held.target if name == "target" else held.related[name]
    n = held.facts["item_id"].to_pylist().index(item)
    return flat[offsets[n] : offsets[n + 1]]
