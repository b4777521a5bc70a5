"""What the verbs of the global model share: that its libraries are there, the device, the table `models`, and the best
setting of a tuning."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from udfs.config import Config
from udfs.delta_files import is_store, lake_root, open_table, read_rows
from udfs.errors import InputError
from udfs.models_schema import models_schema
from udfs.results import DEEPAR
from udfs.tuning_schema import tuning_schema

if TYPE_CHECKING:
    from forecasting.deepar import DeepAR

_NEEDED = ("torch", "safetensors", "deltalake")


def check_libraries() -> None:
    """Raise InputError where what the GPU job needs is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise InputError(f"the global model needs {', '.join(missing)}; install it: pip install 'almanac[gpu]'")


def device_of(config: Config) -> str:
    """cpu or cuda. Raises InputError for a GPU that is asked for and not there."""
    import torch

    there = bool(torch.cuda.is_available())
    if config.deepar.device == "cuda" and not there:
        raise InputError("deepar.device is cuda and torch sees no GPU; set deepar.device: auto or cpu")
    return "cuda" if there and config.deepar.device != "cpu" else "cpu"


def models_folder(config: Config) -> Path:
    """Where model folders and checkpoints are. Raises InputError where the lake is on an object store and the config
    names no folder."""
    given = config.deepar.models
    if given is not None:
        return Path(given).absolute()
    root = lake_root(config.lake)
    if is_store(root):
        raise InputError(f"the lake is {root}: give deepar.models, a folder for the trained models and checkpoints")
    return Path(root) / "deepar_models"


def stored_models(config: Config) -> list[dict[str, Any]]:
    """The rows of `models`, oldest first."""
    table = open_table(lake_root(config.lake), "models")
    rows = [] if table is None else read_rows(table, models_schema().names)
    return sorted(rows, key=lambda row: (row["trained_at"], row["model_id"]))


def setting_digest(config: Config) -> str:
    """A digest of what must be the same for a setting that a tuning found to be used."""
    content = [config.horizon, config.grid.name, list(config.dimensions), config.forecast_start]
    return hashlib.sha256(json.dumps([DEEPAR, *content]).encode()).hexdigest()[:16]


def with_tuned(config: Config, run_id: str) -> Config:
    """The config with the best setting of a tuning. Raises InputError for one that is not there, is another model's,
    was made for another horizon or grid, or has no complete trial."""
    schema = tuning_schema()
    table = open_table(lake_root(config.lake), schema.name)
    rows = [] if table is None else [row for row in read_rows(table, schema.names) if row["model"] == DEEPAR]
    mine = [row for row in rows if row["run_id"] == run_id]
    if not mine:
        known = ", ".join(sorted({row["run_id"] for row in rows})[-5:]) or "none"
        raise InputError(
            f"there is no tuning {run_id!r} of the global model; there are: {known} (tune-deepar makes one)"
        )
    if mine[0]["digest"] != setting_digest(config):
        raise InputError(
            f"tuning {run_id} was made for another horizon, frequency or dimensions; run tune-deepar again"
        )
    best = [row for row in mine if row["chosen"]]
    if not best:
        raise InputError(
            f"tuning {run_id} has no complete trial; go on with it: tune-deepar --run-id {run_id} --resume"
        )
    found = json.loads(best[0]["hyperparameters"])
    return config.model_copy(update={"deepar": config.deepar.model_copy(update=found)})


def open_model(config: Config, name: str | None, device: str) -> tuple[DeepAR, dict[str, Any]]:
    """A model and what was told of it: by its id or folder, else the newest of the table `models`.

    Raises InputError where there is none such, and as `jobs.model_folder.load_model`.
    """
    from jobs.model_folder import load_model

    rows: list[dict[str, Any]] = stored_models(config)
    if name is None and not rows:
        raise InputError("the lake has no trained model yet; run `almanac train-deepar` first")
    row: Mapping[str, Any] | None = rows[-1] if name is None else _named(rows, name)
    if row is not None:
        return open_stored(config, row, device)
    folder = Path(str(name))
    if not folder.is_dir():
        known = ", ".join(r["model_id"] for r in rows[-5:]) or "none"
        raise InputError(f"there is no model {name!r}, neither in the table `models` ({known}) nor as a folder")
    return load_model(folder, device=device)


def open_stored(config: Config, row: Mapping[str, Any], device: str) -> tuple[DeepAR, dict[str, Any]]:
    """The model of a row of `models` and what was told of it.

    Raises InputError where its folder is gone, and as `jobs.model_folder.load_model`.
    """
    from jobs.model_folder import load_model

    folder = Path(row["folder"])
    moved = models_folder(config) / folder.name
    folder = folder if folder.is_dir() or not moved.is_dir() else moved
    if not folder.is_dir():
        raise InputError(f"the folder {folder} of model {row['model_id']} is gone; train it again, or bring it back")
    return load_model(folder, digest=str(row["digest"]), device=device)


def _named(rows: list[dict[str, Any]], name: str) -> dict[str, Any] | None:
    for row in rows:
        if row["model_id"] == name or Path(row["folder"]) == Path(name).absolute():
            return row
    return None
