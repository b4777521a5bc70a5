"""ETS beside statsforecast's AutoETS in the same run: milliseconds a series on one core, and accuracy.

python benchmarks/ets.py [--series N]      Times are processor time of this process, fit and forecast with an 80 %
interval, compiled code warm. Accuracy on M4 weekly and hourly where their folders lie beside the checkout, over the
same N series; mean wQL over 0.1, 0.5, 0.9, MASE of the median with the set's own season length.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from forecasting import SeriesBatch, forecast
from forecasting.batch import FloatArray

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
LEVELS = (0.1, 0.5, 0.9)


@dataclass(frozen=True)
class Case:
    """Series to time; `actuals` [N, H] and `mase_season` where they can be scored."""

    name: str
    arrays: list[FloatArray]
    season: int
    horizon: int
    actuals: FloatArray | None = None
    mase_season: int = 1


@dataclass(frozen=True)
class Outcome:
    """Milliseconds a series, mean wQL and MASE (NaN when not scored)."""

    milliseconds: float
    wql: float
    mase: float


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


def competition(name: str, n: int, season: int | None = None) -> Case | None:
    """Every k-th series of a set, about n of them; None where the set is not there."""
    folder = DATA / name
    if not folder.is_dir():
        return None
    info = json.loads((folder / "info.json").read_text())
    parts = [pd.read_parquet(folder / f"{part}.parquet").sort_values("timestamp") for part in ("train", "test")]
    train, test = ({key: group["target"].to_numpy(float) for key, group in part.groupby("item_id")} for part in parts)
    keys = list(train)[:: max(len(train) // n, 1)]
    season = season or info["season_length"]
    return Case(
        f"{name}, m={season}",
        [train[key] for key in keys],
        season,
        info["horizon"],
        np.array([test[key] for key in keys]),
        info.get("mase_season_length", info["season_length"]),
    )


def score(case: Case, quantiles: FloatArray) -> tuple[float, float]:
    """Mean wQL and MASE of quantiles [N, H, 3]."""
    if case.actuals is None:
        return np.nan, np.nan
    error = case.actuals[:, :, None] - quantiles
    levels = np.array(LEVELS)
    loss = 2 * np.maximum(levels * error, (levels - 1) * error).sum(axis=(0, 1)) / np.abs(case.actuals).sum()
    m = case.mase_season
    scales = [np.abs(y[m:] - y[:-m]).mean() for y in case.arrays]
    return float(loss.mean()), float(np.mean(np.abs(error[:, :, 1]).mean(axis=1) / scales))


def ours(case: Case) -> Outcome:
    batch = SeriesBatch.from_arrays(case.arrays, "2000-01-01", "D")
    started = time.process_time()
    result = forecast(batch, "ets", case.horizon, LEVELS, season_length=case.season, fallback=False)
    spent = time.process_time() - started
    return Outcome(1e3 * spent / len(batch), *score(case, result.quantiles))


def theirs(case: Case) -> Outcome:
    from statsforecast.models import AutoETS

    rows = []
    started = time.process_time()
    for y in case.arrays:
        answer = AutoETS(season_length=case.season).forecast(y=y, h=case.horizon, level=[80])
        rows.append(np.stack([answer["lo-80"], answer["mean"], answer["hi-80"]], axis=1))
    spent = time.process_time() - started
    return Outcome(1e3 * spent / len(case.arrays), *score(case, np.array(rows)))


def cases(n: int) -> list[Case]:
    found = [
        Case("generated monthly, n=144, m=12", generated(n, 144, 12), 12, 12),
        Case("generated daily, n=730, m=7", generated(n, 730, 7), 7, 28),
        competition("m4_weekly", n, 1),
        competition("m4_weekly", n),
        competition("m4_hourly", n),
    ]
    return [case for case in found if case is not None]


def main(n: int = 24) -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    warm = Case("", generated(1, 60, 12), 12, 12)
    started = time.perf_counter()
    ours(warm)
    first = time.perf_counter() - started
    theirs(warm)
    table = Table(title=f"ETS, one core; first call {first:.1f} s")
    for heading in ("set", "series", "ours ms", "AutoETS ms", "times faster", "wQL", "AutoETS", "MASE", "AutoETS"):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    for case in cases(n):
        a, b = ours(case), theirs(case)
        figures = [f"{a.wql:.4f}", f"{b.wql:.4f}", f"{a.mase:.3f}", f"{b.mase:.3f}"]
        table.add_row(
            case.name,
            str(len(case.arrays)),
            f"{a.milliseconds:.2f}",
            f"{b.milliseconds:.1f}",
            f"{b.milliseconds / a.milliseconds:.0f}",
            *(["", "", "", ""] if case.actuals is None else figures),
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="ETS beside statsforecast's AutoETS")
    parser.add_argument("--series", type=int, default=24, help="series of each set")
    main(parser.parse_args().series)
