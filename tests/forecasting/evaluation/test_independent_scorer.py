"""Our metrics beside the scorer that comes with the benchmark sets, on the same forecasts."""

from __future__ import annotations

import importlib
import runpy
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from forecasting.levels import quantile_column

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"


def forecasts_of(test: pd.DataFrame, key: list[str], levels: tuple[float, ...], seed: int) -> pd.DataFrame:
    """Some forecast of every point of a test part: the actual with noise, quantiles around it."""
    rng = np.random.default_rng(seed)
    actual = test["target"].fillna(0.0).to_numpy(float)
    width = np.abs(actual) * 0.2 + 1
    out = test[[*key, "timestamp"]].copy()
    out["mean"] = actual + width * rng.normal(size=len(test))
    middle = actual + width * rng.normal(size=len(test))
    for level in levels:
        out[quantile_column(level)] = middle + width * 2.5 * (level - 0.5)
    return out


@pytest.mark.parametrize("name", ["m3_other", "orange_juice", "hospital", "car_parts"])
def test_the_metrics_agree_to_a_millionth(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    accuracy = importlib.import_module("accuracy")
    dataset = importlib.import_module("datasets").Dataset(shared_data / name, validate=False)
    rows = forecasts_of(dataset.future(), dataset.key, accuracy.LEVELS, seed=len(name))
    rows.to_parquet(tmp_path / "forecasts.parquet", index=False)
    monkeypatch.setattr(sys, "argv", ["score.py", name, str(tmp_path / "forecasts.parquet")])
    theirs = runpy.run_path(str(shared_data / "score.py"), run_name="__main__")["ours"]
    ours = accuracy.score(dataset, rows)
    assert ours.mean_wql == pytest.approx(theirs["mean_wQL"], rel=1e-6)
    assert ours.wql9 == pytest.approx(theirs["wQL9"], rel=1e-6)
    assert ours.mase == pytest.approx(theirs["MASE"], rel=1e-6)
    assert ours.smape == pytest.approx(theirs["sMAPE"], rel=1e-6)
    assert ours.rmse == pytest.approx(theirs["RMSE"], rel=1e-6)
    assert ours.inside80 == pytest.approx(theirs["cover80"], rel=1e-6)
