"""Data sets in a tidy layout, one folder each: what a benchmark reads.

train.parquet     item_id, [dimensions], timestamp, target
test.parquet      the same columns: what followed; read only where asked for
related.parquet   optional: keys, timestamp, columns; may go on through the horizon
items.parquet     optional: item_id or a dimension, metadata
info.json         frequency, season_length, horizon, dimensions, related_known_in_future, forecast_start,
                  mase_season_length where errors are scaled by another season
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Dataset:
    """One folder. horizon_back: horizons that are cut off the training part and take the place of the test part."""

    folder: Path
    validate: bool

    @property
    def name(self) -> str:
        return self.folder.name

    @cached_property
    def info(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "info.json").read_text()))

    @property
    def horizon(self) -> int:
        return int(self.info["horizon"])

    @property
    def key(self) -> list[str]:
        return ["item_id", *self.info.get("dimensions", [])]

    @property
    def mase_season(self) -> int:
        return int(self.info.get("mase_season_length", self.info["season_length"]))

    @property
    def known(self) -> list[str]:
        """Related columns that are known in the future."""
        return list(self.info.get("related_known_in_future", []))

    @cached_property
    def _train(self) -> pd.DataFrame:
        frame = pd.read_parquet(self.folder / "train.parquet")
        for name in self.key:
            frame[name] = frame[name].astype(str)
        return frame.sort_values([*self.key, "timestamp"])

    @cached_property
    def _cut(self) -> pd.Series:
        """Whether each row of the training part is held back for validation: the last horizon of its series, or of
        all where the forecast begins at one common time."""
        ends = self._train.groupby(self.key, observed=True)["timestamp"].transform("max")
        if self.info.get("forecast_start") == "global":
            ends = pd.Series(self._train["timestamp"].max(), index=self._train.index)
        steps = np.sort(self._train["timestamp"].unique())
        if self.info.get("forecast_start") == "global":
            return self._train["timestamp"] > steps[-self.horizon - 1]
        position = self._train.groupby(self.key, observed=True).cumcount(ascending=False)
        return (position < self.horizon) & (ends >= self._train["timestamp"])

    def history(self) -> pd.DataFrame:
        """What may be seen."""
        return self._train[~self._cut] if self.validate else self._train

    def future(self) -> pd.DataFrame:
        """What is to be forecast, of series that have a history."""
        if self.validate:
            held = self._train[self._cut]
            return held.merge(self.history()[self.key].drop_duplicates(), on=self.key)
        frame = pd.read_parquet(self.folder / "test.parquet")
        for name in self.key:
            frame[name] = frame[name].astype(str)
        return frame

    def has(self, part: str) -> bool:
        return (self.folder / f"{part}.parquet").exists()

    def backtest(self, most: int = 3) -> dict[str, int]:
        """Windows for which the median series keeps two horizons of history, and the least that a window must see:
        two horizons, or what the longest series keeps."""
        lengths = self.history().groupby(self.key, observed=True).size()
        windows = int(np.clip((float(lengths.median()) - 2 * self.horizon) // self.horizon, 1, most))
        return {"windows": windows, "min_history": int(min(2 * self.horizon, max(lengths.max() - self.horizon, 3)))}


def find(folders: list[Path], validate: bool) -> list[Dataset]:
    """The data sets among some folders: each one itself, or all that lie in it."""
    found = []
    for folder in folders:
        inside = [folder] if (folder / "info.json").exists() else sorted(p.parent for p in folder.glob("*/info.json"))
        found += [Dataset(p, validate) for p in inside]
    return found
