"""NPTS beyond the service: the season chosen by the data, and related series in the kernel."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from forecasting import SeriesBatch, Status, fit
from forecasting.batch import FloatArray
from forecasting.models.registry import get_model

START = "2021-02-01"  # a Monday
LEVELS = (0.1, 0.5, 0.9)


def seasonal_choice(y: FloatArray, freq: str = "D") -> bool:
    """Whether auto forecasts as with a season; with and without one must differ for the answer to mean anything."""
    batch = SeriesBatch.from_arrays([y], START, freq)
    auto, yes, no = (
        fit(batch, "npts", use_seasonal_model=choice).predict(9, LEVELS, fallback=False).quantiles
        for choice in ("auto", True, False)
    )
    assert (yes != no).any()
    assert (auto == yes).all() or (auto == no).all()
    return bool((auto == yes).all())


def left_out(y: FloatArray, m: int) -> tuple[float, float]:
    """Squared errors with and without a season, each observation foretold by the others' mean; a plain loop."""
    t = np.flatnonzero(np.isfinite(y))
    rest = y[t] - np.polyval(np.polyfit(t, y[t], 1), t)
    with_season = without = 0.0
    for i in range(len(t)):
        others = np.arange(len(t)) != i
        same = others & (t % m == t[i] % m)
        without += (rest[i] - rest[others].mean()) ** 2
        with_season += (rest[i] - rest[same].mean()) ** 2 if same.any() else math.inf
    return with_season, without


def test_auto_takes_the_season_that_foretells_better() -> None:
    rng = np.random.default_rng(2)
    chosen = []
    for k in range(40):
        n = int(rng.integers(15, 90))
        t = np.arange(n)
        y = rng.normal(0, 1, n) + (k % 8) * 0.2 * np.cos(2 * np.pi * t / 7) + 0.05 * (k % 3) * t
        y[rng.random(n) < 0.1] = np.nan
        with_season, without = left_out(y, 7)
        assert seasonal_choice(y) == (with_season < without)
        chosen.append(with_season < without)
    assert 5 < sum(chosen) < 35


def test_auto_sees_a_season_on_a_trend_and_none_in_a_short_history() -> None:
    t = np.arange(70)
    wave = np.cos(2 * np.pi * t / 7)
    assert seasonal_choice(3.0 * t + wave + 0.01 * np.random.default_rng(0).normal(size=70))
    assert not seasonal_choice(wave[:13])
    short = SeriesBatch.from_arrays([wave[:5]], START, "D")
    result = fit(short, "npts").predict(3, fallback=False)
    assert (result.status[0], result.reason[0]) == (Status.OK, "less_than_one_season")


def related_batch(y: FloatArray, x: FloatArray, known: bool = True) -> SeriesBatch:
    return SeriesBatch.from_arrays([y], START, "D", related={"price": [x]}, known_in_future=["price"] if known else [])


def plain_law(n: int, horizon: int, z: FloatArray, weight: float, alpha: float, season: int) -> FloatArray:
    """p_h(i) by the formula, earlier steps as copies of what they copy; [H, n]."""
    law = np.zeros((horizon, n))
    for h in range(horizon):
        here = n + h
        w = np.array(
            [
                math.exp(-alpha * (here - t) - weight * abs(z[t] - z[here])) if t % season == here % season else 0.0
                for t in range(here)
            ]
        )
        law[h] = w[:n]
        for j in range(h):
            law[h] += w[n + j] * law[j]
        law[h] /= law[h].sum()
    return law


@pytest.mark.parametrize("season", [1, 7])
@pytest.mark.parametrize("weight", [0.4, 3.0])
def test_related_series_weigh_by_their_standardised_distance(season: int, weight: float) -> None:
    rng = np.random.default_rng(4)
    n, horizon = 30, 10
    x = 5 + 2 * rng.normal(size=n + horizon)
    z = (x - x[:n].mean()) / x[:n].std()
    options: dict[str, Any] = {"use_seasonal_model": season > 1, "feature_weights": {"price": weight}}
    law = np.zeros((horizon, n))
    for i in range(n):
        law[:, i] = fit(related_batch(np.eye(n)[i], x), "npts", **options).predict(horizon).mean[0]
    np.testing.assert_allclose(law, plain_law(n, horizon, z, weight, 0.01, season), atol=1e-12)


