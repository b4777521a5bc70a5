"""The historic mean against statsforecast's, the empirical quantiles against numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import forecasting
from forecasting import Forecast, SeriesBatch, Status

LEVELS = (0.1, 0.5, 0.9)
NAN = np.nan


def forecast(arrays: list[Any], model: str, **options: Any) -> Forecast:
    batch = SeriesBatch.from_arrays(arrays, "2020-01-01", "MS")
    return forecasting.forecast(batch, model, 4, LEVELS, fallback=False, **options)


def histories() -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.normal(rng.uniform(-50, 50), 5, int(rng.integers(5, 80))) for _ in range(40)]


@pytest.mark.judge
def test_mean_and_interval_equal_statsforecasts() -> None:
    from statsforecast.models import HistoricAverage

    answer = forecast(histories(), "mean")
    for i, y in enumerate(histories()):
        judge = HistoricAverage().forecast(y, 4, level=[80])
        np.testing.assert_allclose(answer.mean[i], judge["mean"], rtol=1e-9)
        np.testing.assert_allclose(answer.quantiles[i, :, 0], judge["lo-80"], rtol=1e-6)
        np.testing.assert_allclose(answer.quantiles[i, :, 2], judge["hi-80"], rtol=1e-6)


@pytest.mark.parametrize("length", [1, 6, 12, 1000])
@pytest.mark.parametrize("model", ["mean", "empirical"])
def test_only_the_window_counts(model: str, length: int) -> None:
    arrays = [np.where(np.arange(len(y)) % 5 == 1, NAN, y) for y in histories()]
    answer = forecast(arrays, model, window_length=length)
    for i, y in enumerate(arrays):
        recent = y[-length:][np.isfinite(y[-length:])]
        if len(recent) == 0:
            assert answer.reason[i] == "no_recent_observations"
            assert answer.status[i] == Status.FALLBACK
            assert answer.mean[i, 0] == y[np.isfinite(y)][-1]
            continue
        np.testing.assert_allclose(answer.mean[i], recent.mean(), rtol=1e-9)
        if model == "empirical":
            np.testing.assert_allclose(answer.quantiles[i], np.tile(np.quantile(recent, LEVELS), (4, 1)), rtol=1e-9)


def test_the_empirical_window_is_two_seasons_and_at_least_24_periods() -> None:
    y = np.arange(100.0)
    assert forecast([y], "empirical").mean[0, 0] == y[-24:].mean()
    assert forecast([y], "empirical", season_length=20).mean[0, 0] == y[-40:].mean()
    assert forecast([y], "empirical", season_length=1).mean[0, 0] == y[-24:].mean()
