"""Means, variances and paths of ETS forecasts against statsmodels and plain simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from statsmodels.tsa.exponential_smoothing.ets import ETSModel
from stored_fits import through_lists

from forecasting import SeriesBatch, fit
from forecasting.batch import FloatArray
from forecasting.models.ets import form_name
from forecasting.models.ets.moments import linear_moments, multiplicative_moments

M, H = 4, 11
SMOOTH = {"alpha": 0.4, "beta": 0.1, "gamma": 0.3}


def simulated(form: int, state: FloatArray, sigma: float, phi: float, n: int = 200_000) -> FloatArray:
    """Paths by the book's table 2.2 and 2.3 in plain numpy, [n, H]."""
    error, season = form // 9, form % 3
    alpha, beta, gamma = SMOOTH["alpha"], SMOOTH["beta"], SMOOTH["gamma"]
    rng = np.random.default_rng(0)
    l, b = np.full(n, state[0]), np.full(n, state[1])
    ring = [np.full(n, s) for s in state[2:]]
    out = np.empty((n, H))
    for h in range(H):
        eps = rng.normal(0, sigma, n)
        q, s = l + phi * b, ring[h % M] if season else 0.0
        mean = q * s if season == 2 else q + s
        e = mean * eps if error else eps
        out[:, h] = mean + e
        of_level, of_season = (e / s, e / q) if season == 2 else (e, e)
        l, b = q + alpha * of_level, phi * b + beta * of_level
        if season:
            ring[h % M] = s + gamma * of_season
    return out


