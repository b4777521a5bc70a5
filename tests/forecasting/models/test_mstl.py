"""MSTL against statsmodels' STL and MSTL, and what it promises about gaps, phases and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from statsmodels.tsa.seasonal import MSTL, STL

import forecasting
from forecasting import FittedBatch, SeriesBatch, Status
from forecasting.models.mstl import stl as kernels
from forecasting.models.mstl.stl import Plan

LEVELS = (0.1, 0.5, 0.9)


def waves(n: int, *lengths: int, noise: float = 1.0, seed: int = 0) -> np.ndarray:
    t, rng = np.arange(n), np.random.default_rng(seed)
    season = sum(10.0 / (k + 1) * np.sin(2 * np.pi * t / m + 0.5) for k, m in enumerate(lengths))
    return 50.0 + 0.02 * t + season + rng.normal(0, noise, n)


def fit(arrays: list[np.ndarray], freq: str = "h", **options: object) -> FittedBatch:
    return forecasting.fit(SeriesBatch.from_arrays(arrays, "2020-01-06", freq), "mstl", **options)


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("degree", [0, 1])
@pytest.mark.parametrize(("n", "m", "window"), [(50, 12, 11), (144, 12, 7), (731, 7, 15), (300, 24, 11), (500, 50, 9)])
def test_stl_equals_statsmodels(n: int, m: int, window: int, degree: int, robust: bool) -> None:
    y = waves(n, m)
    y[n // 2] += 40
    expected = STL(y, period=m, seasonal=window, seasonal_deg=degree, robust=robust).fit()
    trend, season = np.zeros(n), np.zeros(n)
    plan = Plan(degree, 1, robust, 2 if robust else 5, 15 if robust else 0)
    kernels.stl(y.copy(), n, m, window, plan, np.ones(n), True, trend, season)
    np.testing.assert_allclose(trend, expected.trend, atol=1e-8)
    np.testing.assert_allclose(season, expected.seasonal, atol=1e-8)


@pytest.mark.parametrize("iterate", [1, 3])
def test_components_equal_statsmodels_mstl(iterate: int) -> None:
    y = waves(600, 24, 168)
    expected = MSTL(
        y, periods=(24, 168), windows=(11, 15), iterate=iterate, stl_kwargs={"seasonal_deg": 0, "trend_deg": 0}
    ).fit()
    parts = fit([y], seasonal_windows=(11, 15), iterate=iterate, trend_degree=0).components(5)
    assert parts is not None
    assert parts.names == ("trend", "season_24", "season_168", "remainder")
    np.testing.assert_allclose(parts.values[:600, 0], expected.trend, atol=1e-8)
    np.testing.assert_allclose(parts.values[:600, 1:3], expected.seasonal, atol=1e-8)
    np.testing.assert_allclose(parts.values[:600, 3], expected.resid, atol=1e-8)


def test_what_stands_in_a_gap_is_not_seen() -> None:
    y, seen = waves(200, 12), np.ones(200)
    seen[[3, 50, 51, 52, 120]] = 0.0
    found = []
    for wrong in (0.0, 1e6):
        trend, season = np.zeros(200), np.zeros(200)
        values = np.where(seen > 0, y, wrong)
        kernels.stl(values, 200, 12, 7, Plan(0, 1, False, 5, 0), seen, False, trend, season)
        found.append((trend, season))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9)
    whole = STL(y, period=12, seasonal=7, seasonal_deg=0).fit()
    assert np.abs(found[0][0] - whole.trend).max() < 0.5
    assert np.abs(found[0][1] - whole.seasonal).max() < 1.5


@pytest.mark.parametrize("weighted_like", [0, 1])
def test_weights_of_one_change_nothing(weighted_like: int) -> None:
    """The path for gaps and the fast one for complete series are the same smoother."""
    y = waves(150, 12)
    results = []
    for complete in (True, False):
        trend, season = np.zeros(150), np.zeros(150)
        kernels.stl(y.copy(), 150, 12, 7, Plan(weighted_like, 1, False, 5, 0), np.ones(150), complete, trend, season)
        results.append((trend, season))
    np.testing.assert_allclose(results[0], results[1], atol=1e-9)


def test_components_add_up() -> None:
    arrays = [waves(500, 24, 168), waves(100, 24), waves(30, 24), np.full(20, np.nan)]
    arrays[0][[0, 1, 40, 41, 300, 499]] = np.nan
    fitted = fit(arrays)
    parts, mean = fitted.components(30), fitted.predict(30, fallback=False).mean
    assert parts is not None
    for r, y in enumerate(arrays):
        values = parts.values[parts.offsets[r] : parts.offsets[r + 1]]
        if np.isnan(y).all():
            assert np.isnan(values).all()
            continue
        history, ahead = values[: len(y)].sum(axis=1), values[len(y) :]
        np.testing.assert_allclose(history[np.isfinite(y)], y[np.isfinite(y)], rtol=1e-12)
        np.testing.assert_allclose(ahead.sum(axis=1), mean[r], rtol=1e-12)
        assert not ahead[:, -1].any()
    assert np.abs(parts.values[parts.offsets[1] : parts.offsets[2], 2]).max() == 0  # no weekly season in 100 hours


def test_seasons_without_two_cycles_are_left_out_and_it_is_said() -> None:
    fitted = fit([waves(400, 24, 168), waves(335, 24, 168), waves(47, 24)])
    assert list(fitted.numbers.parameters[:, 0]) == [2, 1, 0]
    assert list(fitted.numbers.parameters[:, 1]) == [168, 24, 1]
    assert list(fitted.numbers.reason) == ["", "less_than_two_seasons", "less_than_two_seasons"]
    assert (fitted.numbers.status == Status.OK).all()


def test_which_seasons() -> None:
    y = [waves(900, 24, 168)]
    assert fit(y).numbers.parameters[0, 1] == 168
    assert fit(y, season_length=24).numbers.parameters[0, 1] == 24
    assert fit(y, season_lengths=(48, 12)).numbers.parameters[0, 1] == 48
    assert fit(y, freq="D").numbers.parameters[0, 1] == 365


@pytest.mark.parametrize("family", ["ets", "theta", "arima"])
def test_the_season_goes_on_in_phase(family: str) -> None:
    """From the end of the history, after a gap at its end, and after an update by a part of the season."""
    whole = waves(560, 24, 168, noise=0.2)
    future = waves(600, 24, 168, noise=0.0)
    gap = whole[:507].copy()
    gap[500:] = np.nan
    base = fit([whole[:500]], trend_forecaster=family)
    for end, fitted in (
        (500, base),
        (507, fit([gap], trend_forecaster=family)),
        (531, base.update(SeriesBatch.from_arrays([whole[:531]], "2020-01-06", "h"))),
    ):
        result = fitted.predict(40, LEVELS, fallback=False)
        assert np.abs(result.mean[0] - future[end : end + 40]).max() < 2.5
        assert result.first_step[0] == base.predict(1).first_step[0] + end - 500


def test_robust_keeps_outliers_out_of_the_season() -> None:
    y = waves(240, 12, noise=0.3)
    clean = waves(240, 12, noise=0.0)[228:] - 50 - 0.02 * np.arange(228, 240)
    y[[185, 200, 215, 230]] += 60
    errors = []
    for robust in (False, True):
        parts = fit([y], freq="MS", robust=robust).components(12)
        assert parts is not None
        errors.append(np.abs(parts.values[240:, 1] - clean).max())
    assert errors[1] < 2 < errors[0]


def test_intervals_carry_the_seasons_uncertainty() -> None:
    """White noise around a season known from three cycles: eight in ten values lie inside."""
    rng = np.random.default_rng(1)
    pattern = 10 * rng.normal(size=12)
    t = np.arange(48)
    arrays = [20 + pattern[t % 12] + rng.normal(0, 1, 48) for _ in range(300)]
    q = fit([y[:36] for y in arrays], freq="MS").predict(12, LEVELS, fallback=False).quantiles
    actual = np.array([y[36:] for y in arrays])
    inside = (actual >= q[:, :, 0]) & (actual <= q[:, :, 2])
    assert 0.74 < inside.mean() < 0.86


def test_refit_starts_from_the_earlier_fit() -> None:
    y = waves(700, 24, 168)
    first = fit([y[:650]])
    again = first.refit(SeriesBatch.from_arrays([y], "2020-01-06", "h"))
    fresh = fit([y])
    assert again.numbers.evaluations[0] < fresh.numbers.evaluations[0]
    np.testing.assert_allclose(again.predict(24).mean, fresh.predict(24).mean, atol=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seasonal_windows": (8,)}, "must be odd"),
        ({"season_lengths": (24, 24)}, "there once"),
        ({"trend_hyperparameters": {"season_length": 12}}, "leave it out"),
        ({"trend_hyperparameters": {"no_such": 1}}, "no_such"),
        ({"trend_forecaster": "theta", "trend_hyperparameters": {"alpha": (0.9, 0.1)}}, "lower end"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        fit([waves(100, 24)], **options)
