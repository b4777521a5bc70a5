"""Naive and seasonal naive against a plain loop and statsforecast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from forecasting import SeriesBatch, Status, fit, forecast

LEVELS = (0.1, 0.5, 0.8, 0.9)
NAN = math.nan


def batch_of(*arrays: object, freq: str = "MS") -> SeriesBatch:
    return SeriesBatch.from_arrays(list(arrays), start="2020-01-01", freq=freq)  # type: ignore[arg-type]


def by_the_book(y: list[float], m: int, horizon: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of every step: a random walk of each phase, observed at some seasons only.

    A difference across g seasons has variance g sigma^2; h seasons after the last observation of the phase the
    variance is h sigma^2. A phase never observed starts from the latest observation, one season ago.
    """
    squares = []
    for t, value in enumerate(y):
        earlier = [s for s in range(t % m, t, m) if not math.isnan(y[s])]
        if not math.isnan(value) and earlier:
            squares.append((value - y[earlier[-1]]) ** 2 / ((t - earlier[-1]) / m))
    sigma = math.sqrt(sum(squares) / len(squares)) if squares else 0.0
    observed = [t for t in range(len(y)) if not math.isnan(y[t])]
    mean, deviation = [], []
    for step in range(len(y), len(y) + horizon):
        same = [t for t in observed if (step - t) % m == 0]
        mean.append(y[(same or observed)[-1]])
        seasons = (step - same[-1]) / m if same else 1 + (step - len(y)) // m
        deviation.append(sigma * math.sqrt(seasons))
    return mean, deviation


values = st.lists(st.one_of(st.floats(-100, 100), st.just(NAN)), min_size=1, max_size=30).filter(
    lambda y: not all(map(math.isnan, y))
)


@given(values, st.integers(1, 6), st.integers(1, 15))
@settings(max_examples=200, deadline=None)
def test_seasonal_naive_is_the_plain_loop(y: list[float], m: int, horizon: int) -> None:
    result = forecast(batch_of(y), "seasonal_naive", horizon, LEVELS, season_length=m, fallback=False)
    mean, deviation = by_the_book(y, m, horizon)
    expected = np.array(mean)[:, None] + np.array(deviation)[:, None] * ndtri(LEVELS)
    np.testing.assert_allclose(result.mean[0], mean, rtol=1e-12)
    np.testing.assert_allclose(result.quantiles[0], expected, rtol=1e-9, atol=1e-9)


@given(values, st.integers(1, 15))
@settings(max_examples=100, deadline=None)
def test_naive_is_seasonal_naive_with_a_season_of_one(y: list[float], horizon: int) -> None:
    naive = forecast(batch_of(y), "naive", horizon, LEVELS, season_length=12)
    seasonal = forecast(batch_of(y), "seasonal_naive", horizon, LEVELS, season_length=1)
    np.testing.assert_array_equal(naive.quantiles, seasonal.quantiles)
    np.testing.assert_array_equal(naive.mean, seasonal.mean)


@pytest.mark.judge
@pytest.mark.parametrize(("model", "m"), [("naive", 1), ("seasonal_naive", 7), ("seasonal_naive", 12)])
def test_complete_series_have_statsforecasts_intervals(model: str, m: int) -> None:
    from statsforecast.models import Naive, SeasonalNaive

    y = np.random.default_rng(m).normal(50, 10, 60).cumsum()
    horizon = 2 * m + 5
    judge = Naive() if m == 1 else SeasonalNaive(season_length=m)
    theirs = judge.forecast(y, horizon, level=[80])
    ours = forecast(batch_of(y), model, horizon, LEVELS, season_length=m, fallback=False)
    np.testing.assert_allclose(ours.mean[0], theirs["mean"], rtol=1e-6)
    np.testing.assert_allclose(ours.quantiles[0, :, 0], theirs["lo-80"], rtol=1e-6)
    np.testing.assert_allclose(ours.quantiles[0, :, 3], theirs["hi-80"], rtol=1e-6)


@pytest.mark.judge
def test_missing_values_are_where_we_differ_from_statsforecast() -> None:
    """statsforecast forecasts NaN when the last value is missing, and takes missing residuals for zeros in its
    divisor; we carry the latest observation on, and its variance with it."""
    from statsforecast.models import Naive

    y = np.array([1.0, 2.0, 4.0, 3.0, 5.0, NAN])
    assert np.isnan(Naive().forecast(y, 2, level=[80])["mean"]).all()
    ours = forecast(batch_of(y), "naive", 2, LEVELS, fallback=False)
    sigma = math.sqrt((1 + 4 + 1 + 4) / 4)
    np.testing.assert_array_equal(ours.mean[0], [5, 5])
    np.testing.assert_allclose(ours.quantiles[0, :, 3], 5 + sigma * np.sqrt([2, 3]) * ndtri(0.9))
    inside = np.array([1.0, 2.0, NAN, 3.0, 5.0])
    theirs = Naive().forecast(inside, 1, level=[80])
    assert theirs["hi-80"][0] == pytest.approx(5 + math.sqrt((1 + 4) / 4) * ndtri(0.9), rel=1e-6)
    held = forecast(batch_of(inside), "naive", 1, LEVELS, fallback=False)
    assert held.quantiles[0, 0, 3] == pytest.approx(5 + math.sqrt((1 + 1 / 2 + 4) / 3) * ndtri(0.9))


@given(
    st.lists(st.one_of(st.floats(-100, 100), st.just(NAN)), min_size=12, max_size=40), st.integers(1, 4),
    st.integers(0, 10),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_update_moves_the_states_and_keeps_sigma(y: list[float], m: int, newer: int) -> None:
    """Means as of a fresh fit; deviations the kept sigma times the root of the seasons since."""
    y = [float(t) for t in range(m)] + y  # so that every phase is observed before the fit
    cut = len(y) - newer
    fitted = fit(batch_of(y[:cut]), "seasonal_naive", season_length=m)
    updated = fitted.update(batch_of(y))
    np.testing.assert_array_equal(updated.numbers.parameters, fitted.numbers.parameters)
    result = updated.predict(9, LEVELS, fallback=False)
    mean, deviation = by_the_book(y, m, 9)
    np.testing.assert_allclose(result.mean[0], mean, rtol=1e-12)
    fresh_sigma = fit(batch_of(y), "seasonal_naive", season_length=m).numbers.parameters[0, 0]
    sigma = fitted.numbers.parameters[0, 0]
    if fresh_sigma > 1e-6:
        expected = np.array(mean)[:, None] + (np.array(deviation) * sigma / fresh_sigma)[:, None] * ndtri(LEVELS)
        np.testing.assert_allclose(result.quantiles[0], expected, rtol=1e-9, atol=1e-9)


def test_status_and_reason() -> None:
    batch = batch_of(np.arange(12.0), np.arange(11.0), [4.0], [NAN, NAN], [])
    seasonal = fit(batch, "seasonal_naive").predict(3, fallback=False)
    assert list(seasonal.status) == [Status.OK, Status.FALLBACK, Status.FALLBACK, Status.FAILED, Status.FAILED]
    expected = ["", "less_than_one_season", "one_observation", "no_observations", "no_observations"]
    assert list(seasonal.reason) == expected
    naive = fit(batch, "naive").predict(3, fallback=False)
    assert list(naive.status) == [Status.OK, Status.OK, Status.OK, Status.FAILED, Status.FAILED]
    assert list(naive.reason) == ["", "", "one_observation", "no_observations", "no_observations"]
