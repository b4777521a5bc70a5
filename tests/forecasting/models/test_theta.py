"""Theta against statsforecast's compiled functions, statsmodels' decomposition and simulated paths."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import norm
from statsmodels.tsa.seasonal import seasonal_decompose
from statsmodels.tsa.stattools import acf

import forecasting
from forecasting import FittedBatch, SeriesBatch, Status
from forecasting.models.theta import form_name, residuals
from forecasting.models.theta.recursion import LINE_SIZE, fit_lines, gather, run, solve
from forecasting.models.theta.season import ADDITIVE, MULTIPLICATIVE, has_season, seasonal_factors

peer = pytest.importorskip("statsforecast._lib").theta
FORMS = ("STM", "OTM", "DSTM", "DOTM")


def walk(n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return 100.0 + np.cumsum(rng.normal(0.4, 2.0, n)) + rng.normal(0, 1.0, n)


def fit(y: np.ndarray, **options: object) -> FittedBatch:
    options = {"season_length": 1, **options}
    return forecasting.fit(SeriesBatch.from_arrays([y], "2015-01-01", "MS"), "theta", **options)


def parameters(fitted: FittedBatch) -> dict[str, float]:
    return dict(zip(fitted.model.parameter_names, fitted.numbers.parameters[0], strict=True))


@pytest.mark.parametrize("form", range(4))
@pytest.mark.parametrize(("level", "alpha", "theta"), [(50.0, 0.3, 2.5), (110.0, 0.9, 1.0), (-20.0, 0.1, 40.0)])
def test_errors_equal_statsforecasts(form: int, level: float, alpha: float, theta: float) -> None:
    y = walk(90, 3)
    kind = getattr(peer.ModelType, FORMS[form])
    _, expected, _, mse = peer.pegels_resid(y, kind, level, alpha, theta, 3)
    ours = residuals(y, form, level, alpha, theta)
    np.testing.assert_allclose(ours[1:], expected[1:], rtol=1e-9, atol=1e-9)  # its dynamic forms start at y itself
    np.testing.assert_allclose(np.sum(ours[3:] ** 2) / np.abs(y).mean(), mse, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
def test_the_mean_is_statsforecasts_at_the_same_parameters(form: str) -> None:
    y = walk(70, 5)
    fitted = fit(y, form=form)
    p = parameters(fitted)
    kind = getattr(peer.ModelType, form)
    _, _, states, _ = peer.pegels_resid(y, kind, p["initial_level"], p["alpha"], p["theta"], 3)
    expected = np.empty(15)
    peer.forecast(states, len(y), kind, expected, p["alpha"], p["theta"])
    np.testing.assert_allclose(fitted.predict(15).mean[0], expected, rtol=1e-7)


def test_the_optimum_is_never_worse_than_statsforecasts() -> None:
    from statsforecast.models import AutoTheta

    for seed in range(25):
        y = walk(20 + 3 * seed, seed)
        for form in FORMS:
            theirs = AutoTheta(1, model=form).fit(y).model_["mse"] * np.abs(y).mean()
            ours = parameters(fit(y, form=form))["mse"] * (len(y) - 3)
            assert ours <= theirs * (1 + 1e-6), (seed, form)


@pytest.mark.parametrize("dynamic", [False, True])
def test_closed_form_equals_the_recursion_with_values_missing(dynamic: bool) -> None:
    y = walk(60, 9) - 110.0
    y[[5, 6, 7, 20, 41]] = np.nan
    line, a, b, errors, sums = np.zeros(LINE_SIZE), np.zeros(60), np.zeros(60), np.zeros(60), np.zeros(6)
    fit_lines(y, 60, line, a, b)
    gather(y, 60, 0.4, dynamic, a, b, sums)
    total, level, w = solve(sums, True)
    assert np.isclose(run(y, 60, 0.4, w, level, dynamic, a, b, errors)[1], total, rtol=1e-9)
    for d_level, d_w in ((0.5, 0.0), (-0.5, 0.0), (0.0, 0.02), (0.0, -0.02)):
        if 0 <= w + d_w <= 1:
            assert run(y, 60, 0.4, w + d_w, level + d_level, dynamic, a, b, errors)[1] > total
    assert np.isnan(errors).sum() == 5


@pytest.mark.parametrize("form", ["OTM", "DOTM"])
def test_variances_equal_those_of_simulated_paths(form: str) -> None:
    y, horizon, n_paths = walk(40, 11), 10, 20_000
    fitted = fit(y, form=form)
    p = parameters(fitted)
    assert p["error"] == 0
    table = fitted.predict(horizon, (0.1, 0.5, 0.9)).quantiles[0]
    rng = np.random.default_rng(0)
    paths = np.repeat(y[None], n_paths, axis=0)
    kind = getattr(peer.ModelType, form)
    states = peer.pegels_resid(y, kind, p["initial_level"], p["alpha"], p["theta"], 3)[2]
    a, w, level = p["alpha"], 1 - 1 / p["theta"], np.full(n_paths, states[-1][0])
    for k in range(horizon):
        t = len(y) + k + 1
        if form == "DOTM":
            x = np.arange(1, t) - t / 2
            slope = paths @ x / (x @ x)
            intercept = paths.mean(axis=1) - slope * t / 2
        else:
            slope, intercept = p["slope"], p["intercept"]
        power = (1 - a) ** (t - 1)
        new = level + w * (intercept * power + slope * (1 - power * (1 - a)) / a) + rng.normal(0, p["sigma"], n_paths)
        level = level + a * (new - level)
        paths = np.column_stack([paths, new])
    drawn = paths[:, len(y) :]
    np.testing.assert_allclose(table[:, 1], drawn.mean(axis=0), atol=4 * drawn.std() / np.sqrt(n_paths))
    np.testing.assert_allclose((table[:, 2] - table[:, 0]) / 2 / norm.ppf(0.9), drawn.std(axis=0), rtol=0.025)


@pytest.mark.parametrize(("m", "n"), [(4, 30), (12, 100), (7, 60)])
@pytest.mark.parametrize(("kind", "name"), [(ADDITIVE, "additive"), (MULTIPLICATIVE, "multiplicative")])
def test_seasonal_factors_equal_statsmodels(m: int, n: int, kind: int, name: str) -> None:
    y = walk(n, m) + 10 * np.sin(2 * np.pi * np.arange(n) / m)
    factors, counts = np.zeros(m), np.zeros(m)
    assert seasonal_factors(y, n, m, kind, 1000, factors, counts) == kind
    expected = seasonal_decompose(y, model=name, period=m).seasonal[:m]
    np.testing.assert_allclose(factors, expected, rtol=1e-9, atol=1e-9)


def test_the_seasonal_test_is_that_of_the_autocorrelations() -> None:
    found = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=60) + rng.uniform(0, 2.5) * np.sin(np.arange(60) * np.pi / 6)
        r = acf(y, nlags=12, fft=False)[1:]
        expected = abs(r[-1]) > norm.ppf(0.95) * np.sqrt((1 + 2 * np.sum(r[:-1] ** 2)) / 60)
        assert has_season(y, 60, 60, 12, np.empty(60)) == expected
        found += expected
    assert 5 < found < 35


def test_recent_cycles_make_the_season() -> None:
    t = np.arange(240)
    y = 100 + np.where(t < 120, 20, -20) * np.sin(2 * np.pi * t / 12)
    recent, whole = (fit(y, season_length=12, seasonal_cycles=k).predict(12).mean[0] for k in (5, None))
    actual = 100 - 20 * np.sin(2 * np.pi * np.arange(240, 252) / 12)
    assert np.abs(recent - actual).max() < 1.0
    assert np.abs(whole - actual).max() > 5.0


def test_decomposition_follows_the_options() -> None:
    y = (50 + 0.2 * np.arange(96)) * (1 + 0.3 * np.sin(np.arange(96) * np.pi / 6))
    kinds = {
        name: parameters(fit(y - shift, season_length=12, decomposition=name))["season"]
        for name, shift in (("multiplicative", 0.0), ("additive", 0.0), ("none", 0.0))
    }
    assert kinds == {"multiplicative": 2, "additive": 1, "none": 0}
    assert parameters(fit(y - 60, season_length=12))["season"] == 1  # not all positive
    noise = np.random.default_rng(4).normal(10, 1, 96)
    assert parameters(fit(noise, season_length=12))["season"] == 0
    assert parameters(fit(noise, season_length=12, seasonal_test=False))["season"] == 2


def test_less_than_two_seasons_and_too_few_points_are_said() -> None:
    short = fit(walk(20, 1), season_length=12)
    assert (short.numbers.reason[0], short.numbers.status[0]) == ("less_than_two_seasons", Status.OK)
    few = fit(np.array([1.0, 2.0, 4.0, 3.0]))
    assert (few.numbers.reason[0], few.numbers.status[0]) == ("short_history", Status.FALLBACK)


def test_relative_errors_where_they_are_likelier() -> None:
    rng = np.random.default_rng(2)
    level = 20.0 + 3.0 * np.arange(150)
    growing, steady = fit(level * np.exp(rng.normal(0, 0.1, 150))), fit(level + rng.normal(0, 5, 150))
    assert (parameters(growing)["error"], parameters(steady)["error"]) == (1, 0)
    q = growing.predict(1, (0.1, 0.5, 0.9)).quantiles[0, 0]
    np.testing.assert_allclose((q[2] - q[0]) / q[1] / 2 / norm.ppf(0.9), 0.1, rtol=0.3)


def test_limits_and_refits() -> None:
    y = walk(80, 6)
    limited = fit(y, max_evaluations=4)
    assert (limited.numbers.status[0], limited.numbers.reason[0]) == (Status.TIMEOUT, "evaluation_limit")
    assert np.isfinite(limited.predict(3).mean).all()
    first = forecasting.fit(SeriesBatch.from_arrays([y[:70]], "2015-01-01", "MS"), "theta", season_length=1)
    again = first.refit(SeriesBatch.from_arrays([y], "2015-01-01", "MS"))
    form = form_name(parameters(first)["form"])
    assert form_name(parameters(again)["form"]) == form
    np.testing.assert_allclose(again.predict(5).mean, fit(y, form=form).predict(5).mean, rtol=1e-4)
    assert again.numbers.evaluations[0] < first.numbers.evaluations[0]


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValidationError, match="lower end must not exceed"):
        fit(walk(20, 0), alpha=(0.8, 0.2))