@pytest.mark.parametrize("form", [f for f in range(18) if f // 9 == 1 or f % 3 < 2], ids=form_name)
def test_exact_moments_equal_simulation(form: int) -> None:
    error, trend, season = form // 9, form % 9 // 3, form % 3
    phi = 0.9 if trend == 2 else 1.0
    beta, gamma = SMOOTH["beta"] * (trend > 0), SMOOTH["gamma"] * (season > 0)
    terms = {0: [], 1: [1.0, -2.0, 0.5, 0.5], 2: [1.1, 0.8, 1.05, 1.05]}[season]
    state = np.array([10.0, 0.3 * (trend > 0), *terms])
    sigma = 0.15 if error else 1.0
    mean, spread = np.empty(H), np.empty(H)
    arguments = SMOOTH["alpha"], beta, gamma, phi, sigma**2, mean, spread
    if season == 2:
        multiplicative_moments(state, M, *arguments)
    else:
        linear_moments(state, error, season, M, *arguments, np.empty(H + 1), np.empty(H + 1))
    old = SMOOTH["beta"]
    SMOOTH["beta"] = beta
    draws = simulated(form, state, sigma, phi)
    SMOOTH["beta"] = old
    np.testing.assert_allclose(mean, draws.mean(axis=0), atol=5 * draws.std(axis=0).max() / np.sqrt(len(draws)))
    np.testing.assert_allclose(spread, draws.var(axis=0), rtol=0.03)


@pytest.mark.judge
@pytest.mark.parametrize("form", ["ANN", "AAN", "AAdN", "ANA", "AAA", "AAdA"])
def test_additive_forecasts_equal_statsmodels(form: str) -> None:
    """Mean and variance at our own optimum; sigma differs by degrees of freedom and is taken out."""
    rng = np.random.default_rng(2)
    t = np.arange(80)
    y = 50 + 0.3 * t + 5 * np.sin(2 * np.pi * t / M) + np.cumsum(rng.normal(0, 1, 80)) + rng.normal(0, 1, 80)
    fitted = fit(SeriesBatch.from_arrays([y], "2000-01-01", "QS"), "ets", form=form, parameter_bounds="usual")
    result = fitted.predict(H, (0.1, 0.5, 0.9), fallback=False)
    p = dict(zip(fitted.model.parameter_names, fitted.numbers.parameters[0], strict=True))
    state = fitted.numbers.states
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge = ETSModel(
            pd.Series(y),
            error="add",
            trend="add" if form[1] == "A" else None,
            damped_trend="d" in form,
            seasonal="add" if form[-1] == "A" else None,
            seasonal_periods=M if form[-1] == "A" else None,
        )
        names = judge.param_names
        known = {
            "smoothing_level": p["alpha"],
            "smoothing_trend": p["beta"],
            "smoothing_seasonal": p["gamma"],
            "damping_trend": p["phi"],
            "initial_level": p["initial_level"],
            "initial_trend": p["initial_slope"],
        }
        values = [known.get(name, 0.0) for name in names]
        smoothed = judge.smooth(np.array(values))
        variance = smoothed.get_prediction(len(y), len(y) + H - 1).forecast_variance / smoothed.mse
    assert result.status[0] == 0
    z = 1.2815515655446004
    ours = ((result.quantiles[0, :, 2] - result.mean[0]) / z) ** 2 / p["sigma"] ** 2
    np.testing.assert_allclose(ours, variance, rtol=1e-6)
    damping = p["phi"] if "d" in form else 1.0
    line = state[0] + state[1] * np.cumsum(damping ** np.arange(1, H + 1))
    season = state[2:][np.arange(H) % M] if form[-1] == "A" else 0.0
    np.testing.assert_allclose(result.mean[0], line + season, rtol=1e-12)


@pytest.mark.parametrize("form", ["MNN", "MAdA", "MAM", "AAN"])
def test_simulated_quantiles_agree_with_exact_ones(form: str) -> None:
    rng = np.random.default_rng(3)
    t = np.arange(72)
    y = (100 + t) * (1 + 0.1 * np.sin(2 * np.pi * t / M)) * np.exp(rng.normal(0, 0.03, 72))
    batch = SeriesBatch.from_arrays([y], "2000-01-01", "QS")
    exact = fit(batch, "ets", form=form, interval="exact").predict(8, fallback=False)
    paths = fit(batch, "ets", form=form, interval="simulated", n_paths=20_000).predict(8, fallback=False)
    width = (exact.quantiles[0, :, 2] - exact.quantiles[0, :, 0]).max()
    np.testing.assert_allclose(paths.quantiles, exact.quantiles, atol=0.04 * width)
    np.testing.assert_allclose(paths.mean, exact.mean, rtol=1e-12)


def test_infinite_variance_form_is_simulated() -> None:
    rng = np.random.default_rng(4)
    t = np.arange(72)
    y = (100 + t) * (1 + 0.1 * np.sin(2 * np.pi * t / M)) + rng.normal(0, 3, 72)
    fitted = fit(SeriesBatch.from_arrays([y], "2000-01-01", "QS"), "ets", form="AAM", restrict=False, seed=1)
    result = fitted.predict(8, fallback=False)
    assert form_name(fitted.numbers.parameters[0, 0]) == "AAM"
    assert (np.diff(result.quantiles[0], axis=1) > 0).all()
    expected = (172 + np.arange(8)) * (1 + 0.1 * np.sin(2 * np.pi * np.arange(72, 80) / M))
    np.testing.assert_allclose(result.mean[0], expected, rtol=0.05)


def test_a_gap_at_the_end_widens_the_forecast() -> None:
    """Forecasting h steps after g missing ones is forecasting g + h steps."""
    rng = np.random.default_rng(5)
    y = 20 + np.cumsum(rng.normal(0, 1, 60))
    whole = SeriesBatch.from_arrays([y], "2020-01-01", "D")
    gap = SeriesBatch.from_arrays([np.r_[y, np.full(5, np.nan)]], "2020-01-01", "D")
    far = fit(whole, "ets", form="AAdA").predict(12, fallback=False)
    near = fit(gap, "ets", form="AAdA").predict(7, fallback=False)
    np.testing.assert_allclose(near.quantiles[0], far.quantiles[0, 5:], rtol=1e-9)


def test_stored_numbers_predict_the_same() -> None:
    rng = np.random.default_rng(6)
    arrays = [np.exp(rng.normal(3, 0.8, 50)), 20 + rng.normal(0, 1, 80), np.r_[1.0, 2.0]]
    fitted = fit(SeriesBatch.from_arrays(arrays, "2020-01-01", "D"), "ets", seed=3)
    again = through_lists(fitted).predict(9)
    np.testing.assert_array_equal(again.quantiles, fitted.predict(9).quantiles)
