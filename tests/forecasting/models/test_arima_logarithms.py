"""Regressors by their logarithm, and the elasticities that they give with the logarithm of the target."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import forecasting
from forecasting import SeriesBatch
from forecasting.models.registry import get_model
from udfs.config import load_config
from udfs.errors import InputError

N, H, SERIES, ELASTICITY = 120, 8, 4, -2.5
rng = np.random.default_rng(8)
PRICE = np.exp(rng.normal(0.5, 0.4, (SERIES, N + H)))
TRUTH = 300.0 * PRICE**ELASTICITY
SALES = (TRUTH * np.exp(rng.normal(0, 0.1, TRUTH.shape)))[:, :N]


def batch_of(price: Any, **more: Any) -> SeriesBatch:
    columns = {"price": list(price)} | {name: list(values) for name, values in more.items()}
    return SeriesBatch.from_arrays(
        list(SALES), "2020-01-06", "W-MON", related=columns, known_in_future=list(columns), keys=[*"abcd"]
    )


def forecast(batch: SeriesBatch, ends: Any = None, **options: Any) -> forecasting.Forecast:
    fitted = forecasting.fit(batch, "arima", ends, season_length=1, **options)
    return fitted.predict(H, fallback=False)


def test_it_is_the_regression_on_logarithms_made_by_hand() -> None:
    promotion = (rng.random((SERIES, N + H)) < 0.2).astype(float)
    given = forecast(batch_of(PRICE, promotion=promotion), box_cox=0.0, log_regressors=["price"])
    made = forecast(batch_of(np.log(PRICE), promotion=promotion), box_cox=0.0)
    np.testing.assert_array_equal(given.quantiles, made.quantiles)
    np.testing.assert_array_equal(given.mean, made.mean)
    plain = forecast(batch_of(PRICE, promotion=promotion), box_cox=0.0)
    assert np.abs(plain.mean - given.mean).max() > 1.0


def test_a_constant_elasticity_is_found() -> None:
    """Nothing can be nearer than the noise of 0.1; a straight line in the price is far off where it is low."""
    found = forecast(batch_of(PRICE), box_cox=0.0, log_regressors=["price"])
    median = found.quantiles[:, :, 1]
    assert np.abs(np.log(median / TRUTH[:, N:])).max() < 0.1
    cheaper = PRICE.copy()
    cheaper[:, N:] *= 0.8
    other = forecast(batch_of(cheaper), box_cox=0.0, log_regressors=["price"]).quantiles[:, :, 1]
    np.testing.assert_allclose(np.log(other / median) / np.log(0.8), ELASTICITY, atol=0.15)


@pytest.mark.parametrize("value", [0.0, -3.0, np.nan])
def test_what_has_no_logarithm_is_missing(value: float) -> None:
    """A missing value takes the one before it."""
    gone, filled = PRICE.copy(), PRICE.copy()
    gone[:, 30:33] = value
    filled[:, 30:33] = PRICE[:, 29:30]
    options: dict[str, Any] = {"box_cox": 0.0, "log_regressors": ["price"]}
    np.testing.assert_array_equal(forecast(batch_of(gone), **options).mean, forecast(batch_of(filled), **options).mean)


def test_what_comes_after_a_window_says_nothing() -> None:
    ends = np.full((SERIES, 1), N - H)
    later = PRICE.copy()
    later[:, N:] = -1.0
    options: dict[str, Any] = {"box_cox": 0.0, "log_regressors": ["price"]}
    before, after = (forecast(batch_of(p), ends, **options) for p in (PRICE, later))
    np.testing.assert_array_equal(before.quantiles, after.quantiles)


def test_a_stored_fit_is_carried_on() -> None:
    batch, options = batch_of(PRICE), {"box_cox": 0.0, "log_regressors": ["price"], "season_length": 1}
    short = forecasting.fit(batch, "arima", np.full((SERIES, 1), N - H), **options)
    parts = get_model("arima").update(short.numbers, forecasting.fit(batch, "arima", **options).numbers.rows)
    moved = get_model("arima").predict(parts, H, (0.5,)).mean
    assert np.abs(np.log(moved / TRUTH[:, N:])).max() < 0.12


def test_a_name_that_is_no_related_series_is_told() -> None:
    model = get_model("arima")
    options = model.Hyperparameters.model_validate({"log_regressors": ["prize"]})
    (problem,) = model.problems(options, {"price": True}, H)
    assert "log_regressors: 'prize'" in problem
    assert "['price']" in problem
    config = {
        "dataset_group": "x", "frequency": "W", "horizon": 8, "data": {"target": {"path": "t.csv"}},
        "models": {"arima": {"box_cox": 0, "log_regressors": ["price"]}}, "lake": {"path": "lake"},
    }  # fmt: skip
    with pytest.raises(InputError, match="there are none"):
        load_config(config)