@pytest.mark.parametrize("distance", ["steps", "gluonts"])
@pytest.mark.parametrize("kernel", ["exponential", "uniform"])
@pytest.mark.parametrize("seasonal", [True, False, "auto"])
def test_a_constant_related_series_changes_nothing(distance: str, kernel: str, seasonal: bool | str) -> None:
    rng = np.random.default_rng(5)
    y = 10 + np.cos(2 * np.pi * np.arange(60) / 7) + rng.normal(0, 0.5, 60)
    y[rng.random(60) < 0.1] = np.nan
    options: dict[str, Any] = {"distance": distance, "kernel_type": kernel, "use_seasonal_model": seasonal}
    batch = related_batch(y, np.full(74, 3.3))
    plain = fit(batch, "npts", **options).predict(14)
    related = fit(batch, "npts", feature_weights={"price": 2.0}, **options).predict(14)
    np.testing.assert_allclose(related.mean, plain.mean, rtol=1e-9)
    np.testing.assert_allclose(related.quantiles, plain.quantiles, rtol=1e-9)


def test_an_offer_is_forecast_from_offers() -> None:
    rng = np.random.default_rng(6)
    offer = (rng.random(140) < 0.2).astype(float)
    y = np.where(offer[:120] > 0, 50.0, 10.0) + rng.normal(0, 1, 120)
    made = fit(related_batch(y, offer), "npts", feature_weights={"price": 3.0}).predict(20)
    np.testing.assert_allclose(made.quantiles[0, :, 1], np.where(offer[120:] > 0, 50.0, 10.0), atol=3)


def test_windows_of_related_series_equal_shorter_histories() -> None:
    rng = np.random.default_rng(7)
    y, x = rng.normal(size=50), rng.normal(size=60)
    options: dict[str, Any] = {"feature_weights": {"price": 1.0}, "context_length": 25}
    window = fit(related_batch(y, x), "npts", [[40]], **options).predict(8)
    alone = fit(related_batch(y[:40], x), "npts", **options).predict(8)
    np.testing.assert_array_equal(window.quantiles[0, 0], alone.quantiles[0])


def test_features_that_cannot_be_used_are_said_before_the_run() -> None:
    family = get_model("npts")

    def problems(**options: Any) -> str:
        return " ".join(family.problems(family.Hyperparameters(**options), {"price": True, "visits": False}, 7))

    assert problems(feature_weights={"price": 1.0}) == ""
    assert "'prize' is not a related series" in problems(feature_weights={"prize": 1.0})
    assert "'visits' is not known in the future" in problems(feature_weights={"visits": 1.0})
    assert problems(feature_weights={"visits": 1.0}, lags={"visits": 7}) == ""
    assert "lags.visits is 3" in problems(feature_weights={"visits": 1.0}, lags={"visits": 3})
    for wrong in ({"feature_weights": {"price": 0.0}}, {"lags": {"price": 7}}, {"use_seasonal_model": "maybe"}):
        with pytest.raises(ValidationError):
            family.Hyperparameters(**wrong)


def test_a_lagged_series_acts_as_the_shifted_one() -> None:
    rng = np.random.default_rng(8)
    y, x = rng.normal(size=40), rng.normal(size=40)
    lagged = fit(related_batch(y, x, known=False), "npts", feature_weights={"price": 1.0}, lags={"price": 5})
    shifted = fit(related_batch(y, np.r_[np.full(5, x[0]), x]), "npts", feature_weights={"price": 1.0})
    np.testing.assert_allclose(lagged.predict(5).mean, shifted.predict(5).mean, rtol=1e-12)
