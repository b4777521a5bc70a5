"""Series to compare models on: generated ones and real sets, with what they are scored by."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from forecasting import SeriesBatch
from forecasting.batch import FloatArray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Case:
    """Series to time; `actuals` [N, H] and `mase_season` where they can be scored.

    frequency, starts: the time grid. related: per column one array a series, known through the horizon.
    """

    name: str
    arrays: list[FloatArray]
    season: int
    horizon: int
    frequency: str = "D"
    starts: list[np.datetime64] | None = None
    actuals: FloatArray | None = None
    mase_season: int = 1
    related: dict[str, list[FloatArray]] = field(default_factory=dict)

    def batch(self) -> SeriesBatch:
        """The series as our models take them."""
        starts = self.starts if self.starts is not None else "2000-01-01"
        return SeriesBatch.from_arrays(
            self.arrays, starts, self.frequency, related=self.related, known_in_future=list(self.related)
        )


@dataclass(frozen=True)
class Score:
    """Mean wQL over 0.1, 0.5, 0.9; MASE and sMAPE of the median (means over series); NaN where nothing is known."""

    wql: float
    mase: float
    smape: float


def generated(n: int, length: int, season: int) -> list[FloatArray]:
    """Positive series with a random level, a slow trend and a season that grows with the level."""
    rng = np.random.default_rng(7)
    t = np.arange(length)
    series = []
    for _ in range(n):
        level = 100 * np.exp(np.cumsum(rng.normal(0.2 / length, 0.01, length)))
        wave = 1 + rng.uniform(0.05, 0.3) * np.sin(2 * np.pi * (t + rng.integers(season)) / season)
        series.append(level * wave * np.exp(rng.normal(0, 0.05, length)))
    return series


def monthly(n: int) -> Case:
    return Case("generated monthly, n=144, m=12", generated(n, 144, 12), 12, 12, "MS")


def daily(n: int) -> Case:
    return Case("generated daily, n=730, m=7", generated(n, 730, 7), 7, 28, "D")


def real(name: str, n: int | None = None, season: int | None = None) -> Case | None:
    """Every k-th series of a set, about n of them (all when None), on its own grid, with gaps as NaN and the related
    series known ahead; None where the set's folder does not lie beside the checkout."""
    folder = DATA / name
    if not folder.is_dir():
        return None
    info = json.loads((folder / "info.json").read_text())
    key = ["item_id", *info.get("dimensions", [])]
    train, test = (_grouped(folder / f"{part}.parquet", key) for part in ("train", "test"))
    keys = sorted(train)[:: max(len(train) // n, 1)] if n else sorted(train)
    season = season or info["season_length"]
    # A grid of the set's own labels: what lies between two of them and has no row is missing.
    frame = SeriesBatch.from_arrays([[0.0]], train[keys[0]].index[0].to_numpy(), info["frequency"])
    grid = frame.frequency
    arrays, starts, actuals = [], [], []
    related_path = folder / "related.parquet"
    tables = _grouped_frames(related_path, key) if related_path.exists() else {}
    related: dict[str, list[FloatArray]] = {}
    for one in keys:
        history, future = train[one], test[one]
        ordinals = grid.ordinals(history.index.to_numpy("M8[us]").astype(np.int64))
        steps = grid.ordinals(future.index.to_numpy("M8[us]").astype(np.int64))
        end = int(steps.min()) if len(steps) == info["horizon"] else int(ordinals[-1]) + 1
        values = np.full(end - int(ordinals[0]), np.nan)
        values[ordinals - ordinals[0]] = history.to_numpy(float)
        actual = np.full(info["horizon"], np.nan)
        inside = (steps - end >= 0) & (steps - end < info["horizon"])
        actual[(steps - end)[inside]] = future.to_numpy(float)[inside]
        arrays.append(values)
        starts.append(history.index[0].to_numpy())
        actuals.append(actual)
        if one in tables:
            table = tables[one]
            at = grid.ordinals(table["timestamp"].to_numpy("M8[us]").astype(np.int64)) - ordinals[0]
            ok = (at >= 0) & (at < len(values) + info["horizon"])
            for column in table.columns.difference([*key, "timestamp"]):
                line = np.full(len(values) + info["horizon"], np.nan)
                line[at[ok]] = table[column].to_numpy(float)[ok]
                related.setdefault(column, []).append(line)
    return Case(
        f"{name}, m={season}",
        arrays,
        season,
        info["horizon"],
        info["frequency"],
        starts,
        np.array(actuals),
        info.get("mase_season_length", info["season_length"]),
        related,
    )


def _grouped(path: Path, key: list[str]) -> dict[tuple[str, ...], pd.Series]:
    frame = pd.read_parquet(path).sort_values("timestamp")
    return {
        one if isinstance(one, tuple) else (one,): group.set_index("timestamp")["target"]
        for one, group in frame.groupby(key, observed=True)
    }


def _grouped_frames(path: Path, key: list[str]) -> dict[tuple[str, ...], pd.DataFrame]:
    frame = pd.read_parquet(path).sort_values("timestamp")
    return {one if isinstance(one, tuple) else (one,): group for one, group in frame.groupby(key, observed=True)}


def score(case: Case, quantiles: FloatArray) -> Score:
    """Quantiles [N, H, 3] against the actuals."""
    if case.actuals is None:
        return Score(np.nan, np.nan, np.nan)
    error = case.actuals[:, :, None] - quantiles
    levels = np.array(LEVELS)
    loss = 2 * np.nansum(np.maximum(levels * error, (levels - 1) * error), axis=(0, 1))
    m, median = case.mase_season, quantiles[:, :, 1]
    scales = np.array([np.nanmean(np.abs(y[m:] - y[:-m])) if len(y) > m else np.nan for y in case.arrays])
    scales[scales == 0] = np.nan
    size = np.abs(case.actuals) + np.abs(median)
    smape = 200 * np.nanmean(np.where(size > 0, np.abs(error[:, :, 1]) / np.where(size > 0, size, 1), 0.0))
    return Score(
        float(loss.mean() / np.nansum(np.abs(case.actuals))),
        float(np.nanmean(np.nanmean(np.abs(error[:, :, 1]), axis=1) / scales)),
        float(smape),
    )
